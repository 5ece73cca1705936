//! [`Session`]: one run, from the first case to the rows.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Instant;

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
    rows: Vec<Row>,
    plots: Vec<Plot>,
    left_out: Vec<String>,
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

    /// Says on standard error what is being done.
    pub fn doing(&self, what: &str) {
        let mut out = std::io::stderr().lock();
        let elapsed = self.started.elapsed().as_secs();
        // A terminal shows one line that is written over; progress that cannot be shown stops nothing.
        let _ = if out.is_terminal() {
            write!(out, "\r\x1b[2K{elapsed:>4} s  {what} ...").and_then(|()| out.flush())
        } else {
            Ok(())
        };
    }

    /// Measures `case` and keeps its row; what was measured, for a second row of the same.
    pub fn measure(&mut self, spec: &Spec, case: &mut dyn Case) -> Outcome<Measured> {
        self.doing(spec.name);
        let failed = |error| format!("{}: {error}", spec.name);
        let measured = interleave::measure(case, spec.pace, self.plan).map_err(failed)?;
        self.keep(Row::new(spec, &measured));
        Ok(measured)
    }

    /// Keeps a row and says what it says.
    pub fn keep(&mut self, row: Row) {
        let row = Row { group: self.group, ..row };
        self.doing(&row.name);
        let mut out = std::io::stderr().lock();
        let begin = if out.is_terminal() { "\r\x1b[2K" } else { "" };
        let elapsed = self.started.elapsed().as_secs();
        let _ = writeln!(out, "{begin}{elapsed:>4} s  {}: {}", row.name, table::summary(&row));
        self.rows.push(row);
    }

    /// Notes what this machine or this build lacks, and goes on.
    pub fn leave_out(&mut self, what: &str, why: &str) {
        let line = format!("left out: {what}: {why}");
        let mut out = std::io::stderr().lock();
        let begin = if out.is_terminal() { "\r\x1b[2K" } else { "" };
        let _ = writeln!(out, "{begin}{line}");
        self.left_out.push(line);
    }

    /// Keeps a plot for the report.
    pub fn draw(&mut self, plot: Plot) {
        self.plots.push(plot);
    }

    /// The plots so far.
    pub fn plots(&self) -> &[Plot] {
        &self.plots
    }

    /// What was left out, a line each.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The rows so far.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}
