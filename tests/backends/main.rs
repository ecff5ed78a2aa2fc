//! Every test that needs a server, one module per backend: `cargo test postgres::`.

mod ear;
mod invoices;
mod mariadb;
mod mock;
mod mysql;
mod postgres;
mod sqlite;
mod suite;
mod user_locks;
