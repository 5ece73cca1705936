//! [`Plot`]: figures to be drawn, by [`report`](crate::report).

/// How a figure becomes a place on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Twice as much is twice as far, from zero on.
    Linear,
    /// Ten times as much is one step.
    Log,
}

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it shows, and in which unit.
    pub label: String,
    /// How.
    pub scale: Scale,
}

impl Axis {
    /// An axis from zero on.
    pub fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear }
    }

    /// A logarithmic axis.
    pub fn log(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Log }
    }
}

/// Who a line belongs to: it decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Ours.
    Ours,
    /// A peer's.
    Peer,
    /// A second peer's.
    OtherPeer,
    /// A bound that must not be passed.
    Limit,
}

/// A line.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it is called, written at its end.
    pub name: String,
    /// Whose it is.
    pub whose: Whose,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

impl Line {
    /// A line of this name.
    pub fn new(name: &str, whose: Whose, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), whose, points }
    }
}

/// Two figures under one name, side by side on one axis.
#[derive(Debug, Clone)]
pub struct Pair {
    /// What was measured.
    pub name: String,
    /// Ours.
    pub ours: f64,
    /// The peer's.
    pub peer: f64,
}

/// What is drawn.
#[derive(Debug, Clone)]
pub enum Marks {
    /// Lines over two axes.
    Lines {
        /// To the right.
        x: Axis,
        /// Upwards.
        y: Axis,
        /// The lines.
        lines: Vec<Line>,
    },
    /// A row for each pair, over one axis.
    Pairs {
        /// To the right.
        x: Axis,
        /// What the peer is called.
        peer: String,
        /// The pairs, from top to bottom.
        pairs: Vec<Pair>,
    },
}

/// A picture.
#[derive(Debug, Clone)]
pub struct Plot {
    /// What it shows, in a few words.
    pub title: String,
    /// How to read it, in one sentence.
    pub note: String,
    /// What is drawn.
    pub marks: Marks,
}
