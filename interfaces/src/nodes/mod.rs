//! Nodes for an index of one's own: rows in order, in one record, with what they name in its table.
//!
//! Every index that is a tree of sorted rows is read the same way, whatever rule says how rows are
//! gathered in nodes. So the [`Rule`] is all that its author writes: it reads nodes,
//! [merges](merge) edits into their rows and stores new ones; [`Nodes::view`] does the rest, with
//! cursors, verification and [differences](crate::View::diff). The [skip list](crate::Skiplist) is
//! such an index.
//!
//! ```text
//!   node            rows, keys ascending
//!    │ a │ d │ k │
//!      │   │   └── value: inline, or apart
//!      │   └ below: a node whose first key is d
//!      └ below: a node whose first key is a
//! ```
//!
//! What a row names is in the record's reference table, in the order of the rows. A row that stands
//! for a node has the first key in it, and all keys in it are less than that of the next row. Nodes
//! may hold values and further nodes side by side; the depth is bounded by [`DEPTH_MAX`]. A lookup
//! searches a node in the bytes it lies in, which `docs/skiplist.md` draws; who edits a node takes it
//! [apart into rows](Nodes::read).
//!
//! An index may ask for [digests](Nodes::digested): then each row that names something tells its
//! contents in 32 bytes, and [`NodesView::digest`] those of a whole map. For an index whose shape
//! depends on its contents alone this makes equal maps equal in every body, wherever they lie.
//!
//! Of what lies below a row it knows the first key and how many entries there are, so a
//! [rank](crate::View::rank) is one way down. An index that must know something else of it, the greatest end
//! of an interval or the bounds of places, keeps records of its own, and writes [`View`](crate::View) and
//! [`Cursor`](crate::Cursor) as well.
//!
//! Bytes may be hostile: what does not fit is `Corrupt`.

mod copy;
mod cursor;
mod diff;
mod digest;
mod page;
mod rule;
#[cfg(test)]
mod tests;
mod view;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, Kind, Op, Record, Reference, Result};

use self::page::Page;
use crate::edits::{Edit, Edits};
use crate::index::{Apart, Value};
use crate::records::{Sink, Source};

pub use cursor::NodesCursor;
pub use digest::{DIGEST, Digest};
pub use rule::Rule;
pub use view::NodesView;

/// Most nodes on the way from a root to an entry.
pub const DEPTH_MAX: usize = 64;
const HEIGHT_MAX: u8 = DEPTH_MAX as u8 - 1;

/// One row of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key; of a node, the first key in it.
    pub key: Bytes,
    /// What is there.
    pub cell: Cell,
    /// What the contents of the node are, or of the value that lies apart: where the index asks for
    /// [digests](Nodes::digested), and it was stored in a node before.
    pub digest: Option<Digest>,
}

/// What a row holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// An entry with its value.
    Inline(Bytes),
    /// An entry whose value lies in records of its own.
    Apart(Apart),
    /// A node.
    Below {
        /// Its record.
        node: Reference,
        /// Entries in it and under it.
        count: u64,
        /// Levels of nodes under it.
        height: u8,
    },
}

impl Row {
    /// An entry.
    #[must_use]
    pub fn entry(key: &[u8], value: Value<'_>) -> Self {
        let cell = match value {
            Value::Inline(bytes) => Cell::Inline(Bytes::copy_from_slice(bytes)),
            Value::Apart(apart) => Cell::Apart(apart),
        };
        Self {
            key: Bytes::copy_from_slice(key),
            cell,
            digest: None,
        }
    }

    /// How many entries it stands for.
    #[must_use]
    pub fn count(&self) -> u64 {
        match &self.cell {
            Cell::Below { count, .. } => *count,
            _ => 1,
        }
    }

    /// The node that it stands for, if it does.
    #[must_use]
    pub fn node(&self) -> Option<Reference> {
        match &self.cell {
            Cell::Below { node, .. } => Some(*node),
            _ => None,
        }
    }

    /// Levels of nodes that it stands for: none for an entry.
    #[must_use]
    pub fn level(&self) -> u8 {
        match &self.cell {
            Cell::Below { height, .. } => height.saturating_add(1),
            _ => 0,
        }
    }
}

