//! The directory: which block holds which entries.
//!
//! Full blocks are counted from zero, and a node holds [`FAN_OUT`] of them, or as many nodes of the
//! level below. Where a block is found follows from its number; no key is compared.
//!
//! ```text
//!   root ──┬─> level 2, open    │ ■ │ ■ │            blocks 0 …       all below it are full
//!          ├─> level 1, open    │ ■ │ ■ │ ■ │            …
//!          └─> level 0, open    │ b │ b │            the newest blocks
//! ```
//!
//! The root names the open node of each level, so a further block is noted in a small record whatever
//! lies behind it: a level is touched once for [`FAN_OUT`] times of the one below. Trimming rewrites the
//! one path on which the first block lies, and drops what is left of it.
//!
//! ```text
//!  body of a node   0 format u8 = 1 │ 1 level u8 │ 2 zeros │ 8 first child u64     references: children
//! ```

use std::sync::Arc;

use travertine_engine::contract::{Error, NewRecord, Op, Record, Reference, Result};
use travertine_engine::front::Hint;

use super::CHAIN_NODE;
use crate::records::{Sink, Source};

/// Children of a node.
pub(super) const FAN_OUT: u64 = 1 << BITS;
/// Levels of nodes: enough for all numbers.
pub(super) const LEVELS: usize = 10;

const BITS: usize = 6;
const FORMAT: u8 = 1;
const BODY: usize = 16;

/// The number that the ancestor of a block has, `level` levels of children up.
fn up(block: u64, level: usize) -> u64 {
    block >> (BITS * level)
}

/// Whether a level has an open node if nothing is trimmed, with so many full blocks.
pub(super) fn may_be_open(full: u64, level: usize) -> bool {
    !up(full, level).is_multiple_of(FAN_OUT)
}

/// A directory under change. A clone that failed half-way can be thrown away.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    full: u64,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone)]
enum Slot {
    Empty,
    Stored(Reference),
    Open(Node),
}

/// The children from `from` on, which are never none.
#[derive(Debug, Clone)]
struct Node {
    from: u64,
    children: Vec<Reference>,
}

impl Directory {
    /// The directory whose open nodes these are.
    pub(super) fn new(full: u64, open: &[Option<Reference>]) -> Self {
        let slot = |node: &Option<Reference>| node.map_or(Slot::Empty, Slot::Stored);
        Self {
            full,
            slots: open.iter().map(slot).collect(),
        }
    }

    /// Notes a further block; `None`, if nothing in it and before it is wanted any more.
    pub(super) fn push(&mut self, sink: &dyn Sink, block: Option<Reference>) -> Result<()> {
        let Some(mut child) = block else {
            self.slots.fill_with(|| Slot::Empty);
            self.full += 1;
            return Ok(());
        };
        for level in 0..LEVELS {
            let at = up(self.full, level);
            let mut node = self.open(sink, level)?.unwrap_or_else(|| Node {
                from: at,
                children: Vec::new(),
            });
            node.children.push(child);
            if !(at + 1).is_multiple_of(FAN_OUT) {
                self.slots[level] = Slot::Open(node);
                self.full += 1;
                return Ok(());
            }
            child = node.store(sink, level)?;
            self.slots[level] = Slot::Empty;
        }
        Err(Error::full("the chain has no number left"))
    }

    /// Takes the last block out; `None`, if there is none.
    pub(super) fn pop(&mut self, source: &dyn Source) -> Result<Option<Reference>> {
        let filled = |slot: &Slot| !matches!(slot, Slot::Empty);
        let Some(top) = self.slots.iter().position(filled) else {
            return Ok(None);
        };
        let last = self.full - 1;
        for level in (0..=top).rev() {
            let Some(mut node) = self.open(source, level)? else {
                break;
            };
            let child = node.children.pop();
            self.slots[level] = match node.children.len() {
                0 => Slot::Empty,
                _ => Slot::Open(node),
            };
            let Some(below) = level.checked_sub(1) else {
                self.full = last;
                return Ok(child);
            };
            if let Some(child) = child {
                let record = source.read(&child).wait()?;
                let seen = Seen::open(&record, below, up(last, level))?;
                self.slots[below] = Slot::Open(seen.node(up(last, below) + 1)?);
            }
        }
        Err(gap(last))
    }

