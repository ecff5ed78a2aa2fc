//! MySQL and MariaDB: user-level locks, by name, in the whole server.
//! <https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html>, <https://mariadb.com/docs/server/reference/sql-functions/secondary-functions/miscellaneous-functions/get_lock>

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use sea_orm::DatabaseBackend;
use sea_query::{
    Alias, Expr, ExprTrait, Func, FunctionCall, MysqlQueryBuilder, Query, SelectStatement, TableRef,
};

use super::{Dialect, MAX_BATCH, hexadecimal, lock_name};
use crate::error::Error;
use crate::key::{Key, PhysicalKey};
use crate::mode::Mode;

/// Which of the two it is: they speak the same protocol and differ in names and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MySql {
    MySql,
    MariaDb,
}

impl MySql {
    /// By what `VERSION()` says.
    pub(crate) fn of_version(version: &str) -> Self {
        match version.contains("MariaDB") {
            true => Self::MariaDb,
            false => Self::MySql,
        }
    }

    /// Whether the server takes this name, and all of it. NUL cuts it on both.
    fn takes(self, name: &str) -> bool {
        let fits = match self {
            // In characters of up to three bytes (4163, 3057).
            Self::MySql => name.chars().count() <= 64 && name.chars().all(|c| c <= '\u{FFFF}'),
            // In bytes (1059).
            Self::MariaDb => name.len() <= 192,
        };
        fits && !name.contains('\0')
    }

    /// Whether two names may be one on the server, so that who gives one of them back gives the other back. MySQL folds each character to lower case, in a way of its own.
    pub(crate) fn may_fold(self, a: &str, b: &str) -> bool {
        let may_be_same =
            |(a, b): (char, char)| !a.is_ascii() || !b.is_ascii() || a.eq_ignore_ascii_case(&b);
        match self {
            Self::MySql => {
                a.chars().count() == b.chars().count() && a.chars().zip(b.chars()).all(may_be_same)
            }
            Self::MariaDb => a == b,
        }
    }

    /// MySQL waits for whole seconds only; MariaDB takes fractions.
    pub(crate) fn wait_unit(self) -> Duration {
        match self {
            Self::MySql => Duration::from_secs(1),
            Self::MariaDb => Duration::ZERO,
        }
    }
}

/// The dialect of the two.
#[derive(Debug)]
struct Names(Option<MySql>);

/// The dialect of this server; `None` while it is not known.
pub(crate) fn names(server: Option<MySql>) -> &'static dyn Dialect {
    match server {
        None => &Names(None),
        Some(MySql::MySql) => &Names(Some(MySql::MySql)),
        Some(MySql::MariaDb) => &Names(Some(MySql::MariaDb)),
    }
}

impl Names {
    fn backend(&self) -> &'static str {
        match self.0 {
            None => super::name(DatabaseBackend::MySql),
            Some(MySql::MySql) => "MySQL",
            Some(MySql::MariaDb) => "MariaDB",
        }
    }

    fn takes(&self, name: &str) -> Option<bool> {
        let [mysql, mariadb] = [MySql::MySql, MySql::MariaDb].map(|server| server.takes(name));
        match self.0 {
            None => (mysql == mariadb).then_some(mysql),
            Some(server) => Some(server.takes(name)),
        }
    }
}

impl Dialect for Names {
    /// A name that the server does not take is hashed: 32 bytes of BLAKE2b in hexadecimal, as `printf %s NAME | b2sum -l 256` prints them.
    fn physical_key(&self, key: &Key) -> Result<Option<PhysicalKey>, Error> {
        let name = lock_name(key, self.backend())?;
        let taken = self.takes(&name);
        let name = taken.map(|taken| match taken {
            true => name,
            false => hexadecimal(&Blake2b::<U32>::digest(name.as_bytes())).into(),
        });
        Ok(name.map(PhysicalKey::Name))
    }

