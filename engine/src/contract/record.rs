//! Records and references: what lies at an OID.
//!
//! ```text
//!  0        4      6      8        12       16                 16+16n            +body   8-aligned
//!  | length | kind | refs | epoch  | check  | n references …   | body …          | zeros |
//!    u32      u16    u16    u32      u32      oid u64, length u32, check u32
//! ```
//!
//! All numbers are little-endian. `length` is the body's, in its low 25 bits; the six bits above say
//! which codecs the body went through (see [`codec`](super::codec)), and the highest is zero. `check`
//! is a CRC32 over the OID, the first twelve bytes, the references and the body, so a record read at a
//! wrong place never passes for another.
//! Invariant: a body names its children by index into the table, never by an OID in its bytes.

use std::fmt;

use bytes::{Buf, Bytes};

use super::codec::{SEAL_ROOM_MAX, Way};
use super::error::{Error, Result};
use super::level::Epoch;
use super::limits::{RECORD_BODY_MAX, REFERENCES_MAX};
use super::oid::{Oid, UNIT};

/// Bytes of a record before its references.
pub const RECORD_HEADER: usize = 16;
/// Bytes of one reference.
pub const REFERENCE: usize = 16;

const LENGTH_BITS: u32 = 25;
const LENGTH_MASK: u32 = (1 << LENGTH_BITS) - 1;
/// In memory only: the body is the one that was given, and the stored length stands at the end.
const DECODED: u32 = 1 << 31;
/// Bytes behind a decoded record: its stored length, and zeros.
const DECODED_END: usize = 8;
const WEAK: u32 = 1 << 31;
const LEAF: u32 = 1 << 30;

/// What a record is, so that a reader who knows the kind can make sense of the body. Floors pass
/// kinds they do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(pub u16);

impl Kind {
    /// A root marker, made by the engine only.
    pub const MARKER: Self = Self(1);
    /// A directory of names, made by the engine only.
    pub const DIRECTORY: Self = Self(2);
    /// A piece of a value too large for one record.
    pub const CHUNK: Self = Self(3);
    /// An inner node of a tree of chunks.
    pub const CHUNK_INDEX: Self = Self(4);
    /// Bytes stored as they are, by the raw verbs.
    pub const BLOB: Self = Self(5);
    /// A tag: a commit that somebody gave a name, made by the engine only.
    pub const TAG: Self = Self(6);
    /// What a reclaim decided, made by the engine only.
    pub const RECLAIM: Self = Self(7);
    /// The first kind that interfaces outside this workspace may use.
    pub const FIRST_FREE: Self = Self(1024);
}

/// A visible edge from one record to another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Where the target lies.
    pub oid: Oid,
    /// How many bytes the target takes, header to padding.
    pub length: u32,
    /// The target's own check, so that a wrong target is caught at the edge.
    pub check: u32,
    /// Reclaim does not follow it; *absent* is a legal answer.
    pub weak: bool,
    /// The target has no references, so a mark need not read it.
    pub leaf: bool,
}

impl Reference {
    /// The same edge, weak.
    #[must_use]
    pub fn weakened(self) -> Self {
        Self { weak: true, ..self }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let flags = if self.weak { WEAK } else { 0 } | if self.leaf { LEAF } else { 0 };
        let mut bytes = [0; REFERENCE];
        bytes[..8].copy_from_slice(&self.oid.raw().to_le_bytes());
        bytes[8..12].copy_from_slice(&(self.length | flags).to_le_bytes());
        bytes[12..].copy_from_slice(&self.check.to_le_bytes());
        out.extend_from_slice(&bytes);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let oid = Oid::from_raw(u64_at(bytes, 0))?;
        let length = u32_at(bytes, 8);
        Some(Self {
            oid,
            length: length & !(WEAK | LEAF),
            check: u32_at(bytes, 12),
            weak: length & WEAK != 0,
            leaf: length & LEAF != 0,
        })
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.oid, self.length)?;
        if self.weak {
            f.write_str(" weak")?;
        }
        if self.leaf {
            f.write_str(" leaf")?;
        }
        Ok(())
    }
}

/// A record on its way in: borrowed parts that the engine encodes into its tail buffer.
#[derive(Debug, Clone, Copy)]
pub struct NewRecord<'a> {
    /// What it is.
    pub kind: Kind,
    /// The records it names.
    pub references: &'a [Reference],
    /// Its bytes, given in pieces so that a caller need not join them.
    pub body: &'a [&'a [u8]],
}

