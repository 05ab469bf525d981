//! Holds long reading to a rate, so that whoever works beside it hardly notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::progress::Progress;
use crate::contract::{Clock, Op, Record, Reference};
use crate::front::{Read, Snapshot};

/// How much was read, and when the next may be.
#[derive(Debug)]
pub(super) struct Pace {
    clock: Arc<dyn Clock>,
    /// Most bytes in a second.
    rate: Option<u64>,
    began_ns: u64,
    read: AtomicU64,
    pub(super) progress: Progress,
}

impl Pace {
    /// Begins now.
    pub(super) fn new(clock: &Arc<dyn Clock>, rate: Option<u64>, progress: Progress) -> Self {
        Self {
            clock: clock.clone(),
            rate,
            began_ns: clock.monotonic_ns(),
            read: AtomicU64::new(0),
            progress,
        }
    }

    /// How much was read so far.
    pub(super) fn total(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// So much was read: waits until that was allowed.
    pub(super) fn read(&self, bytes: u64) {
        let read = self.read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let Some(rate) = self.rate else {
            return;
        };
        let due = u128::from(read) * 1_000_000_000 / u128::from(rate.max(1));
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        let gone = self.clock.monotonic_ns().saturating_sub(self.began_ns);
        if due > gone {
            self.clock.sleep(Duration::from_nanos(due - gone));
        }
    }
}

/// A commit that is read at a pace.
#[derive(Debug)]
pub(super) struct Paced {
    pub(super) snapshot: Snapshot,
    pub(super) pace: Arc<Pace>,
}

impl Read for Paced {
    fn read(&self, reference: &Reference) -> Op<Record> {
        self.pace.read(u64::from(reference.length));
        self.snapshot.read(reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::env::SimEnv;

    #[test]
    fn reading_takes_as_long_as_its_rate_says() {
        let env = SimEnv::new(1);
        let clock = &env.env().clock;
        let pace = Pace::new(clock, Some(1 << 20), Progress::bytes("", 0, 0));
        let began = clock.monotonic_ns();
        for _ in 0..40 {
            pace.read(256 << 10);
        }
        assert_eq!(clock.monotonic_ns() - began, 10_000_000_000);
        // What took its time anyway need not wait.
        clock.sleep(Duration::from_secs(5));
        pace.read(1 << 20);
        assert_eq!(clock.monotonic_ns() - began, 15_000_000_000);
    }
}
