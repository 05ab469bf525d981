//! A diary that clients share: what is written stays, in one order for all.

use travertine_engine::contract::Result;

use super::{Collection, Kind};
use crate::block::{Block, BlockId, Code, Value, WriteBlocks};
use crate::index::Direction;

/// Entries in the log of the collection and nowhere else: the log is the data. See [`Collection`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Diary;

/// The header of such a collection.
const HEADER: Code = Code::of("DIH");

impl Kind for Diary {
    type Action = Value;

    fn header(&self, id: &BlockId) -> Block {
        Block::of_collection(id, HEADER)
    }

    async fn apply<W: WriteBlocks + Send>(&self, _: &mut W, _: &BlockId, _: &Value) -> Result<()> {
        Ok(())
    }
}

impl Collection<Diary> {
    /// What is written, in one direction, as far as it is synchronised.
    pub async fn entries(&self, direction: Direction) -> Result<Vec<Value>> {
        let mut walk = self.log().walk(self.blocks(), direction);
        let mut all = Vec::new();
        while let Some(entry) = walk.next().await? {
            let mut some: Vec<_> = entry.actions().cloned().collect();
            if direction == Direction::Back {
                some.reverse();
            }
            all.append(&mut some);
        }
        Ok(all)
    }
}
