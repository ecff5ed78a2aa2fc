//! Locks of SeaORM's entities: a row has a lock of its own, whoever names it.

use sea_orm::sea_query::{IntoValueTuple, ValueTuple};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, Iterable, ModelTrait, PrimaryKeyToColumn,
    PrimaryKeyTrait, QueryFilter, Select,
};

use crate::error::Error;
use crate::key::Key;
use crate::pool::DLock;
use crate::pool::DLockExt;
use crate::pool::{Connection, Lockable};

type PrimaryKeyOf<E> = <<E as EntityTrait>::PrimaryKey as PrimaryKeyTrait>::ValueType;

type RowOf<M> = <<M as ModelTrait>::Entity as EntityTrait>::Model;

/// Adds `Entity::dlock(&db, primary_key)` to every SeaORM entity: the lock of a row that need not
/// have been read, nor exist.
///
/// The row's key is text, `{schema}.{table}/{primary key}`, and so the same lock as
/// `db.dlock("shop.invoice/42")`:
///
/// * **The schema** is the entity's `schema_name`, else the current database, as the server calls
///   it (`current_database()` on PostgreSQL, `DATABASE()` on MySQL and MariaDB, on SQLite and a
///   `MockDatabase` always `main`) in a session that connects like the application's, with its
///   `after_connect` hook.
/// * **The primary key** is its parts in the order of the entity, joined by `,`. Integers are
///   decimal, `bool` is `1` or `0`; text, `char`, enums and bytes are themselves; a `Uuid` is
///   hyphenated and lower-case; a `Decimal` has no zeros at its end; dates and times are
///   `2026-11-21`, `20:33:23.5`, `2026-11-21T20:33:23.5`, in UTC where they have a time zone.
/// * **Escaped** as `%XX`, the bytes of UTF-8 in upper-case hexadecimal, is everything but `A-Z a-z
///   0-9 - _ . ~`, and in schema and table the dot, too.
///
/// So a row has one name on every service whose entity has the same schema, table and primary key,
/// whatever the integer types (a `Uuid` on one and its bytes on another are two). Two services that
/// say the schema of one table differently, or one only, have two names for its rows; tables that
/// only PostgreSQL's search path tells apart, as with a schema for each tenant, have one, and so
/// exclude each other. A key of text or time has to be written as the database gives it back:
/// `find_by_id("A")` may find the row `a`, whose lock is another, and PostgreSQL keeps no
/// nanoseconds.
///
/// What a key is called by is shown by [`physical_key`](crate::DLockGuard::physical_key), on
/// PostgreSQL as its hash; its `Display` leaves the current database out.
///
/// A part that is NULL, a float, JSON, an array, a `BigDecimal`, an address of a network, or of a
/// type whose feature is off (`with-uuid`, `with-chrono`, `with-time`, `with-rust_decimal`) is
/// [`Error::InvalidKey`], said by whatever takes the lock; so is a row without schema on MySQL or
/// MariaDB where no database is selected.
///
/// A transaction, by [`xact`](DLock::xact), is asked for its database itself, by one more
/// statement, which is prepared, as SeaORM's own are. It cannot be behind a pooler that lets
/// transactions share sessions and knows no prepared statements, as PgBouncer before 1.21 does not:
/// an entity with a `schema_name` needs no such statement. Elsewhere a row costs what any other key
/// costs. A transaction knows of no [`namespace`](crate::LockPoolBuilder::namespace): where the
/// pool has one, the lock by `xact` is another without [`settings_of`](crate::DLock::settings_of).
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use dlock::prelude::*;
/// # mod invoice {
/// #     use sea_orm::entity::prelude::*;
/// #     #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
/// #     #[sea_orm(table_name = "invoice")]
/// #     pub struct Model { #[sea_orm(primary_key)] pub id: i64, pub paid: bool }
/// #     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
/// #     pub enum Relation {}
/// #     impl ActiveModelBehavior for ActiveModel {}
/// # }
///
/// # async fn example(db: sea_orm::DatabaseConnection) -> Result<(), dlock::Error> {
/// let guard = invoice::Entity::dlock(&db, 42).timeout(Duration::from_secs(5)).await?;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
pub trait EntityDLockExt: EntityTrait {
    /// A lock on the row with this primary key; see [`DLock`] for what to do with it.
    fn dlock<C: DLockExt>(on: &C, primary_key: impl Into<PrimaryKeyOf<Self>>) -> DLock<'_, C>;
}

