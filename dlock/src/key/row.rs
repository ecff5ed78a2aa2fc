//! What the row of a table is called: `{schema}.{table}/{primary key}`, so that no two rows have one name.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sea_orm::Value;
#[cfg(feature = "with-time")]
use sea_orm::prelude::{TimeDate, TimeTime};
use sea_orm::sea_query::OptionEnum;

use super::{Given, Key, KeyRepr};

/// All but the unreserved characters. <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>
const RESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// In front of the `/` a dot stands between schema and table.
const RESERVED_BEFORE_THE_KEY: AsciiSet = RESERVED.add(b'.');

pub(super) const NO_DATABASE: &str = "no database is selected for the table of this row to be in: name one in the URL of the connection, \
     or with `#[sea_orm(schema_name = \"..\")]` at the entity";

const NULL: &str =
    "a part of this row's primary key is NULL, which is equal to nothing: lock by a key of text";

const UNKNOWN: &str = "a part of this row's primary key has no text that is certain to be the same everywhere (a float, JSON, an array, a `BigDecimal`, an address of a network): lock by a key of text; \
     dates and times, `Decimal` and `Uuid` need dlock's features `with-chrono` or `with-time`, `with-rust_decimal`, `with-uuid`";

/// A row that is named without its schema, in this one.
pub(super) fn within(schema: &str, row: &str) -> KeyRepr {
    let schema = escaped(schema.as_bytes(), &RESERVED_BEFORE_THE_KEY);
    KeyRepr::Text(format!("{schema}.{row}").into())
}

impl Key {
    /// The row with this primary key, in the current database if no schema is given.
    pub(crate) fn row(
        schema: Option<&str>,
        table: &str,
        primary_key: impl IntoIterator<Item = Value>,
    ) -> Self {
        let mut row = escaped(table.as_bytes(), &RESERVED_BEFORE_THE_KEY);
        let mut nameless = None;
        for (index, part) in primary_key.into_iter().enumerate() {
            row.push(if index == 0 { '/' } else { ',' });
            match text(part) {
                Ok(text) => row += &escaped(&text, &RESERVED),
                Err(reason) => {
                    row.push('?');
                    nameless = Some(reason);
                }
            }
        }
        Self(match (nameless, schema) {
            (Some(reason), _) => Given::Nameless(row.into(), reason),
            (None, Some(schema)) => Given::Whole(within(schema, &row)),
            (None, None) => Given::Row(row.into()),
        })
    }
}

fn escaped(bytes: &[u8], reserved: &'static AsciiSet) -> String {
    percent_encode(bytes, reserved).to_string()
}

/// A part of a primary key, before it is escaped. One row has one text, whatever its integer type.
fn text(part: Value) -> Result<Vec<u8>, &'static str> {
    let text = match part {
        // On MySQL and SQLite a boolean is a number.
        Value::Bool(value) => value.map(|value| u8::from(value).to_string()),
        Value::TinyInt(value) => value.map(|value| value.to_string()),
        Value::SmallInt(value) => value.map(|value| value.to_string()),
        Value::Int(value) => value.map(|value| value.to_string()),
        Value::BigInt(value) => value.map(|value| value.to_string()),
        Value::TinyUnsigned(value) => value.map(|value| value.to_string()),
        Value::SmallUnsigned(value) => value.map(|value| value.to_string()),
        Value::Unsigned(value) => value.map(|value| value.to_string()),
        Value::BigUnsigned(value) => value.map(|value| value.to_string()),
        Value::String(value) => value,
        Value::Char(value) => value.map(String::from),
        Value::Enum(OptionEnum::Some(value)) => Some(value.value.into_owned()),
        Value::Enum(OptionEnum::None(_)) => None,
        Value::Bytes(value) => return value.ok_or(NULL),
        #[cfg(feature = "with-uuid")]
        Value::Uuid(value) => value.map(|value| value.hyphenated().to_string()),
        #[cfg(feature = "with-rust_decimal")]
        Value::Decimal(value) => value.map(|value| match value.is_zero() {
            // Not the negative one.
            true => "0".to_owned(),
            false => value.normalize().to_string(),
        }),
        #[cfg(feature = "with-chrono")]
        Value::ChronoDate(value) => value.map(|value| value.format(DATE).to_string()),
        #[cfg(feature = "with-chrono")]
        Value::ChronoTime(value) => value.map(|value| without_zeros(value.format(TIME))),
        #[cfg(feature = "with-chrono")]
        Value::ChronoDateTime(value) => value.map(|value| without_zeros(value.format(DATE_TIME))),
        #[cfg(feature = "with-chrono")]
        Value::ChronoDateTimeUtc(value) => {
            value.map(|value| without_zeros(value.naive_utc().format(DATE_TIME)))
        }
        #[cfg(feature = "with-chrono")]
        Value::ChronoDateTimeLocal(value) => {
            value.map(|value| without_zeros(value.naive_utc().format(DATE_TIME)))
        }
        #[cfg(feature = "with-chrono")]
        Value::ChronoDateTimeWithTimeZone(value) => {
            value.map(|value| without_zeros(value.naive_utc().format(DATE_TIME)))
        }
        #[cfg(feature = "with-time")]
        Value::TimeDate(value) => value.map(date),
        #[cfg(feature = "with-time")]
        Value::TimeTime(value) => value.map(time),
        #[cfg(feature = "with-time")]
        Value::TimeDateTime(value) => {
            value.map(|value| format!("{}T{}", date(value.date()), time(value.time())))
        }
        #[cfg(feature = "with-time")]
        Value::TimeDateTimeWithTimeZone(Some(value)) => {
            let value = value.checked_to_utc().ok_or(UNKNOWN)?;
            Some(format!("{}T{}", date(value.date()), time(value.time())))
        }
        _ => return Err(UNKNOWN),
    };
    text.map(String::into_bytes).ok_or(NULL)
}

#[cfg(feature = "with-chrono")]
const DATE: &str = "%Y-%m-%d";

#[cfg(feature = "with-chrono")]
const TIME: &str = "%H:%M:%S.%f";

#[cfg(feature = "with-chrono")]
const DATE_TIME: &str = "%Y-%m-%dT%H:%M:%S.%f";

#[cfg(feature = "with-time")]
fn date(date: TimeDate) -> String {
    let (year, month, day) = date.to_calendar_date();
    let month = u8::from(month);
    match year {
        0..=9999 => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{year:+05}-{month:02}-{day:02}"),
    }
}

#[cfg(feature = "with-time")]
fn time(time: TimeTime) -> String {
    let (hour, minute, second, nanosecond) = time.as_hms_nano();
    without_zeros(format_args!(
        "{hour:02}:{minute:02}:{second:02}.{nanosecond:09}"
    ))
}

/// Without those at the end of a fraction, and without a point that nothing follows.
#[cfg(any(feature = "with-chrono", feature = "with-time"))]
fn without_zeros(time: impl std::fmt::Display) -> String {
    let time = time.to_string();
    time.trim_end_matches('0').trim_end_matches('.').to_owned()
}
