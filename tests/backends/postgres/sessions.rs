//! The sessions of a lock pool on PostgreSQL: whose they are, how they connect, when they end.

use std::time::Duration;

use dlock::{DLockExt, Error, LockPool, Phase};
use dlock_tests::connect;
use sea_orm::DatabaseConnection;
use sea_orm::sqlx::postgres::PgPoolOptions;
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio::runtime;
use tokio::time::{Instant, timeout};

use super::server::{
    PATIENCE, Server, application, holders, key, name, options, sessions, url, waiters, with,
};

/// A pool that runs a statement on each fresh connection.
pub(super) fn with_hook(sql: String) -> DatabaseConnection {
    hooked(PgPoolOptions::new(), sql)
}

fn hooked(pool: PgPoolOptions, sql: String) -> DatabaseConnection {
    let pool = pool.after_connect(move |connection, _| {
        let sql = sql.clone();
        Box::pin(async move { connection.execute(AssertSqlSafe(sql)).await.map(drop) })
    });
    pool.connect_lazy_with(options(&url())).into()
}

#[tokio::test]
async fn hooks_of_the_application_come_along() {
    let application = name();
    let db = with_hook(format!("SET application_name = '{application}'"));
    let key = key();
    let _guard = db.dlock(key).await.unwrap();
    let mut server = Server::main().await;
    let holder = format!(
        "{} AND pid IN (SELECT pid FROM {})",
        holders(key),
        sessions(&application)
    );
    assert_eq!(server.count(&holder).await, 1);
}

#[tokio::test]
async fn a_hook_that_fails_is_named_when_the_patience_of_the_application_ends() {
    let patience = Duration::from_secs(2);
    let pool = PgPoolOptions::new().acquire_timeout(patience);
    let db = hooked(pool, "SELECT 1 / 0".to_owned());
    let started = Instant::now();
    let result = timeout(PATIENCE, db.dlock(key())).await.unwrap();
    let took = started.elapsed();
    let Err(Error::Database { phase, source }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(phase, Phase::Connect);
    let source = source.to_string();
    assert!(source.contains("after_connect"), "{source}");
    assert!(took >= patience, "{took:?}");
    assert!(took < 2 * patience, "{took:?}");
}

#[tokio::test]
async fn a_session_of_an_application_without_a_name_is_called_dlock() {
    let db = with_hook("SET application_name = ''".to_owned());
    let key = key();
    let _guard = db.dlock(key).await.unwrap();
    let locks = LockPool::of(&db).locks().await.unwrap();
    let ours = locks.iter().find(|lock| lock.name == Some(key.into()));
    assert_eq!(ours.unwrap().holder.application, "dlock");
}

#[tokio::test]
async fn settings_of_the_application_that_end_sessions_do_not_end_locks() {
    let hook = "SET statement_timeout = '100ms'; SET lock_timeout = '50ms'; SET idle_session_timeout = '300ms'";
    let db = with_hook(hook.to_owned());
    let (held, wanted) = (key(), key());
    let mut server = Server::main().await;
    server.lock(wanted).await;
    let guard = db.dlock(held).await.unwrap();
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(wanted).timeout(PATIENCE).await }
    });
    server.until_wanted(wanted, 1).await;
    tokio::select! {
        () = guard.lost() => panic!("lost"),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    server.unlock(wanted).await;
    waiter.await.unwrap().unwrap().release().await.unwrap();
    guard.release().await.unwrap();
    assert_eq!(LockPool::of(&db).status().counters.sessions_lost, 0);
}

