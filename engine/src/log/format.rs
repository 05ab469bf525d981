//! Bytes that a log puts round the engine's batches: its own local knowledge.
//!
//! ```text
//!  directory/  identity          who this is: store, medium, stream; written once
//!              writer            newest epoch, ceiling, cut, the stack that wrote; replaced whole
//!              seg-00000000ab00  header (4,096 bytes), then batches; the name is the base position
//!              rec-00000000ab00-00000000cd00   what a reclaim left of the segments in between
//!              spare             claimed room for the next segment; no content
//!              reserve           claimed room for a recovery on a full medium; no content
//!              lock              the one writer's
//!
//!  segment     | header 4096 | batch | batch | … zeros or nothing
//!  batch       | frame 40 | shared header 88 | records …
//!
//!  frame:  0 magic "TVF1"   4 crc32 of medium identity, base and bytes 8..40   8 durable upto
//!         16 ceiling       24 running checksum after the batch   32 length u32   36 zeros
//! ```
//!
//! No OID lies in these, and no shared checksum covers them. Invariant: `durable upto` is where a
//! sync that had ended *before* the frame was built had reached; damage below it is damage, never a
//! torn tail.

use crate::contract::batch::{BATCH_HEADER, FRAME_SLOT};
use crate::contract::record::{RECORD_HEADER, u32_at, u64_at};
use crate::contract::{End, Epoch, Error, Oid, Position, Result, Stream};

/// Bytes in front of the first position of a segment.
pub const SEGMENT_HEADER: u64 = 4096;
/// Version of every format in this file and of batches and records.
pub const FORMAT: u32 = 1;

const FRAME_MAGIC: &[u8; 4] = b"TVF1";
const IDENTITY_MAGIC: &[u8; 8] = b"TRAVLOG\0";
const WRITER_MAGIC: &[u8; 8] = b"TRAVWRT\0";
const SEGMENT_MAGIC: &[u8; 8] = b"TRAVSEG\0";
const SPARSE_MAGIC: &[u8; 8] = b"TRAVREC\0";
const IDENTITY: usize = 56;
const SEGMENT_FIELDS: usize = 128;
/// Bytes that are used of the header of a sparse segment.
pub(super) const SPARSE_FIELDS: usize = 160;
const WRITER_FIELDS: usize = 56;
/// No sparse segment holds more bytes of records: the records of a longest segment, many times over.
const SPARSE_MAX: u64 = 1 << 40;
/// Longest description of a stack that is kept.
const FINGERPRINT_MAX: usize = 16 << 10;

/// Who a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Of the whole store; the same on every medium of it.
    pub store: [u8; 16],
    /// Of this medium alone.
    pub medium: [u8; 16],
    /// The stream that lies here.
    pub stream: Stream,
}

impl Identity {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; IDENTITY];
        out[16..32].copy_from_slice(&self.store);
        out[32..48].copy_from_slice(&self.medium);
        out[48..50].copy_from_slice(&self.stream.0.to_le_bytes());
        seal(out, IDENTITY_MAGIC)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let bytes = opened(bytes, IDENTITY_MAGIC, IDENTITY, "identity")?;
        Ok(Self {
            store: array(bytes, 16),
            medium: array(bytes, 32),
            stream: Stream(u64_at(bytes, 48) as u16),
        })
    }
}

/// What the newest writer left for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Writer {
    /// Senders of an older epoch are refused.
    pub epoch: Epoch,
    /// Positions below it may have been handed out.
    pub ceiling: Position,
    /// Where the epochs before this one ended, once that was decided.
    pub cut: Option<Position>,
    /// Where the log was closed cleanly: said once the batch that ends here was synced, so it is
    /// true whatever became of this file itself.
    pub clean: Option<Position>,
    /// The stack that wrote, in its own words.
    pub fingerprint: String,
}

