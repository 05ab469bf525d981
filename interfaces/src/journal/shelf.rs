//! Where the bytes of small deltas lie: many of them in one piece of memory.
//!
//! A journal holds as many deltas as there were commits since the last merge, and lets go of all of them
//! at once. Each in an allocation of its own, they would leave as many holes among whatever lives longer,
//! and the next one who asks for much memory would wait until the allocator has put them together.

use bytes::{Bytes, BytesMut};

/// A piece is as large as all before it, within these bounds. Who keeps a value that was read keeps its piece.
const PIECE_MIN: usize = 4 << 10;
const PIECE_MAX: usize = 128 << 10;

/// Pieces, of which the last has room.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    last: BytesMut,
    /// Bytes of all pieces.
    taken: usize,
    put: usize,
}

impl Shelf {
    /// Bytes to be held for as long as those around them. What is large stays where it is.
    pub(super) fn put(&mut self, bytes: Bytes) -> Bytes {
        if bytes.len() > PIECE_MAX / 4 {
            return bytes;
        }
        if self.last.capacity() < bytes.len() {
            let piece = self.taken.clamp(PIECE_MIN, PIECE_MAX).max(bytes.len());
            self.taken += piece;
            self.last = BytesMut::with_capacity(piece);
        }
        self.put += bytes.len();
        self.last.extend_from_slice(&bytes);
        self.last.split().freeze()
    }

    /// Bytes of pieces that hold nothing.
    pub(super) fn spare(&self) -> u64 {
        (self.taken - self.put) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_stays_as_it_was_and_takes_hardly_more_than_its_bytes() {
        let mut shelf = Shelf::default();
        let bytes = |number: usize| Bytes::from(vec![number as u8; number * 7919 % 12_000]);
        let held: Vec<_> = (0..2000).map(|number| shelf.put(bytes(number))).collect();
        for (number, held) in held.iter().enumerate() {
            assert_eq!(held, &bytes(number));
        }
        let all: usize = held.iter().map(Bytes::len).sum();
        assert_eq!(shelf.put, all);
        assert!(shelf.spare() < (all / 16 + PIECE_MAX) as u64);
    }

    #[test]
    fn what_is_large_takes_no_piece() {
        let mut shelf = Shelf::default();
        let large = Bytes::from(vec![7; 300_000]);
        assert_eq!(shelf.put(large.clone()).as_ptr(), large.as_ptr());
        assert_eq!(shelf.taken, 0);
    }
}
