//! The arguments of the command, and the variables that the tests of a row get.

use anyhow::{Result, ensure};

use super::rows::Row;
use crate::no_more;

/// Minutes that a run of usual length takes on two cores.
pub(super) const USUAL_MINUTES: f64 = 15.0;

/// How long, from which seed, and which row.
#[derive(Debug, PartialEq)]
pub(super) struct Arguments {
    /// About how long in all. Default: a quarter of an hour.
    pub(super) minutes: f64,
    /// The seed of every random choice. Default: 1.
    pub(super) seed: u64,
    /// Only rows whose name contains this.
    pub(super) only: Option<String>,
}

impl Arguments {
    pub(super) fn parse(mut words: pico_args::Arguments, rows: &[Row]) -> Result<Self> {
        let minutes: f64 = words.opt_value_from_str("--minutes")?.unwrap_or(USUAL_MINUTES);
        ensure!((1.0..=100_000.0).contains(&minutes), "--minutes takes a number from 1 on, not {minutes}");
        let seed = words.opt_value_from_str("--seed")?.unwrap_or(1);
        let arguments = Self { minutes, seed, only: words.opt_value_from_str("--only")? };
        no_more(words)?;
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        let has_row = names.iter().any(|name| arguments.wants(name));
        ensure!(has_row, "--only takes a part of one of these: {}", names.join(", "));
        Ok(arguments)
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|part| name.to_lowercase().contains(&part.to_lowercase()))
    }

    /// The variables of a run: what is `scaled`, and the seed under every name by which a test reads it.
    pub(super) fn environment(&self, scaled: &[(&'static str, f64)]) -> Vec<(&'static str, String)> {
        let times = self.minutes / USUAL_MINUTES;
        let seeds = ["RELIABILITY_SEED", "PROPTEST_RNG_SEED", "SHUTTLE_RANDOM_SEED", "INSTANCES_SEED"];
        let seeds = seeds.into_iter().map(|name| (name, self.seed.to_string()));
        let scaled = scaled.iter().map(|&(name, usual)| {
            let value = match name {
                // A factor; and a step, of which less is more.
                "RELIABILITY_TIMES" => format!("{:.3}", usual * times),
                "CACHE_DISK_IO_STEP" => format!("{:.0}", (usual / times).max(1.0)),
                _ => format!("{:.0}", (usual * times).max(1.0)),
            };
            (name, value)
        });
        seeds.chain(scaled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        let words = line.split_whitespace().map(Into::into).collect();
        Arguments::parse(pico_args::Arguments::from_vec(words), ROWS)
    }

    #[test]
    fn arguments_are_understood_or_named() {
        let expected = Arguments { minutes: 60.0, seed: 7, only: Some("kill".to_owned()) };
        assert_eq!(parse("--minutes 60 --seed 7 --only kill").unwrap(), expected);
        for wrong in
            ["--minutes", "--minutes x", "--minutes 0", "--seed -1", "--only nothing-like-it", "--fast"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_longer_run_tries_more_and_every_test_gets_the_seed() {
        let environment = parse("--minutes 60 --seed 7").unwrap().environment(&[
            ("CACHE_DISK_KILLS", 300.0),
            ("CACHE_DISK_IO_STEP", 2.0),
            ("RELIABILITY_TIMES", 1.5),
        ]);
        let value = |name| &environment.iter().find(|(known, _)| *known == name).unwrap().1;
        assert_eq!([value("CACHE_DISK_KILLS"), value("CACHE_DISK_IO_STEP")], ["1200", "1"]);
        assert_eq!([value("RELIABILITY_TIMES"), value("RELIABILITY_SEED")], ["6.000", "7"]);
    }
}