impl Writer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; WRITER_FIELDS];
        out[16..24].copy_from_slice(&self.epoch.tag.to_le_bytes());
        out[24..28].copy_from_slice(&self.epoch.number.to_le_bytes());
        let mut text = self.fingerprint.as_str();
        while text.len() > FINGERPRINT_MAX {
            text = &text[..text.floor_char_boundary(FINGERPRINT_MAX)];
        }
        out[28..32].copy_from_slice(&(text.len() as u32).to_le_bytes());
        out[32..40].copy_from_slice(&self.ceiling.0.to_le_bytes());
        for (at, position) in [(40, self.cut), (48, self.clean)] {
            let position = position.map_or(u64::MAX, |position| position.0);
            out[at..at + 8].copy_from_slice(&position.to_le_bytes());
        }
        out.extend_from_slice(text.as_bytes());
        seal(out, WRITER_MAGIC)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::corrupt("the writer file is damaged");
        if bytes.len() < WRITER_FIELDS {
            return Err(damaged());
        }
        let length = u32_at(bytes, 28) as usize;
        if length > FINGERPRINT_MAX {
            return Err(damaged());
        }
        let bytes = opened(bytes, WRITER_MAGIC, WRITER_FIELDS + length, "writer file")?;
        let optional = |at| match u64_at(bytes, at) {
            u64::MAX => Ok(None),
            position if position > Position::LIMIT.0 => Err(damaged()),
            position => Ok(Some(Position(position))),
        };
        let ceiling = u64_at(bytes, 32);
        if ceiling > Position::LIMIT.0 {
            return Err(damaged());
        }
        Ok(Self {
            epoch: Epoch {
                tag: u64_at(bytes, 16),
                number: u32_at(bytes, 24),
            },
            ceiling: Position(ceiling),
            cut: optional(40)?,
            clean: optional(48)?,
            fingerprint: String::from_utf8(bytes[WRITER_FIELDS..].to_vec())
                .map_err(|_| damaged())?,
        })
    }
}

/// What stands in front of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Where its first batch begins.
    pub base: Position,
    /// Where the batch before ended, in the segment before.
    pub before: End,
    /// The epoch that began the segment.
    pub epoch: Epoch,
    /// Announced when the segment began.
    pub ceiling: Position,
    /// Known durable when the segment began.
    pub durable: Position,
    /// The newest root marker before the segment: recovery begins here and must not forget it.
    pub newest: Option<Oid>,
}

impl SegmentHeader {
    pub(super) fn encode(&self, identity: &Identity) -> Vec<u8> {
        let out = self.lay(identity, SEGMENT_FIELDS);
        let mut out = seal(out, SEGMENT_MAGIC);
        out.resize(SEGMENT_HEADER as usize, 0);
        out
    }

    fn lay(&self, identity: &Identity, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        out[16..32].copy_from_slice(&identity.medium);
        let words = [
            self.base.0,
            self.before.position.0,
            self.before.running,
            self.epoch.tag,
            u64::from(self.epoch.number),
            self.ceiling.0,
            self.durable.0,
            u64::from(identity.stream.0),
            self.newest.map_or(0, Oid::raw),
        ];
        for (index, word) in words.into_iter().enumerate() {
            out[32 + index * 8..40 + index * 8].copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8], identity: &Identity) -> Result<Self> {
        let bytes = bytes.get(..SEGMENT_FIELDS).unwrap_or(bytes);
        let bytes = opened(bytes, SEGMENT_MAGIC, SEGMENT_FIELDS, "segment header")?;
        Self::read(bytes, identity)
    }

    fn read(bytes: &[u8], identity: &Identity) -> Result<Self> {
        if bytes[16..32] != identity.medium || u64_at(bytes, 88) != u64::from(identity.stream.0) {
            // A power cut may have left blocks of another file here, so this is no reason to give up.
            return Err(Error::corrupt("the segment belongs to another log"));
        }
        let header = Self {
            base: Position(u64_at(bytes, 32)),
            before: End {
                position: Position(u64_at(bytes, 40)),
                running: u64_at(bytes, 48),
            },
            epoch: Epoch {
                tag: u64_at(bytes, 56),
                number: u64_at(bytes, 64) as u32,
            },
            ceiling: Position(u64_at(bytes, 72)),
            durable: Position(u64_at(bytes, 80)),
            newest: Oid::from_raw(u64_at(bytes, 96)),
        };
        let positions = [
            header.base,
            header.before.position,
            header.ceiling,
            header.durable,
        ];
        if positions
            .into_iter()
            .any(|position| position > Position::LIMIT)
        {
            return Err(Error::corrupt(
                "the segment header states a position past the limit",
            ));
        }
        Ok(header)
    }
}

/// What stands in front of a sparse segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SparseHeader {
    /// As the first segment said it whose place it took; all that it speaks for is durable.
    pub(super) common: SegmentHeader,
    /// How the stream stood where the run ends.
    pub(super) end: End,
    /// The newest root marker there was at that end, freed or not.
    pub(super) marker: Option<Oid>,
    /// How many records stay.
    pub(super) records: u64,
    /// Where in the file the index begins, and the records end.
    pub(super) index: u64,
    /// Checksum of the first positions of the index's blocks.
    pub(super) firsts: u32,
}

