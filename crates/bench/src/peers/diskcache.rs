//! Python's diskcache with its LRU policy: a Python process that measures itself, told what to do line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use cache_core::CacheKey;

use super::store::{Place, Store};
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
    output: BufReader<ChildStdout>,
    input: ChildStdin,
}

/// A cache, if there is a Python with diskcache: `PYTHON` names another than `python3`.
pub(super) fn open(place: Place<'_>) -> Outcome<Box<dyn Store>> {
    let program = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(program);
    command
        .args(["-c", SCRIPT])
        .arg(place.directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut python = command.spawn().context("no Python")?;
    let output = BufReader::new(python.stdout.take().context("its output is piped")?);
    let input = python.stdin.take().context("its input is piped")?;
    let mut cache = Diskcache { python, output, input };
    let is_ready = cache.line()?.starts_with("ready 5.");
    ensure!(is_ready, "this Python has no diskcache 5: pip install diskcache==5.6.3");
    Ok(Box::new(cache))
}

impl Diskcache {
    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn ask(&mut self, verb: &str, size: usize, keys: &[&CacheKey]) -> Outcome<Duration> {
        let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
        writeln!(self.input, "{verb} {size} {}", keys.join(" "))?;
        self.input.flush()?;
        let answer = self.line()?;
        let nanos = answer.parse().with_context(|| format!("diskcache answered {answer:?} to {verb}"))?;
        Ok(Duration::from_nanos(nanos))
    }
}

impl Store for Diskcache {
    fn reads(&mut self, keys: &[&CacheKey], expected: usize) -> Outcome<Duration> {
        self.ask("get", expected, keys)
    }

    fn writes(&mut self, entries: &[(&CacheKey, Bytes)]) -> Outcome<Duration> {
        let size = entries.first().map_or(0, |(_, value)| value.len());
        self.ask("set", size, &entries.iter().map(|(key, _)| *key).collect::<Vec<_>>())
    }
}

impl Drop for Diskcache {
    fn drop(&mut self) {
        let _ = self.python.kill();
        let _ = self.python.wait();
    }
}
