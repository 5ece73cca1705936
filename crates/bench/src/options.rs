//! What the command line asks for.

use std::path::PathBuf;

use anyhow::ensure;
use pico_args::Arguments;

use crate::Outcome;
use crate::interleave::Plan;

/// The names of the groups of rows.
pub const GROUPS: [&str; 7] = ["disk", "facade", "redis", "peers", "http", "workloads", "application"];

/// What to run, and where to write the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Fewer rounds and smaller data. Default: false.
    pub quick: bool,
    /// The one group to run. Default: all of them.
    pub only: Option<String>,
    /// Where the rows go as JSON. Default: nowhere.
    pub json: Option<PathBuf>,
    /// The folder of the report with plots. Default: none is written.
    pub report: Option<PathBuf>,
    /// The Markdown page whose sections are written anew. Default: none.
    pub page: Option<PathBuf>,
    /// Lookups of an application to repeat, as CSV: time,key,size. Default: none.
    pub trace: Option<PathBuf>,
}

/// How the program is called.
pub const USAGE: &str = "bench [--quick] [--only disk|facade|redis|peers|http|workloads|application] [--trace FILE] [--json FILE] \
                         [--report FOLDER] [--page FILE]";

impl Options {
    /// Reads the program's arguments.
    ///
    /// # Errors
    /// Names the argument that is not understood.
    pub fn parse(mut arguments: Arguments) -> Outcome<Self> {
        let options = Self {
            quick: arguments.contains("--quick"),
            only: arguments.opt_value_from_str("--only")?,
            json: arguments.opt_value_from_str("--json")?,
            report: arguments.opt_value_from_str("--report")?,
            page: arguments.opt_value_from_str("--page")?,
            trace: arguments.opt_value_from_str("--trace")?,
        };
        let rest = arguments.finish();
        ensure!(rest.is_empty(), "unknown arguments {rest:?}; {USAGE}");
        let known = GROUPS.iter().any(|group| options.wants(group));
        ensure!(known, "--only takes one of {}", GROUPS.join(", "));
        Ok(options)
    }

    /// Whether `group` is to run.
    pub fn wants(&self, group: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == group)
    }

    /// How long to measure.
    pub fn plan(&self) -> Plan {
        if self.quick { Plan::QUICK } else { Plan::FULL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Outcome<Options> {
        Options::parse(Arguments::from_vec(line.split_whitespace().map(Into::into).collect()))
    }

    #[test]
    fn arguments_are_understood_or_named() {
        let expected = Options {
            quick: true,
            only: Some("disk".to_owned()),
            json: Some("x.json".into()),
            report: None,
            page: None,
            trace: Some("y.csv".into()),
        };
        assert_eq!(parse("--quick --only disk --json x.json --trace y.csv").unwrap(), expected);
        assert!(parse("").unwrap().wants("facade") && !expected.wants("facade"));
        for wrong in ["--fast", "--only", "--only peer", "--json", "--trace", "--report"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
