//! The server's view of its locks. <https://www.postgresql.org/docs/current/view-pg-locks.html>

use sea_query::{Expr, ExprTrait, JoinType, Query, SelectStatement, TableRef};

use super::batch::packed;
use super::identity::Identity;
use super::query::{call_of, text};
use crate::key::PhysicalKey;
use crate::mode::Mode;

/// A column of [`advisory_locks`].
fn column(name: &'static str) -> Expr {
    Expr::col(("l", name))
}

fn packed_key() -> Expr {
    Expr::cust("((l.classid::bigint << 32) | l.objid::bigint)")
}

fn is_pair() -> Expr {
    column("objsubid").eq(2)
}

fn is_shared() -> Expr {
    column("mode").eq("ShareLock")
}

/// Every advisory lock of the server.
fn advisory_locks() -> SelectStatement {
    Query::select()
        .from_as(("pg_catalog", "pg_locks"), "l")
        .and_where(column("locktype").eq("advisory"))
        .to_owned()
}

/// Every advisory lock of this database: three columns of its [holder](with_holder), the packed
/// key, and whether it is a pair, shared, granted. A caller reads each column as nullable.
pub(crate) fn locks() -> String {
    let mut locks = advisory_locks();
    let locks = with_holder(&mut locks)
        .expr(packed_key())
        .expr(is_pair())
        .expr(is_shared())
        .expr(column("granted"));
    text(locks)
}

/// A row with the three columns of a [holder](with_holder) of this lock, if there is one.
pub(crate) fn holder_of(key: &PhysicalKey) -> String {
    let mut holders = lock(key);
    text(with_holder(&mut holders).limit(1))
}

/// The process of a lock and its application's name, or instead of them the name of the prepared
/// transaction that has it. <https://www.postgresql.org/docs/current/view-pg-prepared-xacts.html>
fn with_holder(locks: &mut SelectStatement) -> &mut SelectStatement {
    locks
        .expr(column("pid"))
        .expr(Expr::col(("a", "application_name")))
        .expr(prepared_transaction())
        .left_join(
            TableRef::from(("pg_catalog", "pg_stat_activity")).alias("a"),
            Expr::col(("a", "pid")).equals(("l", "pid")),
        )
        .and_where(column("database").eq(Expr::cust(
            "(SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
        )))
}

/// The name of the prepared transaction that holds a lock of [`advisory_locks`]: both have the lock
/// of their transaction's number by the same virtual transaction, and no process.
fn prepared_transaction() -> Expr {
    let is_of_lock = |column| Expr::col(("x", column)).equals(("l", column));
    let name = Query::select()
        .column(("p", "gid"))
        .from_as(("pg_catalog", "pg_locks"), "x")
        .join(
            JoinType::Join,
            TableRef::from(("pg_catalog", "pg_prepared_xacts")).alias("p"),
            Expr::col(("p", "transaction")).equals(("x", "transactionid")),
        )
        .and_where(column("pid").is_null())
        .and_where(Expr::col(("x", "pid")).is_null())
        .and_where(is_of_lock("virtualtransaction"))
        .limit(1)
        .to_owned();
    Expr::SubQuery(None, Box::new(name.into()))
}

/// This lock on any session.
fn lock(key: &PhysicalKey) -> SelectStatement {
    let pair = matches!(key, PhysicalKey::Pair(..));
    advisory_locks()
        .and_where(column("granted"))
        .and_where(packed_key().eq(packed(key)))
        .and_where(is_pair().eq(pair))
        .to_owned()
}

/// This lock, if the session of this process holds it.
fn lock_of(key: &PhysicalKey, mode: Mode, pid: i64) -> SelectStatement {
    lock(key)
        .and_where(column("pid").eq(pid))
        .and_where(is_shared().eq(mode == Mode::Shared))
        .to_owned()
}

/// One row: whether the session of this process holds this lock. None on another session than the
/// one of this identity.
pub(crate) fn held(identity: &Identity, key: &PhysicalKey, mode: Mode, pid: i64) -> String {
    let held = lock_of(key, mode, pid).expr(Expr::val(1)).to_owned();
    text(
        Query::select()
            .expr(Expr::exists(held))
            .and_where(identity.proof()),
    )
}

/// Ends that session; does nothing on another session than the one of this identity.
/// <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SIGNAL>
pub(crate) fn end_holder(identity: &Identity, key: &PhysicalKey, mode: Mode, pid: i64) -> String {
    let end = call_of("pg_terminate_backend").arg(column("pid"));
    let mut end = lock_of(key, mode, pid).expr(end).to_owned();
    text(end.and_where(identity.proof()))
}

/// The key of a row of [`locks`].
pub(crate) fn unpacked(packed: i64, pair: bool) -> PhysicalKey {
    match pair {
        false => PhysicalKey::Int(packed),
        true => PhysicalKey::Pair((packed >> 32) as i32, packed as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_a_pair_keeps_both_signs() {
        for (a, b) in [
            (0, 0),
            (-1, 1),
            (1, -1),
            (i32::MIN, i32::MAX),
            (i32::MAX, i32::MIN),
        ] {
            let key = PhysicalKey::Pair(a, b);
            assert_eq!(unpacked(packed(&key), true), key);
        }
    }
}
