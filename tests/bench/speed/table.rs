//! What was measured, as text.

use std::fmt;

use super::samples::{Sample, median};

#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

#[derive(Debug)]
pub(crate) struct Row {
    server: &'static str,
    work: &'static str,
    /// What dlock is compared with, and its seconds.
    other: Option<(&'static str, f64)>,
    ours: f64,
    ratio: Option<f64>,
    goal: &'static str,
}

/// How many times as fast, or as slow, as the other side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ratio {
    Faster,
    Slower,
}

impl Table {
    /// Nothing, where nothing was measured.
    pub(crate) fn add(&mut self, row: Option<Row>) {
        self.0.extend(row);
    }
}

impl Row {
    /// Dlock alone, in seconds.
    pub(crate) fn alone(
        (server, work): (&'static str, &'static str),
        samples: &[Sample],
        goal: &'static str,
    ) -> Option<Self> {
        Some(Self {
            server,
            work,
            other: None,
            ours: median(samples.iter().map(|sample| sample.ours))?,
            ratio: None,
            goal,
        })
    }

    /// Dlock beside the other side, which is called so.
    pub(crate) fn compared(
        of: (&'static str, &'static str),
        samples: &[Sample],
        name: &'static str,
        ratio: Ratio,
        goal: &'static str,
    ) -> Option<Self> {
        let pairs = || {
            let pairs = samples.iter();
            pairs.filter_map(|sample| Some((sample.other?, sample.ours)))
        };
        let ratio = |(other, ours): (f64, f64)| match ratio {
            Ratio::Faster => other / ours,
            Ratio::Slower => ours / other,
        };
        Some(Self {
            other: Some((name, median(pairs().map(|(other, _)| other))?)),
            ratio: median(pairs().map(ratio)),
            ..Self::alone(of, samples, goal)?
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:10} {:30} {:>20} {:>10} {:>7}   goal",
            "server", "work", "compared with", "dlock", "ratio"
        )?;
        for row in &self.0 {
            let other = row
                .other
                .map(|(name, seconds)| format!("{name} {}", time(seconds)));
            let ratio = row.ratio.map(|ratio| format!("{ratio:.2}"));
            writeln!(
                f,
                "{:10} {:30} {:>20} {:>10} {:>7}   {}",
                row.server,
                row.work,
                other.unwrap_or_default(),
                time(row.ours),
                ratio.unwrap_or_default(),
                row.goal
            )?;
        }
        Ok(())
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        0.1.. => format!("{seconds:.2} s"),
        0.001.. => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{:.1} µs", seconds * 1e6),
    }
}
