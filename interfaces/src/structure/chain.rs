//! A chain of blocks: entries one behind the other, taken from either end.
//!
//! ```text
//!   header {headId, tailId}        a block of its own, or the header of a collection
//!             │        └──────────────────────────────┐
//!   data   {entries, nextId} <──> {entries, priorId, nextId} <──> {entries, priorId}
//! ```
//!
//! A block takes [`ENTRIES`] of them; the next begins when it is full. The last block may have moved on
//! since the header was read: whoever looks for an end goes on from the one it names. Without entries
//! there is one empty block, or, in a header that names none, no block at all.

use std::sync::Arc;

use travertine_engine::contract::{Error, Result};

use crate::block::{
    Attribute, Block, BlockId, Code, Header, Operation, ReadBlocks, Value, WriteBlocks,
};
use crate::index::Direction;
use crate::structure::{named, read};

/// Most bytes of a block of several entries, as it is in memory.
const WEIGHT_MAX: usize = 1 << 20;
/// Entries of a block.
pub const ENTRIES: usize = 32;
/// A block of entries.
pub const DATA: Code = Code::of("CHD");
/// A header of its own.
pub const HEADER: Code = Code::of("CHH");
/// Most blocks that an end may have moved on since a header was read.
const CHASE_MAX: usize = 1 << 16;

pub(super) const LIST: &str = "entries";
const HEAD: &str = "headId";
const TAIL: &str = "tailId";
pub(super) const NEXT: &str = "nextId";
pub(super) const PRIOR: &str = "priorId";

/// A chain whose ends are named in one block. See the [module](self).
#[derive(Debug, Clone)]
pub struct Chain {
    header: BlockId,
    collection: BlockId,
    data: Code,
}

/// Where an entry lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// In this block.
    pub block: BlockId,
    /// So many entries of it come before.
    pub index: usize,
}

impl Chain {
    /// The chain whose ends `header` names; one that names none is empty. New blocks are of this kind, and
    /// belong to `collection`.
    #[must_use]
    pub fn new(header: BlockId, collection: BlockId, data: Code) -> Self {
        Self {
            header,
            collection,
            data,
        }
    }

    /// A header for a chain of this collection, to be inserted once.
    #[must_use]
    pub fn header_block(&self) -> Block {
        self.block(self.header.clone(), HEADER)
    }

    /// Puts entries behind the last. Returns where the last of them lies; without any, where the last
    /// lies that is there.
    pub async fn add(
        &self,
        blocks: &mut impl WriteBlocks,
        entries: &[Value],
    ) -> Result<Option<Place>> {
        self.add_linked(blocks, entries, |new, _| Ok(new)).await
    }

    /// The same, and `link` may write into each new block what follows from the one before it, which is
    /// full by then.
    pub async fn add_linked(
        &self,
        blocks: &mut impl WriteBlocks,
        mut entries: &[Value],
        link: impl Fn(Block, &Block) -> Result<Block>,
    ) -> Result<Option<Place>> {
        let mut tail = match self.end(blocks, Direction::Back).await? {
            Some(tail) => tail,
            None if entries.is_empty() => return Ok(None),
            None => self.begin(blocks).await?,
        };
        let mut moved = false;
        loop {
            let count = tail.list(LIST)?.len();
            let some = fitting(&tail, count, entries);
            let (now, rest) = entries.split_at(some);
            let id = tail.id().clone();
            if !now.is_empty() {
                drop(tail);
                blocks
                    .update(&id, Operation::splice(LIST, count, 0, now))
                    .await?;
            }
            entries = rest;
            if entries.is_empty() {
                if moved {
                    let end = Operation::assign(TAIL, Value::text(id.as_str()));
                    blocks.update(&self.header, end).await?;
                }
                let count = count + some;
                return Ok(count.checked_sub(1).map(|index| Place { block: id, index }));
            }
            let full = read(blocks, &id).await?;
            let new = self.block(blocks.new_id(), self.data.clone());
            let new = new.with(LIST, Attribute::List(Vec::new()))?;
            let new = link(new.with(PRIOR, Value::text(id.as_str()))?, &full)?;
            drop(full);
            let next = Operation::assign(NEXT, Value::text(new.id().as_str()));
            blocks.update(&id, next).await?;
            let new_id = new.id().clone();
            blocks.insert(new);
            tail = read(blocks, &new_id).await?;
            moved = true;
        }
    }

