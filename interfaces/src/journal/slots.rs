//! The deltas of a generation in memory: added at the end, read by anybody without a lock.
//!
//! ```text
//!   block 0   16 slots       a block is as large as all before it and 16 more: so a slot never moves
//!   block 1   32 slots       and a number says where it is
//!   block 2   64 slots  …
//! ```

use std::sync::OnceLock;

use super::delta::Delta;
use super::tree::Item;

const FIRST_BITS: u32 = 4;
const BLOCKS: usize = 14;

/// Most slots.
pub(super) const SLOTS: u32 = (1 << (FIRST_BITS + BLOCKS as u32)) - (1 << FIRST_BITS);

type Block = Box<[OnceLock<Delta>]>;

/// The deltas, by number.
#[derive(Debug, Default)]
pub(super) struct Slots([OnceLock<Block>; BLOCKS]);

impl Slots {
    /// Fills a slot that is empty.
    pub(super) fn set(&self, slot: u32, delta: Delta) {
        let (block, at) = place(slot);
        if let Some(block) = self.0.get(block as usize) {
            let size = 1 << (block_bits(slot));
            let block = block.get_or_init(|| (0..size).map(|_| OnceLock::new()).collect());
            if let Some(slot) = block.get(at as usize) {
                let _ = slot.set(delta);
            }
        }
    }

    /// The delta in a slot, if there is one.
    pub(super) fn get(&self, slot: u32) -> Option<&Delta> {
        let (block, at) = place(slot);
        self.0.get(block as usize)?.get()?.get(at as usize)?.get()
    }

    /// The key of an item.
    pub(super) fn key(&self, item: Item) -> &[u8] {
        // An item is made of a delta that is there.
        self.get(item.slot).map_or(&[], |delta| delta.key(item.at))
    }
}

fn block_bits(slot: u32) -> u32 {
    (slot + (1 << FIRST_BITS)).ilog2()
}

/// The block of a slot, and the place in it.
fn place(slot: u32) -> (u32, u32) {
    let bits = block_bits(slot);
    (bits - FIRST_BITS, slot + (1 << FIRST_BITS) - (1 << bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_place_of_its_own() {
        let mut next = (0, 0);
        for slot in 0..SLOTS {
            assert_eq!(place(slot), next, "slot {slot}");
            next.1 += 1;
            if next.1 == 1 << block_bits(slot) {
                next = (next.0 + 1, 0);
            }
        }
        assert_eq!(next, (BLOCKS as u32, 0));
    }
}
