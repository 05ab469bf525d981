//! Journaled commits for any index: a small commit appends what it changed, and no node is rewritten.
//!
//! An index by itself copies every node that a commit touches, up to its root. A [`Journal`] over it
//! stores the edits instead, as one small record, and lays them over the index in memory. Later they
//! are merged into it many at a time, so that a node that many commits touched is written once.
//!
//! ```text
//!   name ──> root ──> base             a root of the index below
//!             ├─────> old deltas       being merged into the base, some keys with every commit
//!             └─────> young deltas     one for each commit; they become old when they are too many
//!
//!   find:  young, then old, then base        count: in the root        a snapshot: a root, as ever
//! ```
//!
//! - **The same map.** It is an [`Index`] itself and answers as the one below it would. Any root of
//!   the index below is a root of the journal: it has no deltas yet.
//! - **Every root is whole.** It names all that it is made of, so a commit that survives a crash is
//!   there as it was, nothing is replayed or finished after opening, and any retained commit can be read.
//! - **Bounded.** Deltas hold [`Journal::bytes_max`] at most. An engine that has a thread to spare merges
//!   beside its writers, part by part as they bring new ones, and the next commit takes over what was made;
//!   commits wait only where a part is late. Elsewhere, as in a simulated environment, each commit does a
//!   share of the merge in its own turn, by the bytes that it brings: then the same edits give the same
//!   records.
//! - **Large batches** are done to the index below at once, with all deltas, since a batch that touches
//!   most nodes anyway gains nothing by waiting.
//!
//! Deltas are read back when a root is opened that nobody remembers; the engine's
//! [`Memo`](travertine_engine::front::Memo) holds what the newest ones make. [`Map::checkpoint`] merges
//! all of them, for whoever wants the next opening to be quick.
//!
//! When not: an index whose commits are all large, or that is read from a cold store at many different
//! commits, is better off bare. A journal over a journal is of no use, and refused.
//!
//! The bytes are drawn in `docs/journal.md`.
//!
//! [`Map::checkpoint`]: crate::Map::checkpoint

mod commit;
mod cursor;
mod delta;
mod lists;
mod load;
mod overlay;
mod root;
mod seat;
mod shelf;
mod sieve;
mod slots;
mod sweep;
mod table;
mod tip;
mod tree;
mod verify;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use travertine_engine::contract::{Error, Op, Record, Reference, Result};

use crate::edits::Edits;
use crate::index::{Index, View};
use crate::records::{JOURNAL_DELTA, JOURNAL_LIST, JOURNAL_ROOT, Sink, Source, source_of};

use self::tip::Tip;

pub use self::cursor::JournalCursor;
pub use self::view::JournalView;

const FORMAT: u8 = 1;

/// Most that [`Journal::bytes_max`] may say.
const BYTES_MAX: u64 = 128 << 20;

/// However small the map, its deltas may hold as much.
const BYTES_SMALL: u64 = 48 << 20;

/// Of a larger map, about this part of its entries.
const BYTES_SHARE: u64 = 16;

/// An index with journaled commits. Options shape what is written next; any root reads with any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journal<I> {
    /// The index below.
    pub index: I,
    /// Most bytes of deltas, in memory and to be read back by whoever opens a commit: 48 Mi of a map
    /// whose entries take no more than 768 Mi, a sixteenth of what they take in a larger one, for the
    /// more edits each node is written once; and never more than this. 512 to 128 Mi; 128 Mi by
    /// default. A merge begins at two thirds of the bytes, and is done with all of those while the last
    /// third comes.
    pub bytes_max: u64,
    /// Least keys that are merged at a time, unless fewer are left: so many share the cost of the
    /// path to them. 64 by default.
    pub merge_min: u32,
}

impl<I> Journal<I> {
    /// A journal over an index, with the usual bounds.
    pub const fn over(index: I) -> Self {
        Self {
            index,
            bytes_max: BYTES_MAX,
            merge_min: 64,
        }
    }

    /// Most bytes of all deltas, over a map of so many entries, where so many edits take so many bytes.
    fn most(&self, entries: u64, edits: u64, bytes: u64) -> u64 {
        let map = u128::from(entries) * u128::from(bytes) / u128::from(edits.max(1));
        let share = u64::try_from(map / u128::from(BYTES_SHARE)).unwrap_or(u64::MAX);
        let most = self.bytes_max.clamp(512, BYTES_MAX);
        share.max(BYTES_SMALL).min(most)
    }
}

impl<I: Default> Default for Journal<I> {
    fn default() -> Self {
        Self::over(I::default())
    }
}

impl<I: Index> Journal<I> {
    /// Merges all deltas into the index below, and returns a root that has none.
    pub fn checkpoint(
        &self,
        sink: &dyn Sink,
        root: Option<Reference>,
    ) -> Result<Option<Reference>> {
        match self.tip(sink, root)?.filter(|tip| !tip.is_bare()) {
            Some(tip) => self.merge_all(sink, &tip, None),
            None => Ok(root),
        }
    }

