//! A batch of edits: taken in any order, handed to an index sorted, each key once.
//!
//! Sorting a batch once and walking a tree once beats descending for every key: a descent misses
//! the processor's caches a handful of times, a sort by the first eight bytes hardly ever. Those
//! eight bytes are taken after the prefix that all keys of the batch share.
//!
//! ```text
//!   items   | head u64, chunk u32, at u32 | …            sorted; ties look at the whole key
//!   chunks  | key length u32, tag and value length u32, key, value | …      never moved
//! ```

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;
use std::mem;
use std::ops::Range;

use travertine_engine::contract::{Error, Result};

use crate::index::{Apart, KEY_MAX, Value};

/// Each chunk is four times as long as the one before, up to 1 MiB.
const CHUNK_MIN: usize = 1 << 10;
/// Items that are kept for the next small batch, at most.
const ITEMS_SPARE: usize = 64;
const FIELDS: usize = 8;
const DELETE: u32 = 1 << 31;
const APART: u32 = 1 << 30;
const LENGTH: u32 = APART - 1;

/// What is done to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// The key has this value from now on.
    Put(Value<'a>),
    /// The key has no value from now on.
    Delete,
}

/// Edits as they come in. The later of two edits to one key counts.
#[derive(Default)]
pub struct EditLog(Edits);

/// Edits in key order, each key once.
#[derive(Default)]
pub struct Edits {
    chunks: Vec<Vec<u8>>,
    items: Vec<Item>,
    apart: Vec<Apart>,
    /// How many bytes all keys have in common; heads are taken after them.
    shared: usize,
    ascending: bool,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Item {
    head: u64,
    chunk: u32,
    at: u32,
}

/// Buffers of a batch that is done with.
type Spare = (Vec<Vec<u8>>, Vec<Item>);

thread_local! {
    /// Those of a small batch, for the next one of this thread: small commits come one after the other.
    static SPARE: Cell<Option<Spare>> = const { Cell::new(None) };
}

impl Drop for Edits {
    fn drop(&mut self) {
        let (mut chunks, mut items) = (mem::take(&mut self.chunks), mem::take(&mut self.items));
        if let [chunk] = &mut chunks[..]
            && chunk.capacity() <= CHUNK_MIN
            && items.capacity() <= ITEMS_SPARE
        {
            chunk.clear();
            items.clear();
            let _ = SPARE.try_with(|spare| spare.set(Some((chunks, items))));
        }
    }
}

impl EditLog {
    /// No edits yet.
    #[must_use]
    pub fn new() -> Self {
        let mut log = Self::default();
        if let Ok(Some(spare)) = SPARE.try_with(Cell::take) {
            (log.0.chunks, log.0.items) = spare;
        }
        log
    }

    /// Takes an edit. Refuses keys over [`KEY_MAX`] and inline values of 1 GiB and more.
    pub fn push(&mut self, key: &[u8], edit: Edit<'_>) -> Result<()> {
        check_key(key)?;
        let edits = &mut self.0;
        let (tag, value) = match edit {
            Edit::Delete => (DELETE, &[][..]),
            Edit::Put(Value::Inline(value)) => (inline_tag(value)?, value),
            Edit::Put(Value::Apart(apart)) => {
                edits.apart.push(apart);
                edits.bytes += size_of::<Apart>() as u64;
                let index = u32::try_from(edits.apart.len() - 1).unwrap_or(u32::MAX);
                if index > LENGTH {
                    return Err(Error::full("a batch holds too many long values; commit it"));
                }
                (APART | index, &[][..])
            }
        };
        edits.append(key, tag, value);
        Ok(())
    }

    /// The keys of all edits, in the order in which they were taken.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.0.items.iter().map(|item| self.0.key_of(*item))
    }

    /// How many edits were taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.items.len()
    }

    /// Whether none was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.items.is_empty()
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Sorts, and drops all but the last edit to each key.
    #[must_use]
    pub fn sorted(self) -> Edits {
        let mut edits = self.0;
        if edits.shared > 0 {
            // Heads were taken from the start of the keys, where all of them are alike.
            let mut items = mem::take(&mut edits.items);
            for item in &mut items {
                item.head = head_of(&edits.key_of(*item)[edits.shared..]);
            }
            edits.items = items;
        }
        if !edits.ascending && edits.items.len() > 1 {
            let mut items = mem::take(&mut edits.items);
            items.sort_unstable_by(|a, b| {
                a.head.cmp(&b.head).then_with(|| {
                    let by_key = edits.key_of(*a).cmp(edits.key_of(*b));
                    by_key.then_with(|| (a.chunk, a.at).cmp(&(b.chunk, b.at)))
                })
            });
            // Of equal keys the last one taken lies last: keep that.
            items.reverse();
            items.dedup_by(|earlier, later| {
                earlier.head == later.head && edits.key_of(*earlier) == edits.key_of(*later)
            });
            items.reverse();
            edits.items = items;
            edits.ascending = true;
        }
        edits
    }
}

