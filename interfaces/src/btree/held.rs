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

/// Most bytes that a view keeps nodes in, beside its top node.
const ROOM: usize = 16 << 20;
/// A view begins to keep nodes after so many that it had to read.
const READS: usize = 8;
/// Children of a block: their heads are a line.
const BLOCK: usize = 8;

/// A node and those of its children that are kept.
///
/// Of an inner node what a descent needs lies once more by itself: heads as numbers, eight in a block
/// beside the references of their children, and the last head of each block in a row of their own. A
/// search counts those that are less in the row, then in one block, with no branch to guess.
#[derive(Debug)]
pub(super) struct Held {
    lasts: Box<[u64]>,
    blocks: Box<[Block]>,
    /// What all keys begin with, if that is short.
    prefix: Option<Prefix>,
    below: OnceLock<Box<[OnceLock<Box<Held>>]>>,
    record: Record,
    frame: Frame,
}

#[derive(Debug)]
#[repr(align(64))]
struct Block {
    heads: [u64; BLOCK],
    references: [Option<Reference>; BLOCK],
}

/// At most eight bytes, as a head.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    bytes: usize,
    head: u64,
}

impl Prefix {
    fn of(prefix: &[u8]) -> Option<Self> {
        (prefix.len() <= 8).then(|| Self {
            bytes: prefix.len(),
            head: head_of(prefix),
        })
    }

    /// The head of `key` after this prefix, if it begins with it.
    #[inline]
    fn strip(self, key: &[u8]) -> Option<u64> {
        let rest = key.get(self.bytes..)?;
        let differs = (head_of(key) ^ self.head).leading_zeros() < 8 * self.bytes as u32;
        (!differs).then(|| head_of(rest))
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
                references: [None; BLOCK],
            };
            for (nth, place) in block.references.iter_mut().enumerate() {
                *place = record.reference(first + nth);
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

    /// The child in which `key` lies, if it lies anywhere.
    #[inline]
    pub(super) fn child_of(&self, key: &[u8]) -> Result<usize> {
        let Some(head) = self.prefix.and_then(|prefix| prefix.strip(key)) else {
            return self.node().child_of(key);
        };
        let block = match self.lasts.len() {
            0..=64 => self.lasts.iter().filter(|last| **last < head).count(),
            _ => self.lasts.partition_point(|last| *last < head),
        };
        match self.blocks.get(block) {
            // Where heads are alike, only whole keys tell.
            Some(Block { heads, .. }) if !heads.contains(&head) => {
                Ok(block * BLOCK + heads.iter().filter(|other| **other < head).count())
            }
            _ => self.node().child_of(key),
        }
    }

    /// The reference to the child with this index.
    #[inline]
    pub(super) fn reference(&self, child: usize) -> Result<Reference> {
        let block = self.blocks.get(child / BLOCK);
        block
            .and_then(|block| block.references[child % BLOCK])
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
        // Its record, and about as much again for what is searched.
        let bytes = 2 * record.encoded().len();
        let take = |left: usize| left.checked_sub(bytes);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.left.fetch_update(set, fetch, take).is_err() {
            return Ok(None);
        }
        let mine = Held::of(record.detached(), level)?;
        Ok(Some(&**place.get_or_init(|| Box::new(mine))))
    }
}
