//! A slice of a wait on a lock session that holds nothing else.

use std::time::Duration;

use sea_query::{Expr, ExprTrait};

use super::batch::{StatementKind, packed};
use super::identity::{IDENTITY_TEXT, Identity};
use super::query::{COMMENT, Call, text_of};
use super::slice::{before_deadlock_check, milliseconds};
use crate::key::PhysicalKey;
use crate::mode::Mode;

/// How a slice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitAnswer {
    Granted,
    Busy,
    /// The statement reached another server session, and did nothing there.
    WrongSession,
}

impl WaitAnswer {
    const ALL: [Self; 3] = [Self::Granted, Self::Busy, Self::WrongSession];

    fn as_text(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Busy => "busy",
            Self::WrongSession => "wrong session",
        }
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|answer| answer.as_text() == text)
    }
}

/// A row of its parameters, then a row with the [`WaitAnswer`] as text.
///
/// The whole text is one transaction, so its settings are local to it and the answer can only come
/// from the session that waited. The block checks the session before it waits. All other work that
/// can be done before the grant is done before, since the next holder waits for what comes after:
/// so the answer is `granted` too early, and an error undoes it with the block's subtransaction.
///
/// sea-query has no words for `DO` and `SHOW`, and only a block can end a wait without an error in
/// the server's log. A lock that was granted although the wait failed (one in ten near the
/// deadline) goes with everything else in `pg_advisory_unlock_all`, so that a wait that was not
/// granted holds nothing.
pub(crate) fn wait(identity: &Identity, key: &PhysicalKey, mode: Mode, slice: Duration) -> String {
    let expected = identity.to_text();
    let packed = packed(key);
    let milliseconds = milliseconds(slice);
    let lock = lock_in_block(Call::Wait, key, mode);
    let slice = before_deadlock_check();
    let [granted, busy, wrong_session] = WaitAnswer::ALL.map(WaitAnswer::as_text);
    format!(
        "{COMMENT} SELECT \
           pg_catalog.set_config('dlock.expected', '{expected}', true), \
           pg_catalog.set_config('dlock.key', '{packed}', true), \
           pg_catalog.set_config('dlock.slice', '{milliseconds}', true), \
           pg_catalog.set_config('dlock.answer', '{wrong_session}', true); \
         DO $dlock$ DECLARE \
           {DECLARATIONS} \
         BEGIN \
           IF pg_catalog.current_setting('dlock.expected') <> {IDENTITY_TEXT} \
             THEN RETURN; END IF; \
           PERFORM pg_catalog.set_config('lock_timeout', {slice}::text, true); \
           BEGIN \
             PERFORM pg_catalog.set_config('dlock.answer', '{granted}', true); \
             {lock} \
           EXCEPTION WHEN lock_not_available THEN \
             PERFORM pg_catalog.pg_advisory_unlock_all(); \
             PERFORM pg_catalog.set_config('dlock.answer', '{busy}', true); \
           END; \
         END $dlock$; \
         SHOW dlock.answer"
    )
}

/// The variables of a block with [`lock_in_block`]: the key, and an unused result.
pub(super) const DECLARATIONS: &str =
    "k bigint := pg_catalog.current_setting('dlock.key'); nothing text;";

/// The call that waits for the key in `k`. An assignment is evaluated without SPI, so it costs less
/// than `PERFORM`, and a line less in the server's log where that tells of the wait.
pub(super) fn lock_in_block(call: Call, key: &PhysicalKey, mode: Mode) -> String {
    let lock = Expr::expr(StatementKind::of(false, mode, key).call(call, "k")).cast_as("text");
    format!("nothing := {};", text_of(lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_of_a_wait_is_one_text_for_all_keys_sessions_and_slices() {
        let block = |stamp: &str, pid, key, slice| {
            let identity = Identity::new(stamp, pid, 1);
            let text = wait(&identity, &key, Mode::Exclusive, slice);
            text.split_once(';').expect("a leading SELECT").1.to_owned()
        };
        let one = block("a", 1, PhysicalKey::Int(i64::MIN), Duration::from_secs(1));
        let other = block("b", 2, PhysicalKey::Int(7), Duration::from_secs(2));
        assert_eq!(one, other);
        assert!(
            one.contains("nothing := CAST(pg_catalog.pg_advisory_lock(k) AS text);"),
            "{one}"
        );
        let pair = block("a", 1, PhysicalKey::Pair(-1, 1), Duration::from_secs(1));
        assert!(pair.contains("(k >> 32)::int4"), "{pair}");
    }

    #[test]
    fn an_answer_is_read_as_it_is_written() {
        for answer in WaitAnswer::ALL {
            assert_eq!(WaitAnswer::from_text(answer.as_text()), Some(answer));
        }
        assert_eq!(WaitAnswer::from_text(""), None);
    }
}
