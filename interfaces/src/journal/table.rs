//! Where the newest edit to a key is: one look at memory for most keys, also for those that no delta names.
//!
//! ```text
//!   hash of a key ──> a place, and those behind it up to an empty one
//!
//!   place   tag 22 bits │ slot + 1, 18 bits │ at 24 bits        one for each key, zero if empty
//! ```
//!
//! One writer at a time puts keys in, before they are shown to anybody; readers take no lock. An edit to a
//! key that is there already takes its place: who does not see the newer one has to look elsewhere. A
//! table that is full is copied to a larger one; who was shown the old one finds all there that it sees.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use super::slots::Slots;

/// Places of the first table; the next is four times as large, and from so many on twice.
const PLACES: usize = 1024;
const PLACES_MANY: usize = 1 << 18;
const PLACES_MAX: usize = 1 << 24;
/// Places that are looked at for a key. More are only needed by keys made to meet.
const WAY_MAX: usize = 256;

const AT_BITS: u32 = 24;
const SLOT_BITS: u32 = 18;
const TAG: u64 = !0 << (AT_BITS + SLOT_BITS);

/// The newest edits of a generation, by key.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Box<[AtomicU64]>,
    keys: AtomicUsize,
    /// Keys have no place: nothing is said any more.
    crowded: AtomicBool,
}

/// What a table says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newest {
    /// No delta names it.
    None,
    /// Its newest edit: which delta, and where in it.
    At(u32, u32),
    /// It has to be looked for elsewhere.
    Unknown,
}

enum Way {
    /// The place of the key, and what is there.
    Found(usize, u64),
    /// The place where it would be.
    Empty(usize),
    TooLong,
}

impl Table {
    /// The newest edit to a key.
    pub(super) fn find(&self, key: &[u8], slots: &Slots) -> Newest {
        if self.crowded.load(Ordering::Acquire) {
            return Newest::Unknown;
        }
        match self.walk(key, xxh3_64(key), slots) {
            Way::Found(_, entry) => Newest::At(slot_of(entry), at_of(entry)),
            Way::Empty(_) => Newest::None,
            Way::TooLong if self.places.is_empty() => Newest::None,
            Way::TooLong => Newest::Unknown,
        }
    }

    /// Whether one more key belongs in a larger table.
    pub(super) fn is_full(&self) -> bool {
        let keys = self.keys.load(Ordering::Relaxed);
        keys * 8 >= self.places.len() * 5 && self.places.len() < PLACES_MAX
    }

    /// An empty table that has room for so many keys.
    pub(super) fn with_room(keys: usize) -> Self {
        let places = keys.saturating_mul(8) / 5 + 1;
        Self::of(places.min(PLACES_MAX).next_power_of_two())
    }

    fn of(places: usize) -> Self {
        let places = places.clamp(PLACES, PLACES_MAX);
        Self {
            places: (0..places).map(|_| AtomicU64::new(0)).collect(),
            ..Self::default()
        }
    }

    /// A larger table with all that is in this one.
    pub(super) fn grown(&self, slots: &Slots) -> Self {
        let times = if self.places.len() < PLACES_MANY {
            4
        } else {
            2
        };
        let larger = Self {
            crowded: AtomicBool::new(self.crowded.load(Ordering::Relaxed)),
            ..Self::of(self.places.len() * times)
        };
        for entry in &self.places {
            let entry = entry.load(Ordering::Relaxed);
            if entry != 0 {
                larger.put(slot_of(entry), at_of(entry), slots);
            }
        }
        larger
    }

    /// Puts in an edit that is in its slot. One at a time calls this.
    pub(super) fn put(&self, slot: u32, at: u32, slots: &Slots) {
        let key = slots.get(slot).map_or(&[][..], |delta| delta.key(at));
        let fits = at >> AT_BITS == 0 && (slot + 1) >> SLOT_BITS == 0;
        let hash = xxh3_64(key);
        let place = match self.walk(key, hash, slots) {
            Way::Found(place, _) if fits => place,
            Way::Empty(place) if fits => {
                self.keys.fetch_add(1, Ordering::Relaxed);
                place
            }
            _ => return self.crowded.store(true, Ordering::Release),
        };
        let entry = tag_of(hash) | u64::from(slot + 1) << AT_BITS | u64::from(at);
        self.places[place].store(entry, Ordering::Release);
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.places) as u64
    }

    fn walk(&self, key: &[u8], hash: u64, slots: &Slots) -> Way {
        let (tag, first) = (tag_of(hash), (hash >> 32) as usize);
        let most = WAY_MAX.min(self.places.len());
        for place in (first..).take(most) {
            let place = place & (self.places.len() - 1);
            let entry = self.places[place].load(Ordering::Acquire);
            if entry == 0 {
                return Way::Empty(place);
            }
            let delta = match entry & TAG == tag {
                true => slots.get(slot_of(entry)),
                false => None,
            };
            if delta.is_some_and(|delta| delta.key(at_of(entry)) == key) {
                return Way::Found(place, entry);
            }
        }
        Way::TooLong
    }
}

fn tag_of(hash: u64) -> u64 {
    hash << (AT_BITS + SLOT_BITS)
}

fn slot_of(entry: u64) -> u32 {
    ((entry & !TAG) >> AT_BITS) as u32 - 1
}

fn at_of(entry: u64) -> u32 {
    (entry & ((1 << AT_BITS) - 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::super::delta::Draft;
    use super::*;
    use crate::edits::Edit;
    use crate::index::Value;
    use crate::records::Heap;

    fn fill(table: &mut Table, slots: &Slots, slot: u32, keys: impl Iterator<Item = u32>) {
        let mut draft = Draft::new(0);
        for key in keys {
            draft.push(&key.to_be_bytes(), Edit::Put(Value::Inline(b"value")));
        }
        let (_, delta) = draft.store(&Heap::new()).unwrap();
        slots.set(slot, delta.clone());
        for at in delta.places() {
            if table.is_full() {
                *table = table.grown(slots);
            }
            table.put(slot, at, slots);
        }
    }

    #[test]
    fn the_newest_edit_to_every_key_is_found_whatever_the_table_grew_to() {
        let (mut table, slots) = (Table::default(), Slots::default());
        assert_eq!(table.find(b"key", &slots), Newest::None);
        for slot in 0..40 {
            // Every delta names what the one before named second, and as much again.
            fill(&mut table, &slots, slot, slot * 1000..slot * 1000 + 2000);
        }
        let find = |key: u32| table.find(&key.to_be_bytes(), &slots);
        for key in 0..41_000_u32 {
            let Newest::At(slot, at) = find(key) else {
                panic!("{key} is not there");
            };
            assert_eq!(slot, (key / 1000).min(39));
            assert_eq!(slots.get(slot).unwrap().key(at), key.to_be_bytes());
        }
        assert!((41_000..60_000).all(|key| find(key) == Newest::None));
        assert!(table.bytes() < 41_000 * 64);
    }

    #[test]
    fn one_key_over_and_over_takes_one_place() {
        let (mut table, slots) = (Table::default(), Slots::default());
        for slot in 0..5_000 {
            fill(&mut table, &slots, slot, 7..8);
        }
        assert!(matches!(
            table.find(&7_u32.to_be_bytes(), &slots),
            Newest::At(4_999, _)
        ));
        assert_eq!(table.bytes(), 1024 * 8);
    }
}
