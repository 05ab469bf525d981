//! A delta: what one commit changed, in a record of its own.
//!
//! ```text
//!   0 format u8 = 1 │ 1 zeros │ 4 edits u32 │ 8 edit, edit, …          keys ascend strictly
//!   edit   key bytes u32 │ tag u32 │ key │ value
//!   tag    bit 31: deleted, no value    bit 30: the value lies apart, its place in the table u32
//!          bits 0 to 29: bytes of value         and its length u64 stand here instead
//! ```
//!
//! The table names the values that lie apart, in the order of the edits, and nothing else: a delta
//! leads to no other delta, so that one that is no longer needed keeps none alive. Nothing in it is
//! copied to be read: an edit is named by the place where it begins.

use bytes::Bytes;
use travertine_engine::contract::{Error, NewRecord, Record, Reference, Result, memory};
use travertine_engine::front::Hint;

use super::FORMAT;
use super::shelf::Shelf;
use crate::edits::Edit;
use crate::index::{Apart, Found, KEY_MAX, Value};
use crate::records::{JOURNAL_DELTA, Sink};

const HEADER: usize = 8;
const FIELDS: usize = 8;
const DELETED: u32 = 1 << 31;
const APART: u32 = 1 << 30;
const LENGTH: u32 = APART - 1;
const APART_BYTES: usize = 12;

/// A delta in memory.
#[derive(Debug, Clone)]
pub(super) struct Delta {
    body: Bytes,
    apart: Box<[Reference]>,
}

/// A delta that is being written.
#[derive(Debug)]
pub(super) struct Draft {
    body: Vec<u8>,
    apart: Vec<Reference>,
    edits: u32,
}

impl Draft {
    pub(super) fn new(room: usize) -> Self {
        let mut body = Vec::with_capacity(HEADER + room);
        body.extend_from_slice(&[FORMAT, 0, 0, 0, 0, 0, 0, 0]);
        Self {
            body,
            apart: Vec::new(),
            edits: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.edits == 0
    }

    /// Adds an edit; keys must ascend.
    pub(super) fn push(&mut self, key: &[u8], edit: Edit<'_>) {
        self.edits += 1;
        let mut field = [0; APART_BYTES];
        let (tag, value) = match edit {
            Edit::Delete => (DELETED, &[][..]),
            Edit::Put(Value::Inline(value)) => (value.len() as u32, value),
            Edit::Put(Value::Apart(value)) => {
                field[..4].copy_from_slice(&(self.apart.len() as u32).to_le_bytes());
                field[4..].copy_from_slice(&value.length.to_le_bytes());
                self.apart.push(value.reference);
                (APART | APART_BYTES as u32, &field[..])
            }
        };
        self.body
            .extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.body.extend_from_slice(&tag.to_le_bytes());
        self.body.extend_from_slice(key);
        self.body.extend_from_slice(value);
    }

    /// Stores it.
    pub(super) fn store(mut self, sink: &dyn Sink) -> Result<(Reference, Delta)> {
        self.body[4..HEADER].copy_from_slice(&self.edits.to_le_bytes());
        let record = NewRecord {
            kind: JOURNAL_DELTA,
            references: &self.apart,
            body: &[&self.body],
        };
        let reference = sink.store(&record, Hint::default())?;
        let delta = Delta {
            body: memory::apart(self.body),
            apart: self.apart.into(),
        };
        Ok((reference, delta))
    }
}

impl Delta {
    /// Reads a delta and looks at all of it: from here on its edits are found where they begin.
    pub(super) fn decode(record: &Record) -> Result<Self> {
        let bad = |what: &str| {
            Error::corrupt(format!(
                "the delta of a journal {what}: it has {} bytes",
                record.body().len()
            ))
        };
        if record.kind() != JOURNAL_DELTA {
            return Err(bad("is a record of another kind"));
        }
        let body = record.body();
        if body.len() < HEADER || body[0] != FORMAT {
            return Err(bad("has a header that this version does not read"));
        }
        let (stated, mut at) = (word(body, 4) as usize, HEADER);
        let (mut edits, mut apart) = (0, 0);
        let mut last: Option<&[u8]> = None;
        while at < body.len() {
            if body.len() - at < FIELDS {
                return Err(bad("ends within an edit"));
            }
            let (key, tag) = (word(body, at) as usize, word(body, at + 4));
            let (start, value) = (at + FIELDS, (tag & LENGTH) as usize);
            if key > KEY_MAX || body.len() - start < key + value {
                return Err(bad("has an edit that is longer than it"));
            }
            let fits = match tag & !LENGTH {
                0 => true,
                DELETED => value == 0,
                APART => {
                    apart += 1;
                    value == APART_BYTES && word(body, start + key) as usize + 1 == apart
                }
                _ => false,
            };
            let bytes = &body[start..start + key];
            if !fits || last.is_some_and(|last| last >= bytes) {
                return Err(bad("has an edit that does not fit"));
            }
            last = Some(bytes);
            edits += 1;
            at = start + key + value;
        }
        if edits == 0 || edits != stated || apart != record.reference_count() {
            return Err(bad("has not what its header states"));
        }
        Ok(Self {
            body: record.body_bytes(),
            apart: record.references().collect(),
        })
    }

