//! What the caches of one opened stack keep, within one budget of bytes.
//!
//! ```text
//!   cache "front" ── slot 0 ─┐
//!                            ├── one table, one budget: what is wanted most stays, whoever asked
//!   cache        ── slot 1 ──┘
//! ```
//!
//! What is kept, for how long, and what goes when room is needed is decided by a library that resists
//! scans. Ours are the weights: a record weighs its bytes and [`ENTRY`] for all that keeping it takes,
//! and the room for the addresses that the library remembers of records it let go is taken off the
//! budget first. Its locks are shards by thread: threads that hit write no word of a lock in common, only
//! the count of who shares a record, where they meet at the same one.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use travertine_engine::contract::limits::{RECORD_BODY_MAX, REFERENCES_MAX};
use travertine_engine::contract::record::{RECORD_HEADER, REFERENCE};
use travertine_engine::contract::{Error, Oid, Record, Result};
use travertine_engine::stack::LAYERS_MAX;

/// Bytes that keeping one answer takes beside the record: its place in the tables, which may be half
/// empty after they grew, and the headers of two allocations.
const ENTRY: u64 = 240;
/// Bytes that the address of a record which was let go takes.
const GHOST: u64 = 176;
/// For so many bytes of the budget, one such address is remembered.
const PER_GHOST: u64 = 8 << 10;
/// The budget is split in parts of at least so many bytes, each with a lock of its own, so that the
/// longest record fits a part.
const PART: u64 = 32 << 20;
const PARTS_MAX: u64 = 64;
/// The share of a part that one record may take.
const SHARE: f64 = 0.97;
/// Caches that can share: those of a stack, and those of the same stack while it is opened again.
const SLOTS: usize = 2 * LAYERS_MAX;

/// The longest record there can be.
pub(super) const RECORD_MAX: u64 =
    (RECORD_HEADER + REFERENCES_MAX * REFERENCE + RECORD_BODY_MAX) as u64;

/// Answers that never change; `None` is an absence.
type Table = Cache<Place, Option<Record>, Weigh, Hashing, Slots>;

pub(super) type Hashing = BuildHasherDefault<Fold>;

/// The budget, and what is kept within it.
pub(super) struct Pool {
    table: Table,
    slots: Slots,
    weight_max: u64,
}

/// An address as one cache sees it: what lies below two of them may differ for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    slot: u16,
    oid: Oid,
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Positions take the low bits of an address and streams the high ones, few of either.
        state.write_u64(self.oid.raw() ^ u64::from(self.slot) << 40);
    }
}

/// What each cache has in the pool.
#[derive(Debug, Clone)]
struct Slots(Arc<[Slot; SLOTS]>);

#[derive(Debug, Default)]
struct Slot {
    taken: AtomicBool,
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Slots {
    fn came(&self, place: Place, found: &Option<Record>) {
        let slot = &self.0[usize::from(place.slot)];
        slot.count.fetch_add(1, Ordering::Relaxed);
        slot.bytes.fetch_add(weight(found), Ordering::Relaxed);
    }

    fn went(&self, place: Place, found: &Option<Record>) {
        let slot = &self.0[usize::from(place.slot)];
        slot.count.fetch_sub(1, Ordering::Relaxed);
        slot.bytes.fetch_sub(weight(found), Ordering::Relaxed);
    }
}

impl Lifecycle<Place, Option<Record>> for Slots {
    /// Let go of after the table's lock is free again.
    type RequestState = [Option<Record>; 2];

    fn on_evict(&self, gone: &mut Self::RequestState, place: Place, found: Option<Record>) {
        self.went(place, &found);
        if let Some(free) = gone.iter_mut().find(|free| free.is_none()) {
            *free = found;
        }
    }
}

impl Pool {
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
        let slots = Slots(Arc::new(std::array::from_fn(|_| Slot::default())));
        let (hashing, told) = (Hashing::default(), slots.clone());
        let table = match options {
            Ok(options) => Cache::with_options(options, Weigh, hashing, told),
            // Only a missing capacity is refused, and both are given.
            Err(_) => Cache::with(32, capacity, Weigh, hashing, told),
        };
        Self {
            weight_max: (table.shard_capacity() as f64 * SHARE) as u64,
            table,
            slots,
        }
    }

