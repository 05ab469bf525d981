//! Inner nodes that a view keeps at hand: read from below once, then searched with no call, no count
//! and no lock, by any number of threads.
//!
//! ```text
//!   top ──> below: [· Held · · Held ·]     a place for each child, filled when a descent met it
//!                     └──> below: [· · ·]
//!
//!   Held ──> lasts   [ 7 │ 15 │ 23 …                      the last head of each block
//!        └─> blocks  [ heads 0–7 │ references 0–7 ][ heads 8–15 │ …      three lines each
//! ```
//!
//! Promises no more than [`ROOM`] bytes a view, each node in bytes of its own, so that nothing larger
//! is kept alive; a view that is asked once or twice keeps none. Leaves are never kept: caches and
//! maps are the business of the floors below. What is kept of a leaf is its [filter](super::filter), and
//! only in a view that is asked for absent keys.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use travertine_engine::contract::{Error, Oid, Record, Reference, Result, near};

use super::filter::Filters;
use super::node::{Frame, Node};
use crate::edits::head_of;

/// Most bytes that a view keeps nodes in, beside its top node.
const ROOM: usize = 16 << 20;
/// A view begins to keep nodes after so many that it had to read.
const READS: usize = 8;
/// What an absent key weighs for filters, where one that is there weighs one against them: a leaf that is
/// read for nothing costs so much more than a filter that is.
const MISS: i32 = 4;
/// Filters are kept and looked at from this weight on.
const WORTH: i32 = 16 * MISS;
const WEIGHT_MAX: i32 = 4096;
/// One answer in so many is weighed while filters are looked at, so that hardly any is a write.
const SAMPLE: i32 = 32;
/// Children of a block: their heads are a line.
const BLOCK: usize = 8;

/// A node and those of its children that are kept.
///
/// Of an inner node what a descent needs lies once more by itself: heads as numbers, eight in a block
/// beside the references of their children, and the last head of each block in a row of their own. A
/// search counts those that are less in the row, then in one block, with no branch to guess. Children
/// lie where their places are, so that a step down waits for a row and a block, and for nothing else.
#[derive(Debug)]
pub(super) struct Held {
    lasts: Box<[u64]>,
    blocks: Box<[Block]>,
    /// What all keys begin with, if that is short.
    prefix: Option<Prefix>,
    below: OnceLock<Box<[OnceLock<Self>]>>,
    /// Of its children, if those are leaves.
    filters: OnceLock<Filters>,
    record: Record,
    frame: Frame,
}

#[derive(Debug)]
#[repr(align(64))]
struct Block {
    heads: [u64; BLOCK],
    references: [Packed; BLOCK],
}

/// A reference in sixteen bytes, four in a line.
#[derive(Debug, Clone, Copy)]
struct Packed {
    oid: Option<Oid>,
    /// With the two flags above it.
    length: u32,
    check: u32,
}

const WEAK: u32 = 1 << 31;
const LEAF: u32 = 1 << 30;

impl Packed {
    const NONE: Self = Self {
        oid: None,
        length: 0,
        check: 0,
    };

    fn of(reference: Reference) -> Self {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let flags = flag(reference.weak, WEAK) | flag(reference.leaf, LEAF);
        Self {
            oid: Some(reference.oid),
            length: reference.length | flags,
            check: reference.check,
        }
    }

    #[inline]
    fn reference(self) -> Option<Reference> {
        Some(Reference {
            oid: self.oid?,
            length: self.length & !(WEAK | LEAF),
            check: self.check,
            weak: self.length & WEAK != 0,
            leaf: self.length & LEAF != 0,
        })
    }
}

/// The head of a key, and the block of a node in which it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nearest {
    head: u64,
    block: usize,
}

/// At most eight bytes, as a head.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    bytes: usize,
    head: u64,
    /// The bits of a head that belong to it.
    mask: u64,
}

impl Prefix {
    fn of(prefix: &[u8]) -> Option<Self> {
        let mask = match prefix.len() {
            0 => 0,
            bytes @ 1..=8 => u64::MAX << (64 - 8 * bytes),
            _ => return None,
        };
        Some(Self {
            bytes: prefix.len(),
            head: head_of(prefix),
            mask,
        })
    }

