//! The tokens that answers consist of.
//!
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/67b6113c-d722-42d1-902c-3f6e8de09173>

use super::{Login7, PACKET_SIZE};
use crate::{Column, Kind, Part, ResultSet, ServerError, Value};

mod token {
    pub(super) const RETURN_STATUS: u8 = 0x79;
    pub(super) const COLUMNS: u8 = 0x81;
    pub(super) const ERROR: u8 = 0xAA;
    pub(super) const LOGIN_ACK: u8 = 0xAD;
    pub(super) const ROW: u8 = 0xD1;
    pub(super) const ENV_CHANGE: u8 = 0xE3;
    pub(super) const DONE: u8 = 0xFD;
    pub(super) const DONE_PROC: u8 = 0xFE;
    pub(super) const DONE_IN_PROC: u8 = 0xFF;
}

/// What DONE can say.
mod done {
    pub(super) const MORE: u16 = 1;
    pub(super) const ERROR: u16 = 2;
    pub(super) const COUNT: u16 = 0x10;
    pub(super) const ATTENTION: u16 = 0x20;
}

mod change {
    pub(super) const DATABASE: u8 = 1;
    pub(super) const PACKET_SIZE: u8 = 4;
    pub(super) const COLLATION: u8 = 7;
}

const INT_N: u8 = 0x26;
const NVARCHAR: u8 = 0xE7;
/// `SQL_Latin1_General_CP1_CI_AS`, what SQL Server is installed with
const COLLATION: [u8; 5] = [0x09, 0x04, 0xD0, 0x00, 0x34];
/// Longer texts make their column `nvarchar(max)`.
const MAX_UNITS: usize = 4000;

/// What an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Batch,
    Call,
}

/// A growing answer.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Vec<u8>);

impl Tokens {
    /// To a login that is let in.
    pub(crate) fn logged_in(login: &Login7) -> Vec<u8> {
        let mut tokens = Self::default();
        tokens.change(
            change::DATABASE,
            &short_text(&login.login.database),
            &short_text("master"),
        );
        tokens.change(change::COLLATION, &[&[5][..], &COLLATION].concat(), &[0]);
        tokens.sized(
            token::LOGIN_ACK,
            &[
                &[1, 0x74, 0, 0, 4][..],
                &short_text("Microsoft SQL Server"),
                &[16, 0, 3, 232],
            ]
            .concat(),
        );
        tokens.change(
            change::PACKET_SIZE,
            &short_text(&login.packet_size.to_string()),
            &short_text(&PACKET_SIZE.to_string()),
        );
        tokens.done(token::DONE, 0, 0);
        tokens.0
    }

    /// To a request.
    pub(crate) fn answer(parts: &[Part], flow: Flow) -> Vec<u8> {
        let mut tokens = Self::default();
        for (number, part) in parts.iter().enumerate() {
            let is_last = flow == Flow::Batch && number + 1 == parts.len();
            tokens.part(part, flow, if is_last { 0 } else { done::MORE });
        }
        match flow {
            Flow::Batch if parts.is_empty() => tokens.done(token::DONE, 0, 0),
            Flow::Batch => {}
            Flow::Call => tokens.end_of_call(parts),
        }
        tokens.0
    }

    /// To an ATTENTION: the request is withdrawn.
    pub(crate) fn withdrawn() -> Vec<u8> {
        let mut tokens = Self::default();
        tokens.done(token::DONE, done::ATTENTION, 0);
        tokens.0
    }

    /// To whatever comes next: the session is about to be closed.
    pub(crate) fn fatal(error: &ServerError) -> Vec<u8> {
        Self::answer(&[Part::Error(error.clone())], Flow::Batch)
    }

    fn part(&mut self, part: &Part, flow: Flow, more: u16) {
        let (status, count) = match part {
            Part::Rows(set) => {
                self.rows(set);
                (done::COUNT, set.rows.len() as u64)
            }
            Part::Error(error) => {
                self.error(error);
                (done::ERROR, 0)
            }
            Part::Changed(count) => (done::COUNT, *count),
        };
        let token = if flow == Flow::Batch {
            token::DONE
        } else {
            token::DONE_IN_PROC
        };
        self.done(token, status | more, count);
    }

    fn end_of_call(&mut self, parts: &[Part]) {
        let error = parts.last().and_then(|part| {
            if let Part::Error(error) = part {
                Some(error.number)
            } else {
                None
            }
        });
        self.0.push(token::RETURN_STATUS);
        self.0.extend(error.unwrap_or(0).to_le_bytes());
        self.done(
            token::DONE_PROC,
            if error.is_some() { done::ERROR } else { 0 },
            0,
        );
    }

