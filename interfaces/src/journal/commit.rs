//! One commit: its delta, its share of the merge, its root.
//!
//! ```text
//!   edits ──> those that change anything ──> delta ──> young
//!                                                        │ merged: as much of the old deltas as the
//!                                                        │ young ones have come of their measure
//!                                                        └ full: the young ones become old
//! ```
//!
//! Where there is a thread to spare, a [sweep](super::sweep) merges a part of the old ones beside, and commits
//! only take over what it made.

use std::sync::Arc;

use travertine_engine::contract::{Reference, Result};

use super::delta::{Delta, Draft};
use super::overlay::{Generation, Lay, Reach};
use super::sieve::Sieve;
use super::slots::SLOTS;
use super::sweep::{Outcome, Part, Sweep};
use super::tip::{Lacks, Old, Tip, Young, fewer};
use super::tree::Item;
use super::view::Over;
use super::{Journal, Opened};
use crate::edits::{Edit, EditLog, Edits};
use crate::index::{Found, Index, Value, View};
use crate::records::{Sink, source_of};

/// A batch that has an edit for every so many entries of the map is large.
const ENTRIES_PER_EDIT: u64 = 8;

/// The old deltas are merged in about so many parts.
const PARTS: u32 = 16;

/// Bytes of edits that are merged at a time, where all are.
const PART_BYTES: u64 = 4 << 20;

/// So many edits are few, however small the map.
const EDITS_LEAST: u64 = 1 << 16;

/// Most young deltas; half of what there is room for, since some attempts fail.
const YOUNG_MAX: u32 = SLOTS / 2;

impl<I: Index> Journal<I> {
    pub(super) fn commit(
        &self,
        sink: &dyn Sink,
        root: Option<Reference>,
        edits: &Edits,
    ) -> Result<Option<Reference>> {
        if edits.is_empty() {
            return Ok(root);
        }
        let Opened { base, tip } = self.open(sink, root)?;
        let most = self.most(tip.entries, edits.len() as u64, edits.bytes());
        let large = edits.bytes() >= most / 4
            || (edits.len() as u64).saturating_mul(ENTRIES_PER_EDIT) >= tip.entries;
        if large && tip.is_bare() {
            let new = self.index.apply(sink, root, edits)?;
            if let Some(new) = new.filter(|_| root.is_none()) {
                self.remember(sink, new, edits)?;
            }
            return Ok(new);
        }
        let over = Over::of(&tip, None);
        if large {
            for (key, edit) in edits.iter() {
                if changes(edit, over.find_in(&*base, key).wait()?.as_ref()) {
                    return self.merge_all(sink, &tip, Some(edits));
                }
            }
            return Ok(root);
        }
        let mut entries = tip.entries;
        let mut draft = Draft::new(edits.laid_out());
        let mut lacks = tip.lacks.clone();
        let (one, many);
        let before = match edits.len() {
            1 => {
                one = [over.find_in(&*base, edits.key(0)).wait()?];
                &one[..]
            }
            _ => {
                let keys: Vec<_> = edits.iter().map(|(key, _)| key).collect();
                many = over.find_many_in(&*base, &keys).wait()?;
                &many
            }
        };
        for ((key, edit), before) in edits.iter().zip(before) {
            if changes(edit, before.as_ref()) {
                draft.push(key, edit);
                match (edit, before) {
                    (Edit::Put(_), None) => {
                        entries += 1;
                        lacks.miss(key);
                    }
                    (Edit::Delete, _) => entries = fewer(entries)?,
                    (Edit::Put(_), Some(_)) => {}
                }
            }
        }
        // The young items are changed in place where nobody holds them.
        drop(over);
        if draft.is_empty() {
            tip.holds(sink.memo(), base.held());
            return Ok(root);
        }
        let mut next = Tip {
            entries,
            young: tip.young.with(sink, draft)?,
            seat: tip.seat.clone(),
            old: tip.old.clone(),
            lacks,
            ..*tip
        };
        self.sift(sink, &mut next, &base);
        next.seat.holds(base.held());
        self.merge_share(sink, &mut next)?;
        if tip.old.is_some() && next.old.is_none() {
            // What is merged is no more for anybody to hold in mind, also not for roots of before.
            next.era += 2;
        }
        self.flip(sink, &mut next)?;
        let root = next.root().store(sink)?;
        next.kept(sink.memo(), &root);
        Ok(Some(root))
    }

    /// Keeps in mind which keys a map holds that was empty before these edits.
    fn remember(&self, sink: &dyn Sink, root: Reference, edits: &Edits) -> Result<()> {
        let sieve = Sieve::of(edits.len() as u64, edits.keys_taken());
        if let (Some(memo), Some(sieve)) = (sink.memo(), sieve) {
            let base = self.index.view(source_of(sink), Some(root)).wait()?;
            let mut tip = Tip::bare(Some(root), base.count());
            tip.lacks.sieve = Some(sieve);
            tip.seat.leave(tip.base, &Arc::new(base));
            tip.kept(Some(memo), &root);
        }
        Ok(())
    }