impl Edits {
    /// How many edits there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes held, those of edits that were superseded too.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the edits as they lie here, one behind the other.
    pub(crate) fn laid_out(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// The key of the edit with this index. Keys ascend strictly.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Edits::len`].
    #[must_use]
    pub fn key(&self, index: usize) -> &[u8] {
        self.key_of(self.items[index])
    }

    /// The edit with this index.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Edits::len`].
    #[must_use]
    pub fn edit(&self, index: usize) -> Edit<'_> {
        let (key, tag, rest) = self.fields(self.items[index]);
        if tag & DELETE != 0 {
            Edit::Delete
        } else if tag & APART != 0 {
            Edit::Put(Value::Apart(self.apart[(tag & LENGTH) as usize]))
        } else {
            let value = &rest[key..key + (tag & LENGTH) as usize];
            Edit::Put(Value::Inline(value))
        }
    }

    /// All edits in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Edit<'_>)> {
        (0..self.len()).map(|index| (self.key(index), self.edit(index)))
    }

    /// The keys of all edits that were taken, as they came, of which one may come again: a walk through
    /// memory from end to end, where one in order would wait at every key.
    pub(crate) fn keys_taken(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().flat_map(|chunk| {
            let mut rest = &chunk[..];
            std::iter::from_fn(move || {
                let (key, tag, bytes) = fields(rest)?;
                let value = match tag & (DELETE | APART) {
                    0 => (tag & LENGTH) as usize,
                    _ => 0,
                };
                rest = bytes.get(key + value..)?;
                bytes.get(..key)
            })
        })
    }

    /// The first index in `range` whose key is `key` or more; the range's end if there is none.
    /// Cheap when the answer is near the range's start.
    #[must_use]
    pub fn lower_bound(&self, range: Range<usize>, key: &[u8]) -> usize {
        if range.is_empty() {
            return range.end;
        }
        let common = &self.key_of(self.items[range.start])[..self.shared];
        let (start, rest) = key.split_at(key.len().min(self.shared));
        match start.cmp(common) {
            Ordering::Less => return range.start,
            Ordering::Greater => return range.end,
            Ordering::Equal => {}
        }
        let head = head_of(rest);
        let below = |index: usize| {
            let item = self.items[index];
            match item.head.cmp(&head) {
                Ordering::Equal => &self.key_of(item)[self.shared..] < rest,
                unequal => unequal == Ordering::Less,
            }
        };
        // Gallop: batches are walked from left to right, so the answer is mostly near.
        let mut step = 1;
        let mut low = range.start;
        while low + step <= range.end && below(low + step - 1) {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if below(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn append(&mut self, key: &[u8], tag: u32, value: &[u8]) {
        let head = head_of(key);
        match self.items.last() {
            None => {
                self.shared = key.len();
                self.ascending = true;
            }
            Some(last) => {
                let first = self.key_of(self.items[0]);
                self.shared = common_prefix(&first[..self.shared], key);
                self.ascending = self.ascending
                    && match last.head.cmp(&head) {
                        Ordering::Less => true,
                        Ordering::Equal => self.key_of(*last) < key,
                        Ordering::Greater => false,
                    };
            }
        }
        let need = FIELDS + key.len() + value.len();
        let room = self
            .chunks
            .last()
            .is_some_and(|chunk| chunk.capacity() - chunk.len() >= need);
        if !room {
            // A small batch is not to cost a large allocation, and a single edit one that is had quickly.
            let size = (CHUNK_MIN << (2 * self.chunks.len()).min(10)).max(need);
            self.chunks.push(Vec::with_capacity(size));
        }
        let index = self.chunks.len() - 1;
        let chunk = &mut self.chunks[index];
        self.items.push(Item {
            head,
            chunk: index as u32,
            at: chunk.len() as u32,
        });
        chunk.extend_from_slice(&(key.len() as u32).to_le_bytes());
        chunk.extend_from_slice(&tag.to_le_bytes());
        chunk.extend_from_slice(key);
        chunk.extend_from_slice(value);
        self.bytes += (need + size_of::<Item>()) as u64;
    }

    fn key_of(&self, item: Item) -> &[u8] {
        let (key, _, rest) = self.fields(item);
        &rest[..key]
    }

    /// Key length, tag, and the bytes from the key on.
    fn fields(&self, item: Item) -> (usize, u32, &[u8]) {
        let bytes = &self.chunks[item.chunk as usize][item.at as usize..];
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        (word(0) as usize, word(4), &bytes[FIELDS..])
    }
}

/// Key length, tag, and the bytes from the key on, of the edit that begins here, if one does.
fn fields(bytes: &[u8]) -> Option<(usize, u32, &[u8])> {
    let (key, rest) = bytes.split_first_chunk::<4>()?;
    let (tag, rest) = rest.split_first_chunk::<4>()?;
    let key = u32::from_le_bytes(*key) as usize;
    Some((key, u32::from_le_bytes(*tag), rest))
}

impl fmt::Debug for EditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EditLog({} edits, {} bytes)", self.len(), self.bytes())
    }
}

