//! Python's diskcache with its LRU policy: a Python process that measures itself, told what to do line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::CacheKey;
use tokio::runtime::Runtime;

use super::Peer;
use crate::Outcome;

/// Answers each line with nanoseconds. What it stores is of the length it is told; the bytes are its own.
const SCRIPT: &str = "
import os, sys, time
import diskcache
cache = diskcache.Cache(sys.argv[1], size_limit=1 << 30, eviction_policy='least-recently-used')
print('ready', diskcache.__version__, flush=True)
values = {}
for line in sys.stdin:
    verb, size, *keys = line.split()
    size = int(size)
    value = values.setdefault(size, os.urandom(size))
    found = 0
    start = time.perf_counter_ns()
    if verb == 'get':
        for key in keys:
            found += len(cache.get(key, b''))
    else:
        for key in keys:
            cache.set(key, value)
            found += size
    taken = time.perf_counter_ns() - start
    print(taken if found == size * len(keys) else 'wrong', flush=True)
";

struct Diskcache {
    python: Child,
    says: BufReader<ChildStdout>,
    hears: ChildStdin,
}

/// An empty cache in `directory`, if there is a Python with diskcache: `PYTHON` names another than `python3`.
pub(super) fn open(_: &Arc<Runtime>, directory: &Path) -> Outcome<Box<dyn Peer>> {
    let program = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(program);
    command
        .args(["-c", SCRIPT])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut python = command.spawn().map_err(|error| format!("no Python: {error}"))?;
    let says = BufReader::new(python.stdout.take().ok_or("its output is piped")?);
    let hears = python.stdin.take().ok_or("its input is piped")?;
    let mut cache = Diskcache { python, says, hears };
    if !cache.line()?.starts_with("ready 5.") {
        return Err("this Python has no diskcache 5: pip install diskcache==5.6.3".into());
    }
    Ok(Box::new(cache))
}

impl Diskcache {
    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn ask<'a>(
        &mut self,
        verb: &str,
        size: usize,
        keys: impl Iterator<Item = &'a CacheKey>,
    ) -> Outcome<Duration> {
        let mut line = format!("{verb} {size}");
        for key in keys {
            line.push(' ');
            line.push_str(key.as_str());
        }
        writeln!(self.hears, "{line}")?;
        self.hears.flush()?;
        let answer = self.line()?;
        let nanos = answer.parse().map_err(|_| format!("diskcache answered {answer:?} to {verb}"))?;
        Ok(Duration::from_nanos(nanos))
    }
}

impl Peer for Diskcache {
    fn reads(&mut self, keys: &[&CacheKey], expected: usize) -> Outcome<Duration> {
        self.ask("get", expected, keys.iter().copied())
    }

    fn writes(&mut self, entries: &[(&CacheKey, Bytes)]) -> Outcome<Duration> {
        let size = entries.first().map_or(0, |(_, value)| value.len());
        self.ask("set", size, entries.iter().map(|(key, _)| *key))
    }
}

impl Drop for Diskcache {
    fn drop(&mut self) {
        let _ = self.python.kill();
        let _ = self.python.wait();
    }
}
