//! How a root names its deltas: as lists, so that there are few names and no chain to walk.
//!
//! ```text
//!   27 deltas = 1 × 16 + 2 × 4 + 3 × 1       the digits of their number in base 4
//!
//!   root ──> list of 16 ──> list of 4 ──> delta
//!       ├──> list of 4, list of 4 ──> delta          oldest first
//!       └──> delta, delta, delta
//!
//!   a list   0 format u8 = 1 │ 1 zeros │ 4 deltas under it u32
//! ```
//!
//! The number alone says what each reference leads to. A list of 4, 16, 64, … deltas names four lists
//! of a quarter of them (or four deltas); a list of any other number names them as a root does.
//!
//! Base 4: a root with 4,096 deltas names nine records on average, and a commit in three stores a list.
//! In base 16 the names of every commit were twice as many bytes, and lists hardly fewer.

use travertine_engine::contract::{Error, NewRecord, Record, Reference, Result};
use travertine_engine::front::Hint;

use super::FORMAT;
use crate::records::{JOURNAL_LIST, Sink};

const BASE: u32 = 4;

/// Deltas, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counter {
    count: u32,
    references: Vec<Reference>,
}

impl Counter {
    /// So many deltas, named by these.
    pub(super) fn new(count: u32, references: Vec<Reference>) -> Result<Self> {
        if references.len() != shares(count).len() {
            return Err(Error::corrupt(format!(
                "{count} deltas are named by {} references",
                references.len()
            )));
        }
        Ok(Self { count, references })
    }

    /// How many deltas there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// What is named.
    pub(super) fn references(&self) -> &[Reference] {
        &self.references
    }

    /// What is named, each with how many deltas it stands for.
    pub(super) fn named(&self) -> impl DoubleEndedIterator<Item = (Reference, u32)> {
        let named = self.references.iter().copied();
        named
            .zip(shares(self.count))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// With one more delta. Lists that are full now are stored, and their bytes are told.
    pub(super) fn push(&self, sink: &dyn Sink, delta: Reference) -> Result<(Self, u64)> {
        let mut next = Self {
            count: self.count + 1,
            references: Vec::with_capacity(self.references.len() + 1),
        };
        next.references.extend_from_slice(&self.references);
        next.references.push(delta);
        let (mut size, mut bytes) = (BASE, 0);
        while next.count.is_multiple_of(size) {
            let first = next.references.len() - BASE as usize;
            let list = store(sink, size, &next.references[first..])?;
            next.references.truncate(first);
            next.references.push(list);
            bytes += u64::from(list.length);
            let Some(larger) = size.checked_mul(BASE) else {
                break;
            };
            size = larger;
        }
        Ok((next, bytes))
    }

    /// One reference for all of them; there must be one delta or more.
    pub(super) fn gather(&self, sink: &dyn Sink) -> Result<Reference> {
        match self.references[..] {
            [only] => Ok(only),
            _ => store(sink, self.count, &self.references),
        }
    }
}

/// What a list of `count` deltas names, each with how many deltas it stands for.
pub(super) fn decode(record: &Record, count: u32) -> Result<Vec<(Reference, u32)>> {
    let body = record.body();
    let mut expected = [0; 8];
    expected[0] = FORMAT;
    expected[4..].copy_from_slice(&count.to_le_bytes());
    let shares = match is_power(count) {
        true => vec![count / BASE; BASE as usize],
        false => shares(count),
    };
    if record.kind() != JOURNAL_LIST
        || body != expected
        || record.reference_count() != shares.len()
        || count < 2
    {
        return Err(Error::corrupt(format!(
            "a record of kind {} with {} bytes and {} references is no list of {count} deltas",
            record.kind().0,
            body.len(),
            record.reference_count()
        )));
    }
    Ok(record.references().zip(shares).collect())
}

fn store(sink: &dyn Sink, count: u32, references: &[Reference]) -> Result<Reference> {
    let mut body = [0; 8];
    body[0] = FORMAT;
    body[4..].copy_from_slice(&count.to_le_bytes());
    let record = NewRecord {
        kind: JOURNAL_LIST,
        references,
        body: &[&body],
    };
    sink.store(&record, Hint::default())
}

/// A list of these is full.
fn is_power(count: u32) -> bool {
    count >= BASE && count.is_power_of_two() && count.trailing_zeros().is_multiple_of(2)
}

/// The digits of a number, highest first: how many deltas each reference stands for.
fn shares(count: u32) -> Vec<u32> {
    let mut shares = Vec::new();
    let mut size = 1_u32;
    while size <= count / BASE {
        size *= BASE;
    }
    let mut left = count;
    while left > 0 {
        for _ in 0..left / size {
            shares.push(size);
        }
        left %= size;
        size = (size / BASE).max(1);
    }
    shares
}

#[cfg(test)]
mod tests {
    use travertine_engine::contract::Kind;
    use travertine_engine::front::{Read, Write};

    use super::*;
    use crate::records::Heap;

    fn walk(heap: &Heap, reference: Reference, count: u32, found: &mut Vec<Reference>) {
        if count == 1 {
            return found.push(reference);
        }
        let record = heap.read(&reference).wait().unwrap();
        for (reference, count) in decode(&record, count).unwrap() {
            walk(heap, reference, count, found);
        }
    }

    #[test]
    fn every_number_of_deltas_is_named_in_order() {
        let heap = Heap::new();
        let mut counter = Counter::default();
        let mut deltas = Vec::new();
        for number in 0..300_u32 {
            let body = number.to_le_bytes();
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&body],
            };
            let delta = heap.store(&record, Hint::default()).unwrap();
            deltas.push(delta);
            counter = counter.push(&heap, delta).unwrap().0;
            let mut found = Vec::new();
            for (reference, count) in counter.named() {
                walk(&heap, reference, count, &mut found);
            }
            assert_eq!(found, deltas);
            assert!(counter.references().len() <= 15, "{number}");
            let again = Counter::new(number + 1, counter.references().to_vec());
            assert_eq!(again.unwrap(), counter);
            let (mut found, whole) = (Vec::new(), counter.gather(&heap).unwrap());
            walk(&heap, whole, counter.count(), &mut found);
            assert_eq!(found, deltas);
        }
        assert!(Counter::new(5, vec![deltas[0]]).is_err());
    }
}
