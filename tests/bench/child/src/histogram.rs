//! How long each of many operations took, to 3 %.

use serde::{Deserialize, Serialize};

/// Of the leading binary digits of a number of nanoseconds so many are kept.
const DIGITS: u32 = 6;

/// Counts of nanoseconds; as JSON pairs of both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    /// Counts an operation that took so long.
    pub fn record(&mut self, nanoseconds: u64) {
        self.add(nanoseconds, 1);
    }

    /// Counts all that the other one has.
    pub fn merge(&mut self, other: &Self) {
        for (nanoseconds, count) in other.pairs() {
            self.add(nanoseconds, count);
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The seconds that this share of the operations did not exceed.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (share * self.len() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let mut pairs = self.pairs();
        let (nanoseconds, _) = pairs.find(|(_, count)| {
            seen += count;
            seen >= rank
        })?;
        Some(nanoseconds as f64 / 1e9)
    }

    fn add(&mut self, nanoseconds: u64, count: u64) {
        let place = place(nanoseconds);
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += count;
    }

    fn pairs(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.iter().copied().enumerate();
        let counts = counts.filter(|(_, count)| *count > 0);
        counts.map(|(place, count)| (nanoseconds(place), count))
    }
}

/// Numbers with the same leading digits share a place.
fn place(nanoseconds: u64) -> usize {
    let shift = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(DIGITS);
    (shift as usize) * (1 << (DIGITS - 1)) + (nanoseconds >> shift) as usize
}

/// The least number of a place.
fn nanoseconds(place: usize) -> u64 {
    let half = 1 << (DIGITS - 1);
    match place.checked_sub(2 * half) {
        None => place as u64,
        Some(above) => ((half + above % half) as u64) << (above / half + 1),
    }
}

impl From<Vec<(u64, u64)>> for Histogram {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut histogram = Self::default();
        for (nanoseconds, count) in pairs {
            histogram.add(nanoseconds, count);
        }
        histogram
    }
}

impl From<Histogram> for Vec<(u64, u64)> {
    fn from(histogram: Histogram) -> Self {
        histogram.pairs().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_to_three_percent() {
        for exact in (0..64).chain((6..62).map(|power| (1 << power) + (1 << (power - 1)) + 3)) {
            let kept = nanoseconds(place(exact));
            assert!(
                kept <= exact && exact as f64 <= kept as f64 * 1.032 + 0.5,
                "{exact}: {kept}"
            );
        }
    }

    #[test]
    fn places_rise_without_a_gap() {
        let places: Vec<_> = (0..5_000).map(place).collect();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] <= 1));
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for nanoseconds in 1..=100 {
            histogram.record(nanoseconds * 1_000_000);
        }
        let near = |share: f64, seconds: f64| {
            let found = histogram.quantile(share).unwrap();
            assert!((found / seconds - 1.0).abs() < 0.04, "{share}: {found}");
        };
        near(0.0, 0.001);
        near(0.5, 0.050);
        near(0.99, 0.099);
        near(1.0, 0.100);
    }

    #[test]
    fn it_survives_json_and_merges() {
        let mut histogram = Histogram::default();
        histogram.record(70);
        histogram.record(123_456);
        let json = serde_json::to_string(&histogram).unwrap();
        let mut other: Histogram = serde_json::from_str(&json).unwrap();
        assert_eq!(other, histogram);
        other.merge(&histogram);
        assert_eq!(other.len(), 4);
    }
}
