//! Time travel: from the newest commit back along previous and jump links, by sequence or by time in
//! a logarithmic number of reads; over what a reclaim freed, by way of [what is left](super::past).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::history::leads_on;
use crate::contract::{Error, Oid, Record, Reference, Result, RootAt, RootMarker};

use super::names::View;
use super::open::directory;
use super::past::{self, Past, Range, Way};
use super::pins::{Guard, Held};
use super::shared::{Shared, Shown, gone};

/// Commits from the newest back, but for those that were freed.
pub struct History {
    shared: Arc<Shared>,
    /// Known from the first step on.
    past: Option<Arc<Past>>,
    next: Option<Reference>,
    /// No link below this commit is followed.
    floor: u64,
    /// The number of the commit that was told last.
    before: Option<u64>,
}

impl History {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next = shared.shown().marker;
        Self {
            shared,
            past: None,
            next,
            floor: 0,
            before: None,
        }
    }

    fn step(&mut self, reference: Reference) -> Result<Option<(Oid, RootMarker)>> {
        let past = match &self.past {
            Some(past) => past.clone(),
            None => {
                let past = self.shared.past()?;
                self.floor = past.since();
                self.past.insert(past).clone()
            }
        };
        // What was freed since this history began: it ends there.
        let Some(marker) = self.shared.marker(&reference)? else {
            return Ok(None);
        };
        if self.before.is_some_and(|before| marker.sequence >= before) {
            return Err(leads_on(reference.oid));
        }
        self.before = Some(marker.sequence);
        self.next = marker.previous;
        if marker.sequence <= self.floor {
            let way = past.below(self.floor);
            self.next = way.and_then(|way| way.from);
            self.floor = way.map_or(0, |way| way.floor);
        }
        Ok(Some((reference.oid, marker)))
    }
}

impl Iterator for History {
    type Item = Result<(Oid, RootMarker)>;

    fn next(&mut self) -> Option<Self::Item> {
        let reference = self.next.take()?;
        self.step(reference).transpose()
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "History(before {:?})", self.before)
    }
}

impl Shared {
    /// The marker of a link; `None` if it was freed.
    pub(super) fn marker(&self, reference: &Reference) -> Result<Option<RootMarker>> {
        let found = self.read(reference.oid).wait()?;
        let decode = |record| RootMarker::decode(reference.oid, &record);
        found.map(decode).transpose()
    }

    /// Which commits are left.
    pub(super) fn past(&self) -> Result<Arc<Past>> {
        let generation = self.pins.generation();
        if let Some(past) = &self.pins.lock().past {
            return Ok(past.clone());
        }
        let past = Arc::new(self.decision()?.0);
        let mut registry = self.pins.lock();
        if self.pins.generation() == generation {
            registry.past = Some(past.clone());
        }
        Ok(past)
    }

    /// What the last reclaim decided: up to where of each stream.
    pub(super) fn decided(&self) -> Result<Vec<Range>> {
        self.decision().map(|decision| decision.1)
    }

    fn decision(&self) -> Result<(Past, Vec<Range>)> {
        let shown = self.shown();
        let Some(decision) = shown.view.names.get(&past::name()?) else {
            return Ok(Default::default());
        };
        past::load(decision.oid, |oid| match self.read(oid).wait()? {
            None if self.options.read_only => Err(gone(oid)),
            found => Ok(found),
        })
    }

    /// Looks for a commit and pins it. What is looked up may be freed before it is pinned: then it is
    /// looked up again.
    pub(super) fn look_and_pin(
        self: &Arc<Self>,
        owner: impl Into<Cow<'static, str>>,
        mut look: impl FnMut() -> Result<Option<Arc<View>>>,
    ) -> Result<Option<(Arc<View>, Arc<Guard>)>> {
        let mut held = Held {
            owner: owner.into(),
            since: self.env.clock.unix_us(),
            view: Arc::default(),
            began: None,
            weak: None,
        };
        loop {
            let generation = self.pins.generation();
            match look() {
                Ok(Some(view)) => {
                    held.view = view.clone();
                    if let Some(pin) = self.pins.hold(held.clone(), Some(generation)) {
                        return Ok(Some((view, Arc::new(pin))));
                    }
                }
                Ok(None) if self.pins.is_pending() => {
                    return Err(Error::unavailable("a reclaim is just being decided")
                        .with_retry(Duration::from_millis(10)));
                }
                found if self.pins.generation() == generation => {
                    return found.map(|_| None);
                }
                _ => {}
            }
        }
    }

