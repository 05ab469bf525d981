//! The root record of a chain: what its name points to.
//!
//! ```text
//!  0        1       2           4                   8           16        24         32          40
//!  | format | flags | parts u16 | block entries u32 | first u64 | end u64 | tail u64 | levels u16 |
//!    u8 = 1   1 linked, 2 has consumers                                                zeros to 40
//!  40   [ link 32 ]   parts × u16: where the part begins, after the tail's first entry
//! ```
//!
//! References: the open node of each level of the directory that `levels` has a bit for, from level 0
//! up; the parts of the tail; the list of consumers. The link is the one behind the last entry.

use travertine_engine::contract::{Error, NewRecord, Record, Reference, Result};
use travertine_engine::front::Hint;

use super::directory::{LEVELS, may_be_open};
use super::link::Digest;
use super::{BLOCK_ENTRIES_MAX, CHAIN_ROOT};
use crate::records::Sink;

/// Most entries that a chain ever has; one more is `Full`.
pub(super) const NUMBERS: u64 = 1 << 60;

const FORMAT: u8 = 1;
const LINKED: u8 = 1;
const CONSUMERS: u8 = 2;
const HEADER: usize = 40;

/// What a root record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    /// Entries of a full block.
    pub(super) block: u64,
    /// The number of the first entry.
    pub(super) first: u64,
    /// One past the number of the last entry.
    pub(super) end: u64,
    /// The number that the tail begins at: what lies before is in full blocks.
    pub(super) tail: u64,
    /// The open node of each level of the directory.
    pub(super) open: Vec<Option<Reference>>,
    /// Blocks of the tail that are not full.
    pub(super) parts: Vec<Part>,
    /// The list of consumers.
    pub(super) consumers: Option<Reference>,
    /// The link behind the last entry.
    pub(super) link: Option<Digest>,
}

/// A block of the tail; it counts up to where the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) first: u64,
    pub(super) reference: Reference,
}

impl Root {
    /// A chain without entries.
    pub(super) fn new(block: u64, link: Option<Digest>) -> Self {
        Self {
            block,
            first: 0,
            end: 0,
            tail: 0,
            open: vec![None; LEVELS],
            parts: Vec::new(),
            consumers: None,
            link,
        }
    }

    /// How many full blocks there ever were.
    pub(super) fn full(&self) -> u64 {
        self.tail / self.block
    }

    /// Where the part after this one begins, or the entries end.
    pub(super) fn part_end(&self, index: usize) -> u64 {
        self.parts
            .get(index + 1)
            .map_or(self.end, |next| next.first)
    }

    pub(super) fn store(&self, sink: &dyn Sink) -> Result<Reference> {
        let mut head = [0; HEADER];
        head[0] = FORMAT;
        if self.link.is_some() {
            head[1] |= LINKED;
        }
        if self.consumers.is_some() {
            head[1] |= CONSUMERS;
        }
        let mut levels = 0_u16;
        for (level, _) in self
            .open
            .iter()
            .enumerate()
            .filter(|(_, node)| node.is_some())
        {
            levels |= 1 << level;
        }
        head[2..4].copy_from_slice(&(self.parts.len() as u16).to_le_bytes());
        head[4..8].copy_from_slice(&(self.block as u32).to_le_bytes());
        head[8..16].copy_from_slice(&self.first.to_le_bytes());
        head[16..24].copy_from_slice(&self.end.to_le_bytes());
        head[24..32].copy_from_slice(&self.tail.to_le_bytes());
        head[32..34].copy_from_slice(&levels.to_le_bytes());
        let begins = |part: &Part| ((part.first - self.tail) as u16).to_le_bytes();
        let begins: Vec<_> = self.parts.iter().flat_map(begins).collect();
        let parts = self.parts.iter().map(|part| part.reference);
        let references = self.open.iter().copied().flatten().chain(parts);
        let references: Vec<_> = references.chain(self.consumers).collect();
        let record = NewRecord {
            kind: CHAIN_ROOT,
            references: &references,
            body: &[&head, self.link.as_ref().map_or(&[], |link| link), &begins],
        };
        sink.store(&record, Hint::default())
    }

    pub(super) fn decode(record: &Record) -> Result<Self> {
        if record.kind() != CHAIN_ROOT {
            return Err(Error::invalid(format!(
                "this is no chain: the name leads to a record of kind {}, a chain's root has kind {}",
                record.kind().0,
                CHAIN_ROOT.0
            )));
        }
        let bad = |what: String| Error::corrupt(format!("the root record of a chain {what}"));
        let Some((head, mut rest)) = record.body().split_first_chunk::<HEADER>() else {
            return Err(bad("ends in its header".to_owned()));
        };
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let (format, flags) = (head[0], head[1]);
        if format != FORMAT || flags & !(LINKED | CONSUMERS) != 0 {
            return Err(bad(format!(
                "has format {format} and flags {flags}; this version reads format {FORMAT}"
            )));
        }
        let block = word(0) >> 32;
        let (first, end, tail) = (word(8), word(16), word(24));
        let sound = (1..=u64::from(BLOCK_ENTRIES_MAX)).contains(&block)
            && tail.is_multiple_of(block)
            && first <= end
            && end <= NUMBERS
            && end.checked_sub(tail).is_some_and(|tail| tail <= block);
        if !sound {
            return Err(bad(format!(
                "states entries {first} to {end}, a tail from {tail} and blocks of {block}"
            )));
        }
        let mut link = None;
        if flags & LINKED != 0 {
            let split = rest.split_first_chunk();
            let (digest, after) = split.ok_or_else(|| bad("ends in its link".to_owned()))?;
            (link, rest) = (Some(*digest), after);
        }
        let misfit = || bad("names other records than it states".to_owned());
        let mut references = record.references();
        let levels = u16::from_le_bytes([head[32], head[33]]);
        let mut open = vec![None; LEVELS];
        for (level, node) in open.iter_mut().enumerate() {
            if levels & (1 << level) != 0 {
                let named = references
                    .next()
                    .filter(|_| may_be_open(tail / block, level));
                *node = Some(named.ok_or_else(misfit)?);
            }
        }
        let parts = usize::from(u16::from_le_bytes([head[2], head[3]]));
        if rest.len() != parts * 2 || levels >> LEVELS != 0 {
            return Err(misfit());
        }
        let mut root = Self {
            block,
            first,
            end,
            tail,
            open,
            parts: Vec::with_capacity(parts),
            consumers: None,
            link,
        };
        for begins in rest.chunks_exact(2) {
            let first = tail + u64::from(u16::from_le_bytes([begins[0], begins[1]]));
            let ascends = root.parts.last().is_none_or(|last| last.first < first);
            let reference = references.next().filter(|_| ascends && first < end);
            let reference = reference.ok_or_else(misfit)?;
            root.parts.push(Part { first, reference });
        }
        if flags & CONSUMERS != 0 {
            root.consumers = Some(references.next().ok_or_else(misfit)?);
        }
        let begins = root.parts.first().map_or(end, |part| part.first);
        if references.next().is_some() || begins > first.max(tail) {
            return Err(misfit());
        }
        Ok(root)
    }
}
