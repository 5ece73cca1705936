//! What the command line asks for, and what it makes of the numbers that the rows give.

use super::rows::Row;

/// What a run of usual length takes on two cores, in minutes.
pub(super) const USUAL_MINUTES: f64 = 15.0;

/// How long, from which seed, and which row.
#[derive(Debug, PartialEq)]
pub(super) struct Arguments {
    /// About how long in all. Default: a quarter of an hour.
    pub(super) minutes: f64,
    /// What the dice begin with. Default: 1.
    pub(super) seed: u64,
    /// Only rows whose name contains this.
    pub(super) only: Option<String>,
}

impl Arguments {
    pub(super) fn parse(words: &[String], rows: &[Row]) -> Result<Self, String> {
        let mut arguments = Self { minutes: USUAL_MINUTES, seed: 1, only: None };
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--minutes" => {
                    let given = value()?;
                    let minutes = given.parse().ok().filter(|minutes| (1.0..=100_000.0).contains(minutes));
                    arguments.minutes = minutes
                        .ok_or_else(|| format!("--minutes takes a number from 1 on, not {given:?}"))?;
                }
                "--seed" => {
                    let given = value()?;
                    let seed =
                        given.parse().map_err(|_| format!("--seed takes a whole number, not {given:?}"))?;
                    arguments.seed = seed;
                }
                "--only" => arguments.only = Some(value()?.clone()),
                unknown => {
                    return Err(format!(
                        "reliability does not know {unknown}; `cargo xtask help` lists its arguments"
                    ));
                }
            }
        }
        if !rows.iter().any(|row| arguments.wants(row.name)) {
            let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
            return Err(format!("--only takes a part of one of these: {}", names.join(", ")));
        }
        Ok(arguments)
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|part| name.to_lowercase().contains(&part.to_lowercase()))
    }

    /// The variables of a run: what is `scaled`, and the seed under every name that somebody reads it by.
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

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), ROWS)
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