impl NewRecord<'_> {
    /// Bytes of the body.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body.iter().map(|part| part.len()).sum()
    }

    /// Bytes that the encoded record takes, padding included.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        encoded_len(self.references.len(), self.body_len())
    }

    /// As [`NewRecord::encoded_len`], for a body that goes a way.
    #[must_use]
    pub fn stored_len(&self, way: &Way<'_>) -> usize {
        encoded_len(self.references.len(), self.body_len() + way.room())
    }

    /// Refuses what the format cannot hold.
    pub fn check_limits(&self) -> Result<()> {
        let body = self.body_len();
        if body > RECORD_BODY_MAX {
            return Err(Error::invalid(format!(
                "a record body of {body} bytes is over the limit of {RECORD_BODY_MAX}; \
                 store it as a tree of chunks"
            )));
        }
        let count = self.references.len();
        if count > REFERENCES_MAX {
            return Err(Error::invalid(format!(
                "{count} references are over the limit of {REFERENCES_MAX} for one record"
            )));
        }
        Ok(())
    }

    /// Appends the encoding to `out`, as the record at `oid` born in epoch number `epoch`, and
    /// returns the reference to it. The limits must have been checked.
    pub fn encode(&self, oid: Oid, epoch: u32, out: &mut Vec<u8>) -> Reference {
        let start = out.len();
        self.lay(epoch, 0, 0, out);
        self.finish(oid, start, out)
    }

    /// As [`NewRecord::encode`], for a body that goes a way.
    pub(super) fn encode_through(
        &self,
        oid: Oid,
        epoch: Epoch,
        way: &Way<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Reference> {
        let start = out.len();
        self.lay(epoch.number, way.bits(), way.room(), out);
        if let Some(sealer) = way.sealer {
            let head = RECORD_HEADER + self.references.len() * REFERENCE;
            let (head, body) = out[start..].split_at_mut(head);
            if let Err(error) = sealer.seal(oid, epoch, head, body) {
                out.truncate(start);
                return Err(error);
            }
        }
        Ok(self.finish(oid, start, out))
    }

    /// Appends everything but the check and the padding, with `room` zeros behind the body.
    fn lay(&self, epoch: u32, codecs: u8, room: usize, out: &mut Vec<u8>) {
        let body = self.body_len() + room;
        let word = body as u32 | (u32::from(codecs) << LENGTH_BITS);
        let mut head = [0; RECORD_HEADER];
        head[..4].copy_from_slice(&word.to_le_bytes());
        head[4..6].copy_from_slice(&self.kind.0.to_le_bytes());
        head[6..8].copy_from_slice(&(self.references.len() as u16).to_le_bytes());
        head[8..12].copy_from_slice(&epoch.to_le_bytes());
        out.reserve(encoded_len(self.references.len(), body));
        out.extend_from_slice(&head);
        for reference in self.references {
            reference.encode(out);
        }
        for part in self.body {
            out.extend_from_slice(part);
        }
        if room > 0 {
            out.resize(out.len() + room, 0);
        }
    }

    /// Adds the check and the padding to what was laid from `start` on.
    fn finish(&self, oid: Oid, start: usize, out: &mut Vec<u8>) -> Reference {
        let check = match start.checked_sub(4) {
            Some(before) => check_in_place(oid, out, before),
            None => check_of(oid, &out[start..]),
        };
        out[start + 12..start + 16].copy_from_slice(&check.to_le_bytes());
        let length = (out.len() - start).next_multiple_of(UNIT as usize);
        out.resize(start + length, 0);
        Reference {
            oid,
            length: length as u32,
            check,
            weak: false,
            leaf: self.references.is_empty(),
        }
    }
}

#[inline]
fn encoded_len(references: usize, body: usize) -> usize {
    (RECORD_HEADER + references * REFERENCE + body).next_multiple_of(UNIT as usize)
}

/// As [`check_of`], for a record that begins four bytes after `before`. What the check covers is laid
/// out in one piece for a moment, over those four bytes and the place of the check: one pass over a
/// small record takes half as long as two.
fn check_in_place(oid: Oid, out: &mut [u8], before: usize) -> u32 {
    if planted!(CheckWithoutHeader) {
        return check_of(oid, &out[before + 4..]);
    }
    let Some(kept) = out[before..].first_chunk::<20>().copied() else {
        return check_of(oid, &out[before + 4..]);
    };
    out[before..before + 8].copy_from_slice(&oid.raw().to_le_bytes());
    out[before + 8..before + 20].copy_from_slice(&kept[4..16]);
    let check = crc32fast::hash(&out[before..]);
    out[before..before + 20].copy_from_slice(&kept);
    check
}

