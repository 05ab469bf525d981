//! Records read in place from a map of proven bytes.
//!
//! A record of [`LARGE`] bytes or more is checked at its first use since the map was made; a byte for
//! each [`HALF`] bytes of the file remembers where in it the checked record begins (no two such
//! records begin in one half). Smaller ones are checked at each use: for them the check is cheaper
//! than the memory of it.

//! All maps of a log stand in one table, so that a read takes one lock. The bytes that remember are
//! bounded: where they would be too many, the oldest segments forget, and check at each use.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::format::segment_name;
use super::segment::offset_in;
use crate::contract::record::{RECORD_HEADER, stated_len};
use crate::contract::{Error, Oid, Position, Record, Result};

const LARGE: usize = 1024;
const HALF: usize = LARGE / 2;
/// Most bytes that remember: enough for 8 GiB of maps.
const REMEMBERED_MAX: usize = 16 << 20;

/// The maps of a log's segments, sorted by where the segments begin.
#[derive(Debug, Default)]
pub(super) struct Maps(RwLock<Vec<(Position, Map)>>);

impl Maps {
    /// The record at `oid`, if a map holds it whole.
    pub(super) fn peek(&self, oid: Oid) -> Result<Option<Record>> {
        let position = oid.position();
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let after = maps.partition_point(|(base, _)| *base <= position);
        // No map reaches past the segment that it is of, so the nearest one is the right one.
        match after.checked_sub(1).map(|index| &maps[index]) {
            Some((base, map)) => map
                .record(oid, offset_in(*base, position) as usize)
                .map_err(|error| error.at(segment_name(*base))),
            None => Ok(None),
        }
    }

    /// How many bytes of this segment are mapped.
    pub(super) fn len(&self, base: Position) -> u64 {
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = maps.binary_search_by_key(&base, |(base, _)| *base);
        found.map_or(0, |index| maps[index].1.len())
    }

    /// Takes a longer map of a segment.
    pub(super) fn put(&self, base: Position, map: Map) {
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match maps.binary_search_by_key(&base, |(base, _)| *base) {
            Ok(index) if maps[index].1.len() >= map.len() => return,
            Ok(index) => maps[index].1 = map,
            Err(index) => maps.insert(index, (base, map)),
        }
        let mut remembered: usize = maps.iter().map(|(_, map)| map.checked.len()).sum();
        for (_, map) in maps.iter_mut() {
            if remembered <= REMEMBERED_MAX {
                break;
            }
            remembered -= map.checked.len();
            map.checked = Box::default();
        }
    }

    /// Lets go of the maps of segments that begin within these positions.
    pub(super) fn forget(&self, run: std::ops::Range<Position>) {
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        maps.retain(|(base, _)| !run.contains(base));
    }

    /// Lets go of all maps.
    pub(super) fn clear(&self) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

#[derive(Debug)]
pub(super) struct Map {
    bytes: Bytes,
    checked: Box<[AtomicU8]>,
}

impl Map {
    pub(super) fn new(bytes: Bytes) -> Self {
        let checked = (0..bytes.len().div_ceil(HALF))
            .map(|_| AtomicU8::new(0))
            .collect();
        Self { bytes, checked }
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The record at `oid`, which begins at byte `at`. `None`: it reaches past the map.
    pub(super) fn record(&self, oid: Oid, at: usize) -> Result<Option<Record>> {
        let Some(rest) = self
            .bytes
            .get(at..)
            .filter(|rest| rest.len() >= RECORD_HEADER)
        else {
            return Ok(None);
        };
        let length =
            stated_len(rest).ok_or_else(|| Error::corrupt(format!("no record begins at {oid}")))?;
        if length > rest.len() {
            return Ok(None);
        }
        if length < LARGE {
            return Record::decode_at(oid, &self.bytes, at).map(Some);
        }
        let record = Record::decode_unverified(oid, self.bytes.slice(at..at + length))?;
        // Records begin at multiples of eight, so the place within a half fits a byte; zero is none.
        let (checked, place) = (self.checked.get(at / HALF), (at % HALF / 8 + 1) as u8);
        if checked.is_none_or(|checked| checked.load(Ordering::Relaxed) != place) {
            record.verify(oid)?;
            if let Some(checked) = checked {
                checked.store(place, Ordering::Relaxed);
            }
        }
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Kind, NewRecord, Stream};

    /// A map of one large record at the start of its segment, and the record's address.
    fn mapped(base: Position, fill: u8) -> (Oid, Vec<u8>) {
        let oid = Oid::new(Stream(0), base).unwrap();
        let body = vec![fill; 2000];
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        let mut bytes = vec![0; offset_in(base, base) as usize];
        record.encode(oid, 1, &mut bytes);
        (oid, bytes)
    }

    #[test]
    fn a_record_is_found_in_the_map_of_its_own_segment_only() {
        let maps = Maps::default();
        let bases = [Position(512), Position(8192), Position(65_536)];
        let oids: Vec<_> = bases
            .iter()
            .enumerate()
            .map(|(fill, base)| {
                let (oid, bytes) = mapped(*base, fill as u8);
                if fill != 1 {
                    maps.put(*base, Map::new(bytes.into()));
                }
                oid
            })
            .collect();
        assert_eq!(maps.peek(oids[0]).unwrap().unwrap().body()[0], 0);
        assert_eq!(maps.peek(oids[1]).unwrap(), None);
        assert_eq!(maps.peek(oids[2]).unwrap().unwrap().body()[0], 2);
        assert!(maps.len(bases[2]) > 0 && maps.len(bases[1]) == 0);
        maps.clear();
        assert_eq!(maps.peek(oids[0]).unwrap(), None);
    }

    #[test]
    fn what_forgot_that_it_was_checked_is_checked_at_each_use() {
        let base = Position(512);
        let (oid, mut bytes) = mapped(base, 7);
        let at = offset_in(base, base) as usize;
        bytes[at + 100] ^= 1;
        let mut map = Map::new(bytes.into());
        assert!(map.record(oid, at).is_err());
        map.checked = Box::default();
        assert!(map.record(oid, at).is_err());
    }
}
