//! The log of slow calls: an event each, and never a flood of them. The newest that were told of are kept,
//! for whoever looks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use travertine_engine::contract::Oid;

use super::seen::Verb;

/// Events in a second, of all floors together. Who wants each of them has the histograms.
const EVENTS: u32 = 10;
const SECOND: u64 = 1_000_000_000;
/// So many that were told of are kept.
const KEPT: usize = 16;

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
    /// The oldest first.
    kept: VecDeque<SlowCall>,
}

/// A call that took long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlowCall {
    pub(super) floor: String,
    pub(super) verb: Verb,
    pub(super) oid: Option<Oid>,
    pub(super) took_ns: u64,
    /// When it ended, by the clock that never goes back.
    pub(super) at_ns: u64,
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
        let mut told = self.lock();
        let Some(untold) = told.may_tell(now / SECOND) else {
            return;
        };
        if told.kept.len() == KEPT {
            told.kept.pop_front();
        }
        told.kept.push_back(SlowCall {
            floor: floor.to_owned(),
            verb,
            oid,
            took_ns: took,
            at_ns: now,
        });
        drop(told);
        let took = Duration::from_nanos(took);
        let verb = verb.name();
        match oid {
            Some(oid) => tracing::warn!(floor, verb, ?took, %oid, untold, "a slow call"),
            None => tracing::warn!(floor, verb, ?took, untold, "a slow call"),
        }
    }

    /// The newest that were told of, the newest first.
    pub(super) fn newest(&self) -> Vec<SlowCall> {
        self.lock().kept.iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// Takes one of the events of this second, if one is left, and how many calls went untold.
    fn may_tell(&mut self, second: u64) -> Option<u64> {
        if self.second != second {
            self.second = second;
            self.events = 0;
        }
        if self.events == EVENTS {
            self.untold += 1;
            return None;
        }
        self.events += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_slow_calls_is_ten_events_a_second_and_a_count() {
        let mut log = Told::default();
        let mut told = |second| {
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

    #[test]
    fn the_newest_that_were_told_of_are_kept_and_no_more() {
        let log = SlowLog::new(Duration::from_millis(5));
        for second in 0..100 {
            log.look(
                "file",
                Verb::Read,
                None,
                5_000_000 + second,
                second * SECOND,
            );
        }
        let kept = log.newest();
        assert_eq!(kept.len(), KEPT);
        assert_eq!((kept[0].took_ns, kept[0].at_ns), (5_000_099, 99 * SECOND));
        assert_eq!(kept[KEPT - 1].took_ns, 5_000_084);
    }
}
