//! Writing a tree from left to right: the one way in which trees come to be.
//!
//! A spine has one [`Level`] for each level of the tree. Entries, and subtrees of the old tree that
//! nothing touched, come in key order. A level stores a node as soon as nothing that may still come
//! can change it, so each new node is written once, parents after children, in memory that does not
//! grow with the tree.
//!
//! ```text
//!   level 2 │                     [k  k  ·            <- children already stored, or kept as they
//!   level 1 │            [·  ·  k  ·                     were (k)
//!   level 0 │     [entries …                          <- entry, or subtree to keep
//! ```
//!
//! A subtree is kept whole if every level at or below its own is empty or can be stored up to there.
//! If one of them holds too little for a node, the subtree is opened instead and its first part
//! joins what is there: that is how nodes left sparse by deletes merge with the neighbour on their
//! right. At the right end there is none; then the neighbour on the left is taken back.

use travertine_engine::contract::{Error, Record, Result};

use super::level::{Fill, Level, Link};
use super::node::{Key, LEVEL_MAX, Node};
use crate::edits::common_prefix;
use crate::index::Value;
use crate::records::Sink;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Spine<'s> {
    sink: &'s dyn Sink,
    leaf: Fill,
    inner: Fill,
    levels: Vec<Level>,
    /// A key that is greater than all to the left of level 0 and not greater than its first entry.
    bound: Vec<u8>,
}

/// The top node of a finished tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Top {
    pub(super) link: Link,
    pub(super) level: u8,
}

impl<'s> Spine<'s> {
    pub(super) fn new(sink: &'s dyn Sink, leaf: Fill, inner: Fill) -> Self {
        Self {
            sink,
            leaf,
            inner,
            levels: vec![Level::new(0, leaf)],
            bound: Vec::new(),
        }
    }

