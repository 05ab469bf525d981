//! The bytes of a node, and how they are searched where they lie.
//!
//! ```text
//!  body of a node                                     n rows, little-endian but for the heads
//!   0  format u8 = 1 │ height u8, 0 = entries only │ zero u16 │ n u32
//!   8  prefix u32: bytes that all keys begin with │ zero u32
//!  16  heads  n × 8   first eight bytes of each key after the prefix, zero-padded, as they are
//!      slots  n × 8   where the row ends in the heap u32
//!                     key bytes u32; top bits: 10 the value lies apart, 01 a node
//!      heap           each row: its key, whole, then
//!                       a value    its bytes
//!                       one apart  its length u64, its digest
//!                       a node     entries in and under it u64, its height u8, its digest
//! ```
//!
//! What a row names is in the record's reference table, in the order of the rows. A digest is 32 bytes
//! in the nodes of an index that asks for digests, and none in others. A lookup reads the heads, which
//! lie side by side, then one slot and one key.
//!
//! Bytes may be hostile: every access is checked, and what does not fit is `Corrupt`. The height of a
//! node is that which the node above says, and less than that node's own: so no walk goes round.

use std::cmp::Ordering;

use bytes::Bytes;
use travertine_engine::contract::{Error, NewRecord, Record, Reference, Result};
use travertine_engine::front::Hint;

use super::{Cell, DIGEST, Digest, HEIGHT_MAX, Nodes, Row, digest};
use crate::edits::{common_prefix, head_of};
use crate::index::{Apart, Entry, KEY_MAX, Value};
use crate::records::Sink;

const FORMAT: u8 = 1;
const HEADER: usize = 16;
const APART: u32 = 1 << 31;
const BELOW: u32 = 1 << 30;
const LENGTH: u32 = BELOW - 1;

/// A node in its record. Only its frame is known to fit.
#[derive(Debug, Clone)]
pub(super) struct Page {
    record: Record,
    digests: bool,
    rows: usize,
    prefix: usize,
}

impl Page {
    /// The node in a record. `Invalid` if the record is of another kind.
    pub(super) fn of(nodes: Nodes, record: Record) -> Result<Self> {
        if record.kind() != nodes.kind {
            return Err(Error::invalid(format!(
                "a record of kind {} is no node of kind {}",
                record.kind().0,
                nodes.kind.0
            )));
        }
        let body = record.body();
        let Some(header) = body.first_chunk::<HEADER>() else {
            return Err(misfit("has no room for its header"));
        };
        if header[0] != FORMAT {
            return Err(misfit("is of a format that this version does not read"));
        }
        let (rows, prefix) = (word(&header[4..8]) as usize, word(&header[8..12]) as usize);
        let fits = (body.len() - HEADER) / 16 >= rows && record.reference_count() <= rows;
        if rows == 0 || !fits || prefix > KEY_MAX {
            return Err(misfit("states rows that it has no room for"));
        }
        let page = Self {
            digests: nodes.digests,
            rows,
            prefix,
            record,
        };
        if page.key(0)?.len() < prefix {
            return Err(misfit(
                "has a first key that is shorter than what all share",
            ));
        }
        Ok(page)
    }