/// As many as this server knows: `transaction_timeout` came with PostgreSQL 17.
#[tokio::test]
async fn limits_of_the_role_do_not_end_waits() {
    let mut server = Server::main().await;
    let role = name();
    server.run(&format!("CREATE ROLE {role} LOGIN")).await;
    let mut limits = 0;
    for limit in [
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "transaction_timeout",
        "idle_session_timeout",
    ] {
        let is_known = format!("current_setting('{limit}', true) IS NOT NULL");
        if server.is(&is_known).await {
            limits += 1;
            let set = format!("ALTER ROLE {role} SET {limit} = '200ms'");
            server.run(&set).await;
        }
    }
    assert!(limits >= 3, "{limits}");
    let db = connect(options(&url()).username(&role).to_url_lossy().as_str(), 1).await;
    let wanted = key();
    server.lock(wanted).await;
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(wanted).timeout(PATIENCE).await }
    });
    server.until_wanted(wanted, 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.unlock(wanted).await;
    waiter.await.unwrap().unwrap().release().await.unwrap();
    let counters = LockPool::of(&db).status().counters;
    assert_eq!(counters.sessions_lost, 0, "{counters:?}");
    LockPool::of(&db).close().await;
    db.close().await.unwrap();
    server.run(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_long_name_of_the_application_is_cut_and_dlock_stays() {
    // The server takes 63 bytes, and makes other letters of what is not ASCII.
    for (length, kept) in [(57, 57), (58, 57), (63, 57), (100, 57)] {
        let name = format!("{}{}", name(), "x".repeat(length))[..length].to_owned();
        let db = connect(&with(&url(), "application_name", &name), 1).await;
        let key = key();
        let _guard = db.dlock(key).await.unwrap();
        let locks = LockPool::of(&db).locks().await.unwrap();
        let ours = locks.iter().find(|lock| lock.name == Some(key.into()));
        let expected = format!("{} dlock", &name[..kept]);
        assert_eq!(ours.unwrap().holder.application, expected);
    }
}

#[tokio::test]
async fn an_acquire_timeout_that_is_too_short_to_connect_is_named() {
    // Longer to come up than the application waits for a connection.
    let patience = Duration::from_millis(200);
    let pool = PgPoolOptions::new().acquire_timeout(patience);
    let db = hooked(pool, "SELECT pg_sleep(1)".to_owned());
    let result = timeout(PATIENCE, db.dlock(key())).await.unwrap();
    let Err(Error::Database { phase, source }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(phase, Phase::Connect);
    let source = source.to_string();
    assert!(source.contains("acquire_timeout of 200ms"), "{source}");
    // A server that is not there is no matter of patience.
    let nobody = PgPoolOptions::new().acquire_timeout(patience);
    let nobody: DatabaseConnection = nobody
        .connect_lazy_with(options("postgres://nobody@127.0.0.1:9/nothing"))
        .into();
    let error = timeout(PATIENCE, nobody.dlock(key()))
        .await
        .unwrap()
        .unwrap_err();
    let Error::Database { source, .. } = error else {
        panic!("{error:?}");
    };
    let source = source.to_string();
    assert!(!source.contains("acquire_timeout"), "{source}");
    assert!(source.contains("refused"), "{source}");
}

#[tokio::test]
async fn an_application_that_is_read_only_and_serializable_locks_as_well() {
    let hook = "SET default_transaction_read_only = on; SET default_transaction_isolation = 'serializable'";
    let db = with_hook(hook.to_owned());
    let key = key();
    let mut server = Server::main().await;
    server.lock(key).await;
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(key).timeout(PATIENCE).await }
    });
    server.until_wanted(key, 1).await;
    server.unlock(key).await;
    waiter.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn an_operator_who_cancels_a_wait_or_ends_its_session_does_not_end_the_waiting() {
    let (url, application) = application(&url());
    let db = connect(&url, 1).await;
    let (held, wanted) = (key(), key());
    let mut server = Server::main().await;
    server.lock(wanted).await;
    let guard = db.dlock(held).await.unwrap();
    let waiter = tokio::spawn({
        let db = db.clone();
        async move { db.dlock(wanted).timeout(PATIENCE).await }
    });
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        server.until_wanted(wanted, 1).await;
        // In a slice, or between two: until one was hit.
        let hit = format!("(SELECT bool_or({end}(pid)) FROM {})", waiters(wanted));
        server.until(&hit).await;
    }
    let replaced = format!("(SELECT count(*) FROM {}) = 2", sessions(&application));
    server.until_wanted(wanted, 1).await;
    server.until(&replaced).await;
    assert_eq!(server.holders(wanted).await, 1);
    server.unlock(wanted).await;
    waiter.await.unwrap().unwrap().release().await.unwrap();
    assert!(guard.is_held());
    guard.release().await.unwrap();
    server.until_free(wanted).await;
}

#[tokio::test]
async fn discard_all_after_release_frees_no_lock() {
    let pool = PgPoolOptions::new().after_release(|connection, _| {
        Box::pin(async move { connection.execute("DISCARD ALL").await.map(|_| true) })
    });
    let db: DatabaseConnection = pool.connect_lazy_with(options(&url())).into();
    let key = key();
    let guard = db.dlock(key).await.unwrap();
    for _ in 0..3 {
        // The application's own connections come and go, and so do other locks.
        sea_orm::ConnectionTrait::execute_unprepared(&db, "SELECT 1")
            .await
            .unwrap();
        let other = db.dlock(super::server::key()).await.unwrap();
        other.release().await.unwrap();
    }
    let mut server = Server::main().await;
    assert_eq!(server.holders(key).await, 1);
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn credentials_that_have_changed_are_used_for_the_next_session() {
    let mut server = Server::main().await;
    let role = name();
    server.run(&format!("CREATE ROLE {role} LOGIN")).await;
    let db = connect(&url(), 1).await;
    LockPool::builder(&db).max_locks_per_session(1).install();
    let (before, after) = (key(), key());
    let first = db.dlock(before).await.unwrap();
    let pool = db.get_postgres_connection_pool();
    pool.set_connect_options(options(&url()).username(&role));
    let second = db.dlock(after).await.unwrap();
    for (key, is_new) in [(before, false), (after, true)] {
        let user = format!(
            "pg_stat_activity WHERE usename = '{role}' AND pid IN (SELECT pid FROM {})",
            holders(key)
        );
        assert_eq!(server.count(&user).await, i64::from(is_new));
    }
    first.release().await.unwrap();
    second.release().await.unwrap();
    LockPool::of(&db).close().await;
    let gone = format!("NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{role}')");
    server.until(&gone).await;
    server.run(&format!("DROP ROLE {role}")).await;
}

#[test]
fn a_session_that_waits_leaves_the_server_when_its_process_is_gone() {
    let process = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let tester = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let key = key();
    let (url, application) = application(&url());
    tester.block_on(async {
        let mut server = Server::main().await;
        server.lock(key).await;
        process.spawn(async move {
            let db = connect(&url, 1).await;
            db.dlock(key).await
        });
        // Inside a long slice.
        let waits = format!(
            "EXISTS (SELECT FROM {} AND pid IN (SELECT pid FROM pg_stat_activity WHERE clock_timestamp() - query_start > '0.6 s'))",
            waiters(key)
        );
        server.until(&waits).await;
        process.shutdown_background();
        let started = Instant::now();
        server.until_wanted(key, 0).await;
        let gone = format!("NOT EXISTS (SELECT FROM {})", sessions(&application));
        server.until(&gone).await;
        let took = started.elapsed();
        assert!(took < Duration::from_secs(4), "{took:?}");
    });
}
