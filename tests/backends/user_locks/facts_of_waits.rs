//! What the code relies on when a session waits: how long, and how a wait is ended by others.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::options::name;
use super::raw::{Raw, get_lock};
use super::{Scene, Server};
use crate::suite::{Outcome, elapsed, in_one_of, soon};

pub(crate) async fn mysql_waits_for_whole_seconds_and_mariadb_for_fractions<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (mut raw, text) = (scene.raw().await?, name());
    raw.lock(&text).await?;
    let lasts = async |seconds, milliseconds| {
        let expected = Duration::from_millis(milliseconds);
        let mut other = scene.raw().await?;
        in_one_of(4, expected + Duration::from_millis(250), async || {
            let (answer, took) = elapsed(other.row(&get_lock(&text, seconds))).await;
            assert_eq!(answer?, "0");
            assert!(
                took + Duration::from_millis(5) >= expected,
                "{seconds}: {took:?}"
            );
            Ok(took)
        })
        .await
    };
    // Rounded, or in the case of a floating number to the even one.
    match S::FOLDS_CASE {
        true => tokio::try_join!(
            lasts("0.4", 0),
            lasts("0.5e0", 0),
            lasts("1.5", 2000),
            lasts("1", 1000),
        )?,
        false => tokio::try_join!(
            lasts("0.4", 400),
            lasts("0.5e0", 500),
            lasts("1.5", 1500),
            lasts("0.05", 50),
        )?,
    };
    raw.unlock(&text).await
}

/// Waits for a lock, and gives the session back with what it heard.
fn waiting(mut raw: Raw, text: &str) -> JoinHandle<Outcome<(Raw, Result<String, u16>)>> {
    let wait = get_lock(text, "20");
    tokio::spawn(async move {
        let answer = match raw.row(&wait).await {
            Ok(answer) => Ok(answer),
            // Only the number counts, and it is asked for no second time.
            Err(failure) => Err(number(&format!("{failure:?}"))),
        };
        Ok((raw, answer))
    })
}

/// Of an error as sqlx prints it: `error returned from database: 1317 (70100): ..`.
fn number(failure: &str) -> u16 {
    let (_, number) = failure.rsplit_once("database: ").unwrap_or_default();
    let digits = number.split(' ').next().unwrap_or_default();
    digits.parse().unwrap_or_default()
}

pub(crate) async fn a_killed_wait_is_an_error_or_null<S: Server>(scene: &Scene<S>) -> Outcome {
    let (mut raw, mut other) = (scene.raw().await?, scene.raw().await?);
    let (text, its_own) = (name(), name());
    raw.lock(&text).await?;
    other.lock(&its_own).await?;
    let id = other.id().await?;
    let waiter = waiting(other, &text);
    raw.until_wanted(&text, 1).await?;
    raw.run(&format!("KILL QUERY {id}")).await?;
    let (mut other, answer) = soon("the end of the wait", waiter).await???;
    let null = Ok("NULL".to_owned());
    assert_eq!(answer, if S::FOLDS_CASE { Err(1317) } else { null });
    // The session is as good as before, and has what it had.
    assert_eq!(raw.holder(&its_own).await?, Some(id));
    raw.unlock(&text).await?;
    assert!(other.can_lock(&text).await?);
    Ok(())
}

pub(crate) async fn a_limit_for_statements_is_an_error_or_null<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (mut raw, mut other) = (scene.raw().await?, scene.raw().await?);
    let text = name();
    raw.lock(&text).await?;
    let wait = get_lock(&text, "20");
    match S::FOLDS_CASE {
        true => {
            other.run("SET SESSION max_execution_time = 100").await?;
            assert_eq!(other.error(&wait).await?, 3024);
        }
        false => {
            other.run("SET SESSION max_statement_time = 0.1").await?;
            assert_eq!(other.row(&wait).await?, "NULL");
        }
    }
    Ok(())
}

pub(crate) async fn a_killed_session_frees_its_locks<S: Server>(scene: &Scene<S>) -> Outcome {
    let (mut raw, mut other) = (scene.raw().await?, scene.raw().await?);
    let text = name();
    other.lock(&text).await?;
    raw.run(&format!("KILL {}", other.id().await?)).await?;
    raw.until_free(&text).await?;
    assert!(raw.can_lock(&text).await?);
    Ok(())
}

pub(crate) async fn who_closes_a_circle_by_waiting_hears_of_it_at_once<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (mut ours, mut theirs) = (scene.raw().await?, scene.raw().await?);
    let (mine, other) = (name(), name());
    ours.lock(&mine).await?;
    theirs.lock(&other).await?;
    let (id, their_id) = (ours.id().await?, theirs.id().await?);
    let waiter = waiting(theirs, &mine);
    ours.until_wanted(&mine, 1).await?;
    // A try does not wait, so it closes none.
    assert!(!ours.gets(&other).await?);
    let (number, took) = elapsed(ours.error(&get_lock(&other, "20"))).await;
    assert_eq!(number?, S::DEADLOCK);
    assert!(took < Duration::from_secs(10), "{took:?}");
    // Everybody keeps what he has, and goes on waiting.
    assert_eq!(ours.holder(&mine).await?, Some(id));
    assert_eq!(ours.holder(&other).await?, Some(their_id));
    assert!(!waiter.is_finished());
    ours.unlock(&mine).await?;
    let (mut theirs, answer) = soon("the lock", waiter).await???;
    assert_eq!(answer, Ok("1".to_owned()));
    theirs.unlock(&mine).await?;
    theirs.unlock(&other).await
}
