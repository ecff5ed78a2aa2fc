//! Migrations in a service of which several instances start together: each migration runs once, and all wait until it is done.
//!
//! ```console
//! $ for i in 1 2 3 4; do cargo run -q -p dlock-example-migrate & done; wait
//! ```
//!
//! `DATABASE_URL` names the database; without it, it is the SQLite database `invoices.db` in the current folder.

use std::io;

use dlock::prelude::*;
use dlock_example_invoices::{Migrator, connect};
use sea_orm::DbErr;
use sea_orm_migration::MigratorTrait;

#[tokio::main]
async fn main() -> Result<(), DbErr> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let db = connect().await?;
    db.dlock("migrations")
        .run(async |_lock| Migrator::up(&db, None).await)
        .await?;
    db.close().await
}