fn check_of(oid: Oid, unpadded: &[u8]) -> u32 {
    let mut head = [0; 20];
    head[..8].copy_from_slice(&oid.raw().to_le_bytes());
    head[8..].copy_from_slice(&unpadded[..12]);
    if planted!(CheckWithoutHeader) {
        head.fill(0);
    }
    let rest = &unpadded[RECORD_HEADER..];
    let mut whole = [0; 256];
    if let Some(whole) = whole.get_mut(..20 + rest.len()) {
        // One pass over a small record takes half as long as two.
        whole[..20].copy_from_slice(&head);
        whole[20..].copy_from_slice(rest);
        return crc32fast::hash(whole);
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    hasher.update(rest);
    hasher.finalize()
}

/// How many bytes the record at the start of `bytes` takes, if they hold it whole.
#[inline]
fn bounded_len(oid: Oid, bytes: &[u8]) -> Result<usize> {
    let bad = |what: &str| Error::corrupt(format!("{what} at {oid}"));
    if bytes.len() < RECORD_HEADER {
        return Err(bad("no room for a record header"));
    }
    let length = stated_len(bytes).ok_or_else(|| bad("a record states an absurd length"))?;
    if bytes.len() < length {
        return Err(bad("a record reaches past the bytes that hold it"));
    }
    Ok(length)
}

/// Compares the check that the record at the start of `bytes` states with that of what is there. They
/// must hold it whole.
fn verify(oid: Oid, bytes: &[u8]) -> Result<()> {
    let (found, stated) = (
        check_of(oid, &bytes[..unpadded_len(bytes)]),
        u32_at(bytes, 12),
    );
    if found != stated {
        return Err(Error::corrupt(format!(
            "the record at {oid} has checksum {found:08x}, its header says {stated:08x}"
        )));
    }
    Ok(())
}

#[inline]
fn unpadded_len(bytes: &[u8]) -> usize {
    let body = (u32_at(bytes, 0) & LENGTH_MASK) as usize;
    RECORD_HEADER + u16_at(bytes, 6) as usize * REFERENCE + body
}

/// How many bytes the record whose header these are takes. Needs [`RECORD_HEADER`] bytes; `None` if
/// they state a body over the limit, or are not those of a stored record.
#[must_use]
#[inline]
pub fn stated_len(header: &[u8]) -> Option<usize> {
    let word = u32_at(header, 0);
    let body = (word & LENGTH_MASK) as usize;
    let references = u16_at(header, 6) as usize;
    // Sealing makes the longest body longer.
    let most = RECORD_BODY_MAX
        + if word >> LENGTH_BITS == 0 {
            0
        } else {
            SEAL_ROOM_MAX
        };
    (body <= most && word & DECODED == 0).then(|| encoded_len(references, body))
}

/// One immutable object: a view of checked bytes that clones cheaply. Floors answer it as it lies on the
/// medium; the engine answers it with the body that was stored, whatever codecs that went through.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    bytes: Bytes,
}

impl Record {
    /// Takes the record at the start of `bytes`, checking everything it states about itself.
    ///
    /// Errors are [`Corrupt`](super::ErrorKind::Corrupt): the bytes are not the record of `oid`.
    pub fn decode(oid: Oid, bytes: Bytes) -> Result<Self> {
        let length = bounded_len(oid, &bytes)?;
        verify(oid, &bytes)?;
        Ok(Self::cut(bytes, length))
    }

    /// As [`Record::decode`], for the record that begins at byte `at` of shared bytes. Sharing comes
    /// last: it waits for every load before it, and a cold record is several that can run at once.
    #[inline]
    pub(crate) fn decode_at(oid: Oid, bytes: &Bytes, at: usize) -> Result<Self> {
        let rest = bytes.get(at..).unwrap_or_default();
        let length = bounded_len(oid, rest)?;
        verify(oid, rest)?;
        Ok(Self {
            bytes: bytes.slice(at..at + length),
        })
    }

