//! What the suite must know of a database. All of it goes around dlock.

use dlock_tests::{Db, Way};
use sea_orm::DatabaseConnection;

use super::Outcome;

/// Locks as the server sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Locks {
    pub(crate) held: usize,
    /// Zero where the server does not tell.
    pub(crate) waited_for: usize,
}

/// What has locks.
///
/// Where the database lacks `SHARED`, `PINNED`, `XACT` or `PAIRS`, dlock refuses, and the suite
/// asserts [`dlock::Error::Unsupported`]. Where it lacks `LOSABLE`, `SILENT_URL`, `VICTIM` or
/// [`OrmBackend::SESSION`], the mount gives the reason, and the tests that need it are ignored.
pub(crate) trait Backend: Sized + Sync + 'static {
    /// What an application locks on.
    type Db: Db;

    /// Whether there are shared locks.
    const SHARED: bool;
    /// Whether there are locks with a session of their own, on which SeaORM works.
    const PINNED: bool;
    /// Whether there are locks that end with a transaction.
    const XACT: bool;
    /// Whether a lock can be lost: it lives on a server, in a session that can be ended there.
    const LOSABLE: bool;
    /// The URL of a server at this port of this host that accepts connections and never replies;
    /// `None` where dlock opens no connection over a network.
    const SILENT_URL: Option<fn(port: u16) -> String>;
    /// The variable with the script of a server that may be stopped and started; `None` where there
    /// is no such server.
    const VICTIM: Option<&str>;
    /// Whether a pair of numbers is a key.
    const PAIRS: bool;

    /// The ways to hold a lock exclusively until its guard is gone.
    const GUARDS: &[Way] = if Self::PINNED {
        &[Way::PLAIN, Way::PINNED]
    } else {
        &[Way::PLAIN]
    };

    /// A connection of the suite's own to the main server.
    fn open() -> impl Future<Output = Outcome<Self>>;

    /// The main server for an application of this name.
    fn url(&self, application: &str) -> String;

    /// Any server of this kind, by its URL, for an application of this name.
    fn named(url: &str, application: &str) -> String;

    /// What a lock's holder is called when it is an application of this name in this process.
    fn holder(application: &str) -> String;

    /// The name of an application's current database, as the server says it.
    fn database(&self, of: &Self::Db) -> impl Future<Output = Outcome<String>> + Send;

    /// Whether the server lists locks to those who do not know their names.
    fn lists(&self) -> bool {
        true
    }

    /// Who has or wants these keys, in whatever process.
    fn locks(&self, keys: &[i64]) -> impl Future<Output = Outcome<Locks>> + Send;

    /// How many lock sessions this application has; `None` where there is no server that could tell.
    fn sessions(&self, application: &str) -> impl Future<Output = Outcome<Option<usize>>> + Send;

    /// Ends the lock sessions of this application, and says how many there were. Never called where a lock cannot be lost.
    fn kill_sessions(&self, application: &str) -> impl Future<Output = Outcome<usize>> + Send;
}

/// What a behaviour needs of its backend. The mount has the behaviour ignored where there is none.
pub(crate) fn needed<T>(capability: Option<T>) -> T {
    capability.expect("the mount ignores this behaviour: the backend lacks what it needs")
}

/// What has transactions, tables and pinned locks besides: a database with connections of SeaORM.
pub(crate) trait OrmBackend: Backend<Db = DatabaseConnection> {
    /// After this statement those of its connection fail where others would wait for a row.
    const IMPATIENCE: &str;
    /// The query for the number of its own session, a 64-bit integer; `None` where sessions have no
    /// numbers.
    const SESSION: Option<&str>;

    /// A statement that lasts for this many milliseconds; `None` where there is no such thing.
    fn slow_statement(milliseconds: u32) -> Option<String>;

    /// Makes every COMMIT of a change to this table last for about this many milliseconds; `false` where that cannot be done.
    fn slow_commits(
        &self,
        table: &str,
        milliseconds: u32,
    ) -> impl Future<Output = Outcome<bool>> + Send;
}