impl SparseHeader {
    pub(super) fn encode(&self, identity: &Identity) -> Vec<u8> {
        let mut out = self.common.lay(identity, SPARSE_FIELDS);
        let words = [
            self.end.position.0,
            self.end.running,
            self.marker.map_or(0, Oid::raw),
            self.records,
            self.index,
            u64::from(self.firsts),
        ];
        for (index, word) in words.into_iter().enumerate() {
            out[104 + index * 8..112 + index * 8].copy_from_slice(&word.to_le_bytes());
        }
        let mut out = seal(out, SPARSE_MAGIC);
        out.resize(SEGMENT_HEADER as usize, 0);
        out
    }

    pub(super) fn decode(bytes: &[u8], identity: &Identity) -> Result<Self> {
        let bytes = bytes.get(..SPARSE_FIELDS).unwrap_or(bytes);
        let bytes = opened(bytes, SPARSE_MAGIC, SPARSE_FIELDS, "sparse segment header")?;
        let header = Self {
            common: SegmentHeader::read(bytes, identity)?,
            end: End {
                position: Position(u64_at(bytes, 104)),
                running: u64_at(bytes, 112),
            },
            marker: Oid::from_raw(u64_at(bytes, 120)),
            records: u64_at(bytes, 128),
            index: u64_at(bytes, 136),
            firsts: u64_at(bytes, 144) as u32,
        };
        let room = header.index.checked_sub(SEGMENT_HEADER);
        let sane = header.common.base < header.end.position
            && header.end.position <= Position::LIMIT
            && header.index.is_multiple_of(8)
            && header.index <= SPARSE_MAX
            && room.is_some_and(|room| header.records <= room / RECORD_HEADER as u64);
        if sane {
            return Ok(header);
        }
        Err(Error::corrupt(
            "the header of a sparse segment contradicts itself",
        ))
    }
}

/// A log's own words about one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Where an earlier sync had reached.
    pub durable: Position,
    /// Positions below it may be handed out, once this frame is durable.
    pub ceiling: Position,
    /// Running checksum after the batch.
    pub running: u64,
    /// Bytes of the batch.
    pub length: u32,
}

impl Frame {
    pub(super) fn encode(&self, identity: &Identity, base: Position) -> [u8; FRAME_SLOT] {
        let mut out = [0; FRAME_SLOT];
        out[..4].copy_from_slice(FRAME_MAGIC);
        out[8..16].copy_from_slice(&self.durable.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.ceiling.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.running.to_le_bytes());
        out[32..36].copy_from_slice(&self.length.to_le_bytes());
        let crc = frame_crc(identity, base, &out);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The frame of a batch that begins at `base`; `None` if these bytes are none, or one of another
    /// place or log.
    pub(super) fn decode(bytes: &[u8], identity: &Identity, base: Position) -> Option<Self> {
        let bytes = bytes.get(..FRAME_SLOT)?;
        if &bytes[..4] != FRAME_MAGIC || u32_at(bytes, 4) != frame_crc(identity, base, bytes) {
            return None;
        }
        let frame = Self {
            durable: Position(u64_at(bytes, 8)),
            ceiling: Position(u64_at(bytes, 16)),
            running: u64_at(bytes, 24),
            length: u32_at(bytes, 32),
        };
        let sane = frame.length as usize >= BATCH_HEADER
            && frame.durable <= Position::LIMIT
            && frame.ceiling <= Position::LIMIT;
        sane.then_some(frame)
    }

    pub(super) fn looks_like(bytes: &[u8]) -> bool {
        bytes.starts_with(FRAME_MAGIC)
    }
}

/// Seeded with the random identity of the medium and the place: neither a value that a user stored
/// nor a frame that landed elsewhere passes for a frame.
fn frame_crc(identity: &Identity, base: Position, frame: &[u8]) -> u32 {
    let mut bytes = [0; 56];
    bytes[..16].copy_from_slice(&identity.medium);
    bytes[16..24].copy_from_slice(&base.0.to_le_bytes());
    bytes[24..].copy_from_slice(&frame[8..FRAME_SLOT]);
    crc32fast::hash(&bytes)
}

/// Puts magic, version and checksum (of everything from byte 12 on) in front.
fn seal(mut out: Vec<u8>, magic: &[u8; 8]) -> Vec<u8> {
    out[..8].copy_from_slice(magic);
    out[12..16].copy_from_slice(&FORMAT.to_le_bytes());
    let crc = crc32fast::hash(&out[12..]);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    out
}

fn opened<'a>(bytes: &'a [u8], magic: &[u8; 8], length: usize, what: &str) -> Result<&'a [u8]> {
    if bytes.len() < length {
        return Err(Error::corrupt(format!(
            "the {what} is cut short: {} bytes",
            bytes.len()
        )));
    }
    let bytes = &bytes[..length];
    if &bytes[..8] != magic {
        return Err(Error::corrupt(format!("this is no {what}")));
    }
    if u32_at(bytes, 8) != crc32fast::hash(&bytes[12..]) {
        return Err(Error::corrupt(format!("the {what} fails its checksum")));
    }
    match u32_at(bytes, 12) {
        FORMAT => Ok(bytes),
        newer => Err(Error::invalid(format!(
            "the {what} has format {newer}, this program reads format {FORMAT}; use a newer one"
        ))),
    }
}

