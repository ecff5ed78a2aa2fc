//! What the example services must do, over HTTP, with several processes on one database. Written once; each example mounts it in its `tests/`, for every database.
//!
//! ```text
//! scenarios.rs   what must be: the tests of the services
//! migrations.rs  and of migrations
//! stage.rs       what a scenario plays on: a database of its own, a partner, processes
//!   database.rs    the database
//!   partner.rs     the partner, who answers when the scenario says so
//!   process.rs     a service's process, and what it answers
//! ```

mod database;
mod migrations;
mod partner;
mod process;
mod scenarios;
mod stage;

pub use self::database::{Database, Kind};
pub use self::migrations::each_migration_runs_once;
pub use self::partner::{Call, Partner};
pub use self::process::{Answer, Service};
pub use self::scenarios::*;
pub use self::stage::{Stage, play};

/// Mounts scenarios for a program, as tests of each database.
///
/// ```ignore
/// dlock_service_tests::mount! { env!("CARGO_BIN_EXE_dlock-example-axum"); an_invoice_is_paid_once, one_export_at_a_time }
/// ```
#[macro_export]
macro_rules! mount {
    ($program:expr; $($scenario:ident),+ $(,)?) => {
        $crate::mount! { @on postgres Postgres $program; $($scenario)+ }
        $crate::mount! { @on mariadb MariaDb $program; $($scenario)+ }
        $crate::mount! { @on sqlite Sqlite $program; $($scenario)+ }
    };
    (@on $module:ident $kind:ident $program:expr; $($scenario:ident)+) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $scenario() {
                    $crate::play($crate::Kind::$kind, $program, $crate::$scenario).await;
                }
            )+
        }
    };
}

/// Mounts the scenarios of every service, and those that are this one's.
#[macro_export]
macro_rules! mount_service {
    ($program:expr $(; $($own:ident),+ $(,)?)?) => {
        $crate::mount! {
            $program;
            an_invoice_is_paid_once,
            one_export_at_a_time,
            reminders_are_sent_once_a_night,
            transfers_keep_the_money_together,
            a_request_is_finished_before_the_service_ends,
            a_killed_process_leaves_its_lock_to_others,
            $($($own),+)?
        }
    };
}