    /// What a root is, if it has deltas.
    fn tip(&self, sink: &dyn Sink, root: Option<Reference>) -> Result<Option<Arc<Tip>>> {
        let Some(root) = root else {
            return Ok(None);
        };
        if let Some(tip) = sink.memo().and_then(|memo| memo.get(root.oid)) {
            return Ok(Some(tip));
        }
        let read = Tip::read(source_of(sink), &root).wait()?;
        Ok(read.map(|tip| tip.kept(sink.memo(), &root)))
    }

    /// What a root is, and the view of its base.
    fn open(&self, sink: &dyn Sink, root: Option<Reference>) -> Result<Opened<I::View>> {
        let view = |base| {
            let view = self.index.view(source_of(sink), base).wait();
            view.map(Arc::new)
        };
        let (tip, base) = match self.tip(sink, root)? {
            Some(tip) => match tip.seat.view(tip.base) {
                Some(base) => return Ok(Opened { base, tip }),
                None => {
                    let base = view(tip.base)?;
                    (tip, base)
                }
            },
            None => {
                let base = view(root)?;
                (Arc::new(Tip::bare(root, base.count())), base)
            }
        };
        tip.seat.leave(tip.base, &base);
        Ok(Opened { base, tip })
    }
}

/// A root that was opened.
struct Opened<V> {
    base: Arc<V>,
    tip: Arc<Tip>,
}

impl<I: Index> Index for Journal<I> {
    type View = JournalView<I::View>;
    type Loader<'s> = I::Loader<'s>;

    fn view(&self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<Self::View> {
        let Some(root) = root else {
            return self.index.view(source, None).map(JournalView::bare);
        };
        let index = self.index.clone();
        let laid = move |source: Arc<dyn Source>, tip: Arc<Tip>| {
            let base = index.view(source.clone(), tip.base);
            base.map(move |base| match tip.is_bare() {
                true => JournalView::bare(base),
                false => JournalView::over(base, &tip, Some((root, source))),
            })
        };
        if let Some(tip) = source.memo().and_then(|memo| memo.get(root.oid)) {
            return laid(source, tip);
        }
        let index = self.index.clone();
        Tip::read(source.clone(), &root).then(move |tip| match tip {
            None => index.view(source, Some(root)).map(JournalView::bare),
            Some(tip) => {
                let tip = tip.kept(source.memo(), &root);
                laid(source, tip)
            }
        })
    }

    fn apply(
        &self,
        sink: &dyn Sink,
        root: Option<Reference>,
        edits: &Edits,
    ) -> Result<Option<Reference>> {
        self.commit(sink, root, edits)
    }

    fn loader<'s>(&self, sink: &'s dyn Sink) -> I::Loader<'s> {
        self.index.loader(sink)
    }

    fn inline_max(&self) -> usize {
        self.index.inline_max().min(1 << 20)
    }
}

/// The root of the index below that the root record of a journal names; `None` if that is empty.
pub fn base_of(record: &Record) -> Result<Option<Reference>> {
    Ok(root::Root::decode(record)?.base)
}

/// What a record of a journal says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Described {
    /// What the name of a map points to.
    Root {
        /// Entries of the map.
        entries: u64,
        /// Its deltas, those among them that are being merged, and the bytes of all.
        deltas: u64,
        /// See `deltas`.
        old: u64,
        /// See `deltas`.
        bytes: u64,
    },
    /// The edits of a commit.
    Delta {
        /// How many.
        edits: u64,
        /// The first key and the last.
        bounds: (Vec<u8>, Vec<u8>),
    },
    /// A list of deltas.
    List {
        /// Deltas under it.
        deltas: u64,
    },
}

/// Reads what a record says of itself, for people who look at one; `None` if it is none of a journal.
pub fn describe(record: &Record) -> Result<Option<Described>> {
    match record.kind() {
        JOURNAL_ROOT => {
            let root = root::Root::decode(record)?;
            let (old, old_bytes) = root.old.map_or((0, 0), |old| (old.count, old.bytes));
            Ok(Some(Described::Root {
                entries: root.entries,
                deltas: u64::from(root.young.count()) + u64::from(old),
                old: old.into(),
                bytes: root.young_bytes + old_bytes,
            }))
        }
        JOURNAL_DELTA => {
            let delta = delta::Delta::decode(record)?;
            let key = |at: Option<u32>| at.map_or(Vec::new(), |at| delta.key(at).to_vec());
            Ok(Some(Described::Delta {
                edits: delta.edits().into(),
                bounds: (key(delta.places().next()), key(delta.places().last())),
            }))
        }
        JOURNAL_LIST => match record.body().last_chunk::<4>() {
            Some(count) if record.body().len() == 8 => {
                let count = u32::from_le_bytes(*count);
                lists::decode(record, count)?;
                Ok(Some(Described::List {
                    deltas: count.into(),
                }))
            }
            _ => Err(Error::corrupt("a list of deltas has not 8 bytes")),
        },
        _ => Ok(None),
    }
}
