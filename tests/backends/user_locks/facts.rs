//! What the code relies on and the servers do at once: a release that changes it fails here first.

use super::options::name;
use super::raw::{get_lock, literal};
use super::wire::Wire;
use super::{Scene, Server};
use crate::suite::Outcome;

pub(crate) async fn a_negative_timeout_is_null_or_forever<S: Server>(scene: &Scene<S>) -> Outcome {
    let mut raw = scene.raw().await?;
    let text = name();
    let answer = raw.row(&get_lock(&text, "-1")).await?;
    assert_eq!(answer, if S::FOLDS_CASE { "1" } else { "NULL" });
    assert_eq!(raw.releases(&text).await?, S::FOLDS_CASE);
    Ok(())
}

pub(crate) async fn a_release_says_whether_the_lock_was_here_there_or_nowhere<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (mut raw, mut other) = (scene.raw().await?, scene.raw().await?);
    let text = name();
    let release = format!("SELECT RELEASE_LOCK({})", literal(&text));
    raw.lock(&text).await?;
    assert_eq!(other.row(&release).await?, "0");
    assert_eq!(raw.row(&release).await?, "1");
    assert_eq!(raw.row(&release).await?, "NULL");
    Ok(())
}

pub(crate) async fn the_same_session_gets_its_lock_again_and_has_to_release_as_often<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (mut raw, mut other) = (scene.raw().await?, scene.raw().await?);
    let text = name();
    raw.lock(&text).await?;
    raw.lock(&text).await?;
    raw.unlock(&text).await?;
    assert!(!other.gets(&text).await?);
    raw.unlock(&text).await?;
    assert!(other.can_lock(&text).await?);
    for _ in 0..3 {
        raw.lock(&text).await?;
    }
    assert_eq!(raw.row("SELECT RELEASE_ALL_LOCKS()").await?, "3");
    assert!(other.can_lock(&text).await?);
    Ok(())
}

/// As dlock tries.
fn guarded(text: &str) -> String {
    let text = literal(text);
    format!("IF(IS_USED_LOCK({text}) = CONNECTION_ID(), 2, GET_LOCK({text}, 0))")
}

pub(crate) async fn the_guard_answers_two_for_a_lock_of_this_session<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (mut raw, mut other) = (scene.raw().await?, scene.raw().await?);
    let (text, again) = (guarded("a"), name());
    let text = text.replace("'a'", &literal(&again));
    assert_eq!(raw.row(&format!("SELECT {text}, {text}")).await?, "1 2");
    assert_eq!(raw.row(&format!("SELECT {text}")).await?, "2");
    assert_eq!(other.row(&format!("SELECT {text}")).await?, "0");
    // It was taken once.
    raw.unlock(&again).await?;
    assert!(other.can_lock(&again).await?);
    let capital = guarded(&again.to_uppercase());
    let both = raw.row(&format!("SELECT {text}, {capital}")).await?;
    assert_eq!(both, if S::FOLDS_CASE { "1 2" } else { "1 1" });
    Ok(())
}

/// A number with a sign on MariaDB, one without on MySQL.
pub(crate) async fn the_holder_of_a_lock_is_a_number<S: Server>(scene: &Scene<S>) -> Outcome {
    let mut raw = scene.raw().await?;
    let text = name();
    raw.lock(&text).await?;
    let holder = format!("SELECT IS_USED_LOCK({})", literal(&text));
    let sign = if S::FOLDS_CASE {
        "BIGINT UNSIGNED"
    } else {
        "INT"
    };
    assert_eq!(raw.type_of(&holder).await?, sign);
    raw.unlock(&text).await
}

pub(crate) async fn columns_are_evaluated_from_left_to_right<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (mut raw, mut other) = (scene.raw().await?, scene.raw().await?);
    let (a, b, busy) = (name(), name(), name());
    other.lock(&busy).await?;
    let release = |text: &str| format!("RELEASE_LOCK({})", literal(text));
    let batch = format!(
        "SELECT {}, {}, {}, {}, {}, {}",
        release(&a),
        release(&a),
        guarded(&busy),
        guarded(&a),
        guarded(&b),
        guarded(&b),
    );
    assert_eq!(raw.row(&batch).await?, "NULL NULL 0 1 1 2");
    // What is released can be taken again; a busy one stops nobody.
    for _ in 0..3 {
        assert_eq!(raw.row(&batch).await?, "1 NULL 0 1 2 2");
    }
    raw.unlock(&a).await?;
    raw.unlock(&b).await?;
    assert!(other.can_lock(&a).await? && other.can_lock(&b).await?);
    Ok(())
}

