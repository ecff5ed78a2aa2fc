//! The statements of SQL Server. sea-query has no words for procedures, so they are text.
//! <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-getapplock-transact-sql>

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::mode::Mode;

/// What a procedure says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Granted,
    TimedOut,
    Cancelled,
    Deadlock,
    /// Of bad parameters or another failure, or one that nobody has heard of.
    Other(i32),
    /// The server did not say.
    Missing,
}

impl Status {
    pub(crate) fn of(code: Option<i32>) -> Self {
        match code {
            // The second: after others had left.
            Some(0 | 1) => Self::Granted,
            Some(-1) => Self::TimedOut,
            Some(-2) => Self::Cancelled,
            Some(-3) => Self::Deadlock,
            Some(other) => Self::Other(other),
            None => Self::Missing,
        }
    }
}

/// Of bad parameters and other failures. Babelfish (4.3) says it where a lock is busy, too, and
/// never of one that is held.
pub(crate) const NOT_GRANTED: i32 = -999;

/// A value of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(Arc<str>),
    Int(i32),
}

/// What is sent to the server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    /// `@P1` and so on.
    pub(crate) values: Vec<Value>,
}

/// A lock that is given back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Release<'a> {
    pub(crate) name: &'a Arc<str>,
    /// The server has counted it more than once.
    pub(crate) is_upgraded: bool,
}

/// A lock that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acquire<'a> {
    pub(crate) name: &'a Arc<str>,
    pub(crate) mode: Mode,
    /// For how long the server waits; zero for a try.
    pub(crate) patience: Duration,
}

/// All releases, then all that is asked for. The answer is one row: a status for each, in this
/// order.
pub(crate) fn exchange<'a>(
    releases: impl Iterator<Item = Release<'a>>,
    acquires: impl Iterator<Item = Acquire<'a>>,
) -> Statement {
    let mut lines = String::new();
    let mut statuses = 0;
    let mut values = Vec::new();
    for release in releases {
        statuses += 1;
        write_release(&mut lines, statuses, &mut values, release);
    }
    for acquire in acquires {
        statuses += 1;
        write_acquire(&mut lines, statuses, &mut values, acquire);
    }
    let declared: Vec<String> = (1..=statuses).map(|n| format!("@s{n} int")).collect();
    let answered: Vec<String> = (1..=statuses).map(|n| format!("@s{n}")).collect();
    Statement {
        sql: format!(
            "DECLARE {};\n{lines}SELECT {};",
            declared.join(", "),
            answered.join(", ")
        ),
        values,
    }
}

/// What was asked for twice is given back as often as the server says that it is still held.
fn write_release(lines: &mut String, status: usize, values: &mut Vec<Value>, release: Release<'_>) {
    let name = bind(values, Value::Text(Arc::clone(release.name)));
    let call = format!(
        "EXEC @s{status} = sp_releaseapplock @Resource = {name}, @LockOwner = N'Session';\n"
    );
    lines.push_str(&call);
    if release.is_upgraded {
        let is_held = format!("APPLOCK_MODE(N'public', {name}, N'Session') <> N'NoLock'");
        write!(lines, "WHILE @s{status} = 0 AND {is_held} {call}").expect(NEVER_FULL);
    }
}

fn write_acquire(lines: &mut String, status: usize, values: &mut Vec<Value>, acquire: Acquire<'_>) {
    let Acquire {
        name,
        mode,
        patience,
    } = acquire;
    let name = bind(values, Value::Text(Arc::clone(name)));
    let mode = lock_mode(mode);
    let timeout = match i32::try_from(patience.as_millis()) {
        Ok(0) => "0".to_owned(),
        milliseconds => bind(values, Value::Int(milliseconds.unwrap_or(i32::MAX))),
    };
    writeln!(
        lines,
        "EXEC @s{status} = sp_getapplock @Resource = {name}, @LockMode = N'{mode}', @LockOwner = N'Session', @LockTimeout = {timeout};"
    )
    .expect(NEVER_FULL);
}

const NEVER_FULL: &str = "BUG: a string takes everything";

/// The place of a value in the statement.
fn bind(values: &mut Vec<Value>, value: Value) -> String {
    values.push(value);
    format!("@P{}", values.len())
}

fn lock_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "Exclusive",
        Mode::Shared => "Shared",
        Mode::Update => "Update",
        another => unreachable!("BUG: SQL Server has no {another} locks"),
    }
}

/// The server's number for this session; the database that it is in; whether that can be written
/// to, since application locks on a secondary replica exclude nobody on the primary; what the
/// application calls itself; 1 from PostgreSQL with [Babelfish](https://babelfishpg.org), which
/// speaks the same protocol.
pub(crate) const SESSION: &str = "SELECT @@SPID, DB_NAME(), CONVERT(nvarchar(60), DATABASEPROPERTYEX(DB_NAME(), N'Updateability')), APP_NAME(), CONVERT(int, SERVERPROPERTY(N'Babelfish'))";

pub(crate) const READ_ONLY: &str = "READ_ONLY";

/// All application locks of this database, by whomever: what the server calls it, how and whether
/// it is held, the session and its application. It takes the permission `VIEW SERVER STATE`, or
/// `VIEW SERVER PERFORMANCE STATE` from 2022 on.
/// <https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-tran-locks-transact-sql>
pub(crate) const LOCKS: &str = "SELECT l.resource_description, l.request_mode, l.request_status, CONVERT(int, l.request_session_id), s.program_name \
     FROM sys.dm_tran_locks AS l LEFT JOIN sys.dm_exec_sessions AS s ON s.session_id = l.request_session_id \
     WHERE l.resource_type = N'APPLICATION' AND l.resource_database_id = DB_ID()";

