//! The statements of MySQL and MariaDB. A name is a parameter of a prepared statement, or written
//! out in a statement that needs no preparing: in hexadecimal, since what a backslash means depends
//! on `sql_mode`.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sea_query::{
    Alias, Expr, ExprTrait, Func, FunctionCall, MysqlQueryBuilder, Query, SelectStatement, TableRef,
};

use super::identity::{Identity, Proof, ReadOnly, ServerName, proof_by_parameter, stamp};
use super::keys::ServerKind;
use crate::backend::batch::MAX_BATCH;
use crate::backend::shared::names::hexadecimal;

fn parameter() -> Expr {
    Expr::cust("?")
}

fn literal(name: &str) -> Expr {
    Expr::cust(format!("_utf8mb4 x'{}'", hexadecimal(name.as_bytes())))
}

/// The answer to a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tried {
    /// Another session holds the lock.
    Busy,
    /// This session has it already, perhaps by a name that only the server knows to be the same.
    Ours,
    Granted,
}

impl Tried {
    const OURS: i32 = 2;

    pub(crate) fn of(answer: i64) -> Self {
        match answer {
            GRANTED => Self::Granted,
            answer if answer == i64::from(Self::OURS) => Self::Ours,
            _ => Self::Busy,
        }
    }
}

/// What `GET_LOCK` and `RELEASE_LOCK` answer when they did it.
pub(crate) const GRANTED: i64 = 1;

fn release_lock(name: Expr) -> FunctionCall {
    Func::cust("RELEASE_LOCK").arg(name)
}

fn get_lock_at_once(name: Expr) -> FunctionCall {
    Func::cust("GET_LOCK").arg(name).arg(0)
}

/// `GET_LOCK` would grant a lock of this session a second time.
fn try_lock(name: Expr) -> FunctionCall {
    let get = get_lock_at_once(name.clone());
    let is_ours = Expr::expr(holder(name)).eq(Func::cust("CONNECTION_ID"));
    Func::cust("IF").arg(is_ours).arg(Tried::OURS).arg(get)
}

fn holder(name: Expr) -> FunctionCall {
    Func::cust("IS_USED_LOCK").arg(name)
}

/// How a prepared statement tries for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PreparedTry {
    /// The session may hold the lock already: by another name that MySQL takes for the same, or by
    /// an earlier place.
    UnlessOurs,
    /// It cannot. Only the same bytes are one name on MariaDB, and the pool does not try for what it
    /// holds. To ask for the holder first would cost a fifth of the statement's time there.
    AtOnce,
}

impl PreparedTry {
    /// For so many tries in a statement of this shape.
    pub(crate) fn of(server: ServerKind, shape: Shape, tries: usize) -> Self {
        match server {
            ServerKind::MariaDb if shape.tries == tries => Self::AtOnce,
            ServerKind::MariaDb | ServerKind::MySql => Self::UnlessOurs,
        }
    }

    /// How often the statement has the name as a parameter.
    pub(crate) fn names(self) -> usize {
        match self {
            Self::UnlessOurs => 2,
            Self::AtOnce => 1,
        }
    }

    fn call(self) -> FunctionCall {
        match self {
            Self::UnlessOurs => try_lock(parameter()),
            Self::AtOnce => get_lock_at_once(parameter()),
        }
    }
}

/// The shape of a prepared batch. Each is a statement of its own, and the server has room for 16,382
/// of them by default. So releases and tries have the same number of places, a power of two. Places
/// that are left repeat the last name: what is released is not held any more, and what is held is
/// [not taken twice](PreparedTry::UnlessOurs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) releases: usize,
    pub(crate) tries: usize,
}

impl Shape {
    const WIDTHS: usize = MAX_BATCH.ilog2() as usize + 1;

    /// For so many releases and so many tries, of which there is one at least.
    pub(crate) fn of(releases: usize, tries: usize) -> Self {
        let width = releases.max(tries).next_power_of_two();
        let places = |requests| if requests == 0 { 0 } else { width };
        Self {
            releases: places(releases),
            tries: places(tries),
        }
    }

    /// For a statement that is not prepared.
    pub(crate) fn exactly(releases: usize, tries: usize) -> Self {
        Self { releases, tries }
    }
}

