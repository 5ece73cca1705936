//! [`Plot`]: lines over two axes, drawn as SVG by plotters.

use anyhow::anyhow;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::Outcome;
use crate::table::figure;

/// The points of a line, from left to right.
pub type Points = Vec<(f64, f64)>;

/// An axis by its label: what it shows, and in which unit.
#[derive(Debug, Clone, Copy)]
pub enum Axis {
    /// From zero on.
    Linear(&'static str),
    /// Ten times as much is one step.
    Log(&'static str),
}

/// A picture.
#[derive(Debug, Clone)]
pub struct Plot {
    /// What it shows, in a few words.
    pub title: String,
    /// How to read it, in one sentence.
    pub note: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The lines, by name.
    pub lines: Vec<(String, Points)>,
}

/// Colours of the lines, in their order.
const COLOURS: [RGBColor; 3] = [RGBColor(29, 95, 209), RGBColor(196, 87, 10), RGBColor(122, 79, 179)];

impl Plot {
    /// Draws the lines, without title and note.
    pub fn svg(&self) -> Outcome<String> {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let (left, right) = range(points().map(|point| point.0));
        let (bottom, top) = range(points().map(|point| point.1));
        match (self.x, self.y) {
            (Axis::Linear(_), Axis::Linear(_)) => self.draw(0.0..right, 0.0..top),
            (Axis::Linear(_), Axis::Log(_)) => self.draw(0.0..right, (bottom..top).log_scale()),
            (Axis::Log(_), Axis::Linear(_)) => self.draw((left..right).log_scale(), 0.0..top),
            (Axis::Log(_), Axis::Log(_)) => self.draw((left..right).log_scale(), (bottom..top).log_scale()),
        }
    }

    fn draw<X, Y>(&self, x: X, y: Y) -> Outcome<String>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let failed = |error| anyhow!("{}: {error}", self.title);
        let (Axis::Linear(across) | Axis::Log(across)) = self.x;
        let (Axis::Linear(upwards) | Axis::Log(upwards)) = self.y;
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (860, 360)).into_drawing_area();
            let mut chart = ChartBuilder::on(&root);
            chart.margin(10).x_label_area_size(45).y_label_area_size(75);
            let mut chart = chart.build_cartesian_2d(x, y).map_err(failed)?;
            let mut mesh = chart.configure_mesh();
            let label = |value: &f64| figure(*value);
            mesh.x_desc(across).y_desc(upwards).x_label_formatter(&label).y_label_formatter(&label);
            mesh.light_line_style(WHITE).draw().map_err(failed)?;
            for ((name, points), colour) in self.lines.iter().zip(COLOURS) {
                let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
                let series = chart.draw_series(line).map_err(failed)?;
                let legend = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(3));
                series.label(name).legend(legend);
                // Few points are marked.
                let marked = points.iter().filter(|_| points.len() <= 12);
                let marks = marked.map(|point| Circle::new(*point, 3, colour.filled()));
                chart.draw_series(marks).map_err(failed)?;
            }
            let mut legend = chart.configure_series_labels();
            legend.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2));
            legend.position(SeriesLabelPosition::UpperLeft).draw().map_err(failed)?;
            root.present().map_err(failed)?;
        }
        Ok(svg)
    }
}

/// The lowest and the highest of some positive figures, with a margin; a range that can be drawn if there are none.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let shown = values.filter(|value| value.is_finite() && *value > 0.0);
    let (low, high) =
        shown.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if low > high { (1.0, 10.0) } else { (low * 0.95, high * 1.05) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(x: Axis, y: Axis, points: Points) -> Plot {
        let lines = vec![("a < b".to_owned(), points.clone()), ("limit".to_owned(), points)];
        Plot { title: "Space".to_owned(), note: String::new(), x, y, lines }
    }

    #[test]
    fn a_picture_names_its_axes_and_lines_and_escapes_them() {
        let some = vec![(0.0, 0.0), (1.0, 20.0), (1000.0, 3000.0)];
        for (x, y) in [
            (Axis::Linear("s"), Axis::Linear("MB")),
            (Axis::Log("s"), Axis::Log("MB")),
            (Axis::Linear("s"), Axis::Log("MB")),
            (Axis::Log("s"), Axis::Linear("MB")),
        ] {
            let svg = plot(x, y, some.clone()).svg().unwrap();
            assert!(svg.contains("a &lt; b") && svg.contains("limit") && svg.contains("MB"), "{svg}");
            assert!(svg.trim_end().ends_with("</svg>"));
        }
    }

    #[test]
    fn a_picture_without_a_point_can_be_drawn() {
        assert!(plot(Axis::Log("s"), Axis::Log("MB"), Vec::new()).svg().is_ok());
    }
}
