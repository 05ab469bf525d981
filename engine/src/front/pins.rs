//! Who holds what: snapshots and sessions that are alive, so that a reclaim leaves them what they reach.
//!
//! ```text
//!   snapshot, at(…) ──> pin ─┐                        ┌─ roots of the mark
//!   session ──────────> pin ─┼─ registry ── reclaim ──┤
//!                            ┘                        └─ horizon: where the oldest session began
//! ```
//!
//! Looking for a commit and pinning it are two steps, and a reclaim may come in between. So whoever
//! looks asks for the *generation* first and pins with it: once a reclaim has decided, the generation is
//! another, the pin is refused, and one looks again. What is pinned while a reclaim marks is noted, also
//! if it is let go at once, and marked as well.
//!
//! A pin may be *weak*: a reclaim that somebody asks for takes it away, and asks nobody. One that nobody asked
//! for spares it while the work that it is for is under way, and once more after that. Until it is gone a
//! session can make what it holds its own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::{Oid, Position, Stream};

use super::names::View;
use super::past::Past;

/// What holds records that a reclaim would free otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Who holds it, as far as it was told: see [`Snapshot::held_by`](super::Snapshot::held_by).
    pub owner: String,
    /// Whether it is a session, which also holds whatever was stored since it began.
    pub session: bool,
    /// The commit that is held.
    pub sequence: u64,
    /// Since when, in microseconds since 1970.
    pub since: u64,
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on commit {}", self.owner, self.sequence)
    }
}

/// The pins of an engine.
#[derive(Debug, Default)]
pub(super) struct Pins {
    generation: AtomicU64,
    held: Mutex<Registry>,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    places: Vec<Option<Held>>,
    free: Vec<usize>,
    /// While a reclaim marks: commits below this number that were pinned since it began, each once.
    noting: Option<(u64, BTreeMap<Said, Arc<View>>)>,
    /// Which commits are left, once it was looked up.
    pub(super) past: Option<Arc<Past>>,
    /// Whether that is decided and not yet written down: nobody may count on what it takes away.
    pending: bool,
}

/// What tells two views apart: one commit may be told by its marker and by a tag.
type Said = (u64, Option<Oid>);

/// One pin.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) owner: Cow<'static, str>,
    pub(super) since: u64,
    pub(super) view: Arc<View>,
    /// Where each stream ended when the session began; `None` for a snapshot.
    pub(super) began: Option<Ends>,
    /// Given up by a reclaim that begins.
    pub(super) weak: Option<Arc<Work>>,
}

/// How far work has come that is done aside.
#[derive(Debug, Default)]
pub(super) struct Work(AtomicU8);

const ENDED: u8 = 1;
/// A session has taken over what came of it, or a reclaim has waited for that in vain.
const TAKEN: u8 = 2;
/// Somebody waits for it.
const AWAITED: u8 = 4;

impl Work {
    pub(super) fn end(&self) {
        self.0.fetch_or(ENDED, Ordering::AcqRel);
    }

    pub(super) fn hurry(&self) {
        self.0.fetch_or(AWAITED, Ordering::AcqRel);
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.0.load(Ordering::Acquire) & AWAITED > 0
    }

    fn take_over(&self) {
        self.0.fetch_or(TAKEN, Ordering::AcqRel);
    }

    /// Whether a reclaim that nobody asked for leaves it what it holds.
    fn is_spared(&self) -> bool {
        let under_way = self.0.load(Ordering::Acquire) & ENDED == 0;
        under_way || self.0.fetch_or(TAKEN, Ordering::AcqRel) & TAKEN == 0
    }
}

/// Where streams end. Most stacks have one stream: that one needs no allocation.
#[derive(Debug, Clone, Default)]
pub(super) struct Ends {
    first: Option<(Stream, Position)>,
    more: Vec<(Stream, Position)>,
}

impl FromIterator<(Stream, Position)> for Ends {
    fn from_iter<T: IntoIterator<Item = (Stream, Position)>>(ends: T) -> Self {
        let mut ends = ends.into_iter();
        Self {
            first: ends.next(),
            more: ends.collect(),
        }
    }
}

impl Ends {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Stream, Position)> {
        self.first.iter().chain(&self.more).copied()
    }

    /// Of each stream the lower end.
    pub(super) fn lower(&mut self, other: &Self) {
        for (stream, end) in self.first.iter_mut().chain(&mut self.more) {
            for (theirs, other) in other.iter() {
                if theirs == *stream {
                    *end = (*end).min(other);
                }
            }
        }
    }
}

/// Keeps a pin for as long as it lives.
#[derive(Debug)]
pub(super) struct Guard {
    pins: Arc<Pins>,
    place: usize,
}

