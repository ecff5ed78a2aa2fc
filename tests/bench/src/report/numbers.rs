//! Numbers as people read them.

/// Three digits that matter, and commas.
pub(super) fn count(number: f64) -> String {
    if number < 100.0 {
        return ratio(number);
    }
    let magnitude = 10_f64.powf(number.log10().floor() - 2.0);
    let digits = ((number / magnitude).round() * magnitude)
        .round()
        .to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Of seconds.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        1.0.. => format!("{} s", ratio(seconds)),
        0.001.. => format!("{} ms", ratio(seconds * 1e3)),
        _ => format!("{} µs", ratio(seconds * 1e6)),
    }
}

/// Three digits that matter.
pub(super) fn ratio(number: f64) -> String {
    match number {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// Of 1, where the hundredths are all alike.
pub(super) fn index(number: f64) -> String {
    format!("{number:.3}")
}

/// Of 1.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [5.0, 42.0, 999.4, 1_234.0, 1_234_567.0].map(count),
            ["5.00", "42.0", "999", "1,230", "1,230,000"]
        );
        assert_eq!(
            [1.5, 0.0123, 0.000_045].map(time),
            ["1.50 s", "12.3 ms", "45.0 µs"]
        );
        assert_eq!(percent(0.456), "46 %");
    }
}
