//! What a server can reply, and how it can fail to.

use crate::{Column, Kind, Value};

/// The reply to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// These one after the other; without any, the request just succeeds.
    Parts(Vec<Part>),
    /// The whole answer, and then the connection is cut.
    ThenCut(Vec<Part>, Close),
    /// The first half of the answer's bytes, and then the connection is cut.
    HalfThenCut(Vec<Part>, Close),
    /// The connection is cut without an answer.
    Cut(Close),
    /// No answer, ever; the connection stays open.
    Never,
}

impl Reply {
    /// One row of one column for each value, without names.
    pub fn row(values: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        Self::from(ResultSet::row(values.into_iter().map(Into::into).collect()))
    }

    /// What it consists of, if it is a full answer.
    pub fn parts(&self) -> Option<&[Part]> {
        match self {
            Self::Parts(parts) | Self::ThenCut(parts, _) => Some(parts),
            Self::HalfThenCut(..) | Self::Cut(_) | Self::Never => None,
        }
    }
}

impl From<Part> for Reply {
    fn from(part: Part) -> Self {
        Self::Parts(vec![part])
    }
}

impl From<ResultSet> for Reply {
    fn from(set: ResultSet) -> Self {
        Part::Rows(set).into()
    }
}

impl From<ServerError> for Reply {
    fn from(error: ServerError) -> Self {
        Part::Error(error).into()
    }
}

/// The outcome of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A result set.
    Rows(ResultSet),
    /// It failed. Whether the batch went on shows in what follows.
    Error(ServerError),
    /// It succeeded without rows, and changed that many.
    Changed(u64),
}

/// Rows under columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultSet {
    /// At least one.
    pub columns: Vec<Column>,
    /// Each as long as the columns.
    pub rows: Vec<Vec<Value>>,
}

impl ResultSet {
    /// Without rows yet.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Kind)>) -> Self {
        let columns = columns
            .into_iter()
            .map(|(name, kind)| Column {
                name: name.to_owned(),
                kind,
            })
            .collect();
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// One row, its columns of the values' types and without names.
    pub fn row(values: Vec<Value>) -> Self {
        let columns = values
            .iter()
            .map(|value| Column {
                name: String::new(),
                kind: value.kind(),
            })
            .collect();
        Self {
            columns,
            rows: vec![values],
        }
    }

    /// With another row.
    pub fn with(mut self, values: impl IntoIterator<Item = Value>) -> Self {
        self.rows.push(values.into_iter().collect());
        self
    }
}

/// An error of SQL Server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The number in `sys.messages`
    pub number: i32,
    /// Tells apart where it was raised
    pub state: u8,
    /// How bad it is; from 20 on the server ends the session
    pub severity: u8,
    /// What it says
    pub message: String,
}

impl ServerError {
    /// With state 1.
    pub fn new(number: i32, severity: u8, message: impl Into<String>) -> Self {
        Self {
            number,
            state: 1,
            severity,
            message: message.into(),
        }
    }

    /// What a session is told that somebody killed.
    pub fn killed() -> Self {
        Self::new(
            596,
            21,
            "Cannot continue the execution because the session is in the kill state.",
        )
    }
}

/// How a server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The client reads what was sent, and then the end.
    Fin,
    /// The client's reads and writes fail with `ConnectionReset`.
    Rst,
}
