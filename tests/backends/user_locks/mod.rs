//! What MySQL and MariaDB have in common: their tests are written once and mounted for both.
//!
//! A behaviour is a function that is generic over the [`Server`] and has a [`Scene`], in the file of its topic and in the list of [`user_locks`].

mod changed;
mod contract;
mod options;
mod proxy;
mod raw;
mod scene;
mod server;
mod splitter;
mod wire;

pub(crate) mod bad_input;
pub(crate) mod batches;
pub(crate) mod circles;
pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod facts_of_names;
pub(crate) mod facts_of_waits;
pub(crate) mod first_lock;
pub(crate) mod given_up;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod listing;
pub(crate) mod listing_pinned;
pub(crate) mod listing_unprivileged;
pub(crate) mod load;
pub(crate) mod loss;
pub(crate) mod many_locks;
pub(crate) mod pinned;
pub(crate) mod pinned_in_words;
pub(crate) mod pinned_refusals;
pub(crate) mod pinned_silence;
pub(crate) mod pinned_silence_at_work;
pub(crate) mod proxies;
pub(crate) mod refusals;
pub(crate) mod rows;
pub(crate) mod scope;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod silence;
pub(crate) mod spellings;
pub(crate) mod splitters;
pub(crate) mod topologies;
pub(crate) mod unreachable;
pub(crate) mod waits;
pub(crate) mod which_pool;

pub(crate) use self::changed::Changed;
pub(crate) use self::contract::UserLocks;
pub(crate) use self::options::name;
pub(crate) use self::raw::Raw;
pub(crate) use self::scene::Scene;
pub(crate) use self::server::{MariaDb, MySql, Server};

