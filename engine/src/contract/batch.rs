//! Batches: what the engine makes, hashes and sends; and the room each leaves for a log's frame.
//!
//! ```text
//!  0             40              128
//!  | frame slot  | batch header  | record | record | …        | next batch
//!    one log's     the engine's, one running checksum from here to the end
//!    own words     the same on every replica
//! ```
//!
//! The slot is zeros until a log writes its frame there, so a position maps to a file offset by an
//! addition. No shared checksum covers the slot. The header, from byte 40, little-endian:
//!
//! ```text
//!  40 magic "TVB1"        44 crc32 of bytes 48..128   48 stream u16   50 flags u16   52 records u32
//!  56 base                64 end                      72 end of the batch before
//!  80 running checksum of the batch before            88 epoch tag    96 epoch number u32
//! 100 proven: epoch u32  104 proven: sequence        112 proven: OID 120 newest marker inside: OID
//! ```
//!
//! Invariant: gaps are stated (`before.end .. base`), never inferred.

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::codec::Way;
use super::error::{Error, Result};
use super::level::Epoch;
use super::limits::BATCH_MAX;
use super::oid::{Oid, Position, Stream, UNIT};
use super::record::{NewRecord, RECORD_HEADER, Record, Reference, stated_len};
use super::record::{u16_at, u32_at, u64_at};

/// Bytes that each batch reserves in front for a log's frame.
pub const FRAME_SLOT: usize = 40;
/// Bytes before the first record of a batch: the frame slot and the header.
pub const BATCH_HEADER: usize = 128;
const MAGIC: &[u8; 4] = b"TVB1";
/// Flag: the writer closed cleanly; nothing was handed out past the end of this batch.
const CLEAN: u16 = 1;

/// The newest commit known to be durable on every stream it depends on, named by whoever wrote later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Proven {
    /// Number of the commit.
    pub sequence: u64,
    /// Number of the epoch that made it.
    pub epoch: u32,
    /// Its root marker.
    pub oid: Oid,
}

/// What a batch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The stream it belongs to.
    pub stream: Stream,
    /// Where it begins, frame slot included.
    pub base: Position,
    /// Where it ends.
    pub end: Position,
    /// Where the batch before it ended; `before_end..base` is a stated gap.
    pub before_end: Position,
    /// Running checksum up to the batch before.
    pub before_running: u64,
    /// The epoch it was born in, kept for ever.
    pub epoch: Epoch,
    /// How many records follow.
    pub records: u32,
    /// The newest commit that was proven when this batch was made.
    pub proven: Option<Proven>,
    /// The newest root marker among its records.
    pub marker: Option<Oid>,
    /// Whether the writer closed cleanly here.
    pub clean: bool,
}

