//! What a reclaim left of a run of segments, in one file.
//!
//! ```text
//!  rec-<base>-<end>   | header 4096 | record | record | … | block | block | … | first positions
//!                                     those that stay,     where each lies      of the blocks
//!                                     in order
//!
//!  block              0 crc32 of medium identity, base, number of the block and bytes 4..4096
//!                     4 entries u32   8 entries, each: position u64, byte of the file u64 … zeros
//! ```
//!
//! The name says which positions the file speaks for, so a listing alone tells which segments it took
//! the place of, should they still be there. Invariant: a position of the run that is in no entry is
//! absent, and that is proven: blocks and their first positions are under checksums, and each record
//! is under its own.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::format::{Identity, SPARSE_FIELDS, SparseHeader};
use crate::contract::record::{u32_at, u64_at};
use crate::contract::{Error, Position, Result, near};
use crate::medium::MediumFile;

/// Bytes of a block of the index.
const BLOCK: usize = 4096;
/// Bytes in front of the entries of a block.
const BLOCK_HEAD: usize = 8;
const ENTRY: usize = 16;
/// Entries of a block.
const ENTRIES: usize = 255;
/// Entries on each side of where a record should be that are looked at first.
const NEAR: usize = 8;

/// A sparse segment whose index may be asked. Keeps one position for each block in memory.
#[derive(Debug)]
pub(super) struct Sparse {
    pub(super) header: SparseHeader,
    identity: Identity,
    firsts: Vec<u64>,
    /// Blocks of the index that passed their checks in a map.
    checked: Box<[AtomicBool]>,
}

/// Where a record lies in the file, and how many bytes it may take there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) within: usize,
}

impl Sparse {
    /// Reads what stands in front and behind of a file.
    pub(super) fn open(file: &dyn MediumFile, identity: &Identity) -> Result<Self> {
        let head = file.read_at(0, SPARSE_FIELDS)?;
        let header = SparseHeader::decode(&head, identity)?;
        let blocks = header.records.div_ceil(ENTRIES as u64);
        let tail = blocks * 8;
        let at = header.index + blocks * BLOCK as u64;
        let length = file.len()?;
        // Checked before anything of that size is made.
        if at.checked_add(tail) != Some(length) {
            return Err(Error::corrupt(format!(
                "{} records need an index that ends elsewhere than the file, at {length}",
                header.records
            )));
        }
        let bytes = file.read_at(at, tail as usize)?;
        if bytes.len() as u64 != tail
            || crc(identity, header.common.base, blocks, &bytes) != header.firsts
        {
            return Err(Error::corrupt(
                "the first positions of an index fail their checksum",
            ));
        }
        let firsts = bytes.chunks_exact(8).map(|bytes| u64_at(bytes, 0));
        Ok(Self {
            checked: firsts.clone().map(|_| AtomicBool::new(false)).collect(),
            firsts: firsts.collect(),
            header,
            identity: *identity,
        })
    }

    /// The bytes of the file.
    pub(super) fn length(&self) -> u64 {
        self.header.index + index_length(self.header.records)
    }

    /// Where the record at `position` lies; `None`: it was freed, or never was.
    pub(super) fn find(&self, file: &dyn MediumFile, position: Position) -> Result<Option<Place>> {
        let Some(number) = self
            .firsts
            .partition_point(|&first| first <= position.0)
            .checked_sub(1)
        else {
            return Ok(None);
        };
        let block = self.block(file, number)?;
        let found = block.binary_search_by_key(&position, |(at, _)| *at);
        Ok(found.ok().map(|index| self.place(&block, index)))
    }

