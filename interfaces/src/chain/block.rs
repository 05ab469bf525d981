//! A block: entries that follow each other, in one record.
//!
//! ```text
//!  0        1       2       4       8          16
//!  | format | flags | zeros | n u32 | first u64 | [ link 32 ] | ends n × 4 | entry │ entry │ …
//!    u8 = 1   1 linked                                          top bit: the entry lies apart, and
//!             2 names its predecessor                           here are its length u64 [, hash 32]
//! ```
//!
//! An end counts from the first entry's first byte. References: the predecessor, weak, if the flags say
//! so; then one for each entry that lies apart, in order. The link is the one before the first entry.
//!
//! Bytes may be hostile: every access is checked, and what does not fit is `Corrupt`.

use std::ops::Range;

use bytes::Bytes;
use travertine_engine::contract::{Error, NewRecord, Record, Reference, Result};
use travertine_engine::front::Hint;

use super::CHAIN_BLOCK;
use super::link::{self, Digest};
use crate::index::{Apart, Found, Value};
use crate::records::Sink;

const FORMAT: u8 = 1;
const LINKED: u8 = 1;
const FOLLOWS: u8 = 2;
const HEADER: usize = 16;
const APART: u32 = 1 << 31;

/// An entry on its way into a block.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) value: Found,
    /// The hash of its bytes. There in a linked chain, where the entry lies apart.
    pub(super) hash: Option<Digest>,
}

/// What a block is told beside its entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) first: u64,
    pub(super) link: Option<Digest>,
    pub(super) predecessor: Option<Reference>,
}

/// Stores a block.
pub(super) fn store(sink: &dyn Sink, head: &Head, items: &[Item]) -> Result<Reference> {
    let mut references: Vec<_> = head
        .predecessor
        .map(Reference::weakened)
        .into_iter()
        .collect();
    let mut flags = 0;
    if head.link.is_some() {
        flags |= LINKED;
    }
    if head.predecessor.is_some() {
        flags |= FOLLOWS;
    }
    let (mut ends, mut heap) = (Vec::with_capacity(items.len() * 4), Vec::new());
    for item in items {
        let apart = match &item.value {
            Found::Inline(bytes) => {
                heap.extend_from_slice(bytes);
                0
            }
            Found::Apart(apart) => {
                references.push(apart.reference);
                heap.extend_from_slice(&apart.length.to_le_bytes());
                heap.extend_from_slice(item.hash.as_ref().map_or(&[][..], |hash| hash));
                APART
            }
        };
        ends.extend_from_slice(&(heap.len() as u32 | apart).to_le_bytes());
    }
    let mut fixed = [0; HEADER];
    fixed[0] = FORMAT;
    fixed[1] = flags;
    fixed[4..8].copy_from_slice(&(items.len() as u32).to_le_bytes());
    fixed[8..].copy_from_slice(&head.first.to_le_bytes());
    let record = NewRecord {
        kind: CHAIN_BLOCK,
        references: &references,
        body: &[
            &fixed,
            head.link.as_ref().map_or(&[], |link| link),
            &ends,
            &heap,
        ],
    };
    sink.store(&record, Hint::default())
}

/// A block, seen in the bytes of its record.
#[derive(Debug, Clone)]
pub(super) struct Block {
    record: Record,
    first: u64,
    /// One past the last entry that counts; what lies behind it was popped.
    until: u64,
    count: usize,
    flags: u8,
}

impl Block {
    /// The block in a record, whose first entry must be one of `first` and which must have all entries
    /// to `until`.
    pub(super) fn open(record: Record, first: Range<u64>, until: u64) -> Result<Self> {
        let block = Self::describe(record)?;
        let end = block.first.checked_add(block.count as u64);
        if !first.contains(&block.first) || end.is_none_or(|end| end < until) {
            return Err(bad(format!(
                "holds {} entries from {} on where it should hold those from {} to {until}",
                block.count, block.first, first.start
            )));
        }
        Ok(Self { until, ..block })
    }

    /// The block in a record, wherever it belongs.
    pub(super) fn describe(record: Record) -> Result<Self> {
        if record.kind() != CHAIN_BLOCK {
            return Err(bad(format!("is of kind {}", record.kind().0)));
        }
        let body = record.body();
        let Some(head) = body.first_chunk::<HEADER>() else {
            return Err(bad("ends in its header".to_owned()));
        };
        let [format, flags, _, _, n0, n1, n2, n3, first @ ..] = *head;
        if format != FORMAT || flags & !(LINKED | FOLLOWS) != 0 {
            return Err(bad(format!(
                "has format {format} and flags {flags}; this version reads format {FORMAT}"
            )));
        }
        let count = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
        let block = Self {
            first: u64::from_le_bytes(first),
            until: 0,
            count,
            flags,
            record: record.clone(),
        };
        if count == 0 || count > (body.len() - HEADER) / 4 || block.heap() > body.len() {
            return Err(bad(format!("has no room for {count} entries")));
        }
        let until = block.first.checked_add(count as u64);
        let until = until.ok_or_else(|| bad("counts past all numbers".to_owned()))?;
        Ok(Self { until, ..block })
    }

    /// The number of its first entry.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// One past the number of its last entry that counts.
    pub(super) fn until(&self) -> u64 {
        self.until
    }

