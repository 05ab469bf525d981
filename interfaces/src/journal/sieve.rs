//! What the base of a journal surely does not hold: who writes or asks for a key that is new need not look
//! for it there.
//!
//! ```text
//!   begun      keys of the deltas that are here ─┐
//!   from then  keys of every delta that comes ───┼──> bits        a bit of a key is missing: not in the base
//!   a walk     keys of the base as it was then ──┘
//!                └ until it has ended nothing is said
//! ```
//!
//! A base changes by merging deltas only, so what holds the keys of one base and of all deltas since holds
//! those of every base that comes of it. Nothing is ever taken out: a key that was deleted passes, as one in
//! a hundred does anyway, and is looked for as ever. Where too many have come the sieve is done with, and
//! another is begun.
//!
//! Whoever writes from the same root uses the same one: what comes of an attempt that lost only lets more
//! keys pass.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use travertine_engine::contract::{Reference, Result};
use travertine_engine::front::Hold;
use xxhash_rust::xxh3::xxh3_64;

use crate::index::{CursorExt, Index, View};
use crate::records::{Sink, source_of};

const WORDS: usize = 4;
/// Bits for each key.
const KEY_BITS: u64 = 10;
/// Where more than this part of all bits are set, too much passes: so many are by as many keys as there is
/// room for.
const SET_SHARE: u64 = 3;
/// Most bytes of a sieve: larger maps have none.
const BYTES_MAX: u64 = 8 << 20;
/// A walk pays once so many keys were looked for in vain, as a share of those it meets.
const MISSES_SHARE: u64 = 64;
const MISSES_MIN: u64 = 16;
/// A base of no more keys is walked at once.
const AT_ONCE_MAX: u64 = 4096;

const WALKING: u8 = 0;
const WHOLE: u8 = 1;
const FAILED: u8 = 2;

#[derive(Debug, Default)]
#[repr(align(32))]
struct Block([AtomicU64; WORDS]);

type Blocks = Box<[Block]>;

/// A Bloom filter of the keys that a base may hold.
#[derive(Debug)]
pub(super) struct Sieve {
    blocks: Blocks,
    /// How many bits are set: a key that comes again sets none.
    set: AtomicU64,
    /// So many keys there is room for.
    most: u64,
    state: AtomicU8,
    /// While somebody else walks: what is read there stays.
    hold: Mutex<Option<Hold>>,
}

impl Sieve {
    /// Whether one pays, where so many keys of so many were looked for in vain.
    pub(super) fn pays(misses: u64, keys: u64) -> bool {
        misses >= MISSES_MIN.max(keys / MISSES_SHARE)
            && Self::bytes_for(Self::most_of(keys)) <= BYTES_MAX
    }

    /// For a map of so many keys, and some that are to come.
    pub(super) fn new(keys: u64) -> Self {
        let most = Self::most_of(keys);
        Self {
            blocks: Self::blocks(most),
            set: AtomicU64::new(0),
            most,
            state: AtomicU8::new(WALKING),
            hold: Mutex::default(),
        }
    }

    /// Of a base that holds these keys and no others; `None`: they are too many, or too few.
    pub(super) fn of<'k>(count: u64, keys: impl Iterator<Item = &'k [u8]>) -> Option<Arc<Self>> {
        let fits = count > AT_ONCE_MAX && Self::bytes_for(Self::most_of(count)) <= BYTES_MAX;
        let mut sieve = fits.then(|| Self::new(count))?;
        keys.for_each(|key| put(&mut sieve.blocks, key));
        let words = sieve.blocks.iter_mut().flat_map(|block| &mut block.0);
        let set = words.map(|word| u64::from(word.get_mut().count_ones()));
        sieve.set = AtomicU64::new(set.sum());
        sieve.state = AtomicU8::new(WHOLE);
        Some(Arc::new(sieve))
    }

    fn blocks(most: u64) -> Blocks {
        let blocks = Self::bytes_for(most) / size_of::<Block>() as u64;
        (0..blocks).map(|_| Block::default()).collect()
    }

    fn most_of(keys: u64) -> u64 {
        keys.saturating_add(keys / 4).saturating_add(1024)
    }

    fn bytes_for(most: u64) -> u64 {
        let block = size_of::<Block>() as u64;
        (most.saturating_mul(KEY_BITS) / 8)
            .div_ceil(block)
            .saturating_mul(block)
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.blocks) as u64
    }

    /// Takes in a key.
    pub(super) fn add(&self, key: &[u8]) {
        let hash = xxh3_64(key);
        if let Some(block) = self.blocks.get(block_of(&self.blocks, hash)) {
            self.add_to(block, bits(hash));
        }
    }

    fn add_to(&self, block: &Block, bits: [u64; WORDS]) {
        let words = block.0.iter().zip(bits);
        let set = words.map(|(word, bits)| add(word, bits)).sum();
        if set > 0 {
            self.set.fetch_add(set, Ordering::Relaxed);
        }
    }

    /// Whether the base surely does not hold this key.
    pub(super) fn lacks(&self, key: &[u8]) -> bool {
        if self.state.load(Ordering::Acquire) != WHOLE {
            return false;
        }
        let hash = xxh3_64(key);
        let block = self.blocks.get(block_of(&self.blocks, hash));
        block.is_some_and(|block| {
            let mut words = block.0.iter().zip(bits(hash));
            words.any(|(word, bit)| word.load(Ordering::Relaxed) & bit == 0)
        })
    }

    /// Whether it is of no use, or no longer.
    pub(super) fn is_over(&self) -> bool {
        let all = self.bytes() * 8;
        self.state.load(Ordering::Relaxed) == FAILED
            || self.set.load(Ordering::Relaxed) > all / SET_SHARE
    }

    /// Takes in all keys of a base: on another thread, or at once if they are few. `None`: there is no thread
    /// to spare. Whoever holds the sieve adds the keys of deltas meanwhile.
    pub(super) fn walk<I: Index>(
        self: Arc<Self>,
        sink: &dyn Sink,
        index: &I,
        root: Option<Reference>,
        base: &I::View,
    ) -> Option<Arc<Self>> {
        if base.count() <= AT_ONCE_MAX {
            self.end(self.walk_on(base));
            return Some(self);
        }
        let (index, this) = (index.clone(), self.clone());
        let work = sink.aside(Box::new(move |helper| {
            let base = index.view(source_of(helper), root).wait();
            this.end(base.and_then(|base| this.walk_on(&base)));
        }));
        let hold = work.ok()?;
        let mut held = self.held();
        if self.state.load(Ordering::Acquire) == WALKING {
            *held = Some(hold);
        }
        drop(held);
        Some(self)
    }

    /// What came of the walk: all keys, or an end before that. What went wrong is told to who reads there
    /// next.
    fn end(&self, walked: Result<bool>) {
        let whole = matches!(walked, Ok(true));
        let state = if whole { WHOLE } else { FAILED };
        self.state.store(state, Ordering::Release);
        self.held().take();
    }

    fn held(&self) -> MutexGuard<'_, Option<Hold>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn walk_on<V: View>(&self, base: &V) -> Result<bool> {
        // In bits of its own: what others may touch costs ten times as much.
        let (mut cursor, mut mine) = (base.cursor(), Self::blocks(self.most));
        let mut met = 0_u64;
        while let Some(entry) = cursor.next()? {
            put(&mut mine, entry.key);
            met += 1;
            if met > self.most {
                return Ok(false);
            }
        }
        for (block, mine) in self.blocks.iter().zip(mine) {
            self.add_to(block, mine.0.map(AtomicU64::into_inner));
        }
        Ok(true)
    }
}

