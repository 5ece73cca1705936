//! The growth of a process: its memory over time.

use std::fs;

/// Returns the resident memory of a process, in bytes.
///
/// # Panics
/// When there is no such process.
pub fn resident_bytes(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number of kilobytes") * 1024.0
}

/// Estimates the growth of a process in bytes from samples of (seconds, bytes): twice the growth in the half of the time in
/// which it grew less.
///
/// A leak grows all the time. Values that wait for a stalled disk make a single step, which the allocator keeps.
pub fn growth(samples: &[(f64, f64)]) -> f64 {
    let (first, second) = samples.split_at(samples.len() / 2);
    2.0 * rise(first).min(rise(second))
}

/// Returns the rise of the least-squares line through all samples, from the first to the last.
fn rise(samples: &[(f64, f64)]) -> f64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return 0.0 };
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (at, bytes) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let above: f64 = samples.iter().map(|sample| (sample.0 - at) * (sample.1 - bytes)).sum();
    let below: f64 = samples.iter().map(|sample| (sample.0 - at).powi(2)).sum();
    above / below * (last.0 - first.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_growth_and_a_step_is_not() {
        let samples =
            |bytes: fn(f64) -> f64| (0..100).map(|at| (f64::from(at), bytes(f64::from(at)))).collect();
        let (slope, step): (Vec<_>, Vec<_>) =
            (samples(|at| at * 10.0), samples(|at| if at < 20.0 { 0.0 } else { 1e6 }));
        assert!((growth(&slope) - 980.0).abs() < 1.0);
        assert!(growth(&step) < 1.0);
    }
}
