//! Functions of all kinds.

use std::fmt::{Debug, Display};
use std::rc::Rc;
use std::sync::Arc;

use dlock::{Connection, Error, with_dlock};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};

use super::{AppError, database, is_locked};

#[with_dlock(key = "free/{id}")]
async fn free(db: &DatabaseConnection, id: i64) -> Result<bool, AppError> {
    Ok(is_locked(db, format!("free/{id}")).await)
}

#[tokio::test]
async fn a_function_runs_under_its_lock_and_releases_it_before_it_returns() {
    let db = database();
    assert_eq!(free(&db, 7).await, Ok(true));
    assert!(!is_locked(&db, "free/7").await);
}

#[with_dlock(key = "early")]
async fn early(db: &DatabaseConnection, by: &str) -> Result<u32, AppError> {
    if by == "return" {
        return Ok(1);
    }
    if by == "question mark" {
        Err(AppError::Refused)?;
    }
    Ok(2)
}

#[tokio::test]
async fn question_mark_and_return_leave_the_body_and_release_the_lock() {
    let db = database();
    for (by, returned) in [
        ("return", Ok(1)),
        ("question mark", Err(AppError::Refused)),
        ("the end", Ok(2)),
    ] {
        assert_eq!(early(&db, by).await, returned);
        assert!(!is_locked(&db, "early").await);
    }
}

#[with_dlock(key = "generic/{id}")]
async fn generic_by_reference<C>(db: &C, id: i64) -> Result<bool, AppError>
where
    C: Connection + ConnectionTrait,
{
    assert_eq!(db.get_database_backend(), DbBackend::Postgres);
    let busy = db.dlock(format!("generic/{id}")).try_acquire().await;
    Ok(busy.is_ok_and(|guard| guard.is_none()))
}

#[with_dlock(key = "by value", shared)]
async fn generic_by_value(db: impl Connection + ConnectionTrait + Clone) -> Result<bool, AppError> {
    let busy = db.dlock("by value").try_acquire().await;
    Ok(busy.is_ok_and(|guard| guard.is_none()))
}

#[tokio::test]
async fn a_function_is_generic_over_its_connection() {
    let db = database();
    assert_eq!(generic_by_reference(&db, 7).await, Ok(true));
    assert_eq!(generic_by_value(db.clone()).await, Ok(true));
    assert!(!is_locked(&db, "generic/7").await);
    assert!(!is_locked(&db, "by value").await);
}

/// Shown in a key by its name.
struct Tenant {
    db: DatabaseConnection,
}

impl Display for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad("acme")
    }
}

impl Tenant {
    #[with_dlock(key = "tenant/{self}/{self:>6}/{{}}", db = self.db)]
    async fn itself(&self) -> Result<bool, AppError> {
        Ok(is_locked(&self.db, "tenant/acme/  acme/{}").await)
    }
}

#[tokio::test]
async fn a_key_may_name_self_and_have_braces() {
    let tenant = Tenant { db: database() };
    assert_eq!(tenant.itself().await, Ok(true));
}

struct Service {
    db: DatabaseConnection,
    name: String,
    calls: u32,
}

fn service() -> Service {
    Service {
        db: database(),
        name: "billing".into(),
        calls: 0,
    }
}

impl Service {
    #[with_dlock(key = "by reference", db = self.db)]
    async fn by_reference(&self) -> Result<&str, Error> {
        assert!(is_locked(&self.db, "by reference").await);
        Ok(&self.name)
    }

    #[with_dlock(key = format!("{}/{by}", self.name), db = self.db)]
    async fn by_mutable_reference(&mut self, by: u32) -> Result<&mut u32, Error> {
        assert!(is_locked(&self.db, format!("billing/{by}")).await);
        self.calls += by;
        Ok(&mut self.calls)
    }

    #[with_dlock(key = &self.name, db = self.db)]
    async fn by_arc(self: Arc<Self>) -> Result<Arc<Self>, Error> {
        assert!(is_locked(&self.db, "billing").await);
        Ok(self)
    }

    #[with_dlock(key = "by value", db = self.db)]
    async fn by_value(mut self) -> Result<String, Error> {
        self.name.push('!');
        Ok(self.name)
    }

    #[with_dlock(key = "associated")]
    async fn associated(db: DatabaseConnection) -> Result<Self, Error> {
        assert!(is_locked(&db, "associated").await);
        Ok(Self { db, ..service() })
    }
}

#[tokio::test]
async fn methods_of_all_kinds() {
    let mut service = service();
    assert_eq!(service.by_reference().await.unwrap(), "billing");
    *service.by_mutable_reference(3).await.unwrap() += 1;
    assert_eq!(service.calls, 4);
    let service = Arc::new(service).by_arc().await.unwrap();
    let service = Arc::into_inner(service).expect("nobody else has it");
    assert_eq!(service.by_value().await.unwrap(), "billing!");
    Service::associated(database()).await.unwrap();
}

