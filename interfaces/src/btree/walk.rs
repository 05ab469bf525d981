//! Doing a batch of edits: one walk over the tree from left to right, in step with the batch.

use std::ops::Range;

use travertine_engine::contract::{Error, Result};

use super::node::{Key, Node};
use super::spine::{Spine, Top, child_key};
use crate::edits::{Edit, Edits};

/// Sends the tree below `top`, with `edits` from `first` on done to it, through `spine`.
pub(super) fn walk(
    spine: &mut Spine<'_>,
    top: Option<Top>,
    edits: &Edits,
    first: usize,
) -> Result<()> {
    let all = first..edits.len();
    match top {
        Some(top) => Walk { spine, edits }.subtree(top, &[], all),
        None => all
            .into_iter()
            .try_for_each(|index| put(spine, edits, index)),
    }
}

/// Whether this edit would change the leaf.
pub(super) fn changes(node: &Node<'_>, key: &[u8], edit: Edit<'_>) -> Result<bool> {
    let (at, found) = node.search(key)?;
    Ok(match edit {
        Edit::Delete => found,
        Edit::Put(value) => !found || node.value(at)? != value,
    })
}

struct Walk<'a, 's> {
    spine: &'a mut Spine<'s>,
    edits: &'a Edits,
}

impl Walk<'_, '_> {
    /// Does the edits in `range`, which is not empty, to the subtree that begins at `key`.
    fn subtree(&mut self, top: Top, key: &[u8], range: Range<usize>) -> Result<()> {
        let record = self.spine.read(top.level, top.link)?;
        let node = Node::of(&record, top.level)?;
        if top.level > 0 {
            return self.inner(&node, key, range);
        }
        for index in range.clone() {
            if changes(&node, self.edits.key(index), self.edits.edit(index))? {
                self.spine.begin(key);
                return self.leaf(&node, range);
            }
        }
        self.spine.keep(0, key, top.link)
    }

    fn inner(&mut self, node: &Node<'_>, key: &[u8], mut range: Range<usize>) -> Result<()> {
        let mut done = 0;
        let mut buffer = Vec::new();
        while !range.is_empty() {
            let child = node.child_of(self.edits.key(range.start))?;
            if child < done {
                return Err(Error::corrupt("the keys of a B-tree node are out of order"));
            }
            self.spine.keep_children(node, key, done..child)?;
            let mine = if child < node.keys() {
                let next = child_key(node, key, child + 1, &mut buffer)?;
                range.start..self.edits.lower_bound(range.clone(), next)
            } else {
                range.clone()
            };
            if mine.is_empty() {
                return Err(Error::corrupt("the keys of a B-tree node are out of order"));
            }
            range.start = mine.end;
            let top = Top {
                link: (node.child(child)?, node.child_count(child)?),
                level: node.level() - 1,
            };
            let key = child_key(node, key, child, &mut buffer)?;
            self.subtree(top, key, mine)?;
            done = child + 1;
        }
        self.spine.keep_children(node, key, done..node.children())
    }

    fn leaf(&mut self, node: &Node<'_>, range: Range<usize>) -> Result<()> {
        let mut done = 0;
        for index in range {
            let (at, found) = node.search(self.edits.key(index))?;
            if at < done {
                return Err(Error::corrupt("the keys of a B-tree leaf are out of order"));
            }
            self.copy(node, done..at)?;
            put(self.spine, self.edits, index)?;
            done = at + usize::from(found);
        }
        self.copy(node, done..node.keys())
    }

    fn copy(&mut self, node: &Node<'_>, entries: Range<usize>) -> Result<()> {
        for index in entries {
            let (key, value) = node.raw(index)?;
            self.spine.add(key, value)?;
        }
        Ok(())
    }
}

fn put(spine: &mut Spine<'_>, edits: &Edits, index: usize) -> Result<()> {
    match edits.edit(index) {
        Edit::Put(value) => spine.add(Key::from(edits.key(index)), value),
        Edit::Delete => Ok(()),
    }
}
