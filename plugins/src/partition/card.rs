//! The card that lies in every directory of a child: which stream it holds, for good.
//!
//! ```text
//!   0 magic "TRAVPAR\0"   8 crc32 of 12..   12 format   16 store identity   32 stream u64
//!  40 next u64: no child has this number yet, nor any above it
//! ```
//!
//! Streams are given out from 0 on, each once. So the highest `next` of all cards tells how many
//! children there are, and which of them is not here.

use travertine_engine::contract::limits::STREAMS_MAX;
use travertine_engine::contract::{Error, Result, Stream};

/// Its name.
pub(super) const NAME: &str = "partition";

const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"TRAVPAR\0";
const LENGTH: usize = 48;

/// What a card says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Card {
    /// Of the whole store.
    pub(super) store: [u8; 16],
    /// The child's own number.
    pub(super) stream: Stream,
    /// The first number that was not given out when this was written.
    pub(super) next: u16,
}

impl Card {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; LENGTH];
        out[..8].copy_from_slice(MAGIC);
        out[12..16].copy_from_slice(&FORMAT.to_le_bytes());
        out[16..32].copy_from_slice(&self.store);
        out[32..34].copy_from_slice(&self.stream.0.to_le_bytes());
        out[40..42].copy_from_slice(&self.next.to_le_bytes());
        let crc = crc32fast::hash(&out[12..]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::corrupt(format!("the file `{NAME}` is damaged"));
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| damaged())?;
        let four = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|index| bytes[at + index]));
        if &bytes[..8] != MAGIC || four(8) != crc32fast::hash(&bytes[12..]) {
            return Err(damaged());
        }
        if four(12) != FORMAT {
            return Err(Error::invalid(format!(
                "the file `{NAME}` has format {}, this program reads {FORMAT}",
                four(12)
            )));
        }
        let (stream, next) = (four(32), four(40));
        if stream >= next || next as usize > STREAMS_MAX {
            return Err(damaged());
        }
        let mut store = [0; 16];
        store.copy_from_slice(&bytes[16..32]);
        Ok(Self {
            store,
            stream: Stream(stream as u16),
            next: next as u16,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_reads_back_and_any_bit_flipped_is_damage() {
        let card = Card {
            store: [7; 16],
            stream: Stream(3),
            next: 5,
        };
        let bytes = card.encode();
        assert_eq!(Card::decode(&bytes).unwrap(), card);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Card::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Card::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