    /// As [`Record::decode`], for bytes whose check was verified before: only bounds are looked at.
    #[inline]
    pub fn decode_unverified(oid: Oid, bytes: Bytes) -> Result<Self> {
        let length = bounded_len(oid, &bytes)?;
        Ok(Self::cut(bytes, length))
    }

    /// The record that these bytes are, no more and no less: the caller has looked.
    #[inline]
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { bytes }
    }

    #[inline]
    fn cut(bytes: Bytes, length: usize) -> Self {
        Self {
            bytes: if bytes.len() == length {
                bytes
            } else {
                bytes.slice(..length)
            },
        }
    }

    /// Computes the check anew. It is of the stored bytes: a body that an engine decoded has them no
    /// more, and was verified on its way.
    pub fn verify(&self, oid: Oid) -> Result<()> {
        if self.is_decoded() {
            return Ok(());
        }
        verify(oid, &self.bytes)
    }

    /// What it is.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> Kind {
        Kind(u16_at(&self.bytes, 4))
    }

    /// The number of the epoch it was born in.
    #[must_use]
    #[inline]
    pub fn epoch(&self) -> u32 {
        u32_at(&self.bytes, 8)
    }

    /// Its checksum.
    #[must_use]
    #[inline]
    pub fn check(&self) -> u32 {
        u32_at(&self.bytes, 12)
    }

    /// Bits that say which codecs the stored body went through; zero for none.
    #[must_use]
    #[inline]
    pub fn codecs(&self) -> u8 {
        ((u32_at(&self.bytes, 0) & !DECODED) >> LENGTH_BITS) as u8
    }

    /// Bytes that it takes on the medium, header to padding: what references to it say.
    #[must_use]
    #[inline]
    pub fn stored_len(&self) -> usize {
        if self.is_decoded() {
            u32_at(&self.bytes, self.bytes.len() - DECODED_END) as usize
        } else {
            self.bytes.len()
        }
    }

    /// Whether its body is no longer as it was stored.
    #[inline]
    pub(super) fn is_decoded(&self) -> bool {
        u32_at(&self.bytes, 0) & DECODED != 0
    }

    /// How long a decoded record is whose body begins at `head`.
    pub(super) fn decoded_len(head: usize, body: usize) -> usize {
        (head + body).next_multiple_of(UNIT as usize) + DECODED_END
    }

    /// Takes the check out of a header.
    pub(super) fn forget_check(head: &mut [u8]) {
        head[12..16].fill(0);
    }

    /// This record with another body: `bytes` are a header, its references, and that body.
    pub(super) fn decoded_as(&self, mut bytes: Vec<u8>, body: usize) -> Self {
        let word = DECODED | (u32::from(self.codecs()) << LENGTH_BITS) | body as u32;
        bytes[..4].copy_from_slice(&word.to_le_bytes());
        bytes[4..16].copy_from_slice(&self.bytes[4..16]);
        bytes.resize(bytes.len().next_multiple_of(UNIT as usize), 0);
        bytes.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; DECODED_END - 4]);
        Self {
            bytes: bytes.into(),
        }
    }

    /// Header, references and body.
    pub(super) fn unpadded(&self) -> &[u8] {
        &self.bytes[..self.unpadded_len()]
    }

    /// How many references it has.
    #[must_use]
    #[inline]
    pub fn reference_count(&self) -> usize {
        u16_at(&self.bytes, 6) as usize
    }

    /// The reference with this index, `None` past the end of the table or if it names no OID.
    #[must_use]
    #[inline]
    pub fn reference(&self, index: usize) -> Option<Reference> {
        if index >= self.reference_count() {
            return None;
        }
        let start = RECORD_HEADER + index * REFERENCE;
        Reference::decode(&self.bytes[start..start + REFERENCE])
    }

    /// All references, in table order.
    pub fn references(&self) -> impl Iterator<Item = Reference> + '_ {
        (0..self.reference_count()).filter_map(|index| self.reference(index))
    }

    /// The body.
    #[must_use]
    #[inline]
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body_start()..self.unpadded_len()]
    }

    /// The body, shared.
    #[must_use]
    #[inline]
    pub fn body_bytes(&self) -> Bytes {
        self.bytes.slice(self.body_start()..self.unpadded_len())
    }

    /// A part of the body, in the share that this record has in its bytes: for many threads that read
    /// the same bytes, counting a share more is what they would wait for.
    ///
    /// # Panics
    ///
    /// If the range does not lie in the body.
    #[must_use]
    #[inline]
    pub fn into_body_part(self, range: std::ops::Range<usize>) -> Bytes {
        let (start, end) = (self.body_start(), self.unpadded_len());
        assert!(range.start <= range.end && range.end <= end - start);
        let mut bytes = self.bytes;
        bytes.truncate(start + range.end);
        bytes.advance(start + range.start);
        bytes
    }

    /// The bytes that it is here, padding included: those on the medium, unless an engine decoded it.
    #[must_use]
    #[inline]
    pub fn encoded(&self) -> &Bytes {
        &self.bytes
    }

    /// A strong reference to this record, which lies at `oid`.
    #[must_use]
    pub fn reference_to(&self, oid: Oid) -> Reference {
        Reference {
            oid,
            length: self.stored_len() as u32,
            check: self.check(),
            weak: false,
            leaf: self.reference_count() == 0,
        }
    }

    /// The same record in bytes of its own. What is read is often a slice of a whole batch or of a
    /// map, and keeps all of it: who keeps a record for long keeps this.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(&self.bytes),
        }
    }

    #[inline]
    fn body_start(&self) -> usize {
        RECORD_HEADER + self.reference_count() * REFERENCE
    }

    #[inline]
    fn unpadded_len(&self) -> usize {
        unpadded_len(&self.bytes)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind().0)
            .field("references", &self.reference_count())
            .field("body", &self.body().len())
            .finish()
    }
}

