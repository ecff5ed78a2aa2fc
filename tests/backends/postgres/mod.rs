//! PostgreSQL.

mod contract;
