//! Invoices by Actix Web: several of these on one database, and each invoice is paid once.
//!
//! ```console
//! $ cargo run -p dlock-example-actix
//! listening on http://127.0.0.1:3000
//! ```
//!
//! | variable | what it says | without it |
//! |---|---|---|
//! | `DATABASE_URL` | the database | the SQLite database `invoices.db` in the current folder |
//! | `LISTEN` | the address; port 0 is any that is free | `127.0.0.1:3000` |
//! | `NIGHTLY_AT` | when reminders are sent, in UTC | `03:00` |
//! | `PARTNERS_URL` | who takes money, keeps the books and sends letters | nobody, which takes two seconds |
//! | `LOCK_NAMESPACE` | what keeps apart the locks of services on one MySQL or MariaDB server | no namespace |

mod error;
mod handlers;

use std::env;
use std::error::Error;
use std::io;
use std::time::Duration;

use actix_web::web::Data;
use actix_web::{App, HttpServer};
use dlock::prelude::*;
use dlock_example_invoices::{Migrator, Partners, asked_to_stop, connect, env_or, send_reminders};
use sea_orm::DatabaseConnection;
use sea_orm_migration::MigratorTrait;
use tokio::runtime::Handle;

/// How long a lock is waited for where nothing else is said.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an instance that starts waits for the one that migrates.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// How long the nightly job may go on after all requests are answered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let night = env_or("NIGHTLY_AT", "03:00").parse();
    let night = night.map_err(|error| format!("NIGHTLY_AT: {error}"))?;
    let db = connect().await?;
    let locks = lock_pool(&db);
    db.dlock("migrations")
        .timeout(MIGRATION_TIMEOUT)
        .run(async |_lock| Migrator::up(&db, None).await)
        .await?;

    let asked_to_stop = asked_to_stop()?;
    let partners = Partners::from_env()?;

    let app = {
        let (db, partners) = (db.clone(), partners.clone());
        move || {
            App::new()
                .app_data(Data::new(db.clone()))
                .app_data(Data::new(partners.clone()))
                .configure(handlers::routes)
        }
    };
    let server = HttpServer::new(app)
        .shutdown_signal(asked_to_stop)
        .bind(env_or("LISTEN", "127.0.0.1:3000"))
        .map_err(|error| format!("LISTEN: {error}"))?;
    tokio::spawn(send_reminders(night, db.clone(), partners));
    for address in server.addrs() {
        println!("listening on http://{address}");
    }
    server.run().await?;

    locks.close_timeout(CLOSE_TIMEOUT).await;
    db.close().await?;
    Ok(())
}

/// Each of Actix Web's workers has a runtime of its own, which ends before `main` does. The sessions that hold the locks are for all of them, so they are on this one.
fn lock_pool(db: &DatabaseConnection) -> LockPool {
    let locks = LockPool::builder(db)
        .runtime(Handle::current())
        .default_timeout(LOCK_TIMEOUT);
    match env::var("LOCK_NAMESPACE") {
        Ok(namespace) => locks.namespace(namespace).install(),
        Err(_) => locks.install(),
    }
}
