//! How long a lock is on its way from one process to another.

use dlock_bench_child::{Result, Turn};

/// Seconds from each call of `release` to the `acquire` that returns next, where that is in another process. The clock is the host's, so that of both.
///
/// # Errors
///
/// That somebody acquired before the one before had released: times of a lock that two can hold mean nothing.
pub(crate) fn latencies(processes: &[Vec<Turn>]) -> Result<Vec<f64>> {
    let processes = processes.iter().enumerate();
    let mut turns: Vec<(usize, Turn)> = processes
        .flat_map(|(process, turns)| turns.iter().map(move |turn| (process, *turn)))
        .collect();
    turns.sort_by_key(|(_, turn)| turn.acquired);
    let mut latencies = Vec::new();
    for pair in turns.windows(2) {
        let [(from, before), (to, after)] = [pair[0], pair[1]];
        let Some(latency) = after.acquired.checked_sub(before.released) else {
            let early = before.released - after.acquired;
            return Err(format!(
                "process {to} acquired {early} ns before process {from} released: two held the lock at once, or the clock was set back"
            )
            .into());
        };
        if from != to {
            latencies.push(latency as f64 / 1e9);
        }
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(acquired: u64, released: u64) -> Turn {
        Turn { acquired, released }
    }

    #[test]
    fn only_a_change_of_the_process_counts() {
        let one = vec![turn(0, 100), turn(110, 200), turn(500, 600)];
        let other = vec![turn(230, 300)];
        assert_eq!(latencies(&[one, other]).unwrap(), [30e-9, 200e-9]);
    }

    #[test]
    fn there_is_none_without_another_process() {
        let processes = [vec![turn(0, 1), turn(2, 3)], Vec::new()];
        assert!(latencies(&processes).unwrap().is_empty());
    }

    #[test]
    fn a_lock_that_two_hold_is_an_error_with_both_names() {
        let processes = [vec![turn(0, 100)], vec![turn(90, 200)]];
        let error = latencies(&processes).unwrap_err().to_string();
        assert!(error.contains("process 1 acquired 10 ns before process 0 released"));
    }
}
