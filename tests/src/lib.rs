//! What the tests and their helper process share: where the servers are, how to reach them, and the few things that both do there.

mod counter;
mod db;
mod race;
pub mod urls;
mod victim;
mod way;

use sea_orm::{ConnectOptions, Database, DatabaseConnection};

pub use self::counter::{Counter, Guarded};
pub use self::db::{Db, pool_of};
pub use self::race::{Race, race};
pub use self::victim::Victim;
pub use self::way::{Held, Scope, Way};

/// The value of an environment variable that `tests/run` sets.
///
/// # Panics
///
/// When it is missing: a test that cannot reach its server fails, it does not skip.
pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run tests/run, or start the servers and set it")
    })
}

/// A connection like an application's, with at most this many connections of its own.
///
/// # Panics
///
/// When the server cannot be reached.
pub async fn connect(url: &str, connections: u32) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).sqlx_logging(false);
    Database::connect(options)
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}"))
}
