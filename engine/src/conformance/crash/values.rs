//! What every OID that was ever handed out holds: the content that a reader must get, or an error.

use std::collections::{BTreeMap, BTreeSet};

use crate::conformance::rng::Rng;
use crate::contract::{Kind, NewRecord, Oid, Record, Reference};

/// A record to be stored: decided by its number.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    number: u64,
    body: Vec<u8>,
    references: Vec<Reference>,
}

impl Draft {
    pub(super) fn with_record<T>(&self, f: impl FnOnce(&NewRecord<'_>) -> T) -> T {
        f(&NewRecord {
            kind: KIND,
            references: &self.references,
            body: &[&self.body],
        })
    }
}

const KIND: Kind = Kind(Kind::FIRST_FREE.0 + 7);

/// Lengths that have broken logs before: nothing, one, around sectors and pages, and more than a
/// segment.
const LENGTHS: [usize; 16] = [
    0, 1, 7, 8, 9, 24, 100, 300, 511, 512, 513, 3_900, 4_096, 4_097, 20_000, 70_000,
];

#[derive(Debug)]
struct Value {
    /// Where it ends, in the numbers of OIDs.
    end: u64,
    number: u64,
    length: usize,
    references: Vec<Reference>,
}

#[derive(Debug)]
pub(super) struct Values {
    seed: u64,
    next: u64,
    known: BTreeMap<Oid, Value>,
    /// Whether OIDs may come twice: after a disk that forgot what it had promised to keep.
    pub(super) twice: bool,
}

impl Values {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            next: 0,
            known: BTreeMap::new(),
            twice: false,
        }
    }

    /// A new record that names these.
    pub(super) fn draft(&mut self, rng: &mut Rng, references: Vec<Reference>) -> Draft {
        self.next += 1;
        let most = if rng.chance(1, 12) { LENGTHS.len() } else { 12 };
        let length = match rng.below(3) {
            0 => rng.below_usize(200),
            _ => LENGTHS[rng.below_usize(most)],
        };
        Draft {
            number: self.next,
            body: body(self.seed, self.next, length),
            references,
        }
    }

    /// Notes where a record went.
    pub(super) fn stored(&mut self, draft: Draft, reference: Reference) -> Result<(), String> {
        let oid = reference.oid;
        let value = Value {
            end: oid.raw() + u64::from(reference.length).div_ceil(8),
            number: draft.number,
            length: draft.body.len(),
            references: draft.references,
        };
        let number = value.number;
        let below_end = |(known, _): &(&Oid, _)| known.raw() < value.end;
        let near = self.known.range(oid..).take_while(below_end).next();
        let near = near.or_else(|| self.known.range(..oid).next_back());
        let taken = near
            .filter(|(at, near)| **at >= oid || near.end > oid.raw())
            .map(|(at, near)| (*at, near.number));
        self.known.insert(oid, value);
        match taken {
            Some((at, other)) if !self.twice => Err(format!(
                "{oid} was given to record {number}, and record {other} was given {at}"
            )),
            _ => Ok(()),
        }
    }

    /// Checks that a record is the one that was stored.
    pub(super) fn check(&self, reference: &Reference, record: &Record) -> Result<(), String> {
        let oid = reference.oid;
        let Some(value) = self.known.get(&oid) else {
            return Err(format!("nothing was ever stored at {oid}, yet it reads"));
        };
        let same = record.kind() == KIND
            && record.body() == body(self.seed, value.number, value.length)
            && record.references().eq(value.references.iter().copied())
            && record.check() == reference.check
            && record.stored_len() == reference.length as usize;
        if same {
            Ok(())
        } else {
            Err(format!(
                "wrong bytes: {oid} should hold record {} of {} bytes and reads as {record:?}",
                value.number, value.length
            ))
        }
    }

    /// Everything that these reach, they included.
    pub(super) fn reached<'a>(&self, from: impl Iterator<Item = &'a Reference>) -> Vec<Reference> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<Reference> = from.copied().collect();
        let mut found = Vec::new();
        while let Some(reference) = open.pop() {
            if seen.insert(reference.oid) {
                found.push(reference);
                if let Some(value) = self.known.get(&reference.oid) {
                    open.extend(&value.references);
                }
            }
        }
        found
    }
}

fn body(seed: u64, number: u64, length: usize) -> Vec<u8> {
    Rng::new(seed ^ number.rotate_left(32)).bytes(length)
}