    /// Drops every block before this one.
    pub(super) fn trim(&mut self, sink: &dyn Sink, block: u64) -> Result<()> {
        for level in (0..LEVELS).rev() {
            let Some(mut node) = self.open(sink, level)? else {
                continue;
            };
            let changed = node.trim(sink, level, block)?;
            if node.children.is_empty() {
                self.slots[level] = Slot::Empty;
                continue;
            }
            if changed {
                self.slots[level] = Slot::Open(node);
            }
            return Ok(());
        }
        Ok(())
    }

    /// The reference of a block. Blocks where a record must be fetched.
    pub(super) fn find(&self, source: &dyn Source, block: u64) -> Result<Reference> {
        let top = level_of(self.full, block);
        let Some(node) = self.open(source, top)? else {
            return Err(gap(block));
        };
        let index = up(block, top).checked_sub(node.from);
        let child = index.and_then(|index| node.children.get(index as usize));
        let mut child = *child.ok_or_else(|| gap(block))?;
        for level in (0..top).rev() {
            let record = source.read(&child).wait()?;
            let seen = Seen::open(&record, level, up(block, level + 1))?;
            child = seen.child(up(block, level)).ok_or_else(|| gap(block))?;
        }
        Ok(child)
    }

    /// The last block, if there is one.
    pub(super) fn last(&self, source: &dyn Source) -> Result<Option<Reference>> {
        match self.slots.iter().all(|slot| matches!(slot, Slot::Empty)) {
            true => Ok(None),
            false => self.find(source, self.full - 1).map(Some),
        }
    }

    /// Stores what changed and returns the open node of each level.
    pub(super) fn store(&self, sink: &dyn Sink) -> Result<Vec<Option<Reference>>> {
        let store = |(level, slot): (usize, &Slot)| match slot {
            Slot::Empty => Ok(None),
            Slot::Stored(node) => Ok(Some(*node)),
            Slot::Open(node) => node.store(sink, level).map(Some),
        };
        self.slots.iter().enumerate().map(store).collect()
    }

    /// The open node of a level, decoded.
    fn open(&self, source: &(impl Source + ?Sized), level: usize) -> Result<Option<Node>> {
        match &self.slots[level] {
            Slot::Empty => Ok(None),
            Slot::Open(node) => Ok(Some(node.clone())),
            Slot::Stored(reference) => {
                let record = source.read(reference).wait()?;
                let at = up(self.full, level);
                let seen = Seen::open(&record, level, at / FAN_OUT)?;
                seen.node(at).map(Some)
            }
        }
    }
}

impl Node {
    fn store(&self, sink: &dyn Sink, level: usize) -> Result<Reference> {
        let mut body = [0; BODY];
        body[0] = FORMAT;
        body[1] = level as u8;
        body[8..].copy_from_slice(&self.from.to_le_bytes());
        let record = NewRecord {
            kind: CHAIN_NODE,
            references: &self.children,
            body: &[&body],
        };
        sink.store(&record, Hint::default())
    }

    /// Drops every block before this one, here and below, and tells whether there was any.
    fn trim(&mut self, sink: &dyn Sink, level: usize, block: u64) -> Result<bool> {
        let keep = up(block, level);
        let dead = keep
            .saturating_sub(self.from)
            .min(self.children.len() as u64);
        self.children.drain(..dead as usize);
        self.from += dead;
        let mut changed = dead > 0;
        let straddles = self.from == keep && keep << (BITS * level) < block;
        if let (true, Some(below), Some(child)) =
            (straddles, level.checked_sub(1), self.children.first_mut())
        {
            let record = sink.read(child).wait()?;
            let mut node = Seen::open(&record, below, keep)?.node((keep + 1) * FAN_OUT)?;
            if node.trim(sink, below, block)? {
                if node.children.is_empty() {
                    return Err(gap(block));
                }
                *child = node.store(sink, below)?;
                changed = true;
            }
        }
        Ok(changed)
    }
}

