//! Connections that cannot lock, and what they say.

use sea_orm::DatabaseConnectionType;

use super::left_out;
use crate::error::Error;

const DISCONNECTED: Error = Error::Unsupported {
    backend: "a disconnected `DatabaseConnection`",
    feature: "locks",
    hint: "connect with `Database::connect` first",
};

/// Which kinds there are depends on the features of sea-orm, which are not ours to know; a kind
/// shows its name.
pub(super) fn kind(connection: &DatabaseConnectionType) -> Error {
    match connection {
        DatabaseConnectionType::Disconnected => DISCONNECTED,
        #[allow(
            unreachable_patterns,
            reason = "which variants exist depends on the features of sea-orm"
        )]
        other => named(&format!("{other:?}")),
    }
}

fn named(kind: &str) -> Error {
    let (backend, feature, hint) = match kind {
        "SqlxPostgresPoolConnection" => return left_out::POSTGRES.error(),
        "SqlxMySqlPoolConnection" => return left_out::MYSQL.error(),
        "SqlxSqlitePoolConnection" => return left_out::SQLITE.error(),
        "MockDatabaseConnection" => (
            "a `MockDatabase`",
            "locks without dlock's feature `mock`",
            "turn it on: `features = [\"mock\"]` at `sea-orm-dlock` in Cargo.toml, where tests are all that needs it under `[dev-dependencies]`",
        ),
        "ProxyDatabaseConnection" => (
            "a proxy (`Database::connect_proxy`)",
            "locks",
            "dlock cannot open sessions through it: lock on a connection to the database itself, made with `Database::connect`",
        ),
        "RusqliteSharedConnection" => (
            "SQLite by rusqlite",
            "locks",
            "dlock asks sqlx where the database is: lock on a connection of sea-orm's feature `sqlx-sqlite`, with dlock's feature `sqlite`",
        ),
        _ => return left_out::UNKNOWN.error(),
    };
    Error::Unsupported {
        backend,
        feature,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(kind: &str) -> String {
        named(kind).to_string()
    }

    #[test]
    fn every_kind_hears_what_it_is_and_what_to_do() {
        for (kind, found, way_out) in [
            (
                "SqlxPostgresPoolConnection",
                "PostgreSQL",
                "features = [\"postgres\"]",
            ),
            ("SqlxMySqlPoolConnection", "MySQL", "features = [\"mysql\"]"),
            (
                "SqlxSqlitePoolConnection",
                "SQLite",
                "features = [\"sqlite\"]",
            ),
            (
                "MockDatabaseConnection",
                "MockDatabase",
                "features = [\"mock\"]",
            ),
            ("ProxyDatabaseConnection", "proxy", "Database::connect`"),
            ("RusqliteSharedConnection", "rusqlite", "sqlx-sqlite"),
            ("Another", "this kind", "feature `postgres`"),
        ] {
            let words = words(kind);
            assert!(words.contains(found) && words.contains(way_out), "{words}");
        }
    }

    /// The way of SeaORM that the names are taken from.
    #[test]
    fn a_kind_shows_its_name() {
        let disconnected = format!("{:?}", DatabaseConnectionType::Disconnected);
        assert_eq!(disconnected, "Disconnected");
    }
}
