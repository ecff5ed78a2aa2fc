//! SQLite.

mod contract;
mod database;
