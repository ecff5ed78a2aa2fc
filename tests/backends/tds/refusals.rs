//! Servers that cannot be locked on, or not be reached.

use std::time::Duration;

use dlock::mssql::MsSql;
use dlock::{DLockExt, Error, LockPool, Phase};
use dlock_tests::urls;
use sea_orm::DatabaseBackend;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::{Of, Scene, why};
use crate::suite::{Outcome, in_one_of, soon};

#[tokio::test]
async fn a_database_that_cannot_be_written_to_is_refused() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    scene.locks().set_read_only(true);
    for refused in [
        soon("the refusal", pool.dlock("k").try_acquire()).await?,
        soon("the refusal", pool.dlock("k")).await?.map(Some),
    ] {
        let Err(error @ Error::Refused { .. }) = refused else {
            panic!("{refused:?}");
        };
        let said = error.to_string();
        assert!(
            said.contains("replica") && said.contains("primary"),
            "{said}"
        );
    }
    assert_eq!(
        (
            scene.asked(Of::Try),
            pool.status().counters.sessions_refused
        ),
        (0, 2)
    );
    // It becomes the primary.
    scene.locks().set_read_only(false);
    Ok(pool.dlock("k").await?.release().await?)
}

#[tokio::test]
async fn locks_of_a_database_that_becomes_read_only_are_lost_within_the_keepalive() -> Outcome {
    let keepalive = Duration::from_millis(400);
    in_one_of(3, keepalive + Duration::from_millis(200), async || {
        let scene = Scene::open().await?;
        let pool = scene.impatient("ours", keepalive);
        let guard = pool.dlock("k").await?;
        scene.locks().set_read_only(true);
        let start = Instant::now();
        soon("the loss", guard.lost()).await?;
        let took = start.elapsed();
        let refused = soon("the refusal", pool.dlock("k")).await?;
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
        scene.is_left_clean().await?;
        Ok(took)
    })
    .await
}

#[tokio::test]
async fn a_pinned_lock_is_refused_with_a_way_out() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    let refusals = [
        pool.dlock("k").pinned().await.err(),
        pool.dlock("k").pinned().try_acquire().await.err(),
    ];
    for refused in refusals {
        let Some(Error::Unsupported {
            backend,
            feature,
            hint,
        }) = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!(backend, "SQL Server");
        assert!(feature.contains(".pinned()") && hint.contains(".run(..)"));
    }
    assert_eq!(scene.locks().entries(), []);
    Ok(pool.dlock("k").await?.release().await?)
}

#[tokio::test]
async fn a_pool_that_opens_its_own_sessions_takes_none_from_elsewhere() -> Outcome {
    let scene = Scene::open().await?;
    let elsewhere = sea_orm::MockDatabase::new(DatabaseBackend::Postgres).into_connection();
    let builder = scene.builder("ours").sessions_from(&elsewhere);
    let refused = builder.build().dlock("k").await;
    let Err(Error::InvalidSetting { setting, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(setting, "sessions_from(..)");
    assert_eq!(scene.sessions("ours"), []);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_starting_is_waited_for() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    scene.server.stop_accepting().await;
    let mut acquire = Box::pin(pool.dlock("k").acquire());
    let early = timeout(Duration::from_millis(300), &mut acquire).await;
    assert!(early.is_err(), "{early:?}");
    scene.server.accept_again().await?;
    let guard = soon("the lock", acquire).await??;
    assert_eq!(pool.status().counters.sessions_refused, 0);
    Ok(guard.release().await?)
}

#[tokio::test]
async fn a_server_that_stays_away_is_an_error_that_says_so() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    scene.server.stop_accepting().await;
    let start = Instant::now();
    let refused = soon("the error", pool.dlock("k")).await?;
    let took = start.elapsed();
    let said = why(Phase::Connect, refused);
    assert!(said.contains("refused"), "{said}");
    assert!(
        took >= Duration::from_secs(4) && took < Duration::from_secs(10),
        "{took:?}"
    );
    // With less patience, too, it is one that refuses and not one that is silent.
    let impatient = scene.impatient("theirs", Duration::from_secs(1));
    let said = why(
        Phase::Connect,
        soon("the error", impatient.dlock("k")).await?,
    );
    assert!(said.contains("refused"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_stays_away_is_no_timeout() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.pool("ours");
    scene.server.stop_accepting().await;
    let limit = Duration::from_millis(200);
    let refused = soon("the end", pool.dlock("k").timeout(limit)).await?;
    let said = why(Phase::Connect, refused);
    assert!(said.contains("refused"), "{said}");
    Ok(())
}

/// It takes connections, and never says a word.
#[tokio::test]
async fn a_server_that_says_nothing_is_an_error_in_time() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("mssql://nobody@{}/master", listener.local_addr()?);
    let pool = LockPool::builder_for(MsSql::new(urls::mssql(&url)));
    let pool = pool.keepalive(Duration::from_millis(200)).build();
    let start = Instant::now();
    let refused = soon("the error", pool.dlock("k")).await?;
    let took = start.elapsed();
    let said = why(Phase::Connect, refused);
    assert!(
        said.contains("no answer from the server within 1s"),
        "{said}"
    );
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(5),
        "{took:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_session_whose_first_question_is_never_answered_is_an_error_in_time() -> Outcome {
    let scene = Scene::open().await?;
    let pool = scene.impatient("ours", Duration::from_millis(200));
    scene.say(Of::Life, dlock_tds::Reply::Never);
    let refused = soon("the error", pool.dlock("k")).await?;
    let said = why(Phase::Connect, refused);
    assert!(
        said.contains("no answer from the server within 1s"),
        "{said}"
    );
    Ok(soon("the lock", pool.dlock("k")).await??.release().await?)
}

/// The limits of the driver would end a session in the middle of a wait.
#[tokio::test]
async fn what_the_configuration_says_of_statements_that_take_long_does_not_count() -> Outcome {
    let scene = Scene::open().await?;
    let theirs = scene.pool("theirs").dlock("k").await?;
    let mut config = scene.config("ours");
    config.command_timeout(Some(Duration::from_millis(50)));
    let pool = LockPool::open(MsSql::new(config));
    let refused = pool.dlock("k").timeout(Duration::from_millis(400)).await;
    assert!(matches!(refused, Err(Error::Timeout { .. })), "{refused:?}");
    assert_eq!(
        (scene.asked(Of::Wait), pool.status().counters.sessions_lost),
        (1, 0)
    );
    Ok(theirs.release().await?)
}

#[tokio::test]
async fn another_database_is_another_lock() -> Outcome {
    let scene = Scene::open().await?;
    let guard = scene.pool("ours").dlock("k").await?;
    let mut config = scene.config("theirs");
    config.database("another");
    let theirs = LockPool::open(MsSql::new(config))
        .dlock("k")
        .try_acquire()
        .await?;
    assert_eq!(scene.locks().holders("k").len(), 2);
    drop((guard, theirs));
    scene.is_left_clean().await
}
