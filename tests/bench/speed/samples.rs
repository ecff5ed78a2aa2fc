//! Samples of two sides that take turns.

use std::time::Duration;

use criterion::BenchmarkGroup;
use criterion::measurement::WallTime;

/// Seconds for each cycle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// What dlock is compared with, if there is such a thing.
    pub(crate) other: Option<f64>,
    pub(crate) ours: f64,
}

/// Samples of as many cycles as Criterion asks for, which itself hears of our side only. None where its arguments leave this work out.
pub(crate) fn take(
    group: &mut BenchmarkGroup<'_, WallTime>,
    work: &str,
    mut sample: impl FnMut(u64) -> Sample,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    group.bench_function(work, |bencher| {
        bencher.iter_custom(|cycles| {
            let taken = sample(cycles);
            samples.push((cycles, taken));
            Duration::from_secs_f64(taken.ours * cycles as f64)
        });
    });
    // The warm-up comes before, in ever longer samples.
    let measured = samples.last().map(|(cycles, _)| *cycles);
    samples.retain(|(cycles, _)| Some(*cycles) == measured);
    samples.into_iter().map(|(_, sample)| sample).collect()
}

/// `None` without any numbers.
pub(crate) fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}
