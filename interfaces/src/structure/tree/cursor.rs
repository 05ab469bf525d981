//! A place between two entries, which moves either way.

use std::sync::Arc;

use travertine_engine::contract::Result;

use super::{DEPTH_MAX, ENTRIES, Keyed, NODES, Tree, child, is_leaf, partition, too_deep};
use crate::block::{Block, ReadBlocks, Value};
use crate::index::Direction;

/// A cursor over a tree as it is: while it is held nothing can be changed through the same blocks.
///
/// It stands in a gap: [`next`](Cursor::next) goes over the entry behind the gap, [`prev`](Cursor::prev)
/// over the one before it.
#[derive(Debug)]
pub struct Cursor<'b, B, K> {
    tree: Tree<K>,
    blocks: &'b B,
    branches: Vec<(Arc<Block>, usize)>,
    leaf: Option<(Arc<Block>, usize)>,
}

impl<'b, B: ReadBlocks, K: Keyed> Cursor<'b, B, K> {
    pub(super) fn new(tree: Tree<K>, blocks: &'b B) -> Self {
        Self {
            tree,
            blocks,
            branches: Vec::new(),
            leaf: None,
        }
    }

    /// Goes to the gap before the first entry whose key is `key` or more.
    pub async fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.descend(|node| partition(node, key)).await?;
        if let Some((leaf, at)) = &mut self.leaf {
            let (Ok(place) | Err(place)) = self.tree.place(leaf.list(ENTRIES)?, key)?;
            *at = place;
        }
        Ok(())
    }

    /// Goes to the gap behind the last entry.
    pub async fn seek_end(&mut self) -> Result<()> {
        self.descend(|node| Ok(node.list(NODES)?.len().saturating_sub(1)))
            .await?;
        if let Some((leaf, at)) = &mut self.leaf {
            *at = leaf.list(ENTRIES)?.len();
        }
        Ok(())
    }

    /// Goes over the next entry and returns it.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        while let Some((leaf, at)) = &mut self.leaf {
            if let Some(entry) = leaf.list(ENTRIES)?.get(*at) {
                *at += 1;
                return Ok(Some(entry.clone()));
            }
            if !self.turn(Direction::Forward).await? {
                break;
            }
        }
        Ok(None)
    }

    /// Goes back over the entry before and returns it.
    pub async fn prev(&mut self) -> Result<Option<Value>> {
        while let Some((leaf, at)) = &mut self.leaf {
            if *at > 0 {
                *at -= 1;
                return Ok(leaf.list(ENTRIES)?.get(*at).cloned());
            }
            if !self.turn(Direction::Back).await? {
                break;
            }
        }
        Ok(None)
    }

    /// Goes to the end of this leaf, or of the next if it stands there; returns how many entries it went
    /// over.
    pub(super) async fn skip_leaf(&mut self) -> Result<Option<usize>> {
        while let Some((leaf, at)) = &mut self.leaf {
            let end = leaf.list(ENTRIES)?.len();
            if *at < end {
                let left = end - *at;
                *at = end;
                return Ok(Some(left));
            }
            if !self.turn(Direction::Forward).await? {
                break;
            }
        }
        Ok(None)
    }

    /// Down to a leaf, by the child that is chosen in each branch.
    async fn descend(&mut self, choose: impl Fn(&Block) -> Result<usize>) -> Result<()> {
        self.branches.clear();
        self.leaf = None;
        if let Some(root) = self.tree.root(self.blocks).await? {
            self.go_down(root, choose).await?;
        }
        Ok(())
    }

    async fn go_down(
        &mut self,
        mut node: Arc<Block>,
        choose: impl Fn(&Block) -> Result<usize>,
    ) -> Result<()> {
        while !is_leaf(&node)? {
            if self.branches.len() == DEPTH_MAX {
                return Err(too_deep(&self.tree.trunk));
            }
            let at = choose(&node)?;
            let below = super::node(self.blocks, &child(&node, at)?).await?;
            self.branches.push((node, at));
            node = below;
        }
        self.leaf = Some((node, 0));
        Ok(())
    }

    /// To the near end of the leaf on that side. `false`: there is none, and nothing has moved.
    async fn turn(&mut self, direction: Direction) -> Result<bool> {
        let next = |(branch, at): &(Arc<Block>, usize)| match direction {
            Direction::Forward => {
                Some(at + 1).filter(|at| branch.list(NODES).is_ok_and(|nodes| *at < nodes.len()))
            }
            Direction::Back => at.checked_sub(1),
        };
        let Some(level) = self.branches.iter().rposition(|step| next(step).is_some()) else {
            return Ok(false);
        };
        let (branch, at) = &self.branches[level];
        let at = next(&self.branches[level]).unwrap_or(*at);
        let node = super::node(self.blocks, &child(branch, at)?).await?;
        self.branches[level].1 = at;
        self.branches.truncate(level + 1);
        match direction {
            Direction::Forward => self.go_down(node, |_| Ok(0)).await?,
            Direction::Back => {
                let last = |node: &Block| Ok(node.list(NODES)?.len().saturating_sub(1));
                self.go_down(node, last).await?;
                if let Some((leaf, at)) = &mut self.leaf {
                    *at = leaf.list(ENTRIES)?.len();
                }
            }
        }
        Ok(true)
    }
}
