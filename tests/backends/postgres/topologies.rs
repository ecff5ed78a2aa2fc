//! Set-ups in which a lock would be false: six applications acquire one key, and no two of them are
//! inside together. Each set-up is refused, or its locks exclude.

use std::time::Duration;

use dlock::{DLockExt, DLockGuard, Error, LockPool};
use dlock_tests::{Db, Race, Way, env, race};
use sea_orm::sqlx::postgres::PgPoolOptions;
use sea_orm::{DatabaseConnection, TransactionTrait};

use super::proxy::{Mode, Proxy, Replay};
use super::server::{
    PATIENCE, Server, drop_database, holders, key, options, scratch_database, url, with,
};

const APPLICATIONS: usize = 6;
const ROUNDS: usize = 20;

/// Short, since a pooler may have no session free for the release of the holder.
const TIMEOUT: Duration = Duration::from_millis(300);

const PINNED: Way = Way::PINNED;

fn xact() -> Way {
    "exclusive-xact".parse().expect("a way to lock")
}

async fn applications(url: &str) -> Vec<DatabaseConnection> {
    let mut applications = Vec::new();
    for _ in 0..APPLICATIONS {
        applications.push(DatabaseConnection::open(url, 2).await);
    }
    applications
}

async fn trusting(url: &str) -> Vec<DatabaseConnection> {
    let mut trusting = Vec::new();
    for db in applications(url).await {
        trusting.push(db.shaped(url, |pool| pool.trust_session_pooling()));
    }
    trusting
}

async fn race_of(applications: Vec<DatabaseConnection>, way: Way) -> Race {
    let race = race(applications, key(), way, ROUNDS, TIMEOUT).await;
    race.assert_exclusive();
    race
}

/// No application gets a lock in any way of a session.
async fn assert_refused(url: &str, found: &str) {
    for way in [Way::PLAIN, PINNED] {
        let race = race_of(applications(url).await, way).await;
        assert_eq!(
            (race.granted, race.refused.len()),
            (0, APPLICATIONS),
            "{race}"
        );
        for refused in &race.refused {
            assert!(refused.to_string().contains(found), "{way}: {refused}");
        }
    }
}

/// All of them are granted all their locks.
async fn assert_works(url: &str, way: Way) {
    let race = race(applications(url).await, key(), way, ROUNDS, PATIENCE).await;
    race.assert_exclusive();
    assert_eq!(race.granted, APPLICATIONS * ROUNDS, "{way}: {race}");
}

#[tokio::test]
async fn a_pooler_that_replays_start_up_options_is_refused() {
    for replay in [Replay::Set, Replay::SetConfig] {
        for sessions in [1, 3] {
            let server = url();
            let mode = Mode::ReplayOptions {
                server,
                sessions,
                replay,
            };
            let proxy = Proxy::start(mode).await;
            assert_refused(proxy.url(), "pooler").await;
        }
    }
}

/// `.trust_session_pooling()` is wrong there, and what it leaves on is enough.
#[tokio::test]
async fn a_transaction_pooler_that_is_trusted_gives_no_false_lock() {
    let pooler = env("DLOCK_TEST_PGBOUNCER_TRANSACTION_URL");
    for way in [Way::PLAIN, PINNED] {
        let race = race_of(trusting(&pooler).await, way).await;
        assert!(!race.refused.is_empty(), "{way}: {race}");
    }
    for sessions in [1, 3] {
        let mode = Mode::ReplayOptions {
            server: url(),
            sessions,
            replay: Replay::Set,
        };
        let proxy = Proxy::start(mode).await;
        let race = race_of(trusting(proxy.url()).await, Way::PLAIN).await;
        assert!(!race.refused.is_empty(), "{sessions}: {race}");
    }
}

/// The comment before each statement keeps Pgpool-II from sending it to the standby.
#[tokio::test]
async fn locks_through_pgpool_are_on_the_primary() {
    for pgpool in ["DLOCK_TEST_PGPOOL_URL", "DLOCK_TEST_PGPOOL_STATEMENT_URL"] {
        for way in [Way::PLAIN, PINNED, xact()] {
            assert_works(&env(pgpool), way).await;
        }
    }
}

/// In native replication a lock statement goes to both nodes, which answer differently: Pgpool-II
/// ends the session. In logical replication the comment keeps it on the main node.
#[tokio::test]
async fn pgpool_in_front_of_two_primaries_gives_no_false_lock() {
    for way in [Way::PLAIN, PINNED] {
        let native = env("DLOCK_TEST_PGPOOL_NATIVE_URL");
        let race = race_of(applications(&native).await, way).await;
        assert_eq!(race.granted, 0, "{way}: {race}");
        let rounds = race.failed.len() + race.refused.len();
        assert!(rounds >= APPLICATIONS, "{way}: {race}");
        assert_works(&env("DLOCK_TEST_PGPOOL_LOGICAL_URL"), way).await;
    }
}