/// So many characters of a name does the server show.
const SHOWN: usize = 32;

/// What the server shows a lock as, `0:[invoice/42]:(a1b2c3d4)`, without its principal and its
/// hash.
pub(crate) fn shown(description: &str) -> Option<&str> {
    let (_principal, rest) = description.split_once(":[")?;
    let (name, _hash) = rest.rsplit_once("]:(")?;
    Some(name)
}

/// Whether the server shows a lock of this name like this.
pub(crate) fn is_shown_as(name: &str, shown: &str) -> bool {
    let shown_of_name = name.encode_utf16().take(SHOWN);
    shown_of_name.eq(shown.encode_utf16())
}

/// How it is held or wanted, as the server says it.
pub(crate) fn mode(request_mode: &str) -> Option<Mode> {
    match request_mode {
        "X" => Some(Mode::Exclusive),
        "S" => Some(Mode::Shared),
        "U" => Some(Mode::Update),
        _ => None,
    }
}

/// As `APPLOCK_MODE` says how this session has a lock.
pub(crate) fn mode_of_this_session(applock_mode: &str) -> Option<Mode> {
    match applock_mode {
        "Exclusive" => Some(Mode::Exclusive),
        "Shared" => Some(Mode::Shared),
        "Update" => Some(Mode::Update),
        _ => None,
    }
}

/// Which of these somebody else has, for who may not list them: a row, a column for each, 0 where
/// no other session could have it now, and how this session has it itself.
pub(crate) fn held<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> Statement {
    let mut values = Vec::new();
    let columns: Vec<String> = names
        .map(|name| {
            let name = bind(&mut values, Value::Text(Arc::clone(name)));
            format!("CONVERT(int, APPLOCK_TEST(N'public', {name}, N'Exclusive', N'Session')), CONVERT(nvarchar(32), APPLOCK_MODE(N'public', {name}, N'Session'))")
        })
        .collect();
    Statement {
        sql: format!("SELECT {}", columns.join(", ")),
        values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn a_batch_is_one_statement_that_answers_with_one_row() {
        let (old, older, new) = (name("old"), name("older"), name("new"));
        let releases = [(&old, false), (&older, true)]
            .map(|(name, is_upgraded)| Release { name, is_upgraded });
        let acquires =
            [(Mode::Exclusive, 0), (Mode::Update, 1_500)].map(|(mode, patience)| Acquire {
                name: &new,
                mode,
                patience: Duration::from_millis(patience),
            });
        let statement = exchange(releases.into_iter(), acquires.into_iter());
        assert_eq!(
            statement.sql,
            "DECLARE @s1 int, @s2 int, @s3 int, @s4 int;\n\
             EXEC @s1 = sp_releaseapplock @Resource = @P1, @LockOwner = N'Session';\n\
             EXEC @s2 = sp_releaseapplock @Resource = @P2, @LockOwner = N'Session';\n\
             WHILE @s2 = 0 AND APPLOCK_MODE(N'public', @P2, N'Session') <> N'NoLock' \
             EXEC @s2 = sp_releaseapplock @Resource = @P2, @LockOwner = N'Session';\n\
             EXEC @s3 = sp_getapplock @Resource = @P3, @LockMode = N'Exclusive', @LockOwner = N'Session', @LockTimeout = 0;\n\
             EXEC @s4 = sp_getapplock @Resource = @P4, @LockMode = N'Update', @LockOwner = N'Session', @LockTimeout = @P5;\n\
             SELECT @s1, @s2, @s3, @s4;"
        );
        let text = |text: &Arc<str>| Value::Text(Arc::clone(text));
        let expected = [
            text(&old),
            text(&older),
            text(&new),
            text(&new),
            Value::Int(1_500),
        ];
        assert_eq!(statement.values, expected);
    }

    /// A server takes 2,100 parameters.
    #[test]
    fn the_largest_batch_has_room() {
        let (name, many) = (name("a"), crate::backend::batch::MAX_BATCH);
        let release = Release {
            name: &name,
            is_upgraded: true,
        };
        let acquire = Acquire {
            name: &name,
            mode: Mode::Shared,
            patience: Duration::ZERO,
        };
        let statement = exchange(
            std::iter::repeat_n(release, many),
            std::iter::repeat_n(acquire, many),
        );
        assert!(statement.values.len() < 2_100);
        let names: Vec<_> = std::iter::repeat_n(&name, many).collect();
        assert!(held(names.into_iter()).values.len() < 2_100);
    }

    #[test]
    fn a_lock_is_known_by_what_the_server_shows_of_it() {
        let brackets = "0:[a]:(b]:(c]:(1f2e3d4c)";
        assert_eq!(shown(brackets), Some("a]:(b]:(c"));
        assert_eq!(shown("0:[invoice/42]:(1f2e3d4c)"), Some("invoice/42"));
        assert_eq!(shown("something else"), None);
        let long = "x".repeat(40);
        assert!(is_shown_as(&long, &"x".repeat(32)) && !is_shown_as(&long, &long));
        assert!(is_shown_as("invoice/42", "invoice/42") && !is_shown_as("invoice/42", "invoice/4"));
    }
}