impl Guard {
    /// Whether no reclaim took it away.
    pub(super) fn is_held(&self) -> bool {
        let registry = self.pins.lock();
        matches!(registry.places.get(self.place), Some(Some(_)))
    }

    /// Has this session hold what `other` holds as well. `false`: a reclaim took that away.
    pub(super) fn cover(&self, other: &Self) -> bool {
        let mut registry = self.pins.lock();
        let place = |place: usize| registry.places.get(place).cloned().flatten();
        let theirs = place(other.place);
        if let Some(work) = theirs.as_ref().and_then(|held| held.weak.as_ref()) {
            work.take_over();
        }
        let Some(theirs) = theirs.and_then(|held| held.began) else {
            return false;
        };
        match registry.places.get_mut(self.place) {
            Some(Some(mine)) => mine.began.as_mut().is_some_and(|mine| {
                mine.lower(&theirs);
                true
            }),
            _ => false,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut registry = self.pins.lock();
        let held = registry.places.get_mut(self.place).and_then(Option::take);
        registry.free.push(self.place);
        drop(registry);
        // After the lock: it may be the last that knows a commit.
        drop(held);
    }
}

impl Pins {
    pub(super) fn lock(&self) -> MutexGuard<'_, Registry> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Pins, unless a reclaim has decided since the generation was asked for.
    pub(super) fn hold(self: &Arc<Self>, held: Held, generation: Option<u64>) -> Option<Guard> {
        let mut registry = self.lock();
        if generation.is_some_and(|generation| generation != self.generation()) {
            return None;
        }
        if let Some((floor, added)) = &mut registry.noting
            && held.view.sequence < *floor
        {
            let directory = held.view.names.directory.map(|directory| directory.oid);
            added.insert((held.view.sequence, directory), held.view.clone());
        }
        let place = match registry.free.pop() {
            Some(place) => {
                registry.places[place] = Some(held);
                place
            }
            None => {
                registry.places.push(Some(held));
                registry.places.len() - 1
            }
        };
        drop(registry);
        Some(Guard {
            pins: self.clone(),
            place,
        })
    }

    /// All pins but the weak ones, the oldest first.
    pub(super) fn held(&self) -> Vec<Held> {
        let registry = self.lock();
        let places = registry.places.iter().flatten();
        let mut held: Vec<_> = places.filter(|held| held.weak.is_none()).cloned().collect();
        drop(registry);
        held.sort_by_key(|held| held.since);
        held
    }

    /// From now on commits below the newest that are pinned are noted. Answers what is held already. What
    /// is held weakly is given up; `asked`: also if the work is under way, or has just ended. Where it is
    /// not, what was stored stays, and the newest commit: whoever takes it over comes from there, or from
    /// one that he holds himself.
    pub(super) fn begin_noting(&self, newest: &Arc<View>, asked: bool) -> Vec<Held> {
        let mut registry = self.lock();
        registry.noting = Some((newest.sequence, BTreeMap::new()));
        let (mut given_up, mut spared) = (Vec::new(), Vec::new());
        for place in &mut registry.places {
            match place.as_ref().and_then(|held| held.weak.as_ref()) {
                None => {}
                Some(work) if !asked && work.is_spared() => spared.extend(place.clone()),
                Some(_) => given_up.extend(place.take()),
            }
        }
        drop(registry);
        for held in &mut spared {
            held.view = newest.clone();
        }
        drop(given_up);
        let mut held = self.held();
        held.extend(spared);
        held
    }

    /// What was noted since the last call. Nothing: the reclaim has decided, and `past` is what is left.
    pub(super) fn decide(&self, past: &Arc<Past>) -> Vec<Arc<View>> {
        let mut registry = self.lock();
        if let Some((_, added)) = &mut registry.noting
            && !added.is_empty()
        {
            return std::mem::take(added).into_values().collect();
        }
        registry.noting = None;
        registry.past = Some(past.clone());
        registry.pending = true;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Vec::new()
    }

    /// What was decided is written down.
    pub(super) fn settle(&self) {
        self.lock().pending = false;
    }

    /// Whether a decision is being written down.
    pub(super) fn is_pending(&self) -> bool {
        self.lock().pending
    }

    /// Forgets what a reclaim noted, and what was known of the past: it is looked up again.
    pub(super) fn forget(&self) {
        let mut registry = self.lock();
        registry.noting = None;
        registry.past = None;
        registry.pending = false;
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

impl From<&Held> for Pin {
    fn from(held: &Held) -> Self {
        Self {
            owner: held.owner.to_string(),
            session: held.began.is_some(),
            sequence: held.view.sequence,
            since: held.since,
        }
    }
}
