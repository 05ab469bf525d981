//! Times in buckets that grow with the time: eight for each doubling, so a quantile is off by an
//! eighth at most.

use std::sync::atomic::{AtomicU64, Ordering};

const SUB_BITS: u32 = 3;
/// Doublings up to 2^40 ns, eighteen minutes; longer times count as that.
const BUCKETS: usize = (40 - SUB_BITS as usize + 1) << SUB_BITS;

/// How often each time was seen.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: Box<[AtomicU64; BUCKETS]>,
    max: AtomicU64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            buckets: Box::new(std::array::from_fn(|_| AtomicU64::new(0))),
            max: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self, ns: u64) {
        self.buckets[bucket_of(ns)].fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(ns, Ordering::Relaxed);
    }

    /// The longest time seen.
    pub(super) fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// The time that this many in a thousand did not exceed, rounded up to the end of its bucket but
    /// never over the longest. `None` if nothing was timed.
    pub(super) fn quantile(&self, per_mille: u64) -> Option<u64> {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .collect();
        let all: u64 = counts.iter().sum();
        let wanted = (all * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(end_of(found).min(self.max()))
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
        assert_eq!(histogram.quantile(500), None);
        for ns in 1..=100_000 {
            histogram.record(ns);
        }
        for (per_mille, exact) in [(500, 50_000), (990, 99_000), (999, 99_900), (1000, 100_000)] {
            let found = histogram.quantile(per_mille).unwrap();
            assert!(
                found >= exact && found - exact <= exact / 8,
                "{found} for {exact}"
            );
        }
    }
}