    /// Begins a sieve where that pays, and ends one that is of no more use.
    fn sift(&self, sink: &dyn Sink, tip: &mut Tip, base: &I::View) {
        if tip
            .lacks
            .sieve
            .as_ref()
            .is_some_and(|sieve| sieve.is_over())
        {
            tip.lacks = Lacks::default();
        }
        if tip.lacks.sieve.is_some() || !Sieve::pays(tip.lacks.misses, tip.entries) {
            return;
        }
        let sieve = Arc::new(Sieve::new(tip.entries));
        for delta in tip.lays().iter().flatten().flat_map(Lay::deltas) {
            delta.places().for_each(|at| sieve.add(delta.key(at)));
        }
        tip.lacks = Lacks {
            misses: 0,
            sieve: sieve.walk(sink, &self.index, tip.base, base),
        };
    }

    /// Takes over what a sweep has merged, and begins the next part of it; where there is no thread to spare,
    /// merges as many keys of the old deltas as their share is by now. All are merged when the young ones
    /// have come three quarters of the way that is left to them.
    fn merge_share(&self, sink: &dyn Sink, tip: &mut Tip) -> Result<()> {
        let Some(mut old) = tip.old.take() else {
            return Ok(());
        };
        let keys = u64::from(old.keys());
        let share = |come: u64, way: u64| {
            let way = (way / 4 * 3).max(1);
            (u128::from(keys) * u128::from(come)).div_ceil(u128::from(way)) as u64
        };
        let upto = self.measures(&tip.young, tip.entries);
        let upto = upto.map(|measure| share(measure.come, measure.way));
        let upto = upto.into_iter().fold(0, u64::max).min(keys) as u32;
        let part = (old.keys() / PARTS).max(self.merge_min);
        let mut failed = false;
        if let Some(sweep) = &old.sweep {
            let late =
                upto > old.merged.saturating_add(2 * part) || self.is_full(&tip.young, tip.entries);
            let outcome = sweep.outcome(sink, late);
            if matches!(outcome, Outcome::UnderWay) {
                tip.old = Some(old);
                return Ok(());
            }
            let old = Arc::make_mut(&mut old);
            old.sweep = None;
            match outcome {
                Outcome::Merged(part) => {
                    tip.base = part.base;
                    (old.merged, old.last) = (part.merged, part.last);
                    if old.merged == old.keys() {
                        return Ok(());
                    }
                }
                Outcome::UnderWay | Outcome::Nothing => failed = true,
            }
        }
        if old.merged <= upto && !failed && !self.is_full(&tip.young, tip.entries) {
            let (index, base, mut rest) = (self.index.clone(), tip.base, Old::clone(&old));
            Arc::make_mut(&mut old).sweep = Sweep::begin(sink, move |sink| {
                let mut log = EditLog::new();
                rest.tell(rest.keys().min(rest.merged.saturating_add(part)), &mut log)?;
                Ok(Part {
                    base: index.apply(sink, base, &log.sorted())?,
                    merged: rest.merged,
                    last: rest.last,
                })
            });
        }
        let few = upto < old.keys() && upto.saturating_sub(old.merged) < self.merge_min;
        if few || old.sweep.is_some() {
            tip.old = Some(old);
            return Ok(());
        }
        let mut log = EditLog::new();
        Arc::make_mut(&mut old).tell(upto, &mut log)?;
        if !log.is_empty() {
            tip.base = self.index.apply(sink, tip.base, &log.sorted())?;
        }
        tip.old = (old.merged < old.keys()).then_some(old);
        Ok(())
    }

    /// Makes the young deltas old, if they are many and no others are.
    fn flip(&self, sink: &dyn Sink, tip: &mut Tip) -> Result<()> {
        if !self.is_full(&tip.young, tip.entries) || tip.old.is_some() {
            return Ok(());
        }
        let list = tip.young.counter.gather(sink)?;
        tip.old = Old::of(&tip.young, list).map(Arc::new);
        tip.young = Young::default();
        tip.era += 1;
        Ok(())
    }

    fn is_full(&self, young: &Young, entries: u64) -> bool {
        let measures = self.measures(young, entries);
        measures.iter().any(|measure| measure.come >= measure.most)
    }

    /// How much has come of the young deltas: of bytes, which take memory; of deltas, which take slots; of
    /// edits, which are to be few beside what a small map holds.
    fn measures(&self, young: &Young, entries: u64) -> [Measure; 3] {
        let edits = EDITS_LEAST.max(entries / ENTRIES_PER_EDIT * 2);
        let bytes = self.most(entries, young.edits, young.bytes);
        let young_max = bytes / 3 * 2;
        let half = |come: u64, most: u64| Measure {
            come,
            most,
            way: most / 2,
        };
        [
            Measure {
                way: bytes - young_max,
                ..half(young.bytes, young_max)
            },
            half(young.counter.count().into(), YOUNG_MAX.into()),
            half(young.edits, edits),
        ]
    }