    /// The same, with its bytes on a shelf.
    pub(super) fn put_on(mut self, shelf: &mut Shelf) -> Self {
        self.body = shelf.put(self.body);
        self
    }

    /// How many edits it has.
    pub(super) fn edits(&self) -> u32 {
        word(&self.body, 4)
    }

    /// The key of the edit that begins at `at`.
    pub(super) fn key(&self, at: u32) -> &[u8] {
        let at = at as usize;
        &self.body[at + FIELDS..][..word(&self.body, at) as usize]
    }

    /// What the edit at `at` does.
    pub(super) fn edit(&self, at: u32) -> Edit<'_> {
        let value = self.value(at);
        match self.apart(at) {
            Some(apart) => Edit::Put(Value::Apart(apart)),
            None if word(&self.body, at as usize + 4) & DELETED != 0 => Edit::Delete,
            None => Edit::Put(Value::Inline(value)),
        }
    }

    /// The value that the edit at `at` puts, if it puts one.
    pub(super) fn found(&self, at: u32) -> Option<Found> {
        match self.edit(at) {
            Edit::Delete => None,
            Edit::Put(Value::Apart(apart)) => Some(Found::Apart(apart)),
            Edit::Put(Value::Inline(value)) => Some(Found::Inline(self.body.slice_ref(value))),
        }
    }

    /// Where its edits begin.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> {
        let mut next = HEADER;
        std::iter::from_fn(move || {
            let at = next;
            let more = at < self.body.len();
            more.then(|| {
                let (key, tag) = (word(&self.body, at), word(&self.body, at + 4));
                next += FIELDS + key as usize + (tag & LENGTH) as usize;
                at as u32
            })
        })
    }

    /// Every value that lies apart.
    pub(super) fn values_apart(&self) -> impl Iterator<Item = Apart> {
        self.places().filter_map(|at| self.apart(at))
    }

    /// Bytes that it takes in memory.
    pub(super) fn bytes(&self) -> u64 {
        (self.body.len() + size_of_val(&*self.apart)) as u64
    }

    fn value(&self, at: u32) -> &[u8] {
        let at = at as usize;
        let start = at + FIELDS + word(&self.body, at) as usize;
        &self.body[start..][..(word(&self.body, at + 4) & LENGTH) as usize]
    }

    fn apart(&self, at: u32) -> Option<Apart> {
        if word(&self.body, at as usize + 4) & APART == 0 {
            return None;
        }
        let value = self.value(at);
        let length = value
            .get(4..)
            .and_then(|length| length.first_chunk::<8>())?;
        Some(Apart {
            reference: *self.apart.get(word(value, 0) as usize)?,
            length: u64::from_le_bytes(*length),
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
