//! Records read in place from a map of proven bytes.
//!
//! A record of [`LARGE`] bytes or more is checked at its first use since the map was made; a byte for
//! each [`HALF`] bytes of the file remembers where in it the checked record begins (no two such
//! records begin in one half). Smaller ones are checked at each use: for them the check is cheaper
//! than the memory of it.
//!
//! ```text
//!   lane 0: lock, segment | bytes | checked …      each thread reads in a lane of its own: its lock and
//!   lane 1: lock, segment | bytes | checked …      its count of who shares the bytes are no other's
//!   …                        └───────┴── the same bytes, the same memory of what was checked
//! ```
//!
//! All maps of a log stand in one table, so that a read takes one lock: those of whole segments, where a
//! position tells the byte, and those of what a reclaim left, where an index does. The bytes that remember
//! are bounded: where they would be too many, the oldest segments forget, and check at each use.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use super::format::segment_name;
use super::segment::offset_in;
use super::sparse::Sparse;
use crate::contract::env::take_ahead;
use crate::contract::record::{RECORD_HEADER, stated_len};
use crate::contract::{Error, Oid, Position, Record, Result, Stream, near};

const LARGE: usize = 1024;
const HALF: usize = LARGE / 2;
/// Most bytes that remember: enough for 8 GiB of maps.
const REMEMBERED_MAX: usize = 16 << 20;
/// More threads than this share lanes.
const LANES: usize = 8;
/// Bytes at the beginning of a record that is about to be read that are brought near: header, and what
/// a search in a small node looks at first.
const NEAR: usize = 384;

/// The maps of a log's segments, sorted by where the segments begin.
#[derive(Debug, Default)]
pub(super) struct Maps([Lane; LANES]);

/// Nothing of a lane lies in a line with anything of another.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(RwLock<Vec<(Position, Map)>>);

impl Lane {
    fn read(&self) -> RwLockReadGuard<'_, Vec<(Position, Map)>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lane that this thread reads in.
fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let mine = MINE.get();
    if mine != usize::MAX {
        return mine;
    }
    MINE.set(NEXT.fetch_add(1, Ordering::Relaxed) % LANES);
    MINE.get()
}

/// The nearest map at or before a position. No map reaches past the segment that it is of, so that is
/// the right one.
fn nearest(maps: &[(Position, Map)], position: Position) -> Option<&(Position, Map)> {
    let after = maps.partition_point(|(base, _)| *base <= position);
    after.checked_sub(1).map(|index| &maps[index])
}

impl Maps {
    /// The record at `oid`, if a map holds it whole.
    #[inline]
    pub(super) fn peek(&self, oid: Oid) -> Result<Option<Record>> {
        let maps = self.0[lane()].read();
        bring_near(&maps, oid);
        match nearest(&maps, oid.position()) {
            Some((base, map)) => map
                .find(*base, oid)
                .map_err(|error| error.at(segment_name(*base))),
            None => Ok(None),
        }
    }

    /// How many bytes of this segment are mapped.
    pub(super) fn len(&self, base: Position) -> u64 {
        let maps = self.0[0].read();
        let found = maps.binary_search_by_key(&base, |(base, _)| *base);
        found.map_or(0, |index| maps[index].1.len())
    }

    /// The map of what a reclaim left here, if somebody made it.
    pub(super) fn of(&self, base: Position, sparse: &Arc<Sparse>) -> Option<Map> {
        let maps = self.0[lane()].read();
        let found = maps.binary_search_by_key(&base, |(base, _)| *base).ok()?;
        let map = &maps[found].1;
        let same = map.sparse.as_ref();
        same.is_some_and(|same| Arc::ptr_eq(same, sparse))
            .then(|| map.clone())
    }

    /// Takes a longer map of a segment, or one of what is there in its place.
    pub(super) fn put(&self, base: Position, map: &Map) {
        for lane in &self.0 {
            let mut maps = lane.0.write().unwrap_or_else(PoisonError::into_inner);
            match maps.binary_search_by_key(&base, |(base, _)| *base) {
                Ok(index) if maps[index].1.is_no_less_than(map) => continue,
                Ok(index) => maps[index].1 = map.of_a_lane(),
                Err(index) => maps.insert(index, (base, map.of_a_lane())),
            }
            let mut remembered: usize = maps.iter().map(|(_, map)| map.checked.len()).sum();
            for (_, map) in maps.iter_mut() {
                if remembered <= REMEMBERED_MAX {
                    break;
                }
                remembered -= map.checked.len();
                map.checked = Arc::default();
            }
        }
    }

    /// Lets go of the maps of segments that begin within these positions.
    pub(super) fn forget(&self, run: std::ops::Range<Position>) {
        for lane in &self.0 {
            let mut maps = lane.0.write().unwrap_or_else(PoisonError::into_inner);
            maps.retain(|(base, _)| !run.contains(base));
        }
    }

    /// Lets go of all maps.
    pub(super) fn clear(&self) {
        for lane in &self.0 {
            let mut maps = lane.0.write().unwrap_or_else(PoisonError::into_inner);
            maps.clear();
        }
    }
}

