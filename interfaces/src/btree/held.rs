//! Inner nodes that a view keeps at hand: read from below once, then searched with no call, no count
//! and no lock, by any number of threads.
//!
//! ```text
//!   top ──> below: [· Held · · Held ·]     a place for each child, filled when a descent met it
//!                     └──> below: [· · ·]
//! ```
//!
//! Promises no more than [`ROOM`] bytes a view, each node in bytes of its own, so that nothing larger
//! is kept alive; a view that is asked once or twice keeps none. Leaves are never kept: caches and
//! maps are the business of the floors below.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use travertine_engine::contract::{Error, Record, Reference, Result};

use super::node::{Frame, Node};
use crate::edits::head_of;

/// Most bytes of nodes that a view keeps beside its top node.
const ROOM: usize = 8 << 20;
/// A view begins to keep nodes after so many that it had to read.
const READS: usize = 8;
/// Heads of a block: those of a line.
const BLOCK: usize = 8;

/// A node and those of its children that are kept.
///
/// Its heads lie once more as numbers, eight in a block, and the last of each block in a row of their
/// own: a search counts those that are less in the row, then in one block, with no branch to guess.
#[derive(Debug)]
pub(super) struct Held {
    record: Record,
    frame: Frame,
    lasts: Box<[u64]>,
    heads: Box<[[u64; BLOCK]]>,
    below: OnceLock<Box<[OnceLock<Box<Held>>]>>,
}

impl Held {
    /// Takes the node in `record`, which must be of this level.
    pub(super) fn of(record: Record, level: u8) -> Result<Self> {
        let node = Node::of(&record, level)?;
        let frame = node.frame();
        let (mut lasts, mut heads) = (Vec::new(), Vec::new());
        if level > 0 {
            for some in node.heads().chunks(BLOCK) {
                let mut block = [u64::MAX; BLOCK];
                for (number, head) in block.iter_mut().zip(some) {
                    *number = u64::from_be_bytes(*head);
                }
                lasts.push(block[some.len() - 1]);
                heads.push(block);
            }
        }
        Ok(Self {
            record,
            frame,
            lasts: lasts.into(),
            heads: heads.into(),
            below: OnceLock::new(),
        })
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn node(&self) -> Node<'_> {
        Node::again(&self.record, &self.frame)
    }

    /// The child in which `key` lies, if it lies anywhere.
    #[inline]
    pub(super) fn child_of(&self, key: &[u8]) -> Result<usize> {
        let node = self.node();
        let Some(rest) = key.strip_prefix(node.prefix()) else {
            return node.child_of(key);
        };
        let head = head_of(rest);
        let block = match self.lasts.len() {
            0..=64 => self.lasts.iter().filter(|last| **last < head).count(),
            _ => self.lasts.partition_point(|last| *last < head),
        };
        let Some(heads) = self.heads.get(block) else {
            return Ok(node.keys());
        };
        let less = heads.iter().filter(|other| **other < head).count();
        if heads.get(less).is_none_or(|other| *other == head) {
            // Only whole keys tell these apart.
            return node.child_of(key);
        }
        Ok(block * BLOCK + less)
    }

    /// The reference to the child with this index.
    pub(super) fn reference(&self, child: usize) -> Result<Reference> {
        self.record
            .reference(child)
            .ok_or_else(|| Error::corrupt(format!("a B-tree node does not name its child {child}")))
    }

    /// The child with this index, if it is kept.
    #[inline]
    pub(super) fn child(&self, child: usize) -> Option<&Self> {
        self.below.get()?.get(child)?.get().map(|held| &**held)
    }
}

/// What a view has left to keep nodes in.
#[derive(Debug)]
pub(super) struct Room {
    left: AtomicUsize,
    reads: AtomicUsize,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            left: AtomicUsize::new(ROOM),
            reads: AtomicUsize::new(0),
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
        let below = held
            .below
            .get_or_init(|| (0..children).map(|_| OnceLock::new()).collect());
        let Some(place) = below.get(child) else {
            return Ok(None);
        };
        let bytes = record.encoded().len();
        let take = |left: usize| left.checked_sub(bytes);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.left.fetch_update(set, fetch, take).is_err() {
            return Ok(None);
        }
        let mine = Held::of(record.detached(), level)?;
        Ok(Some(&**place.get_or_init(|| Box::new(mine))))
    }
}
