//! What each argument does.

use std::sync::Mutex;
use std::time::Duration;

use dlock::prelude::*;
use dlock::{Error, with_dlock};
use sea_orm::{
    DatabaseConnection, DbBackend, DbErr, MockDatabase, MockExecResult, TransactionTrait,
};

use super::{AppError, database, is_locked};

const NAME: &str = "{not a format string}";

#[with_dlock(key = NAME)]
async fn constant(db: &DatabaseConnection) -> Result<bool, Error> {
    Ok(is_locked(db, NAME).await)
}

#[with_dlock(key = (7, id))]
async fn pair(db: &DatabaseConnection, id: i32) -> Result<bool, Error> {
    Ok(is_locked(db, (7, id)).await)
}

#[with_dlock(key = "{{{id:03}}}")]
async fn format(db: &DatabaseConnection, id: i32) -> Result<bool, Error> {
    Ok(is_locked(db, "{007}").await && id == 7)
}

#[tokio::test]
async fn a_literal_is_a_format_string_and_any_other_expression_a_key() {
    let db = database();
    assert!(constant(&db).await.unwrap());
    assert!(pair(&db, 42).await.unwrap());
    assert!(format(&db, 7).await.unwrap());
}

macro_rules! made {
    ($name:ident, key = $key:literal, timeout = $timeout:literal) => {
        #[with_dlock(key = $key, timeout = $timeout)]
        async fn $name(db: &DatabaseConnection) -> Result<bool, Error> {
            Ok(is_locked(db, "{made}").await)
        }
    };
}
made!(made, key = "{{made}}", timeout = "5s");

#[tokio::test]
async fn a_literal_from_macro_rules_is_a_literal() {
    assert!(made(&database()).await.unwrap());
}

struct State<T>(T);

struct Services {
    db: DatabaseConnection,
    mail: &'static str,
}

#[with_dlock(key = "pattern")]
async fn in_a_tuple_struct(State(db): State<DatabaseConnection>) -> Result<bool, Error> {
    Ok(is_locked(&db, "pattern").await)
}

#[with_dlock(key = "pattern")]
async fn in_a_struct(State(Services { db, mail: _ }): State<Services>) -> Result<bool, Error> {
    Ok(is_locked(&db, "pattern").await)
}

#[with_dlock(key = "pattern", db = services.db)]
async fn in_a_field(State(services): State<Services>) -> Result<bool, Error> {
    Ok(is_locked(&services.db, "pattern").await && services.mail == "mail")
}

#[with_dlock(key = "pattern", db = pool)]
async fn a_lock_pool(pool: &LockPool, db: &DatabaseConnection) -> Result<bool, Error> {
    Ok(is_locked(db, "billing:pattern").await)
}

#[tokio::test]
async fn the_connection_is_found_in_patterns_and_can_be_named() {
    let services = || Services {
        db: database(),
        mail: "mail",
    };
    assert!(in_a_tuple_struct(State(database())).await.unwrap());
    assert!(in_a_struct(State(services())).await.unwrap());
    assert!(in_a_field(State(services())).await.unwrap());
    let db = database();
    let other = LockPool::builder(&db).namespace("billing").build();
    assert!(a_lock_pool(&other, &db).await.unwrap());
}

#[with_dlock(key = "busy", timeout = "1ms500us")]
async fn literal(db: &DatabaseConnection) -> Result<(), Error> {
    let _ = db;
    Ok(())
}

#[with_dlock(key = "busy", timeout = Duration::from_micros(wait))]
async fn expression(db: &DatabaseConnection, wait: u64) -> Result<(), Error> {
    let _ = db;
    Ok(())
}

#[with_dlock(key = "busy", nowait)]
async fn one_try(db: &DatabaseConnection) -> Result<(), Error> {
    let _ = db;
    Ok(())
}

#[with_dlock(key = "setting", timeout = *limit.lock().expect("no panic"))]
async fn setting(db: &DatabaseConnection, limit: &Mutex<Duration>) -> Result<(), Error> {
    let _ = (db, limit);
    Ok(())
}

#[tokio::test]
async fn a_timeout_is_known_before_the_lock_is_waited_for() {
    let (db, limit) = (database(), Mutex::new(Duration::from_secs(60)));
    let held = db.dlock("setting").await.unwrap();
    tokio::select! {
        biased;
        set = setting(&db, &limit) => panic!("{set:?}"),
        () = tokio::task::yield_now() => assert!(limit.try_lock().is_ok()),
    }
    held.release().await.unwrap();
    let task = tokio::spawn(async move { setting(&db, &limit).await });
    task.await.expect("no panic").unwrap();
}

