//! The few types of SQL Server that locks need.

/// A value in a request or in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL of any type
    Null,
    /// `smallint`: what `@@SPID` is
    SmallInt(i16),
    /// `int`
    Int(i32),
    /// `bigint`
    BigInt(i64),
    /// `nvarchar`
    Text(String),
}

impl Value {
    /// The type to send it as; a NULL without a type is an `int`, as in SQL Server.
    pub fn kind(&self) -> Kind {
        match self {
            Self::SmallInt(_) => Kind::SmallInt,
            Self::Null | Self::Int(_) => Kind::Int,
            Self::BigInt(_) => Kind::BigInt,
            Self::Text(_) => Kind::Text,
        }
    }

    /// The number, of whatever width.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::SmallInt(number) => Some((*number).into()),
            Self::Int(number) => Some((*number).into()),
            Self::BigInt(number) => Some(*number),
            Self::Null | Self::Text(_) => None,
        }
    }

    /// The text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<i16> for Value {
    fn from(number: i16) -> Self {
        Self::SmallInt(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::BigInt(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `smallint`
    SmallInt,
    /// `int`
    Int,
    /// `bigint`
    BigInt,
    /// `nvarchar(4000)`, or `nvarchar(max)` when a row needs it
    Text,
}

/// A column of a result set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Empty for an expression without a name.
    pub name: String,
    /// What its values are.
    pub kind: Kind,
}