    /// The newest commit, pinned.
    pub(super) fn pin_newest(self: &Arc<Self>) -> (Arc<View>, Arc<Guard>) {
        loop {
            let generation = self.pins.generation();
            let shown = self.shown();
            // Who holds the newest commit already holds it for all.
            if let Some(pin) = shown.pin() {
                return (shown.view.clone(), pin);
            }
            let held = Held {
                owner: "a snapshot".into(),
                since: self.env.clock.unix_us(),
                view: shown.view.clone(),
                began: None,
                weak: None,
            };
            if let Some(pin) = self.pins.hold(held, Some(generation)) {
                let pin = Arc::new(pin);
                shown.pinned(&pin);
                return (shown.view.clone(), pin);
            }
        }
    }

    /// The view of a commit; `None` if there is none such, or none that old any more.
    pub(super) fn at(&self, at: RootAt) -> Result<Option<Arc<View>>> {
        let shown = self.shown();
        let at = match at {
            RootAt::Proven => RootAt::Sequence(self.newest_proven()),
            at => at,
        };
        let found = match at {
            RootAt::Newest | RootAt::Proven => return Ok(shown.marker.map(|_| shown.view.clone())),
            RootAt::Sequence(sequence) if sequence == shown.view.sequence && sequence > 0 => {
                return Ok(Some(shown.view.clone()));
            }
            RootAt::Time(time) if time >= shown.view.time && shown.marker.is_some() => {
                return Ok(Some(shown.view.clone()));
            }
            RootAt::Sequence(sequence) => self.by_sequence(&shown, sequence)?,
            RootAt::Time(time) => self.by_time(&shown, time)?,
        };
        let Some((_, marker)) = found else {
            return Ok(None);
        };
        let names = directory(|reference| self.follow(reference).wait(), &marker)?;
        Ok(Some(Arc::new(View::of(&marker, names))))
    }

    /// The marker of a commit, and the reference to it.
    pub(super) fn by_sequence(
        &self,
        shown: &Shown,
        sequence: u64,
    ) -> Result<Option<(Reference, RootMarker)>> {
        if sequence == 0 || sequence > shown.view.sequence {
            return Ok(None);
        }
        let Some(way) = self.past()?.to_sequence(sequence) else {
            return Ok(None);
        };
        let mut at = way.from.or(shown.marker);
        let mut before = u64::MAX;
        while let Some(reference) = at {
            let Some(marker) = self.marker(&reference)? else {
                return Ok(None);
            };
            if marker.sequence >= before {
                return Err(leads_on(reference.oid));
            }
            before = marker.sequence;
            if marker.sequence <= sequence {
                return Ok((marker.sequence == sequence).then_some((reference, marker)));
            }
            at = match marker.jump {
                Some((jump, to)) if to >= sequence => Some(jump),
                _ => marker.previous,
            };
        }
        Ok(None)
    }

    /// The newest commit at or before a time. Times never fall along the history.
    pub(super) fn by_time(
        &self,
        shown: &Shown,
        time: u64,
    ) -> Result<Option<(Reference, RootMarker)>> {
        let Some(Way { from, floor }) = self.past()?.to_time(time) else {
            return Ok(None);
        };
        let Some(from) = from.or(shown.marker) else {
            return Ok(None);
        };
        let linked = |reference: Reference| -> Result<_> {
            Ok(self.marker(&reference)?.map(|marker| (reference, marker)))
        };
        let Some(mut here) = linked(from)? else {
            return Ok(None);
        };
        while here.1.time > time {
            let jumped = match here.1.jump {
                Some((jump, to)) if to >= floor => {
                    linked(jump)?.filter(|(_, target)| target.time > time)
                }
                _ => None,
            };
            let next = match (jumped, here.1.previous) {
                (Some(target), _) => Some(target),
                (None, Some(previous)) if here.1.sequence > floor => linked(previous)?,
                _ => None,
            };
            let Some(next) = next else { return Ok(None) };
            if next.1.sequence >= here.1.sequence {
                return Err(leads_on(next.0.oid));
            }
            here = next;
        }
        Ok(Some(here))
    }

    /// Whether this is the record that the reference names.
    #[inline]
    pub(super) fn fits(reference: &Reference, record: &Record) -> bool {
        record.check() == reference.check && record.stored_len() == reference.length as usize
    }

    /// The record of a reference as it lies below, which it must match: the body is not decoded.
    pub(super) fn check_found(reference: &Reference, found: Option<Record>) -> Result<Record> {
        let Some(record) = found else {
            return Err(Error::corrupt(format!(
                "a reference names {}, where there is no record",
                reference.oid
            )));
        };
        if Self::fits(reference, &record) {
            return Ok(record);
        }
        Err(Error::corrupt(format!(
            "the record at {} has {} bytes and check {:08x}, a reference says {} and {:08x}",
            reference.oid,
            record.stored_len(),
            record.check(),
            reference.length,
            reference.check
        )))
    }
}
