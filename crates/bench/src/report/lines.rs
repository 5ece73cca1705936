//! Lines over two axes, each named where it ends.

use std::fmt::Write;

use super::escaped;
use super::scales::{Range, short};
use crate::plot::{Axis, Line, Whose};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 665.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 290.0;
/// Names of lines keep so far apart.
const APART: f64 = 17.0;

/// The class that gives marks their colour.
fn class(whose: Whose) -> &'static str {
    match whose {
        Whose::Ours => "ours",
        Whose::Peer => "peer",
        Whose::OtherPeer => "other",
        Whose::Limit => "limit",
    }
}

/// The picture.
pub(super) fn svg(x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let across = Range::over(points().map(|point| point.0), x.scale, (LEFT, RIGHT));
    let upwards = Range::over(points().map(|point| point.1), y.scale, (BOTTOM, TOP));
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    for tick in upwards.ticks(6) {
        let place = upwards.place(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{place:.1}\" y2=\"{place:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            place + 4.0,
            short(tick)
        );
    }
    for tick in across.ticks(8) {
        let place = across.place(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>\
             <text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 18.0,
            short(tick)
        );
    }
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"{RIGHT}\" y=\"{}\" text-anchor=\"end\">{}</text>\
         <text class=\"axis\" transform=\"translate(14,{}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        BOTTOM + 40.0,
        escaped(&x.label),
        f64::midpoint(TOP, BOTTOM),
        escaped(&y.label)
    );
    for line in lines {
        let _ = write!(svg, "<polyline class=\"{}\" points=\"", class(line.whose));
        for (at, value) in &line.points {
            let _ = write!(svg, "{:.1},{:.1} ", across.place(*at), upwards.place(*value));
        }
        svg.push_str("\"/>");
        // Few points are marked; of many the line itself is what one sees.
        for (at, value) in line.points.iter().filter(|_| line.points.len() <= 12) {
            let (x, y) = (across.place(*at), upwards.place(*value));
            let _ = write!(
                svg,
                "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>",
                class(line.whose)
            );
        }
    }
    for (line, place) in names(lines, &upwards) {
        let (class, name) = (class(line.whose), escaped(&line.name));
        let _ =
            write!(svg, "<text class=\"name {class}\" x=\"{}\" y=\"{place:.1}\">{name}</text>", RIGHT + 10.0);
    }
    svg.push_str("</svg>");
    svg
}

/// Each line with the height of its name: beside its end, and apart from the others.
fn names<'a>(lines: &'a [Line], upwards: &Range) -> Vec<(&'a Line, f64)> {
    let mut names: Vec<(&Line, f64)> =
        lines.iter().filter_map(|line| Some((line, upwards.place(line.points.last()?.1) + 4.0))).collect();
    names.sort_by(|one, other| one.1.total_cmp(&other.1));
    let mut lowest = f64::NEG_INFINITY;
    for (_, place) in &mut names {
        *place = place.max(lowest + APART);
        lowest = *place;
    }
    // What was pushed below the axis goes up again.
    let mut highest = BOTTOM + 4.0;
    for (_, place) in names.iter_mut().rev() {
        *place = place.min(highest);
        highest = *place - APART;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_lines_that_end_together_do_not_lie_on_each_other() {
        let line = |name: &str, end| Line {
            name: name.to_owned(),
            whose: Whose::Ours,
            points: vec![(1.0, 1.0), (2.0, end)],
        };
        let lines = [line("a", 0.0), line("b", 0.01), line("c", 9.0)];
        let upwards = Range::over([0.0, 9.0].into_iter(), crate::plot::Scale::Linear, (BOTTOM, TOP));
        let places: Vec<f64> = names(&lines, &upwards).into_iter().map(|(_, place)| place).collect();
        assert!(places.windows(2).all(|two| two[1] - two[0] >= APART - 1e-9), "{places:?}");
        assert!(places.iter().all(|place| *place <= BOTTOM + 4.0), "{places:?}");
    }

    #[test]
    fn a_picture_names_its_lines_and_escapes_them() {
        let line = Line { name: "a < b".to_owned(), whose: Whose::Limit, points: vec![(1.0, 2.0)] };
        let svg = svg(&Axis::log("keys"), &Axis::linear("MB"), &[line]);
        assert!(svg.contains("a &lt; b") && svg.contains("class=\"name limit\"") && svg.ends_with("</svg>"));
    }
}