fn array(bytes: &[u8], at: usize) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&bytes[at..at + 16]);
    out
}

/// Name of the segment with this base.
pub(super) fn segment_name(base: Position) -> String {
    format!("seg-{:012x}", base.0)
}

/// Name of what a reclaim left of the segments from `base` on, up to `end`.
pub(super) fn sparse_name(base: Position, end: Position) -> String {
    format!("rec-{:012x}-{:012x}", base.0, end.0)
}

/// The base that a segment's name states, sparse or not; `None` for other names.
pub(super) fn segment_base(name: &str) -> Option<Position> {
    segment_run(name).map(|(base, _)| base)
}

/// The base that a segment's name states, and the end if it is a sparse one.
pub(super) fn segment_run(name: &str) -> Option<(Position, Option<Position>)> {
    if let Some(base) = name.strip_prefix("seg-") {
        return Some((position(base)?, None));
    }
    let (base, end) = name.strip_prefix("rec-")?.split_once('-')?;
    let (base, end) = (position(base)?, position(end)?);
    (base < end && end <= Position::LIMIT).then_some((base, Some(end)))
}

fn position(digits: &str) -> Option<Position> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 12 || !digits.bytes().all(lower) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().map(Position)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY_1: Identity = Identity {
        store: [1; 16],
        medium: [2; 16],
        stream: Stream(3),
    };

    #[test]
    fn identity_and_writer_read_back_and_notice_every_bit() {
        let writer = Writer {
            epoch: Epoch { number: 4, tag: 5 },
            ceiling: Position(6),
            cut: Some(Position(7)),
            clean: None,
            fingerprint: "file".into(),
        };
        let identity = IDENTITY_1.encode();
        assert_eq!(Identity::decode(&identity).unwrap(), IDENTITY_1);
        let bytes = writer.encode();
        assert_eq!(Writer::decode(&bytes).unwrap(), writer);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Writer::decode(&bad).is_err(), "bit {bit}");
        }
        for length in 0..identity.len() {
            assert!(Identity::decode(&identity[..length]).is_err());
        }
    }

    #[test]
    fn a_frame_counts_only_at_its_own_place_in_its_own_log() {
        let frame = Frame {
            durable: Position(1),
            ceiling: Position(2),
            running: 3,
            length: 200,
        };
        let bytes = frame.encode(&IDENTITY_1, Position(512));
        assert_eq!(
            Frame::decode(&bytes, &IDENTITY_1, Position(512)),
            Some(frame)
        );
        assert_eq!(Frame::decode(&bytes, &IDENTITY_1, Position(513)), None);
        let other = Identity {
            medium: [9; 16],
            ..IDENTITY_1
        };
        assert_eq!(Frame::decode(&bytes, &other, Position(512)), None);
    }

    #[test]
    fn a_newer_format_is_named_and_not_guessed_at() {
        let mut bytes = IDENTITY_1.encode();
        bytes[12] = 2;
        let crc = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        let error = Identity::decode(&bytes).unwrap_err();
        assert!(error.message().contains("format 2"), "{error}");
    }

    #[test]
    fn only_our_own_names_are_segments() {
        assert_eq!(
            segment_base(&segment_name(Position(0xab00))),
            Some(Position(0xab00))
        );
        assert_eq!(
            segment_run(&sparse_name(Position(0xab00), Position(0xcd00))),
            Some((Position(0xab00), Some(Position(0xcd00))))
        );
        for name in [
            "seg-",
            "rec-00000000ab00",
            "rec-00000000ab00-",
            "rec-00000000ab00-00000000ab00",
            "rec-00000000ab00-00000000cd0",
            "seg-00000000ab0",
            "seg-00000000AB00",
            "seg-+0000000ab00",
            "x",
        ] {
            assert_eq!(segment_base(name), None, "{name}");
        }
    }
}
