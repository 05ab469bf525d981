//! The log of slow calls: an event each, and never a flood of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use travertine_engine::contract::Oid;

use super::seen::Verb;

/// Events in a second, of all floors together. Who wants each of them has the histograms.
const EVENTS: u32 = 10;
const SECOND: u64 = 1_000_000_000;

/// Tells of calls that took long.
#[derive(Debug)]
pub(super) struct SlowLog {
    from_ns: u64,
    count: AtomicU64,
    told: Mutex<Told>,
}

/// What was told in the second that runs.
#[derive(Debug, Default)]
struct Told {
    second: u64,
    events: u32,
    /// Slow calls that no event told of, since the last event.
    untold: u64,
}

impl SlowLog {
    /// Tells of calls that took so long or longer.
    pub(super) fn new(from: Duration) -> Self {
        Self {
            from_ns: from.as_nanos() as u64,
            count: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// Slow calls so far, told or not.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn look(&self, floor: &str, verb: Verb, oid: Option<Oid>, took: u64, now: u64) {
        if took < self.from_ns {
            return;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let Some(untold) = self.may_tell(now / SECOND) else {
            return;
        };
        let took = Duration::from_nanos(took);
        let verb = verb.name();
        match oid {
            Some(oid) => tracing::warn!(floor, verb, ?took, %oid, untold, "a slow call"),
            None => tracing::warn!(floor, verb, ?took, untold, "a slow call"),
        }
    }

    /// Takes one of the events of this second, if one is left, and how many calls went untold.
    fn may_tell(&self, second: u64) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.second != second {
            told.second = second;
            told.events = 0;
        }
        if told.events == EVENTS {
            told.untold += 1;
            return None;
        }
        told.events += 1;
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_slow_calls_is_ten_events_a_second_and_a_count() {
        let log = SlowLog::new(Duration::from_millis(5));
        let told = |second| {
            (0..50)
                .filter_map(|_| log.may_tell(second))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(0), vec![0; 10]);
        let mut second = vec![0; 10];
        second[0] = 40;
        assert_eq!(told(1), second);
    }

    #[test]
    fn only_what_took_long_enough_counts() {
        let log = SlowLog::new(Duration::from_millis(5));
        for (took, count) in [(0, 0), (4_999_999, 0), (5_000_000, 1), (u64::MAX, 2)] {
            log.look("file", Verb::Read, None, took, 0);
            assert_eq!(log.count(), count);
        }
    }
}