    /// Takes so many entries from the end, or all there are; returns them in the order of the chain.
    pub async fn pop(&self, blocks: &mut impl WriteBlocks, count: usize) -> Result<Vec<Value>> {
        let mut taken = self.take(blocks, count, Direction::Back).await?;
        taken.reverse();
        Ok(taken.into_iter().flatten().collect())
    }

    /// Takes so many entries from the front, or all there are.
    pub async fn dequeue(&self, blocks: &mut impl WriteBlocks, count: usize) -> Result<Vec<Value>> {
        let taken = self.take(blocks, count, Direction::Forward).await?;
        Ok(taken.into_iter().flatten().collect())
    }

    /// Entries taken from one end, block by block.
    async fn take(
        &self,
        blocks: &mut impl WriteBlocks,
        mut count: usize,
        from: Direction,
    ) -> Result<Vec<Vec<Value>>> {
        let (end, onward, back) = match from {
            Direction::Forward => (HEAD, NEXT, PRIOR),
            Direction::Back => (TAIL, PRIOR, NEXT),
        };
        let mut taken = Vec::new();
        let Some(mut node) = self.end(blocks, from).await? else {
            return Ok(taken);
        };
        let mut gone = Vec::new();
        while count > 0 {
            let entries = node.list(LIST)?;
            let some = count.min(entries.len());
            count -= some;
            let at = match from {
                Direction::Forward => 0,
                Direction::Back => entries.len() - some,
            };
            taken.push(entries[at..at + some].to_vec());
            let (left, id) = (entries.len() - some, node.id().clone());
            match named(&node, onward)? {
                Some(next) if left == 0 => {
                    node = read(blocks, &next).await?;
                    gone.push(id);
                }
                _ => {
                    drop(node);
                    blocks
                        .update(&id, Operation::splice(LIST, at, some, []))
                        .await?;
                    node = read(blocks, &id).await?;
                    break;
                }
            }
        }
        if gone.is_empty() {
            return Ok(taken);
        }
        let id = node.id().clone();
        drop(node);
        for id in &gone {
            blocks.delete(id);
        }
        blocks.update(&id, Operation::remove(back)).await?;
        let end = Operation::assign(end, Value::text(id.as_str()));
        blocks.update(&self.header, end).await?;
        Ok(taken)
    }

    /// Entries in one direction, from that end, or from a place on.
    pub fn walk<'b, B: ReadBlocks>(
        &self,
        blocks: &'b B,
        from: Option<Place>,
        direction: Direction,
    ) -> Walk<'b, B> {
        Walk {
            chain: self.clone(),
            blocks,
            direction,
            from,
            node: None,
        }
    }

    /// The entry at a place. `Invalid`: there is none.
    pub async fn at(&self, blocks: &impl ReadBlocks, place: &Place) -> Result<Value> {
        let node = blocks.get(&place.block).await?;
        let entry = match &node {
            Some(node) => node.list(LIST)?.get(place.index).cloned(),
            None => None,
        };
        entry.ok_or_else(|| nowhere(place))
    }

    /// Puts another entry at a place. `Invalid`: there is none.
    pub async fn replace(
        &self,
        blocks: &mut impl WriteBlocks,
        place: &Place,
        entry: Value,
    ) -> Result<()> {
        self.at(blocks, place).await?;
        let splice = Operation::splice(LIST, place.index, 1, [entry]);
        blocks.update(&place.block, splice).await
    }

    /// The first block of the chain, seen in a direction; `None` if there is no block at all.
    pub(super) async fn end(
        &self,
        blocks: &impl ReadBlocks,
        direction: Direction,
    ) -> Result<Option<Arc<Block>>> {
        let (end, further) = match direction {
            Direction::Forward => (HEAD, PRIOR),
            Direction::Back => (TAIL, NEXT),
        };
        let header = read(blocks, &self.header).await?;
        let Some(id) = named(&header, end)? else {
            return Ok(None);
        };
        let mut node = read(blocks, &id).await?;
        for _ in 0..CHASE_MAX {
            match named(&node, further)? {
                Some(id) => node = read(blocks, &id).await?,
                None => return Ok(Some(node)),
            }
        }
        Err(Error::corrupt(format!(
            "the chain of {} has no end",
            self.header
        )))
    }

    /// The first block.
    async fn begin(&self, blocks: &mut impl WriteBlocks) -> Result<Arc<Block>> {
        let id = blocks.new_id();
        let first = self.block(id.clone(), self.data.clone());
        blocks.insert(first.with(LIST, Attribute::List(Vec::new()))?);
        for end in [HEAD, TAIL] {
            let end = Operation::assign(end, Value::text(id.as_str()));
            blocks.update(&self.header, end).await?;
        }
        read(blocks, &id).await
    }

    fn block(&self, id: BlockId, code: Code) -> Block {
        Block::new(Header {
            id,
            code,
            collection: self.collection.clone(),
        })
    }
}

