//! Every test that needs a server, one module per backend: `cargo test postgres::`.

mod postgres;
mod sqlite;
mod suite;
