//! Databases that this build leaves out, and what is said to their connections.

#[cfg(feature = "mock")]
use super::rules::Dialect;
use crate::error::Error;
#[cfg(feature = "mock")]
use crate::key::{KeyRepr, PhysicalKey};
#[cfg(feature = "mock")]
use crate::mode::Mode;

/// A database, and the feature that it takes.
#[derive(Debug)]
pub(crate) struct LeftOut {
    backend: &'static str,
    feature: &'static str,
    hint: &'static str,
}

pub(crate) const POSTGRES: LeftOut = LeftOut {
    backend: "PostgreSQL",
    feature: "locks without dlock's feature `postgres`",
    hint: "turn it on: `features = [\"postgres\"]` at `sea-orm-dlock` in Cargo.toml",
};

pub(crate) const MYSQL: LeftOut = LeftOut {
    backend: "MySQL/MariaDB",
    feature: "locks without dlock's feature `mysql`",
    hint: "turn it on: `features = [\"mysql\"]` at `sea-orm-dlock` in Cargo.toml",
};

pub(crate) const SQLITE: LeftOut = LeftOut {
    backend: "SQLite",
    feature: "locks without dlock's feature `sqlite`",
    hint: "turn it on: `features = [\"sqlite\"]` at `sea-orm-dlock` in Cargo.toml",
};

/// One that is newer than this version.
pub(crate) const UNKNOWN: LeftOut = LeftOut {
    backend: "this kind of `DatabaseConnection`",
    feature: "locks",
    hint: "this version of dlock locks on PostgreSQL (feature `postgres`), MySQL and MariaDB (feature `mysql`) and SQLite (feature `sqlite`), all by sqlx, and by lock pools of their own on SQL Server (`LockPool::mssql`) and Oracle (`LockPool::oracle`)",
};

impl LeftOut {
    pub(crate) fn error(&self) -> Error {
        let Self {
            backend,
            feature,
            hint,
        } = *self;
        Error::Unsupported {
            backend,
            feature,
            hint,
        }
    }
}

/// It has no name for any lock.
#[cfg(feature = "mock")]
impl Dialect for LeftOut {
    fn backend(&self) -> &'static str {
        self.backend
    }

    fn check(&self, _: Mode) -> Result<(), Error> {
        Err(self.error())
    }

    fn physical_key(&self, _: &KeyRepr) -> Result<Option<PhysicalKey>, Error> {
        Err(self.error())
    }
}