    /// The head of `key` after this prefix, if it begins with it.
    #[inline]
    fn strip(self, key: &[u8]) -> Option<u64> {
        let rest = key.get(self.bytes..)?;
        ((head_of(key) ^ self.head) & self.mask == 0).then(|| head_of(rest))
    }
}

impl Held {
    /// Takes the node in `record`, which must be of this level.
    pub(super) fn of(record: Record, level: u8) -> Result<Self> {
        let node = Node::of(&record, level)?;
        let (frame, prefix) = (node.frame(), Prefix::of(node.prefix()));
        let (mut lasts, mut blocks) = (Vec::new(), Vec::new());
        for first in (0..node.children()).step_by(BLOCK) {
            let mut block = Block {
                heads: [u64::MAX; BLOCK],
                references: [Packed::NONE; BLOCK],
            };
            for (nth, place) in block.references.iter_mut().enumerate() {
                *place = record
                    .reference(first + nth)
                    .map_or(Packed::NONE, Packed::of);
            }
            for (number, head) in block.heads.iter_mut().zip(&node.heads()[first..]) {
                *number = u64::from_be_bytes(*head);
            }
            lasts.push(block.heads[BLOCK - 1]);
            blocks.push(block);
        }
        Ok(Self {
            lasts: lasts.into(),
            blocks: blocks.into(),
            prefix,
            below: OnceLock::new(),
            filters: OnceLock::new(),
            record,
            frame,
        })
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn node(&self) -> Node<'_> {
        Node::again(&self.record, &self.frame)
    }

    /// The block in which `key` lies, if it lies anywhere; `None`: only whole keys tell.
    #[inline]
    pub(super) fn nearest(&self, key: &[u8]) -> Option<Nearest> {
        let head = self.prefix?.strip(key)?;
        let block = match self.lasts.len() {
            0..=64 => self.lasts.iter().filter(|last| **last < head).count(),
            _ => self.lasts.partition_point(|last| *last < head),
        };
        Some(Nearest { head, block })
    }

    /// Asks for what [`Held::nearest`] will look at.
    #[inline]
    pub(super) fn bring_lasts(&self) {
        let lasts = &self.lasts[..self.lasts.len().min(BLOCK * BLOCK)];
        // A line holds eight.
        for last in lasts.iter().step_by(BLOCK).chain(lasts.last()) {
            near::bring_value(last);
        }
    }

    /// Asks for what [`Held::child_at`] and [`Held::reference`] will look at.
    #[inline]
    pub(super) fn bring_block(&self, nearest: Option<Nearest>) {
        if let Some(block) = nearest.and_then(|nearest| self.blocks.get(nearest.block)) {
            near::bring_value(block);
        }
    }

    /// Asks for what [`Held::child`] will look at, and the node that is there.
    #[inline]
    pub(super) fn bring_child(&self, child: usize) {
        if let Some(place) = self.below.get().and_then(|below| below.get(child)) {
            near::bring_value(place);
        }
    }

    /// The child in which `key` lies, if it lies anywhere.
    #[inline]
    pub(super) fn child_of(&self, key: &[u8]) -> Result<usize> {
        self.child_at(self.nearest(key), key)
    }

    /// The same, where the nearest block is known.
    #[inline]
    pub(super) fn child_at(&self, nearest: Option<Nearest>, key: &[u8]) -> Result<usize> {
        let found = nearest.and_then(|nearest| Some((nearest, self.blocks.get(nearest.block)?)));
        let Some((Nearest { head, block: at }, block)) = found else {
            return self.node().child_of(key);
        };
        near::bring_value(block);
        let heads = &block.heads;
        // The last is not less. Three looks, and no branch.
        let less = |at: usize| usize::from(heads[at % BLOCK] < head);
        let mut within = 4 * less(3);
        within += 2 * less(within + 1);
        within += less(within);
        // Where heads are alike, only whole keys tell.
        if heads[within % BLOCK] == head {
            return self.node().child_of(key);
        }
        Ok(at * BLOCK + within)
    }

    /// The reference to the child with this index.
    #[inline]
    pub(super) fn reference(&self, child: usize) -> Result<Reference> {
        let block = self.blocks.get(child / BLOCK);
        block
            .and_then(|block| block.references[child % BLOCK].reference())
            .ok_or_else(|| Error::corrupt(format!("a B-tree node does not name its child {child}")))
    }

