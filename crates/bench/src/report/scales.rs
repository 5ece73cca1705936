//! From figures to places on an axis, and the round figures to write beside it.

use crate::plot::Scale;

/// An axis that is drawn from one place to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Range {
    /// One that shows all of `values`, drawn from place `from` to place `to`.
    pub(super) fn over(values: impl Iterator<Item = f64>, scale: Scale, (from, to): (f64, f64)) -> Self {
        let shown = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
        let (low, high) = shown
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
        let (low, high) = match scale {
            Scale::Linear => (low.min(0.0), if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Log => (round_down(low), -round_down_negative(high)),
        };
        Self { scale, low, high, from, to }
    }

    /// Where `value` is drawn.
    pub(super) fn place(&self, value: f64) -> f64 {
        let Self { scale, low, high, from, to } = *self;
        let part = match scale {
            Scale::Linear => (value - low) / (high - low),
            Scale::Log => (value.max(low).ln() - low.ln()) / (high.ln() - low.ln()),
        };
        from + part.clamp(0.0, 1.0) * (to - from)
    }

    /// Round figures to write at the axis: about `most` of them.
    pub(super) fn ticks(&self, most: usize) -> Vec<f64> {
        let Self { scale, low, high, .. } = *self;
        let steps: &[f64] = match scale {
            Scale::Linear => {
                let step = round_up((high - low) / most as f64);
                let ticks = (0..=most * 2).map(|number| (low / step).ceil() * step + number as f64 * step);
                return ticks.filter(|tick| *tick <= high * 1.0001).collect();
            }
            Scale::Log if (high / low).log10() * 3.0 <= most as f64 + 1.0 => &[1.0, 2.0, 5.0],
            Scale::Log => &[1.0],
        };
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let ticks = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
        ticks.filter(|tick| *tick >= low * 0.999 && *tick <= high * 1.001).collect()
    }
}

/// The next of 1, 2, 5, 10 ... below or at `value`.
fn round_down(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let leading = value / decade;
    decade
        * if leading >= 5.0 {
            5.0
        } else if leading >= 2.0 {
            2.0
        } else {
            1.0
        }
}

/// The next of 1, 2, 5, 10 ... above or at `value`.
fn round_up(value: f64) -> f64 {
    let below = round_down(value);
    if below >= value { below } else { round_down(below * 2.5) }
}

fn round_down_negative(value: f64) -> f64 {
    -round_up(value)
}

/// A figure in few letters: `1.5k`, `20M`, `0.05`.
pub(super) fn short(value: f64) -> String {
    let (value, suffix) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match value.abs() {
        size if size >= 100.0 || (size - size.round()).abs() < 1e-9 => 0,
        size if size >= 1.0 => 1,
        size if size >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "round figures are exact")]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_zero_and_its_ticks_are_round() {
        let range = Range::over([3.0, 9.0].into_iter(), Scale::Linear, (0.0, 100.0));
        assert_eq!(range.place(0.0), 0.0);
        assert!(range.place(9.0) > 90.0);
        assert_eq!(range.ticks(5), [0.0, 2.0, 4.0, 6.0, 8.0]);
    }

    #[test]
    fn a_log_axis_begins_and_ends_at_round_figures() {
        let range = Range::over([30.0, 900.0].into_iter(), Scale::Log, (100.0, 0.0));
        assert_eq!((range.low, range.high), (20.0, 1000.0));
        assert_eq!((range.place(20.0), range.place(1000.0)), (100.0, 0.0));
        assert_eq!(range.ticks(6).first(), Some(&20.0));
        let wide = Range::over([1.0, 1e6].into_iter(), Scale::Log, (0.0, 1.0));
        assert_eq!(wide.ticks(6).len(), 7);
    }

    #[test]
    fn figures_are_short() {
        let figures = [0.0, 0.05, 1.0, 2.5, 150.0, 9000.0, 20_000.0, 1_500_000.0];
        assert_eq!(figures.map(short), ["0", "0.05", "1", "2.5", "150", "9000", "20k", "1.5M"]);
    }
}
