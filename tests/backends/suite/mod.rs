//! The contract: what every backend promises, written once.
//!
//! A new backend implements [`Backend`] and, where SeaORM has a connection to it, [`OrmBackend`]; in a module of its own it says `contract!(ItsName);`, or
//! `contract_of_locks!(ItsName);`, where an application has a lock pool only.
//!
//! No behaviour passes empty because a capability is missing. Where dlock refuses, the behaviour
//! asserts [`dlock::Error::Unsupported`]. Elsewhere the mount gives the reason why the behaviours
//! that need the capability do not apply, and cargo lists them as ignored:
//!
//! ```text
//! contract_of_locks! {
//!     ItsName,
//!     without VICTIM: "the server is the user's own: no test may restart it",
//! }
//! ```

mod at_work;
mod backend;
mod mount;
mod outcome;
mod peer;
mod scene;
mod statement;

pub(crate) mod app_pool;
pub(crate) mod attribute;
pub(crate) mod cancellation;
pub(crate) mod closing;
pub(crate) mod crossed;
pub(crate) mod deadlines;
pub(crate) mod death;
pub(crate) mod dropping;
pub(crate) mod entity;
pub(crate) mod exclusion;
pub(crate) mod futures;
pub(crate) mod loss;
pub(crate) mod pinned;
pub(crate) mod pinned_cancellation;
pub(crate) mod pinned_closing;
pub(crate) mod pinned_connection;
pub(crate) mod pinned_dropping;
pub(crate) mod pinned_endings;
pub(crate) mod pinned_loss;
pub(crate) mod pinned_nested;
pub(crate) mod pinned_release;
pub(crate) mod pool;
pub(crate) mod readers;
pub(crate) mod reentrance;
pub(crate) mod reports;
pub(crate) mod restart;
pub(crate) mod run;
pub(crate) mod runtimes;
pub(crate) mod stress;
pub(crate) mod transaction;
pub(crate) mod with_lock;

pub(crate) use self::backend::{Backend, Locks, OrmBackend, needed};
pub(crate) use self::mount::{check, mount};
pub(crate) use self::outcome::{Failure, Outcome, is_unsupported};
pub(crate) use self::peer::Peer;
pub(crate) use self::scene::{PATIENCE, Scene, elapsed, eventually, in_one_of, soon, waiting};
pub(crate) use self::statement::ask;

