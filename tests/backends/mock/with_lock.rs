//! `model.with_lock(..)` in a unit test.

use dlock::Error;
use dlock::prelude::*;
use sea_orm::{
    ActiveModelTrait, DatabaseConnection, DbBackend, DbErr, EntityTrait, IntoActiveModel,
    MockDatabase, MockExecResult, QuerySelect, QueryTrait, Set, TransactionTrait,
};

use super::{BACKENDS, log};
use crate::suite::Outcome;

mod invoice {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "invoice")]
    pub(super) struct Model {
        #[sea_orm(primary_key)]
        pub(super) id: i64,
        pub(super) paid: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

async fn pay(db: &DatabaseConnection, invoice: invoice::Model) -> Result<bool, DbErr> {
    let paying = invoice.with_lock(db, async |txn, invoice| {
        if invoice.paid {
            return Ok(false);
        }
        let mut invoice = invoice.into_active_model();
        invoice.paid = Set(true);
        invoice.update(txn).await?;
        Ok(true)
    });
    paying.await
}

const STALE: invoice::Model = invoice::Model {
    id: 42,
    paid: false,
};

#[tokio::test]
async fn a_row_is_read_anew_in_the_transaction_under_the_lock() -> Outcome {
    for backend in BACKENDS {
        let now = invoice::Model {
            paid: true,
            ..STALE
        };
        let mock = MockDatabase::new(backend).append_query_results([[now]]);
        let db = mock.into_connection();
        assert!(!pay(&db, STALE).await?);
        let log = log(db);
        assert_eq!(log.len(), 1);
        let [begin, select, commit] = &log[0][..] else {
            panic!("{log:?}");
        };
        assert_eq!((&**begin, &**commit), ("BEGIN", "COMMIT"));
        assert!(
            select.starts_with("SELECT ") && !select.contains("FOR UPDATE"),
            "{select}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_body_writes_in_that_transaction() -> Outcome {
    let paid = invoice::Model {
        paid: true,
        ..STALE
    };
    let mock = MockDatabase::new(DbBackend::Postgres).append_query_results([[STALE], [paid]]);
    let db = mock.into_connection();
    let guard = invoice::Entity::dlock(&db, 42).await?;
    tokio::select! {
        biased;
        paid = pay(&db, STALE) => panic!("paid without the lock: {paid:?}"),
        () = tokio::task::yield_now() => {}
    }
    guard.release().await?;
    assert!(pay(&db, STALE).await?);
    let log = log(db);
    assert_eq!(log.len(), 1);
    assert_eq!(
        log[0].len(),
        "BEGIN SELECT UPDATE COMMIT".split(' ').count()
    );
    Ok(())
}

#[tokio::test]
async fn a_row_that_is_gone_is_not_found() -> Outcome {
    for backend in BACKENDS {
        let none: [invoice::Model; 0] = [];
        let mock = MockDatabase::new(backend).append_query_results([none]);
        let db = mock.into_connection();
        let missing = pay(&db, STALE).await.unwrap_err();
        assert_eq!(missing, DbErr::RecordNotFound("invoice/42".to_owned()));
        assert!(STALE.dlock(&db).try_acquire().await?.is_some());
        assert_eq!(log(db)[0].last().map(String::as_str), Some("ROLLBACK"));
    }
    Ok(())
}

/// Its own error type is all that a handler has to bring.
#[tokio::test]
async fn a_body_fails_in_the_words_of_its_application() -> Outcome {
    #[derive(Debug)]
    enum AppError {
        Lock(Error),
        Database(DbErr),
        AlreadyPaid(i64),
    }
    impl From<Error> for AppError {
        fn from(error: Error) -> Self {
            Self::Lock(error)
        }
    }
    impl From<DbErr> for AppError {
        fn from(error: DbErr) -> Self {
            Self::Database(error)
        }
    }
    let results = [vec![STALE], vec![]];
    let mock = MockDatabase::new(DbBackend::MySql).append_query_results(results);
    let db = mock.into_connection();
    let fail = async || {
        let failing = STALE.with_lock(&db, async |_, invoice| {
            Err::<(), _>(AppError::AlreadyPaid(invoice.id))
        });
        failing.await.unwrap_err()
    };
    assert!(matches!(fail().await, AppError::AlreadyPaid(42)));
    assert!(matches!(
        fail().await,
        AppError::Database(DbErr::RecordNotFound(_))
    ));
    LockPool::of(&db).close().await;
    assert!(matches!(fail().await, AppError::Lock(Error::PoolClosed)));
    Ok(())
}

/// As `tokio::spawn` and the handlers of web frameworks want it.
#[tokio::test]
async fn its_future_can_be_sent_to_another_thread() -> Outcome {
    fn handler<F: Future<Output = Result<bool, DbErr>> + Send + 'static>(
        _: impl Fn(DatabaseConnection, invoice::Model) -> F,
    ) {
    }
    handler(async |db: DatabaseConnection, model: invoice::Model| pay(&db, model).await);
    let mock = MockDatabase::new(DbBackend::Sqlite).append_query_results([[STALE]]);
    let db = mock.into_connection();
    let note = "seen".to_owned();
    let task = tokio::spawn(async move {
        let read = STALE.with_lock(&db, async |txn, invoice| {
            let nested = txn.begin().await?;
            nested.commit().await?;
            Ok::<_, DbErr>(format!("{note}: {}", invoice.id))
        });
        read.await
    });
    assert_eq!(task.await??, "seen: 42");
    Ok(())
}

/// The transaction does not show that it is a mock's: it is asked for its database, then for the lock.
#[tokio::test]
async fn a_transaction_lock_on_a_row_wants_two_results() -> Outcome {
    use std::collections::BTreeMap;

    let got = MockExecResult {
        rows_affected: 1,
        ..MockExecResult::default()
    };
    let database = BTreeMap::from([("database", sea_orm::Value::from("main"))]);
    let mock = MockDatabase::new(DbBackend::Postgres).append_query_results([[database]]);
    let db = mock.append_exec_results([got]).into_connection();
    let txn = db.begin().await?;
    STALE.dlock(&txn).xact().await?;
    let refused = STALE.dlock(&txn).xact().await;
    let Err(Error::Unsupported { backend, hint, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(backend.contains("MockDatabase"), "{backend}");
    assert!(hint.contains("`database`"), "{hint}");
    Ok(txn.rollback().await?)
}

/// So it locks nothing there, as the README says where it compares.
#[test]
fn for_update_is_left_out_of_the_statement_on_sqlite() {
    for backend in BACKENDS {
        let select = invoice::Entity::find_by_id(42).lock_exclusive();
        let select = select.build(backend).to_string();
        let locks = backend != DbBackend::Sqlite;
        assert_eq!(select.contains("FOR UPDATE"), locks, "{select}");
    }
}
