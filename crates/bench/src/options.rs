//! What the command line asks for.

use std::path::PathBuf;

use crate::Outcome;
use crate::interleave::Plan;

/// A group of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The disk backend.
    Disk,
    /// The facade.
    Facade,
    /// The Redis backend.
    Redis,
    /// Other caches.
    Peers,
    /// What an application does: mixes, traces, space, clearing, many tasks at once.
    Workloads,
}

/// The names of all groups.
const GROUPS: [(&str, Group); 5] = [
    ("disk", Group::Disk),
    ("facade", Group::Facade),
    ("redis", Group::Redis),
    ("peers", Group::Peers),
    ("workloads", Group::Workloads),
];

/// What to run, and where to write the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Fewer rounds and smaller data. Default: false.
    pub quick: bool,
    /// The one group to run. Default: all of them.
    pub only: Option<Group>,
    /// Where the rows go as JSON. Default: nowhere.
    pub json: Option<PathBuf>,
    /// The folder of the report with plots. Default: none is written.
    pub report: Option<PathBuf>,
    /// Lookups of an application to repeat, as CSV: time,key,size. Default: none.
    pub trace: Option<PathBuf>,
}

/// How the program is called.
pub const USAGE: &str = "bench [--quick] [--only disk|facade|redis|peers|workloads] [--trace FILE] [--json FILE] [--report FOLDER]";

impl Options {
    /// Reads the program's arguments.
    ///
    /// # Errors
    /// Names the argument that is not understood.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Outcome<Self> {
        let mut options = Self::default();
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--only" => {
                    let name = rest.next().unwrap_or_default();
                    let group = GROUPS.iter().find(|(known, _)| *known == name);
                    let (_, group) = group.ok_or_else(|| {
                        format!("--only takes disk, facade, redis, peers or workloads, not {name:?}")
                    })?;
                    options.only = Some(*group);
                }
                "--report" => options.report = Some(rest.next().ok_or("--report takes a folder")?.into()),
                "--trace" => options.trace = Some(rest.next().ok_or("--trace takes a file")?.into()),
                "--json" => options.json = Some(rest.next().ok_or("--json takes a file")?.into()),
                unknown => return Err(format!("unknown argument {unknown:?}; {USAGE}").into()),
            }
        }
        Ok(options)
    }

    /// Whether `group` is to run.
    pub fn wants(&self, group: Group) -> bool {
        self.only.is_none_or(|only| only == group)
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
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_understood_or_named() {
        let expected = Options {
            quick: true,
            only: Some(Group::Disk),
            json: Some("x.json".into()),
            report: None,
            trace: Some("y.csv".into()),
        };
        assert_eq!(parse("--quick --only disk --json x.json --trace y.csv").unwrap(), expected);
        assert!(parse("").unwrap().wants(Group::Facade) && !expected.wants(Group::Facade));
        for wrong in ["--fast", "--only", "--only peer", "--json", "--trace", "--report"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