    fn check(&self, mode: Mode) -> Result<(), Error> {
        match mode {
            Mode::Exclusive => Ok(()),
            Mode::Shared => Err(Error::Unsupported {
                backend: self.backend(),
                feature: "shared locks",
                hint: "its user-level locks are exclusive: leave `.shared()` out, or let readers go without a lock",
            }),
        }
    }
}

/// What a try answers, besides 0 for a lock that another session holds.
pub(crate) const GRANTED: i64 = 1;

/// One way to give back, and one to try.
fn get_lock(seconds: Expr) -> FunctionCall {
    Func::cust("GET_LOCK").arg(parameter()).arg(seconds)
}

fn parameter() -> Expr {
    Expr::cust("?")
}

fn release_lock() -> FunctionCall {
    Func::cust("RELEASE_LOCK").arg(parameter())
}

/// The server says whether this session has the lock already, perhaps by a name that only the server knows to be the same: it would be granted a second time.
fn try_lock() -> FunctionCall {
    let holder = Func::cust("IS_USED_LOCK").arg(parameter());
    let is_ours = Expr::expr(holder).eq(Func::cust("CONNECTION_ID"));
    Func::cust("IF").arg(is_ours).arg(2).arg(get_lock(0.into()))
}

/// How often a statement has the name of one lock as a parameter.
pub(crate) const NAMES_PER_RELEASE: usize = 1;
pub(crate) const NAMES_PER_TRY: usize = 2;

/// The shape of a batch. Each is a prepared statement of its own, which the server counts, so releases and tries have the same number of places, a power of two;
/// places that are left repeat the last name: what is released is not held any more, and what is held is not taken twice.
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

    /// One row, with one column for each release and then one for each try. The server evaluates them from left to right, so what is released can be taken again.
    pub(crate) fn statement(self) -> Arc<str> {
        static STATEMENTS: [[OnceLock<Arc<str>>; 3]; Shape::WIDTHS] =
            [const { [const { OnceLock::new() }; 3] }; Shape::WIDTHS];
        let Self { releases, tries } = self;
        let parts = usize::from(releases > 0) + 2 * usize::from(tries > 0);
        let width = releases.max(tries).ilog2() as usize;
        let build = || {
            let releases = std::iter::repeat_n(release_lock(), releases);
            let tries = std::iter::repeat_n(try_lock(), tries);
            text(Query::select().exprs(releases.chain(tries))).into()
        };
        Arc::clone(STATEMENTS[width][parts - 1].get_or_init(build))
    }
}

/// Its parameters are the name and the seconds.
pub(crate) fn wait() -> String {
    text(Query::select().expr(get_lock(parameter())))
}

/// Leaves the session with no lock at all.
pub(crate) fn release_all() -> String {
    text(Query::select().expr(Func::cust("RELEASE_ALL_LOCKS")))
}

/// `select.to_string` for statements without values.
fn text(select: &SelectStatement) -> String {
    select.to_string(MysqlQueryBuilder)
}

/// The server's number for the session, which behind a proxy may have become another; and whether the server is a replica by now.
pub(crate) fn ping() -> String {
    text(
        Query::select()
            .expr(Func::cust("CONNECTION_ID"))
            .expr(global(READ_ONLY)),
    )
}

/// A primary may turn into a replica, and its sessions stay.
pub(crate) const READ_ONLY: &str = "read_only";

pub(crate) fn version() -> String {
    text(Query::select().expr(Func::cust("VERSION")))
}

/// The value of a variable of the server, as text: newer versions have words where older ones have numbers.
pub(crate) fn variable(name: &str) -> String {
    text(Query::select().expr(global(name)))
}

fn global(variable: &str) -> Expr {
    Expr::cust(format!("@@GLOBAL.{variable}")).cast_as("CHAR")
}

/// Whether a variable that [`variable`] has read is on.
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

/// The variable by which others recognise a lock session, with the program that it belongs to: the protocol's own way, a connection attribute, is not in sqlx.
pub(crate) const MARK: &str = "SET @dlock = ?";

