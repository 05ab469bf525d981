//! Entries that go, and nodes that are filled up again or joined.

use travertine_engine::contract::{Error, Result};

use super::{ENTRIES, Keyed, NODES, PARTITIONS, ROOT, Step, Tree, child, is_leaf};
use crate::block::{BlockId, Operation, Value, WriteBlocks};
use crate::structure::read;

impl<K: Keyed> Tree<K> {
    /// Takes the entry with this key out. Returns whether there was one.
    pub async fn remove(&self, blocks: &mut impl WriteBlocks, key: &[u8]) -> Result<bool> {
        let Some(path) = self.path(blocks, key).await?.filter(|path| path.found) else {
            return Ok(false);
        };
        let cut = Operation::splice(ENTRIES, path.leaf.at, 1, []);
        blocks.update(&path.leaf.id, cut).await?;
        let mut low = path.leaf.id;
        for parent in path.branches.into_iter().rev() {
            if self.width(blocks, &low).await? >= self.capacity / 2 {
                return Ok(true);
            }
            self.fill(blocks, &parent).await?;
            low = parent.id;
        }
        self.shrink(blocks, &low).await?;
        Ok(true)
    }

    /// Entries or children of a node.
    async fn width(&self, blocks: &impl WriteBlocks, id: &BlockId) -> Result<usize> {
        let node = read(blocks, id).await?;
        let part = if is_leaf(&node)? { ENTRIES } else { NODES };
        Ok(node.list(part)?.len())
    }

    /// Fills a child up from its neighbour to the right or to the left, or joins it with one.
    async fn fill(&self, blocks: &mut impl WriteBlocks, parent: &Step) -> Result<()> {
        let branch = read(blocks, &parent.id).await?;
        let children = branch.list(NODES)?.len();
        let at = parent.at;
        let right = (at + 1 < children)
            .then(|| child(&branch, at + 1))
            .transpose()?;
        let left = (at > 0).then(|| child(&branch, at - 1)).transpose()?;
        let low = child(&branch, at)?;
        drop(branch);
        let spare = self.capacity / 2 + 1;
        if let Some(right) = &right
            && self.width(blocks, right).await? >= spare
        {
            return self.borrow_right(blocks, &parent.id, at, &low, right).await;
        }
        if let Some(left) = &left
            && self.width(blocks, left).await? >= spare
        {
            return self
                .borrow_left(blocks, &parent.id, at - 1, left, &low)
                .await;
        }
        match (right, left) {
            (Some(right), _) => self.join(blocks, &parent.id, at, &low, &right).await,
            (None, Some(left)) => self.join(blocks, &parent.id, at - 1, &left, &low).await,
            (None, None) => Err(Error::corrupt(format!(
                "branch {} has one child",
                parent.id
            ))),
        }
    }

    /// The first of the right one goes to the end of the low one. `at` is the partition between them.
    async fn borrow_right(
        &self,
        blocks: &mut impl WriteBlocks,
        parent: &BlockId,
        at: usize,
        low: &BlockId,
        right: &BlockId,
    ) -> Result<()> {
        let (left_node, right_node) = (read(blocks, low).await?, read(blocks, right).await?);
        let bound = if is_leaf(&right_node)? {
            let entries = right_node.list(ENTRIES)?;
            let (first, bound) = (entries[0].clone(), self.keyed.key(&entries[1])?);
            let bound = Value::bytes(bound);
            let end = left_node.list(ENTRIES)?.len();
            drop((left_node, right_node));
            splice(blocks, low, ENTRIES, end, 0, [first]).await?;
            splice(blocks, right, ENTRIES, 0, 1, []).await?;
            bound
        } else {
            let (first, bound) = (
                right_node.list(NODES)?[0].clone(),
                right_node.list(PARTITIONS)?[0].clone(),
            );
            let end = left_node.list(NODES)?.len();
            drop((left_node, right_node));
            let between = read(blocks, parent).await?.list(PARTITIONS)?[at].clone();
            splice(blocks, low, PARTITIONS, end - 1, 0, [between]).await?;
            splice(blocks, low, NODES, end, 0, [first]).await?;
            splice(blocks, right, PARTITIONS, 0, 1, []).await?;
            splice(blocks, right, NODES, 0, 1, []).await?;
            bound
        };
        splice(blocks, parent, PARTITIONS, at, 1, [bound]).await
    }

