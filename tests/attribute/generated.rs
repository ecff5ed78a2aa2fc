//! Functions that other attributes have been at before.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use dlock::{DLockExt, Error, with_dlock};
use sea_orm::DatabaseConnection;

use super::{AppError, database, is_locked};

struct State<T>(T);

#[async_trait]
trait Job {
    async fn by_reference(&self, id: u32) -> Result<bool, AppError>;
    async fn by_mutable_reference(&mut self) -> Result<&mut u32, AppError>;
    async fn by_arc(self: Arc<Self>) -> Result<bool, AppError>;
    async fn by_pattern(&self, state: State<DatabaseConnection>) -> Result<bool, AppError>;
    async fn no_result(&self, seen: &mut bool);
    async fn on_a_parameter(db: &DatabaseConnection, text: &str) -> Result<usize, AppError>;

    #[with_dlock(key = "default", db = self.database())]
    async fn by_default(&self) -> Result<bool, AppError>
    where
        Self: Sync,
    {
        Ok(is_locked(self.database(), "default").await)
    }

    fn database(&self) -> &DatabaseConnection;
}

struct Service {
    db: DatabaseConnection,
    calls: u32,
}

#[async_trait]
impl Job for Service {
    #[with_dlock(key = format!("job/{id}/{}", self.calls), db = self.db)]
    async fn by_reference(&self, id: u32) -> Result<bool, AppError> {
        if id == 0 {
            return Err(AppError::Refused);
        }
        Ok(is_locked(&self.db, format!("job/{id}/0")).await)
    }

    #[with_dlock(key = "job", db = self.db)]
    async fn by_mutable_reference(&mut self) -> Result<&mut u32, AppError> {
        assert!(is_locked(&self.db, "job").await);
        self.calls += 1;
        Ok(&mut self.calls)
    }

    #[with_dlock(key = "job", db = self.db)]
    async fn by_arc(self: Arc<Self>) -> Result<bool, AppError> {
        Ok(is_locked(&self.db, "job").await)
    }

    #[with_dlock(key = "job")]
    async fn by_pattern(&self, State(db): State<DatabaseConnection>) -> Result<bool, AppError> {
        Ok(is_locked(&db, "job").await && self.calls == 0)
    }

    #[with_dlock(key = "job", db = self.db, on_error = drop)]
    async fn no_result(&self, seen: &mut bool) {
        *seen = is_locked(&self.db, "job").await;
    }

    #[with_dlock(key = "job/{text}")]
    async fn on_a_parameter(db: &DatabaseConnection, text: &str) -> Result<usize, AppError> {
        assert!(is_locked(db, format!("job/{text}")).await);
        Ok(text.len())
    }

    fn database(&self) -> &DatabaseConnection {
        &self.db
    }
}

fn service() -> Service {
    Service {
        db: database(),
        calls: 0,
    }
}

#[tokio::test]
async fn methods_of_async_trait() {
    let mut one = service();
    let mut seen = false;
    assert_eq!(one.by_reference(1).await, Ok(true));
    assert_eq!(one.by_reference(0).await, Err(AppError::Refused));
    assert_eq!(one.by_pattern(State(database())).await, Ok(true));
    assert_eq!(one.by_default().await, Ok(true));
    assert_eq!(one.by_mutable_reference().await, Ok(&mut 1));
    one.no_result(&mut seen).await;
    assert!(seen);
    assert!(!is_locked(&one.db, "job").await);
    assert_eq!(Service::on_a_parameter(&one.db, "text").await, Ok(4));
    assert_eq!(Arc::new(service()).by_arc().await, Ok(true));
}

#[async_trait(?Send)]
trait Local {
    async fn run(&self) -> Result<bool, AppError>;
}

#[async_trait(?Send)]
impl Local for Service {
    #[with_dlock(key = "local", db = self.db)]
    async fn run(&self) -> Result<bool, AppError> {
        let local = std::rc::Rc::new("local");
        Ok(is_locked(&self.db, *local).await)
    }
}