/// Every user-level lock of the server: its name, whether it is granted; the number of its session, the account, the mark. Nothing where the server does not
/// watch them. <https://dev.mysql.com/doc/refman/8.4/en/performance-schema-metadata-locks-table.html>
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

fn account(user: Expr, host: Expr) -> FunctionCall {
    Func::cust("CONCAT_WS").arg("@").arg(user).arg(host)
}

/// The number of the session that holds a lock, for as many names as there are parameters.
pub(crate) fn holders(names: usize) -> String {
    let holder = Func::cust("IS_USED_LOCK").arg(parameter());
    text(Query::select().exprs(std::iter::repeat_n(holder, names)))
}

/// The sessions that we may see, by number, with their accounts.
pub(crate) fn sessions() -> String {
    text(
        Query::select()
            .expr(Expr::col("ID").cast_as("UNSIGNED"))
            .expr(account(Expr::col("USER"), Expr::col("HOST")))
            .from(("information_schema", "PROCESSLIST")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_releases_before_it_tries() {
        let shape = Shape::of(1, 1);
        assert_eq!(
            &*shape.statement(),
            "SELECT RELEASE_LOCK(?), IF(IS_USED_LOCK(?) = CONNECTION_ID(), 2, GET_LOCK(?, 0))"
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
            let parameters = shape.statement().matches('?').count();
            assert_eq!(
                parameters,
                shape.releases * NAMES_PER_RELEASE + shape.tries * NAMES_PER_TRY
            );
        }
    }

    fn name_on(server: Option<MySql>, text: &str) -> Option<String> {
        let key = names(server).physical_key(&text.into()).unwrap();
        key.map(|key| key.to_string())
    }

    #[test]
    fn a_name_is_hashed_where_the_server_does_not_take_it() {
        let itself = |server, text: &str| name_on(Some(server), text).as_deref() == Some(text);
        let (ascii, wide, emoji) = ("x".repeat(64), "é".repeat(64), "😀".repeat(48));
        for server in [MySql::MySql, MySql::MariaDb] {
            assert!(itself(server, &ascii) && itself(server, &wide));
            assert!(!itself(server, "a\0b") && !itself(server, &"x".repeat(193)));
        }
        assert!(!itself(MySql::MySql, &"x".repeat(65)) && !itself(MySql::MySql, "😀"));
        assert!(itself(MySql::MariaDb, &"x".repeat(192)) && itself(MySql::MariaDb, &emoji));
        assert!(!itself(MySql::MariaDb, &"😀".repeat(49)));
    }

    #[test]
    fn names_that_mysql_may_fold_are_told_apart_with_care() {
        for (a, b) in [("Key", "kEY"), ("É", "é"), ("\u{212A}", "k"), ("k", "k")] {
            assert!(MySql::MySql.may_fold(a, b), "{a} {b}");
        }
        for (a, b) in [("Key", "Kez"), ("key", "key "), ("e", "f")] {
            assert!(!MySql::MySql.may_fold(a, b), "{a} {b}");
        }
        assert!(!MySql::MariaDb.may_fold("Key", "key"));
    }

    #[test]
    fn an_unknown_server_matters_only_for_names_that_one_of_the_two_takes() {
        let same = ["x".repeat(64), "x".repeat(193), "a\0b".to_owned()];
        for text in &same {
            assert!(name_on(None, text).is_some());
            assert_eq!(name_on(None, text), name_on(Some(MySql::MySql), text));
            assert_eq!(name_on(None, text), name_on(Some(MySql::MariaDb), text));
        }
        for text in ["x".repeat(65), "😀".to_owned()] {
            assert_eq!(name_on(None, &text), None);
        }
    }

    #[test]
    fn a_hashed_name_is_what_b2sum_says() {
        assert_eq!(
            name_on(Some(MySql::MySql), &"x".repeat(65)).as_deref(),
            Some("d15d47fd5554451d9b34dc57cadcef10242c8ba3141da1df848358223b64e60a")
        );
    }
}
