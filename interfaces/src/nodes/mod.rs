//! Nodes for an index of one's own: rows in order, in one record, with what they name in its table.
//!
//! Every index that is a tree of sorted rows is read the same way, whatever rule says how rows are
//! gathered in nodes. So the rule is all that its author writes: [`Index::apply`](crate::Index::apply)
//! reads nodes, [merges](merge) edits into their rows and stores new ones; [`Nodes::view`] does the
//! rest, with cursors and verification.
//!
//! ```text
//!   node            rows, keys ascending            body of its record, little-endian
//!    │ a │ d │ k │                                   key bytes u32
//!      │   │   └── value: inline, or apart           value bytes u32; top bits: 10 apart, 01 below
//!      │   └ below: a node whose first key is d      key
//!      └ below: a node whose first key is a          value; apart: its length u64
//!                                                           below: entries in and under the node u64
//! ```
//!
//! What a row names is in the record's reference table, in the order of the rows. A row that stands
//! for a node has the first key in it, and all keys in it are less than that of the next row. Nodes
//! may hold values and further nodes side by side; the depth is bounded by [`DEPTH_MAX`].
//!
//! What it is not: it decodes a node whole to look at a row of it. The B-tree does better, and has a
//! layout of its own.
//!
//! Bytes may be hostile: what does not fit is `Corrupt`.

mod cursor;
#[cfg(test)]
mod tests;
mod view;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, Kind, NewRecord, Op, Record, Reference, Result};
use travertine_engine::front::Hint;

use crate::edits::{Edit, Edits};
use crate::index::{Apart, KEY_MAX, Value};
use crate::records::{Sink, Source};

pub use cursor::NodesCursor;
pub use view::NodesView;

/// Most nodes on the way from a root to an entry.
pub const DEPTH_MAX: usize = 64;

const APART: u32 = 1 << 31;
const BELOW: u32 = 1 << 30;
const LENGTH: u32 = BELOW - 1;

/// One row of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key; of a node, the first key in it.
    pub key: Bytes,
    /// What is there.
    pub cell: Cell,
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
    },
}

impl Row {
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
}

/// Nodes of one kind of record. An index has one such constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nodes {
    kind: Kind,
}