#[tokio::test]
async fn methods_of_async_trait_that_are_not_send() {
    assert_eq!(Local::run(&service()).await, Ok(true));
}

#[with_dlock(key = "boxed/{id}")]
fn boxed(
    db: &DatabaseConnection,
    id: u32,
) -> Pin<Box<dyn Future<Output = Result<bool, AppError>> + Send + '_>> {
    Box::pin(async move {
        if id == 0 {
            Err(AppError::Refused)?;
        }
        Ok(is_locked(db, format!("boxed/{id}")).await)
    })
}

#[with_dlock(key = "unboxed")]
fn unboxed(
    db: &DatabaseConnection,
) -> impl Future<Output = Result<bool, AppError>> + Send + use<'_> {
    let name = "unboxed";
    async move { Ok(is_locked(db, name).await) }
}

#[tokio::test]
async fn functions_that_return_a_future_as_if_they_were_async() {
    let db = database();
    assert_eq!(boxed(&db, 1).await, Ok(true));
    assert_eq!(boxed(&db, 0).await, Err(AppError::Refused));
    assert_eq!(unboxed(&db).await, Ok(true));
}

#[tracing::instrument(skip(db))]
#[with_dlock(key = "traced/{id}")]
async fn traced_outside(db: &DatabaseConnection, id: u32) -> Result<bool, Error> {
    Ok(is_locked(db, format!("traced/{id}")).await)
}

#[with_dlock(key = "traced/{id}")]
#[tracing::instrument(skip(db))]
async fn traced_inside(db: &DatabaseConnection, id: u32) -> Result<bool, Error> {
    Ok(is_locked(db, format!("traced/{id}")).await)
}

#[async_trait]
trait Traced {
    async fn outside(&self) -> Result<bool, Error>;
    async fn inside(&self) -> Result<bool, Error>;
}

#[async_trait]
impl Traced for Service {
    #[tracing::instrument(skip_all)]
    #[with_dlock(key = "traced", db = self.db)]
    async fn outside(&self) -> Result<bool, Error> {
        Ok(is_locked(&self.db, "traced").await)
    }

    #[with_dlock(key = "traced", db = self.db)]
    #[tracing::instrument(skip_all)]
    async fn inside(&self) -> Result<bool, Error> {
        Ok(is_locked(&self.db, "traced").await)
    }
}

#[tokio::test]
async fn tracing_goes_outside_or_inside() {
    let db = database();
    assert!(traced_outside(&db, 1).await.unwrap());
    assert!(traced_inside(&db, 1).await.unwrap());
    assert!(service().outside().await.unwrap());
    assert!(service().inside().await.unwrap());
}

/// The lower one is the outer one.
#[with_dlock(key = "account/{to}", nowait)]
#[with_dlock(key = "account/{from}")]
async fn transfer(db: &DatabaseConnection, from: u32, to: u32) -> Result<bool, Error> {
    let [first, second] = [from, to].map(|account| format!("account/{account}"));
    Ok(is_locked(db, first).await && is_locked(db, second).await)
}

#[tokio::test]
async fn two_locks_on_one_function() {
    let db = database();
    assert!(transfer(&db, 1, 2).await.unwrap());
    assert!(matches!(
        transfer(&db, 1, 1).await,
        Err(Error::Timeout { .. })
    ));
    let held = db.dlock("account/2").await.unwrap();
    assert!(matches!(
        transfer(&db, 1, 2).await,
        Err(Error::Timeout { .. })
    ));
    assert!(!is_locked(&db, "account/1").await);
    let _waited_for = db.dlock("account/1").await.unwrap();
    let moment = std::time::Duration::from_millis(20);
    let waits = tokio::time::timeout(moment, transfer(&db, 1, 2));
    assert!(waits.await.is_err(), "it is not as far as the upper one");
    held.release().await.unwrap();
}