/// Asks for the first lines of every record that is about to be read from these maps, so that they come
/// side by side. Whatever was said is only ever asked for: it need not be true.
#[inline]
fn bring_near(maps: &[(Position, Map)], oid: Oid) {
    let mut indexed = false;
    take_ahead(|next, length| {
        if next.stream() != oid.stream() {
            return false;
        }
        let Some((base, map)) = nearest(maps, next.position()) else {
            return true;
        };
        if let Some(sparse) = &map.sparse {
            sparse.bring_near(&map.bytes, next.position());
            indexed = true;
            return false;
        }
        map.bring_near(offset_in(*base, next.position()) as usize, length);
        true
    });
    if indexed {
        bring_indexed(maps, oid.stream());
    }
}

/// The same for records whose places in an index were asked for.
#[inline(never)]
fn bring_indexed(maps: &[(Position, Map)], stream: Stream) {
    take_ahead(|next, length| {
        let of = nearest(maps, next.position()).filter(|_| next.stream() == stream);
        if let Some((base, map)) = of
            && let Ok(Some(at)) = map.place(*base, next.position())
        {
            map.bring_near(at, length);
        }
        of.is_some()
    });
}

#[derive(Debug, Clone)]
pub(super) struct Map {
    bytes: Bytes,
    checked: Arc<[AtomicU8]>,
    /// Where in it records lie, if it is of what a reclaim left.
    sparse: Option<Arc<Sparse>>,
}

/// Bytes whose count of shares lies in lines of its own.
#[repr(align(128))]
struct Alone(Bytes);

impl AsRef<[u8]> for Alone {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Map {
    pub(super) fn new(bytes: Bytes) -> Self {
        let checked = (0..bytes.len().div_ceil(HALF))
            .map(|_| AtomicU8::new(0))
            .collect();
        Self {
            bytes,
            checked,
            sparse: None,
        }
    }

    /// Of the whole file that this is the index of.
    pub(super) fn sparse(bytes: Bytes, sparse: Arc<Sparse>) -> Self {
        Self {
            sparse: Some(sparse),
            ..Self::new(bytes)
        }
    }

    /// The same map, with a count of shares of its own.
    fn of_a_lane(&self) -> Self {
        Self {
            bytes: Bytes::from_owner(Alone(self.bytes.clone())),
            ..self.clone()
        }
    }

    /// Whether it holds all that another one does that begins where it begins.
    fn is_no_less_than(&self, other: &Self) -> bool {
        match (&self.sparse, &other.sparse) {
            (None, None) => self.len() >= other.len(),
            (Some(mine), Some(other)) => Arc::ptr_eq(mine, other),
            _ => false,
        }
    }

    /// The record at `oid` of the segment that begins at `base`. `None`: it reaches past the map, or is none
    /// of those that a reclaim left.
    #[inline]
    pub(super) fn find(&self, base: Position, oid: Oid) -> Result<Option<Record>> {
        let Some(at) = self.place(base, oid.position())? else {
            return Ok(None);
        };
        let found = self.record(oid, at)?;
        if found.is_none() && self.sparse.is_some() {
            return Err(Error::corrupt(format!("no whole record at {oid}")));
        }
        Ok(found)
    }

    /// Asks for the first lines of the record that begins at byte `at`, and for what is remembered of it.
    #[inline]
    fn bring_near(&self, at: usize, length: u32) {
        let rest = self.bytes.get(at..).unwrap_or_default();
        near::bring(&rest[..rest.len().min(NEAR.min(length as usize))]);
        // Its end too: most that is longer lies in two pages, and where the other one is must be found
        // out as well.
        let end = (length as usize).checked_sub(1);
        near::bring(end.and_then(|end| rest.get(end..=end)).unwrap_or_default());
        if let Some(checked) = self.checked.get(at / HALF) {
            near::bring_value(checked);
        }
    }

    /// Where a record lies.
    #[inline]
    fn place(&self, base: Position, position: Position) -> Result<Option<usize>> {
        match &self.sparse {
            None => Ok(Some(offset_in(base, position) as usize)),
            Some(sparse) => sparse.find_mapped(&self.bytes, position),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The record at `oid`, which begins at byte `at`. `None`: it reaches past the map.
    #[inline]
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
        let record = Record::whole(self.bytes.slice(at..at + length));
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
    use crate::contract::env::ahead;
    use crate::contract::{Kind, NewRecord, Reference};

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
                    maps.put(*base, &Map::new(bytes.into()));
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
    fn what_is_said_ahead_changes_no_answer_whether_it_is_true_or_not() {
        let maps = Maps::default();
        let base = Position(512);
        let (oid, bytes) = mapped(base, 7);
        maps.put(base, &Map::new(bytes.into()));
        let places = [base, Position(1), Position(513), Position(1 << 40)];
        let said = places.map(|position| Reference {
            oid: Oid::new(Stream(0), position).unwrap(),
            length: u32::MAX,
            check: 0,
            weak: false,
            leaf: true,
        });
        let found = ahead(&said, || maps.peek(oid));
        assert_eq!(found.unwrap().unwrap().body()[0], 7);
    }

    #[test]
    fn what_forgot_that_it_was_checked_is_checked_at_each_use() {
        let base = Position(512);
        let (oid, mut bytes) = mapped(base, 7);
        let at = offset_in(base, base) as usize;
        bytes[at + 100] ^= 1;
        let mut map = Map::new(bytes.into());
        assert!(map.record(oid, at).is_err());
        map.checked = Arc::default();
        assert!(map.record(oid, at).is_err());
    }
}