impl Nodes {
    /// Nodes in records of this kind: one of those from [`Kind::FIRST_FREE`] on.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        Self { kind }
    }

    /// Stores a node and returns the row that stands for it. Keys must ascend, and there must be one.
    pub fn store(&self, sink: &dyn Sink, rows: &[Row]) -> Result<Row> {
        let Some(first) = rows.first() else {
            return Err(Error::invalid("a node has one row or more"));
        };
        if !rows.is_sorted_by(|one, two| one.key < two.key) {
            return Err(Error::invalid("the keys of a node do not ascend"));
        }
        let (mut body, mut references) = (Vec::new(), Vec::new());
        for Row { key, cell } in rows {
            body.extend_from_slice(&(key.len() as u32).to_le_bytes());
            let number;
            let (word, value) = match cell {
                Cell::Inline(bytes) => (length_of(bytes)?, &bytes[..]),
                Cell::Apart(apart) => {
                    references.push(apart.reference);
                    number = apart.length.to_le_bytes();
                    (APART | 8, &number[..])
                }
                Cell::Below { node, count } => {
                    references.push(*node);
                    number = count.to_le_bytes();
                    (BELOW | 8, &number[..])
                }
            };
            body.extend_from_slice(&word.to_le_bytes());
            body.extend_from_slice(key);
            body.extend_from_slice(value);
        }
        let record = NewRecord {
            kind: self.kind,
            references: &references,
            body: &[&body],
        };
        Ok(Row {
            key: first.key.clone(),
            cell: Cell::Below {
                node: sink.store(&record, Hint::default())?,
                count: count_of(rows)?,
            },
        })
    }

    /// Stores the topmost node: the root of a map. Without rows the map is empty, and has none.
    pub fn store_root(&self, sink: &dyn Sink, rows: &[Row]) -> Result<Option<Reference>> {
        match rows {
            [] => Ok(None),
            rows => Ok(self.store(sink, rows)?.node()),
        }
    }

    /// The rows of a node.
    pub fn read(&self, source: &dyn Source, node: &Reference) -> Op<Vec<Row>> {
        let nodes = *self;
        let read = source.read(node);
        read.and_then(move |record| nodes.rows(&record))
    }

    /// The rows of the topmost node; none, if there is no root.
    pub fn read_root(&self, source: &dyn Source, root: Option<&Reference>) -> Op<Vec<Row>> {
        root.map_or_else(|| Op::ok(Vec::new()), |root| self.read(source, root))
    }

    /// The map at a root.
    pub fn view(&self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<NodesView> {
        NodesView::open(*self, source, root)
    }

    /// The rows in a record.
    fn rows(&self, record: &Record) -> Result<Vec<Row>> {
        if record.kind() != self.kind {
            return Err(Error::invalid(format!(
                "a record of kind {} is no node of kind {}",
                record.kind().0,
                self.kind.0
            )));
        }
        let mut left = record.body_bytes();
        let mut references = record.references();
        let mut named = || references.next().ok_or_else(|| misfit("names too little"));
        let mut rows: Vec<Row> = Vec::new();
        while !left.is_empty() {
            let (key, word) = (number(&mut left)?, number(&mut left)?);
            let key = take(&mut left, key)?;
            let value = take(&mut left, word & LENGTH)?;
            let sum = || match value.first_chunk() {
                Some(bytes) if value.len() == 8 => Ok(u64::from_le_bytes(*bytes)),
                _ => Err(misfit("has a number that is none")),
            };
            let cell = match word & !LENGTH {
                0 => Cell::Inline(value),
                APART => Cell::Apart(Apart {
                    reference: named()?,
                    length: sum()?,
                }),
                BELOW => Cell::Below {
                    node: named()?,
                    count: sum()?,
                },
                _ => return Err(misfit("has a row of no known sort")),
            };
            if key.len() > KEY_MAX || rows.last().is_some_and(|last| last.key >= key) {
                return Err(misfit("has keys that are too long or do not ascend"));
            }
            rows.push(Row { key, cell });
        }
        if rows.is_empty() || references.next().is_some() {
            return Err(misfit("has no rows, or names more than they do"));
        }
        count_of(&rows)?;
        Ok(rows)
    }
}

/// Does the edits with these indexes to rows that hold values.
#[must_use]
pub fn merge(rows: &[Row], edits: &Edits, range: Range<usize>) -> Vec<Row> {
    let mut merged = Vec::with_capacity(rows.len() + range.len());
    let mut old = rows.iter().peekable();
    for index in range {
        let key = edits.key(index);
        while let Some(row) = old.next_if(|row| row.key < key) {
            merged.push(row.clone());
        }
        old.next_if(|row| row.key == key);
        let cell = match edits.edit(index) {
            Edit::Delete => continue,
            Edit::Put(Value::Inline(bytes)) => Cell::Inline(Bytes::copy_from_slice(bytes)),
            Edit::Put(Value::Apart(apart)) => Cell::Apart(apart),
        };
        let key = Bytes::copy_from_slice(key);
        merged.push(Row { key, cell });
    }
    merged.extend(old.cloned());
    merged
}

/// Entries in and under all of these.
fn count_of(rows: &[Row]) -> Result<u64> {
    let mut counts = rows.iter().map(Row::count);
    counts
        .try_fold(0_u64, u64::checked_add)
        .ok_or_else(|| misfit("counts more entries than there are numbers"))
}

fn length_of(bytes: &[u8]) -> Result<u32> {
    let length = u32::try_from(bytes.len()).ok();
    length.filter(|length| *length <= LENGTH).ok_or_else(|| {
        let length = bytes.len();
        Error::invalid(format!("{length} bytes are too many for a value in a node"))
    })
}

fn number(left: &mut Bytes) -> Result<u32> {
    let bytes = take(left, 4)?;
    let bytes = bytes.first_chunk().ok_or_else(|| misfit("ends early"))?;
    Ok(u32::from_le_bytes(*bytes))
}

fn take(left: &mut Bytes, length: u32) -> Result<Bytes> {
    if left.len() < length as usize {
        return Err(misfit("ends early"));
    }
    Ok(left.split_to(length as usize))
}

fn misfit(what: &str) -> Error {
    Error::corrupt(format!("a node {what}"))
}
