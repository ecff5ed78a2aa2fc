//! A pool of sqlx as the application's connection.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::{Connection, Database, Pool};
use sea_orm::{DatabaseConnection, sqlx};

use crate::backend::origin::{Application, Closed, ConnectSettings};
use crate::backend::seam::Backend;

/// A database that sqlx speaks.
pub(crate) trait SqlxDatabase: Database {
    type Backend: Backend;

    fn backend(pool: &Pool<Self>, settings: ConnectSettings) -> Self::Backend;

    fn latest(backend: &Self::Backend) -> &Latest<Self>;

    /// The pool as SeaORM sees it.
    fn orm(pool: Pool<Self>) -> DatabaseConnection;
}

pub(crate) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// What the application connects with, as far as is known.
pub(crate) struct Latest<DB: Database>(Mutex<Arc<Options<DB>>>);

impl<DB: Database> Latest<DB> {
    pub(crate) fn of(pool: &Pool<DB>) -> Self {
        Self(Mutex::new(pool.connect_options()))
    }

    pub(crate) fn options(&self) -> Arc<Options<DB>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, options: Arc<Options<DB>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = options;
    }
}

/// The application's options for one connection that stays. One of its own may be retired, counted
/// and cleaned (`DISCARD ALL` frees the locks).
pub(crate) fn for_one_session<DB: Database>(application: &Pool<DB>) -> PoolOptions<DB> {
    (application.options().clone())
        .max_connections(1)
        .min_connections(0)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(|_, _| Box::pin(async { Ok(true) }))
        .after_release(|_, _| Box::pin(async { Ok(true) }))
}

impl<DB: SqlxDatabase> Application for Pool<DB> {
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

    fn backend(&self, settings: ConnectSettings) -> Arc<dyn Backend> {
        Arc::new(DB::backend(self, settings))
    }

    fn refresh(&self, backend: &dyn Any) {
        if let Some(backend) = backend.downcast_ref() {
            DB::latest(backend).set(self.connect_options());
        }
    }
}
