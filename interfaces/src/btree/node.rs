//! The bytes of a node, and how they are searched where they lie: no decoding, no copy of a node.
//!
//! ```text
//!  body of a node                                          n keys, little-endian but for the heads
//!   0  format u8 = 1 │ level u8, 0 = leaf │ zero u16 │ n u32
//!   8  prefix length u32 │ zero u32
//!  16  heads     n × 8   first eight bytes of each key after the prefix, zero-padded, as they are
//!      slots     n × 8   where the entry ends in the heap u32, key bytes after the prefix u32
//!                        (top bit: the value lies apart)
//!      sums   n+1 × 8    inner nodes only: entries in the children 0 ..= i
//!      prefix            what all keys begin with
//!      heap              each entry: key bytes after prefix and head, then the value
//! ```
//!
//! A leaf holds n entries. The value of an entry that lies apart is its length, u64, and the i-th
//! such entry has the i-th reference of the record. An inner node holds n keys and n + 1
//! references, one for each child; every key in child i is less than key i, and none in child
//! i + 1 is. A lookup reads the heads, which lie side by side, then one slot and one entry.
//!
//! Bytes may be hostile: every access is checked, and what does not fit is `Corrupt`.

use std::cmp::Ordering;
use std::ops::Range;

use travertine_engine::contract::{Error, Record, Reference, Result};

use crate::edits::head_of;
use crate::index::{Apart, Value};
use crate::records::BTREE_NODE;

pub(super) const FORMAT: u8 = 1;
pub(super) const HEADER: usize = 16;
/// Most levels. Each inner node has two children or more, so no honest tree has as many.
pub(super) const LEVEL_MAX: u8 = 48;
/// Most keys in one node.
pub(super) const KEYS_MAX: usize = 32_768;
const APART: u32 = 1 << 31;
/// So few heads are looked at one and all.
const LOOKED_THROUGH: usize = 48;

/// A node, seen in the bytes of its record.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    record: &'a Record,
    level: u8,
    heads: &'a [[u8; 8]],
    slots: &'a [[u8; 8]],
    sums: &'a [[u8; 8]],
    prefix: &'a [u8],
    heap: &'a [u8],
}

/// How a node is laid out: found once, so that a cursor need not look again at every entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    level: u8,
    keys: usize,
    prefix: usize,
}

/// Where the parts of a leaf lie in the body of its record: found once for all of its rows.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) keys: usize,
    pub(super) prefix: Range<usize>,
}

/// A row of a leaf: its key after the prefix, and where in the body its value lies.
pub(super) struct SpotRow<'a> {
    pub(super) head: &'a [u8],
    pub(super) tail: &'a [u8],
    pub(super) value: Range<usize>,
    /// Not the value but its length: the value lies apart.
    pub(super) apart: bool,
}

impl Spot {
    /// The row with this index in the body of the leaf.
    #[inline]
    pub(super) fn row<'a>(&self, body: &'a [u8], index: usize) -> Result<SpotRow<'a>> {
        self.checked_row(body, index).ok_or_else(|| misfit(index))
    }

    #[inline]
    fn checked_row<'a>(&self, body: &'a [u8], index: usize) -> Option<SpotRow<'a>> {
        let index = Some(index).filter(|index| *index < self.keys)?;
        let head = body[HEADER + index * 8..].first_chunk::<8>()?;
        let slots = HEADER + self.keys * 8 + index * 8;
        let (end, length) = (word(&body[slots..]), word(&body[slots + 4..]));
        let start = match index {
            0 => 0,
            _ => word(&body[slots - 8..]),
        };
        let (heap, key) = (self.prefix.end, (length & !APART) as usize);
        let start = heap.checked_add(start as usize)?;
        let end = heap.checked_add(end as usize)?;
        let value = start.checked_add(key.saturating_sub(8))?;
        if value > end {
            return None;
        }
        Some(SpotRow {
            head: head.get(..key).unwrap_or(head),
            tail: body.get(start..value).filter(|_| end <= body.len())?,
            value: value..end,
            apart: length & APART != 0,
        })
    }
}

/// The bytes of one key, in the three places where they lie.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) head: &'a [u8],
    pub(super) tail: &'a [u8],
}