    /// The last of the left one goes to the front of the low one. `at` is the partition between them.
    async fn borrow_left(
        &self,
        blocks: &mut impl WriteBlocks,
        parent: &BlockId,
        at: usize,
        left: &BlockId,
        low: &BlockId,
    ) -> Result<()> {
        let left_node = read(blocks, left).await?;
        let bound = if is_leaf(&left_node)? {
            let entries = left_node.list(ENTRIES)?;
            let end = entries.len() - 1;
            let last = entries[end].clone();
            let bound = Value::bytes(self.keyed.key(&last)?);
            drop(left_node);
            splice(blocks, left, ENTRIES, end, 1, []).await?;
            splice(blocks, low, ENTRIES, 0, 0, [last]).await?;
            bound
        } else {
            let (nodes, partitions) = (left_node.list(NODES)?, left_node.list(PARTITIONS)?);
            let end = nodes.len() - 1;
            let (last, bound) = (nodes[end].clone(), partitions[end - 1].clone());
            drop(left_node);
            let between = read(blocks, parent).await?.list(PARTITIONS)?[at].clone();
            splice(blocks, left, PARTITIONS, end - 1, 1, []).await?;
            splice(blocks, left, NODES, end, 1, []).await?;
            splice(blocks, low, PARTITIONS, 0, 0, [between]).await?;
            splice(blocks, low, NODES, 0, 0, [last]).await?;
            bound
        };
        splice(blocks, parent, PARTITIONS, at, 1, [bound]).await
    }

    /// All of the right one goes to the end of the left one. `at` is the partition between them.
    async fn join(
        &self,
        blocks: &mut impl WriteBlocks,
        parent: &BlockId,
        at: usize,
        left: &BlockId,
        right: &BlockId,
    ) -> Result<()> {
        let (left_node, right_node) = (read(blocks, left).await?, read(blocks, right).await?);
        if is_leaf(&right_node)? {
            let end = left_node.list(ENTRIES)?.len();
            let all = right_node.list(ENTRIES)?.to_vec();
            drop((left_node, right_node));
            splice(blocks, left, ENTRIES, end, 0, all).await?;
        } else {
            let end = left_node.list(NODES)?.len();
            let nodes = right_node.list(NODES)?.to_vec();
            let mut partitions = vec![read(blocks, parent).await?.list(PARTITIONS)?[at].clone()];
            partitions.extend_from_slice(right_node.list(PARTITIONS)?);
            drop((left_node, right_node));
            splice(blocks, left, PARTITIONS, end - 1, 0, partitions).await?;
            splice(blocks, left, NODES, end, 0, nodes).await?;
        }
        blocks.delete(right);
        splice(blocks, parent, PARTITIONS, at, 1, []).await?;
        splice(blocks, parent, NODES, at + 1, 1, []).await
    }

    /// A root of one child gives way to it, and one without entries to nothing.
    async fn shrink(&self, blocks: &mut impl WriteBlocks, root: &BlockId) -> Result<()> {
        let node = read(blocks, root).await?;
        if is_leaf(&node)? {
            if node.list(ENTRIES)?.is_empty() {
                blocks.delete(root);
                blocks.update(&self.trunk, Operation::remove(ROOT)).await?;
            }
        } else if node.list(NODES)?.len() == 1 {
            let child = child(&node, 0)?;
            blocks.delete(root);
            self.set_root(blocks, &child).await?;
        }
        Ok(())
    }
}

async fn splice(
    blocks: &mut impl WriteBlocks,
    id: &BlockId,
    name: &'static str,
    at: usize,
    delete: usize,
    insert: impl Into<Vec<Value>>,
) -> Result<()> {
    let operation = Operation::splice(name, at, delete, insert);
    blocks.update(id, operation).await
}