/// Puts a key into blocks that are nobody else's.
fn put(blocks: &mut [Block], key: &[u8]) {
    let hash = xxh3_64(key);
    let at = block_of(blocks, hash);
    if let Some(block) = blocks.get_mut(at) {
        let words = block.0.iter_mut().zip(bits(hash));
        words.for_each(|(word, bit)| *word.get_mut() |= bit);
    }
}

/// Sets bits, and tells how many were not.
fn add(word: &AtomicU64, bits: u64) -> u64 {
    let mut before = word.load(Ordering::Relaxed);
    if before & bits != bits {
        before = word.fetch_or(bits, Ordering::Relaxed);
    }
    u64::from((bits & !before).count_ones())
}

fn block_of(blocks: &[Block], hash: u64) -> usize {
    (((hash & 0xFFFF_FFFF) * blocks.len() as u64) >> 32) as usize
}

/// One bit for each word.
fn bits(hash: u64) -> [u64; WORDS] {
    [58, 52, 46, 40].map(|at| 1 << ((hash >> at) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Btree;
    use crate::edits::{Edit, EditLog};
    use crate::index::Value;
    use crate::records::Heap;

    fn keys(range: std::ops::Range<u32>) -> Vec<[u8; 4]> {
        range.map(u32::to_be_bytes).collect()
    }

    fn passes(sieve: &Sieve, range: std::ops::Range<u32>) -> usize {
        keys(range)
            .iter()
            .filter(|key| !sieve.lacks(&key[..]))
            .count()
    }

    #[test]
    fn what_was_taken_in_passes_and_hardly_anything_else_does() {
        let there = keys(0..20_000);
        let sieve = Sieve::of(20_000, there.iter().map(|key| &key[..])).unwrap();
        assert_eq!(passes(&sieve, 0..20_000), 20_000);
        assert!(passes(&sieve, 20_000..40_000) < 400);
        keys(20_000..26_000).iter().for_each(|key| sieve.add(key));
        assert_eq!(passes(&sieve, 0..26_000), 26_000);
        assert!(!sieve.is_over());
        keys(26_000..27_000).iter().for_each(|key| sieve.add(key));
        assert!(sieve.is_over());
    }

    #[test]
    fn keys_that_come_again_take_no_room() {
        let there = keys(0..20_000);
        let sieve = Sieve::of(20_000, there.iter().map(|key| &key[..])).unwrap();
        for _ in 0..3 {
            keys(0..21_000).iter().for_each(|key| sieve.add(key));
        }
        assert!(!sieve.is_over());
    }

    #[test]
    fn nothing_is_said_before_the_base_was_walked_over() {
        let (heap, index) = (Heap::new(), Btree::default());
        let mut log = EditLog::new();
        for key in keys(0..3_000) {
            log.push(&key, Edit::Put(Value::Inline(b"value"))).unwrap();
        }
        let root = index.apply(&heap, None, &log.sorted()).unwrap();
        let base = index.view(source_of(&heap), root).wait().unwrap();
        let sieve = Arc::new(Sieve::new(3_000));
        keys(3_000..3_100).iter().for_each(|key| sieve.add(key));
        assert_eq!(passes(&sieve, 0..6_000), 6_000);
        let sieve = sieve.walk(&heap, &index, root, &base).unwrap();
        assert_eq!(passes(&sieve, 0..3_100), 3_100);
        assert!(passes(&sieve, 3_100..6_000) < 60);
    }

    #[test]
    fn a_sieve_that_pays_too_little_or_is_too_large_is_not_made() {
        assert!(!Sieve::pays(15, 100) && Sieve::pays(16, 100));
        assert!(!Sieve::pays(15_000, 1_000_000) && Sieve::pays(16_000, 1_000_000));
        assert!(!Sieve::pays(u64::MAX, 1 << 40) && !Sieve::pays(u64::MAX, u64::MAX));
    }
}
