//! Invoices by Axum: several of these on one database, and each invoice is paid once.
//!
//! ```console
//! $ cargo run -p dlock-example-axum
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

use axum::Router;
use axum::extract::FromRef;
use dlock::prelude::*;
use dlock_example_invoices::{Migrator, Partners, asked_to_stop, connect, env_or, send_reminders};
use sea_orm::DatabaseConnection;
use sea_orm_migration::MigratorTrait;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// How long a lock is waited for where nothing else is said.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an instance that starts waits for the one that migrates.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// How long requests may go on when the service is asked to stop; Axum waits for them without an end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the nightly job may go on after all requests are answered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// What handlers can have.
#[derive(Debug, Clone, FromRef)]
struct App {
    db: DatabaseConnection,
    partners: Partners,
}

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

    let listener = TcpListener::bind(env_or("LISTEN", "127.0.0.1:3000")).await;
    let listener = listener.map_err(|error| format!("LISTEN: {error}"))?;
    tokio::spawn(send_reminders(night, db.clone(), partners.clone()));
    println!("listening on http://{}", listener.local_addr()?);
    let app = handlers::routes(App {
        db: db.clone(),
        partners,
    });
    serve(listener, app, asked_to_stop).await?;

    locks.close_timeout(CLOSE_TIMEOUT).await;
    db.close().await?;
    Ok(())
}

/// Until all requests are answered, or have had time enough, after somebody wants the service to end.
async fn serve(
    listener: TcpListener,
    app: Router,
    asked_to_stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let stop = async {
        asked_to_stop.await;
        tracing::info!("asked to stop");
        stopping.send(()).ok();
    };
    let too_long = async {
        stopped.await.ok();
        sleep(SHUTDOWN_TIMEOUT).await;
    };
    let server = axum::serve(listener, app).with_graceful_shutdown(stop);
    tokio::select! {
        served = server.into_future() => served,
        () = too_long => {
            tracing::warn!("requests that go on are cut off");
            Ok(())
        }
    }
}

fn lock_pool(db: &DatabaseConnection) -> LockPool {
    let locks = LockPool::builder(db).default_timeout(LOCK_TIMEOUT);
    match env::var("LOCK_NAMESPACE") {
        Ok(namespace) => locks.namespace(namespace).install(),
        Err(_) => locks.install(),
    }
}
