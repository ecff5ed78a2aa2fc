//! How long a lock is on its way from one process to another.

use dlock_bench_child::Turn;

/// Seconds from each call of `release` to the `acquire` that returns next, where that is in another process. The clock is the host's, so that of both.
pub(crate) fn latencies(processes: &[Vec<Turn>]) -> Vec<f64> {
    let processes = processes.iter().enumerate();
    let mut turns: Vec<(usize, Turn)> = processes
        .flat_map(|(process, turns)| turns.iter().map(move |turn| (process, *turn)))
        .collect();
    turns.sort_by_key(|(_, turn)| turn.acquired);
    let pairs = turns.windows(2).map(|pair| (pair[0], pair[1]));
    let changes = pairs.filter(|((from, _), (to, _))| from != to);
    changes
        .map(|((_, before), (_, after))| {
            after.acquired.saturating_sub(before.released) as f64 / 1e9
        })
        .collect()
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
        assert_eq!(latencies(&[one, other]), [30e-9, 200e-9]);
    }

    #[test]
    fn there_is_none_without_another_process() {
        assert!(latencies(&[vec![turn(0, 1), turn(2, 3)], Vec::new()]).is_empty());
    }
}
