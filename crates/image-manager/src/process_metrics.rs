//! Resources that the process uses, under the names that Prometheus' client libraries give it. Linux only.

use std::fs;
use std::time::SystemTime;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use rustix::process::{Resource, getrlimit};

/// Units of the times in `/proc/self/stat` in a second: part of Linux' interface.
const TICKS_A_SECOND: u64 = 100;

/// Describes the metrics and sets those that stay as they are.
pub(crate) fn describe() {
    describe_counter!("process_cpu_seconds_total", "Time of processors that the process has used.");
    describe_gauge!("process_resident_memory_bytes", "Memory that the process holds.");
    describe_gauge!("process_threads", "Threads of the process.");
    describe_gauge!("process_open_fds", "Open files and connections of the process.");
    describe_gauge!("process_max_fds", "Most files and connections that the process may open.");
    describe_gauge!("process_start_time_seconds", "When the process started, in seconds since 1970.");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    gauge!("process_start_time_seconds").set(now.as_secs_f64());
}

/// Sets the metrics to their present values. A figure that cannot be read keeps its last value.
pub(crate) fn update() {
    if let Some(ticks) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_ticks) {
        counter!("process_cpu_seconds_total").absolute(ticks / TICKS_A_SECOND);
    }
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        if let Some(kilobytes) = field(&status, "VmRSS:") {
            gauge!("process_resident_memory_bytes").set(kilobytes as f64 * 1024.0);
        }
        if let Some(threads) = field(&status, "Threads:") {
            gauge!("process_threads").set(threads as f64);
        }
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // Reading the directory opens it.
        gauge!("process_open_fds").set(files.count().saturating_sub(1) as f64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        gauge!("process_max_fds").set(most as f64);
    }
}

/// Returns the number behind `name` in `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the sum of the times in user and kernel mode in `/proc/self/stat`, fields 14 and 15.
fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second field is the command's name in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_where_linux_puts_them() {
        assert_eq!(field("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t7\n", "VmRSS:"), Some(2048));
        let stat = "1 (a) b) S 2 3 4 5 6 7 8 9 10 11 1200 34 0 0 20 0 7";
        assert_eq!(cpu_ticks(stat), Some(1234));
        assert!(cpu_ticks(&fs::read_to_string("/proc/self/stat").unwrap()).is_some());
    }
}
