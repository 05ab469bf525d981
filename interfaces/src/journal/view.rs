//! Reading a journaled map at one root.

use std::sync::Arc;

use travertine_engine::contract::{Op, Reference};

use super::cursor::JournalCursor;
use super::overlay::Lay;
use super::sieve::Sieve;
use super::tip::Tip;
use super::tree::Item;
use super::verify;
use crate::diff::{Diff, Merge};
use crate::index::{Found, View, walked_rank};
use crate::records::Source;
use crate::report::Report;

/// A journaled map at one root. It holds what its deltas lay over the base.
#[derive(Debug, Clone)]
pub struct JournalView<V> {
    pub(super) base: V,
    /// `None` if there are no deltas.
    pub(super) over: Option<Arc<Over>>,
}

/// What lies over a base.
#[derive(Debug)]
pub(super) struct Over {
    /// Where it was read from, by readers.
    pub(super) from: Option<(Reference, Arc<dyn Source>)>,
    pub(super) entries: u64,
    /// The upper one first.
    pub(super) lays: [Option<Lay>; 2],
    /// What is asked before the base is looked into.
    sieve: Option<Arc<Sieve>>,
}

impl<V> JournalView<V> {
    pub(super) fn bare(base: V) -> Self {
        Self { base, over: None }
    }

    pub(super) fn over(base: V, tip: &Tip, from: Option<(Reference, Arc<dyn Source>)>) -> Self {
        Self {
            base,
            over: Some(Arc::new(Over::of(tip, from))),
        }
    }

    /// The index below, as the base is. Where there are deltas, it does not answer for the map.
    pub fn base(&self) -> &V {
        &self.base
    }

    /// How many edits lie over the base.
    #[must_use]
    pub fn overlaid(&self) -> u64 {
        let lays = self.over.iter().flat_map(|over| over.lays());
        lays.map(|lay| u64::from(lay.items())).sum()
    }
}

impl Over {
    pub(super) fn of(tip: &Tip, from: Option<(Reference, Arc<dyn Source>)>) -> Self {
        Self {
            from,
            entries: tip.entries,
            lays: tip.lays(),
            sieve: tip.lacks.sieve.clone(),
        }
    }

    /// Whether no base can hold this key.
    fn lacks(&self, key: &[u8]) -> bool {
        self.sieve.as_ref().is_some_and(|sieve| sieve.lacks(key))
    }

    pub(super) fn lays(&self) -> impl Iterator<Item = &Lay> {
        self.lays.iter().flatten()
    }

    /// The newest edit to a key, and the lay that it is in.
    pub(super) fn find(&self, key: &[u8]) -> Option<(&Lay, Item)> {
        self.lays().find_map(|lay| Some((lay, lay.find(key)?)))
    }

    /// What is at a key over this base.
    pub(super) fn find_in<V: View>(&self, base: &V, key: &[u8]) -> Op<Option<Found>> {
        match self.find(key) {
            Some((lay, item)) => Op::ok(lay.found(item)),
            None if self.lacks(key) => Op::ok(None),
            None => base.find(key),
        }
    }

    /// As [`Over::find_in`], for several keys.
    pub(super) fn find_many_in<V: View>(&self, base: &V, keys: &[&[u8]]) -> Op<Vec<Option<Found>>> {
        let mut found = Vec::with_capacity(keys.len());
        let (mut places, mut below) = (Vec::new(), Vec::new());
        for (place, key) in keys.iter().enumerate() {
            found.push(match self.find(key) {
                Some((lay, item)) => lay.found(item),
                None if self.lacks(key) => None,
                None => {
                    places.push(place);
                    below.push(*key);
                    None
                }
            });
        }
        if below.is_empty() {
            return Op::ok(found);
        }
        base.find_many(&below).map(move |answers| {
            for (place, answer) in places.into_iter().zip(answers) {
                found[place] = answer;
            }
            found
        })
    }
}

impl<V: View> View for JournalView<V> {
    type Cursor = JournalCursor<V::Cursor>;

    fn count(&self) -> u64 {
        match &self.over {
            Some(over) => over.entries,
            None => self.base.count(),
        }
    }

    fn find(&self, key: &[u8]) -> Op<Option<Found>> {
        match &self.over {
            Some(over) => over.find_in(&self.base, key),
            None => self.base.find(key),
        }
    }

    fn find_many(&self, keys: &[&[u8]]) -> Op<Vec<Option<Found>>> {
        match &self.over {
            Some(over) => over.find_many_in(&self.base, keys),
            None => self.base.find_many(keys),
        }
    }

    fn rank(&self, key: &[u8]) -> Op<u64> {
        match &self.over {
            Some(_) => Op::ready(walked_rank(self.cursor(), key)),
            None => self.base.rank(key),
        }
    }

    fn diff(&self, newer: &Self) -> Box<dyn Diff> {
        match (&self.over, &newer.over) {
            (None, None) => self.base.diff(&newer.base),
            _ => Box::new(Merge::new(self.cursor(), newer.cursor())),
        }
    }

    fn cursor(&self) -> JournalCursor<V::Cursor> {
        JournalCursor::new(self.base.cursor(), self.over.clone())
    }

    /// What the base keeps; the edits over it are shared with who else reads or writes.
    fn held(&self) -> u64 {
        self.base.held()
    }

    fn verify(&self, report: &mut Report) {
        match &self.over {
            Some(over) => verify::verify(&self.base, over, report),
            None => self.base.verify(report),
        }
    }
}
