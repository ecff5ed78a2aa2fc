//! Locks that end with the application's transaction. Its session carries no stamp, so what is
//! checked is that its server is no standby.

use std::time::Duration;

use sea_query::{Expr, Query};

use super::batch::{StatementKind, packed};
use super::query::{COMMENT, Call, current_database, has_plpgsql, text, text_of};
use super::slice::{before_deadlock_check, milliseconds, past_deadlock_check};
use super::wait::{DECLARATIONS, lock_in_block};
use crate::backend::postgres::keys::{RULES, physical_key};
use crate::backend::rules::LockRules;
use crate::backend::transaction::{DeadlockCheck, TransactionLocks, TransactionOutcome};
use crate::error::Error;
use crate::key::{KeyRepr, PhysicalKey};
use crate::mode::Mode;

/// The setting that carries the outcome from the block of a wait to its rows.
const OUTCOME: &str = "dlock.outcome";

const IS_STANDBY: &str = "pg_catalog.pg_is_in_recovery()";

pub(crate) struct PgTransactionLocks;

impl TransactionLocks for PgTransactionLocks {
    fn rules(&self) -> &'static LockRules {
        &RULES
    }

    fn database(&self) -> String {
        text(Query::select().expr_as(current_database(), "database"))
    }

    fn physical_key(&self, key: &KeyRepr) -> Result<PhysicalKey, Error> {
        physical_key(key)
    }

    fn try_lock(&self, key: &PhysicalKey, mode: Mode) -> String {
        let literal = format!("'{}'::bigint", packed(key));
        let lock = StatementKind::of(false, mode, key).call(Call::TryInTransaction, &literal);
        let lock = text_of(lock.into());
        let [busy, granted, _, standby] = TransactionOutcome::ALL.map(TransactionOutcome::rows);
        format!(
            "{COMMENT} SELECT FROM pg_catalog.generate_series(1, \
             CASE WHEN {IS_STANDBY} THEN {standby} WHEN {lock} THEN {granted} ELSE {busy} END)"
        )
    }

    fn can_wait(&self) -> String {
        text(Query::select().expr(Expr::val(1)).and_where(has_plpgsql()))
    }

    /// Never a savepoint of the client's: a cancelled `SAVEPOINT` makes sqlx roll back the whole
    /// transaction. The block's own subtransaction undoes `lock_timeout` on failure, the block
    /// itself on success. Key and slice travel by settings, local to the transaction, so that the
    /// block is one text for all of them.
    fn wait(
        &self,
        key: &PhysicalKey,
        mode: Mode,
        slice: Duration,
        deadlocks: DeadlockCheck,
    ) -> String {
        let (packed, milliseconds) = (packed(key), milliseconds(slice));
        let lock = lock_in_block(Call::WaitInTransaction, key, mode);
        let slice = match deadlocks {
            DeadlockCheck::Wanted => past_deadlock_check(),
            DeadlockCheck::Unwanted => before_deadlock_check(),
        };
        let set =
            |outcome: u64| format!("PERFORM pg_catalog.set_config('{OUTCOME}', '{outcome}', true)");
        let [busy, granted, deadlock, standby] =
            TransactionOutcome::ALL.map(|outcome| set(outcome.rows()));
        format!(
            "{COMMENT} SELECT WHERE pg_catalog.concat(\
               pg_catalog.set_config('dlock.key', '{packed}', true), \
               pg_catalog.set_config('dlock.slice', '{milliseconds}', true)) IS NULL; \
             DO $dlock$ DECLARE \
               before text := pg_catalog.current_setting('lock_timeout'); {DECLARATIONS} \
             BEGIN \
               IF {IS_STANDBY} THEN {standby}; RETURN; END IF; \
               BEGIN \
                 PERFORM pg_catalog.set_config('lock_timeout', {slice}::text, true); \
                 {granted}; \
                 {lock} \
                 PERFORM pg_catalog.set_config('lock_timeout', before, true); \
               EXCEPTION \
                 WHEN lock_not_available THEN {busy}; \
                 WHEN deadlock_detected THEN {deadlock}; \
               END; \
             END $dlock$; \
             SELECT FROM pg_catalog.generate_series(1, pg_catalog.current_setting('{OUTCOME}')::int)"
        )
    }
}
