//! A root in memory, with what its deltas lay over the base.
//!
//! ```text
//!   young   deltas since the last flip         looked at first
//!   old     deltas before it                   a sweep merges them into the base, key by key; then
//!   base    a root of the index below          they are dropped, and the young become old
//! ```
//!
//! A base that a part of the old deltas was merged into answers the same below them as before: what
//! was merged is what lies over it.

use std::borrow::Cow;
use std::sync::Arc;

use travertine_engine::contract::{Error, Op, Record, Reference, Result};
use travertine_engine::front::{Kept, Memo};

use super::lists::Counter;
use super::load::load;
use super::overlay::{Generation, Lay, Reach};
use super::root::{OldRoot, Root};
use super::seat::Seat;
use super::sieve::Sieve;
use super::sweep::Sweep;
use super::tree::{Item, Place};
use crate::edits::EditLog;
use crate::records::{JOURNAL_ROOT, Source};

/// A root in memory.
#[derive(Debug)]
pub(super) struct Tip {
    pub(super) base: Option<Reference>,
    pub(super) entries: u64,
    /// One for all tips between which none of it was merged.
    pub(super) old: Option<Arc<Old>>,
    pub(super) young: Young,
    /// The line of the memo, and how many flips there were in it.
    pub(super) line: Option<u64>,
    pub(super) era: u64,
    /// For the view of the base that a writer reads, which keeps nothing open.
    pub(super) seat: Seat,
    pub(super) lacks: Lacks,
}

/// What is known of keys that are not there.
#[derive(Debug, Clone, Default)]
pub(super) struct Lacks {
    /// So many were looked for in the base in vain.
    pub(super) misses: u64,
    /// Once they are many.
    pub(super) sieve: Option<Arc<Sieve>>,
}

/// Deltas that a sweep merges into the base.
#[derive(Debug, Clone)]
pub(super) struct Old {
    pub(super) list: Reference,
    pub(super) count: u32,
    pub(super) bytes: u64,
    /// The newest edit to each key.
    pub(super) lay: Lay,
    /// So many keys are merged, this one the last.
    pub(super) merged: u32,
    pub(super) last: Option<Item>,
    /// Merges some more of them into the base.
    pub(super) sweep: Option<Arc<Sweep>>,
    memory: u64,
}

/// Deltas that come.
#[derive(Debug, Clone, Default)]
pub(super) struct Young {
    pub(super) counter: Counter,
    pub(super) bytes: u64,
    pub(super) edits: u64,
    pub(super) generation: Arc<Generation>,
    pub(super) reach: Reach,
}

impl Tip {
    /// A root of the index below, and no deltas.
    pub(super) fn bare(base: Option<Reference>, entries: u64) -> Self {
        Self {
            base,
            entries,
            old: None,
            young: Young::default(),
            line: None,
            era: 0,
            seat: Seat::default(),
            lacks: Lacks::default(),
        }
    }

    /// The root that a record is, its deltas read; `None` if it is one of the index below, or of
    /// anything else.
    pub(super) fn read(source: Arc<dyn Source>, root: &Reference) -> Op<Option<Self>> {
        source.read(root).then(move |record| {
            if record.kind() != JOURNAL_ROOT {
                return Op::ok(None);
            }
            Self::of(source, &record).map(Some)
        })
    }

    fn of(source: Arc<dyn Source>, record: &Record) -> Op<Self> {
        let root = match Root::decode(record) {
            Ok(root) => root,
            Err(error) => return Op::err(error),
        };
        let old = match &root.old {
            Some(old) => Old::read(&source, old).map(|old| Some(Arc::new(old))),
            None => Op::ok(None),
        };
        old.then(move |old| {
            load(&source, root.young.named()).map(move |loaded| {
                let bytes = loaded.bytes;
                let edits = loaded.deltas.iter().map(|delta| u64::from(delta.edits()));
                let edits = edits.sum();
                let (generation, reach) = Generation::of(loaded.deltas);
                Self {
                    base: root.base,
                    entries: root.entries,
                    old,
                    young: Young {
                        counter: root.young.into_owned(),
                        bytes,
                        edits,
                        generation,
                        reach,
                    },
                    line: None,
                    era: 0,
                    seat: Seat::default(),
                    lacks: Lacks::default(),
                }
            })
        })
    }

    /// Has the memo keep it, as what was made of this root.
    pub(super) fn kept(mut self, memo: Option<&Memo>, root: &Reference) -> Arc<Self> {
        let Some(memo) = memo else {
            return Arc::new(self);
        };
        let line = *self.line.get_or_insert_with(|| memo.line());
        let kept = Kept {
            line,
            era: self.era,
            bytes: self.bytes(),
        };
        let tip = Arc::new(self);
        memo.put(root.oid, tip.clone(), kept);
        tip
    }

