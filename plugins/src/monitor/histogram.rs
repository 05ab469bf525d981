//! Times in buckets that grow with the time: eight for each doubling, so a quantile is off by an
//! eighth at most. The layout is that of an HDR histogram of one significant digit; the cells are
//! atomic, so that any thread records in one of them without a lock, and the room is fixed.

use std::sync::atomic::{AtomicU64, Ordering};

const SUB_BITS: u32 = 3;
/// Doublings up to 2^40 ns, eighteen minutes; longer times count as that.
const DOUBLINGS: u32 = 40;
const BUCKETS: usize = ((DOUBLINGS - SUB_BITS + 1) as usize) << SUB_BITS;

/// How often each time was seen.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: Box<[AtomicU64; BUCKETS]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            buckets: Box::new(std::array::from_fn(|_| AtomicU64::new(0))),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self, ns: u64) {
        self.buckets[bucket_of(ns)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(ns, Ordering::Relaxed);
        self.max.fetch_max(ns, Ordering::Relaxed);
    }

    /// What was seen so far, to be asked several things.
    pub(super) fn taken(&self) -> Taken {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let counts: Vec<u64> = self.buckets.iter().map(load).collect();
        Taken {
            all: counts.iter().sum(),
            counts,
            sum: load(&self.sum),
            max: load(&self.max),
        }
    }
}

/// A histogram as it was at one moment.
#[derive(Debug)]
pub(super) struct Taken {
    counts: Vec<u64>,
    /// How many times.
    pub(super) all: u64,
    /// Their sum.
    pub(super) sum: u64,
    /// The longest.
    pub(super) max: u64,
}

impl Taken {
    /// The time that this many in a thousand did not exceed, rounded up to the end of its bucket but
    /// never over the longest. `None` if nothing was timed.
    pub(super) fn quantile(&self, per_mille: u64) -> Option<u64> {
        let wanted = (self.all * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(end_of(found).min(self.max))
    }

    /// Each bucket that is not empty: the longest time that falls into it, and how many did. What was seen
    /// between two moments is the difference of two such lists.
    pub(super) fn filled(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let filled = self.counts.iter().enumerate();
        let filled = filled.filter(|(_, count)| **count > 0);
        filled.map(|(bucket, count)| (end_of(bucket), *count))
    }

    /// How many were shorter than each power of two from 2^`from` up to 2^`to`, `step` powers apart.
    pub(super) fn below_powers(
        &self,
        from: u32,
        to: u32,
        step: usize,
    ) -> impl Iterator<Item = (u64, u64)> + '_ {
        (from..=to).step_by(step).map(|power| {
            let end = 1u64 << power;
            let count = self.counts[..bucket_of(end)].iter().sum();
            (end, count)
        })
    }
}

fn bucket_of(ns: u64) -> usize {
    if ns < 1 << SUB_BITS {
        return ns as usize;
    }
    let doubling = ns.ilog2() - SUB_BITS;
    let sub = (ns >> doubling) as usize - (1 << SUB_BITS);
    ((((doubling + 1) as usize) << SUB_BITS) + sub).min(BUCKETS - 1)
}

/// The largest time that falls into a bucket.
fn end_of(bucket: usize) -> u64 {
    let sub = bucket as u64 & ((1 << SUB_BITS) - 1);
    match (bucket >> SUB_BITS) as u32 {
        0 => sub,
        doubling => (((1 << SUB_BITS) + sub + 1) << (doubling - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap_or_overlap() {
        for bucket in 0..BUCKETS - 1 {
            let end = end_of(bucket);
            assert_eq!(bucket_of(end), bucket, "end of {bucket}");
            assert_eq!(bucket_of(end + 1), bucket + 1, "after {bucket}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_off_by_an_eighth_at_most() {
        let histogram = Histogram::new();
        assert_eq!(histogram.taken().quantile(500), None);
        for ns in 1..=100_000 {
            histogram.record(ns);
        }
        let taken = histogram.taken();
        assert_eq!((taken.all, taken.sum), (100_000, 100_000 * 100_001 / 2));
        for (per_mille, exact) in [(500, 50_000), (990, 99_000), (999, 99_900), (1000, 100_000)] {
            let found = taken.quantile(per_mille).unwrap();
            assert!(
                found >= exact && found - exact <= exact / 8,
                "{found} for {exact}"
            );
        }
    }

    #[test]
    fn filled_buckets_tell_every_time_once() {
        let histogram = Histogram::new();
        for ns in [0, 5, 5, 1 << 20] {
            histogram.record(ns);
        }
        let filled: Vec<_> = histogram.taken().filled().collect();
        assert_eq!(filled[..2], [(0, 1), (5, 2)]);
        assert_eq!(filled.len(), 3);
        assert!(filled[2].0 >= 1 << 20 && filled[2].1 == 1);
    }

    #[test]
    fn counts_below_a_power_of_two_are_exact() {
        let histogram = Histogram::new();
        for ns in [0, 1, 7, 8, 1023, 1024, 1025, 1 << 20, u64::MAX] {
            histogram.record(ns);
        }
        let taken = histogram.taken();
        let counts: Vec<_> = taken.below_powers(3, 30, 1).collect();
        let of = |power: u32| counts[power as usize - 3];
        assert_eq!(of(3), (8, 3));
        assert_eq!(of(10), (1024, 5));
        assert_eq!(of(11), (2048, 7));
        assert_eq!(of(20), (1 << 20, 7));
        assert_eq!(of(21), (1 << 21, 8));
        assert_eq!(of(30), (1 << 30, 8));
    }
}
