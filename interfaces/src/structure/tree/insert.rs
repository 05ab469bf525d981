//! Entries that come, and nodes that are split for them.

use travertine_engine::contract::Result;

use super::{BRANCH, ENTRIES, Keyed, LEAF, NODES, PARTITIONS, ROOT, Step, Tree};
use crate::block::{Attribute, BlockId, Operation, Value, WriteBlocks};
use crate::structure::{name, read};

/// A node that became two: the first key of the second, and its name.
struct Split {
    bound: Value,
    node: BlockId,
}

impl<K: Keyed> Tree<K> {
    /// Puts an entry in, instead of the one with its key. Returns whether there was one.
    pub async fn upsert(&self, blocks: &mut impl WriteBlocks, entry: Value) -> Result<bool> {
        self.put(blocks, entry, true).await
    }

    /// Puts an entry in unless there is one with its key. Returns whether it did.
    pub async fn insert(&self, blocks: &mut impl WriteBlocks, entry: Value) -> Result<bool> {
        Ok(!self.put(blocks, entry, false).await?)
    }

    async fn put(
        &self,
        blocks: &mut impl WriteBlocks,
        entry: Value,
        replace: bool,
    ) -> Result<bool> {
        let key = self.keyed.key(&entry)?;
        let Some(path) = self.path(blocks, key).await? else {
            self.plant(blocks, entry).await?;
            return Ok(false);
        };
        let Step { id, at } = path.leaf;
        if path.found && !replace {
            return Ok(true);
        }
        let splice = Operation::splice(ENTRIES, at, usize::from(path.found), [entry]);
        blocks.update(&id, splice).await?;
        if path.found {
            return Ok(true);
        }
        let mut split = self.split_leaf(blocks, &id).await?;
        for branch in path.branches.into_iter().rev() {
            let Some(Split { bound, node }) = split else {
                return Ok(false);
            };
            let bound = Operation::splice(PARTITIONS, branch.at, 0, [bound]);
            blocks.update(&branch.id, bound).await?;
            let node = Operation::splice(NODES, branch.at + 1, 0, [Value::text(node.as_str())]);
            blocks.update(&branch.id, node).await?;
            split = self.split_branch(blocks, &branch.id).await?;
        }
        if let Some(split) = split {
            self.grow(blocks, split).await?;
        }
        Ok(false)
    }

    /// The first leaf.
    async fn plant(&self, blocks: &mut impl WriteBlocks, entry: Value) -> Result<()> {
        let id = blocks.new_id();
        let leaf = self.node(id.clone(), LEAF);
        blocks.insert(leaf.with(ENTRIES, Attribute::List(vec![entry]))?);
        self.set_root(blocks, &id).await
    }

    pub(super) async fn set_root(&self, blocks: &mut impl WriteBlocks, id: &BlockId) -> Result<()> {
        let root = Operation::assign(ROOT, Value::text(id.as_str()));
        blocks.update(&self.trunk, root).await
    }

    /// A root above the one that was split.
    async fn grow(&self, blocks: &mut impl WriteBlocks, split: Split) -> Result<()> {
        let old = read(blocks, &self.trunk).await?;
        let nodes = [&name(old.one(ROOT)?)?, &split.node].map(|id| Value::text(id.as_str()));
        drop(old);
        let id = blocks.new_id();
        let root = self
            .node(id.clone(), BRANCH)
            .with(PARTITIONS, Attribute::List(vec![split.bound]))?
            .with(NODES, Attribute::List(nodes.to_vec()))?;
        blocks.insert(root);
        self.set_root(blocks, &id).await
    }

    async fn split_leaf(
        &self,
        blocks: &mut impl WriteBlocks,
        id: &BlockId,
    ) -> Result<Option<Split>> {
        let leaf = read(blocks, id).await?;
        let entries = leaf.list(ENTRIES)?;
        if entries.len() <= self.capacity {
            return Ok(None);
        }
        let (all, at) = (entries.len(), entries.len().div_ceil(2));
        let bound = Value::bytes(self.keyed.key(&entries[at])?);
        let node = blocks.new_id();
        let upper = self
            .node(node.clone(), LEAF)
            .with(ENTRIES, Attribute::List(entries[at..].to_vec()))?;
        drop(leaf);
        blocks.insert(upper);
        let cut = Operation::splice(ENTRIES, at, all - at, []);
        blocks.update(id, cut).await?;
        Ok(Some(Split { bound, node }))
    }

    async fn split_branch(
        &self,
        blocks: &mut impl WriteBlocks,
        id: &BlockId,
    ) -> Result<Option<Split>> {
        let branch = read(blocks, id).await?;
        let (nodes, partitions) = (branch.list(NODES)?, branch.list(PARTITIONS)?);
        if nodes.len() <= self.capacity {
            return Ok(None);
        }
        // The partition between the halves goes up.
        let (all, at) = (nodes.len(), nodes.len().div_ceil(2));
        let bound = partitions[at - 1].clone();
        let node = blocks.new_id();
        let upper = self
            .node(node.clone(), BRANCH)
            .with(PARTITIONS, Attribute::List(partitions[at..].to_vec()))?
            .with(NODES, Attribute::List(nodes[at..].to_vec()))?;
        drop(branch);
        blocks.insert(upper);
        let cut = Operation::splice(PARTITIONS, at - 1, all - at, []);
        blocks.update(id, cut).await?;
        let cut = Operation::splice(NODES, at, all - at, []);
        blocks.update(id, cut).await?;
        Ok(Some(Split { bound, node }))
    }
}
