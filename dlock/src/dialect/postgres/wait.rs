//! A slice of a wait on a lock session that holds nothing else.

use std::time::Duration;

use super::batch::{Arm, packed};
use super::identity::{IDENTITY_TEXT, Identity};
use super::{COMMENT, Call};
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
    let lock = Arm::of(false, mode, key).call(Call::Wait, "k");
    let lock = sea_query::Query::select().expr(lock).to_owned();
    let lock = super::text(&lock)
        .replacen(COMMENT, "", 1)
        .replacen("SELECT", "PERFORM", 1);
    let slice = slice_within_statement("pg_catalog.current_setting('dlock.slice')::bigint");
    let [granted, busy, wrong_session] = WaitAnswer::ALL.map(WaitAnswer::as_text);
    format!(
        "{COMMENT} SELECT \
           pg_catalog.set_config('dlock.expected', '{expected}', true), \
           pg_catalog.set_config('dlock.key', '{packed}', true), \
           pg_catalog.set_config('dlock.slice', '{milliseconds}', true), \
           pg_catalog.set_config('dlock.answer', '{wrong_session}', true); \
         DO $dlock$ DECLARE \
           k bigint := pg_catalog.current_setting('dlock.key'); \
         BEGIN \
           IF pg_catalog.current_setting('dlock.expected') <> {IDENTITY_TEXT} \
             THEN RETURN; END IF; \
           PERFORM pg_catalog.set_config('lock_timeout', {slice}::text, true); \
           BEGIN \
             PERFORM pg_catalog.set_config('dlock.answer', '{granted}', true); \
             {lock}; \
           EXCEPTION WHEN lock_not_available THEN \
             PERFORM pg_catalog.pg_advisory_unlock_all(); \
             PERFORM pg_catalog.set_config('dlock.answer', '{busy}', true); \
           END; \
         END $dlock$; \
         SHOW dlock.answer"
    )
}

/// `lock_timeout` counts whole milliseconds, and 0 means forever.
pub(super) fn milliseconds(slice: Duration) -> u64 {
    slice.as_micros().div_ceil(1000).clamp(1, i32::MAX as u128) as u64
}

/// In SQL, of a slice in milliseconds. Half of a `statement_timeout` bounds it, since that would
/// be an error.
pub(super) fn slice_within_statement(slice: &str) -> String {
    let statement =
        "extract(epoch FROM pg_catalog.current_setting('statement_timeout')::interval) * 1000";
    format!("greatest(1, least({slice}, nullif({statement}, 0) / 2))::bigint")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_never_becomes_forever() {
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_micros(1001)), 2);
        assert_eq!(milliseconds(Duration::MAX), 2_147_483_647);
    }

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
            one.contains("PERFORM pg_catalog.pg_advisory_lock(k);"),
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
