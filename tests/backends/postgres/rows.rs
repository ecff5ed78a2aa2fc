//! Rows of entities, whose names begin with the database as its server calls it, not as a pooler does.

use dlock::Error;
use dlock::prelude::*;
use dlock_tests::{connect, env};
use sea_orm::sqlx::ConnectOptions;
use sea_orm::{DatabaseConnection, TransactionTrait};

use super::server::{
    PATIENCE, Server, application, drop_database, key, options, scratch_database, sessions, url,
};
use crate::invoices::invoices;

invoices! {
    invoice(table_name = "dlock_invoice")
    in_schema(schema_name = "dlock_shop", table_name = "dlock_invoice")
}

/// Another name of the main database at this pooler.
async fn by_alias(pooler: &str) -> DatabaseConnection {
    let url = options(&env(pooler));
    let alias = format!("{}_alias", url.get_database().expect("a database"));
    let url = url.database(&alias).to_url_lossy();
    connect(url.as_str(), 2).await
}

#[tokio::test]
async fn a_poolers_alias_is_no_other_database() {
    let db = connect(&url(), 1).await;
    let pooled = by_alias("DLOCK_TEST_PGBOUNCER_SESSION_URL").await;
    let pooled = LockPool::builder(&pooled).trust_session_pooling().build();
    let model = invoice::Model { id: key() };
    let guard = model.dlock(&pooled).timeout(PATIENCE).await.unwrap();
    assert!(model.dlock(&db).try_acquire().await.unwrap().is_none());
    let physical = guard.physical_key().clone();
    guard.release().await.unwrap();
    let guard = model.dlock(&db).timeout(PATIENCE).await.unwrap();
    assert_eq!(*guard.physical_key(), physical);
}

/// With a schema nothing is asked that a pooler of transactions would have to prepare.
#[tokio::test]
async fn a_transaction_through_a_pooler_holds_a_row_in_a_schema() {
    let db = connect(&url(), 1).await;
    let pooled = by_alias("DLOCK_TEST_PGBOUNCER_TRANSACTION_URL").await;
    let model = in_schema::Model { id: key() };
    for _ in 0..10 {
        let (one, other) = (pooled.begin().await.unwrap(), pooled.begin().await.unwrap());
        model.dlock(&one).xact().await.unwrap();
        assert!(model.dlock(&db).try_acquire().await.unwrap().is_none());
        let by_id = in_schema::Entity::dlock(&other, model.id).xact();
        assert!(!by_id.try_acquire().await.unwrap());
        one.commit().await.unwrap();
        model.dlock(&other).xact().await.unwrap();
        other.rollback().await.unwrap();
    }
}

/// Its locks would exclude nobody here, and a row there is another row.
#[tokio::test]
async fn a_session_that_is_in_another_database_is_refused() {
    let (name, elsewhere) = scratch_database().await;
    let (url, application) = application(&url());
    let db = connect(&url, 1).await;
    let model = invoice::Model { id: key() };
    drop(model.dlock(&db).timeout(PATIENCE).await.unwrap());
    let connections = db.get_postgres_connection_pool();
    connections.set_connect_options(options(&elsewhere));
    let sessions = sessions(&application);
    let mut server = Server::main().await;
    server
        .count(&format!(
            "(SELECT pg_terminate_backend(pid) FROM {sessions}) ended"
        ))
        .await;
    let refused = loop {
        match model.dlock(&db).timeout(PATIENCE).await {
            // By the session that does not know of its end yet.
            Ok(guard) => drop(guard),
            Err(error) => break error,
        }
    };
    let Error::Refused { found, .. } = refused else {
        panic!("{refused:?}");
    };
    assert!(found.contains("another database"), "{found}");
    drop_database(&name).await;
}