/// A batch of this shape, to be prepared; built once. Its parameters are the names of the releases,
/// those of the tries, and then the stamp of the session.
pub(crate) fn prepared(shape: Shape, tried: PreparedTry, read_only: ReadOnly) -> Arc<str> {
    /// For each width, with releases, tries or both, by each way to try and to test `read_only`.
    static STATEMENTS: [[OnceLock<Arc<str>>; 12]; Shape::WIDTHS] =
        [const { [const { OnceLock::new() }; 12] }; Shape::WIDTHS];
    let Shape { releases, tries } = shape;
    let parts = usize::from(releases > 0) + 2 * usize::from(tries > 0);
    let width = releases.max(tries).ilog2() as usize;
    let build = || {
        let proof = proof_by_parameter(Proof::of_tries(tries), read_only);
        let releases = std::iter::repeat_with(|| release_lock(parameter())).take(releases);
        let tries = std::iter::repeat_with(|| tried.call()).take(tries);
        (select_batch(releases, tries) + &proof).into()
    };
    let form = 4 * (parts - 1) + 2 * (tried as usize) + read_only as usize;
    Arc::clone(STATEMENTS[width][form].get_or_init(build))
}

/// A batch that needs no preparing.
pub(crate) fn in_words<'a>(
    identity: &Identity,
    releases: impl Iterator<Item = &'a str>,
    tries: impl Iterator<Item = &'a str>,
) -> String {
    let mut tries = tries.peekable();
    let proof = Proof::of_tries(usize::from(tries.peek().is_some()));
    let releases = releases.map(|name| release_lock(literal(name)));
    let tries = tries.map(|name| try_lock(literal(name)));
    select_batch(releases, tries) + &identity.proof(proof)
}

/// The number of the session that holds this lock, if the session of this identity answers.
pub(crate) fn holder_of(identity: &Identity, name: &str) -> String {
    holders(std::iter::once(name)) + &identity.proof(Proof::Session)
}

/// A slice of a wait.
pub(crate) fn wait(identity: &Identity, server: ServerKind, name: &str, slice: Duration) -> String {
    get_lock(server, name, slice) + &identity.proof(Proof::WritableSession)
}

/// One row, with one column for each release and then one for each try. The server evaluates them
/// from left to right, so what is released can be taken again.
fn select_batch(
    releases: impl Iterator<Item = FunctionCall>,
    tries: impl Iterator<Item = FunctionCall>,
) -> String {
    text(Query::select().exprs(releases.chain(tries)))
}

/// MySQL waits for whole seconds only, so what is less is ended by the limit for a statement, which
/// is an error.
/// <https://dev.mysql.com/doc/refman/8.4/en/optimizer-hints.html#optimizer-hints-execution-time>
fn get_lock(server: ServerKind, name: &str, slice: Duration) -> String {
    let call = |seconds: Expr| Func::cust("GET_LOCK").arg(literal(name)).arg(seconds);
    let wait = |seconds| text(Query::select().expr(call(seconds)));
    match server {
        ServerKind::MySql if slice.subsec_nanos() == 0 => wait(slice.as_secs().into()),
        ServerKind::MySql => {
            let milliseconds = slice.as_nanos().div_ceil(1_000_000);
            let limit = format!("SELECT /*+ MAX_EXECUTION_TIME({milliseconds}) */");
            wait((slice.as_secs() + 1).into()).replacen("SELECT", &limit, 1)
        }
        ServerKind::MariaDb => wait(slice.as_secs_f64().into()),
    }
}

/// `select.to_string` for statements without values.
fn text(select: &SelectStatement) -> String {
    select.to_string(MysqlQueryBuilder)
}

/// A primary may turn into a replica, and its sessions stay.
pub(crate) const READ_ONLY: &str = "read_only";

/// Names and values of these variables, the session's where it has its own (as `wsrep_on` is in
/// Percona's cluster); one that the server lacks is left out. sea-query has no words for it.
pub(crate) fn variables<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    let names = names.join(", ");
    format!("SHOW VARIABLES WHERE Variable_name IN ({names})")
}

