//! PostgreSQL: advisory locks.
//! <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADVISORY-LOCKS>

pub mod compat;
mod connect;
mod session;
mod statements;

pub(crate) use self::statements::Postgres;
