//! A set of addresses, in little memory and in order: what a mark has met.
//!
//! ```text
//!   stream, half a MiB of positions ─> page: few   sorted numbers, 2 bytes for each record
//!                                            many  one bit for each 8 bytes of the stream, 8 KiB
//! ```
//!
//! A page with many records would take more as numbers than as bits, so no page takes more than 8 KiB: at
//! worst the set is a 64th of what was met, and 2 bytes for each record where records are larger than
//! 128 bytes.

use std::collections::BTreeMap;

use crate::contract::{Oid, Position, Stream};

/// Positions of a page.
const PAGE: u64 = 1 << 16;
/// More numbers than this take more than the bits.
const FEW_MAX: usize = 4_096;
const WORDS: usize = PAGE as usize / 64;
/// About what a page costs beside its numbers.
const PAGE_COST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Alive {
    /// Each with the bytes of its records.
    pages: BTreeMap<u64, (Page, u64)>,
    bytes: usize,
    len: u64,
}

#[derive(Debug)]
enum Page {
    Few(Vec<u16>),
    Many(Box<[u64; WORDS]>),
}

impl Alive {
    /// Whether a record of so many bytes is met for the first time.
    pub(super) fn insert(&mut self, oid: Oid, length: u32) -> bool {
        let (number, at) = (oid.raw() / PAGE, (oid.raw() % PAGE) as u16);
        let bytes = &mut self.bytes;
        let (page, takes) = self.pages.entry(number).or_insert_with(|| {
            *bytes += PAGE_COST;
            (Page::Few(Vec::new()), 0)
        });
        let before = page.bytes();
        let first = page.insert(at);
        self.bytes += page.bytes().saturating_sub(before);
        if first {
            self.len += 1;
            *takes += u64::from(length);
        }
        first
    }

    /// How many are in it.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those of a stream from one position to another, in order.
    pub(super) fn within(
        &self,
        stream: Stream,
        from: Position,
        to: Position,
    ) -> impl Iterator<Item = Position> {
        let base = u64::from(stream.0) * Position::LIMIT.0;
        let (from, to) = (base + from.0, base + to.0);
        let pages = self.pages.range(from / PAGE..to.div_ceil(PAGE));
        let all = pages.flat_map(|(number, (page, _))| {
            let begin = number * PAGE;
            page.iter().map(move |at| begin + u64::from(at))
        });
        all.filter(move |raw| (from..to).contains(raw))
            .map(move |raw| Position(raw - base))
    }

    /// About how many bytes the records of a stream take that begin from one position to another.
    pub(super) fn bytes_within(&self, stream: Stream, from: Position, to: Position) -> u64 {
        let base = u64::from(stream.0) * Position::LIMIT.0;
        let (from, to) = (base + from.0, base + to.0);
        let pages = self.pages.range(from / PAGE..to.div_ceil(PAGE));
        let each = pages.map(|(number, (page, bytes))| {
            let begin = number * PAGE;
            if from <= begin && begin + PAGE <= to {
                return *bytes;
            }
            let within = |at: &u16| (from..to).contains(&(begin + u64::from(*at)));
            let (all, some) = (page.iter().count(), page.iter().filter(within).count());
            (u128::from(*bytes) * some as u128 / all.max(1) as u128) as u64
        });
        each.sum()
    }
}

impl Page {
    fn bytes(&self) -> usize {
        match self {
            Self::Few(numbers) => 2 * numbers.capacity(),
            Self::Many(_) => 8 * WORDS,
        }
    }

    fn insert(&mut self, at: u16) -> bool {
        match self {
            Self::Few(numbers) => {
                let Err(index) = numbers.binary_search(&at) else {
                    return false;
                };
                if numbers.len() < FEW_MAX {
                    numbers.insert(index, at);
                    return true;
                }
                let mut bits = Box::new([0; WORDS]);
                for number in numbers.iter().chain([&at]) {
                    bits[usize::from(number / 64)] |= 1 << (number % 64);
                }
                *self = Self::Many(bits);
                true
            }
            Self::Many(bits) => {
                let (word, mask) = (&mut bits[usize::from(at / 64)], 1 << (at % 64));
                let first = *word & mask == 0;
                *word |= mask;
                first
            }
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = u16> + '_> {
        match self {
            Self::Few(numbers) => Box::new(numbers.iter().copied()),
            Self::Many(bits) => Box::new(
                (0..=u16::MAX).filter(|at| bits[usize::from(at / 64)] & (1 << (at % 64)) != 0),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::conformance::rng::Rng;

    #[test]
    fn it_holds_what_a_plain_set_holds_few_or_many() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let (mut alive, mut plain) = (Alive::default(), BTreeSet::new());
            let span = [1_000, PAGE, 40 * PAGE][rng.below_usize(3)];
            for _ in 0..20_000 {
                let stream = Stream([0, 1, 700][rng.below_usize(3)]);
                let position = Position(1 + rng.below(span));
                let oid = Oid::new(stream, position).unwrap();
                assert_eq!(alive.insert(oid, 8), plain.insert((stream, position)));
            }
            assert_eq!(alive.len(), plain.len() as u64);
            for stream in [0, 1, 2, 700].map(Stream) {
                let from = Position(rng.below(span));
                let to = Position(from.0 + rng.below(span));
                let range = (stream, from)..(stream, to);
                let expected: Vec<_> = plain.range(range).map(|(_, at)| *at).collect();
                let found: Vec<_> = alive.within(stream, from, to).collect();
                assert_eq!(found, expected, "seed {seed}");
                let bytes = alive.bytes_within(stream, from, to);
                assert_eq!(bytes, 8 * expected.len() as u64, "seed {seed}");
            }
        }
    }

    #[test]
    fn no_page_takes_more_than_a_bit_for_each_position() {
        let mut alive = Alive::default();
        for position in 1..PAGE {
            alive.insert(Oid::new(Stream(0), Position(position)).unwrap(), 8);
        }
        assert!(alive.bytes() <= PAGE as usize / 8 + PAGE_COST);
    }
}