/// About the server's group: when it last decided something together, and how many microseconds ago
/// by the server's clock, both NULL when it never did; and how often an idle group decides, in
/// seconds. No row before MySQL 8.1. Any account may read it.
/// <https://dev.mysql.com/doc/refman/9.0/en/group-replication-status-variables.html>
pub(crate) const CONSENSUS: &str = "SELECT NULLIF(VARIABLE_VALUE, ''), \
     TIMESTAMPDIFF(MICROSECOND, NULLIF(VARIABLE_VALUE, ''), UTC_TIMESTAMP(6)), \
     CAST(@@GLOBAL.group_replication_flow_control_period AS UNSIGNED) \
     FROM performance_schema.global_status \
     WHERE VARIABLE_NAME = 'Gr_last_consensus_end_timestamp'";

/// Before MySQL 8.1: the primary of the server's group, NULL when it is in none.
/// <https://dev.mysql.com/doc/refman/8.0/en/group-replication-status-variables.html>
pub(crate) const PRIMARY_MEMBER: &str = "SELECT NULLIF(VARIABLE_VALUE, '') \
     FROM performance_schema.global_status \
     WHERE VARIABLE_NAME = 'group_replication_primary_member'";

/// Whether a variable is on: some versions have words where others have numbers.
pub(crate) fn is_on(value: &str) -> bool {
    !matches!(value, "" | "0" | "OFF")
}

/// Settings of the session, all of them or none. sea-query has no words for it.
pub(crate) fn set_session(settings: &[(&str, String)]) -> String {
    let settings = settings
        .iter()
        .map(|(name, value)| format!("{name} = {value}"));
    format!("SET SESSION {}", settings.collect::<Vec<_>>().join(", "))
}

/// MariaDB compares the bytes of names as they arrive, whatever characters they stand for.
pub(crate) const NAMES: &str = "SET NAMES utf8mb4";

/// Two variables of the session: its stamp, and the program that it belongs to, by which others
/// recognise a lock session. A connection attribute, the protocol's own way, is not in sqlx.
pub(crate) fn mark(token: u64, server: Option<&ServerName>, program: &str) -> String {
    let stamp = stamp(token, server);
    let program = hexadecimal(program.as_bytes());
    format!("SET @dlock_stamp = {stamp}, @dlock = _utf8mb4 x'{program}'")
}

/// Every user-level lock of the server: its name, whether it is granted; the number of its session,
/// the account, the mark. Nothing where the server does not watch them.
/// <https://dev.mysql.com/doc/refman/8.4/en/performance-schema-metadata-locks-table.html>
pub(crate) fn locks() -> String {
    let schema = |table: &'static str, alias: &'static str| {
        TableRef::from((Alias::new("performance_schema"), Alias::new(table))).alias(alias)
    };
    let mark = Expr::col(("v", "VARIABLE_NAME")).eq("dlock");
    text(
        Query::select()
            .expr(Expr::col(("l", "OBJECT_NAME")))
            .expr(Expr::col(("l", "LOCK_STATUS")).eq("GRANTED"))
            .expr(Expr::col(("t", "PROCESSLIST_ID")))
            .expr(account(
                Expr::col(("t", "PROCESSLIST_USER")),
                Expr::col(("t", "PROCESSLIST_HOST")),
            ))
            .expr(Expr::col(("v", "VARIABLE_VALUE")).cast_as("CHAR"))
            .from(schema("metadata_locks", "l"))
            .inner_join(
                schema("threads", "t"),
                Expr::col(("t", "THREAD_ID")).equals(("l", "OWNER_THREAD_ID")),
            )
            .left_join(
                schema("user_variables_by_thread", "v"),
                mark.and(Expr::col(("v", "THREAD_ID")).equals(("l", "OWNER_THREAD_ID"))),
            )
            .and_where(Expr::col(("l", "OBJECT_TYPE")).eq("USER LEVEL LOCK"))
            .and_where(Expr::col(("l", "LOCK_STATUS")).is_in(["GRANTED", "PENDING"])),
    )
}

fn account(user: Expr, host: impl Into<Expr>) -> FunctionCall {
    Func::cust("CONCAT_WS").arg("@").arg(user).arg(host)
}