    /// The child with this index, if it is kept.
    #[inline]
    pub(super) fn child(&self, child: usize) -> Option<&Self> {
        self.below.get()?.get(child)?.get()
    }

    /// Whether the child with this index, a leaf, is known not to hold the key of this hash.
    #[inline]
    pub(super) fn lacks(&self, child: usize, hash: u64) -> bool {
        let filters = self.filters.get();
        filters.is_some_and(|filters| filters.lacks(child, hash))
    }

    /// Asks for what [`Held::lacks`] will look at.
    #[inline]
    pub(super) fn bring_filter(&self, child: usize) {
        if let Some(filters) = self.filters.get() {
            filters.bring(child);
        }
    }
}

/// What a view has left to keep nodes in.
#[derive(Debug)]
pub(super) struct Room {
    left: AtomicUsize,
    reads: AtomicUsize,
    /// What filters are worth to those who ask.
    weight: AtomicI32,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            left: AtomicUsize::new(ROOM),
            reads: AtomicUsize::new(0),
            weight: AtomicI32::new(0),
        }
    }

    /// Keeps a child of `held` that was read, an inner node of this level, if there is room.
    pub(super) fn keep<'h>(
        &self,
        held: &'h Held,
        child: usize,
        record: &Record,
        level: u8,
    ) -> Result<Option<&'h Held>> {
        // Threads may race: then a few reads count once, which is of no matter.
        let reads = self.reads.load(Ordering::Relaxed);
        if reads < READS {
            self.reads.store(reads + 1, Ordering::Relaxed);
            return Ok(None);
        }
        let children = held.node().children();
        let places = children * size_of::<OnceLock<Held>>();
        let empty = || Ok((0..children).map(|_| OnceLock::new()).collect());
        let Some(below) = self.fill(&held.below, places, empty)? else {
            return Ok(None);
        };
        let Some(place) = below.get(child) else {
            return Ok(None);
        };
        // Its record, and about as much again for what is searched.
        let bytes = 2 * record.encoded().len();
        self.fill(place, bytes, || Held::of(record.detached(), level))
    }

    /// What was taken of it.
    pub(super) fn taken(&self) -> usize {
        ROOM - self.left.load(Ordering::Relaxed).min(ROOM)
    }

    /// Whether filters are to be looked at.
    #[inline]
    pub(super) fn filters(&self) -> bool {
        self.weight.load(Ordering::Relaxed) >= WORTH
    }

    /// Takes note that a filter was looked at for the key of this hash, and whether that saved a read.
    #[inline]
    pub(super) fn filtered(&self, hash: u64, saved: bool) {
        if hash.is_multiple_of(SAMPLE as u64) {
            self.weigh(if saved { SAMPLE * MISS } else { -SAMPLE });
        }
    }

    /// Takes note that a child of `held`, this leaf, was read for a key that it does not hold.
    #[cold]
    pub(super) fn missed(&self, held: &Held, child: usize, leaf: &Node<'_>) -> Result<()> {
        self.weigh(MISS);
        if !self.filters() {
            return Ok(());
        }
        let node = held.node();
        let bytes = Filters::bytes_below(&node);
        let filters = self.fill(&held.filters, bytes, || Ok(Filters::below(&node)))?;
        filters.map_or(Ok(()), |filters| filters.learn(child, leaf))
    }

    /// Threads may race: then one of them has weighed for nothing.
    fn weigh(&self, by: i32) {
        let weight = self.weight.load(Ordering::Relaxed);
        let next = (weight + by).clamp(0, WEIGHT_MAX);
        if next != weight {
            self.weight.store(next, Ordering::Relaxed);
        }
    }

    /// What lies in a place, or is made for it if there is room. What is not put there takes none: it could
    /// not be made, or another thread was quicker.
    fn fill<'p, T>(
        &self,
        place: &'p OnceLock<T>,
        bytes: usize,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Option<&'p T>> {
        if let Some(there) = place.get() {
            return Ok(Some(there));
        }
        let take = |left: usize| left.checked_sub(bytes);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.left.fetch_update(set, fetch, take).is_err() {
            return Ok(None);
        }
        let put = make().map(|mine| place.set(mine));
        if !matches!(put, Ok(Ok(()))) {
            self.left.fetch_add(bytes, Ordering::Relaxed);
        }
        put.map(|_| place.get())
    }
}
