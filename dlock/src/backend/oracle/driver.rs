//! The narrow side of Oracle's driver: all that is asked of it. It blocks.

use std::time::Duration;

use oracledb::{Config, Connection, ErrorKind, ToDbValue};

use super::statements::{Bind, Block};
use crate::backend::session_error::SessionError;
use crate::backend::shared::doubt::refused;

/// A row, each column as text.
pub(super) type TextRow = Vec<Option<String>>;

/// A connection.
pub(super) trait Driver: 'static {
    /// Runs a block and returns the numbers that come out of it.
    fn run(&mut self, block: &Block, limit: Duration) -> Result<Vec<Option<i64>>, SessionError>;

    fn select(&mut self, sql: &str, limit: Duration) -> Result<Vec<TextRow>, SessionError>;

    /// Runs a block. Returns the server's error where it could not compile the block.
    fn compile_error(
        &mut self,
        block: &Block,
        limit: Duration,
    ) -> Result<Option<String>, SessionError>;
}

/// A connection of the driver. Dropping it logs off, which is a round trip that the driver does not
/// bound.
pub(super) struct OracleDriver(Connection);

impl OracleDriver {
    /// `limit` bounds reaching the server, not what it says then: the driver has no way to.
    pub(super) fn connect(config: Config, limit: Duration) -> Result<Self, SessionError> {
        let config = match config.transport_connect_timeout() {
            Some(_) => config,
            None => config.set_transport_connect_timeout(Some(limit)),
        };
        oracledb::connect(config).map(Self).map_err(session_error)
    }

    fn limit(&self, limit: Duration) -> Result<(), SessionError> {
        self.0.set_call_timeout(Some(limit)).map_err(session_error)
    }
}

impl Driver for OracleDriver {
    fn run(&mut self, block: &Block, limit: Duration) -> Result<Vec<Option<i64>>, SessionError> {
        self.limit(limit)?;
        let values: Vec<i64> = block.binds.iter().map(|bind| bind.value()).collect();
        let values: Vec<&dyn ToDbValue> = values.iter().map(|value| value as _).collect();
        let done = self.0.execute(&block.text, &values);
        let mut done = done.map_err(error_within(limit))?;
        let row = done.out_bind_data();
        let outs = block.binds.iter().filter(|bind| **bind == Bind::Out);
        (0..outs.count())
            .map(|index| row.get(index).map_err(session_error))
            .collect()
    }

    fn select(&mut self, sql: &str, limit: Duration) -> Result<Vec<TextRow>, SessionError> {
        self.limit(limit)?;
        let mut rows = Vec::new();
        for row in self.0.query(sql, &[]).map_err(error_within(limit))? {
            let row = row.map_err(error_within(limit))?;
            let columns =
                (0..row.columns().len()).map(|index| row.get(index).map_err(session_error));
            rows.push(columns.collect::<Result<_, _>>()?);
        }
        Ok(rows)
    }

    fn compile_error(
        &mut self,
        block: &Block,
        limit: Duration,
    ) -> Result<Option<String>, SessionError> {
        self.limit(limit)?;
        let values: Vec<i64> = block.binds.iter().map(|bind| bind.value()).collect();
        let values: Vec<&dyn ToDbValue> = values.iter().map(|value| value as _).collect();
        match self.0.execute(&block.text, &values) {
            Ok(_) => Ok(None),
            Err(error) => match error.kind() {
                ErrorKind::DbError(said) if said.code() == NOT_COMPILED => {
                    Ok(Some(error.to_string()))
                }
                _ => Err(error_within(limit)(error)),
            },
        }
    }
}

impl Bind {
    /// What comes out must be put in as well, for its type.
    fn value(&self) -> i64 {
        match self {
            Self::In(value) => *value,
            Self::Out => 0,
        }
    }
}

/// Errors by which a server says that the session is over.
/// <https://docs.oracle.com/en/error-help/db/>
const SESSION_IS_OVER: [usize; 17] = [
    28, 600, 1012, 1033, 1034, 1089, 1090, 1092, 2396, 2399, 3113, 3114, 3135, 12537, 12547, 12571,
    12572,
];

/// PL/SQL that the server could not compile. <https://docs.oracle.com/en/error-help/db/ora-06550/>
const NOT_COMPILED: usize = 6550;

/// Where the server itself has refused a statement, the session goes on.
fn session_error(error: oracledb::Error) -> SessionError {
    match error.kind() {
        ErrorKind::DbError(said) if SESSION_IS_OVER.contains(&said.code()) => {
            SessionError::ended(error.to_string())
        }
        ErrorKind::DbError(_) => SessionError::Statement(refused(error.to_string())),
        _ => SessionError::ended(error.to_string()),
    }
}

/// The same for a statement that the driver gives up after this long.
fn error_within(limit: Duration) -> impl Fn(oracledb::Error) -> SessionError {
    move |error| match error.kind() {
        ErrorKind::CallTimeoutExceeded => SessionError::silent(limit),
        _ => session_error(error),
    }
}
