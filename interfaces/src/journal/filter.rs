//! Which keys a generation surely does not hold: most keys that are looked for are not among the newest
//! edits, and one word of memory says so.
//!
//! ```text
//!   hash of a key ──> a word, and four of its 64 bits       all set: perhaps; one not set: no
//!
//!   sizes   64 words │ 256 │ 1024 │ …       the last one made counts: it holds every key so far
//! ```
//!
//! Bits are only ever set, by one writer at a time, before a key is shown to anybody. So whoever was shown
//! a key finds its bits, and needs no lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use xxhash_rust::xxh3::xxh3_64;

/// Words of the first size; every size is four times the one before.
const WORDS: usize = 64;
const SIZES: usize = 8;
/// Most keys for a word, so that one in fifty or fewer is looked for in vain.
const KEYS_PER_WORD: usize = 4;

type Words = Box<[AtomicU64]>;

/// The filter of a generation.
#[derive(Debug, Default)]
pub(super) struct Filter {
    sizes: [OnceLock<Words>; SIZES],
    /// How many sizes were made.
    made: AtomicUsize,
}

/// What a filter knows of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hash(u64);

impl Hash {
    pub(super) fn of(key: &[u8]) -> Self {
        Self(xxh3_64(key))
    }

    fn bits(self) -> u64 {
        let bit = |shift: u32| 1 << (self.0 >> shift & 63);
        bit(0) | bit(6) | bit(12) | bit(18)
    }

    fn word(self, words: &[AtomicU64]) -> Option<&AtomicU64> {
        // The bits above say which word, those below which bits of it.
        words.get((self.0 >> 24) as usize & (words.len() - 1))
    }
}

impl Filter {
    /// Whether so many keys have no room in it.
    pub(super) fn is_short_of(&self, keys: usize) -> bool {
        let made = self.made.load(Ordering::Acquire);
        made < SIZES && (made == 0 || keys > words_of(made - 1) * KEYS_PER_WORD)
    }

    /// Makes room for so many keys, and puts in all that there are.
    pub(super) fn grow(&self, keys: usize, all: impl Iterator<Item = Hash>) {
        let made = self.made.load(Ordering::Acquire);
        let fits = |size: &usize| keys <= words_of(*size) * KEYS_PER_WORD;
        let size = (made..SIZES).find(fits).unwrap_or(SIZES - 1);
        let words: Words = (0..words_of(size)).map(|_| AtomicU64::new(0)).collect();
        for hash in all {
            set(&words, hash);
        }
        if let Some(place) = self.sizes.get(size) {
            let _ = place.set(words);
            self.made.store(size + 1, Ordering::Release);
        }
    }

    /// Puts in a key.
    pub(super) fn add(&self, hash: Hash) {
        if let Some(words) = self.newest() {
            set(words, hash);
        }
    }

    /// `false`: the key is not there.
    pub(super) fn may_hold(&self, hash: Hash) -> bool {
        let Some(words) = self.newest() else {
            return true;
        };
        let bits = hash.bits();
        let word = hash.word(words);
        word.is_none_or(|word| word.load(Ordering::Relaxed) & bits == bits)
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        let sizes = self.sizes.iter().filter_map(OnceLock::get);
        sizes.map(|words| size_of_val(&**words) as u64).sum()
    }

    fn newest(&self) -> Option<&Words> {
        let made = self.made.load(Ordering::Acquire);
        self.sizes.get(made.checked_sub(1)?)?.get()
    }
}

fn words_of(size: usize) -> usize {
    WORDS << (2 * size)
}

fn set(words: &Words, hash: Hash) {
    if let Some(word) = hash.word(words) {
        word.fetch_or(hash.bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> Hash {
        Hash::of(&number.to_be_bytes())
    }

    #[test]
    fn a_filter_knows_every_key_and_few_others_whatever_it_grew_to() {
        let filter = Filter::default();
        assert!(filter.may_hold(hash(0)), "before it knows anything");
        for number in 0..20_000 {
            let keys = number as usize + 1;
            if filter.is_short_of(keys) {
                filter.grow(keys, (0..=number).map(hash));
            } else {
                filter.add(hash(number));
            }
            assert!(filter.may_hold(hash(number)));
            if keys.is_power_of_two() || keys == 20_000 {
                assert!((0..=number).all(|number| filter.may_hold(hash(number))));
                let others = (1_000_000..1_010_000).filter(|other| filter.may_hold(hash(*other)));
                let wrong = others.count();
                assert!(wrong < 400, "{wrong} of 10,000 at {keys} keys");
            }
        }
        assert!(filter.bytes() < 20_000 * 12);
    }
}
