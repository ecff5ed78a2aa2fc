//! What the code relies on and PostgreSQL does: a release that changes it fails here first.

use super::server::{Server, holders, key, waiters};

#[tokio::test]
async fn unlocking_what_is_not_held_is_false_and_no_error() {
    let mut server = Server::main().await;
    let key = key();
    for function in ["pg_advisory_unlock", "pg_advisory_unlock_shared"] {
        assert!(!server.is(&format!("{function}('{key}'::bigint)")).await);
    }
    server.lock(key).await;
    // Held, but not in this mode.
    let shared = format!("pg_advisory_unlock_shared('{key}'::bigint)");
    assert!(!server.is(&shared).await);
    assert_eq!(server.holders(key).await, 1);
    server.unlock(key).await;
}

/// One statement as a batch is one: all releases, then all tries. What either said.
async fn batch(server: &mut Server, keys: &str) -> (String, String) {
    let batch = format!(
        "SELECT concat(releases, tries) FROM (SELECT \
           ARRAY((SELECT pg_advisory_unlock(k) FROM unnest({keys}) AS k)) AS releases, \
           ARRAY((SELECT pg_try_advisory_lock(k) FROM unnest({keys}) AS k)) AS tries) AS answers"
    );
    let answers = server.ask(&batch).await;
    let (releases, tries) = answers.split_once("}{").expect("two arrays");
    let answers = [releases, tries].map(|array| {
        let array = array.trim_matches(['{', '}']);
        distinct(&array.split(',').collect::<Vec<_>>())
    });
    answers.into()
}

fn distinct(answers: &[&str]) -> String {
    let mut answers = answers.to_vec();
    answers.sort_unstable();
    answers.dedup();
    answers.concat()
}

#[tokio::test]
async fn columns_are_evaluated_from_left_to_right_every_release_before_the_first_try() {
    let mut server = Server::main().await;
    let first = i64::from(fastrand::i32(..)) << 32;
    let keys = format!(
        "(SELECT array_agg(k) FROM generate_series('{first}'::bigint, '{first}'::bigint + 255) k)"
    );
    let answers = |releases: &str, tries: &str| (releases.to_owned(), tries.to_owned());
    // Were a try to run first, the release would find the lock.
    assert_eq!(batch(&mut server, &keys).await, answers("f", "t"));
    assert_eq!(batch(&mut server, &keys).await, answers("t", "t"));
    let mut other = Server::main().await;
    assert!(!other.can_take(first + 255).await);
    let again =
        format!("NOT EXISTS (SELECT FROM unnest({keys}) k WHERE NOT pg_advisory_unlock(k))");
    assert!(server.is(&again).await);
    // Each was held once.
    assert!(other.can_take(first).await);
    assert!(other.can_take(first + 255).await);
}

#[tokio::test]
async fn a_statement_that_fails_half_way_keeps_the_session_locks_it_took() {
    let mut server = Server::main().await;
    let key = key();
    let fails = format!(
        "DO $$ BEGIN PERFORM pg_advisory_lock('{key}'::bigint), 1 / (random() * 0)::int; \
         EXCEPTION WHEN division_by_zero THEN END $$"
    );
    server.run(&fails).await;
    assert_eq!(server.holders(key).await, 1);
    server.unlock(key).await;
}

#[tokio::test]
async fn a_local_setting_inside_a_do_block_ends_with_it() {
    let mut server = Server::main().await;
    let set = "DO $$ BEGIN PERFORM set_config('lock_timeout', '123ms', true); END $$";
    server.run(set).await;
    assert_eq!(server.ask("SHOW lock_timeout").await, "0");
    // Also in one message with another statement, as the wait is sent.
    let both = format!("{set}; SELECT current_setting('lock_timeout')");
    server.run(&both).await;
    assert_eq!(server.ask("SHOW lock_timeout").await, "0");
    // In a transaction it stays, so `.xact()` has to undo it.
    let inside = format!("BEGIN; {set}");
    server.run(&inside).await;
    assert_eq!(server.ask("SHOW lock_timeout").await, "123ms");
    server.run("ROLLBACK").await;
}

#[tokio::test]
async fn a_lock_timeout_below_a_millisecond_is_none_at_all() {
    let mut server = Server::main().await;
    for tiny in ["400us", "0.4ms"] {
        server.run(&format!("SET lock_timeout = '{tiny}'")).await;
        assert_eq!(server.ask("SHOW lock_timeout").await, "0");
    }
    server.run("SET lock_timeout = 2147483647").await;
}

