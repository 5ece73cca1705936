//! [`Server`]: image-manager as a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::Outcome;

/// A server on a free port of this machine. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    process: Child,
}

impl Server {
    /// Starts a server whose data are below `root`, shared by all, and whose cache is in a directory of its own.
    pub(super) fn start(program: &Path, root: &Path, name: &str, settings: &[(&str, &str)]) -> Outcome<Self> {
        let cache = root.join(name);
        std::fs::create_dir(&cache)?;
        let mut command = Command::new(program);
        command.env_clear().current_dir(&cache).stderr(Stdio::piped()).stdout(Stdio::null());
        command.env("BIND", "127.0.0.1:0").env("DATA_DIR", root.join("data")).env("CACHE_DIR", "cache");
        command.envs(settings.iter().copied());
        let mut process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut lines = BufReader::new(process.stderr.take().context("its log is piped")?).lines();
        let mut log = String::new();
        let address = loop {
            let line = lines.next().with_context(|| format!("image-manager does not serve: {log}"))??;
            if let Some((_, address)) = line.split_once("serving http://") {
                break address.trim().parse()?;
            }
            log.push_str(&line);
        };
        // Without a reader the process would wait once the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { address, process })
    }

    /// Its processor time.
    pub(super) fn ticks(&self) -> Outcome<u64> {
        ticks(&self.process.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The processor time of a process, in ticks of the system.
pub(super) fn ticks(process: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the program, in parentheses, may hold spaces.
    let (_, fields) = text.rsplit_once(')').context("a process has a name")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || Outcome::Ok(fields.next().context("a process has times")?.parse::<u64>()?);
    Ok(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn work_takes_processor_time() {
        let (before, started) = (ticks("self").unwrap(), Instant::now());
        let (mut sum, mut taken) = (0_u64, 0);
        while taken < 5 && started.elapsed() < Duration::from_secs(20) {
            sum = (0..100_000).fold(sum, |sum, value| sum.wrapping_mul(31) ^ value);
            taken = ticks("self").unwrap() - before;
        }
        assert!(taken >= 5, "{taken} ticks in {:?}, {sum}", started.elapsed());
    }
}
