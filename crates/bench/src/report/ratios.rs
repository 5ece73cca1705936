//! How many times as good as its peer each row is, on one logarithmic axis, by peer.

use std::fmt::Write;

use super::escaped;
use super::scales::{Range, short};
use crate::plot::Scale;
use crate::row::Row;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 290.0;
const RIGHT: f64 = 760.0;
const LINE: f64 = 21.0;

/// A row as it is drawn: always so that more is better.
struct Mark<'a> {
    row: &'a Row,
    times: f64,
    spread: Option<[f64; 2]>,
    wanted: Option<f64>,
}

impl<'a> Mark<'a> {
    fn of(row: &'a Row) -> Option<Self> {
        row.peer?;
        // Shares of a hundred have a picture of their own, where one sees more.
        if row.unit == "%" {
            return None;
        }
        let is_lower = row.better == "lower";
        let turned = |ratio: f64| if is_lower { 1.0 / ratio } else { ratio };
        let spread =
            row.spread.map(|[low, high]| if is_lower { [1.0 / high, 1.0 / low] } else { [low, high] });
        let wanted = (row.target_of == "ratio").then(|| turned(row.target));
        let times = turned(row.ratio);
        times.is_finite().then_some(Self { row, times, spread, wanted })
    }
}

/// The picture; empty where no row has a peer.
pub(super) fn svg(rows: &[Row]) -> String {
    let marks: Vec<Mark<'_>> = rows.iter().filter_map(Mark::of).collect();
    let mut peers: Vec<&str> = Vec::new();
    for mark in &marks {
        if !peers.contains(&mark.row.peer_name.as_str()) {
            peers.push(&mark.row.peer_name);
        }
    }
    if peers.is_empty() {
        return String::new();
    }
    let figures = marks.iter().flat_map(|mark| {
        [
            Some(mark.times),
            mark.wanted,
            mark.spread.map(|spread| spread[0]),
            mark.spread.map(|spread| spread[1]),
        ]
    });
    let across = Range::over(figures.flatten().chain([0.5, 2.0]), Scale::Log, (LEFT, RIGHT));
    let top = 44.0;
    let bottom = top + (marks.len() as f64 + 1.5 * peers.len() as f64) * LINE;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", bottom + 30.0);
    legend(&mut svg);
    for tick in across.ticks(9) {
        let place = across.place(tick);
        let class = if (tick - 1.0).abs() < 1e-9 { "even" } else { "grid" };
        let _ = write!(
            svg,
            "<line class=\"{class}\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{top}\" y2=\"{bottom:.1}\"/>\
             <text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} x</text>",
            bottom + 18.0,
            short(tick)
        );
    }
    let mut y = top;
    for peer in peers {
        y += LINE * 1.5;
        let _ =
            write!(svg, "<text class=\"group\" x=\"8\" y=\"{:.1}\">beside {}</text>", y - 4.0, escaped(peer));
        for mark in marks.iter().filter(|mark| mark.row.peer_name == peer) {
            draw(&mut svg, mark, &across, y + LINE / 2.0);
            y += LINE;
        }
    }
    svg.push_str("</svg>");
    svg
}

fn legend(svg: &mut String) {
    let _ = write!(
        svg,
        "<circle class=\"ours\" cx=\"{LEFT}\" cy=\"14\" r=\"5\"/><text x=\"{}\" y=\"18\">target met</text>\
         <circle class=\"limit\" cx=\"{}\" cy=\"14\" r=\"5\"/><text x=\"{}\" y=\"18\">missed</text>\
         <line class=\"wanted\" x1=\"{}\" x2=\"{}\" y1=\"7\" y2=\"21\"/><text x=\"{}\" y=\"18\">target</text>\
         <line class=\"spread ours\" x1=\"{}\" x2=\"{}\" y1=\"14\" y2=\"14\"/><text x=\"{}\" y=\"18\">lowest to highest \
         round</text>",
        LEFT + 10.0,
        LEFT + 100.0,
        LEFT + 110.0,
        LEFT + 176.0,
        LEFT + 176.0,
        LEFT + 184.0,
        LEFT + 240.0,
        LEFT + 270.0,
        LEFT + 278.0,
    );
}

fn draw(svg: &mut String, mark: &Mark<'_>, across: &Range, y: f64) {
    let Mark { row, times, spread, wanted } = mark;
    let class = if row.met { "ours" } else { "limit" };
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
        LEFT - 10.0,
        y + 4.0,
        escaped(&row.name)
    );
    if let Some([low, high]) = spread {
        let _ = write!(
            svg,
            "<line class=\"spread {class}\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            across.place(*low),
            across.place(*high)
        );
    }
    if let Some(wanted) = wanted {
        let x = across.place(*wanted);
        let _ = write!(
            svg,
            "<line class=\"wanted\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            y - 7.0,
            y + 7.0
        );
    }
    let _ = write!(
        svg,
        "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>\
         <text class=\"name {class}\" x=\"{}\" y=\"{:.1}\">{} x</text>",
        across.place(*times),
        RIGHT + 12.0,
        y + 4.0,
        short(*times)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Target, Unit};

    #[test]
    fn half_the_time_is_twice_as_good_and_half_the_throughput_half_as_good() {
        let row = |unit| Row::beside("x", unit, Target::Ratio(0.25), 2.0, ("peer", 4.0));
        let (faster, slower) = (row(Unit::Micros), row(Unit::PerSecond));
        let (faster, slower) = (Mark::of(&faster).unwrap(), Mark::of(&slower).unwrap());
        assert_eq!((faster.times, faster.wanted), (2.0, Some(4.0)));
        assert_eq!((slower.times, slower.wanted), (0.5, Some(0.25)));
    }

    #[test]
    fn rows_stand_under_their_peer_and_those_without_one_are_left_out() {
        let rows = [
            Row::beside("a", Unit::Micros, Target::Ratio(1.0), 2.0, ("redb", 4.0)),
            Row::counted("alone", Unit::Loads, 1.0, 1.0),
            Row::beside("b", Unit::Micros, Target::Ratio(1.0), 4.0, ("foyer", 2.0)),
        ];
        let svg = svg(&rows);
        assert!(svg.contains("beside redb") && svg.contains("beside foyer") && !svg.contains("alone"));
        assert_eq!(svg.matches("class=\"name limit\"").count(), 1, "b misses its target");
        assert!(super::svg(&rows[1..2]).is_empty());
    }
}