impl<'a> Node<'a> {
    /// Takes the node in `record`, which must be of this level. Only its frame is checked.
    pub(super) fn of(record: &'a Record, level: u8) -> Result<Self> {
        let bad = |what: &str| Err(Error::corrupt(format!("a B-tree node {what}")));
        if record.kind() != BTREE_NODE {
            return bad(&format!("is of kind {}", record.kind().0));
        }
        let body = record.body();
        let Some((header, rest)) = body.split_first_chunk::<HEADER>() else {
            return bad("has no room for its header");
        };
        if header[0] != FORMAT || header[1] != level {
            return bad(&format!(
                "has format {} and level {}, expected {FORMAT} and {level}",
                header[0], header[1]
            ));
        }
        let keys = word(&header[4..8]) as usize;
        let sums = if level > 0 { keys + 1 } else { 0 };
        let prefix = word(&header[8..12]) as usize;
        let fixed = index_len(keys, sums);
        if keys > KEYS_MAX || rest.len() < fixed + prefix {
            return bad(&format!(
                "states {keys} keys and a prefix of {prefix} bytes in a body of {}",
                body.len()
            ));
        }
        if level > 0 && record.reference_count() != sums {
            return bad(&format!(
                "has {keys} keys and {} references",
                record.reference_count()
            ));
        }
        Ok(Self::again(
            record,
            &Frame {
                level,
                keys,
                prefix,
            },
        ))
    }

    /// The node in `record` once more, laid out as it was.
    pub(super) fn again(record: &'a Record, frame: &Frame) -> Self {
        let Frame {
            level,
            keys,
            prefix,
        } = *frame;
        let sums = if level > 0 { keys + 1 } else { 0 };
        let (index, rest) = record.body()[HEADER..].split_at(index_len(keys, sums));
        let (index, _) = index.as_chunks::<8>();
        let (heads, index) = index.split_at(keys);
        let (slots, sums) = index.split_at(keys);
        let (prefix, heap) = rest.split_at(prefix);
        Self {
            record,
            level,
            heads,
            slots,
            sums,
            prefix,
            heap,
        }
    }

    /// Where the parts of this leaf lie.
    pub(super) fn spot(&self) -> Spot {
        let prefix = HEADER + index_len(self.keys(), self.sums.len());
        Spot {
            keys: self.keys(),
            prefix: prefix..prefix + self.prefix.len(),
        }
    }

    /// How it is laid out, for [`Node::again`].
    pub(super) fn frame(&self) -> Frame {
        Frame {
            level: self.level,
            keys: self.keys(),
            prefix: self.prefix.len(),
        }
    }

    /// Its distance from the leaves.
    pub(super) fn level(&self) -> u8 {
        self.level
    }

    /// How many keys it has: entries of a leaf, one less than the children of an inner node.
    pub(super) fn keys(&self) -> usize {
        self.heads.len()
    }

    /// How many children it has; none, if a leaf.
    pub(super) fn children(&self) -> usize {
        self.sums.len()
    }

    /// Entries in it and below it.
    pub(super) fn count(&self) -> u64 {
        match self.sums.last() {
            Some(sum) => u64::from_le_bytes(*sum),
            None => self.heads.len() as u64,
        }
    }