    /// What one cache keeps here.
    pub(super) fn share(self: Arc<Self>) -> Result<Kept> {
        let mut slots = (0_u16..).zip(self.slots.0.iter());
        let free = slots.find(|(_, slot)| !slot.taken.swap(true, Ordering::AcqRel));
        let slot = free.map(|(number, _)| number);
        let slot = slot.ok_or_else(|| {
            Error::unavailable(format!("{SLOTS} caches of this stack are open already"))
        })?;
        Ok(Kept { pool: self, slot })
    }
}

/// What one cache keeps.
pub(super) struct Kept {
    pool: Arc<Pool>,
    slot: u16,
}

impl Kept {
    fn place(&self, oid: Oid) -> Place {
        Place {
            slot: self.slot,
            oid,
        }
    }

    /// The answer that is kept, and a note that it was wanted.
    #[inline]
    pub(super) fn get(&self, oid: Oid) -> Option<Option<Record>> {
        self.pool.table.get(&self.place(oid))
    }

    /// As [`Kept::get`], without the note.
    pub(super) fn look(&self, oid: Oid) -> Option<Option<Record>> {
        self.pool.table.peek(&self.place(oid))
    }

    /// An answer as it may be kept: in bytes of its own. `None`: it does not fit.
    pub(super) fn fit(&self, found: &Option<Record>) -> Option<Option<Record>> {
        if weight(found) > self.pool.weight_max {
            return None;
        }
        Some(found.as_ref().map(Record::detached))
    }

    /// Keeps an answer, and lets others go if there is no room. What leads to others begins as if it
    /// had been wanted before: below it lies more than one could keep, and every way there leads
    /// through it.
    pub(super) fn keep(&self, oid: Oid, found: Option<Record>) {
        let place = self.place(oid);
        let leads = found
            .as_ref()
            .is_some_and(|record| record.reference_count() > 0);
        self.pool.slots.came(place, &found);
        self.pool.table.insert(place, found);
        if leads {
            for _ in 0..HEAD_START {
                drop(self.pool.table.get(&place));
            }
        }
    }

    /// Lets go of everything at addresses that are not wanted.
    pub(super) fn retain(&self, wanted: impl Fn(Oid) -> bool) {
        self.pool.table.retain(|place, found| {
            let stays = place.slot != self.slot || wanted(place.oid);
            if !stays {
                self.pool.slots.went(*place, found);
            }
            stays
        });
    }

    /// Lets go of everything.
    pub(super) fn clear(&self) {
        self.retain(|_| false);
    }

    /// How many answers there are.
    pub(super) fn count(&self) -> u64 {
        self.mine().count.load(Ordering::Relaxed)
    }

    /// What they take, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.mine().bytes.load(Ordering::Relaxed)
    }

    /// What all caches of the stack take together.
    pub(super) fn bytes_of_all(&self) -> u64 {
        self.pool.table.weight()
    }

    fn mine(&self) -> &Slot {
        &self.pool.slots.0[usize::from(self.slot)]
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.clear();
        self.mine().taken.store(false, Ordering::Release);
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({} answers)", self.count())
    }
}

/// How often a record that leads to others counts as wanted when it comes.
const HEAD_START: usize = 2;

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

impl Weighter<Place, Option<Record>> for Weigh {
    fn weight(&self, _place: &Place, found: &Option<Record>) -> u64 {
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
            let pool = Pool::new(memory);
            let parts = pool.table.num_shards() as u64;
            assert_eq!(parts, split(memory).0, "{memory}");
            assert!(pool.table.capacity() <= memory);
            assert!(longest(memory) + ENTRY <= pool.weight_max);
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
            let slot = (step % 3) as u16;
            let hash = Hashing::default().hash_one(Place { slot, oid });
            low[(hash % 64) as usize] += 1;
            high[(hash >> 58) as usize] += 1;
        }
        for count in low.iter().chain(&high) {
            assert!((500..1_500).contains(count), "{low:?} {high:?}");
        }
    }
}