/// Mounts every behaviour for a [`Server`]. One that is missing here is dead code, which the linter refuses.
///
/// The mount of a server without `FOLDS_CASE` (two spellings are one name) or `GROUPS` (group
/// replication) gives the reason, in this order; the tests that need it are ignored.
macro_rules! user_locks {
    (
        $server:ty
        $(, without FOLDS_CASE: $folds_case:literal)?
        $(, without GROUPS: $groups:literal)?
        $(,)?
    ) => {
        const _: () = {
            use $crate::{suite::check, user_locks::Server};
            check(<$server as Server>::FOLDS_CASE, &[$($folds_case)?]);
        };
        $crate::suite::mount! { user_locks, $crate::user_locks::UserLocks<$server>, []:
            bad_input {
                the_empty_key_is_invalid_in_every_form
                bytes_that_are_no_text_are_an_invalid_key
                a_pair_is_unsupported
                a_shared_lock_is_unsupported
                a_transaction_lock_is_unsupported_and_names_the_way
                extreme_timeouts_are_a_try_and_forever
                a_setting_that_cannot_work_is_named_on_first_use
            }
            batches {
                a_failing_statement_gives_no_lock_back_that_a_guard_holds
                what_an_interrupted_statement_asked_for_is_asked_again
                of_spellings_in_a_failing_statement_one_is_granted
                interrupted_releases_are_done
            }
            circles {
                a_try_that_would_close_a_circle_is_busy
                releases_beside_a_try_that_would_close_a_circle_are_done
            }
            events {
                a_session_that_is_killed_is_told_with_its_locks
                a_session_that_is_refused_is_told_with_the_cause
            }
            facts {
                a_negative_timeout_is_null_or_forever
                a_release_says_whether_the_lock_was_here_there_or_nowhere
                the_same_session_gets_its_lock_again_and_has_to_release_as_often
                the_guard_answers_two_for_a_lock_of_this_session
                the_holder_of_a_lock_is_a_number
                columns_are_evaluated_from_left_to_right
                a_statement_that_fails_half_way_keeps_the_locks_it_took
                a_reset_connection_has_no_locks
                the_end_of_a_transaction_keeps_locks
                settings_are_set_all_or_none
                a_condition_that_is_false_keeps_every_lock_as_it_is
                the_statement_of_a_stamp_never_makes_it_twice
                variables_that_tell_a_cluster_and_a_replica
            }
            facts_of_names {
                no_name_is_null_or_an_error
                a_name_that_is_too_long_has_its_own_error
                four_byte_characters_are_no_name_on_mysql
                nul_cuts_a_name
                mariadb_compares_bytes_and_mysql_characters
            }
            facts_of_waits {
                mysql_waits_for_whole_seconds_and_mariadb_for_fractions
                a_killed_wait_is_an_error_or_null
                a_limit_for_statements_is_an_error_or_null
                a_killed_session_frees_its_locks
                who_closes_a_circle_by_waiting_hears_of_it_at_once
            }
            first_lock {
                the_first_lock_waits_to_hear_its_name
                the_first_lock_may_be_a_try
                a_namespace_counts_for_the_length_of_a_name
                many_first_locks_at_once_open_one_session
                a_first_lock_that_is_cancelled_while_connecting_leaves_nothing
                a_timeout_covers_finding_out_the_name
                a_pool_with_the_shortest_keepalive_connects
            }
            given_up {
                a_waiter_that_gives_up_leaves_nothing_behind
                a_waiter_that_gave_up_takes_the_lock_from_nobody
                who_comes_after_a_waiter_that_gave_up_is_served
                a_caller_that_is_not_polled_after_its_deadline_makes_nobody_spin
            }
            keys {
                every_key_of_sqlalchemy_dlock_is_the_same_lock_here
                every_key_of_pymysqllock_is_the_same_lock_here
                a_name_that_the_server_does_not_take_is_hashed_like_this
                an_integer_is_its_decimal_text
                a_uuid_is_its_hyphenated_lower_case_text
                text_and_bytes_with_one_content_are_one_lock
                quotes_and_backslashes_are_part_of_the_name
            }
            limits {
                when_the_server_is_full_the_sessions_there_are_carry_on
                a_server_without_room_for_statements_costs_no_lock
            }
            listing {
                a_holder_is_listed_with_session_account_program_and_process
                waiters_of_another_pool_are_listed_as_not_granted
                a_lock_of_a_plain_connection_is_listed_with_its_account
                a_key_with_capitals_is_listed_under_its_own_name
                capitals_that_rust_folds_otherwise_are_listed_as_well
                a_name_that_the_listing_cannot_hold_is_listed_as_well
                a_long_name_is_not_taken_for_its_beginning
                nothing_is_listed_where_nothing_is_locked
                a_listing_survives_what_strangers_write
                a_listing_survives_names_that_are_no_text
            }
            listing_pinned {
                a_pinned_lock_is_listed_under_its_own_name
            }
            listing_unprivileged {
                an_account_without_privileges_sees_the_keys_of_its_pool
                an_account_without_privileges_sees_hundreds_of_its_keys
            }
            load {
                pools_that_want_each_others_keys_hear_of_no_error
                operators_who_end_statements_under_load_break_nothing
            }
            loss {
                a_killed_session_is_reported_to_all_its_quiet_guards
                settings_of_the_application_that_end_sessions_do_not_end_locks
                an_operator_who_ends_statements_of_a_quiet_holder_does_not_end_its_lock
                a_process_that_is_stopped_for_a_while_keeps_its_lock
            }
            many_locks {
                two_thousand_locks_are_held_listed_and_released
                five_hundred_tasks_at_once_share_one_session
                busy_locks_among_many_are_told_apart
            }
            pinned {
                hooks_and_limits_of_the_application_are_in_force_on_a_pinned_session
                a_pinned_session_is_given_back_whatever_completion_type_says
                a_first_lock_may_be_pinned
                credentials_that_have_changed_are_used_for_the_next_pinned_lock
                an_operator_who_ends_statements_does_not_end_a_pinned_lock
            }
            pinned_in_words {
                a_transaction_in_words_is_over_when_the_server_gives_the_lock_on
            }
            pinned_refusals {
                a_galera_node_is_refused_for_pinned_locks
                a_read_only_server_is_refused_for_pinned_locks
                a_full_server_refuses_a_pinned_lock_clearly_and_later_gives_it
            }
            pinned_silence {
                a_pinned_lock_whose_network_falls_silent_is_lost
                a_pinned_lock_whose_network_falls_silent_right_after_a_statement_is_lost
                a_pinned_lock_that_its_holder_leaves_in_a_silent_network_is_lost
                a_pinned_lock_at_work_for_longer_than_the_keepalive_is_kept
            }
            pinned_silence_at_work {
                a_pinned_release_at_work_into_silence_is_an_error_of_the_release
                a_pinned_release_at_work_on_a_silent_connection_frees_the_lock
            }
            proxies {
                a_session_that_holds_nothing_is_left_in_peace
                another_session_of_the_server_behind_the_connection_is_noticed
                another_session_of_the_server_behind_a_busy_connection_is_noticed
                a_sign_of_life_that_an_operator_ends_is_no_loss
            }
            refusals {
                a_galera_node_is_refused
                a_server_that_is_read_only_is_refused_as_long_as_it_is
                a_lock_on_a_server_that_becomes_read_only_is_lost
                a_server_of_the_other_kind_is_not_taken_for_the_same
                a_server_of_the_other_kind_is_no_failover
            }
            scope {
                two_databases_on_one_server_share_its_locks
                no_database_is_as_good_as_any
                a_namespace_is_a_prefix_of_the_name
            }
            sessions {
                hooks_of_the_application_come_along
                credentials_that_have_changed_are_used_for_the_next_session
                prepared_statements_stay_few
                locks_are_had_while_the_application_uses_up_its_connections
                sessions_end_with_a_farewell
            }
            rows {
                a_row_is_in_the_database_that_a_hook_selects
                where_no_database_is_selected_a_row_needs_its_schema
                a_session_that_is_in_another_database_is_refused
            }
            settings {
                a_lock_session_has_settings_of_its_own
                a_lock_session_prepares_its_statements_once_whatever_the_application_caches
                names_are_in_one_character_set_whatever_the_application_speaks
                an_application_with_a_mode_of_its_own_locks_as_well
                characters_that_a_hook_chose_are_in_nobodys_way
            }
            silence {
                a_lock_whose_network_falls_silent_is_lost
                a_release_into_silence_does_not_hang
                a_wait_whose_network_falls_silent_ends_at_its_deadline
                a_wait_for_a_session_whose_network_is_silent_ends_at_its_deadline
            }
            spellings {
                what_the_server_takes_for_one_name_is_one_lock
                accents_and_spaces_at_the_end_make_another_name
                of_spellings_that_are_tried_at_once_one_is_granted
                tasks_that_spell_a_name_differently_take_turns
            }
            splitters {
                connections_go_to_two_servers_in_turn
                statements_go_to_two_servers_in_turn
                reads_are_split_from_the_rest
                statements_that_change_a_session_go_to_one_or_both
                an_answer_is_another_one
                every_kind_of_answer_ends_where_it_should
                prepared_statements_work_in_every_mode
                sessions_end_with_their_splitter_and_with_their_client
            }
            topologies {
                two_servers_behind_one_address_are_refused
                statements_that_go_to_two_servers_in_turn_are_refused
                a_splitter_with_a_writable_replica_is_refused
                a_splitter_with_a_read_only_replica_is_refused
                a_pool_whose_answers_come_from_another_session_is_refused_as_a_whole
            }
            unreachable {
                a_wrong_password_is_named
                an_account_that_is_locked_is_named
                a_wrong_database_is_named
                a_port_without_a_server_is_given_up_after_seconds
                a_port_without_a_server_is_no_timeout
                a_port_that_closes_at_once_is_an_error
                a_port_that_speaks_another_protocol_is_an_error
                a_server_that_is_gone_by_the_first_lock_is_named
            }
            waits {
                a_wait_is_served_soon_after_the_release_in_every_slice
                an_operator_who_ends_statements_or_the_session_of_a_waiter_does_not_end_the_waiting
                a_statement_limit_of_the_application_does_not_end_a_wait
                a_pool_that_waits_closes_at_once
            }
            which_pool {
                the_pool_of_sqlx_and_the_connection_made_of_it_have_one_lock_pool
                the_pool_of_sqlx_runs_and_holds_a_lock_around_a_transaction
            }
        }
        $crate::suite::mount! {
            user_locks, $crate::user_locks::UserLocks<$server>, [$(#[ignore = $folds_case])?]:
            spellings {
                a_waiter_with_the_other_spelling_gets_it_after_the_release
                one_session_is_enough_for_both_spellings
            }
        }
        $crate::suite::mount! {
            user_locks, $crate::user_locks::UserLocks<$server>, [$(#[ignore = $groups])?]:
            refusals {
                a_group_with_several_primaries_is_refused
            }
        }
    };
}
pub(crate) use user_locks;