// Byte by byte they are one load, inlined or not; a copy into a word is a call where nothing is inlined
// across crates.
#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let word = &bytes[at..at + 2];
    u16::from_le_bytes([word[0], word[1]])
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = &bytes[at..at + 4];
    u32::from_le_bytes([word[0], word[1], word[2], word[3]])
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = &bytes[at..at + 8];
    u64::from_le_bytes([
        word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7],
    ])
}

#[cfg(test)]
mod tests {
    use super::super::oid::{Position, Stream};
    use super::*;

    fn sample() -> (Oid, Vec<u8>) {
        let oid = Oid::new(Stream(1), Position(16)).unwrap();
        let child = Reference {
            oid: Oid::new(Stream(0), Position(64)).unwrap(),
            length: 40,
            check: 0xAABB_CCDD,
            weak: true,
            leaf: true,
        };
        let mut out = Vec::new();
        NewRecord {
            kind: Kind::BLOB,
            references: &[child],
            body: &[b"hel", b"lo"],
        }
        .encode(oid, 3, &mut out);
        (oid, out)
    }

    #[test]
    fn a_record_has_these_golden_bytes() {
        let (_, bytes) = sample();
        let golden = "050000000500010003000000353d77be\
                      4000000000000000280000c0ddccbbaa68656c6c6f000000";
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
    }

    #[test]
    fn a_record_has_the_same_bytes_wherever_it_is_encoded() {
        let (oid, alone) = sample();
        let child = Record::decode(oid, alone.clone().into())
            .unwrap()
            .reference(0);
        for before in 0..9 {
            let mut out = vec![0xA5; before];
            let record = NewRecord {
                kind: Kind::BLOB,
                references: child.as_slice(),
                body: &[b"hello"],
            };
            let reference = record.encode(oid, 3, &mut out);
            assert_eq!(out[..before], vec![0xA5; before]);
            assert_eq!(out[before..], alone);
            assert_eq!(reference.length as usize, alone.len());
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let (oid, bytes) = sample();
        let record = Record::decode(oid, bytes.into()).unwrap();
        assert_eq!(record.body(), b"hello");
        assert_eq!(record.kind(), Kind::BLOB);
        assert_eq!(record.epoch(), 3);
        let child = record.reference(0).unwrap();
        assert!(child.weak && child.leaf && child.length == 40);
        assert!(record.reference(1).is_none());
    }

    #[test]
    fn any_flipped_bit_before_the_padding_is_caught() {
        let (oid, bytes) = sample();
        for bit in 0..(bytes.len() - 3) * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(oid, bad.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_read_at_a_wrong_place_is_caught() {
        let (oid, bytes) = sample();
        let other = Oid::from_raw(oid.raw() + 1).unwrap();
        assert!(Record::decode(other, bytes.into()).is_err());
    }

    #[test]
    fn every_truncation_is_an_error() {
        let (oid, bytes) = sample();
        for length in 0..bytes.len() {
            assert!(Record::decode(oid, bytes[..length].to_vec().into()).is_err());
        }
    }
}
