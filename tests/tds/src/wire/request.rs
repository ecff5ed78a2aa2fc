//! The two kinds of requests that are understood: batches, and calls of `sp_executesql`.
//!
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/619c43b6-9495-4a58-9e49-a4950db245b3>

use std::io;

use super::{
    bytes::{Bytes, utf16},
    malformed,
};
use crate::{Request, Value};

const EXECUTE_SQL: u16 = 10;

mod types {
    pub(super) const NULL: u8 = 0x1F;
    pub(super) const INT_N: u8 = 0x26;
    pub(super) const NVARCHAR: u8 = 0xE7;
}

/// A batch of statements.
pub(crate) fn batch(payload: &[u8]) -> io::Result<Request> {
    let mut bytes = Bytes(payload);
    skip_headers(&mut bytes)?;
    Ok(Request {
        sql: utf16(bytes.0)?,
        parameters: Vec::new(),
    })
}

/// A call of a procedure.
pub(crate) fn procedure_call(payload: &[u8]) -> io::Result<Request> {
    let mut bytes = Bytes(payload);
    skip_headers(&mut bytes)?;
    expect_execute_sql(&mut bytes)?;
    let _options = bytes.u16()?;
    let (_, statement) = parameter(&mut bytes)?;
    let (_, _declarations) = parameter(&mut bytes)?;
    let Value::Text(sql) = statement else {
        return Err(malformed("sp_executesql without a statement"));
    };
    Ok(Request {
        sql,
        parameters: parameters(&mut bytes)?,
    })
}

fn parameters(bytes: &mut Bytes<'_>) -> io::Result<Vec<Value>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let (name, value) = parameter(bytes)?;
        let expected = format!("@P{}", values.len() + 1);
        if name != expected {
            return Err(malformed(format!(
                "parameter {name} where {expected} is due"
            )));
        }
        values.push(value);
    }
    Ok(values)
}

fn skip_headers(bytes: &mut Bytes<'_>) -> io::Result<()> {
    let length = bytes.u32()? as usize;
    bytes.take(length.saturating_sub(4)).map(drop)
}

fn expect_execute_sql(bytes: &mut Bytes<'_>) -> io::Result<()> {
    match bytes.u16()? {
        u16::MAX => match bytes.u16()? {
            EXECUTE_SQL => Ok(()),
            other => Err(malformed(format!("a call of the procedure number {other}"))),
        },
        units => match bytes.text(units.into())? {
            name if name.eq_ignore_ascii_case("sp_executesql") => Ok(()),
            other => Err(malformed(format!("a call of {other}"))),
        },
    }
}

fn parameter(bytes: &mut Bytes<'_>) -> io::Result<(String, Value)> {
    let units = bytes.u8()?.into();
    let name = bytes.text(units)?;
    let status = bytes.u8()?;
    if status != 0 {
        return Err(malformed(format!(
            "parameter {name} with status {status}: OUTPUT and DEFAULT are not known here"
        )));
    }
    Ok((name, value(bytes)?))
}

fn value(bytes: &mut Bytes<'_>) -> io::Result<Value> {
    match bytes.u8()? {
        types::NULL => Ok(Value::Null),
        types::INT_N => integer(bytes),
        types::NVARCHAR => text(bytes),
        other => Err(malformed(format!("a value of type {other:#x}"))),
    }
}

fn integer(bytes: &mut Bytes<'_>) -> io::Result<Value> {
    let _size = bytes.u8()?;
    match bytes.u8()? {
        0 => Ok(Value::Null),
        1 => bytes.u8().map(|number| Value::SmallInt(number.into())),
        2 => bytes
            .array()
            .map(|number| Value::SmallInt(i16::from_le_bytes(number))),
        4 => bytes
            .array()
            .map(|number| Value::Int(i32::from_le_bytes(number))),
        8 => bytes
            .array()
            .map(|number| Value::BigInt(i64::from_le_bytes(number))),
        other => Err(malformed(format!("an integer of {other} bytes"))),
    }
}

fn text(bytes: &mut Bytes<'_>) -> io::Result<Value> {
    let maximum = bytes.u16()?;
    let _collation = bytes.take(5)?;
    if maximum == u16::MAX {
        return chunked_text(bytes);
    }
    match bytes.u16()? {
        u16::MAX => Ok(Value::Null),
        length => Ok(Value::Text(utf16(bytes.take(length.into())?)?)),
    }
}

/// `nvarchar(max)`: <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/3f983fde-0509-485a-8c40-a9fa6679a828>
fn chunked_text(bytes: &mut Bytes<'_>) -> io::Result<Value> {
    if bytes.u64()? == u64::MAX {
        return Ok(Value::Null);
    }
    let mut whole = Vec::new();
    loop {
        match bytes.u32()? as usize {
            0 => return Ok(Value::Text(utf16(&whole)?)),
            length => whole.extend_from_slice(bytes.take(length)?),
        }
    }
}