impl fmt::Debug for Edits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Edits({} edits, {} bytes)", self.len(), self.bytes)
    }
}

/// Refuses keys over the limit.
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    if key.len() > KEY_MAX {
        return Err(Error::invalid(format!(
            "a key of {} bytes is over the limit of {KEY_MAX}",
            key.len()
        )));
    }
    Ok(())
}

/// The first eight bytes as a number that orders as they do; missing ones count as zero.
#[inline]
pub(crate) fn head_of(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(head) => u64::from_be_bytes(*head),
        None => {
            let mut head = [0; 8];
            head[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(head)
        }
    }
}

/// How many bytes two keys share from their start.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let most = a.len().min(b.len());
    let words = most / 8;
    for index in 0..words {
        let at = index * 8;
        let differ = head_of(&a[at..]) ^ head_of(&b[at..]);
        if differ != 0 {
            return at + (differ.leading_zeros() / 8) as usize;
        }
    }
    let at = words * 8;
    at + a[at..most]
        .iter()
        .zip(&b[at..most])
        .take_while(|(a, b)| a == b)
        .count()
}

fn inline_tag(value: &[u8]) -> Result<u32> {
    u32::try_from(value.len())
        .ok()
        .filter(|length| *length <= LENGTH)
        .ok_or_else(|| {
            Error::invalid(format!(
                "{} bytes are too many for a value within an entry",
                value.len()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(edits: &[(&str, Option<&str>)]) -> EditLog {
        let mut log = EditLog::new();
        for (key, value) in edits {
            let edit = match value {
                Some(value) => Edit::Put(Value::Inline(value.as_bytes())),
                None => Edit::Delete,
            };
            log.push(key.as_bytes(), edit).unwrap();
        }
        log
    }

    fn keys(edits: &Edits) -> Vec<&str> {
        edits
            .iter()
            .map(|(key, _)| std::str::from_utf8(key).unwrap())
            .collect()
    }

    #[test]
    fn edits_come_out_in_order_and_the_last_one_counts() {
        let edits = log(&[
            ("b", Some("1")),
            ("", Some("empty")),
            ("ab", Some("2")),
            ("b", None),
            ("a", Some("3")),
            ("ab", Some("4")),
        ])
        .sorted();
        assert_eq!(keys(&edits), ["", "a", "ab", "b"]);
        assert_eq!(edits.edit(2), Edit::Put(Value::Inline(b"4")));
        assert_eq!(edits.edit(3), Edit::Delete);
    }

    #[test]
    fn keys_come_as_they_were_taken_too() {
        let edits = log(&[("b", Some("1")), ("", None), ("a", Some("")), ("b", None)]).sorted();
        let taken: Vec<_> = edits.keys_taken().collect();
        assert_eq!(taken, [&b"b"[..], b"", b"a", b"b"]);
    }

    #[test]
    fn a_shared_prefix_and_keys_that_end_within_the_head_keep_their_order() {
        let edits = log(&[
            ("prefix-", Some("")),
            ("prefix-b\0", Some("")),
            ("prefix-b", Some("")),
            ("prefix-b-and-more", Some("")),
            ("prefix-a", Some("")),
        ])
        .sorted();
        assert_eq!(
            keys(&edits),
            [
                "prefix-",
                "prefix-a",
                "prefix-b",
                "prefix-b\0",
                "prefix-b-and-more"
            ]
        );
        for (index, key) in ["prefix-", "prefix-a", "prefix-b"].iter().enumerate() {
            assert_eq!(edits.lower_bound(0..5, key.as_bytes()), index);
        }
        assert_eq!(edits.lower_bound(0..5, b"prefix-b\0"), 3);
        assert_eq!(edits.lower_bound(1..5, b"a"), 1);
        assert_eq!(edits.lower_bound(1..4, b"q"), 4);
        assert_eq!(edits.lower_bound(0..5, b"prefix-z"), 5);
    }

    #[test]
    fn a_key_over_the_limit_is_refused_and_one_at_it_is_not() {
        let mut log = EditLog::new();
        log.push(&vec![7; KEY_MAX], Edit::Delete).unwrap();
        assert!(log.push(&vec![7; KEY_MAX + 1], Edit::Delete).is_err());
        assert_eq!(log.len(), 1);
    }
}