impl<E: EntityTrait> EntityDLockExt for E {
    fn dlock<C: DLockExt>(on: &C, primary_key: impl Into<PrimaryKeyOf<Self>>) -> DLock<'_, C> {
        on.dlock(key::<E>(primary_key.into().into_value_tuple()))
    }
}

/// Adds [`dlock`](Self::dlock) and [`with_lock`](Self::with_lock) to every SeaORM model: the lock
/// of its row, which is called as told at [`EntityDLockExt`].
pub trait ModelDLockExt: ModelTrait {
    /// A lock on this row; see [`DLock`] for what to do with it.
    ///
    /// What the model says of the row may be old by the time the lock is held: read it again, or
    /// use [`with_lock`](Self::with_lock).
    fn dlock<'a, C: DLockExt>(&self, on: &'a C) -> DLock<'a, C>;

    /// Holds the lock of this row around a transaction in which the row is read anew: lock,
    /// `BEGIN`, `SELECT`, `body`, `COMMIT` (or `ROLLBACK` when the body fails), unlock, in this
    /// order.
    ///
    /// So the model that the body gets is what the last holder has committed, on every isolation
    /// level. It is [`transaction`](DLock::transaction) and no more; for a timeout of its own or an
    /// isolation level use that: `model.dlock(&db).timeout(limit).transaction(..)`. Without, the
    /// pool's [`default_timeout`](crate::LockPoolBuilder::default_timeout) bounds the wait.
    ///
    /// # Errors
    ///
    /// `DbErr::RecordNotFound` when the row is gone. Otherwise those of
    /// [`transaction`](DLock::transaction).
    ///
    /// # Cancel safety
    ///
    /// That of [`transaction`](DLock::transaction).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use dlock::prelude::*;
    /// use sea_orm::{ActiveModelTrait, DatabaseConnection, DbErr, IntoActiveModel, Set};
    /// # mod invoice {
    /// #     use sea_orm::entity::prelude::*;
    /// #     #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    /// #     #[sea_orm(table_name = "invoice")]
    /// #     pub struct Model { #[sea_orm(primary_key)] pub id: i64, pub paid: bool }
    /// #     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    /// #     pub enum Relation {}
    /// #     impl ActiveModelBehavior for ActiveModel {}
    /// # }
    ///
    /// async fn pay(db: &DatabaseConnection, invoice: invoice::Model) -> Result<(), DbErr> {
    ///     invoice.with_lock(db, async |txn, invoice| {
    ///         if !invoice.paid {
    ///             let mut invoice = invoice.into_active_model();
    ///             invoice.paid = Set(true);
    ///             invoice.update(txn).await?;
    ///         }
    ///         Ok(())
    ///     }).await
    /// }
    /// ```
    fn with_lock<C, T, E, F>(&self, on: &C, body: F) -> impl Future<Output = Result<T, E>>
    where
        C: Connection + Lockable,
        F: AsyncFnOnce(&DatabaseTransaction, RowOf<Self>) -> Result<T, E>,
        E: From<Error> + From<DbErr>;
}

impl<M: ModelTrait> ModelDLockExt for M {
    fn dlock<'a, C: DLockExt>(&self, on: &'a C) -> DLock<'a, C> {
        on.dlock(key::<M::Entity>(self.get_primary_key_value()))
    }

    async fn with_lock<C, T, E, F>(&self, on: &C, body: F) -> Result<T, E>
    where
        C: Connection + Lockable,
        F: AsyncFnOnce(&DatabaseTransaction, RowOf<Self>) -> Result<T, E>,
        E: From<Error> + From<DbErr>,
    {
        let primary_key = self.get_primary_key_value();
        let key = key::<M::Entity>(primary_key.clone());
        let lock = DLock::new(on, key.clone());
        let under_lock = async |txn: &DatabaseTransaction| {
            let row = select::<M::Entity>(primary_key).one(txn).await?;
            let row = row.ok_or_else(|| DbErr::RecordNotFound(key.to_string()))?;
            body(txn, row).await
        };
        lock.transaction(under_lock).await
    }
}

fn key<E: EntityTrait>(primary_key: ValueTuple) -> Key {
    let entity = E::default();
    Key::row(entity.schema_name(), entity.table_name(), primary_key)
}

/// `find_by_id` for values that a model has.
fn select<E: EntityTrait>(primary_key: ValueTuple) -> Select<E> {
    let columns = E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column);
    let is = |rows: Select<E>, (column, part): (E::Column, _)| rows.filter(column.eq(part));
    columns.zip(primary_key).fold(E::find(), is)
}