    /// Merges all deltas and `edits` into the base; a root without deltas.
    pub(super) fn merge_all(
        &self,
        sink: &dyn Sink,
        tip: &Tip,
        edits: Option<&Edits>,
    ) -> Result<Option<Reference>> {
        let mut base = tip.base;
        let mut old = tip.old.as_deref().cloned();
        let sweep = old.as_mut().and_then(|old| old.sweep.take());
        let swept = sweep.map(|sweep| sweep.outcome(sink, true));
        if let (Some(old), Some(Outcome::Merged(part))) = (&mut old, swept) {
            base = part.base;
            old.merged = part.merged;
        }
        let (young, old) = (tip.young.lay(), old.map(|old| (old.lay, old.merged)));
        let mut young = Row::of(young.as_ref(), 0);
        let mut old = Row::of(
            old.as_ref().map(|(lay, _)| lay),
            old.as_ref().map_or(0, |old| old.1),
        );
        let mut edits = edits.into_iter().flat_map(Edits::iter).peekable();
        // A part at a time, so that the memory for it does not grow with what there is to merge.
        let mut log = EditLog::new();
        loop {
            let key = [old.key(), young.key(), edits.peek().map(|(key, _)| *key)];
            let Some(first) = key.iter().flatten().min().copied() else {
                break;
            };
            let [in_old, in_young, in_edits] = key.map(|key| key == Some(first));
            // Of several edits to a key the one that comes last counts.
            let edit = match (edits.peek(), in_edits, in_young) {
                (Some((_, edit)), true, _) => *edit,
                (_, _, true) => young.edit(),
                _ => old.edit(),
            };
            log.push(first, edit)?;
            old.pass(in_old);
            young.pass(in_young);
            edits.next_if(|_| in_edits);
            if log.bytes() >= PART_BYTES {
                base = self
                    .index
                    .apply(sink, base, &std::mem::take(&mut log).sorted())?;
            }
        }
        if !log.is_empty() {
            base = self.index.apply(sink, base, &log.sorted())?;
        }
        Ok(base)
    }
}

/// The newest edits of a lay in order, from one of them on.
struct Row<'a> {
    lay: Option<&'a Lay>,
    items: std::vec::IntoIter<Item>,
    next: Option<Item>,
}

impl<'a> Row<'a> {
    fn of(lay: Option<&'a Lay>, from: u32) -> Self {
        let mut items = Vec::new();
        if let Some(lay) = lay {
            lay.each(|item| items.push(item));
        }
        let mut items = items.into_iter();
        let next = items.nth(from as usize);
        Self { lay, items, next }
    }

    fn key(&self) -> Option<&'a [u8]> {
        Some(self.lay?.key(self.next?))
    }

    fn edit(&self) -> Edit<'a> {
        let there = self.lay.zip(self.next);
        there.map_or(Edit::Delete, |(lay, item)| lay.edit(item))
    }

    fn pass(&mut self, pass: bool) {
        if pass {
            self.next = self.items.next();
        }
    }
}

/// One measure of what has come of the young deltas.
struct Measure {
    come: u64,
    /// At which they become old.
    most: u64,
    /// At which those before them are to be merged.
    way: u64,
}

impl Young {
    /// With one more delta.
    fn with(&self, sink: &dyn Sink, draft: Draft) -> Result<Self> {
        let (reference, delta) = draft.store(sink)?;
        let edits = u64::from(delta.edits());
        let (counter, lists) = self.counter.push(sink, reference)?;
        let (generation, reach) = self.push(delta);
        Ok(Self {
            counter,
            bytes: self.bytes + u64::from(reference.length) + lists,
            edits: self.edits + edits,
            generation,
            reach,
        })
    }

    fn push(&self, delta: Delta) -> (Arc<Generation>, Reach) {
        match self.generation.push(&self.reach, delta) {
            Ok(reach) => (self.generation.clone(), reach),
            // Too many attempts of others in between: those that count go elsewhere.
            Err(delta) => {
                let mine = self.lay();
                let mine = mine.iter().flat_map(Lay::deltas);
                Generation::of(mine.chain([&delta]).cloned().collect())
            }
        }
    }
}

/// Whether an edit changes what is there.
fn changes(edit: Edit<'_>, before: Option<&Found>) -> bool {
    match (edit, before) {
        (Edit::Delete, before) => before.is_some(),
        (Edit::Put(_), None) => true,
        (Edit::Put(Value::Inline(new)), Some(Found::Inline(old))) => new != &old[..],
        (Edit::Put(Value::Apart(new)), Some(Found::Apart(old))) => new != *old,
        (Edit::Put(_), Some(_)) => true,
    }
}