    /// Where new nodes go.
    pub(super) fn sink(&self) -> &'s dyn Sink {
        self.sink
    }

    /// An empty leaf level like this spine's.
    pub(super) fn leaf(&self) -> Level {
        Level::new(0, self.leaf)
    }

    /// Says that entries to come are not less than `key`, and everything before is less.
    pub(super) fn begin(&mut self, key: &[u8]) {
        if self.levels[0].is_empty() {
            self.bound.clear();
            self.bound.extend_from_slice(key);
        }
    }

    /// Adds an entry.
    pub(super) fn add(&mut self, key: Key<'_>, value: Value<'_>) -> Result<()> {
        let (bytes, link) = match value {
            Value::Inline(bytes) => (bytes, None),
            Value::Apart(apart) => (&[][..], Some((apart.reference, apart.length))),
        };
        self.levels[0].push(key, bytes, link);
        self.settle(0)
    }

    /// Adds a subtree of the old tree whose top node is of this level, as it is if that can be.
    pub(super) fn keep(&mut self, level: u8, key: &[u8], link: Link) -> Result<()> {
        if self.align(level)? {
            return self.push(usize::from(level) + 1, key, link);
        }
        let record = self.read(level, link)?;
        let node = Node::of(&record, level)?;
        if level == 0 {
            self.begin(key);
            for index in 0..node.keys() {
                let (key, value) = node.raw(index)?;
                self.add(key, value)?;
            }
            return Ok(());
        }
        self.keep_children(&node, key, 0..node.children())
    }

    /// Keeps some children of an old inner node that begins at `key`.
    pub(super) fn keep_children(
        &mut self,
        node: &Node<'_>,
        key: &[u8],
        children: std::ops::Range<usize>,
    ) -> Result<()> {
        let mut buffer = Vec::new();
        for child in children {
            let key = child_key(node, key, child, &mut buffer)?;
            let link = (node.child(child)?, node.child_count(child)?);
            self.keep(node.level() - 1, key, link)?;
        }
        Ok(())
    }

    /// Stores what is left and returns the top node; `None` if there is no entry at all.
    pub(super) fn finish(mut self) -> Result<Option<Top>> {
        for at in 0..=usize::from(LEVEL_MAX) {
            while !self.levels[at].is_empty() && self.levels[at].is_sparse() && self.pull(at)? {}
            if self.levels[at + 1..].iter().all(Level::is_empty) {
                let level = at as u8;
                if self.levels[at].is_empty() {
                    return Ok(None);
                }
                if let Some(link) = self.levels[at].only_child() {
                    return self
                        .lowered(Top {
                            link,
                            level: level - 1,
                        })
                        .map(Some);
                }
                if self.levels[at].last() == self.levels[at].len() {
                    let count = self.levels[at].len();
                    let stored = self.levels[at].emit(self.sink, count)?;
                    let link = (stored.reference, stored.count);
                    return Ok(Some(Top { link, level }));
                }
            }
            self.flush(at)?;
        }
        Err(Error::corrupt("a B-tree has too many levels"))
    }

    /// Reads a node of the old tree.
    pub(super) fn read(&self, level: u8, link: Link) -> Result<Record> {
        let record = self.sink.read(&link.0).wait()?;
        let count = Node::of(&record, level)?.count();
        if count != link.1 {
            return Err(Error::corrupt(format!(
                "the B-tree node at {} has {count} entries, its parent says {}",
                link.0.oid, link.1
            )));
        }
        Ok(record)
    }

    /// A kept subtree may be all that is left, and its top node may have one child only if the old
    /// tree had such a node: never ours, but then the top is what stands below it.
    fn lowered(&self, mut top: Top) -> Result<Top> {
        while top.level > 0 {
            let record = self.read(top.level, top.link)?;
            let node = Node::of(&record, top.level)?;
            if node.children() > 1 {
                break;
            }
            top.link = (node.child(0)?, node.child_count(0)?);
            top.level -= 1;
        }
        Ok(top)
    }

    /// Stores all that the levels up to this one hold; `false` if one of them holds too little.
    pub(super) fn align(&mut self, level: u8) -> Result<bool> {
        for at in 0..=usize::from(level) {
            match self.levels.get(at) {
                None => break,
                Some(here) if here.is_empty() => {}
                Some(here) if here.is_sparse() => return Ok(false),
                Some(_) => self.flush(at)?,
            }
        }
        Ok(true)
    }

    fn push(&mut self, at: usize, key: &[u8], link: Link) -> Result<()> {
        if at > usize::from(LEVEL_MAX) {
            return Err(Error::corrupt("a B-tree has too many levels"));
        }
        while self.levels.len() <= at {
            let level = self.levels.len() as u8;
            self.levels.push(Level::new(level, self.inner));
        }
        self.levels[at].push(key.into(), &[], Some(link));
        self.settle(at)
    }

    /// Stores full nodes as long as enough stays behind.
    fn settle(&mut self, at: usize) -> Result<()> {
        while let Some(count) = self.levels[at].ripe() {
            self.emit(at, count)?;
        }
        Ok(())
    }

    fn flush(&mut self, at: usize) -> Result<()> {
        while !self.levels[at].is_empty() {
            let count = self.levels[at].last();
            self.emit(at, count)?;
        }
        Ok(())
    }

    fn emit(&mut self, at: usize, count: usize) -> Result<()> {
        let here = &mut self.levels[at];
        let key = if at > 0 {
            here.key(0).to_vec()
        } else {
            let mut next = Vec::new();
            if count < here.len() {
                let (last, first) = (here.key(count - 1), here.key(count));
                // The shortest key that tells the two apart.
                next.extend_from_slice(&first[..(common_prefix(last, first) + 1).min(first.len())]);
            }
            std::mem::replace(&mut self.bound, next)
        };
        let stored = here.emit(self.sink, count)?;
        self.push(at + 1, &key, (stored.reference, stored.count))
    }

    /// Takes back the node at the left of this level; `false` if there is none.
    fn pull(&mut self, at: usize) -> Result<bool> {
        loop {
            let above = (at + 1..self.levels.len()).find(|above| !self.levels[*above].is_empty());
            let Some(above) = above else {
                return Ok(false);
            };
            let Some((key, link)) = self.levels[above].pop() else {
                return Ok(false);
            };
            let below = above - 1;
            let record = self.read(below as u8, link)?;
            let node = Node::of(&record, below as u8)?;
            let fill = if below == 0 { self.leaf } else { self.inner };
            let mut old = Level::new(below as u8, fill);
            if below == 0 {
                for index in 0..node.keys() {
                    let (key, value) = node.raw(index)?;
                    match value {
                        Value::Inline(bytes) => old.push(key, bytes, None),
                        Value::Apart(apart) => {
                            old.push(key, &[], Some((apart.reference, apart.length)));
                        }
                    }
                }
                self.bound.clone_from(&key);
            } else {
                let mut buffer = Vec::new();
                for child in 0..node.children() {
                    let key = child_key(&node, &key, child, &mut buffer)?;
                    let link = (node.child(child)?, node.child_count(child)?);
                    old.push(key.into(), &[], Some(link));
                }
            }
            self.levels[below].prepend(old);
            if below == at {
                return Ok(true);
            }
        }
    }
}

/// Where the range of a child begins: at its key, the first child's where the node's own does.
pub(super) fn child_key<'b>(
    node: &Node<'_>,
    key: &'b [u8],
    child: usize,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8]> {
    match child.checked_sub(1) {
        None => Ok(key),
        Some(before) => {
            buffer.clear();
            node.key(before)?.append_to(buffer);
            Ok(buffer)
        }
    }
}
