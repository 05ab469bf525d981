//! The root record of a journaled map: what its name points to.
//!
//! ```text
//!    0 format u8 = 1 │ 1 flags u8 │ 2 zeros │ 4 young deltas u32
//!    8 entries u64                       of the map, all deltas done
//!   16 bytes of young deltas u64         records of deltas and lists
//!   24 old deltas u32 │ 28 merged u32    so many keys of the old deltas are in the base already
//!   32 bytes of old deltas u64
//!
//!   references   base (flag 1) │ list of the old deltas (flag 2) │ young deltas, as lists do it
//! ```

use std::borrow::Cow;

use travertine_engine::contract::{Error, NewRecord, Record, Reference, Result};
use travertine_engine::front::Hint;

use super::FORMAT;
use super::lists::Counter;
use super::slots::SLOTS;
use crate::records::{JOURNAL_ROOT, Sink};

const BODY: usize = 40;
const BASE: u8 = 1;
const OLD: u8 = 2;

/// Most bytes of deltas that are read back, whatever a root states.
pub(super) const BYTES_MOST: u64 = 1 << 30;

/// What a root states.
#[derive(Debug, Clone)]
pub(super) struct Root<'t> {
    /// The root of the index below; `None` if that is empty.
    pub(super) base: Option<Reference>,
    pub(super) entries: u64,
    pub(super) old: Option<OldRoot>,
    pub(super) young: Cow<'t, Counter>,
    pub(super) young_bytes: u64,
}

/// Deltas of which a part was merged into the base.
#[derive(Debug, Clone)]
pub(super) struct OldRoot {
    pub(super) list: Reference,
    pub(super) count: u32,
    pub(super) merged: u32,
    pub(super) bytes: u64,
}

impl Root<'_> {
    pub(super) fn store(&self, sink: &dyn Sink) -> Result<Reference> {
        let mut references = Vec::with_capacity(2 + self.young.references().len());
        references.extend(self.base);
        references.extend(self.old.as_ref().map(|old| old.list));
        references.extend_from_slice(self.young.references());
        let mut body = [0; BODY];
        body[0] = FORMAT;
        body[4..8].copy_from_slice(&self.young.count().to_le_bytes());
        body[8..16].copy_from_slice(&self.entries.to_le_bytes());
        body[16..24].copy_from_slice(&self.young_bytes.to_le_bytes());
        if self.base.is_some() {
            body[1] |= BASE;
        }
        if let Some(old) = &self.old {
            body[1] |= OLD;
            body[24..28].copy_from_slice(&old.count.to_le_bytes());
            body[28..32].copy_from_slice(&old.merged.to_le_bytes());
            body[32..40].copy_from_slice(&old.bytes.to_le_bytes());
        }
        let record = NewRecord {
            kind: JOURNAL_ROOT,
            references: &references,
            body: &[&body],
        };
        sink.store(&record, Hint::default())
    }

    pub(super) fn decode(record: &Record) -> Result<Self> {
        let bad = |what: &str| Error::corrupt(format!("the root record of a journal {what}"));
        if record.kind() != JOURNAL_ROOT {
            return Err(bad("is a record of another kind"));
        }
        let body: &[u8; BODY] = record
            .body()
            .try_into()
            .map_err(|_| bad("has not 40 bytes"))?;
        if body[0] != FORMAT {
            return Err(bad("has a format that this version does not read"));
        }
        let mut references = record.references();
        let mut named = |flag: u8| match body[1] & flag {
            0 => Ok(None),
            _ => references
                .next()
                .map(Some)
                .ok_or_else(|| bad("names too little")),
        };
        let base = named(BASE)?;
        let old = named(OLD)?.map(|list| OldRoot {
            list,
            count: word(body, 24),
            merged: word(body, 28),
            bytes: long(body, 32),
        });
        let root = Self {
            base,
            entries: long(body, 8),
            old,
            young: Cow::Owned(Counter::new(word(body, 4), references.collect())?),
            young_bytes: long(body, 16),
        };
        let old_count = root.old.as_ref().map_or(0, |old| old.count);
        let old_bytes = root.old.as_ref().map_or(0, |old| old.bytes);
        if root.young.count() > SLOTS || old_count > SLOTS {
            return Err(bad("states more deltas than there can be"));
        }
        if root.old.is_some() && old_count == 0 {
            return Err(bad("names a list of no deltas"));
        }
        if root.young_bytes > BYTES_MOST || old_bytes > BYTES_MOST {
            return Err(bad("states more bytes of deltas than are read"));
        }
        Ok(root)
    }
}

fn word(bytes: &[u8; BODY], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8; BODY], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