/// A node, seen in the bytes of its record.
pub(super) struct Seen<'a> {
    record: &'a Record,
    /// The number of its first child, on their level.
    pub(super) from: u64,
}

impl<'a> Seen<'a> {
    /// The node in a record, which must be this one of its level.
    pub(super) fn open(record: &'a Record, level: usize, index: u64) -> Result<Self> {
        let (of, seen) = Self::describe(record)?;
        if of != level || seen.from / FAN_OUT != index {
            return Err(bad(format!(
                "is that of level {of} from {} on, where node {index} of level {level} should be",
                seen.from
            )));
        }
        Ok(seen)
    }

    /// The node in a record, wherever it belongs, and its level.
    pub(super) fn describe(record: &'a Record) -> Result<(usize, Self)> {
        let body: Option<&[u8; BODY]> = record.body().try_into().ok();
        let (Some(body), CHAIN_NODE) = (body, record.kind()) else {
            return Err(bad(format!(
                "is of kind {} and has {} bytes",
                record.kind().0,
                record.body().len()
            )));
        };
        let [format, level, _, _, _, _, _, _, from @ ..] = *body;
        let from = u64::from_le_bytes(from);
        let level = usize::from(level);
        let children = record.reference_count() as u64;
        let last = from.checked_add(children.saturating_sub(1));
        let fits = last.is_some_and(|last| last / FAN_OUT == from / FAN_OUT);
        if format != FORMAT || level >= LEVELS || children == 0 || !fits {
            return Err(bad(format!(
                "has format {format}, level {level} and {children} children from {from} on"
            )));
        }
        Ok((level, Self { record, from }))
    }

    /// The child of this number, on the children's level.
    pub(super) fn child(&self, number: u64) -> Option<Reference> {
        let index = usize::try_from(number.checked_sub(self.from)?).ok()?;
        self.record.reference(index)
    }

    /// All children, with their numbers.
    pub(super) fn children(&self) -> impl Iterator<Item = (u64, Reference)> {
        (self.from..).zip(self.record.references())
    }

    /// The node, to be changed. Its children must end before this one.
    fn node(&self, end: u64) -> Result<Node> {
        let children: Vec<_> = self.record.references().collect();
        if self.from.checked_add(children.len() as u64) != Some(end) {
            return Err(bad(format!(
                "has {} children from {} on where they should end at {end}",
                children.len(),
                self.from
            )));
        }
        Ok(Node {
            from: self.from,
            children,
        })
    }
}

/// The reference of a block, in the directory with these open nodes.
pub(super) fn find(
    source: &Arc<dyn Source>,
    full: u64,
    open: &[Option<Reference>],
    block: u64,
) -> Op<Reference> {
    let level = level_of(full, block);
    match open.get(level).copied().flatten() {
        Some(node) => descend(source, &node, level, block),
        None => Op::err(gap(block)),
    }
}

/// The level whose open node leads to a full block.
fn level_of(full: u64, block: u64) -> usize {
    let same = |level: &usize| up(block, level + 1) == up(full, level + 1);
    (0..LEVELS).find(same).unwrap_or(LEVELS - 1)
}

fn descend(source: &Arc<dyn Source>, node: &Reference, level: usize, block: u64) -> Op<Reference> {
    let below = source.clone();
    source.read(node).then(move |record| {
        let seen = match Seen::open(&record, level, up(block, level + 1)) {
            Ok(seen) => seen,
            Err(error) => return Op::err(error),
        };
        match (seen.child(up(block, level)), level.checked_sub(1)) {
            (None, _) => Op::err(gap(block)),
            (Some(child), None) => Op::ok(child),
            (Some(child), Some(level)) => descend(&below, &child, level, block),
        }
    })
}

fn gap(block: u64) -> Error {
    Error::corrupt(format!("the directory of a chain lacks block {block}"))
}

fn bad(what: String) -> Error {
    Error::corrupt(format!("a node of a chain's directory {what}"))
}
