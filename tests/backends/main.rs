//! Every test that needs a server, one module per backend: `cargo test postgres::`.

mod ear;
mod invoices;
mod mariadb;
mod mock;
mod mssql;
mod mysql;
mod oracle;
mod postgres;
mod sqlite;
mod suite;
mod tds;
mod transport;
mod user_locks;