    /// How many rows there are: one at least.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Levels of nodes under it.
    pub(super) fn height(&self) -> u8 {
        self.record.body()[1]
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// How many keys are less than `key`, and whether the next one is `key`.
    pub(super) fn search(&self, key: &[u8]) -> Result<(usize, bool)> {
        let (start, rest) = key.split_at(key.len().min(self.prefix));
        match start.cmp(&self.key(0)?[..self.prefix]) {
            Ordering::Less => return Ok((0, false)),
            Ordering::Greater => return Ok((self.rows, false)),
            Ordering::Equal => {}
        }
        let head = head_of(rest);
        let (heads, _) = self.record.body()[HEADER..HEADER + self.rows * 8].as_chunks::<8>();
        let mut low = heads.partition_point(|other| u64::from_be_bytes(*other) < head);
        let alike = heads[low..]
            .iter()
            .take_while(|other| u64::from_be_bytes(**other) == head);
        // Heads are nearly always told apart; where not, the whole keys are.
        let mut high = low + alike.count();
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle)?.cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok((middle, true)),
                Ordering::Greater => high = middle,
            }
        }
        Ok((low, false))
    }

    /// The row in which `key` lies, if it lies anywhere: the last whose key is not greater.
    pub(super) fn place(&self, key: &[u8]) -> Result<Option<usize>> {
        let (at, found) = self.search(key)?;
        Ok(if found { Some(at) } else { at.checked_sub(1) })
    }

    /// The key of a row.
    pub(super) fn key(&self, at: usize) -> Result<&[u8]> {
        let (key, _, bytes) = self.parts(at)?;
        bytes.get(..key).ok_or_else(|| unfit(at))
    }

    /// Whether a row stands for a node.
    pub(super) fn is_node(&self, at: usize) -> Result<bool> {
        Ok(self.parts(at)?.1 == BELOW)
    }

    /// A row as an entry; `None` if it stands for a node.
    pub(super) fn entry(&self, at: usize) -> Result<Option<Entry<'_>>> {
        let (key, sort, bytes) = self.parts(at)?;
        let (key, value) = bytes.split_at_checked(key).ok_or_else(|| unfit(at))?;
        let value = match sort {
            0 => Value::Inline(value),
            APART => Value::Apart(Apart {
                reference: self.reference(at)?,
                length: number(value).ok_or_else(|| unfit(at))?,
            }),
            _ => return Ok(None),
        };
        Ok(Some(Entry { key, value }))
    }

    /// What a row holds.
    pub(super) fn cell(&self, at: usize) -> Result<Cell> {
        if let Some(entry) = self.entry(at)? {
            return Ok(match entry.value {
                Value::Inline(value) => Cell::Inline(self.share(value)),
                Value::Apart(apart) => Cell::Apart(apart),
            });
        }
        let (key, _, bytes) = self.parts(at)?;
        let value = bytes.get(key..).ok_or_else(|| unfit(at))?;
        let height = *value.get(8).ok_or_else(|| unfit(at))?;
        if height >= self.height() {
            return Err(misfit("names a node that is as high as itself"));
        }
        Ok(Cell::Below {
            node: self.reference(at)?,
            count: number(value).ok_or_else(|| unfit(at))?,
            height,
        })
    }

    /// A row, whole.
    fn row(&self, at: usize) -> Result<Row> {
        let (key, sort, bytes) = self.parts(at)?;
        let (key, value) = bytes.split_at_checked(key).ok_or_else(|| unfit(at))?;
        let fixed = match sort {
            0 => value.len(),
            APART => 8,
            _ => 9,
        };
        let digest = match value.get(fixed..).ok_or_else(|| unfit(at))? {
            [] if sort == 0 || !self.digests => None,
            bytes if self.digests => Some(bytes.try_into().map_err(|_| unfit(at))?),
            _ => return Err(unfit(at)),
        };
        Ok(Row {
            key: self.share(key),
            cell: self.cell(at)?,
            digest,
        })
    }

    /// All rows, after a look at whether everything fits.
    pub(super) fn rows(&self) -> Result<Vec<Row>> {
        let mut rows: Vec<Row> = Vec::with_capacity(self.rows);
        let mut named = 0;
        for at in 0..self.rows {
            let row = self.row(at)?;
            let ascends = rows.last().is_none_or(|last| last.key < row.key);
            if row.key.len() > KEY_MAX || !ascends {
                return Err(misfit("has keys that are too long or do not ascend"));
            }
            let rest = row.key.get(self.prefix..).ok_or_else(|| unfit(at))?;
            let alike = row.key[..self.prefix] == self.key(0)?[..self.prefix];
            if !alike
                || head_of(rest).to_be_bytes()[..] != self.record.body()[HEADER + at * 8..][..8]
            {
                return Err(misfit("has a head that is not of its key"));
            }
            named += usize::from(!matches!(row.cell, Cell::Inline(_)));
            rows.push(row);
        }
        let height = rows.iter().map(Row::level).max();
        if named != self.record.reference_count() || height != Some(self.height()) {
            return Err(misfit(
                "names more than its rows do, or is not as high as it says",
            ));
        }
        Ok(rows)
    }

    /// Entries in and under it.
    pub(super) fn count(&self) -> Result<u64> {
        self.count_before(self.rows)
    }

    /// Entries in and under its rows before this one.
    pub(super) fn count_before(&self, at: usize) -> Result<u64> {
        if self.height() == 0 {
            return Ok(at as u64);
        }
        (0..at).try_fold(0u64, |sum, at| {
            let count = match self.is_node(at)? {
                true => match self.cell(at)? {
                    Cell::Below { count, .. } => count,
                    _ => 1,
                },
                false => 1,
            };
            sum.checked_add(count)
                .ok_or_else(|| misfit("counts more entries than there are numbers"))
        })
    }

    fn share(&self, part: &[u8]) -> Bytes {
        self.record.encoded().slice_ref(part)
    }

    /// What the row at `at` names: a place in the table for every row before it that names something.
    fn reference(&self, at: usize) -> Result<Reference> {
        self.record.reference(self.nth(at)).ok_or_else(|| unfit(at))
    }

    /// How many rows before this one name something.
    fn nth(&self, at: usize) -> usize {
        match self.record.reference_count() == self.rows {
            true => at,
            false => (0..at)
                .filter(|before| self.slot(*before).1 & !LENGTH != 0)
                .count(),
        }
    }

    fn slot(&self, at: usize) -> (u32, u32) {
        let (slots, _) = self.halves();
        (word(&slots[at][..4]), word(&slots[at][4..]))
    }

    /// The slots, and the heap.
    fn halves(&self) -> (&[[u8; 8]], &[u8]) {
        let (index, heap) = self.record.body()[HEADER..].split_at(self.rows * 16);
        (index[self.rows * 8..].as_chunks().0, heap)
    }

    /// Key bytes, the sort of row, and its bytes in the heap.
    fn parts(&self, at: usize) -> Result<(usize, u32, &[u8])> {
        let (slots, heap) = self.halves();
        let start = at
            .checked_sub(1)
            .map_or(0, |before| word(&slots[before][..4]));
        let slot = slots.get(at).ok_or_else(|| unfit(at))?;
        let (end, key) = (word(&slot[..4]), word(&slot[4..]));
        let bytes = heap.get(start as usize..end as usize);
        let (key, sort) = ((key & LENGTH) as usize, key & !LENGTH);
        match bytes {
            Some(bytes) if sort != APART | BELOW => Ok((key, sort, bytes)),
            _ => Err(unfit(at)),
        }
    }
}