pub(crate) async fn a_statement_that_fails_half_way_keeps_the_locks_it_took<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    let (a, b) = (name(), name());
    let fails = literal("x".repeat(193));
    let take = |text: &str| format!("GET_LOCK({}, 0)", literal(text));
    let batch = format!("SELECT {}, GET_LOCK({fails}, 0), {}", take(&a), take(&b));
    let number = if S::FOLDS_CASE { 4163 } else { 1059 };
    assert_eq!(raw.error(&batch).await?, number);
    assert_eq!(raw.holder(&a).await?, Some(raw.id().await?));
    raw.unlock(&a).await
}

/// What pools of other languages do to a connection that comes back.
pub(crate) async fn a_reset_connection_has_no_locks<S: Server>(scene: &Scene<S>) -> Outcome {
    let mut raw = scene.raw().await?;
    let mut wire = Wire::connect(&scene.url("wire")).await?;
    let text = name();
    for _ in 0..2 {
        wire.run(&format!("DO GET_LOCK('{text}', 0)")).await?;
        assert!(!raw.gets(&text).await?);
    }
    wire.reset().await?;
    assert!(raw.can_lock(&text).await?);
    Ok(())
}

pub(crate) async fn the_end_of_a_transaction_keeps_locks<S: Server>(scene: &Scene<S>) -> Outcome {
    let (mut raw, mut other) = (scene.raw().await?, scene.raw().await?);
    let text = name();
    raw.run("START TRANSACTION").await?;
    raw.lock(&text).await?;
    for end in ["COMMIT", "START TRANSACTION", "ROLLBACK"] {
        raw.run(end).await?;
        assert!(!other.gets(&text).await?, "{end}");
    }
    raw.unlock(&text).await
}

pub(crate) async fn settings_are_set_all_or_none<S: Server>(scene: &Scene<S>) -> Outcome {
    let mut raw = scene.raw().await?;
    let timeout = "SELECT @@SESSION.wait_timeout";
    let before = raw.row(timeout).await?;
    let set = "SET SESSION wait_timeout = 77, no_such_setting = 1";
    assert_eq!(raw.error(set).await?, 1193);
    assert_eq!(raw.row(timeout).await?, before);
    raw.run("SET SESSION wait_timeout = 77, autocommit = 1")
        .await?;
    assert_eq!(raw.row(timeout).await?, "77");
    Ok(())
}

pub(crate) async fn variables_that_tell_a_cluster_and_a_replica<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    let variable = |name| format!("SELECT CAST(@@GLOBAL.{name} AS CHAR)");
    match S::FOLDS_CASE {
        true => assert_eq!(raw.error(&variable("wsrep_on")).await?, 1193),
        false => assert_eq!(raw.row(&variable("wsrep_on")).await?, "OFF"),
    }
    for name in ["read_only", "innodb_read_only"] {
        let value = raw.row(&variable(name)).await?;
        assert!(["0", "OFF"].contains(&&*value), "{name}: {value}");
    }
    assert_eq!(raw.error(&variable("no_such_variable")).await?, 1193);
    let version = raw.row("SELECT VERSION()").await?;
    assert_eq!(version.contains("MariaDB"), S::NAME == "MariaDB");
    Ok(())
}

/// As dlock proves its session: a condition that is false is looked at before any lock is taken or
/// given back, also by a prepared statement.
pub(crate) async fn a_condition_that_is_false_keeps_every_lock_as_it_is<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    let (held, free) = (name(), name());
    raw.lock(&held).await?;
    let statement = format!(
        "SELECT RELEASE_LOCK({}), GET_LOCK({}, 1) FROM DUAL \
         WHERE @dlock_stamp = 1 AND CONNECTION_ID() = CONNECTION_ID()",
        literal(&held),
        literal(&free)
    );
    raw.run("SET @dlock_stamp = 2").await?;
    raw.run(&statement).await?;
    raw.run(&format!("PREPARE p FROM {}", literal(&statement)))
        .await?;
    raw.run("EXECUTE p").await?;
    let mut other = scene.raw().await?;
    assert!(!other.can_lock(&held).await?);
    assert!(other.can_lock(&free).await?);
    raw.unlock(&held).await
}

/// A proxy that replays it on a new session of the same number makes another stamp.
pub(crate) async fn the_statement_of_a_stamp_never_makes_it_twice<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    let digest = "CONV(LEFT(SHA2(CONCAT(7, ' ', CONNECTION_ID(), ' ', UUID()), 256), 13), 16, 10)";
    for variable in ["@first", "@second"] {
        raw.run(&format!("SET {variable} = CAST({digest} AS UNSIGNED)"))
            .await?;
    }
    let differ = "SELECT @first > 0 AND @second > 0 AND @first <> @second";
    assert_eq!(raw.row(differ).await?, "1");
    Ok(())
}