/// Nodes of one kind of record. An index has one such constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nodes {
    kind: Kind,
    digests: bool,
}

impl Nodes {
    /// Nodes in records of this kind: one of those from [`Kind::FIRST_FREE`] on.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        Self {
            kind,
            digests: false,
        }
    }

    /// The same, with a digest of whatever a row names. A value that lies apart is read once for it.
    #[must_use]
    pub const fn digested(self) -> Self {
        Self {
            digests: true,
            ..self
        }
    }

    /// Stores a node and returns the row that stands for it. Keys must ascend, and there must be one.
    pub fn store(&self, sink: &dyn Sink, rows: &[Row]) -> Result<Row> {
        page::store(*self, sink, rows)
    }

    /// Stores the topmost node: the root of a map. Without rows the map is empty, and has none.
    pub fn store_root(&self, sink: &dyn Sink, rows: &[Row]) -> Result<Option<Reference>> {
        match rows {
            [] => Ok(None),
            rows => Ok(self.store(sink, rows)?.node()),
        }
    }

    /// Does a few edits by copying the nodes on their way, where the node of entries that each falls on
    /// is to stay one: `stays` is asked with its rows before and after, whose first keys are the same.
    /// Returns the new root; `None`, with nothing stored, if the edits are not so, and the index is to
    /// do them by its rule. The most part of small commits goes this way, at a third of the cost.
    pub fn copy(
        &self,
        sink: &dyn Sink,
        root: Reference,
        edits: &Edits,
        mut stays: impl FnMut(&[Row], &[Row]) -> bool,
    ) -> Result<Option<Reference>> {
        copy::copy(*self, sink, root, edits, &mut stays)
    }

    /// The rows of a node.
    pub fn read(&self, source: &dyn Source, node: &Reference) -> Op<Vec<Row>> {
        let nodes = *self;
        let read = source.read(node);
        read.and_then(move |record| Page::of(nodes, record)?.rows())
    }

    /// The rows of the topmost node; none, if there is no root.
    pub fn read_root(&self, source: &dyn Source, root: Option<&Reference>) -> Op<Vec<Row>> {
        root.map_or_else(|| Op::ok(Vec::new()), |root| self.read(source, root))
    }

    /// The rows of the node that a row stands for; none, if it stands for none.
    pub fn read_below(&self, source: &dyn Source, row: &Row) -> Op<Vec<Row>> {
        let (nodes, level) = (*self, row.level());
        let Some(node) = row.node() else {
            return Op::ok(Vec::new());
        };
        let read = source.read(&node);
        read.and_then(move |record| nodes.page_below(record, level.saturating_sub(1))?.rows())
    }

    /// The map at a root.
    pub fn view(&self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<NodesView> {
        NodesView::open(*self, source, root)
    }

    /// A node that another names, and says to have so many levels of nodes under it. What is named
    /// must be a node: else it is the node that is wrong, not the call.
    fn page_below(self, record: Record, height: u8) -> Result<Page> {
        let page = Page::of(self, record).map_err(|error| Error::corrupt(error.message()))?;
        match page.height() == height {
            true => Ok(page),
            false => Err(page::misfit("is not as high as the node above says")),
        }
    }
}

/// Does the edits with these indexes to rows that hold values. A row that an edit does not change
/// stays as it is.
#[must_use]
pub fn merge(rows: &[Row], edits: &Edits, range: Range<usize>) -> Vec<Row> {
    let mut merged = Vec::with_capacity(rows.len() + range.len());
    let mut old = rows.iter().peekable();
    for index in range {
        let key = edits.key(index);
        while let Some(row) = old.next_if(|row| row.key < key) {
            merged.push(row.clone());
        }
        let before = old.next_if(|row| row.key == key);
        let Edit::Put(value) = edits.edit(index) else {
            continue;
        };
        let row = Row::entry(key, value);
        merged.push(match before {
            Some(before) if before.cell == row.cell => before.clone(),
            _ => row,
        });
    }
    merged.extend(old.cloned());
    merged
}