    /// Where in a map of the whole file the record at `position` begins; `None`: it was freed, or never was.
    /// A block of the index is checked at its first use, and then searched where it lies.
    pub(super) fn find_mapped(&self, map: &[u8], position: Position) -> Result<Option<usize>> {
        let Some((number, guess)) = self.guess(position) else {
            return Ok(None);
        };
        let start = self.header.index as usize + number * BLOCK;
        let checked = &self.checked[number];
        let Some(bytes) = map.get(start..start + BLOCK) else {
            return Err(Error::corrupt(
                "the index of a sparse segment lies past its end",
            ));
        };
        if !checked.load(Relaxed) {
            self.entries(number, bytes)?;
            checked.store(true, Relaxed);
        }
        let count = (u32_at(bytes, 4) as usize).min(ENTRIES);
        let at = |index: usize| u64_at(bytes, BLOCK_HEAD + index * ENTRY);
        let (mut low, mut high) = (guess.saturating_sub(NEAR), (guess + NEAR).min(count));
        let before = low >= high || at(low) > position.0;
        if before || high < count && at(high) <= position.0 {
            (low, high) = (0, count);
        }
        while low < high {
            let middle = low.midpoint(high);
            match at(middle).cmp(&position.0) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => {
                    let place = BLOCK_HEAD + middle * ENTRY + 8;
                    return Ok(Some(u64_at(bytes, place) as usize));
                }
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// Asks for what [`Sparse::find_mapped`] will look at, mostly.
    pub(super) fn bring_near(&self, map: &[u8], position: Position) {
        let Some((number, guess)) = self.guess(position) else {
            return;
        };
        let block = self.header.index as usize + number * BLOCK;
        let entries = block + BLOCK_HEAD;
        let from = entries + guess.saturating_sub(NEAR) * ENTRY;
        let to = entries + (guess + NEAR).min(ENTRIES) * ENTRY;
        near::bring(map.get(block..=block).unwrap_or_default());
        near::bring(map.get(from..to).unwrap_or_default());
    }

    /// The block of the index that tells of a position, and about which of its entries does: records are of
    /// about one size, so a straight line leads near to it, mostly.
    fn guess(&self, position: Position) -> Option<(usize, usize)> {
        let after = self.firsts.partition_point(|&first| first <= position.0);
        let number = after.checked_sub(1)?;
        let (first, next) = (self.firsts[number], self.firsts.get(after));
        let next = next.map_or(self.header.end.position.0, |next| *next);
        let records = (self.header.records as usize - number * ENTRIES).min(ENTRIES);
        let part = (position.0 - first) as f64 / next.saturating_sub(first).max(1) as f64;
        Some((number, ((part * records as f64) as usize).min(ENTRIES)))
    }

    /// Where records lie from a position on, a block of the index at a time; empty after the last.
    pub(super) fn some_from(
        &self,
        file: &dyn MediumFile,
        position: Position,
    ) -> Result<Vec<(Position, Place)>> {
        let mut number = self
            .firsts
            .partition_point(|&first| first <= position.0)
            .saturating_sub(1);
        while number < self.firsts.len() {
            let block = self.block(file, number)?;
            let from = block.partition_point(|(at, _)| *at < position);
            if from < block.len() {
                let all =
                    (from..block.len()).map(|index| (block[index].0, self.place(&block, index)));
                return Ok(all.collect());
            }
            number += 1;
        }
        Ok(Vec::new())
    }

    fn place(&self, block: &[(Position, u64)], index: usize) -> Place {
        let offset = block[index].1;
        // Where the next block begins is not looked up: the record tells its own length.
        let next = block
            .get(index + 1)
            .map_or(self.header.index, |next| next.1);
        Place {
            offset,
            within: next.saturating_sub(offset) as usize,
        }
    }

    /// The entries of a block.
    fn block(&self, file: &dyn MediumFile, number: usize) -> Result<Vec<(Position, u64)>> {
        let at = self.header.index + (number * BLOCK) as u64;
        self.entries(number, &file.read_at(at, BLOCK)?)
    }

    /// The entries of a block whose bytes these are, all checked.
    fn entries(&self, number: usize, bytes: &[u8]) -> Result<Vec<(Position, u64)>> {
        let damaged = || Error::corrupt(format!("block {number} of the index fails its checks"));
        if bytes.len() < BLOCK
            || u32_at(bytes, 0)
                != crc(
                    &self.identity,
                    self.header.common.base,
                    number as u64,
                    &bytes[4..],
                )
        {
            return Err(damaged());
        }
        let count = u32_at(bytes, 4) as usize;
        let left = (self.header.records as usize).saturating_sub(number * ENTRIES);
        if count != left.min(ENTRIES) {
            return Err(damaged());
        }
        let entries = bytes[BLOCK_HEAD..].chunks_exact(ENTRY).take(count);
        let entries: Vec<_> = entries
            .map(|entry| (Position(u64_at(entry, 0)), u64_at(entry, 8)))
            .collect();
        let sorted = entries
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        let inside = entries.last().is_none_or(|last| last.1 < self.header.index);
        if sorted && inside {
            Ok(entries)
        } else {
            Err(damaged())
        }
    }
}

/// The index of these records: its bytes, and the checksum that goes to the header.
pub(super) fn index(
    identity: &Identity,
    base: Position,
    records: impl ExactSizeIterator<Item = (Position, u64)>,
) -> (Vec<u8>, u32) {
    let blocks = records.len().div_ceil(ENTRIES);
    let mut out = Vec::with_capacity(blocks * (BLOCK + 8));
    let mut firsts = Vec::with_capacity(blocks * 8);
    let mut records = records.peekable();
    for number in 0..blocks {
        let start = out.len();
        out.resize(start + BLOCK_HEAD, 0);
        if let Some((first, _)) = records.peek() {
            firsts.extend_from_slice(&first.0.to_le_bytes());
        }
        let mut count = 0_u32;
        for (position, at) in records.by_ref().take(ENTRIES) {
            out.extend_from_slice(&position.0.to_le_bytes());
            out.extend_from_slice(&at.to_le_bytes());
            count += 1;
        }
        out.resize(start + BLOCK, 0);
        out[start + 4..start + 8].copy_from_slice(&count.to_le_bytes());
        let check = crc(identity, base, number as u64, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&check.to_le_bytes());
    }
    let check = crc(identity, base, blocks as u64, &firsts);
    out.extend_from_slice(&firsts);
    (out, check)
}

/// Bytes that the index of so many records takes.
pub(super) fn index_length(records: u64) -> u64 {
    records.div_ceil(ENTRIES as u64) * (BLOCK as u64 + 8)
}

fn crc(identity: &Identity, base: Position, number: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&identity.medium);
    hasher.update(&base.0.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::format::SegmentHeader;
    use super::*;
    use crate::contract::{End, Epoch};
    use crate::medium::Medium;
    use crate::medium::memory::MemoryMedium;

    /// What a reclaim left at these positions, 32 bytes of the file each: the file and its index.
    fn left(positions: &[u64]) -> (Vec<u8>, Sparse) {
        let identity = Identity {
            store: [1; 16],
            medium: [2; 16],
            stream: crate::contract::Stream(0),
        };
        let (base, start) = (Position(positions[0]), 4096);
        let places = (0..).map(|nth: u64| start + nth * 32);
        let each = positions.iter().map(|at| Position(*at)).zip(places);
        let each: Vec<_> = each.collect();
        let (index, firsts) = index(&identity, base, each.into_iter());
        let header = SparseHeader {
            common: SegmentHeader {
                base,
                before: End {
                    position: base,
                    running: 0,
                },
                epoch: Epoch::default(),
                ceiling: base,
                durable: base,
                newest: None,
            },
            end: End {
                position: Position(positions[positions.len() - 1] + 1),
                running: 0,
            },
            marker: None,
            records: positions.len() as u64,
            index: start + positions.len() as u64 * 32,
            firsts,
        };
        let mut bytes = header.encode(&identity);
        bytes.resize(header.index as usize, 0);
        bytes.extend(index);
        let file = MemoryMedium::new().create("left").unwrap();
        file.write_at(0, &[&bytes]).unwrap();
        (bytes, Sparse::open(&*file, &identity).unwrap())
    }

    #[test]
    fn a_record_is_found_wherever_a_straight_line_leads() {
        let even = |nth: u64| 100 + nth * 512;
        let shapes: [fn(u64) -> u64; 4] = [
            |nth| 100 + nth * 512,
            |nth| 100 + nth * nth * 3,
            |nth| 100 + nth * 2 + if nth % 200 > 20 { 1 << 30 } else { 0 } * (nth / 200 + 1),
            |nth| 100 + nth * 2 + if nth > 250 { 1 << 40 } else { 0 },
        ];
        for (shape, count) in shapes.iter().zip([1, 255, 256, 1500]) {
            for count in [count, 900] {
                let mut positions: Vec<_> = (0..count).map(shape).collect();
                positions.sort_unstable();
                let (bytes, sparse) = left(&positions);
                let find = |at: u64| {
                    sparse.bring_near(&bytes, Position(at));
                    sparse.find_mapped(&bytes, Position(at)).unwrap()
                };
                for (nth, at) in positions.iter().enumerate() {
                    assert_eq!(find(*at), Some(4096 + nth * 32), "{nth} of {count}");
                    if !positions.contains(&(at + 1)) {
                        assert_eq!(find(at + 1), None);
                    }
                }
                assert_eq!((find(0), find(99), find(1 << 47)), (None, None, None));
            }
        }
        let (mut bytes, sparse) = left(&(0..300).map(even).collect::<Vec<_>>());
        let place = sparse.header.index as usize + BLOCK_HEAD + 7 * ENTRY;
        bytes[place] ^= 1;
        assert!(sparse.find_mapped(&bytes, Position(even(5))).is_err());
        assert!(sparse.find_mapped(&bytes, Position(even(299))).is_ok());
    }
}
