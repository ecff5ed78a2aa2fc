//! The hot key, as bars on a logarithmic axis.

use dlock_bench_child::Result;
use plotters::prelude::*;

use crate::plan::{Case, Part, cases};
use crate::report::frame::{drawing, left, right, style, text};
use crate::report::{numbers, setting, title};
use crate::results::Results;

const WIDTH: u32 = 1_120;
const LABELS: i32 = 250;
/// For the numbers behind the bars.
const ROOM: i32 = 190;
const BAR: i32 = 13;

struct Bar {
    rate: f64,
    text: String,
}

/// `None` without any numbers.
pub(super) fn bars(results: &Results) -> Result<Option<String>> {
    let cases = cases().into_iter().filter(|case| case.part == Part::Hot);
    let rows: Vec<_> = cases
        .map(|case| (bars_of(results, &case), case))
        .filter(|(bars, _)| !bars.is_empty())
        .collect();
    let rates = || {
        rows.iter()
            .flat_map(|(bars, _)| bars)
            .map(|bar| bar.rate.log10())
    };
    let (Some(least), Some(most)) = (rates().reduce(f64::min), rates().reduce(f64::max)) else {
        return Ok(None);
    };
    let (least, most) = (least.floor() - 0.3, most.ceil());
    let place = |rate: f64| {
        let width = f64::from(WIDTH as i32 - LABELS - ROOM);
        LABELS + ((rate.log10() - least) / (most - least) * width) as i32
    };
    let height = rows.iter().map(|(bars, _)| gap(bars)).sum::<i32>() + 60;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
        root.fill(&WHITE).map_err(drawing)?;
        let head = "One hot key, 64 tasks in one process: acquire and release, per second (logarithmic; more is better)";
        root.draw(&Text::new(head, (12, 10), text(17)))
            .map_err(drawing)?;
        let mut y = 44;
        for (bars, case) in &rows {
            let color = style(case.server, case.subject).color();
            let label = title(case.server, case.subject);
            let middle = y + BAR * bars.len() as i32 / 2;
            root.draw(&Text::new(label, (LABELS - 8, middle), right(13)))
                .map_err(drawing)?;
            for (number, bar) in bars.iter().enumerate() {
                let (above, end) = (y + BAR * number as i32, place(bar.rate));
                // The first setting is the paler.
                let fill = color.mix(if number == 0 && bars.len() > 1 {
                    0.5
                } else {
                    1.0
                });
                let rectangle =
                    Rectangle::new([(LABELS, above), (end, above + BAR - 1)], fill.filled());
                root.draw(&rectangle).map_err(drawing)?;
                let text = Text::new(bar.text.as_str(), (end + 6, above + BAR / 2), left(12));
                root.draw(&text).map_err(drawing)?;
            }
            y += gap(bars);
        }
        root.present().map_err(drawing)?;
    }
    Ok(Some(svg))
}

fn gap(bars: &[Bar]) -> i32 {
    BAR * bars.len() as i32 + 10
}

/// One for each setting.
fn bars_of(results: &Results, case: &Case) -> Vec<Bar> {
    let settings = results.settings.iter();
    let bars = settings.filter_map(|(cores, cases)| {
        let measured = cases.get(&case.name())?;
        let (rate, served) = (measured.median("per second")?, measured.median("served")?);
        let mut text = format!("{}, {}", numbers::count(rate), setting(*cores, results));
        if served < 63.5 {
            text.push_str(&format!("; {served:.0} of 64 served"));
        }
        Some(Bar { rate, text })
    });
    bars.collect()
}