#[with_dlock(key = "generic/{value}")]
async fn generic<'a, T, const N: usize>(
    db: &DatabaseConnection,
    value: &'a T,
    times: [u8; N],
) -> Result<(&'a T, usize), AppError>
where
    T: Display + Sync + ?Sized,
{
    let _ = times;
    assert!(is_locked(db, format!("generic/{value}")).await);
    Ok((value, N))
}

#[tokio::test]
async fn generics_lifetimes_and_constants() {
    let db = database();
    let text = String::from("text");
    assert_eq!(generic(&db, text.as_str(), [0; 3]).await, Ok(("text", 3)));
}

#[with_dlock(key = "impl")]
async fn some_iterator(
    db: &DatabaseConnection,
) -> Result<impl Iterator<Item = u32> + use<>, Error> {
    if is_locked(db, "impl").await {
        return Ok(1..3);
    }
    Ok(0..0)
}

#[with_dlock(key = "impl", on_error = |error| panic!("{error}"))]
async fn something(db: &DatabaseConnection) -> impl Debug + use<> {
    is_locked(db, "impl").await
}

#[tokio::test]
async fn impl_trait_in_return_position() {
    let db = database();
    assert_eq!(some_iterator(&db).await.unwrap().sum::<u32>(), 3);
    assert_eq!(format!("{:?}", something(&db).await), "true");
}

#[with_dlock(key = "arguments")]
async fn arguments(
    db: &DatabaseConnection,
    mut list: Vec<u32>,
    (first, second): (u32, u32),
    impl_trait: impl Into<String>,
) -> Result<String, Error> {
    list.push(first);
    list.push(second);
    Ok(format!("{list:?} {}", impl_trait.into()))
}

#[tokio::test]
async fn arguments_of_all_kinds_reach_the_body() {
    let reached = arguments(&database(), vec![1], (2, 3), "four").await;
    assert_eq!(reached.unwrap(), "[1, 2, 3] four");
}

#[with_dlock(key = "not send")]
async fn not_send(db: &DatabaseConnection) -> Result<usize, Error> {
    let counted = Rc::new(());
    tokio::task::yield_now().await;
    let _ = db;
    Ok(Rc::strong_count(&counted))
}

#[tokio::test]
async fn a_future_that_is_not_send() {
    assert_eq!(not_send(&database()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_future_is_send_when_its_body_is() {
    let db = database();
    let task = tokio::spawn(async move { free(&db, 1).await });
    assert_eq!(task.await.expect("no panic"), Ok(true));
}

#[with_dlock(key = "nothing", on_error = drop)]
async fn returns_nothing(db: &DatabaseConnection, seen: &mut bool) {
    *seen = is_locked(db, "nothing").await;
}

#[tokio::test]
async fn a_function_that_returns_nothing() {
    let mut seen = false;
    returns_nothing(&database(), &mut seen).await;
    assert!(seen);
}

trait Job {
    async fn run(&self, id: u32) -> Result<bool, Error>;

    #[with_dlock(key = "default", db = self.database())]
    async fn run_by_default(&self) -> Result<bool, Error> {
        Ok(is_locked(self.database(), "default").await)
    }

    fn database(&self) -> &DatabaseConnection;
}

impl Job for Service {
    #[with_dlock(key = "job/{id}", db = self.db)]
    async fn run(&self, id: u32) -> Result<bool, Error> {
        Ok(is_locked(&self.db, format!("job/{id}")).await)
    }

    fn database(&self) -> &DatabaseConnection {
        &self.db
    }
}

#[tokio::test]
async fn native_async_traits() {
    assert!(service().run(1).await.unwrap());
    assert!(service().run_by_default().await.unwrap());
}

/// Nothing of the expansion can be seen or is in the way.
#[with_dlock(key = "{key}/{error}", timeout = timeout)]
async fn names(
    db: &DatabaseConnection,
    key: &str,
    error: &str,
    guard: &str,
    body: &str,
    timeout: std::time::Duration,
) -> Result<String, Error> {
    let (acquired, returned) = ("acquired", "returned");
    assert!(is_locked(db, "key/error").await);
    Ok([key, error, guard, body, acquired, returned].join(" ") + &format!("{timeout:?}"))
}

#[tokio::test]
async fn names_of_the_expansion_are_nobody_elses() {
    let second = std::time::Duration::from_secs(1);
    let said = names(&database(), "key", "error", "guard", "body", second).await;
    assert_eq!(said.unwrap(), "key error guard body acquired returned1s");
}

/// Where nothing is in scope.
mod elsewhere {
    use super::DatabaseConnection;

    #[allow(dead_code)]
    enum Result {}
    #[allow(dead_code)]
    enum Option {}
    #[allow(dead_code)]
    struct Ok;
    #[allow(dead_code)]
    struct Err;

    #[dlock::with_dlock(key = "elsewhere", timeout = "1s", busy = ::core::result::Result::Ok(0))]
    pub(super) async fn elsewhere(
        db: &DatabaseConnection,
    ) -> ::core::result::Result<u32, ::dlock::Error> {
        let _ = db;
        ::core::result::Result::Ok(1)
    }

    pub(super) use dlock as renamed;

    #[dlock::with_dlock(key = "elsewhere", crate = super::elsewhere::renamed)]
    pub(super) async fn under_another_name(
        db: &DatabaseConnection,
    ) -> ::core::result::Result<u32, renamed::Error> {
        let _ = db;
        ::core::result::Result::Ok(2)
    }
}

#[tokio::test]
async fn names_of_the_prelude_may_mean_something_else() {
    let db = database();
    assert_eq!(elsewhere::elsewhere(&db).await.unwrap(), 1);
    assert_eq!(elsewhere::under_another_name(&db).await.unwrap(), 2);
}

#[with_dlock(key = "lead")]
async fn lead(db: &DatabaseConnection) -> Result<std::convert::Infallible, AppError> {
    assert!(is_locked(db, "lead").await);
    loop {
        if is_locked(db, "lead").await {
            return Err(AppError::Refused);
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_by_an_error_only() {
    assert_eq!(lead(&database()).await, Err(AppError::Refused));
}
