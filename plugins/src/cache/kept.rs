//! The records that are kept, within a budget of bytes.
//!
//! What is kept, for how long, and what goes when room is needed is decided by a library that resists
//! scans. Ours are the weights: a record weighs its bytes and [`ENTRY`] for all that keeping it takes,
//! and the room for the addresses that the library remembers of records it let go is taken off the
//! budget first.

use std::hash::{BuildHasherDefault, Hasher};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use travertine_engine::contract::limits::{RECORD_BODY_MAX, REFERENCES_MAX};
use travertine_engine::contract::record::{RECORD_HEADER, REFERENCE};
use travertine_engine::contract::{Oid, Record};

/// Bytes that keeping one answer takes beside the record: its place in the tables, which may be half
/// empty after they grew, and the headers of two allocations.
const ENTRY: u64 = 224;
/// Bytes that the address of a record which was let go takes.
const GHOST: u64 = 160;
/// For so many bytes of the budget, one such address is remembered.
const PER_GHOST: u64 = 8 << 10;
/// The budget is split in parts of at least so many bytes, each with a lock of its own, so that the
/// longest record fits a part.
const PART: u64 = 32 << 20;
const PARTS_MAX: u64 = 64;
/// The share of a part that one record may take.
const SHARE: f64 = 0.97;

/// The longest record there can be.
pub(super) const RECORD_MAX: u64 =
    (RECORD_HEADER + REFERENCES_MAX * REFERENCE + RECORD_BODY_MAX) as u64;

/// Answers that never change; `None` is an absence.
pub(super) struct Kept {
    cache: Cache<Oid, Option<Record>, Weigh, Hashing, DefaultLifecycle<Oid, Option<Record>>>,
    weight_max: u64,
}

pub(super) type Hashing = BuildHasherDefault<Fold>;

impl Kept {
    /// Within this many bytes.
    pub(super) fn new(memory: u64) -> Self {
        let (parts, capacity) = split(memory);
        let ghosts = memory / PER_GHOST;
        let options = OptionsBuilder::new()
            .shards(parts as usize)
            .weight_capacity(capacity)
            // Half of it is how many addresses are remembered.
            .estimated_items_capacity(2 * ghosts as usize)
            .ghost_allocation(0.5)
            .hot_allocation(SHARE)
            .build();
        let lifecycle = DefaultLifecycle::default();
        let cache = match options {
            Ok(options) => Cache::with_options(options, Weigh, Hashing::default(), lifecycle),
            // Only a missing capacity is refused, and both are given.
            Err(_) => Cache::with(32, capacity, Weigh, Hashing::default(), lifecycle),
        };
        Self {
            weight_max: (cache.shard_capacity() as f64 * SHARE) as u64,
            cache,
        }
    }

    /// The answer that is kept, and a note that it was wanted.
    pub(super) fn get(&self, oid: Oid) -> Option<Option<Record>> {
        self.cache.get(&oid)
    }

    /// As [`Kept::get`], without the note.
    pub(super) fn look(&self, oid: Oid) -> Option<Option<Record>> {
        self.cache.peek(&oid)
    }

    /// An answer as it may be kept: in bytes of its own. `None`: it does not fit.
    pub(super) fn fit(&self, found: &Option<Record>) -> Option<Option<Record>> {
        if weight(found) > self.weight_max {
            return None;
        }
        Some(found.as_ref().map(Record::detached))
    }

    /// Keeps an answer, and lets others go if there is no room.
    pub(super) fn keep(&self, oid: Oid, found: Option<Record>) {
        self.cache.insert(oid, found);
    }

    /// Lets go of everything at addresses that are not wanted.
    pub(super) fn retain(&self, wanted: impl Fn(Oid) -> bool) {
        self.cache.retain(|oid, _| wanted(*oid));
    }

    /// Lets go of everything.
    pub(super) fn clear(&self) {
        self.cache.clear();
    }

    /// How many answers there are.
    pub(super) fn count(&self) -> u64 {
        self.cache.len() as u64
    }

    /// What they take, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({} answers)", self.count())
    }
}

/// The longest record that a budget can keep.
pub(super) fn longest(memory: u64) -> u64 {
    let (parts, capacity) = split(memory);
    ((capacity / parts) as f64 * SHARE) as u64 - ENTRY
}

/// How many parts a budget is split into, and what is left of it for answers.
fn split(memory: u64) -> (u64, u64) {
    let parts = (memory / PART).clamp(1, PARTS_MAX);
    // Down to a power of two: the library would round up.
    let parts = 1 << parts.ilog2();
    (parts, memory - memory / PER_GHOST * GHOST)
}

fn weight(found: &Option<Record>) -> u64 {
    ENTRY
        + found
            .as_ref()
            .map_or(0, |record| record.encoded().len() as u64)
}

#[derive(Debug, Clone, Copy)]
struct Weigh;

impl Weighter<Oid, Option<Record>> for Weigh {
    fn weight(&self, _oid: &Oid, found: &Option<Record>) -> u64 {
        weight(found)
    }
}

/// Spreads addresses over tables: one multiplication. Addresses are given by the engine and not by
/// whoever talks to it, so nobody can choose them to collide; and what goes when room is needed is the
/// same in every run.
#[derive(Debug, Default)]
pub(super) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = u128::from(self.0 ^ word ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93;
        self.0 = (mixed >> 64) as u64 ^ mixed as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_of_any_size_is_split_into_parts_that_hold_what_they_say() {
        for memory in [
            64 << 10,
            100_000,
            1 << 20,
            31 << 20,
            64 << 20,
            100 << 20,
            1 << 40,
        ] {
            let kept = Kept::new(memory);
            let parts = kept.cache.num_shards() as u64;
            assert_eq!(parts, split(memory).0, "{memory}");
            assert!(kept.cache.capacity() <= memory);
            assert!(longest(memory) + ENTRY <= kept.weight_max);
        }
        assert!(longest(PART) > RECORD_MAX);
        assert_eq!(split(256 << 20).0, 8);
        assert_eq!(split(1 << 40).0, PARTS_MAX);
    }

    #[test]
    fn addresses_spread_over_parts_and_tables() {
        use std::hash::BuildHasher;
        let mut low = [0_u32; 64];
        let mut high = [0_u32; 64];
        for step in 1..64_000_u64 {
            let oid = Oid::from_raw(step * 16).unwrap();
            let hash = Hashing::default().hash_one(oid);
            low[(hash % 64) as usize] += 1;
            high[(hash >> 58) as usize] += 1;
        }
        for count in low.iter().chain(&high) {
            assert!((500..1_500).contains(count), "{low:?} {high:?}");
        }
    }
}
