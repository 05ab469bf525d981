//! A copy-on-write B-tree whose nodes are records.
//!
//! A commit writes each node that it touches once, in key order, parents last; all other nodes are
//! shared with the tree before. Readers search nodes in the bytes they lie in. Inner nodes know how
//! many entries are below each child, so counting is free and a key's rank is one descent.
//!
//! ```text
//!   name ──> root record ──> top node ──> inner ──> leaf ──> values apart
//!            entries, level     keys, sums, references
//! ```
//!
//! What it promises is [`crate::index`]'s specification; the bytes are drawn in `docs/btree.md`.
//! It refuses keys over [`KEY_MAX`](crate::index::KEY_MAX).

mod ahead;
mod cursor;
mod diff;
mod draft;
mod filter;
mod held;
mod level;
mod node;
mod root;
mod rows;
mod spine;
mod verify;
mod view;
mod walk;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use travertine_engine::contract::{Op, Record, Reference, Result};

use self::level::Fill;
use self::spine::{Spine, Top};
use crate::edits::{Edit, Edits, check_key};
use crate::index::{Index, Loader, Value};
use crate::load::check_order;
use crate::records::{BTREE_NODE, BTREE_ROOT, Sink, Source};

pub use self::cursor::BtreeCursor;
pub use self::view::BtreeView;

/// The B-tree as an [`Index`]. Options shape what is written next; any tree reads with any options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Btree {
    /// A leaf is cut at so many bytes, the shared prefix of its keys not counted. 64 to 1 Mi;
    /// 4096 by default. Large entries make larger leaves.
    pub leaf_bytes: usize,
    /// The same for inner nodes. 64 to 1 Mi; 4096 by default.
    pub inner_bytes: usize,
    /// Longer values lie apart, in records of their own. At most 1 Mi; a quarter of a leaf by
    /// default, so that a leaf holds a few entries whatever they are.
    pub inline_max: usize,
}

impl Default for Btree {
    fn default() -> Self {
        Self {
            leaf_bytes: 4096,
            inner_bytes: 4096,
            inline_max: 1024,
        }
    }
}

impl Btree {
    fn spine<'s>(&self, sink: &'s dyn Sink) -> Spine<'s> {
        let fill = |bytes: usize| Fill::new(bytes.clamp(64, 1 << 20));
        Spine::new(sink, fill(self.leaf_bytes), fill(self.inner_bytes))
    }
}

impl Index for Btree {
    type View = BtreeView;
    type Loader<'s> = BtreeLoader<'s>;

    fn view(&self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<BtreeView> {
        BtreeView::open(*self, source, root)
    }

    fn apply(
        &self,
        sink: &dyn Sink,
        root: Option<Reference>,
        edits: &Edits,
    ) -> Result<Option<Reference>> {
        let top = match &root {
            Some(root) => root::decode(&sink.read(root).wait()?)?,
            None => None,
        };
        let mut spine = self.spine(sink);
        // A few edits are found to change nothing on the way, many are looked at before.
        let first = match edits.len() {
            0 => return Ok(root),
            1..=draft::EDITS_MAX if top.is_some() => Some(0),
            _ => first_change(&spine, top, edits)?,
        };
        let Some(first) = first else {
            return Ok(root);
        };
        walk::walk(&mut spine, top, edits, first)?;
        let after = spine.finish()?;
        if after.map(|top| top.link) == top.map(|top| top.link) {
            return Ok(root);
        }
        root::store(sink, after).map(Some)
    }

    fn loader<'s>(&self, sink: &'s dyn Sink) -> BtreeLoader<'s> {
        BtreeLoader {
            spine: self.spine(sink),
            sink,
            last: Vec::new(),
            rows: 0,
        }
    }

    fn inline_max(&self) -> usize {
        self.inline_max.min(1 << 20)
    }
}

/// What a record of a B-tree says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Described {
    /// What the name of a tree points to.
    Root {
        /// Entries of the tree.
        entries: u64,
        /// Levels of nodes.
        height: u64,
    },
    /// A node; a leaf has level 0.
    Node {
        /// Its distance from the leaves.
        level: u8,
        /// Keys in it.
        keys: u64,
        /// Entries in it and below it.
        entries: u64,
        /// Its first key and its last, if it has any.
        bounds: Option<(Vec<u8>, Vec<u8>)>,
    },
}

/// Reads what a record says of itself, for people who look at one; `None` if it is none of a B-tree.
pub fn describe(record: &Record) -> Result<Option<Described>> {
    match record.kind() {
        BTREE_ROOT => {
            let top = root::decode(record)?;
            Ok(Some(Described::Root {
                entries: top.map_or(0, |top| top.link.1),
                height: top.map_or(0, |top| u64::from(top.level) + 1),
            }))
        }
        BTREE_NODE => {
            let level = record.body().get(1).copied().unwrap_or_default();
            let node = node::Node::of(record, level)?;
            let key = |index: usize| {
                let mut bytes = Vec::new();
                node.key(index)?.append_to(&mut bytes);
                Ok::<_, travertine_engine::contract::Error>(bytes)
            };
            let bounds = match node.keys() {
                0 => None,
                keys => Some((key(0)?, key(keys - 1)?)),
            };
            Ok(Some(Described::Node {
                level,
                keys: node.keys() as u64,
                entries: node.count(),
                bounds,
            }))
        }
        _ => Ok(None),
    }
}

/// The first edit that changes anything: a batch without one leaves the root as it is.
fn first_change(spine: &Spine<'_>, top: Option<Top>, edits: &Edits) -> Result<Option<usize>> {
    for (index, (key, edit)) in edits.iter().enumerate() {
        let changes = match top {
            None => matches!(edit, Edit::Put(_)),
            Some(top) => view::in_leaf(spine, top, key, |leaf| walk::changes(leaf, key, edit))?,
        };
        if changes {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// A bulk load: full leaves, built from left to right.
#[derive(Debug)]
pub struct BtreeLoader<'s> {
    spine: Spine<'s>,
    sink: &'s dyn Sink,
    last: Vec<u8>,
    rows: u64,
}

impl Loader for BtreeLoader<'_> {
    fn push(&mut self, key: &[u8], value: Value<'_>) -> Result<()> {
        check_key(key)?;
        let last = (self.rows > 0).then_some(&self.last[..]);
        check_order(last, key, self.rows)?;
        self.spine.add(key.into(), value)?;
        self.last.clear();
        self.last.extend_from_slice(key);
        self.rows += 1;
        Ok(())
    }

    fn finish(self) -> Result<Option<Reference>> {
        if self.rows == 0 {
            return Ok(None);
        }
        root::store(self.sink, self.spine.finish()?).map(Some)
    }
}