#[tokio::test]
async fn a_transaction_lock_on_a_hot_standby_is_refused() {
    let db = DatabaseConnection::open(&env("DLOCK_TEST_POSTGRES_STANDBY_URL"), 2).await;
    let txn = db.begin().await.unwrap();
    let key = key();
    for refused in [
        txn.dlock(key).xact().await.unwrap_err(),
        txn.dlock(key).xact().try_acquire().await.unwrap_err(),
    ] {
        let Error::Refused { found, way_out, .. } = refused else {
            panic!("{refused:?}");
        };
        assert!(
            found.contains("standby") && way_out.contains("primary"),
            "{found}; {way_out}"
        );
    }
    txn.commit().await.unwrap();
}

/// Each application opens one session after the other, so they alternate between the servers.
#[tokio::test]
async fn two_primaries_behind_one_address_are_refused() {
    let balancer = env("DLOCK_TEST_HAPROXY_POSTGRES_URL");
    let mut two_sessions_each = Vec::new();
    for db in applications(&balancer).await {
        let db = db.shaped(&balancer, |pool| pool.max_locks_per_session(1));
        let first = db.dlock(key()).await.unwrap();
        let second = db.dlock(key()).await;
        if let Err(refused) = &second {
            assert!(refused.to_string().contains("two servers"), "{refused}");
            first.lost().await;
        }
        two_sessions_each.push(db);
    }
    let race = race_of(two_sessions_each, Way::PLAIN).await;
    assert_eq!(
        (race.granted, race.refused.len()),
        (0, APPLICATIONS),
        "{race}"
    );
}

#[tokio::test]
async fn a_load_balancer_in_front_of_one_server_is_no_obstacle() {
    for way in [Way::PLAIN, PINNED] {
        assert_works(&env("DLOCK_TEST_HAPROXY_DIRECT_URL"), way).await;
    }
}

#[tokio::test]
async fn statements_that_go_to_two_servers_in_turn_are_refused() {
    let servers = vec![url(), env("DLOCK_TEST_POSTGRES_SMALL_URL")];
    let proxy = Proxy::start(Mode::RoundRobinStatements { servers }).await;
    let race = race_of(applications(proxy.url()).await, Way::PLAIN).await;
    assert_eq!(
        (race.granted, race.refused.len()),
        (0, APPLICATIONS),
        "{race}"
    );
}

