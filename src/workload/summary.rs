//! Several rounds of one workload on one stack, as one line of figures.

use super::figures::Steps;
use super::{Run, Timeline};
use crate::contract::{Error, Result};

/// A figure over rounds: the middle one, and how far the others lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one; the upper of two.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of these figures; all zero if there are none.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<_> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(0.0);
        Self {
            median: at(figures.len() / 2),
            least: at(0),
            most: at(figures.len().saturating_sub(1)),
        }
    }

    /// How far least and most lie apart, as a share of the median.
    #[must_use]
    pub fn width(&self) -> f64 {
        if self.median == 0.0 {
            return 0.0;
        }
        (self.most - self.least) / self.median
    }
}

/// The rounds of one workload on one stack.
#[derive(Debug, Clone)]
pub struct Summary {
    /// How many rounds.
    pub rounds: usize,
    /// Operations of a round.
    pub ops: u64,
    /// Operations a second.
    pub rate: Spread,
    /// Latencies of the steps of all rounds.
    pub steps: Steps,
    /// How the round in the middle went over its time.
    pub timeline: Timeline,
    /// Bytes written below for each byte handed in; `None` where nothing was handed in.
    pub amplification: Option<f64>,
    /// Syncs of a round.
    pub syncs: Spread,
    /// Processor time of an operation, in microseconds, all threads together.
    pub cpu_us: Spread,
    /// Most memory resident, in bytes.
    pub peak: Spread,
}

impl Summary {
    /// Of these rounds, of which there must be one at least.
    pub fn of(runs: &[Run]) -> Result<Self> {
        let first = runs
            .first()
            .ok_or_else(|| Error::invalid("no round was run"))?;
        let mut steps = first.steps.clone();
        for run in &runs[1..] {
            steps.add(&run.steps)?;
        }
        let mut by_time: Vec<_> = runs.iter().collect();
        by_time.sort_by_key(|run| run.ns);
        let middle = by_time[runs.len() / 2];
        let spread = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure));
        let sum = |figure: fn(&Run) -> u64| runs.iter().map(figure).sum::<u64>();
        let (given, written) = (sum(|run| run.given), sum(|run| run.written.bytes));
        Ok(Self {
            rounds: runs.len(),
            ops: first.ops,
            rate: spread(|run| run.ops as f64 * 1e9 / run.ns as f64),
            steps,
            timeline: middle.timeline.clone(),
            amplification: (given > 0).then(|| written as f64 / given as f64),
            syncs: spread(|run| run.written.syncs as f64),
            cpu_us: spread(|run| run.cpu_ns as f64 / 1e3 / run.ops.max(1) as f64),
            peak: spread(|run| run.peak as f64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.least, spread.most), (2.0, 1.0, 3.0));
        assert!((spread.width() - 1.0).abs() < 1e-9);
        assert!(Spread::of([]).width().abs() < 1e-9);
    }
}
