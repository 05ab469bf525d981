//! Doing a batch of edits: one walk over the tree from left to right, in step with the batch.

use std::ops::Range;

use travertine_engine::contract::{Error, Result};

use super::draft::{self, Drafted};
use super::level::Link;
use super::node::{Key, Node};
use super::spine::{Spine, Top, child_key};
use crate::edits::{Edit, Edits};
use crate::index::Value;

/// Sends the tree below `top`, with `edits` from `first` on done to it, through `spine`.
pub(super) fn walk(
    spine: &mut Spine<'_>,
    top: Option<Top>,
    edits: &Edits,
    first: usize,
) -> Result<()> {
    let all = first..edits.len();
    match top {
        Some(top) => {
            let mut walk = Walk {
                spine,
                edits,
                top: top.link,
                unfit: None,
            };
            walk.subtree(top, &[], all)
        }
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

/// Tells the entries of a leaf after some edits, in order.
pub(super) fn merge(
    node: &Node<'_>,
    edits: &Edits,
    range: Range<usize>,
    mut tell: impl FnMut(Key<'_>, Value<'_>) -> Result<()>,
) -> Result<()> {
    let mut done = 0;
    for index in range {
        let (at, found) = node.search(edits.key(index))?;
        if at < done {
            return Err(Error::corrupt("the keys of a B-tree leaf are out of order"));
        }
        for entry in done..at {
            let (key, value) = node.raw(entry)?;
            tell(key, value)?;
        }
        if let Edit::Put(value) = edits.edit(index) {
            tell(edits.key(index).into(), value)?;
        }
        done = at + usize::from(found);
    }
    for entry in done..node.keys() {
        let (key, value) = node.raw(entry)?;
        tell(key, value)?;
    }
    Ok(())
}

struct Walk<'a, 's> {
    spine: &'a mut Spine<'s>,
    edits: &'a Edits,
    top: Link,
    /// An edit on a leaf that is known to need more than a copy.
    unfit: Option<usize>,
}

impl Walk<'_, '_> {
    /// Does the edits in `range`, which is not empty, to the subtree that begins at `key`.
    fn subtree(&mut self, top: Top, key: &[u8], range: Range<usize>) -> Result<()> {
        if let Some(link) = self.copy(top, &range)? {
            return self.spine.keep(top.level, key, link);
        }
        let record = self.spine.read(top.level, top.link)?;
        let node = Node::of(&record, top.level)?;
        if top.level > 0 {
            return self.inner(&node, key, range);
        }
        for index in range.clone() {
            if changes(&node, self.edits.key(index), self.edits.edit(index))? {
                self.spine.begin(key);
                return merge(&node, self.edits, range, |key, value| {
                    self.spine.add(key, value)
                });
            }
        }
        self.spine.keep(0, key, top.link)
    }

    /// Does the edits by copying nodes, if they are few and every node stays about its size, and
    /// nothing at the left is waiting to be joined.
    fn copy(&mut self, top: Top, range: &Range<usize>) -> Result<Option<Link>> {
        // A leaf by itself is as soon rebuilt; and where every leaf of a row is touched, rebuilding
        // fills them.
        let whole = top.link == self.top;
        let known = self.unfit.is_some_and(|unfit| range.contains(&unfit));
        if range.len() > draft::EDITS_MAX
            || (top.level == 0 && !whole)
            || known
            || !self.spine.align(top.level)?
        {
            return Ok(None);
        }
        match draft::draft(self.spine, top, whole, self.edits, range.clone())? {
            Drafted::Fits(draft) => {
                let link = draft::store(self.spine.sink(), draft)?;
                Ok(Some(link.unwrap_or(top.link)))
            }
            Drafted::Unfit(index) => {
                self.unfit = Some(index);
                Ok(None)
            }
        }
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
}

fn put(spine: &mut Spine<'_>, edits: &Edits, index: usize) -> Result<()> {
    match edits.edit(index) {
        Edit::Put(value) => spine.add(Key::from(edits.key(index)), value),
        Edit::Delete => Ok(()),
    }
}
