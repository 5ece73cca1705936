//! Two figures for each name, side by side on one axis.

use std::fmt::Write;

use super::escaped;
use super::scales::{Range, short};
use crate::plot::{Axis, Pair};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 34.0;
const ROW: f64 = 28.0;

/// The picture: ours a full circle within the peer's ring.
pub(super) fn svg(x: &Axis, peer: &str, pairs: &[Pair]) -> String {
    let bottom = TOP + pairs.len() as f64 * ROW;
    let figures = pairs.iter().flat_map(|pair| [pair.ours, pair.peer]);
    let across = Range::over(figures, x.scale, (LEFT, RIGHT));
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", bottom + 44.0);
    let _ = write!(
        svg,
        "<circle class=\"ours\" cx=\"{LEFT}\" cy=\"12\" r=\"5\"/><text x=\"{}\" y=\"16\">ours</text>\
         <circle class=\"ring peer\" cx=\"{}\" cy=\"12\" r=\"8\"/><text x=\"{}\" y=\"16\">{}</text>\
         <text class=\"axis\" x=\"{}\" y=\"16\">ours / {}</text>",
        LEFT + 12.0,
        LEFT + 70.0,
        LEFT + 84.0,
        escaped(peer),
        RIGHT + 14.0,
        escaped(peer),
    );
    for tick in across.ticks(8) {
        let place = across.place(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            short(tick)
        );
    }
    for (number, Pair { name, ours, peer }) in pairs.iter().enumerate() {
        let y = TOP + (number as f64 + 0.5) * ROW;
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <circle class=\"ring peer\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"8\"/>\
             <circle class=\"ours\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>\
             <text x=\"{}\" y=\"{:.1}\">{ours:.2} / {peer:.2}</text>",
            LEFT - 12.0,
            y + 4.0,
            escaped(name),
            across.place(*peer),
            across.place(*ours),
            RIGHT + 14.0,
            y + 4.0,
        );
    }
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"{RIGHT}\" y=\"{}\" text-anchor=\"end\">{}</text></svg>",
        bottom + 38.0,
        escaped(&x.label)
    );
    svg
}
