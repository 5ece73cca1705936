//! [`Row`]: what a run says about one case.

use serde::Serialize;

use crate::case::{Spec, Target, Unit};
use crate::interleave::Measured;

/// One line of the table, and one object of the JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The group it belongs to: one of [`GROUPS`](crate::options::GROUPS).
    pub group: &'static str,
    /// What was measured.
    pub name: String,
    /// Our figure in `unit`: the median.
    pub ours: f64,
    /// The peer's; `None` where there is none.
    pub peer: Option<f64>,
    /// The peer's name.
    pub peer_name: String,
    /// What both are given in.
    pub unit: &'static str,
    /// Which is better, `lower` or `higher`.
    pub better: &'static str,
    /// Ours / the peer's, or ours where there is none.
    pub ratio: f64,
    /// The lowest and the highest ratio of a round.
    pub spread: Option<[f64; 2]>,
    /// What is to be reached.
    pub target: f64,
    /// What `target` is held against: `ratio`, `ours`, or `difference` (ours - peer).
    pub target_of: &'static str,
    /// Whether it was reached.
    pub met: bool,
    /// What the row's reader has to know; empty if it is nothing.
    pub note: String,
}

impl Row {
    /// The row of what was measured.
    pub fn new(spec: &Spec, measured: &Measured) -> Self {
        let (ours, peer) = (measured.ours(spec.unit), measured.peer(spec.unit));
        Self {
            peer_name: spec.peer_name.to_owned(),
            spread: Some(measured.spread(spec.unit)),
            note: spec.note.to_owned(),
            ..Self::of(spec.name, spec.unit, spec.target, ours, Some(peer))
        }
    }

    /// The row of a figure that has no peer.
    pub fn counted(name: &str, unit: Unit, ours: f64, target: f64) -> Self {
        Self::of(name, unit, Target::Ours(target), ours, None)
    }

    /// The row of a figure that was counted on both sides, once.
    pub fn beside(name: &str, unit: Unit, target: Target, ours: f64, (peer_name, peer): (&str, f64)) -> Self {
        Self { peer_name: peer_name.to_owned(), ..Self::of(name, unit, target, ours, Some(peer)) }
    }

    /// Says in the row what its reader has to know.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    fn of(name: &str, unit: Unit, target: Target, ours: f64, peer: Option<f64>) -> Self {
        let ratio = peer.map_or(ours, |peer| ours / peer);
        let (target_of, held, target) = match target {
            Target::Ratio(target) => ("ratio", ratio, target),
            Target::Ours(target) => ("ours", ours, target),
            Target::Difference(target) => ("difference", ours - peer.unwrap_or(0.0), target),
        };
        let lower = unit.lower_is_better();
        Self {
            group: "",
            name: name.to_owned(),
            ours,
            peer,
            peer_name: String::new(),
            unit: unit.name(),
            better: if lower { "lower" } else { "higher" },
            ratio,
            spread: None,
            target,
            target_of,
            // What is not a number meets nothing.
            met: if lower { held <= target } else { held >= target },
            note: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(unit: Unit, target: Target, ours: f64, peer: f64) -> bool {
        Row::of("x", unit, target, ours, Some(peer)).met
    }

    #[test]
    fn a_target_is_held_against_what_it_names() {
        assert!(met(Unit::Micros, Target::Ratio(1.0), 2.0, 2.0));
        assert!(!met(Unit::Micros, Target::Ratio(1.0), 2.1, 2.0));
        assert!(met(Unit::PerSecond, Target::Ours(50.0), 50.0, 99.0));
        assert!(!met(Unit::PerSecond, Target::Ours(50.0), 49.0, 9.0));
        assert!(met(Unit::Micros, Target::Difference(0.5), 2.5, 2.0));
        assert!(!met(Unit::Micros, Target::Difference(0.5), 2.6, 2.0));
        assert!(!met(Unit::Micros, Target::Ratio(1.0), f64::NAN, 2.0));
    }

    #[test]
    fn a_row_has_the_fields_that_readers_of_the_json_expect() {
        let row = serde_json::to_value(Row::counted("stampede", Unit::LOADS, 1.0, 1.0)).unwrap();
        let names: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "group",
            "name",
            "ours",
            "peer",
            "peer_name",
            "unit",
            "better",
            "ratio",
            "spread",
            "target",
            "target_of",
            "met",
            "note",
        ];
        assert!(expected.iter().all(|name| names.contains(name)) && names.len() == expected.len());
        assert_eq!((&row["peer"], &row["met"]), (&serde_json::Value::Null, &true.into()));
    }
}
