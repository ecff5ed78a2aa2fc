//! What the drivers of sqlx share.

pub(crate) mod open;
pub(crate) mod pinned;
mod pool;

pub(crate) use self::pool::{Latest, SqlxDatabase, for_one_session};
