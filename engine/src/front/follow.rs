//! Following a store: every proven commit in order, none twice and none left out.
//!
//! ```text
//!   commits    1 2 . . . 6 7 8          . freed          from 2:   commit 2
//!              └──────────────── proven                            freed 3 to 5
//!                                                                  commits 6, 7, 8, then whatever comes
//! ```
//!
//! Only what no crash takes back is told: in an engine that writes, what reached the level of a proof;
//! in one opened for reading, what the writer elsewhere has proven. What a reclaim freed before it was
//! told is said to be gone, with its numbers; so whoever follows knows that there is nothing else that
//! it missed. A follower keeps a number and nothing else: begin again where it ended, also in another
//! process.
//!
//! A writing engine wakes those who wait. One opened for reading [looks again](Engine::refresh) every so
//! often, as it is told to.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::contract::{Error, Result, RootAt};

use super::Engine;
use super::shared::Shared;
use super::snapshot::Snapshot;

/// How often a reader looks whether a writer elsewhere has proven more.
const EVERY: Duration = Duration::from_millis(200);

/// What a follower is told next.
#[derive(Debug, Clone)]
pub enum Followed {
    /// The next commit. While it is kept, what it leads to is not freed.
    Commit(Snapshot),
    /// The commits of these numbers were freed; the oldest that can be had comes right after them.
    Freed(RangeInclusive<u64>),
}

/// Tells the commits of a store, in order, as they are proven. See [`Engine::follow`].
pub struct Follow {
    engine: Engine,
    next: u64,
    every: Duration,
}

impl Engine {
    /// Follows the store from the commit of this number on, be it there already or not; the first
    /// commit is number 1. To go on later, give [`Follow::position`].
    #[must_use]
    pub fn follow(&self, from: u64) -> Follow {
        Follow {
            engine: self.clone(),
            next: from.max(1),
            every: EVERY,
        }
    }
}

impl Follow {
    /// Looks this often whether a writer elsewhere has proven more, if the engine was opened for reading.
    /// At least a millisecond.
    #[must_use]
    pub fn every(mut self, time: Duration) -> Self {
        self.every = time.max(Duration::from_millis(1));
        self
    }

    /// The number of the commit that is told next: what was told before lies below it.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// What comes next, if it is there. Does not wait for a commit, and does not look again what a writer
    /// elsewhere has proven.
    ///
    /// Errors: those of a read; what was to be told comes again with the next call.
    pub fn ready(&mut self) -> Result<Option<Followed>> {
        let shared = &self.engine.0;
        let newest = shared.newest_proven();
        if self.next > newest {
            return Ok(None);
        }
        let at = RootAt::Sequence(self.next);
        let found = shared.look_and_pin("a follower", || shared.at(at))?;
        if let Some((view, pin)) = found {
            self.next += 1;
            let snapshot = Snapshot::new(shared.clone(), view, pin);
            return Ok(Some(Followed::Commit(snapshot)));
        }
        let left = shared.past()?.numbers(newest);
        let mut left = left.iter().filter(|run| *run.end() >= self.next);
        match left.next().map(|run| *run.start()) {
            Some(oldest) if oldest > self.next => {
                let freed = self.next..=oldest - 1;
                self.next = oldest;
                Ok(Some(Followed::Freed(freed)))
            }
            _ => Err(Error::unavailable(format!(
                "commit {} is told and not there: if it was freed just now, the next look shows it",
                self.next
            ))
            .with_retry(self.every)),
        }
    }

    /// What comes next, for which it waits so long; `None`: nothing came. Blocks.
    ///
    /// Errors: as [`Follow::ready`]; and why the engine writes no more, once everything was told.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<Followed>> {
        let engine = self.engine.clone();
        let clock = &engine.0.env.clock;
        let began = clock.monotonic_ns();
        let waiting = engine.0.landing.wait();
        loop {
            let seen = waiting.seen();
            let mut pause = Duration::MAX;
            match self.ready() {
                Ok(None) => {}
                // What a reclaim is at just now is clear soon.
                Err(error) if error.retry_after().is_some() => {
                    pause = error.retry_after().unwrap_or_default();
                }
                told => return told,
            }
            let gone = Duration::from_nanos(clock.monotonic_ns().saturating_sub(began));
            let left = patience.saturating_sub(gone).min(pause);
            if left.is_zero() {
                return Ok(None);
            }
            if engine.0.options.read_only {
                clock.sleep(left.min(self.every));
                engine.refresh()?;
                continue;
            }
            let refusing = engine.0.lock().refusing.clone();
            if let Some(error) = refusing {
                // What came in between is told first.
                return match self.ready()? {
                    Some(told) => Ok(Some(told)),
                    None => Err(error),
                };
            }
            if engine.0.env.drivers.inline() {
                // Nobody else could bring anything about meanwhile.
                clock.sleep(left);
            } else {
                waiting.on(seen, left);
            }
        }
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Follow(from {})", self.next)
    }
}

impl Shared {
    /// The number of the newest commit that no crash takes back.
    pub(super) fn newest_proven(&self) -> u64 {
        let state = self.lock();
        let shown = self.shown().view.sequence;
        match &state.writer {
            // What opening found stands.
            None => shown,
            Some(writer) => writer.proven.map_or(0, |proven| proven.sequence).min(shown),
        }
    }
}

/// Wakes those who follow. Costs a look where nobody does.
#[derive(Debug, Default)]
pub(super) struct Landing {
    waiting: AtomicUsize,
    /// How often something came.
    count: Mutex<u64>,
    changed: Condvar,
}

impl Landing {
    /// Something was proven, or nothing will be any more.
    pub(super) fn ring(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            *self.lock() += 1;
            self.changed.notify_all();
        }
    }

    /// From now on whoever rings is heard.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(self)
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is heard of by whoever rings.
pub(super) struct Waiting<'a>(&'a Landing);