    /// The heads of its keys.
    pub(super) fn heads(&self) -> &'a [[u8; 8]] {
        self.heads
    }

    /// What all its keys begin with.
    pub(super) fn prefix(&self) -> &'a [u8] {
        self.prefix
    }

    /// The body of an inner node before and after its sums.
    pub(super) fn around_sums(&self) -> (&'a [u8], &'a [u8]) {
        let body = self.record.body();
        let start = HEADER + self.keys() * 16;
        (&body[..start], &body[start + self.children() * 8..])
    }

    /// Entries in the children before this one.
    pub(super) fn count_before(&self, child: usize) -> u64 {
        match child
            .checked_sub(1)
            .and_then(|before| self.sums.get(before))
        {
            Some(sum) => u64::from_le_bytes(*sum),
            None => 0,
        }
    }

    /// Entries in this child.
    pub(super) fn child_count(&self, child: usize) -> Result<u64> {
        self.count_before(child + 1)
            .checked_sub(self.count_before(child))
            .ok_or_else(|| Error::corrupt("a B-tree node's sums descend"))
    }

    /// The child with this index.
    pub(super) fn child(&self, child: usize) -> Result<Reference> {
        self.record
            .reference(child)
            .ok_or_else(|| Error::corrupt(format!("a B-tree node does not name its child {child}")))
    }

    /// The child in which `key` lies, if it lies anywhere.
    pub(super) fn child_of(&self, key: &[u8]) -> Result<usize> {
        let (at, found) = self.search(key)?;
        Ok(at + usize::from(found))
    }

    /// How many keys are less than `key`, and whether the next one is `key`.
    pub(super) fn search(&self, key: &[u8]) -> Result<(usize, bool)> {
        let (start, rest) = key.split_at(key.len().min(self.prefix.len()));
        match start.cmp(self.prefix) {
            Ordering::Less => return Ok((0, false)),
            Ordering::Greater => return Ok((self.keys(), false)),
            Ordering::Equal => {}
        }
        let head = head_of(rest);
        let mut low = self.below(head);
        // Heads are nearly always told apart; where not, the whole keys are.
        let mut high = low;
        while high < self.keys() && u64::from_be_bytes(self.heads[high]) == head {
            match self.compare(high, rest)? {
                Ordering::Equal => return Ok((high, true)),
                Ordering::Greater => return Ok((high, false)),
                Ordering::Less => high += 1,
            }
            if high - low == 4 {
                // Many alike: halve what is left of them.
                low = high;
                high +=
                    self.heads[high..].partition_point(|other| u64::from_be_bytes(*other) == head);
                while low < high {
                    let middle = low + (high - low) / 2;
                    match self.compare(middle, rest)? {
                        Ordering::Less => low = middle + 1,
                        Ordering::Equal => return Ok((middle, true)),
                        Ordering::Greater => high = middle,
                    }
                }
                return Ok((low, false));
            }
        }
        Ok((high, false))
    }

    /// The key with this index.
    pub(super) fn key(&self, index: usize) -> Result<Key<'a>> {
        let (length, _, entry) = self.entry(index)?;
        let head = &self.heads[index];
        Ok(Key {
            prefix: self.prefix,
            head: head.get(..length).unwrap_or(head),
            tail: entry
                .get(..length.saturating_sub(8))
                .ok_or_else(|| misfit(index))?,
        })
    }

    /// The head of the key with this index, which must be below [`Node::keys`].
    pub(super) fn head(&self, index: usize) -> &'a [u8; 8] {
        &self.heads[index]
    }

    /// The value of the leaf entry with this index.
    pub(super) fn value(&self, index: usize) -> Result<Value<'a>> {
        let (length, apart, entry) = self.entry(index)?;
        let value = entry
            .get(length.saturating_sub(8)..)
            .ok_or_else(|| misfit(index))?;
        if apart {
            return self.apart(index).map(Value::Apart);
        }
        Ok(Value::Inline(value))
    }

    /// Where the value of the leaf entry with this index lies, which lies apart.
    pub(super) fn apart(&self, index: usize) -> Result<Apart> {
        let (length, _, entry) = self.entry(index)?;
        let value = entry.get(length.saturating_sub(8)..);
        let length = value.and_then(|value| value.first_chunk::<8>());
        let nth = (0..index)
            .filter(|before| self.slot(*before).1 & APART != 0)
            .count();
        Ok(Apart {
            reference: self.record.reference(nth).ok_or_else(|| misfit(index))?,
            length: u64::from_le_bytes(*length.ok_or_else(|| misfit(index))?),
        })
    }

    /// Where in a leaf `key` is, if it is there: how many heads are less than its own. Heads lie side by
    /// side, so this waits for one piece of memory; [`Node::row_of`] for another.
    #[inline]
    pub(super) fn nearest(&self, key: &[u8]) -> usize {
        self.below(head_of(key.get(self.prefix.len()..).unwrap_or_default()))
    }

    /// The row of `key` in this leaf, if it is there; `at` is what [`Node::nearest`] said.
    #[inline]
    pub(super) fn row_of(&self, key: &[u8], at: usize) -> Result<Option<(usize, SpotRow<'a>)>> {
        let rest = match self.prefix {
            [] => key,
            prefix => match key.strip_prefix(prefix) {
                Some(rest) => rest,
                None => return Ok(None),
            },
        };
        let head = head_of(rest);
        let alike = |at: usize| {
            let other = self.heads.get(at);
            other.is_some_and(|other| u64::from_be_bytes(*other) == head)
        };
        if !alike(at) {
            return Ok(None);
        }
        let at = if alike(at + 1) {
            match self.search(key)? {
                (at, true) => at,
                (_, false) => return Ok(None),
            }
        } else {
            at
        };
        let row = self.spot().row(self.record.body(), at)?;
        let same = row.head.len() + row.tail.len() == rest.len()
            && rest.get(8..).is_none_or(|tail| tail == row.tail);
        Ok(same.then_some((at, row)))
    }

    /// How many heads are less than this one.
    #[inline]
    fn below(&self, head: u64) -> usize {
        let less = |other: &[u8; 8]| u64::from_be_bytes(*other) < head;
        match self.heads.len() {
            // Their lines come side by side if no look waits for the one before.
            0..=LOOKED_THROUGH => self.heads.iter().filter(|other| less(other)).count(),
            _ => self.heads.partition_point(less),
        }
    }

    /// Where an entry begins and what follows on it, if its slot says so.
    #[inline]
    pub(super) fn entry_bytes(&self, index: usize) -> &'a [u8] {
        let start = match index.checked_sub(1).and_then(|at| self.slots.get(at)) {
            Some(before) => word(&before[..4]) as usize,
            None => 0,
        };
        self.heap.get(start..).unwrap_or_default()
    }

    /// Key and value of a leaf entry, as they lie: the tail of the key, then an inline value.
    pub(super) fn raw(&self, index: usize) -> Result<(Key<'a>, Value<'a>)> {
        Ok((self.key(index)?, self.value(index)?))
    }

    fn slot(&self, index: usize) -> (u32, u32) {
        let slot = &self.slots[index];
        (word(&slot[..4]), word(&slot[4..]))
    }

    /// Key bytes after the prefix, whether the value lies apart, and the entry in the heap.
    fn entry(&self, index: usize) -> Result<(usize, bool, &'a [u8])> {
        if index >= self.keys() {
            return Err(misfit(index));
        }
        let start = match index.checked_sub(1) {
            Some(before) => self.slot(before).0 as usize,
            None => 0,
        };
        let (end, length) = self.slot(index);
        let entry = self
            .heap
            .get(start..end as usize)
            .ok_or_else(|| misfit(index))?;
        Ok(((length & !APART) as usize, length & APART != 0, entry))
    }

    /// The order of key `index` against `rest`, both after the prefix, given that their heads are
    /// alike: then the shorter is less as long as one ends within the head.
    fn compare(&self, index: usize, rest: &[u8]) -> Result<Ordering> {
        let key = self.key(index)?;
        let length = key.head.len() + key.tail.len();
        Ok(match rest.get(8..) {
            Some(tail) if length > 8 => key.tail.cmp(tail),
            _ => length.cmp(&rest.len()),
        })
    }
}

impl Key<'_> {
    pub(super) fn len(&self) -> usize {
        self.prefix.len() + self.head.len() + self.tail.len()
    }

    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(self.head);
        out.extend_from_slice(self.tail);
    }
}

impl<'a> From<&'a [u8]> for Key<'a> {
    fn from(key: &'a [u8]) -> Self {
        Self {
            prefix: key,
            head: &[],
            tail: &[],
        }
    }
}

/// What stands in a slot for a key of this many bytes after the prefix.
pub(super) fn slot(end: usize, key: usize, apart: bool) -> [u8; 8] {
    let mut slot = [0; 8];
    let key = key as u32 | if apart { APART } else { 0 };
    slot[..4].copy_from_slice(&(end as u32).to_le_bytes());
    slot[4..].copy_from_slice(&key.to_le_bytes());
    slot
}

/// Bytes of heads, slots and sums.
fn index_len(keys: usize, sums: usize) -> usize {
    (keys * 2 + sums) * 8
}

pub(super) fn misfit(index: usize) -> Error {
    Error::corrupt(format!(
        "entry {index} of a B-tree node does not fit into it"
    ))
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
