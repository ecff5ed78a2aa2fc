//! The narrow side of Oracle's driver: all that is asked of it. It blocks.

use std::time::Duration;

use oracledb::{Config, Connection, ErrorKind, ToDbValue};
use sea_orm::DbErr;

use crate::dialect::oracle::{Bind, Block};
use crate::session::SILENT;
use crate::session::doubt::{ended, refused};

/// A row, each column as text.
pub(super) type TextRow = Vec<Option<String>>;

/// A connection.
pub(super) trait Driver: 'static {
    /// Runs a block and returns the numbers that come out of it.
    fn run(&mut self, block: &Block, limit: Duration) -> Result<Vec<Option<i64>>, DbErr>;

    fn select(&mut self, sql: &str, limit: Duration) -> Result<Vec<TextRow>, DbErr>;
}

/// A connection of the driver. Dropping it logs off.
pub(super) struct OracleDriver(Connection);

impl OracleDriver {
    /// `limit` bounds each step of connecting.
    pub(super) fn connect(config: Config, limit: Duration) -> Result<Self, DbErr> {
        let config = match config.transport_connect_timeout() {
            Some(_) => config,
            None => config.set_transport_connect_timeout(Some(limit)),
        };
        oracledb::connect(config).map(Self).map_err(db)
    }

    fn limit(&self, limit: Duration) -> Result<(), DbErr> {
        self.0.set_call_timeout(Some(limit)).map_err(db)
    }
}

impl Driver for OracleDriver {
    fn run(&mut self, block: &Block, limit: Duration) -> Result<Vec<Option<i64>>, DbErr> {
        self.limit(limit)?;
        let values: Vec<i64> = block.binds.iter().map(|bind| bind.value()).collect();
        let values: Vec<&dyn ToDbValue> = values.iter().map(|value| value as _).collect();
        let mut done = self.0.execute(&block.text, &values).map_err(db)?;
        let row = done.out_bind_data();
        let outs = block.binds.iter().filter(|bind| **bind == Bind::Out);
        (0..outs.count())
            .map(|index| row.get(index).map_err(db))
            .collect()
    }

    fn select(&mut self, sql: &str, limit: Duration) -> Result<Vec<TextRow>, DbErr> {
        self.limit(limit)?;
        let mut rows = Vec::new();
        for row in self.0.query(sql, &[]).map_err(db)? {
            let row = row.map_err(db)?;
            let columns = (0..row.columns().len()).map(|index| row.get(index).map_err(db));
            rows.push(columns.collect::<Result<_, _>>()?);
        }
        Ok(rows)
    }
}

impl Drop for OracleDriver {
    fn drop(&mut self) {
        // Logging off is a round trip.
        drop(self.limit(Duration::from_secs(1)));
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

/// Where the server itself has refused a statement, the session goes on.
fn db(error: oracledb::Error) -> DbErr {
    match error.kind() {
        ErrorKind::DbError(_) => refused(error.to_string()),
        ErrorKind::CallTimeoutExceeded => ended(SILENT.to_owned()),
        _ => ended(error.to_string()),
    }
}
