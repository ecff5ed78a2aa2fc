//! The hot key, as dots on a logarithmic axis, which has no zero that a bar could begin at.

use dlock_bench_child::Result;
use plotters::prelude::*;

use crate::plan::{Case, Part, cases};
use crate::report::frame::{GRID, drawing, left, middle, rate, right, style, text};
use crate::report::{databases, numbers, setting, title};
use crate::results::Results;
use crate::statistics::spread;

const WIDTH: u32 = 1_120;
const LABELS: i32 = 250;
/// For the numbers behind the dots.
const ROOM: i32 = 210;
const ROW: i32 = 14;
const TOP: i32 = 44;

struct Dot {
    rate: f64,
    text: String,
}

/// `None` without any numbers.
pub(super) fn dots(results: &Results) -> Result<Option<String>> {
    let cases = cases().into_iter().filter(|case| case.part == Part::Hot);
    let rows: Vec<_> = cases
        .map(|case| (dots_of(results, &case), case))
        .filter(|(dots, _)| !dots.is_empty())
        .collect();
    let rates = rows.iter().flat_map(|(dots, _)| dots);
    let rates: Vec<_> = rates.map(|dot| dot.rate.log10()).collect();
    let Some((least, most)) = spread(&rates) else {
        return Ok(None);
    };
    let (least, most) = (least.floor(), most.ceil().max(least.floor() + 1.0));
    let place = |exponent: f64| {
        let width = f64::from(WIDTH as i32 - LABELS - ROOM);
        LABELS + ((exponent - least) / (most - least) * width) as i32
    };
    let bottom = TOP + rows.iter().map(|(dots, _)| gap(dots)).sum::<i32>();
    let mut svg = String::new();
    {
        let size = (WIDTH, bottom as u32 + 30);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(drawing)?;
        let mut servers: Vec<_> = rows.iter().map(|(_, case)| case.server).collect();
        servers.dedup();
        let head = format!(
            "{}: one hot key, 64 tasks in one process, acquire and release per second (logarithmic; more is better)",
            databases(&servers)
        );
        root.draw(&Text::new(head, (12, 10), text(15)))
            .map_err(drawing)?;
        for exponent in least as i32..=most as i32 {
            let (x, exponent) = (place(f64::from(exponent)), f64::from(exponent));
            let line = PathElement::new(vec![(x, TOP - 8), (x, bottom)], GRID);
            root.draw(&line).map_err(drawing)?;
            let label = Text::new(rate(&exponent), (x, bottom + 14), middle(12));
            root.draw(&label).map_err(drawing)?;
        }
        let mut y = TOP;
        for (dots, case) in &rows {
            let color = style(case.server, case.subject).color();
            let label = title(case.server, case.subject);
            let label = Text::new(
                label,
                (LABELS - 10, y + ROW * dots.len() as i32 / 2),
                right(13),
            );
            root.draw(&label).map_err(drawing)?;
            for (number, dot) in dots.iter().enumerate() {
                let (x, y) = (place(dot.rate.log10()), y + ROW * number as i32 + ROW / 2);
                // The first setting is hollow.
                let fill = if number == 0 && dots.len() > 1 {
                    color.stroke_width(2)
                } else {
                    color.filled()
                };
                root.draw(&Circle::new((x, y), 5, fill)).map_err(drawing)?;
                let text = Text::new(dot.text.as_str(), (x + 10, y), left(12));
                root.draw(&text).map_err(drawing)?;
            }
            y += gap(dots);
        }
        root.present().map_err(drawing)?;
    }
    Ok(Some(svg))
}

fn gap(dots: &[Dot]) -> i32 {
    ROW * dots.len() as i32 + 8
}

/// One for each setting.
fn dots_of(results: &Results, case: &Case) -> Vec<Dot> {
    let settings = results.settings.iter();
    let dots = settings.filter_map(|(cores, cases)| {
        let measured = cases.get(&case.name())?;
        let (rate, served) = (measured.median("per second")?, measured.median("served")?);
        let mut text = format!("{}, {}", numbers::count(rate), setting(*cores, results));
        if served < 63.5 {
            text.push_str(&format!("; {served:.0} of 64 served"));
        }
        Some(Dot { rate, text })
    });
    dots.collect()
}