impl BatchHeader {
    /// Reads the header of the batch at the start of `bytes` (at least [`BATCH_HEADER`] of them).
    /// `None`: these are not the bytes of a batch header.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < BATCH_HEADER || &bytes[40..44] != MAGIC {
            return None;
        }
        if u32_at(bytes, 44) != crc32fast::hash(&bytes[48..BATCH_HEADER]) {
            return None;
        }
        let header = Self {
            stream: Stream(u16_at(bytes, 48)),
            clean: u16_at(bytes, 50) & CLEAN != 0,
            records: u32_at(bytes, 52),
            base: Position(u64_at(bytes, 56)),
            end: Position(u64_at(bytes, 64)),
            before_end: Position(u64_at(bytes, 72)),
            before_running: u64_at(bytes, 80),
            epoch: Epoch {
                tag: u64_at(bytes, 88),
                number: u32_at(bytes, 96),
            },
            proven: Oid::from_raw(u64_at(bytes, 112)).map(|oid| Proven {
                sequence: u64_at(bytes, 104),
                epoch: u32_at(bytes, 100),
                oid,
            }),
            marker: Oid::from_raw(u64_at(bytes, 120)),
        };
        let length = header.end.0.checked_sub(header.base.0)?.checked_mul(UNIT)?;
        let sane = (BATCH_HEADER as u64..=BATCH_MAX as u64).contains(&length)
            && header.before_end <= header.base
            && header.base <= header.end
            && header.end <= Position::LIMIT;
        sane.then_some(header)
    }

    fn encode(&self, slot: &mut [u8]) {
        slot[..FRAME_SLOT].fill(0);
        slot[40..44].copy_from_slice(MAGIC);
        slot[48..50].copy_from_slice(&self.stream.0.to_le_bytes());
        let flags = if self.clean { CLEAN } else { 0 };
        slot[50..52].copy_from_slice(&flags.to_le_bytes());
        slot[52..56].copy_from_slice(&self.records.to_le_bytes());
        let (sequence, epoch, oid) = match self.proven {
            Some(proven) => (proven.sequence, proven.epoch, proven.oid.raw()),
            None => (0, 0, 0),
        };
        let words = [
            (56, self.base.0),
            (64, self.end.0),
            (72, self.before_end.0),
            (80, self.before_running),
            (88, self.epoch.tag),
            (96, u64::from(self.epoch.number) | (u64::from(epoch) << 32)),
            (104, sequence),
            (112, oid),
            (120, self.marker.map_or(0, Oid::raw)),
        ];
        for (at, word) in words {
            slot[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32fast::hash(&slot[48..BATCH_HEADER]);
        slot[44..48].copy_from_slice(&crc.to_le_bytes());
    }

    /// Bytes from base to end.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.end.bytes_since(self.base)
    }
}

/// Consecutive encoded records of one stream at a known place. Clones share the bytes.
#[derive(Clone)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
    /// Computed once: every floor that a batch passes asks for it.
    running: OnceLock<u64>,
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Batch {}

impl Batch {
    /// Takes a batch from bytes that start with its frame slot. Checks the header and that the
    /// records fill the batch exactly; their own checks are for [`Record::verify`], the whole for
    /// [`Batch::running`].
    pub fn decode(bytes: Bytes) -> Result<Self> {
        let header = BatchHeader::decode(&bytes)
            .ok_or_else(|| Error::corrupt("these bytes are no batch header"))?;
        let length = header.length() as usize;
        if bytes.len() < length {
            return Err(Error::corrupt(format!(
                "the batch at {} of {} states {length} bytes, only {} are there",
                header.base,
                header.stream,
                bytes.len()
            )));
        }
        let batch = Self {
            header,
            bytes: bytes.slice(..length),
            running: OnceLock::new(),
        };
        let mut places = batch.places();
        let count = places.by_ref().count();
        if places.at != length || count != header.records as usize {
            return Err(Error::corrupt(format!(
                "the batch at {} of {} does not hold the {} records that it states",
                header.base, header.stream, header.records
            )));
        }
        Ok(batch)
    }

    /// What it says of itself.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Frame slot, header and records.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The running checksum after this batch: of everything from byte [`FRAME_SLOT`] on, seeded with
    /// the running checksum before.
    #[must_use]
    pub fn running(&self) -> u64 {
        *self
            .running
            .get_or_init(|| running_of(self.header.before_running, &self.bytes))
    }