/// The numbers of the sessions that hold these locks.
pub(crate) fn holders<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let holder = |name| Expr::expr(holder(literal(name))).cast_as("UNSIGNED");
    text(Query::select().exprs(names.map(holder)))
}

/// Harmless where there is no transaction. Whatever `completion_type` says: with `RELEASE` the
/// server would close the session. sea-query has no words for it.
/// <https://dev.mysql.com/doc/refman/9.0/en/commit.html>
pub(crate) const ROLLBACK: &str = "ROLLBACK AND NO CHAIN NO RELEASE";

/// Ends a session. sea-query has no words for it.
pub(crate) fn kill(session: i64) -> String {
    format!("KILL {session}")
}

/// The sessions that this account may see, by number, with their accounts; the host there is with
/// its port.
pub(crate) fn sessions() -> String {
    let host = Func::cust("SUBSTRING_INDEX")
        .arg(Expr::col("HOST"))
        .arg(":")
        .arg(1);
    text(
        Query::select()
            .expr(Expr::col("ID").cast_as("UNSIGNED"))
            .expr(account(Expr::col("USER"), host))
            .from(("information_schema", "PROCESSLIST")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity {
        stamp: 7,
        session: 42,
        server: None,
        read_only: ReadOnly::Number,
    };

    /// Without its proof.
    fn unproved(text: &str) -> &str {
        let (calls, proof) = text.split_once(" FROM DUAL WHERE ").expect("a proof");
        assert!(proof.starts_with("@dlock_stamp "), "{proof}");
        calls
    }

    #[test]
    fn a_batch_releases_before_it_tries() {
        let shape = Shape::of(1, 1);
        let prepared =
            |server| prepared(shape, PreparedTry::of(server, shape, 1), ReadOnly::Number);
        assert_eq!(
            unproved(&prepared(ServerKind::MySql)),
            "SELECT RELEASE_LOCK(?), IF(IS_USED_LOCK(?) = CONNECTION_ID(), 2, GET_LOCK(?, 0))"
        );
        assert_eq!(
            unproved(&prepared(ServerKind::MariaDb)),
            "SELECT RELEASE_LOCK(?), GET_LOCK(?, 0)"
        );
        assert_eq!(
            unproved(&in_words(&IDENTITY, ["a'"].into_iter(), ["é"].into_iter())),
            "SELECT RELEASE_LOCK(_utf8mb4 x'6127'), \
             IF(IS_USED_LOCK(_utf8mb4 x'c3a9') = CONNECTION_ID(), 2, GET_LOCK(_utf8mb4 x'c3a9', 0))"
        );
    }

    #[test]
    fn a_batch_has_places_for_all_its_requests() {
        for (releases, tries) in [(0, 1), (1, 0), (3, 2), (0, MAX_BATCH), (MAX_BATCH, 1)] {
            let shape = Shape::of(releases, tries);
            assert!(shape.releases >= releases && shape.tries >= tries);
            assert_eq!(
                (shape.releases > 0, shape.tries > 0),
                (releases > 0, tries > 0)
            );
            assert_eq!(
                PreparedTry::of(ServerKind::MariaDb, shape, tries) == PreparedTry::AtOnce,
                shape.tries == tries
            );
            for tried in [PreparedTry::UnlessOurs, PreparedTry::AtOnce] {
                let statement = prepared(shape, tried, ReadOnly::Word);
                let names = shape.releases + shape.tries * tried.names();
                assert_eq!(statement.matches('?').count(), names + 1);
            }
        }
    }

    #[test]
    fn a_slice_is_as_long_on_every_server() {
        let wait =
            |server, milliseconds| get_lock(server, "a", Duration::from_millis(milliseconds));
        assert_eq!(
            wait(ServerKind::MySql, 2000),
            "SELECT GET_LOCK(_utf8mb4 x'61', 2)"
        );
        assert_eq!(
            wait(ServerKind::MySql, 1001),
            "SELECT /*+ MAX_EXECUTION_TIME(1001) */ GET_LOCK(_utf8mb4 x'61', 2)"
        );
        assert_eq!(
            wait(ServerKind::MariaDb, 10),
            "SELECT GET_LOCK(_utf8mb4 x'61', 0.01)"
        );
    }
}