    /// Notes what the view of the base keeps, where nothing else is new.
    pub(super) fn holds(&self, memo: Option<&Memo>, view: u64) {
        self.seat.holds(view);
        if let (Some(memo), Some(line)) = (memo, self.line) {
            memo.holds(line, self.bytes());
        }
    }

    /// Bytes in memory, of all tips of its line.
    fn bytes(&self) -> u64 {
        let old = self.old.as_ref().map_or(0, |old| old.memory);
        let sieve = self.lacks.sieve.as_ref().map_or(0, |sieve| sieve.bytes());
        old + self.young.generation.bytes() + self.seat.bytes() + sieve
    }

    /// What a root states of it.
    pub(super) fn root(&self) -> Root<'_> {
        Root {
            base: self.base,
            entries: self.entries,
            old: self.old.as_ref().map(|old| OldRoot {
                list: old.list,
                count: old.count,
                merged: old.merged,
                bytes: old.bytes,
            }),
            young: Cow::Borrowed(&self.young.counter),
            young_bytes: self.young.bytes,
        }
    }

    /// Whether it has any deltas.
    pub(super) fn is_bare(&self) -> bool {
        self.old.is_none() && self.young.counter.count() == 0
    }

    /// What lies over the base, the upper one first.
    pub(super) fn lays(&self) -> [Option<Lay>; 2] {
        [
            self.young.lay(),
            self.old.as_ref().map(|old| old.lay.clone()),
        ]
    }
}

impl Lacks {
    /// A key that is put was not there.
    pub(super) fn miss(&mut self, key: &[u8]) {
        match &self.sieve {
            Some(sieve) => sieve.add(key),
            None => self.misses += 1,
        }
    }
}

impl Young {
    pub(super) fn lay(&self) -> Option<Lay> {
        Lay::of(&self.generation, &self.reach)
    }
}

impl Old {
    /// What was young, from now on old.
    pub(super) fn of(young: &Young, list: Reference) -> Option<Self> {
        let lay = young.lay()?.newest();
        Some(Self {
            list,
            count: young.counter.count(),
            bytes: young.bytes + u64::from(list.length),
            lay,
            merged: 0,
            last: None,
            sweep: None,
            memory: young.generation.bytes(),
        })
    }

    fn read(source: &Arc<dyn Source>, root: &OldRoot) -> Op<Self> {
        let root = root.clone();
        let named = [(root.list, root.count)].into_iter();
        load(source, named).and_then(move |loaded| {
            let bytes = loaded.bytes;
            let (generation, reach) = Generation::of(loaded.deltas);
            let none = || Error::corrupt("the old deltas of a journal hold no edit");
            let lay = Lay::of(&generation, &reach).ok_or_else(none)?.newest();
            let mut old = Self {
                list: root.list,
                count: root.count,
                bytes,
                lay,
                merged: 0,
                last: None,
                sweep: None,
                memory: generation.bytes(),
            };
            if root.merged > old.keys() {
                return Err(Error::corrupt(format!(
                    "a journal states that {} of {} keys are merged",
                    root.merged,
                    old.keys()
                )));
            }
            old.advance(root.merged, |_| ());
            Ok(old)
        })
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> u32 {
        self.lay.items()
    }

    /// Counts keys as merged, up to so many of them, and tells their edits.
    pub(super) fn advance(&mut self, upto: u32, mut tell: impl FnMut(Item)) {
        while self.merged < upto {
            let after = match self.last {
                Some(last) => Place::end(self.lay.key(last)),
                None => Place::start(&[]),
            };
            let Some(item) = self.lay.after(after) else {
                return;
            };
            tell(item);
            self.last = Some(item);
            self.merged += 1;
        }
    }

    /// As [`Old::advance`], telling a log.
    pub(super) fn tell(&mut self, upto: u32, log: &mut EditLog) -> Result<()> {
        let (lay, mut told) = (self.lay.clone(), Ok(()));
        self.advance(upto, |item| {
            if let Err(error) = log.push(lay.key(item), lay.edit(item)) {
                told = Err(error);
            }
        });
        told
    }
}

/// Refuses what only damage can bring about.
pub(super) fn fewer(entries: u64) -> Result<u64> {
    entries
        .checked_sub(1)
        .ok_or_else(|| Error::corrupt("a journal states fewer entries than there are"))
}