    /// Whether all its entries count.
    pub(super) fn is_whole(&self) -> bool {
        self.until - self.first == self.count as u64
    }

    pub(super) fn holds(&self, number: u64) -> bool {
        (self.first..self.until).contains(&number)
    }

    /// The link before its first entry, if it has one.
    pub(super) fn link(&self) -> Option<Digest> {
        let body = self.record.body().get(HEADER..)?;
        body.first_chunk().copied().filter(|_| self.is_linked())
    }

    /// The block before it, if it names one.
    pub(super) fn predecessor(&self) -> Option<Reference> {
        self.record
            .reference(0)
            .filter(|_| self.flags & FOLLOWS != 0)
    }

    /// The record that it lies in.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// How many entries lie apart, popped ones too.
    pub(super) fn apart(&self) -> usize {
        self.apart_before(self.count)
    }

    /// References that it should have.
    pub(super) fn references(&self) -> usize {
        self.apart() + usize::from(self.flags & FOLLOWS != 0)
    }

    /// The entry of a number.
    pub(super) fn entry(&self, number: u64) -> Result<Value<'_>> {
        let (range, apart) = self.range(number)?;
        let bytes = &self.record.body()[range];
        match apart {
            None => Ok(Value::Inline(bytes)),
            Some(nth) => self.apart_of(number, nth, bytes).map(Value::Apart),
        }
    }

    /// The entry of a number, sharing the bytes it lies in.
    pub(super) fn found(&self, number: u64) -> Result<Found> {
        let (range, apart) = self.range(number)?;
        match apart {
            None => Ok(Found::Inline(self.record.body_bytes().slice(range))),
            Some(nth) => {
                let bytes = &self.record.body()[range];
                self.apart_of(number, nth, bytes).map(Found::Apart)
            }
        }
    }

    /// The hash of an entry's bytes; of one that lies apart, as it was noted.
    pub(super) fn hash(&self, number: u64) -> Result<Digest> {
        let (range, apart) = self.range(number)?;
        let bytes = &self.record.body()[range];
        match apart {
            None => Ok(link::hash(bytes)),
            Some(_) => {
                let hash = bytes.get(8..).and_then(|rest| rest.try_into().ok());
                hash.ok_or_else(|| bad(format!("lacks the hash of entry {number}")))
            }
        }
    }

    /// The link before an entry, if the chain is linked.
    pub(super) fn link_before(&self, number: u64) -> Result<Option<Digest>> {
        let Some(mut link) = self.link() else {
            return Ok(None);
        };
        for at in self.first..number.min(self.until) {
            link = link::behind(&link, at, &self.hash(at)?);
        }
        Ok(Some(link))
    }

    /// All its entries that count.
    pub(super) fn items(&self) -> impl Iterator<Item = Result<Item>> {
        (self.first..self.until).map(|number| {
            let value = self.found(number)?;
            let hash = match value {
                Found::Apart(_) if self.is_linked() => Some(self.hash(number)?),
                _ => None,
            };
            Ok(Item { value, hash })
        })
    }

    fn is_linked(&self) -> bool {
        self.flags & LINKED != 0
    }

    /// Where an entry lies in the body, and which of those apart it is, if it is one.
    fn range(&self, number: u64) -> Result<(Range<usize>, Option<usize>)> {
        let index = number.checked_sub(self.first).map(|index| index as usize);
        let Some(index) = index.filter(|index| *index < self.count) else {
            return Err(bad(format!("does not hold entry {number}")));
        };
        let start = match index.checked_sub(1) {
            Some(before) => self.end(before) & !APART,
            None => 0,
        };
        let end = self.end(index);
        let apart = (end & APART != 0).then(|| self.apart_before(index));
        let range = self.heap() + start as usize..self.heap() + (end & !APART) as usize;
        if range.start > range.end || range.end > self.record.body().len() {
            return Err(bad(format!("has no room for entry {number}")));
        }
        Ok((range, apart))
    }

    fn apart_of(&self, number: u64, nth: usize, bytes: &[u8]) -> Result<Apart> {
        let nth = nth + usize::from(self.flags & FOLLOWS != 0);
        let length = bytes.first_chunk().copied().map(u64::from_le_bytes);
        match (length, self.record.reference(nth)) {
            (Some(length), Some(reference)) => Ok(Apart { reference, length }),
            _ => Err(bad(format!(
                "does not name entry {number}, which lies apart"
            ))),
        }
    }

    fn apart_before(&self, index: usize) -> usize {
        (0..index).filter(|at| self.end(*at) & APART != 0).count()
    }

    /// The end of an entry and its flag. The index must be below `count`.
    fn end(&self, index: usize) -> u32 {
        let at = self.ends() + index * 4;
        let bytes = self.record.body().get(at..).and_then(<[u8]>::first_chunk);
        bytes.copied().map_or(0, u32::from_le_bytes)
    }

    fn ends(&self) -> usize {
        HEADER + if self.is_linked() { 32 } else { 0 }
    }

    fn heap(&self) -> usize {
        self.ends() + self.count * 4
    }
}

/// Bytes of an entry that is in memory or nearby.
pub(super) fn inline(value: &[u8]) -> Found {
    Found::Inline(Bytes::copy_from_slice(value))
}

fn bad(what: String) -> Error {
    Error::corrupt(format!("a block of a chain {what}"))
}