/// A splitter that looks at the first word, half of the applications direct to the primary.
#[tokio::test]
async fn a_splitter_of_reads_gives_no_false_lock() {
    let (primary, replica) = (url(), env("DLOCK_TEST_POSTGRES_SMALL_URL"));
    let mode = Mode::SplitReads {
        primary: primary.clone(),
        replica,
    };
    let proxy = Proxy::start(mode).await;
    for way in [Way::PLAIN, PINNED] {
        let mut mixed = applications(proxy.url()).await;
        mixed.truncate(APPLICATIONS / 2);
        for _ in mixed.len()..APPLICATIONS {
            mixed.push(DatabaseConnection::open(&primary, 2).await);
        }
        let race = race_of(mixed, way).await;
        assert!(race.granted > 0, "{way}: {race}");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_start_up_options_is_named() {
    let mode = Mode::RefuseOptions {
        server: url(),
        code: "0A000",
        message: "Feature not supported: RDS Proxy currently doesn't support command-line options.",
    };
    let proxy = Proxy::start(mode).await;
    assert_refused(proxy.url(), "RDS Proxy").await;
    let db = DatabaseConnection::open(proxy.url(), 1).await;
    let Err(Error::Refused { way_out, .. }) = db.dlock(key()).await else {
        panic!("it is refused");
    };
    assert!(
        way_out.contains("sessions_from") && way_out.contains(".xact()"),
        "{way_out}"
    );
}

#[tokio::test]
async fn servers_whose_locks_are_none_are_known_by_their_version() {
    for (to, found) in [
        ("CockroachDB ", "CockroachDB"),
        ("Postgr11-YB-", "YugabyteDB"),
    ] {
        let mode = Mode::Answer {
            server: url(),
            from: "PostgreSQL 1",
            to,
        };
        let proxy = Proxy::start(mode).await;
        assert_refused(proxy.url(), found).await;
    }
}

/// A function of the same name in a schema that comes first is not the server's.
#[tokio::test]
async fn functions_of_another_schema_are_not_called() {
    let (database, scratch) = scratch_database().await;
    let mut server = Server::at(&scratch).await;
    server
        .run(
            "CREATE SCHEMA fake; CREATE FUNCTION fake.pg_try_advisory_lock(bigint) RETURNS boolean \
             LANGUAGE sql AS 'SELECT true'; CREATE FUNCTION fake.pg_try_advisory_xact_lock(bigint) \
             RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        )
        .await;
    let shadowed = with(
        &scratch,
        "options",
        "-c search_path%3Dfake,pg_catalog,public",
    );
    for way in [Way::PLAIN, PINNED, xact()] {
        assert_works(&shadowed, way).await;
    }
    drop_database(&database).await;
}

/// It grants every lock and lists none, like a server that takes advisory locks for no-ops.
#[tokio::test]
async fn a_server_that_grants_and_does_not_hold_is_refused() {
    let (database, scratch) = scratch_database().await;
    let mut server = Server::at(&scratch).await;
    server
        .run(
            "SET allow_system_table_mods = on; \
             ALTER VIEW pg_catalog.pg_locks RENAME TO pg_all_locks; \
             CREATE VIEW pg_catalog.pg_locks AS \
               SELECT * FROM pg_catalog.pg_all_locks WHERE locktype <> 'advisory'; \
             GRANT SELECT ON pg_catalog.pg_locks TO PUBLIC",
        )
        .await;
    assert_refused(&scratch, "does not hold them").await;
    drop_database(&database).await;
}

/// An application that trusts a pooler, which lends the server session of its locks to another
/// client as soon as that begins a transaction.
struct Misplaced {
    db: DatabaseConnection,
    other: Server,
    keys: [i64; 2],
    guards: [DLockGuard; 2],
    _proxy: Proxy,
}

impl Misplaced {
    async fn with_keepalive(keepalive: Duration) -> Self {
        let mode = Mode::ReplayOptions {
            server: url(),
            sessions: 2,
            replay: Replay::Set,
        };
        let proxy = Proxy::start(mode).await;
        let mut other = Server::at(proxy.url()).await;
        let db = options(proxy.url());
        let db: DatabaseConnection = PgPoolOptions::new().connect_lazy_with(db).into();
        let pool = LockPool::builder(&db).trust_session_pooling();
        pool.keepalive(keepalive).install();
        let keys = [key(), key()];
        let guards = [
            db.dlock(keys[0]).await.expect("it locks"),
            db.dlock(keys[1]).await.expect("it locks"),
        ];
        // It gets the session that was used last, and keeps it for its transaction.
        other.run("BEGIN").await;
        Self {
            db,
            other,
            keys,
            guards,
            _proxy: proxy,
        }
    }

    /// All guards are lost, the pool refuses further locks, and both keys stay where they are: on the
    /// session that the other client has.
    async fn assert_refused(mut self) {
        for guard in self.guards {
            guard.lost().await;
            let released = guard.release().await;
            assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
        }
        let status = LockPool::of(&self.db).status();
        assert_eq!((status.sessions, status.held), (0, 0));
        let again = self.db.dlock(key()).try_acquire().await;
        assert!(matches!(again, Err(Error::Refused { .. })), "{again:?}");
        let pid = self.other.ask("SELECT pg_backend_pid()").await;
        for key in self.keys {
            let here = format!("{} AND pid = {pid}", holders(key));
            assert_eq!(self.other.count(&here).await, 1);
        }
        self.other.run("ROLLBACK").await;
    }
}

#[tokio::test]
async fn a_try_on_another_session_takes_nothing_and_refuses_the_pool() {
    let misplaced = Misplaced::with_keepalive(PATIENCE).await;
    let further = key();
    let refused = misplaced.db.dlock(further).await;
    let Err(Error::Refused {
        found, expected, ..
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert!(found.contains("another server session"), "{found}");
    assert!(expected.contains("process"), "{expected}");
    assert_eq!(Server::main().await.holders(further).await, 0);
    misplaced.assert_refused().await;
}

#[tokio::test]
async fn a_release_on_another_session_is_a_loss_and_refuses_the_pool() {
    let mut misplaced = Misplaced::with_keepalive(PATIENCE).await;
    let further = misplaced.db.dlock(key());
    let [first, second] = misplaced.guards;
    let released = first.release().await;
    assert!(matches!(released, Err(Error::Lost { .. })), "{released:?}");
    let refused = further.try_acquire().await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    second.lost().await;
    misplaced.other.run("ROLLBACK").await;
}

#[tokio::test]
async fn a_sign_of_life_of_another_session_refuses_the_pool() {
    let misplaced = Misplaced::with_keepalive(Duration::from_secs(1)).await;
    // Nothing is asked for meanwhile.
    misplaced.guards[0].lost().await;
    misplaced.assert_refused().await;
}
