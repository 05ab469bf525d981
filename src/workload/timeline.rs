//! How a run went over its time: steps and their latencies, slice by slice.
//!
//! The number of slices is bounded: when a run outlasts them, neighbours are joined and each is twice as
//! long. So an hour costs as much memory as a second.

/// Most slices.
const SLICES: usize = 256;
/// Length of a slice to begin with, as a power of two of nanoseconds: about a millisecond.
const SHORTEST: u32 = 20;

/// Steps over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    shift: u32,
    slices: Vec<Slice>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Slice {
    steps: u64,
    /// Of the latencies, in nanoseconds.
    sum: u64,
}

/// One slice of a timeline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// When it began, in seconds since the run began.
    pub at: f64,
    /// Steps a second.
    pub rate: f64,
    /// The mean latency of its steps, in nanoseconds; zero if there were none.
    pub mean: f64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            shift: SHORTEST,
            slices: Vec::new(),
        }
    }
}

impl Timeline {
    /// A step that ended so long after the run began, and took so long.
    #[inline]
    pub fn record(&mut self, at_ns: u64, took_ns: u64) {
        let mut slice = at_ns >> self.shift;
        while slice >= SLICES as u64 {
            self.coarsen();
            slice = at_ns >> self.shift;
        }
        let slice = slice as usize;
        if slice >= self.slices.len() {
            self.slices.resize(slice + 1, Slice::default());
        }
        let slice = &mut self.slices[slice];
        slice.steps += 1;
        slice.sum = slice.sum.saturating_add(took_ns);
    }

    /// Takes the steps of another, which began at the same time, in.
    pub fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        while self.shift < other.shift {
            self.coarsen();
        }
        while other.shift < self.shift {
            other.coarsen();
        }
        let length = self.slices.len().max(other.slices.len());
        self.slices.resize(length, Slice::default());
        for (slice, other) in self.slices.iter_mut().zip(other.slices) {
            *slice = slice.and(other);
        }
    }

    /// Slice by slice. The last is left out if there are others: it ended when the run did.
    pub fn moments(&self) -> impl Iterator<Item = Moment> {
        let seconds = (1_u64 << self.shift) as f64 / 1e9;
        let whole = self.slices.len().saturating_sub(1).max(1);
        let slices = self.slices.iter().take(whole).enumerate();
        slices.map(move |(index, slice)| Moment {
            at: index as f64 * seconds,
            rate: slice.steps as f64 / seconds,
            mean: slice.sum as f64 / slice.steps.max(1) as f64,
        })
    }

    fn coarsen(&mut self) {
        self.shift += 1;
        let pairs = self.slices.chunks(2);
        self.slices = pairs
            .map(|pair| {
                pair.iter()
                    .fold(Slice::default(), |sum, slice| sum.and(*slice))
            })
            .collect();
    }
}

impl Slice {
    fn and(self, other: Self) -> Self {
        Self {
            steps: self.steps + other.steps,
            sum: self.sum.saturating_add(other.sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_a_run_is_no_step_is_lost() {
        let mut timeline = Timeline::default();
        let mut at = 1;
        for _ in 0..50 {
            timeline.record(at, 10);
            at += at / 2 + 1;
        }
        let mut other = Timeline::default();
        other.record(5, 30);
        other.add(&timeline);
        assert!(other.slices.len() <= SLICES);
        let steps: u64 = other.slices.iter().map(|slice| slice.steps).sum();
        let sum: u64 = other.slices.iter().map(|slice| slice.sum).sum();
        assert_eq!((steps, sum), (51, 530));
    }

    #[test]
    fn a_moment_tells_rate_and_mean() {
        let mut timeline = Timeline::default();
        for at in [0, 1, (1 << SHORTEST) + 1] {
            timeline.record(at, 100 * (at + 1).min(3));
        }
        let moments: Vec<_> = timeline.moments().collect();
        assert_eq!(moments.len(), 1);
        assert!((moments[0].mean - 150.0).abs() < 1e-9);
        assert!((moments[0].rate - 2.0 * 1e9 / f64::from(1 << SHORTEST)).abs() < 1e-6);
    }
}
