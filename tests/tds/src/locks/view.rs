//! The locks as they show from outside.

use super::Mode;
use crate::{Kind, ResultSet, ServerError, SessionId, Sessions, Value};

/// A session and a lock that it holds or waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Locks of the same name in two databases are two.
    pub database: String,
    /// At most 255 UTF-16 units of what was asked for.
    pub name: String,
    /// Who.
    pub session: SessionId,
    /// What is held, or is waited for.
    pub mode: Mode,
    /// Which of both.
    pub status: Status,
    /// How often it must be released.
    pub count: u32,
}

/// How a session stands to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It holds it.
    Granted,
    /// It waits for it.
    Waiting,
    /// It holds it, and waits to hold it in a stronger mode.
    Converting,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Granted => "GRANT",
            Self::Waiting => "WAIT",
            Self::Converting => "CONVERT",
        }
    }
}

/// What `sys.dm_tran_locks` and `sys.dm_exec_sessions` would say.
///
/// <https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-tran-locks-transact-sql>
pub(super) fn dm_tran_locks(entries: Vec<Entry>, sessions: &Sessions) -> ResultSet {
    let columns = [
        ("resource_description", Kind::Text),
        ("request_mode", Kind::Text),
        ("request_status", Kind::Text),
        ("request_session_id", Kind::Int),
        ("program_name", Kind::Text),
    ];
    let open = sessions.list();
    entries
        .into_iter()
        .fold(ResultSet::new(columns), |set, entry| {
            let session = open.iter().find(|session| session.id == entry.session);
            set.with([
                description(&entry.name).into(),
                entry.mode.letter().into(),
                entry.status.name().into(),
                i32::from(entry.session.0).into(),
                session.map_or(Value::Null, |session| {
                    session.login.application.as_str().into()
                }),
            ])
        })
}

pub(super) fn not_permitted() -> ServerError {
    ServerError::new(
        300,
        14,
        "VIEW SERVER STATE permission was denied on object 'server', database 'master'.",
    )
}

/// The principal's number, the first 32 characters of the name, and a hash (here: FNV-1a) of all of it.
fn description(name: &str) -> String {
    let units: Vec<u16> = name.encode_utf16().take(32).collect();
    let hash = name.bytes().fold(0x811C_9DC5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("0:[{}]:({hash:08x})", String::from_utf16_lossy(&units))
}