fn waited(returned: Result<(), Error>) -> Duration {
    match returned {
        Err(Error::Timeout { waited, .. }) => waited,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn timeouts() {
    let db = database();
    let _held = db.dlock("busy").await.unwrap();
    assert!(waited(literal(&db).await) >= Duration::from_micros(1500));
    assert!(waited(expression(&db, 1500).await) >= Duration::from_micros(1500));
    waited(one_try(&db).await);
}

#[with_dlock(key = "shared", nowait, shared)]
async fn reader(db: &DatabaseConnection) -> Result<bool, Error> {
    Ok(is_locked(db, "shared").await)
}

#[tokio::test]
async fn shared_locks() {
    let db = database();
    let other = db.dlock("shared").shared().await.unwrap();
    assert!(reader(&db).await.unwrap());
    other.release().await.unwrap();
    let _writer = db.dlock("shared").await.unwrap();
    waited(reader(&db).await.map(drop));
}

#[with_dlock(key = "xact", db = txn, xact, timeout = "1s")]
async fn in_a_transaction(txn: &sea_orm::DatabaseTransaction) -> Result<u32, DbErr> {
    let _ = txn;
    Ok(1)
}

#[tokio::test]
async fn a_transaction_lock_is_a_statement_of_its_transaction() {
    let locked = MockExecResult {
        rows_affected: 1,
        ..MockExecResult::default()
    };
    let mock = MockDatabase::new(DbBackend::Postgres).append_exec_results([locked]);
    let db = mock.into_connection();
    let txn = db.begin().await.unwrap();
    assert_eq!(in_a_transaction(&txn).await, Ok(1));
    txn.commit().await.unwrap();
    let log = format!("{:?}", db.into_transaction_log());
    assert!(log.contains("pg_try_advisory_xact_lock"), "{log}");
}

#[with_dlock(key = "answer", nowait, busy = Err(AppError::Refused))]
async fn busy(db: &DatabaseConnection) -> Result<(), AppError> {
    let _ = db;
    Ok(())
}

#[with_dlock(key = key, nowait, busy = Err(AppError::Refused))]
async fn busy_with_a_bad_key(db: &DatabaseConnection, key: &str) -> Result<(), AppError> {
    let _ = db;
    Ok(())
}

#[with_dlock(key = "answer", nowait, busy = 1, on_error = |error| error.to_string().len())]
async fn number(db: &DatabaseConnection) -> usize {
    let _ = db;
    0
}

fn length(error: Error) -> usize {
    error.to_string().len()
}

#[with_dlock(key = key, on_error = length)]
async fn number_by_function(db: &DatabaseConnection, key: &str) -> usize {
    let _ = db;
    0
}

#[tokio::test]
async fn busy_answers_for_a_lock_that_was_not_got_in_time_and_on_error_for_all_else() {
    let db = database();
    assert_eq!(busy(&db).await, Ok(()));
    assert_eq!(number(&db).await, 0);
    let _held = db.dlock("answer").await.unwrap();
    assert_eq!(busy(&db).await, Err(AppError::Refused));
    assert_eq!(number(&db).await, 1);
    assert_eq!(number_by_function(&db, "other").await, 0);
    assert!(number_by_function(&db, "").await > 1);
    assert!(matches!(
        busy_with_a_bad_key(&db, "").await,
        Err(AppError::Lock(_))
    ));
}

#[with_dlock(key = "pinned", pinned)]
async fn reference(db: &DatabaseConnection) -> Result<usize, Error> {
    Ok(std::ptr::from_ref(db).addr())
}

#[with_dlock(key = "pinned", pinned, timeout = "1s", shared)]
async fn owned(State(db): State<DatabaseConnection>) -> Result<bool, Error> {
    Ok(is_locked(&db, "pinned").await)
}

#[with_dlock(key = "pinned", pinned, db = self_.db)]
async fn named(self_: &Services) -> Result<usize, Error> {
    Ok(std::ptr::from_ref::<DatabaseConnection>(db).addr())
}

#[with_dlock(key = "pinned", pinned, db = pool)]
async fn on_a_pool(pool: &LockPool) -> Result<bool, Error> {
    Ok(is_locked(pool, "pinned").await)
}

#[with_dlock(key = "pinned", pinned, db = (connection))]
async fn in_parentheses(connection: &DatabaseConnection) -> Result<usize, Error> {
    Ok(std::ptr::from_ref(connection).addr())
}

#[with_dlock(key = "pinned", pinned, db = &connection)]
async fn by_reference(connection: &DatabaseConnection) -> Result<usize, Error> {
    Ok(std::ptr::from_ref(connection).addr())
}

macro_rules! pinned {
    ($name:ident($connection:ident), db = $db:expr) => {
        #[with_dlock(key = "pinned", pinned, db = $db)]
        async fn $name($connection: &DatabaseConnection) -> Result<usize, Error> {
            Ok(std::ptr::from_ref($connection).addr())
        }
    };
}
pinned!(by_macro(connection), db = connection);

#[tokio::test]
async fn a_pinned_lock_is_on_the_parameter_however_it_is_written() {
    let db = database();
    let own = std::ptr::from_ref(&db).addr();
    assert_ne!(in_parentheses(&db).await.unwrap(), own);
    assert_ne!(by_macro(&db).await.unwrap(), own);
    assert_ne!(by_reference(&db).await.unwrap(), own);
}

#[tokio::test]
async fn the_body_of_a_pinned_lock_works_on_the_session_of_its_lock() {
    let db = database();
    assert_ne!(
        reference(&db).await.unwrap(),
        std::ptr::from_ref(&db).addr()
    );
    assert!(on_a_pool(&LockPool::of(&db)).await.unwrap());
    let services = Services {
        db: db.clone(),
        mail: "",
    };
    assert_ne!(
        named(&services).await.unwrap(),
        std::ptr::from_ref(&services.db).addr()
    );
    assert!(owned(State(db)).await.unwrap());
}
