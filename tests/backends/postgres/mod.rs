//! PostgreSQL.

mod bad_input;
mod contract;
mod facts;
mod keys;
mod limits;
mod log;
mod refusals;
mod server;
mod sessions;
mod stress;
mod ui;
mod which_pool;
mod without_plpgsql;
mod xact;
mod xact_cancel;
mod xact_wait;
