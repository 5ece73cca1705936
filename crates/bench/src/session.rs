//! [`Session`]: one run, from the first case to the rows.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::runtime::Runtime;

use crate::case::{Case, Spec};
use crate::interleave::{self, Measured, Plan};
use crate::plot::Plot;
use crate::row::Row;
use crate::{Outcome, table};

/// A run.
#[derive(Debug)]
pub struct Session {
    /// How long to measure.
    pub plan: Plan,
    /// Smaller data.
    pub quick: bool,
    /// Where everything asynchronous runs.
    pub runtime: Arc<Runtime>,
    group: &'static str,
    /// The rows so far.
    pub rows: Vec<Row>,
    /// The plots for the report.
    pub plots: Vec<Plot>,
    /// What was left out, a line each.
    pub left_out: Vec<String>,
    started: Instant,
}

impl Session {
    /// A run without rows yet.
    pub fn new(plan: Plan, quick: bool) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (rows, plots, left_out) = Default::default();
        let (runtime, started) = (Arc::new(runtime), Instant::now());
        Ok(Self { plan, quick, runtime, group: "", rows, plots, left_out, started })
    }

    /// From now on rows belong to the group of this name.
    pub fn begin(&mut self, group: &'static str) {
        self.group = group;
    }

    /// Shows on standard error what is being done.
    pub fn doing(&self, what: &str) {
        // A terminal shows one line that is written over; elsewhere only results are shown.
        if std::io::stderr().is_terminal() {
            eprint!("{CLEAR}{:>4} s  {what} ...", self.started.elapsed().as_secs());
        }
    }

    /// Measures `case` and keeps its row; returns the measurement, for a second row of it.
    pub fn measure(&mut self, spec: &Spec, case: &mut dyn Case) -> Outcome<Measured> {
        self.doing(spec.name);
        let measured = interleave::measure(case, spec.pace, self.plan).context(spec.name)?;
        self.keep(Row::new(spec, &measured));
        Ok(measured)
    }

    /// Keeps a row and shows it.
    pub fn keep(&mut self, row: Row) {
        let elapsed = self.started.elapsed().as_secs();
        show(&format!("{elapsed:>4} s  {}: {}", row.name, table::summary(&row)));
        self.rows.push(Row { group: self.group, ..row });
    }

    /// Notes what this machine or this build lacks, and goes on.
    pub fn leave_out(&mut self, what: &str, why: &str) {
        let line = format!("left out: {what}: {why}");
        show(&line);
        self.left_out.push(line);
    }
}

/// Returns to the beginning of a terminal's line and clears it.
const CLEAR: &str = "\r\x1b[2K";

/// Shows a line on standard error, in place of the progress.
fn show(line: &str) {
    let clear = if std::io::stderr().is_terminal() { CLEAR } else { "" };
    eprintln!("{clear}{line}");
}
