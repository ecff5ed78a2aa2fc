//! What the charts share: a panel for each setting, side by side, with the same axes, and a legend.

use std::error::Error;
use std::fmt::Display;
use std::ops::Range;

use dlock_bench_child::Result;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const SIZE: (u32, u32) = (1_190, 430);
const LEGEND: u32 = 315;

/// Dark enough on white, which the charts bring along for those who read in the dark.
const INK: RGBColor = RGBColor(40, 44, 52);
pub(super) const GRID: RGBColor = RGBColor(226, 229, 233);

/// One subject in one panel.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) style: Style,
    pub(super) points: Vec<(f64, f64)>,
}

/// How a subject is drawn, in every chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Style {
    color: RGBColor,
    width: u32,
    dashed: bool,
}

/// An axis; its numbers are spaced as they are, so a logarithm is taken before.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) range: Range<f64>,
    pub(super) labels: usize,
    pub(super) format: fn(&f64) -> String,
}

/// The same colours in all charts, told apart by people who see few of them, too (Okabe and Ito).
pub(super) fn style(server: &str, subject: &str) -> Style {
    let (color, width, dashed) = match (server, subject) {
        ("mysql", "dlock") => (RGBColor(86, 180, 233), 4, false),
        (_, "dlock") => (RGBColor(0, 114, 178), 4, false),
        ("mysql", "raw") => (RGBColor(160, 160, 160), 2, true),
        (_, "raw") => (RGBColor(70, 70, 70), 2, true),
        (_, "sqlx") => (RGBColor(230, 159, 0), 2, false),
        (_, "sqlx+test") => (RGBColor(240, 228, 66), 2, false),
        (_, "distributed-lock") => (RGBColor(204, 121, 167), 2, false),
        (_, "redis") => (RGBColor(213, 94, 0), 3, false),
        (_, "redis+mutex") => (RGBColor(138, 61, 0), 3, true),
        (_, "sqlalchemy-dlock/asyncpg" | "PyMySQLLock without TLS") => {
            (RGBColor(0, 158, 115), 2, false)
        }
        _ => (RGBColor(120, 200, 60), 2, false),
    };
    Style {
        color,
        width,
        dashed,
    }
}

pub(super) fn text(size: u32) -> TextStyle<'static> {
    ("Helvetica, Arial, sans-serif", size)
        .into_text_style(&(1, 1))
        .color(&INK)
}

pub(super) fn right(size: u32) -> TextStyle<'static> {
    text(size).pos(Pos::new(HPos::Right, VPos::Center))
}

pub(super) fn middle(size: u32) -> TextStyle<'static> {
    text(size).pos(Pos::new(HPos::Center, VPos::Center))
}

pub(super) fn left(size: u32) -> TextStyle<'static> {
    text(size).pos(Pos::new(HPos::Left, VPos::Center))
}

/// The chart as SVG.
pub(super) fn panels(
    title: &str,
    panels: &[(String, Vec<Line>)],
    x: &Axis,
    y: &Axis,
) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(drawing)?;
        let root = root.margin(8, 8, 8, 8);
        let root = root.titled(title, text(19)).map_err(drawing)?;
        let (charts, legend) = root.split_horizontally(SIZE.0 - LEGEND);
        for ((name, lines), area) in panels.iter().zip(charts.split_evenly((1, panels.len()))) {
            panel(&area, name, lines, x, y)?;
        }
        let lines = panels.iter().flat_map(|(_, lines)| lines);
        let mut entries: Vec<(&str, Style)> = Vec::new();
        for line in lines {
            if entries.iter().all(|(label, _)| *label != line.label) {
                entries.push((&line.label, line.style));
            }
        }
        for (place, (label, style)) in entries.into_iter().enumerate() {
            let y = 48 + 24 * place as i32;
            stroke(&legend, vec![(4, y), (34, y)], style)?;
            legend
                .draw(&Text::new(label, (42, y), left(13)))
                .map_err(drawing)?;
        }
        root.present().map_err(drawing)?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area<'_>, name: &str, lines: &[Line], x: &Axis, y: &Axis) -> Result<()> {
    let mut chart = ChartBuilder::on(area);
    chart
        .caption(name, text(15))
        .margin(6)
        .x_label_area_size(44)
        .y_label_area_size(66);
    let mut chart = chart
        .build_cartesian_2d(x.range.clone(), y.range.clone())
        .map_err(drawing)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_labels(x.labels)
        .y_labels(y.labels)
        .x_desc(x.name)
        .y_desc(y.name);
    mesh.x_label_formatter(&x.format)
        .y_label_formatter(&y.format);
    mesh.light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK);
    mesh.label_style(text(12)).axis_desc_style(text(13));
    mesh.draw().map_err(drawing)?;
    // dlock last, so that nothing hides it.
    let mut lines: Vec<_> = lines.iter().collect();
    lines.sort_by_key(|line| line.style.width);
    for line in lines {
        let Style {
            color,
            width,
            dashed,
        } = line.style;
        let style = color.stroke_width(width);
        let points = line.points.iter().copied();
        if dashed {
            chart
                .draw_series(DashedLineSeries::new(points, 7, 5, style))
                .map_err(drawing)?;
        } else {
            chart
                .draw_series(LineSeries::new(points, style))
                .map_err(drawing)?;
        }
        if line.points.len() < 9 && !dashed {
            let dots = line
                .points
                .iter()
                .map(|point| Circle::new(*point, width + 1, color.filled()));
            chart.draw_series(dots).map_err(drawing)?;
        }
    }
    Ok(())
}

fn stroke(
    area: &Area<'_>,
    points: Vec<(i32, i32)>,
    Style {
        color,
        width,
        dashed,
    }: Style,
) -> Result<()> {
    let style = color.stroke_width(width);
    if dashed {
        let line = DashedPathElement::new(points, 7, 5, style);
        area.draw(&line).map_err(drawing)
    } else {
        area.draw(&PathElement::new(points, style)).map_err(drawing)
    }
}

/// The errors of plotters are of many types.
pub(super) fn drawing(error: impl Display) -> Box<dyn Error + Send + Sync> {
    format!("cannot draw: {error}").into()
}

/// A label for each power of ten.
pub(super) fn decades(range: &Range<f64>) -> usize {
    (range.end - range.start) as usize + 1
}

/// The name of a power of ten of numbers per second.
pub(super) fn rate(exponent: &f64) -> String {
    match exponent.round() as i32 {
        exponent @ ..3 => format!("{}", 10_f64.powi(exponent)),
        exponent @ 3..6 => format!("{} k", 10_f64.powi(exponent - 3)),
        exponent => format!("{} M", 10_f64.powi(exponent - 6)),
    }
}

impl Style {
    pub(super) fn color(self) -> RGBColor {
        self.color
    }
}
