//! Structures made of blocks: a chain, a log with links that cannot be forged, and a B+ tree.
//!
//! They are functions on [blocks](crate::block): whatever is read comes from a
//! [`ReadBlocks`], whatever is changed is told to a
//! [`WriteBlocks`](crate::block::WriteBlocks), and a change of several blocks is a section that is done
//! as a whole. They hold nothing themselves.
//!
//! They share no code with the indexes on the log. There a node never changes and its parents are written
//! anew up to the root; here a node keeps its name and is changed in place by an operation, so that two
//! writers far apart in a tree touch different blocks.

pub mod chain;
pub mod log;
pub mod tree;

use std::sync::Arc;

use travertine_engine::contract::{Error, Result};

use crate::block::{Block, BlockId, ReadBlocks, Value};

/// A block that another names.
async fn read(blocks: &impl ReadBlocks, id: &BlockId) -> Result<Arc<Block>> {
    let block = blocks.get(id).await?;
    block.ok_or_else(|| Error::corrupt(format!("block {id} is named and not there")))
}

/// A block that another names, on the way to a third.
async fn pass(blocks: &impl ReadBlocks, id: &BlockId) -> Result<Arc<Block>> {
    let block = blocks.pass(id).await?;
    block.ok_or_else(|| Error::corrupt(format!("block {id} is named and not there")))
}

/// The block that an attribute names.
fn named(block: &Block, attribute: &str) -> Result<Option<BlockId>> {
    match block.get(attribute) {
        None => Ok(None),
        Some(_) => name(block.one(attribute)?).map(Some),
    }
}

/// The block that a value names.
fn name(value: &Value) -> Result<BlockId> {
    let text = value.as_text();
    let text = text.ok_or_else(|| Error::corrupt("a block is named by a text"))?;
    BlockId::new(text).map_err(|error| Error::corrupt(error.message()))
}
