//! The service, in several processes on one database.

dlock_service_tests::mount_service! { env!("CARGO_BIN_EXE_dlock-example-actix") }