/// Stores a node with these rows and returns the row that stands for it.
pub(super) fn store(nodes: Nodes, sink: &dyn Sink, rows: &[Row]) -> Result<Row> {
    let [first, .., last] = rows else {
        return match rows {
            [row] => store_rows(nodes, sink, rows, row.key.len()),
            _ => Err(Error::invalid("a node has one row or more")),
        };
    };
    if !rows.is_sorted_by(|one, two| one.key < two.key) {
        return Err(Error::invalid("the keys of a node do not ascend"));
    }
    store_rows(nodes, sink, rows, common_prefix(&first.key, &last.key))
}

fn store_rows(nodes: Nodes, sink: &dyn Sink, rows: &[Row], prefix: usize) -> Result<Row> {
    let height = rows.iter().map(Row::level).max().unwrap_or_default();
    if height > HEIGHT_MAX {
        return Err(Error::invalid(format!(
            "a node with {height} levels of nodes under it; {HEIGHT_MAX} are the most"
        )));
    }
    let mut index = Vec::with_capacity(HEADER + rows.len() * 16);
    let mut heap = Vec::with_capacity(rows.iter().map(|row| row.key.len() + 64).sum());
    let (mut references, mut count) = (Vec::new(), 0u64);
    index.extend_from_slice(&[FORMAT, height, 0, 0]);
    index.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    index.extend_from_slice(&(prefix as u32).to_le_bytes());
    index.resize(HEADER, 0);
    for row in rows {
        index.extend_from_slice(&head_of(&row.key[prefix..]).to_be_bytes());
    }
    for row in rows {
        heap.extend_from_slice(&row.key);
        let sort = match &row.cell {
            Cell::Inline(bytes) => {
                heap.extend_from_slice(bytes);
                0
            }
            Cell::Apart(apart) => {
                references.push(apart.reference);
                heap.extend_from_slice(&apart.length.to_le_bytes());
                APART
            }
            Cell::Below {
                node,
                count,
                height,
            } => {
                references.push(*node);
                heap.extend_from_slice(&count.to_le_bytes());
                heap.push(*height);
                BELOW
            }
        };
        if nodes.digests && sort != 0 {
            heap.extend_from_slice(&told(sink, row)?);
        }
        let end = u32::try_from(heap.len()).ok().filter(|end| *end <= LENGTH);
        let end = end.ok_or_else(|| Error::invalid("a node is larger than a record may be"))?;
        index.extend_from_slice(&end.to_le_bytes());
        index.extend_from_slice(&(row.key.len() as u32 | sort).to_le_bytes());
        count = count
            .checked_add(row.count())
            .ok_or_else(|| misfit("counts more entries than there are numbers"))?;
    }
    let record = NewRecord {
        kind: nodes.kind,
        references: &references,
        body: &[&index, &heap],
    };
    Ok(Row {
        key: rows[0].key.clone(),
        cell: Cell::Below {
            node: sink.store(&record, Hint::default())?,
            count,
            height,
        },
        digest: nodes.digests.then(|| digest::of(&[&index, &heap])),
    })
}

