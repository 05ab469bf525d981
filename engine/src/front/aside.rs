//! Work that an interface has done beside its writer: it reads and stores, and commits nothing. What it made
//! counts once a session takes it over and commits a name that leads to it.
//!
//! ```text
//!   session ── aside(work) ──> thread: work(helper) ── store, store, … ──┐
//!                                                                        v
//!   later session ── cover(hold) ── commit ──>              what was stored is reachable
//! ```
//!
//! What a helper stores is held as if a session were open, but *weakly*: a reclaim that somebody asks for
//! gives the hold up, and nothing covers it after that; one that the engine begins by itself spares work
//! that is under way, and gives who waits for it until the next one to take it over. So work that nobody
//! takes over keeps no space for long, and one that came to nothing is done again; a helper whose hold is
//! gone stores no more. A helper keeps no engine open.
//!
//! Commits that come meanwhile are flushed with all that lies before them, and each would wait for megabytes
//! that nobody is in a hurry for: so a helper pauses for a round that is on its way, though never for long,
//! and for none once somebody waits for the work.
//!
//! It waits for its turn to write, and whoever has the turn may wait for a driver: so the work is done on a
//! thread of its own, for any number of engines that share a few drivers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::contract::{Error, NewRecord, Op, Record, Reference, Result};

use super::options::Hint;
use super::pins::{Guard, Held, Work};
use super::shared::Shared;
use super::snapshot::{Beside, Read, Write};

/// Most works of one engine at a time.
const ASIDE_MAX: usize = 2;

/// Bytes that a helper stores while a round of commits is on its way, about.
const BESIDE_MAX: u64 = 256 << 10;

/// The longest that a helper waits for a round, each time.
const PATIENCE: Duration = Duration::from_millis(20);

/// What is done beside.
pub type Aside = Box<dyn FnOnce(&Helper) + Send>;

/// Holds what a helper stored, until a reclaim takes it away.
#[derive(Debug)]
pub struct Hold {
    pub(super) pin: Arc<Guard>,
    work: Arc<Work>,
}

impl Hold {
    /// Somebody waits for the work: it gives way to nobody any more.
    pub fn hurry(&self) {
        self.work.hurry();
    }

    /// Whether what was stored may still be taken over, as far as is known by now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.pin.is_held()
    }
}

/// What work that is done aside reads and stores through. Once the engine is gone it answers `Closed`.
pub struct Helper {
    shared: Weak<Shared>,
    hold: Weak<Guard>,
    work: Arc<Work>,
    /// How many rounds had landed when it stored last, and what it stored since.
    rounds: AtomicU64,
    stored: AtomicU64,
}

impl Helper {
    /// Waits for the round that is on its way, if much was stored beside it and nobody waits for the work.
    fn give_way(&self, shared: &Shared, bytes: u64) {
        let landed = || shared.figures.rounds.load(Ordering::Relaxed);
        let rounds = landed();
        if self.rounds.swap(rounds, Ordering::Relaxed) != rounds {
            self.stored.store(0, Ordering::Relaxed);
        }
        if self.stored.fetch_add(bytes, Ordering::Relaxed) + bytes < BESIDE_MAX
            || self.work.is_awaited()
        {
            return;
        }
        self.stored.store(0, Ordering::Relaxed);
        let waiting = shared.landing.wait();
        let seen = waiting.seen();
        if shared.lock().flying && landed() == rounds {
            waiting.on(seen, PATIENCE);
        }
    }

    fn shared(&self) -> Result<Arc<Shared>> {
        let gone = || Error::closed("the engine was closed");
        self.shared.upgrade().ok_or_else(gone)
    }
}

impl Read for Helper {
    fn read(&self, reference: &Reference) -> Op<Record> {
        match self.shared() {
            Ok(shared) => shared.follow_held(reference, false),
            Err(error) => Op::err(error),
        }
    }
}

impl Write for Helper {
    fn store(&self, record: &NewRecord<'_>, hint: Hint) -> Result<Reference> {
        let shared = self.shared()?;
        if !self.hold.upgrade().is_some_and(|hold| hold.is_held()) {
            return Err(Error::unavailable(
                "nobody holds any more what is stored aside: a reclaim has begun since, or nobody waits",
            ));
        }
        let stored = shared.store(record, hint)?;
        self.give_way(&shared, stored.length.into());
        Ok(stored)
    }

    fn reader(&self) -> Arc<dyn Read + Send + Sync> {
        Arc::new(Beside(self.shared.clone()))
    }
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Helper")
    }
}

impl Shared {
    /// Has a thread do `work`; gives it back where there is none to spare.
    pub(super) fn aside(self: &Arc<Self>, work: Aside) -> Result<Hold, Aside> {
        if self.env.drivers.inline() {
            return Err(work);
        }
        let count = |before: usize| (before < ASIDE_MAX).then_some(before + 1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        if self.aside.fetch_update(set, fetch, count).is_err() {
            return Err(work);
        }
        let made = Arc::new(Work::default());
        let done = Done(Arc::downgrade(self), made.clone());
        let state = self.lock();
        let held = Held {
            owner: "work done aside".into(),
            since: self.env.clock.unix_us(),
            view: state.newest.clone(),
            began: Some(state.ends()),
            weak: Some(made.clone()),
        };
        // Under the lock of the state, as a session is pinned.
        let pin = self.pins.hold(held, None);
        drop(state);
        let Some(pin) = pin.map(Arc::new) else {
            return Err(work);
        };
        let hold = Hold {
            pin,
            work: made.clone(),
        };
        let helper = Helper {
            shared: Arc::downgrade(self),
            hold: Arc::downgrade(&hold.pin),
            work: made,
            rounds: AtomicU64::default(),
            stored: AtomicU64::default(),
        };
        let work = Arc::new(Mutex::new(Some(work)));
        let theirs = work.clone();
        let body = Box::new(move || {
            let _done = done;
            if let Some(work) = take(&theirs) {
                work(&helper);
            }
        });
        match self.env.drivers.thread("travertine-aside", body) {
            Ok(()) => Ok(hold),
            // Nobody has begun it.
            Err(_) => take(&work).map_or(Ok(hold), Err),
        }
    }
}

fn take(work: &Mutex<Option<Aside>>) -> Option<Aside> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Counts a work as done, whatever way it ends.
struct Done(Weak<Shared>, Arc<Work>);

impl Drop for Done {
    fn drop(&mut self) {
        self.1.end();
        if let Some(shared) = self.0.upgrade() {
            shared.aside.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
