//! Lookups of an application to repeat: a CSV of `time,key,size` lines.
//!
//! `time` is a number that never falls (its unit does not matter), `key` any text without a comma, `size` the bytes of its
//! value. A first line `time,key,size` is passed over.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use cache_core::{CacheKey, MEGABYTE};

use crate::Outcome;
use crate::requests::{Mix, Request};

/// Reads the trace in `file`.
///
/// # Errors
/// Names the file, the line and what is wrong with it.
pub fn read(file: &Path) -> Outcome<Mix> {
    let named = || format!("--trace {}", file.display());
    let requests = parse(&std::fs::read_to_string(file).with_context(named)?).with_context(named)?;
    let name = file.file_name().map_or_else(|| "trace".into(), |name| name.to_string_lossy());
    let limit_mb = a_tenth(&requests);
    Ok(Mix { name: format!("trace {name}"), requests, limit_mb })
}

/// A tenth of all that is asked for in MiB, the smallest limit at least.
fn a_tenth(requests: &[Request]) -> u64 {
    let mut sizes = HashMap::new();
    for request in requests {
        if let Request::Read(key, size) = request {
            sizes.insert(key, *size as u64);
        }
    }
    (sizes.values().sum::<u64>() / 10 / MEGABYTE).max(8)
}

fn parse(text: &str) -> Outcome<Vec<Request>> {
    let mut requests = Vec::new();
    let mut last = f64::NEG_INFINITY;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || (number == 1 && line == "time,key,size") {
            continue;
        }
        let wrong = |why: &str| anyhow!("line {number}: {why}: {line:?}");
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [time, key, size] = fields[..] else { return Err(wrong("not time,key,size")) };
        let time: f64 = time.parse().map_err(|_| wrong("the time is no number"))?;
        ensure!(time >= last, wrong("the time falls"));
        last = time;
        let size: usize = size.parse().map_err(|_| wrong("the size is no whole number of bytes"))?;
        let key = CacheKey::builder("trace", key).build().map_err(|error| wrong(&error.to_string()))?;
        requests.push(Request::Read(key, size));
    }
    ensure!(!requests.is_empty(), "there is no line time,key,size in it");
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_in_its_order() {
        let requests = parse("time,key,size\n0.5,a:1,10\n\n0.5, b ,20\n7,a:1,10\n").unwrap();
        let key = |text: &str| CacheKey::builder("trace", text).build().unwrap();
        assert_eq!(requests[0], Request::Read(key("a:1"), 10));
        assert_eq!(requests[1], Request::Read(key("b"), 20));
        assert_eq!(requests.len(), 3);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line, why) in [
            ("", "", "no line"),
            ("1,a", "line 1", "not time,key,size"),
            ("1,a,2,3", "line 1", "not time,key,size"),
            ("x,a,2", "line 1", "the time is no number"),
            ("2,a,2\n1,a,2", "line 2", "the time falls"),
            ("1,a,-2", "line 1", "the size is no whole number"),
            ("1,a,two", "line 1", "the size is no whole number"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(line) && error.contains(why), "{text:?}: {error}");
        }
        let error = read(Path::new("/nowhere/trace.csv")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/trace.csv"), "{error}");
    }
}