/// Stores a node that has other nodes of the same height in some places, which begin with the same keys.
pub(super) fn replace(
    nodes: Nodes,
    sink: &dyn Sink,
    page: &Page,
    rows: &[(usize, Row)],
) -> Result<Row> {
    let mut body = page.record.body().to_vec();
    let mut references: Vec<_> = page.record.references().collect();
    let mut total = page.count()?;
    for (at, row) in rows {
        let (
            Cell::Below { count: old, .. },
            Cell::Below {
                node,
                count,
                height,
            },
        ) = (page.cell(*at)?, &row.cell)
        else {
            return Err(unfit(*at));
        };
        let start = at.checked_sub(1).map_or(0, |before| page.slot(before).0) as usize;
        let value = HEADER + page.rows * 16 + start + page.key(*at)?.len();
        let digest = row.digest.as_ref().map_or(&[][..], |digest| &digest[..]);
        let told = [&count.to_le_bytes()[..], &[*height], digest].concat();
        let end = HEADER + page.rows * 16 + page.slot(*at).0 as usize;
        let place = body
            .get_mut(value..end)
            .filter(|place| place.len() == told.len());
        place.ok_or_else(|| unfit(*at))?.copy_from_slice(&told);
        let named = references
            .get_mut(page.nth(*at))
            .ok_or_else(|| unfit(*at))?;
        *named = *node;
        total = total
            .checked_sub(old)
            .and_then(|rest| rest.checked_add(*count))
            .ok_or_else(|| misfit("counts more entries than there are numbers"))?;
    }
    let record = NewRecord {
        kind: nodes.kind,
        references: &references,
        body: &[&body],
    };
    Ok(Row {
        key: Bytes::copy_from_slice(page.key(0)?),
        cell: Cell::Below {
            node: sink.store(&record, Hint::default())?,
            count: total,
            height: page.height(),
        },
        digest: nodes.digests.then(|| digest::of(&[&body])),
    })
}

/// The digest of what a row names. A value that has come only now is read for it.
fn told(sink: &dyn Sink, row: &Row) -> Result<Digest> {
    match (&row.digest, &row.cell) {
        (Some(digest), _) => Ok(*digest),
        (None, Cell::Apart(apart)) => digest::of_value(sink, apart),
        (None, _) => Err(Error::invalid("a node has no digest to be told above it")),
    }
}

fn number(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn unfit(at: usize) -> Error {
    misfit(&format!("has a row {at} that does not fit into it"))
}

pub(super) fn misfit(what: &str) -> Error {
    Error::corrupt(format!("a node {what}"))
}

const _: () = assert!(DIGEST == size_of::<Digest>());