#[tokio::test]
async fn a_wait_that_times_out_in_a_do_block_ends_its_local_setting_and_holds_nothing() {
    let (mut holder, mut waiter) = (Server::main().await, Server::main().await);
    let key = key();
    holder.lock(key).await;
    for function in ["pg_advisory_lock", "pg_advisory_xact_lock_shared"] {
        let wait = format!(
            "DO $$ BEGIN PERFORM set_config('lock_timeout', '50ms', true); PERFORM {function}('{key}'::bigint); \
             EXCEPTION WHEN lock_not_available THEN PERFORM pg_advisory_unlock_all(); END $$"
        );
        waiter.run(&wait).await;
        assert_eq!(waiter.ask("SHOW lock_timeout").await, "0");
    }
    assert_eq!(holder.holders(key).await, 1);
    assert_eq!(holder.count(&waiters(key)).await, 0);
}

#[tokio::test]
async fn unlock_all_leaves_no_session_lock_and_every_transaction_lock() {
    let mut server = Server::main().await;
    let (session, again, transaction) = (key(), key(), key());
    server.lock(session).await;
    server.lock(again).await;
    server.lock(again).await;
    server.run("BEGIN").await;
    let lock = format!("SELECT pg_advisory_xact_lock('{transaction}'::bigint)");
    server.run(&lock).await;
    server.run("SELECT pg_advisory_unlock_all()").await;
    assert_eq!(server.holders(session).await, 0);
    assert_eq!(server.holders(again).await, 0);
    assert_eq!(server.holders(transaction).await, 1);
    server.run("COMMIT").await;
    assert_eq!(server.holders(transaction).await, 0);
}

#[tokio::test]
async fn one_session_may_hold_a_key_in_both_modes_which_is_why_the_queue_has_to_admit_one() {
    let mut server = Server::main().await;
    let key = key();
    server.lock(key).await;
    let shared = format!("pg_try_advisory_lock_shared('{key}'::bigint)");
    assert!(server.is(&shared).await);
    let modes = format!(
        "(SELECT string_agg(mode, ' ' ORDER BY mode) FROM {})",
        holders(key)
    );
    assert_eq!(
        server.ask(&format!("SELECT {modes}")).await,
        "ExclusiveLock ShareLock"
    );
    server.unlock(key).await;
    assert_eq!(server.ask(&format!("SELECT {modes}")).await, "ShareLock");
    let mut other = Server::main().await;
    assert!(!other.can_take(key).await);
    assert!(other.is(&shared).await);
}

#[tokio::test]
async fn the_same_session_gets_its_lock_again_and_has_to_unlock_as_often() {
    let mut server = Server::main().await;
    let key = key();
    server.lock(key).await;
    server.lock(key).await;
    server.unlock(key).await;
    assert_eq!(server.holders(key).await, 1);
    server.unlock(key).await;
    assert_eq!(server.holders(key).await, 0);
}

/// As dlock proves its session: a condition that is false is looked at before any lock is taken.
#[tokio::test]
async fn a_condition_that_is_false_keeps_every_lock_from_being_taken() {
    let mut server = Server::main().await;
    let key = key();
    let false_now = "pg_backend_pid() = -1 AND NOT pg_is_in_recovery()";
    server
        .run(&format!(
            "PREPARE one(bigint) AS SELECT pg_try_advisory_lock($1) WHERE {false_now}; \
             PREPARE many(bigint[]) AS SELECT \
               ARRAY(SELECT pg_try_advisory_lock(k) FROM unnest($1) AS k) WHERE {false_now}"
        ))
        .await;
    for plan in ["force_custom_plan", "force_generic_plan"] {
        server.run(&format!("SET plan_cache_mode = {plan}")).await;
        server.run(&format!("EXECUTE one({key})")).await;
        server.run(&format!("EXECUTE many('{{{key}}}')")).await;
        assert_eq!(server.holders(key).await, 0, "{plan}");
    }
}

/// As dlock asks a waiting statement for its answer.
#[tokio::test]
async fn a_local_setting_lasts_to_the_end_of_its_text_and_no_longer() {
    let mut server = Server::main().await;
    let text = "SELECT set_config('dlock.fact', 'before', true); \
                DO $$ BEGIN PERFORM set_config('dlock.fact', 'within', true); END $$; \
                SHOW dlock.fact";
    let answers = server.answers(text).await;
    assert_eq!(answers, ["before", "within"]);
    assert_eq!(
        server
            .ask("SELECT current_setting('dlock.fact', true)")
            .await,
        ""
    );
}