impl Waiting<'_> {
    pub(super) fn seen(&self) -> u64 {
        *self.0.lock()
    }

    /// Waits until more was seen than that, but no longer than this.
    pub(super) fn on(&self, seen: u64, time: Duration) {
        let wait = self
            .0
            .changed
            .wait_timeout_while(self.0.lock(), time, |count| *count == seen);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance::env::SimEnv;
    use crate::conformance::model::ModelStore;
    use crate::contract::{Env, ErrorKind, Kind, Level, Name, NewRecord};
    use crate::front::{Change, Hint, Options, Reclaiming, Retention};

    fn put(engine: &Engine, value: u64, level: Option<Level>) {
        let session = engine.session().unwrap();
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&value.to_le_bytes()],
        };
        let stored = session.store(&record, Hint::default()).unwrap();
        let change = Change::set(Name::new("n").unwrap(), stored);
        session.commit(&[change], level).wait().unwrap();
    }

    fn value(told: Option<Followed>) -> (u64, u64) {
        let Some(Followed::Commit(snapshot)) = told else {
            panic!("{told:?} is no commit");
        };
        let record = snapshot.read_root(&Name::new("n").unwrap()).unwrap();
        let body = record.unwrap().body().try_into().unwrap();
        (snapshot.sequence(), u64::from_le_bytes(body))
    }

    fn open(store: &ModelStore, options: Options) -> Engine {
        let env = SimEnv::new(7);
        Engine::open(Arc::new(store.clone()), env.env(), options).unwrap()
    }

    #[test]
    fn every_commit_is_told_once_in_order_and_from_where_one_was() {
        let engine = open(&ModelStore::default(), Options::default());
        let mut follow = engine.follow(0);
        assert!(follow.ready().unwrap().is_none());
        for value in 1..=50 {
            put(&engine, value * 10, None);
        }
        for number in 1..=20 {
            assert_eq!(value(follow.ready().unwrap()), (number, number * 10));
        }
        let mut again = engine.follow(follow.position());
        for number in 21..=50 {
            let told = again.wait(Duration::from_secs(9)).unwrap();
            assert_eq!(value(told), (number, number * 10));
        }
        assert!(again.wait(Duration::from_secs(9)).unwrap().is_none());
        engine.close().unwrap();
        let error = again.wait(Duration::from_secs(9)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }

    #[test]
    fn what_is_not_proven_is_not_told() {
        let engine = open(&ModelStore::default(), Options::default());
        put(&engine, 1, None);
        put(&engine, 2, Some(Level::Memory));
        let mut follow = engine.follow(1);
        assert_eq!(value(follow.ready().unwrap()), (1, 1));
        assert!(follow.ready().unwrap().is_none(), "it is in memory alone");
        put(&engine, 3, None);
        assert_eq!(value(follow.ready().unwrap()), (2, 2));
        assert_eq!(value(follow.ready().unwrap()), (3, 3));
    }

    #[test]
    fn what_was_freed_is_said_to_be_gone_and_the_oldest_left_comes_next() {
        let engine = open(&ModelStore::default(), Options::default());
        for value in 1..=30 {
            put(&engine, value, None);
        }
        let third = engine.at(RootAt::Sequence(3)).unwrap().unwrap();
        engine.tag("kept", &third).unwrap();
        drop(third);
        let retain: Retention = "last 5".parse().unwrap();
        let report = engine.reclaim(&retain, &Reclaiming::default()).unwrap();
        assert!(report.decided.is_some());
        let mut follow = engine.follow(2);
        let (mut next, mut gone, mut commits) = (2, 0, 0);
        while let Some(told) = follow.ready().unwrap() {
            match told {
                Followed::Commit(snapshot) => {
                    assert_eq!(snapshot.sequence(), next);
                    next += 1;
                    commits += 1;
                }
                Followed::Freed(freed) => {
                    assert_eq!(*freed.start(), next);
                    next = freed.end() + 1;
                    gone += freed.count();
                }
            }
        }
        assert_eq!(next - 1, engine.snapshot().sequence());
        assert!(gone > 20 && commits >= 5, "{gone} gone, {commits} told");
    }

    #[test]
    fn a_reader_elsewhere_is_told_what_the_writer_has_proven() {
        let store = ModelStore::default();
        let writer = open(&store, Options::default());
        put(&writer, 1, None);
        writer.prove().unwrap();
        let reader = open(&store, Options::reading());
        let mut follow = reader.follow(1).every(Duration::from_millis(5));
        let patience = Duration::from_secs(1);
        assert_eq!(value(follow.wait(patience).unwrap()), (1, 1));
        assert!(follow.wait(patience).unwrap().is_none());
        for number in 2..=9 {
            put(&writer, number, None);
        }
        writer.prove().unwrap();
        for number in 2..=9 {
            assert_eq!(value(follow.wait(patience).unwrap()), (number, number));
        }
    }

    #[test]
    fn who_waits_is_woken_by_the_commit() {
        let store = Arc::new(ModelStore::default());
        let engine = Engine::open(store, &Env::system(), Options::default()).unwrap();
        const COMMITS: u64 = 200;
        std::thread::scope(|scope| {
            let followers = [1, 1, 100].map(|from| {
                let mut follow = engine.follow(from);
                scope.spawn(move || {
                    for number in from..=COMMITS {
                        let told = follow.wait(Duration::from_secs(300)).unwrap();
                        assert_eq!(value(told), (number, number));
                    }
                })
            });
            for value in 1..=COMMITS {
                put(&engine, value, None);
            }
            for follower in followers {
                follower.join().unwrap();
            }
        });
    }
}
