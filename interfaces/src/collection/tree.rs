//! A tree of rows that clients share: keys and values, in the order of the keys.

use serde::{Deserialize, Serialize};
use travertine_engine::contract::{Error, Result};

use super::{Collection, Kind};
use crate::block::{Block, BlockId, ByteString, Code, ReadBlocks, Tracker, Value, WriteBlocks};
use crate::structure::tree::{Cursor, Pairs, Tree as Blocks};
use crate::transactor::View;

/// Rows in a tree of blocks. See [`Collection`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Tree;

/// The header of such a collection.
const HEADER: Code = Code::of("TRE");

/// Most bytes of a row, key and value: a leaf of them all is a block.
pub const ROW_MAX: usize = 128 << 10;

/// Rows that come, or go where there is no value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replace(pub Vec<(ByteString, Option<Value>)>);

impl Replace {
    /// One row that comes.
    pub fn put<V: Serialize + ?Sized>(key: &[u8], value: &V) -> Result<Self> {
        Self(Vec::new()).and_put(key, value)
    }

    /// One row that goes.
    #[must_use]
    pub fn delete(key: &[u8]) -> Self {
        Self(Vec::new()).and_delete(key)
    }

    /// And one more that comes.
    pub fn and_put<V: Serialize + ?Sized>(mut self, key: &[u8], value: &V) -> Result<Self> {
        let value = Value::of(value)?;
        self.0.push((ByteString(key.to_vec()), Some(value)));
        Ok(self)
    }

    /// And one more that goes.
    #[must_use]
    pub fn and_delete(mut self, key: &[u8]) -> Self {
        self.0.push((ByteString(key.to_vec()), None));
        self
    }
}

impl Tree {
    pub(super) fn of(header: &BlockId) -> Blocks {
        Blocks::new(header.clone(), header.clone(), Pairs)
    }
}

impl Kind for Tree {
    type Action = Replace;

    fn header(&self, id: &BlockId) -> Block {
        Block::of_collection(id, HEADER)
    }

    async fn apply<W: WriteBlocks + Send>(
        &self,
        blocks: &mut W,
        header: &BlockId,
        action: &Replace,
    ) -> Result<()> {
        let tree = Self::of(header);
        for (key, value) in &action.0 {
            match value {
                Some(value) => {
                    let entry = Value::list(&[Value::bytes(&key.0), value.clone()])?;
                    if entry.as_bytes().len() > ROW_MAX {
                        return Err(Error::invalid(format!(
                            "a row has {} bytes, {ROW_MAX} are the limit",
                            entry.as_bytes().len()
                        )));
                    }
                    tree.upsert(blocks, entry).await?;
                }
                None => drop(tree.remove(blocks, &key.0).await?),
            }
        }
        Ok(())
    }

    /// A key: `[value]`, or `[]` if there is no such row.
    async fn ask<R: ReadBlocks>(
        &self,
        blocks: &R,
        header: &BlockId,
        question: &Value,
    ) -> Result<Value> {
        let key = question.as_byte_string();
        let key = key.ok_or_else(|| Error::invalid("a tree is asked for a key"))?;
        let entry = Self::of(header).get(blocks, key).await?;
        Value::list(entry.as_ref().and_then(value).as_slice())
    }
}

impl Collection<Tree> {
    /// The value at a key, with what was done and not synchronised.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let entry = Tree::of(self.id()).get(self.blocks(), key).await?;
        Ok(entry.as_ref().and_then(value))
    }

    /// How many rows there are; every leaf is read.
    pub async fn count(&self) -> Result<u64> {
        Tree::of(self.id()).count(self.blocks()).await
    }

    /// A cursor over rows, each a list of key and value. [`row`] takes one apart.
    pub fn cursor(&self) -> Cursor<'_, Tracker<View>, Pairs> {
        Tree::of(self.id()).cursor(self.blocks())
    }
}

fn value(entry: &Value) -> Option<Value> {
    entry.items()?.into_iter().nth(1)
}

/// Key and value of a row that a cursor went over.
#[must_use]
pub fn row(entry: &Value) -> Option<(Vec<u8>, Value)> {
    let key = entry.first_byte_string()?.to_vec();
    Some((key, value(entry)?))
}
