//! Blocks that were made lately, so that they are not made again.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::block::{Block, BlockId};
use crate::transactor::{ActionId, ActionRev, Revision};

/// What was made: by whom, and what it is; a revision may be made again by another after a crash.
type Known = (ActionId, Option<Arc<Block>>);

#[derive(Debug, Clone)]
struct Weigh;

impl Weighter<(BlockId, Revision), Known> for Weigh {
    fn weight(&self, _: &(BlockId, Revision), (_, block): &Known) -> u64 {
        256 + block.as_ref().map_or(0, |block| block.weight() as u64)
    }
}

/// Blocks by revision, within a budget of bytes.
#[derive(Debug)]
pub(super) struct Keep(Cache<(BlockId, Revision), Known, Weigh>);

impl Keep {
    /// About so many bytes at most.
    pub(super) fn new(bytes: u64) -> Self {
        let blocks = usize::try_from(bytes / 4096).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(
            blocks.clamp(16, 1 << 20),
            bytes,
            Weigh,
        ))
    }

    pub(super) fn get(&self, id: &BlockId, by: &ActionRev) -> Option<Option<Arc<Block>>> {
        let (action, block) = self.0.get(&(id.clone(), by.revision))?;
        (action == by.action).then_some(block)
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }

    pub(super) fn put(&self, id: &BlockId, by: &ActionRev, block: Option<Arc<Block>>) {
        let known = (by.action.clone(), block);
        self.0.insert((id.clone(), by.revision), known);
    }

    /// Takes a block out that will be another: so it is not copied when it is changed.
    pub(super) fn take(&self, id: &BlockId, by: &ActionRev) -> Option<Option<Arc<Block>>> {
        let (_, (action, block)) = self.0.remove(&(id.clone(), by.revision))?;
        (action == by.action).then_some(block)
    }
}
