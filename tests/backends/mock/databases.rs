//! A mock refuses what the database that it imitates would refuse, and calls locks what that would call them.

use dlock::{DLockExt, Error, LockPool};
use sea_orm::{DatabaseConnection, DbBackend};

use super::{BACKENDS, log, mock};
use crate::suite::Outcome;

fn unsupported(refused: Result<dlock::DLockGuard, Error>) -> (&'static str, &'static str) {
    match refused {
        Err(Error::Unsupported { backend, hint, .. }) => (backend, hint),
        other => panic!("{other:?}"),
    }
}

async fn name_of(db: &DatabaseConnection, key: impl Into<dlock::Key>) -> Outcome<String> {
    Ok(db.dlock(key).await?.physical_key().to_string())
}

#[tokio::test]
async fn a_mock_of_mysql_shares_no_lock() -> Outcome {
    let db = mock(DbBackend::MySql);
    let (backend, hint) = unsupported(db.dlock("key").shared().await);
    assert_eq!(backend, "MySQL");
    assert!(hint.contains(".shared()"), "{hint}");
    let refused = db.dlock("key").shared().try_acquire().await;
    assert!(
        matches!(refused, Err(Error::Unsupported { .. })),
        "{refused:?}"
    );
    assert!(db.dlock("key").try_acquire().await?.is_some());
    assert!(log(db).is_empty());
    Ok(())
}

#[tokio::test]
async fn pairs_are_keys_on_postgresql_only() -> Outcome {
    for (backend, name) in [(DbBackend::MySql, "MySQL"), (DbBackend::Sqlite, "SQLite")] {
        let (refused, _) = unsupported(mock(backend).dlock((1, 2)).await);
        assert_eq!(refused, name);
    }
    assert_eq!(name_of(&mock(DbBackend::Postgres), (1, 2)).await?, "(1, 2)");
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_text_are_keys_on_postgresql_only() -> Outcome {
    for backend in BACKENDS {
        let got = mock(backend).dlock(vec![0xFF, 0xFE]).await;
        match backend {
            DbBackend::Postgres => assert!(got.is_ok(), "{got:?}"),
            _ => assert!(matches!(got, Err(Error::InvalidKey { .. })), "{got:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_empty_key_is_invalid() {
    for backend in BACKENDS {
        let refused = mock(backend).dlock("").await;
        assert!(
            matches!(refused, Err(Error::InvalidKey { .. })),
            "{refused:?}"
        );
    }
}

/// As in `vectors/keys.json`, and as `printf %s NAME | b2sum -l 256` says.
#[tokio::test]
async fn a_lock_is_called_what_the_database_calls_it() -> Outcome {
    let [postgres, mysql, sqlite] = BACKENDS.map(mock);
    assert!(name_of(&postgres, "abc").await?.parse::<i64>().is_ok());
    assert_eq!(name_of(&mysql, "abc").await?, "abc");
    assert_eq!(name_of(&sqlite, "abc").await?, "abc");
    let long = "x".repeat(65);
    assert_eq!(
        name_of(&mysql, &long).await?,
        "d15d47fd5554451d9b34dc57cadcef10242c8ba3141da1df848358223b64e60a"
    );
    assert_eq!(name_of(&sqlite, &long).await?, long);
    // A number and its text are one key where locks have names.
    for (db, is_one) in [(postgres, false), (mysql, true), (sqlite, true)] {
        let _number = db.dlock(42).await?;
        assert_eq!(db.dlock("42").try_acquire().await?.is_none(), is_one);
    }
    Ok(())
}

#[tokio::test]
async fn a_namespace_is_part_of_the_name() -> Outcome {
    let db = mock(DbBackend::Sqlite);
    let pool = LockPool::builder(&db).namespace("billing").install();
    let guard = db.dlock("42").await?;
    assert_eq!(guard.physical_key().to_string(), "billing:42");
    let plain = LockPool::builder(&db).build();
    assert!(plain.dlock("42").try_acquire().await?.is_some());
    assert!(plain.dlock("billing:42").try_acquire().await?.is_none());
    assert_eq!(pool.status().held, 1);
    Ok(guard.release().await?)
}
