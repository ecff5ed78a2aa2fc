//! What `#[with_dlock]` can be put on, and what it makes of it, on locks of a `MockDatabase`. What it does on real servers is in the contract: `backends/suite/attribute.rs`.

mod arguments;
mod endings;
mod forms;
mod generated;
mod ui;

use dlock::prelude::*;
use sea_orm::{DatabaseConnection, DbBackend, MockDatabase};

fn database() -> DatabaseConnection {
    MockDatabase::new(DbBackend::Postgres).into_connection()
}

async fn is_locked(db: &DatabaseConnection, key: impl Into<Key>) -> bool {
    let lock = db.dlock(key).try_acquire().await;
    lock.expect("a mock always answers").is_none()
}

/// An error as applications have them.
#[derive(Debug, PartialEq)]
enum AppError {
    Lock(String),
    Refused,
}

impl From<dlock::Error> for AppError {
    fn from(error: dlock::Error) -> Self {
        Self::Lock(error.to_string())
    }
}
