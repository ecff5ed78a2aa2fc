//! The service, in several processes on one database.

dlock_service_tests::mount_service! {
    env!("CARGO_BIN_EXE_dlock-example-axum");
    a_client_that_hangs_up_leaves_its_lock_to_others,
}