/// Entries on the way through a chain.
#[derive(Debug)]
pub struct Walk<'b, B> {
    chain: Chain,
    blocks: &'b B,
    direction: Direction,
    from: Option<Place>,
    /// Where it is, and how many entries of it come before the gap.
    node: Option<(Arc<Block>, usize)>,
}

impl<B: ReadBlocks> Walk<'_, B> {
    /// The next entry, and where it lies. One that was begun at a place begins with the entry there.
    pub async fn next(&mut self) -> Result<Option<(Place, Value)>> {
        if self.node.is_none() {
            self.node = self.start().await?;
        }
        while let Some((node, gap)) = &mut self.node {
            let entries = node.list(LIST)?;
            let (index, link) = match self.direction {
                Direction::Forward => (Some(*gap).filter(|gap| *gap < entries.len()), NEXT),
                Direction::Back => (gap.checked_sub(1), PRIOR),
            };
            if let Some(index) = index {
                *gap = index + usize::from(self.direction == Direction::Forward);
                let block = node.id().clone();
                return Ok(Some((Place { block, index }, entries[index].clone())));
            }
            let Some(id) = named(node, link)? else {
                return Ok(None);
            };
            let node = read(self.blocks, &id).await?;
            let gap = match self.direction {
                Direction::Forward => 0,
                Direction::Back => node.list(LIST)?.len(),
            };
            self.node = Some((node, gap));
        }
        Ok(None)
    }

    async fn start(&mut self) -> Result<Option<(Arc<Block>, usize)>> {
        let forward = self.direction == Direction::Forward;
        if let Some(place) = self.from.take() {
            let node = self.blocks.get(&place.block).await?;
            let node = node.ok_or_else(|| nowhere(&place))?;
            if place.index >= node.list(LIST)?.len() {
                return Err(nowhere(&place));
            }
            return Ok(Some((node, place.index + usize::from(!forward))));
        }
        let end = self.chain.end(self.blocks, self.direction).await?;
        let Some(node) = end else {
            return Ok(None);
        };
        let gap = if forward { 0 } else { node.list(LIST)?.len() };
        Ok(Some((node, gap)))
    }
}

fn nowhere(place: &Place) -> Error {
    Error::invalid(format!(
        "there is no entry {} in block {}",
        place.index, place.block
    ))
}

/// How many entries still go into a block: it holds so many, and is no heavier than [`WEIGHT_MAX`] unless
/// it is by one entry.
fn fitting(block: &Block, count: usize, entries: &[Value]) -> usize {
    let (mut some, mut weight) = (0, block.weight());
    while let Some(entry) = entries.get(some).filter(|_| count + some < ENTRIES) {
        weight += entry.as_bytes().len();
        if count + some > 0 && weight > WEIGHT_MAX {
            break;
        }
        some += 1;
    }
    some
}

#[cfg(test)]
mod tests;
