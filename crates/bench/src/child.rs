//! [`Child`]: this program as a process of its own, to be killed, or to be measured from outside.

pub mod open;
#[cfg(feature = "peers")]
pub mod write;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use anyhow::{Context, bail};

use crate::Outcome;

/// The first argument of a child.
pub const WORD: &str = "child";

/// Does what the arguments of a child ask for.
///
/// # Errors
/// Those of the work.
pub fn work(words: &[String]) -> Outcome<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["open", directory, entries, page_cache] => {
            open::work(Path::new(directory), entries.parse()?, page_cache.parse()?)
        }
        #[cfg(feature = "peers")]
        ["write", work, store, directory, value_bytes, pause_micros, count] => {
            let (bytes, pause) = (value_bytes.parse()?, pause_micros.parse()?);
            write::work(work, store, Path::new(directory), bytes, pause, count.parse()?)
        }
        _ => bail!("no work for a child: {words:?}"),
    }
}

/// A child at work. It is killed when this is dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts a child.
    pub fn start(words: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(WORD).args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("this program cannot be started again")?;
        let output = BufReader::new(process.stdout.take().context("its output is piped")?);
        Ok(Self { process, output })
    }

    /// Its next line; `None` once it has ended.
    pub fn line(&mut self) -> Outcome<Option<String>> {
        let mut line = String::new();
        // A line without an end was cut off by the kill.
        let read = self.output.read_line(&mut line)?;
        Ok((read > 0 && line.ends_with('\n')).then(|| line.trim().to_owned()))
    }

    /// The number after `name` in its next line.
    pub fn figure(&mut self, name: &str) -> Outcome<f64> {
        let line = self.line()?.with_context(|| format!("a child ended before {name}"))?;
        let value = line.strip_prefix(name).with_context(|| format!("a child said {line:?} for {name}"))?;
        Ok(value.trim().parse()?)
    }

    /// Kills it as a crash would (SIGKILL); its lines can still be read.
    pub fn kill(&mut self) -> Outcome<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Lets it close what it has open, and waits until it has ended.
    pub fn finish(mut self) -> Outcome<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait()?;
        anyhow::ensure!(status.success(), "a child ended with {status}");
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.kill();
    }
}

/// Waits until the parent lets this process end.
fn wait_for_the_parent() {
    let _ = std::io::stdin().lines().count();
}

/// The number after `name` in a file of this process, such as `VmHWM:` in `status`.
fn about_this_process(file: &str, name: &str) -> Outcome<f64> {
    let text = std::fs::read_to_string(format!("/proc/self/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let figure = line.and_then(|line| line.split_whitespace().next());
    Ok(figure.with_context(|| format!("/proc/self/{file} has no {name}"))?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_knows_its_memory_and_names_what_it_does_not_know() {
        assert!(about_this_process("status", "VmHWM:").unwrap() > 100.0);
        assert!(about_this_process("io", "write_bytes:").is_ok());
        assert!(about_this_process("status", "VmNothing:").is_err());
        assert!(work(&["play".to_owned()]).is_err());
    }
}
