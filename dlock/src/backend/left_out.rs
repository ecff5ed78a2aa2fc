//! Databases that this build leaves out, and the errors for their connections.

use sea_orm::DatabaseBackend;

use super::rules::LockRules;
use crate::error::Error;

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
    hint: "this version of dlock locks on PostgreSQL (feature `postgres`), MySQL and MariaDB (feature `mysql`) and SQLite (feature `sqlite`), all by sqlx, and by lock pools of their own (`LockPool::open`) on SQL Server (`dlock::mssql`) and Oracle (`dlock::oracle`)",
};

impl LeftOut {
    pub(crate) const fn error(&self) -> Error {
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

    const fn rules(&self) -> LockRules {
        LockRules {
            database: self.backend,
            modes: &[],
            physical_key: |_| Ok(None),
            refusal: Some(self.error()),
        }
    }
}

/// The rules of a database that is left out: each request is refused.
pub(crate) fn rules(backend: DatabaseBackend) -> &'static LockRules {
    static RULES: [LockRules; 4] = [
        POSTGRES.rules(),
        MYSQL.rules(),
        SQLITE.rules(),
        UNKNOWN.rules(),
    ];
    let [postgres, mysql, sqlite, unknown] = &RULES;
    match backend {
        DatabaseBackend::Postgres => postgres,
        DatabaseBackend::MySql => mysql,
        DatabaseBackend::Sqlite => sqlite,
        _ => unknown,
    }
}

/// The error for a transaction on a database without transaction locks, or whose locks are left
/// out.
pub(crate) fn no_transaction_locks(backend: DatabaseBackend) -> Error {
    let name = match backend {
        DatabaseBackend::Postgres => return POSTGRES.error(),
        DatabaseBackend::MySql => MYSQL.backend,
        DatabaseBackend::Sqlite => SQLITE.backend,
        _ => "this database",
    };
    Error::Unsupported {
        backend: name,
        feature: "locks that end with a transaction (`.xact()`)",
        hint: "use `db.dlock(key).transaction(..)`: it locks, begins, commits and unlocks in this order",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_left_out_is_named_with_its_feature() {
        let text = no_transaction_locks(DatabaseBackend::Postgres).to_string();
        assert!(text.contains("PostgreSQL"), "{text}");
        assert!(text.contains("features = [\"postgres\"]"), "{text}");
        let text = no_transaction_locks(DatabaseBackend::Sqlite).to_string();
        assert!(text.contains("`db.dlock(key).transaction(..)`"), "{text}");
    }
}
