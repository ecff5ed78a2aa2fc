//! PostgreSQL: advisory locks.
//! <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADVISORY-LOCKS>

pub mod compat;
mod connect;
mod errors;
mod exchange;
mod identity;
mod keys;
mod listing;
mod orm;
mod session;
mod statements;

pub(crate) use self::orm::Postgres;