/// Mounts every behaviour of the suite for an [`OrmBackend`]. One that is missing here and below is dead code, which the linter refuses.
macro_rules! contract {
    (
        $backend:ty
        $(, without LOSABLE: $losable:literal)?
        $(, without SILENT_URL: $silent_url:literal)?
        $(, without VICTIM: $victim:literal)?
        $(, without SESSION: $session:literal)?
        $(,)?
    ) => {
        const _: () = {
            use $crate::suite::{OrmBackend, check};
            check(<$backend as OrmBackend>::SESSION.is_some(), &[$($session)?]);
        };
        $crate::suite::contract_of_locks! {
            $backend
            $(, without LOSABLE: $losable)?
            $(, without SILENT_URL: $silent_url)?
            $(, without VICTIM: $victim)?
        }
        $crate::suite::mount! { suite, $backend, []:
            exclusion {
                a_counter_loses_no_update_to_pinned_and_other_locks
            }
            deadlines {
                a_wait_in_a_transaction_lasts_as_long_as_its_timeout
                a_default_timeout_bounds_a_pinned_wait_without_its_own
                the_longest_timeout_of_a_pinned_lock_is_forever
                the_longest_timeout_of_a_transaction_lock_is_forever
                a_timeout_covers_the_turn_to_have_a_pinned_session
            }
            cancellation {
                cancelled_transactions_leak_nothing
                cancelled_transaction_locks_leak_nothing
            }
            closing {
                closing_the_connection_closes_its_lock_pool
            }
            pool {
                locks_do_not_end_with_unrelated_transactions
            }
            futures {
                transactions_work_in_spawned_tasks
            }
            app_pool {
                fifty_handlers_share_two_connections
                fifty_transactions_share_two_connections
            }
            transaction {
                nobody_gets_the_lock_before_the_commit
                bodies_under_different_keys_read_and_write_side_by_side
                a_failing_body_rolls_back
                a_panicking_body_rolls_back
                a_dropped_body_rolls_back
                a_dropped_body_rolls_back_before_the_lock_is_free
                a_panicking_body_rolls_back_before_the_lock_is_free
                a_commit_without_listener_still_comes_before_the_unlock
            }
            entity {
                a_transaction_holds_a_row_against_everybody
                the_first_lock_of_a_pool_may_be_a_pinned_row
                a_row_is_held_pinned_and_around_a_transaction
            }
            with_lock {
                rows_lose_no_update
                a_stale_model_is_read_anew
                a_row_that_is_gone_is_not_found_and_its_lock_free
                a_failing_body_leaves_the_row_and_frees_its_lock
                a_panicking_body_leaves_the_row_and_frees_its_lock
                what_a_body_wrote_is_there_before_the_lock_is_free
            }
            attribute {
                a_function_in_a_transaction_holds_its_lock_beyond_its_return
            }
            pinned {
                a_pinned_guard_is_a_connection_of_its_own
                pinned_locks_wait_for_their_turn
                handlers_with_pinned_locks_starve_nobody
                the_status_counts_pinned_locks
                the_listing_names_pinned_locks
                a_namespace_is_a_prefix_of_pinned_locks
                pinned_readers_share
            }
            pinned_cancellation {
                cancelled_pinned_acquires_leak_nothing
                cancelled_pinned_waits_leak_nothing
                cancelled_pinned_tries_leak_nothing
                cancelled_pinned_releases_leak_nothing
                cancelled_pinned_runs_leak_nothing
                cancelled_pinned_connects_leak_nothing
            }
            pinned_closing {
                a_closing_pool_refuses_pinned_locks_at_once_and_waits_for_those_held
                a_close_with_a_limit_takes_pinned_locks_away
                closing_the_connection_leaves_pinned_guards_theirs
            }
            pinned_connection {
                a_pinned_guard_finds_inserts_updates_and_deletes
                a_pinned_guard_begins_transactions_of_all_kinds
                a_pinned_guard_streams
                a_pinned_guard_works_in_spawned_tasks
            }
            pinned_dropping {
                a_pinned_guard_outlives_its_runtime_but_its_lock_does_not
                a_pinned_guard_loses_its_runtime_in_a_transaction
                a_pinned_guard_dropped_while_its_connection_is_at_work_frees_its_lock
                a_pinned_guard_dropped_by_a_panic_at_work_frees_its_lock
            }
            pinned_endings {
                a_released_pinned_lock_makes_room_for_the_next
                a_close_with_a_limit_ends_what_is_at_work_on_a_pinned_session
                a_waiter_for_a_pinned_lock_is_counted_once
                pinned_waits_that_are_given_up_make_room_at_once
                a_runtime_that_ends_right_after_a_statement_frees_its_pinned_locks
                a_transaction_begun_in_words_is_rolled_back_before_the_lock_is_free
            }
            pinned_loss {
                a_healthy_pinned_lock_is_never_reported_lost
            }
            pinned_nested {
                locks_on_a_pinned_guard_are_those_of_its_pool
                a_transaction_under_another_lock_commits_or_rolls_back
                a_pinned_connection_that_is_closed_is_a_loss_to_nobody_else
                nested_locks_keep_no_pool_alive
            }
            pinned_release {
                a_pinned_lock_released_while_its_connection_is_at_work_is_free
                a_copy_of_a_pinned_connection_ends_with_its_lock
                a_thousand_pinned_locks_leave_no_session
            }
        }
        $crate::suite::mount! { suite, $backend, [$(#[ignore = $losable])?]:
            loss {
                a_transaction_rolls_back_when_its_lock_is_lost
            }
            pinned_endings {
                a_loss_is_reported_while_the_pool_closes
            }
            pinned_loss {
                a_killed_pinned_session_is_reported
                a_pinned_body_is_dropped_when_its_lock_is_lost
                a_pinned_body_in_a_transaction_is_dropped_after_its_next_statement
                a_lost_pinned_connection_never_comes_back
            }
            pinned_release {
                work_that_a_release_has_ended_fails
                a_release_at_work_reports_a_lock_that_was_lost_before
            }
        }
        $crate::suite::mount! { suite, $backend, [$(#[ignore = $silent_url])?]:
            entity {
                a_timeout_of_a_pinned_row_covers_learning_the_database
            }
            pinned_closing {
                a_closing_pool_refuses_those_that_connect_for_a_pinned_lock
            }
        }
        $crate::suite::mount! { suite, $backend, [$(#[ignore = $session])?]:
            attribute {
                a_pinned_function_works_on_the_session_of_its_lock
            }
            pinned {
                a_pinned_lock_is_listed_with_its_session
            }
            pinned_nested {
                a_transaction_under_another_lock_is_on_the_pinned_session
            }
        }
    };
}
pub(crate) use contract;

/// Mounts the behaviours that need nothing but locks, for any [`Backend`].
macro_rules! contract_of_locks {
    (
        $backend:ty
        $(, without LOSABLE: $losable:literal)?
        $(, without SILENT_URL: $silent_url:literal)?
        $(, without VICTIM: $victim:literal)?
        $(,)?
    ) => {
        const _: () = {
            use $crate::suite::{Backend, check};
            check(<$backend as Backend>::LOSABLE, &[$($losable)?]);
            check(<$backend as Backend>::SILENT_URL.is_some(), &[$($silent_url)?]);
            check(<$backend as Backend>::VICTIM.is_some(), &[$($victim)?]);
        };
        $crate::suite::mount! { suite, $backend, []:
            exclusion {
                a_counter_loses_no_update_to_four_processes
                a_counter_without_lock_loses_updates
                every_pair_of_ways_excludes_or_coexists_between_processes
                every_pair_of_ways_excludes_or_coexists_between_pools
                every_kind_of_key_excludes_itself
                a_hundred_keys_of_every_kind_are_held_at_once
                different_keys_do_not_meet
            }
            dropping {
                a_guard_dropped_by_a_task_frees_its_lock
                a_guard_dropped_on_a_plain_thread_frees_its_lock
                a_guard_dropped_by_a_panic_frees_its_lock
                a_guard_dropped_by_a_panicking_thread_frees_its_lock
            }
            run {
                a_body_that_returns_or_fails_has_its_result_passed_on_and_its_lock_freed
                a_body_that_panics_frees_its_lock
                a_body_whose_lock_is_not_had_in_time_does_not_run
            }
            runtimes {
                a_guard_outlives_its_runtime_but_its_lock_does_not
                a_waiter_survives_the_end_of_the_pools_runtime
                a_pool_with_a_runtime_of_its_own_survives_that_of_its_user
            }
            deadlines {
                a_wait_for_another_pool_lasts_as_long_as_its_timeout
                a_wait_for_another_process_lasts_as_long_as_its_timeout
                a_wait_in_the_same_pool_lasts_as_long_as_its_timeout
                a_timeout_of_zero_is_one_try
                a_try_says_none_while_the_lock_is_held
                a_default_timeout_bounds_a_wait_without_its_own
                the_longest_timeout_is_forever
                a_waiter_gets_the_lock_when_it_is_released_in_time
            }
            loss {
                a_healthy_lock_is_never_reported_lost
            }
            cancellation {
                cancelled_acquires_leak_nothing
                cancelled_waits_leak_nothing
                cancelled_tries_leak_nothing
                cancelled_releases_leak_nothing
                cancelled_runs_leak_nothing
                cancelled_connects_leak_nothing
            }
            closing {
                a_closed_pool_refuses_at_once_and_waits_for_its_guards
                a_close_with_a_limit_takes_the_locks_away
                dropping_the_last_handle_closes_the_sessions
            }
            pool {
                no_session_is_opened_before_the_first_use
                idle_sessions_are_closed
                contended_keys_do_not_exceed_the_sessions
                a_contended_key_has_its_turn
                one_session_is_enough
                the_status_counts_what_happens
                the_listing_names_holders_and_waiters
            }
            reports {
                a_timeout_names_a_holder_of_the_same_pool
                a_guard_is_printed_with_its_key_mode_and_session
                a_wait_without_timeout_outlasts_the_default
            }
            crossed {
                crossed_locks_end_with_a_timeout
            }
            death {
                a_killed_holder_frees_its_lock
                a_killed_waiter_gets_nothing
                a_holder_that_exits_frees_its_lock
            }
            entity {
                a_model_its_entity_and_its_name_are_one_lock
                a_row_is_shown_without_its_database
                every_part_of_a_primary_key_counts
                the_first_lock_of_a_pool_may_be_a_row
                a_namespace_is_in_front_of_the_database
                a_row_is_held_in_every_way
            }
            readers {
                readers_hold_together_within_and_across_pools
                a_writer_waits_for_every_reader
                a_local_writer_is_not_starved_by_readers
                a_writer_elsewhere_is_not_starved_by_readers
                readers_stand_behind_a_waiting_writer
            }
            reentrance {
                the_same_task_waits_for_itself
                another_pool_of_the_process_waits
            }
            futures {
                locks_work_in_spawned_tasks
            }
            attribute {
                a_function_has_its_lock_released_before_it_returns
                a_function_whose_lock_is_not_had_in_time_does_not_run
                a_function_that_is_dropped_frees_its_lock
            }
            stress {
                ten_thousand_waits_around_their_timeout_leak_nothing
            }
        }
        $crate::suite::mount! { suite, $backend, [$(#[ignore = $losable])?]:
            loss {
                a_killed_session_is_reported_to_its_guards
                a_body_is_dropped_when_its_lock_is_lost
                waiters_behind_a_lost_lock_get_it_in_turn
                waiters_on_a_killed_session_queue_anew
                a_stale_guard_cannot_release_a_newer_hold
            }
            attribute {
                a_function_whose_lock_is_lost_is_dropped
            }
        }
        $crate::suite::mount! { suite, $backend, [$(#[ignore = $silent_url])?]:
            deadlines {
                a_timeout_covers_connecting
            }
            entity {
                a_timeout_covers_learning_the_database
            }
        }
        $crate::suite::mount! { suite, $backend, [$(#[ignore = $victim])?]:
            restart {
                a_server_that_restarts_loses_every_lock_and_serves_again
            }
        }
    };
}
pub(crate) use contract_of_locks;
