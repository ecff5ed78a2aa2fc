//! How long one statement waits for a lock, as PL/pgSQL computes it.

use std::time::Duration;

/// `lock_timeout` counts whole milliseconds, and 0 means forever.
pub(super) fn milliseconds(slice: Duration) -> u64 {
    slice.as_micros().div_ceil(1000).clamp(1, i32::MAX as u128) as u64
}

/// At most the milliseconds of the setting `dlock.slice`, and shorter than `deadlock_timeout`, but
/// no less than 10 ms.
///
/// A blocked statement keeps its snapshot, and `CREATE INDEX CONCURRENTLY` waits for older
/// snapshots. When the session that builds the index holds the lock, that is a deadlock. The server
/// looks for deadlocks after `deadlock_timeout` and fails the index; a slice that ends before lets
/// the index go on. At the same moment `log_lock_waits` writes its lines.
/// <https://www.postgresql.org/docs/current/runtime-config-locks.html>
pub(super) fn before_deadlock_check() -> String {
    let limit = format!("greatest(10, 0.8 * ({}))", setting("deadlock_timeout"));
    bounded(&limit)
}

/// Half a second longer than `deadlock_timeout`, so that the server looks for deadlocks once, if
/// the setting `dlock.slice` allows it. A process that is late for both timers looks first.
pub(super) fn past_deadlock_check() -> String {
    bounded(&format!("500 + {}", setting("deadlock_timeout")))
}

/// Half of a `statement_timeout` bounds a slice, since that would be an error.
fn bounded(limit: &str) -> String {
    let statement = setting("statement_timeout");
    format!(
        "greatest(1, least(pg_catalog.current_setting('dlock.slice')::bigint, {limit}, \
         nullif({statement}, 0) / 2))::bigint"
    )
}

/// In milliseconds.
fn setting(name: &str) -> String {
    format!("extract(epoch FROM pg_catalog.current_setting('{name}')::interval) * 1000")
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
}