    /// The buffer below the batch, to build another in, if nobody else holds any of it.
    #[must_use]
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        self.bytes.is_unique().then(|| self.bytes.into())
    }

    /// The records with their OIDs, in order. Each is bounded but not verified.
    pub fn records(&self) -> impl Iterator<Item = (Oid, Record)> + '_ {
        self.places().filter_map(|(at, length)| {
            let oid = self.oid_at(at)?;
            Some((
                oid,
                Record::decode_unverified(oid, self.bytes.slice(at..at + length)).ok()?,
            ))
        })
    }

    /// The record at `oid`, verified; `None` if the batch holds no record that begins there.
    pub fn read(&self, oid: Oid) -> Result<Option<Record>> {
        let position = oid.position();
        let first = self.header.base.plus_bytes(BATCH_HEADER as u64);
        if oid.stream() != self.header.stream || position < first || position >= self.header.end {
            return Ok(None);
        }
        let at = position.bytes_since(self.header.base) as usize;
        Record::decode(oid, self.bytes.slice(at..)).map(Some)
    }

    fn oid_at(&self, at: usize) -> Option<Oid> {
        Oid::new(self.header.stream, self.header.base.plus_bytes(at as u64))
    }

    fn places(&self) -> Places<'_> {
        Places {
            bytes: &self.bytes,
            at: BATCH_HEADER,
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BatchHeader {
            stream,
            base,
            end,
            epoch,
            records,
            ..
        } = &self.header;
        write!(f, "Batch({stream} {base}..{end} {epoch} {records} records)")
    }
}

/// Running checksum after the batch in `bytes` (frame slot first), given the one before.
#[must_use]
pub fn running_of(before: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(&bytes[FRAME_SLOT..], before)
}

struct Places<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Places<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self
            .bytes
            .get(self.at..)
            .filter(|rest| rest.len() >= RECORD_HEADER)?;
        let length = stated_len(rest).filter(|&length| length <= rest.len())?;
        let at = self.at;
        self.at += length;
        Some((at, length))
    }
}

/// Where a stream stands for its writer: what the next batch follows on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Where the last batch ended.
    pub position: Position,
    /// Running checksum up to there.
    pub running: u64,
}

/// A batch in the making: the engine's tail buffer.
#[derive(Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    bytes: Vec<u8>,
}

impl BatchBuilder {
    /// Begins a batch of `stream` at `base`, following on `before`, in `epoch`.
    #[must_use]
    pub fn new(stream: Stream, base: Position, before: End, epoch: Epoch, capacity: usize) -> Self {
        let buffer = Vec::with_capacity(capacity.max(BATCH_HEADER));
        Self::reusing(buffer, stream, base, before, epoch)
    }

    /// As [`BatchBuilder::new`], in a buffer that another batch was built in.
    #[must_use]
    pub fn reusing(
        mut bytes: Vec<u8>,
        stream: Stream,
        base: Position,
        before: End,
        epoch: Epoch,
    ) -> Self {
        bytes.clear();
        bytes.resize(BATCH_HEADER, 0);
        let header = BatchHeader {
            stream,
            base,
            end: base,
            before_end: before.position,
            before_running: before.running,
            epoch,
            records: 0,
            proven: None,
            marker: None,
            clean: false,
        };
        Self { header, bytes }
    }

    /// Where the batch begins.
    #[must_use]
    pub fn base(&self) -> Position {
        self.header.base
    }

    /// Where the next record would lie, and where the batch would end if none came.
    #[must_use]
    pub fn end(&self) -> Position {
        self.header.base.plus_bytes(self.bytes.len() as u64)
    }

