//! What every driver of sqlx has in common: a pool of sqlx as the application's connection.

#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) mod open;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) mod pinned;

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::{Connection, Database, Pool};
use sea_orm::{DatabaseConnection, sqlx};

use super::Connector;
use super::origin::{Application, Closed, ConnectSettings, Source, sealed};
use crate::error::Error;

/// A database that sqlx speaks.
pub(super) trait Driver: Database {
    type Connector: Connector;

    fn connector(pool: &Pool<Self>, settings: ConnectSettings) -> Self::Connector;

    fn latest(connector: &Self::Connector) -> &Latest<Self>;
}

pub(super) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// What the application connects with, as far as is known.
pub(super) struct Latest<DB: Database>(Mutex<Arc<Options<DB>>>);

impl<DB: Database> Latest<DB> {
    pub(super) fn of(pool: &Pool<DB>) -> Self {
        Self(Mutex::new(pool.connect_options()))
    }

    pub(super) fn options(&self) -> Arc<Options<DB>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, options: Arc<Options<DB>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = options;
    }
}

/// The application's options for one connection that stays. One of its own may be retired, counted and cleaned (`DISCARD ALL` frees the locks).
pub(super) fn for_one_session<DB: Database>(application: &Pool<DB>) -> PoolOptions<DB> {
    (application.options().clone())
        .max_connections(1)
        .min_connections(0)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(|_, _| Box::pin(async { Ok(true) }))
        .after_release(|_, _| Box::pin(async { Ok(true) }))
}

impl<DB: Driver> Source for Pool<DB> {
    fn connector(&self, settings: ConnectSettings) -> Arc<dyn Connector> {
        Arc::new(DB::connector(self, settings))
    }
}

impl<DB: Driver> Application for Pool<DB> {
    /// The address of the options inside the pool stays what it is as long as the pool lives.
    fn identity(&self) -> usize {
        std::ptr::from_ref(self.options()).addr()
    }

    fn is_closed(&self) -> bool {
        sqlx::Pool::is_closed(self)
    }

    fn closed(&self) -> Closed {
        Box::pin(self.close_event())
    }

    fn refresh(&self, connector: &dyn Any) {
        if let Some(connector) = connector.downcast_ref() {
            DB::latest(connector).set(self.connect_options());
        }
    }
}

#[allow(private_interfaces, reason = "nobody outside can name this trait")]
impl<DB> sealed::Connection for Pool<DB>
where
    DB: Driver,
    Self: Into<DatabaseConnection>,
{
    fn application(&self) -> Result<&dyn Application, Error> {
        Ok(self)
    }

    fn orm(&self) -> DatabaseConnection {
        self.clone().into()
    }
}
