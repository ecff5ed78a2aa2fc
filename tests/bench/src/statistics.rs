//! Medians, quantiles and ratios of a few numbers.

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    quantile(numbers, 0.5)
}

/// Interpolated between the two nearest numbers.
fn quantile(numbers: &[f64], share: f64) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    Some(below + (above - below) * place.fract())
}

/// So many are needed before one of them is the 99th of a hundred.
const HUNDRED: usize = 100;

/// The time within which 99 of 100 were done; `None` below a hundred.
pub(crate) fn p99(numbers: &[f64]) -> Option<f64> {
    if numbers.len() < HUNDRED {
        return None;
    }
    quantile(numbers, 0.99)
}

/// The least and the greatest.
pub(crate) fn spread(numbers: &[f64]) -> Option<(f64, f64)> {
    Some((quantile(numbers, 0.0)?, quantile(numbers, 1.0)?))
}

/// Within each round; a round in which one side is missing does not count.
pub(crate) fn ratios(numerators: &[Option<f64>], denominators: &[Option<f64>]) -> Vec<f64> {
    let pairs = numerators.iter().zip(denominators);
    let ratios = pairs.filter_map(|(numerator, denominator)| Some((*numerator)? / (*denominator)?));
    ratios.filter(|ratio| ratio.is_finite()).collect()
}

/// What part of the sum each of them is.
pub(crate) fn shares(numbers: &[f64]) -> Vec<f64> {
    let sum: f64 = numbers.iter().sum();
    let share = |number: &f64| if sum > 0.0 { number / sum } else { 0.0 };
    numbers.iter().map(share).collect()
}

/// Jain's fairness index: 1 where all have the same, 1/n where one of n has it all.
pub(crate) fn jain(numbers: &[f64]) -> Option<f64> {
    let sum: f64 = numbers.iter().sum();
    let squares: f64 = numbers.iter().map(|number| number * number).sum();
    (squares > 0.0).then(|| sum * sum / (numbers.len() as f64 * squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn quantiles_are_interpolated() {
        let numbers: Vec<_> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&numbers, 0.99), Some(99.0));
        assert_eq!(quantile(&numbers, 0.995), Some(99.5));
        assert_eq!(spread(&numbers), Some((0.0, 100.0)));
    }

    #[test]
    fn fewer_than_a_hundred_have_no_p99() {
        assert_eq!(p99(&[1.0; 99]), None);
        assert_eq!(p99(&[1.0; 100]), Some(1.0));
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was three times as fast in the second round.
        let (ours, theirs) = (
            [Some(20.0), Some(60.0), None],
            [Some(10.0), Some(30.0), Some(5.0)],
        );
        assert_eq!(ratios(&ours, &theirs), [2.0, 2.0]);
        assert!(ratios(&ours, &[None, None, None]).is_empty());
        assert!(ratios(&ours, &[Some(0.0), None, None]).is_empty());
    }

    #[test]
    fn jains_index_is_between_one_and_the_share_of_one() {
        assert_eq!(jain(&[7.0; 4]), Some(1.0));
        assert_eq!(jain(&[7.0, 0.0, 0.0, 0.0]), Some(0.25));
        assert_eq!(jain(&[3.0, 1.0]), Some(0.8));
        assert_eq!(jain(&[0.0, 0.0]), None);
    }

    #[test]
    fn shares_add_up() {
        assert_eq!(shares(&[3.0, 1.0]), [0.75, 0.25]);
        assert_eq!(shares(&[0.0, 0.0]), [0.0, 0.0]);
    }
}
