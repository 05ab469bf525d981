//! What the leaves below one inner node surely do not hold: a lookup of an absent key looks here and need
//! not read its leaf.
//!
//! ```text
//!   key ── hash ──> a block of its leaf, and one bit in each of the words there
//!
//!   leaf 0   [ word │ word │ word │ word ] …      a Bloom filter of its keys, 256 bits a block
//!   leaf 1   [ 0    │ 0    │ 0    │ 0    ] …      nothing is known of this leaf
//! ```
//!
//! A leaf never changes, so its filter is never out of date. Invariant: a word is nothing or all of what it
//! will be, and one that is zero says nothing; so a filter that is half there misleads nobody, and no
//! reader waits for another.

use std::sync::atomic::{AtomicU64, Ordering};

use travertine_engine::contract::{Result, near};
use xxhash_rust::xxh3::xxh3_64;

use super::node::Node;

const WORDS: usize = 4;
const BLOCK_BITS: u64 = 64 * WORDS as u64;
/// Bits for each key, in the mean: fewer than one absent key in a hundred passes.
const KEY_BITS: u64 = 10;
/// Most blocks of a leaf.
const BLOCKS_MAX: u64 = 64;

#[derive(Debug, Default)]
#[repr(align(32))]
struct Block([AtomicU64; WORDS]);

/// Filters of the leaves below one inner node.
#[derive(Debug)]
pub(super) struct Filters {
    /// Of each leaf.
    blocks: usize,
    all: Box<[Block]>,
}

impl Filters {
    /// Filters of the leaves below this node, of which nothing is known yet.
    pub(super) fn below(parent: &Node<'_>) -> Self {
        let blocks = blocks_for(parent);
        let all = (0..parent.children() * blocks).map(|_| Block::default());
        Self {
            blocks,
            all: all.collect(),
        }
    }

    /// What these take in memory.
    pub(super) fn bytes_below(parent: &Node<'_>) -> usize {
        parent.children() * blocks_for(parent) * size_of::<Block>()
    }

    /// Whether `leaf` surely does not hold the key of this hash.
    #[inline]
    pub(super) fn lacks(&self, leaf: usize, hash: u64) -> bool {
        let Some(block) = self.all.get(leaf * self.blocks + self.block_of(hash)) else {
            return false;
        };
        let words = block.0.each_ref().map(|word| word.load(Ordering::Relaxed));
        let met = words
            .iter()
            .zip(bits(hash))
            .all(|(word, bit)| word & bit != 0);
        !met && words.iter().all(|word| *word != 0)
    }

    /// Asks for what [`Filters::lacks`] will look at.
    #[inline]
    pub(super) fn bring(&self, leaf: usize) {
        if let Some(block) = self.all.get(leaf * self.blocks) {
            near::bring_value(block);
        }
    }

    /// Takes in all keys of a leaf.
    pub(super) fn learn(&self, leaf: usize, node: &Node<'_>) -> Result<()> {
        let first = leaf * self.blocks;
        let Some(blocks) = self.all.get(first..first + self.blocks) else {
            return Ok(());
        };
        let mut words = vec![[0; WORDS]; blocks.len()];
        let mut key = Vec::with_capacity(64);
        for index in 0..node.keys() {
            key.clear();
            node.key(index)?.append_to(&mut key);
            let hash = hash_of(&key);
            let words = words[self.block_of(hash)].iter_mut();
            words.zip(bits(hash)).for_each(|(word, bit)| *word |= bit);
        }
        for (block, words) in blocks.iter().zip(&words) {
            for (word, bits) in block.0.iter().zip(words) {
                word.store(*bits, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Which block of its leaf a key is in.
    #[inline]
    fn block_of(&self, hash: u64) -> usize {
        (((hash & 0xFFFF_FFFF) * self.blocks as u64) >> 32) as usize
    }
}

/// What is asked for in place of a key.
#[inline]
pub(super) fn hash_of(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// How many blocks each leaf below this node is to have.
fn blocks_for(parent: &Node<'_>) -> usize {
    let keys = parent.count() / (parent.children() as u64).max(1);
    let bits = keys.saturating_mul(KEY_BITS);
    bits.div_ceil(BLOCK_BITS).clamp(1, BLOCKS_MAX) as usize
}

/// One bit for each word. The lowest bits of a hash are nobody's: who takes samples goes by them.
#[inline]
fn bits(hash: u64) -> [u64; WORDS] {
    [58, 52, 46, 40].map(|at| 1 << ((hash >> at) & 63))
}
