//! The program, in several processes on one database.

dlock_service_tests::mount! { env!("CARGO_BIN_EXE_dlock-example-migrate"); each_migration_runs_once }
