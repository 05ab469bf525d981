//! Time travel: from the newest commit back along previous and jump links, by sequence or by time in
//! a logarithmic number of reads.

use std::sync::Arc;

use crate::contract::history::leads_on;
use crate::contract::{Oid, Reference, Result, RootAt, RootMarker};

use super::names::View;
use super::open::directory;
use super::shared::Shared;

/// Commits from the newest back.
#[derive(Debug)]
pub struct History {
    shared: Arc<Shared>,
    next: Option<Reference>,
    /// The number of the commit that was told last.
    before: Option<u64>,
}

impl History {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next = shared.shown().marker;
        Self {
            shared,
            next,
            before: None,
        }
    }
}

impl Iterator for History {
    type Item = Result<(Oid, RootMarker)>;

    fn next(&mut self) -> Option<Self::Item> {
        let reference = self.next.take()?;
        match self.shared.marker(&reference) {
            // Weak links may lead to what was freed: there the history ends.
            Ok(marker) => {
                let marker = marker?;
                if self.before.is_some_and(|before| marker.sequence >= before) {
                    return Some(Err(leads_on(reference.oid)));
                }
                self.before = Some(marker.sequence);
                self.next = marker.previous;
                Some(Ok((reference.oid, marker)))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl Shared {
    /// The marker of a link; `None` if it was freed.
    fn marker(&self, reference: &Reference) -> Result<Option<RootMarker>> {
        let found = self.read(reference.oid).wait()?;
        let decode = |record| RootMarker::decode(reference.oid, &record);
        found.map(decode).transpose()
    }

    /// The view of a commit; `None` if there is none such, or none that old any more.
    pub(super) fn at(&self, at: RootAt) -> Result<Option<Arc<View>>> {
        let shown = self.shown();
        let Some(newest) = shown.marker else {
            return Ok(None);
        };
        let found = match at {
            RootAt::Newest => return Ok(Some(shown.view.clone())),
            RootAt::Sequence(sequence) if sequence == shown.view.sequence => {
                return Ok(Some(shown.view.clone()));
            }
            RootAt::Time(time) if time >= shown.view.time => return Ok(Some(shown.view.clone())),
            RootAt::Sequence(0) => None,
            RootAt::Sequence(sequence) if sequence > shown.view.sequence => None,
            RootAt::Sequence(sequence) => self.by_sequence(newest, sequence)?,
            RootAt::Time(time) => self.by_time(newest, time)?,
        };
        let Some(marker) = found else {
            return Ok(None);
        };
        let names = directory(|reference| self.follow(reference).wait(), &marker)?;
        Ok(Some(Arc::new(View::of(&marker, names))))
    }

    fn by_sequence(&self, newest: Reference, sequence: u64) -> Result<Option<RootMarker>> {
        let mut at = Some(newest);
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
                return Ok((marker.sequence == sequence).then_some(marker));
            }
            at = match marker.jump {
                Some((jump, to)) if to >= sequence => Some(jump),
                _ => marker.previous,
            };
        }
        Ok(None)
    }

    /// The newest commit at or before a time. Times never fall along the history.
    fn by_time(&self, newest: Reference, time: u64) -> Result<Option<RootMarker>> {
        let Some(mut marker) = self.marker(&newest)? else {
            return Ok(None);
        };
        while marker.time > time {
            let jumped = match marker.jump {
                Some((jump, _)) => self.marker(&jump)?.filter(|target| target.time > time),
                None => None,
            };
            let next = match (jumped, marker.previous) {
                (Some(target), _) => Some(target),
                (None, Some(previous)) => self.marker(&previous)?,
                (None, None) => None,
            };
            let Some(next) = next else { return Ok(None) };
            if next.sequence >= marker.sequence {
                return Err(leads_on(newest.oid));
            }
            marker = next;
        }
        Ok(Some(marker))
    }
}
