//! The statements of PostgreSQL.
//! <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADVISORY-LOCKS>

mod batch;
mod identity;
mod listing;
mod query;
mod session;
mod slice;
mod transaction;
mod wait;

pub(crate) use self::batch::{StatementKind, batch, packed, single};
pub(crate) use self::identity::{Identity, SHOW_STAMP, ping, who_answers};
pub(crate) use self::listing::{end_holder, held, holder_of, locks, unpacked};
pub(crate) use self::session::{
    FROM_CLIENT, ORIGIN_PROBE, ROLLBACK, SESSION_TOKEN, in_transaction, introduce, set_session,
    unlock_all, version,
};
pub(crate) use self::transaction::PgTransactionLocks;
pub(crate) use self::wait::{WaitAnswer, wait};