    /// Bytes so far, frame slot and header included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.records == 0
    }

    /// The OID that the next record will get.
    pub fn next_oid(&self) -> Result<Oid> {
        Oid::new(self.header.stream, self.end()).ok_or_else(|| {
            Error::full(format!(
                "stream {} has no positions left",
                self.header.stream
            ))
        })
    }

    /// Appends a record whose limits were checked, and returns the reference to it.
    pub fn push(&mut self, record: &NewRecord<'_>) -> Result<Reference> {
        let oid = self.place(record.encoded_len())?;
        self.header.records += 1;
        Ok(record.encode(oid, self.header.epoch.number, &mut self.bytes))
    }

    /// As [`BatchBuilder::push`], for a body that goes a way. Where that fails, nothing was appended.
    pub fn push_through(&mut self, record: &NewRecord<'_>, way: &Way<'_>) -> Result<Reference> {
        let oid = self.place(record.stored_len(way))?;
        let reference = record.encode_through(oid, self.header.epoch, way, &mut self.bytes)?;
        self.header.records += 1;
        Ok(reference)
    }

    /// Where a record of so many bytes would lie, if there is room for it.
    fn place(&self, length: usize) -> Result<Oid> {
        let length = self.bytes.len() + length;
        if length > BATCH_MAX {
            return Err(Error::invalid(format!(
                "a batch of {length} bytes is over {BATCH_MAX}"
            )));
        }
        self.next_oid()
    }

    /// The record at `oid`, if it lies in this batch.
    pub fn read(&self, oid: Oid) -> Result<Option<Record>> {
        let position = oid.position();
        let first = self.header.base.plus_bytes(BATCH_HEADER as u64);
        if oid.stream() != self.header.stream || position < first || position >= self.end() {
            return Ok(None);
        }
        let rest = &self.bytes[position.bytes_since(self.header.base) as usize..];
        let length = stated_len(rest)
            .filter(|&length| length <= rest.len())
            .ok_or_else(|| Error::corrupt(format!("no record begins at {oid}")))?;
        Record::decode(oid, Bytes::copy_from_slice(&rest[..length])).map(Some)
    }

    /// Notes that the last pushed record is a root marker.
    pub fn note_marker(&mut self, oid: Oid) {
        self.header.marker = Some(oid);
    }

    /// Closes the batch, naming the newest proven commit; `clean` says that the writer goes away.
    #[must_use]
    pub fn finish(mut self, proven: Option<Proven>, clean: bool) -> Batch {
        self.header.end = self.end();
        self.header.proven = proven;
        self.header.clean = clean;
        self.header.encode(&mut self.bytes[..BATCH_HEADER]);
        Batch {
            header: self.header,
            bytes: Bytes::from(self.bytes),
            running: OnceLock::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Kind;
    use super::*;

    fn sample() -> Batch {
        let before = End {
            position: Position(500),
            running: 7,
        };
        let epoch = Epoch {
            number: 2,
            tag: 0x1122_3344_5566_7788,
        };
        let mut builder = BatchBuilder::new(Stream(0), Position(512), before, epoch, 0);
        for body in [b"one".as_slice(), b"", b"a longer body than eight bytes"] {
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[body],
            };
            builder.push(&record).unwrap();
        }
        let proven = Oid::new(Stream(0), Position(96)).unwrap();
        builder.finish(
            Some(Proven {
                sequence: 4,
                epoch: 1,
                oid: proven,
            }),
            false,
        )
    }

    #[test]
    fn a_batch_reads_back_record_by_record() {
        let batch = Batch::decode(sample().bytes().clone()).unwrap();
        assert_eq!(batch, sample());
        let bodies: Vec<_> = batch
            .records()
            .map(|(_, record)| record.body().to_vec())
            .collect();
        assert_eq!(bodies[2], b"a longer body than eight bytes");
        for (oid, record) in batch.records() {
            assert_eq!(batch.read(oid).unwrap(), Some(record));
        }
        assert_eq!(batch.header().records, 3);
    }

    #[test]
    fn a_batch_header_has_these_golden_bytes() {
        let hex: String = sample().bytes()[40..128]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            hex,
            "54564231a1225307000000000300000000020000000000001b02000000000000\
             f401000000000000070000000000000088776655443322110200000001000000\
             040000000000000060000000000000000000000000000000"
        );
    }

    #[test]
    fn any_flipped_bit_changes_header_or_running_checksum() {
        let batch = sample();
        for bit in FRAME_SLOT * 8..batch.bytes().len() * 8 {
            let mut bytes = batch.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let caught = match Batch::decode(bytes.into()) {
                Err(_) => true,
                Ok(bad) => bad.running() != batch.running(),
            };
            assert!(caught, "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = sample().bytes().clone();
        for length in 0..bytes.len() {
            assert!(Batch::decode(bytes.slice(..length)).is_err());
        }
    }
}