    fn rows(&mut self, set: &ResultSet) {
        let count =
            u16::try_from(set.columns.len()).expect("a result set has at most 4096 columns");
        let long: Vec<bool> = (0..set.columns.len())
            .map(|column| has_long_text(set, column))
            .collect();
        self.0.push(token::COLUMNS);
        self.0.extend(count.to_le_bytes());
        for (column, long) in set.columns.iter().zip(&long) {
            self.column(column, *long);
        }
        for row in &set.rows {
            assert_eq!(
                row.len(),
                set.columns.len(),
                "a row is as long as the columns"
            );
            self.0.push(token::ROW);
            for ((value, column), long) in row.iter().zip(&set.columns).zip(&long) {
                self.value(value, column, *long);
            }
        }
    }

    fn column(&mut self, column: &Column, long: bool) {
        const NULLABLE: u16 = 1;
        self.0.extend(0_u32.to_le_bytes());
        self.0.extend(NULLABLE.to_le_bytes());
        match column.kind {
            Kind::SmallInt => self.0.extend([INT_N, 2]),
            Kind::Int => self.0.extend([INT_N, 4]),
            Kind::BigInt => self.0.extend([INT_N, 8]),
            Kind::Text => {
                let maximum = if long { u16::MAX } else { MAX_UNITS as u16 * 2 };
                self.0.push(NVARCHAR);
                self.0.extend(maximum.to_le_bytes());
                self.0.extend(COLLATION);
            }
        }
        self.0.extend(short_text(&column.name));
    }

    fn value(&mut self, value: &Value, column: &Column, long: bool) {
        match (value, column.kind) {
            (Value::Null, Kind::Text) if long => self.0.extend(u64::MAX.to_le_bytes()),
            (Value::Null, Kind::Text) => self.0.extend(u16::MAX.to_le_bytes()),
            (Value::Null, _) => self.0.push(0),
            (Value::SmallInt(number), Kind::SmallInt) => self.integer(&number.to_le_bytes()),
            (Value::Int(number), Kind::Int) => self.integer(&number.to_le_bytes()),
            (Value::BigInt(number), Kind::BigInt) => self.integer(&number.to_le_bytes()),
            (Value::Text(text), Kind::Text) => self.text(text, long),
            (value, kind) => panic!("{value:?} in a column of {kind:?}"),
        }
    }

    fn integer(&mut self, bytes: &[u8]) {
        self.0.push(bytes.len() as u8);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str, long: bool) {
        let bytes = utf16(text);
        if !long {
            self.0.extend((bytes.len() as u16).to_le_bytes());
            self.0.extend(bytes);
            return;
        }
        self.0.extend((bytes.len() as u64).to_le_bytes());
        if !bytes.is_empty() {
            self.0.extend((bytes.len() as u32).to_le_bytes());
            self.0.extend(bytes);
        }
        self.0.extend(0_u32.to_le_bytes());
    }

    fn error(&mut self, error: &ServerError) {
        let units = error.message.encode_utf16().count() as u16;
        let mut body = Vec::from(error.number.to_le_bytes());
        body.extend([error.state, error.severity]);
        body.extend(units.to_le_bytes());
        body.extend(utf16(&error.message));
        body.extend(short_text("dlock-tds"));
        body.extend(short_text(""));
        body.extend(1_u32.to_le_bytes());
        self.sized(token::ERROR, &body);
    }

    fn change(&mut self, what: u8, new: &[u8], old: &[u8]) {
        self.sized(token::ENV_CHANGE, &[&[what], new, old].concat());
    }

    fn sized(&mut self, token: u8, body: &[u8]) {
        let length = u16::try_from(body.len()).expect("a token has at most 65535 bytes");
        self.0.push(token);
        self.0.extend(length.to_le_bytes());
        self.0.extend_from_slice(body);
    }

    fn done(&mut self, token: u8, status: u16, count: u64) {
        const SELECT: u16 = 0xC1;
        let command = if status & done::COUNT == 0 { 0 } else { SELECT };
        self.0.push(token);
        self.0.extend(status.to_le_bytes());
        self.0.extend(command.to_le_bytes());
        self.0.extend(count.to_le_bytes());
    }
}

fn has_long_text(set: &ResultSet, column: usize) -> bool {
    set.rows
        .iter()
        .filter_map(|row| row.get(column)?.text())
        .any(|text| text.encode_utf16().count() > MAX_UNITS)
}

/// With its length in a byte in front.
fn short_text(text: &str) -> Vec<u8> {
    let bytes = utf16(text);
    let units = u8::try_from(bytes.len() / 2).expect("a name has at most 255 UTF-16 units");
    [&[units], &bytes[..]].concat()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
