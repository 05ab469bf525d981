//! Codecs: what the body of a record goes through between the engine and the stack.
//!
//! ```text
//!   store   body ── pack ──> placed by its size ── seal, at its address ──> batch ──> floors
//!   read    body <─ unpack ──────────────────────── open <────────────────── record <── floors
//!
//!   packed body   [ length u32 | packed bytes ]
//!   sealed body   [ sealed bytes, as many as were sealed | the sealer's own ]
//! ```
//!
//! Floors that hold a codec pass every verb on and tell in their [`Status`](super::Status) what the
//! engine has to do; the engine does it. So what floors, scans and caches see are stored bytes, whose
//! check every floor can compute, under a header and references that stay readable: the structure of
//! what is stored, and the length of each record, are no secret. Root markers and directories of names
//! are the engine's own and go plain.
//!
//! Each record says in its header which codecs its body went through. So a stack reads what was stored
//! before it had a codec, or with another method; and who lacks a codec is told which layer is missing.
//!
//! Invariant: a body that was packed states its length first, at most [`RECORD_BODY_MAX`] and at most
//! [`RATIO_MAX`] times what is there. What states more is damage, told before anything is allocated.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::error::{Error, Result};
use super::level::Epoch;
use super::limits::RECORD_BODY_MAX;
use super::oid::Oid;
use super::record::{NewRecord, Record};

/// The bit of bodies that were packed by LZ4, in its block format.
pub const LZ4: u8 = 1;
/// The bit of bodies that were packed by Zstandard, as one frame.
pub const ZSTD: u8 = 1 << 1;
/// The bit of bodies that were sealed by AES-256 in Galois/counter mode.
pub const AES_256_GCM: u8 = 1 << 2;
/// The bits of codecs that pack.
const PACKS: u8 = LZ4 | ZSTD;
/// The bits of codecs that seal.
const SEALS: u8 = AES_256_GCM;

/// The names of codecs by their bits; what is not known is `unknown`.
#[must_use]
pub fn names(bits: u8) -> Vec<&'static str> {
    (0..8)
        .map(|bit| bits & (1 << bit))
        .filter(|bit| *bit != 0)
        .map(|bit| match bit {
            LZ4 => "lz4",
            ZSTD => "zstd",
            AES_256_GCM => "aes-256-gcm",
            _ => "unknown",
        })
        .collect()
}

/// A packed body stands for at most so many times its own length.
pub const RATIO_MAX: usize = 256;
/// Most bytes that a sealer may add to a body.
pub const SEAL_ROOM_MAX: usize = 64;
/// Bytes of the length in front of a packed body.
const STATED: usize = 4;

/// Makes bodies smaller. It need not know where a record will lie.
pub trait Packer: Send + Sync + fmt::Debug {
    /// The bits of what it can unpack.
    fn bits(&self) -> u8;

    /// The body, given in pieces, packed; with the bit that says how. `None`: not worth it.
    fn pack(&self, body: &[&[u8]]) -> Option<(u8, Vec<u8>)>;

    /// Unpacks what was packed under `bit` into exactly these bytes. Refuses, as
    /// [`Corrupt`](super::ErrorKind::Corrupt), what does not fill them or does not fit.
    fn unpack(&self, bit: u8, packed: &[u8], into: &mut [u8]) -> Result<()>;
}

/// Makes bodies unreadable to whoever lacks a key, and tells when one was changed.
pub trait Sealer: Send + Sync + fmt::Debug {
    /// The bit of what it seals and opens.
    fn bit(&self) -> u8;

    /// How many bytes a sealed body is longer: at most [`SEAL_ROOM_MAX`].
    fn room(&self) -> usize;

    /// Seals `body` in place; its last [`Sealer::room`] bytes are the sealer's own. `head` is to be
    /// vouched for as well: the header of the record, its check taken for zero, and its references.
    ///
    /// The engine never seals two bodies at one address in one epoch.
    fn seal(&self, oid: Oid, epoch: Epoch, head: &[u8], body: &mut [u8]) -> Result<()>;

    /// Opens in place what was sealed at this address in the epoch of this number.
    ///
    /// Errors: `Invalid` (sealed with a key that is not there: says which), `Corrupt` (changed since
    /// it was sealed).
    fn open(&self, oid: Oid, epoch: u32, head: &[u8], body: &mut [u8]) -> Result<()>;
}

/// What bodies go through on a stack: nothing, unless a floor says otherwise. Serialised as names.
#[derive(Debug, Clone, Default)]
pub struct Codecs {
    packer: Option<Arc<dyn Packer>>,
    sealer: Option<Arc<dyn Sealer>>,
}

/// How the body of a record that is being stored goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way<'a> {
    /// The bit of the codec that packed it; zero: it was not.
    pub packed: u8,
    /// Who seals it.
    pub sealer: Option<&'a dyn Sealer>,
}

impl Way<'_> {
    /// Bytes that the stored body is longer than the one given.
    pub(super) fn room(&self) -> usize {
        self.sealer.map_or(0, Sealer::room)
    }

    /// The bits of the stored record.
    pub(super) fn bits(&self) -> u8 {
        self.packed | self.sealer.map_or(0, Sealer::bit)
    }
}

/// A body that was packed.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) bit: u8,
    stated: [u8; STATED],
    bytes: Vec<u8>,
}

impl Packed {
    /// The stored body, in pieces.
    pub(crate) fn body(&self) -> [&[u8]; 2] {
        [&self.stated, &self.bytes]
    }
}

impl Codecs {
    /// The same, and bodies are packed by `packer`.
    #[must_use]
    pub fn packing(self, packer: Arc<dyn Packer>) -> Self {
        Self {
            packer: Some(packer),
            ..self
        }
    }

    /// The same, and bodies are sealed by `sealer`.
    #[must_use]
    pub fn sealing(self, sealer: Arc<dyn Sealer>) -> Self {
        Self {
            sealer: Some(sealer),
            ..self
        }
    }

    /// Whether bodies are stored as they are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packer.is_none() && self.sealer.is_none()
    }

    /// The body of a record packed, if that makes the record smaller.
    pub(crate) fn pack(&self, record: &NewRecord<'_>) -> Option<Packed> {
        let (bit, bytes) = self.packer.as_ref()?.pack(record.body)?;
        let packed = Packed {
            bit,
            stated: (record.body_len() as u32).to_le_bytes(),
            bytes,
        };
        let smaller = NewRecord {
            body: &packed.body(),
            ..*record
        };
        let smaller = smaller.encoded_len() < record.encoded_len();
        let fits = packed.bytes.len().saturating_mul(RATIO_MAX) >= record.body_len();
        (smaller && fits).then_some(packed)
    }

    /// The way of a body that was packed under this bit, or not at all.
    pub(crate) fn way(&self, packed: u8) -> Way<'_> {
        Way {
            packed,
            sealer: self.sealer.as_deref(),
        }
    }

    /// A record that the stack answered, with the body that was stored. What was never packed nor
    /// sealed is passed on as it is.
    ///
    /// Errors: `Invalid` (a layer or a key is missing), `Corrupt` (it is not what was stored),
    /// `Unsupported` (a codec that this version does not know).
    #[inline]
    pub fn decode(&self, oid: Oid, record: Record) -> Result<Record> {
        if record.codecs() == 0 || record.is_decoded() {
            return Ok(record);
        }
        self.decoded(oid, &record)
    }

    #[inline(never)]
    fn decoded(&self, oid: Oid, record: &Record) -> Result<Record> {
        let codecs = record.codecs();
        if codecs & !(PACKS | SEALS) != 0 {
            return Err(Error::unsupported(format!(
                "the body of the record at {oid} went through codecs {codecs:07b}, and this version \
                 knows {:07b}",
                PACKS | SEALS
            )));
        }
        let missing = |layer: &str| {
            Error::invalid(format!(
                "the body of the record at {oid} went through `{layer}`, and this stack has no such \
                 layer: put one on top of it"
            ))
        };
        let (sealed, packed) = (codecs & SEALS, codecs & PACKS);
        let opened = if sealed == 0 {
            None
        } else {
            let sealer = self.sealer.as_ref().filter(|mine| mine.bit() == sealed);
            let sealer = sealer.ok_or_else(|| missing("encrypt"))?;
            Some(open(&**sealer, oid, record)?)
        };
        let head = record.unpadded().len() - record.body().len();
        match opened {
            Some(opened) if packed == 0 => {
                let body = opened.len() - head;
                Ok(record.decoded_as(opened, body))
            }
            opened => {
                let packer = self.packer.as_ref().ok_or_else(|| missing("compress"))?;
                let body = opened
                    .as_ref()
                    .map_or(record.body(), |bytes| &bytes[head..]);
                unpack(&**packer, packed, oid, record, body)
            }
        }
    }

    /// As [`Codecs::decode`], for an answer.
    #[inline]
    pub(crate) fn decode_found(&self, oid: Oid, found: Option<Record>) -> Result<Option<Record>> {
        match found {
            Some(record) => self.decode(oid, record).map(Some),
            None => Ok(None),
        }
    }
}

/// Header, references and opened body.
fn open(sealer: &dyn Sealer, oid: Oid, record: &Record) -> Result<Vec<u8>> {
    let stored = record.unpadded();
    let head = stored.len() - record.body().len();
    let end = stored.len().checked_sub(sealer.room());
    let Some(end) = end.filter(|end| *end >= head) else {
        return Err(Error::corrupt(format!(
            "the sealed body of the record at {oid} has {} bytes, and every one has {} more than \
             were sealed",
            record.body().len(),
            sealer.room()
        )));
    };
    // Room for the record that this will be, if it was not packed as well.
    let mut bytes = Vec::with_capacity(stored.len().max(Record::decoded_len(head, end - head)));
    bytes.extend_from_slice(stored);
    let (front, body) = bytes.split_at_mut(head);
    Record::forget_check(front);
    sealer.open(oid, record.epoch(), front, body)?;
    bytes.truncate(end);
    Ok(bytes)
}

fn unpack(packer: &dyn Packer, bit: u8, oid: Oid, record: &Record, body: &[u8]) -> Result<Record> {
    let corrupt =
        |what: String| Error::corrupt(format!("the packed body of the record at {oid} {what}"));
    if !bit.is_power_of_two() || packer.bits() & bit == 0 {
        return Err(corrupt(format!("was packed by no one way: {bit:07b}")));
    }
    let Some((stated, packed)) = body.split_first_chunk::<STATED>() else {
        return Err(corrupt("does not state its length".to_owned()));
    };
    let length = u32::from_le_bytes(*stated) as usize;
    if length > RECORD_BODY_MAX || length > packed.len().saturating_mul(RATIO_MAX) {
        return Err(corrupt(format!(
            "states {length} bytes and has {}: the limits are {RECORD_BODY_MAX}, and {RATIO_MAX} \
             times what is there",
            packed.len()
        )));
    }
    let stored = record.unpadded();
    let head = stored.len() - record.body().len();
    let mut bytes = Vec::with_capacity(Record::decoded_len(head, length));
    bytes.extend_from_slice(&stored[..head]);
    bytes.resize(head + length, 0);
    packer
        .unpack(bit, packed, &mut bytes[head..])
        .map_err(|error| error.at(oid.to_string()))?;
    Ok(record.decoded_as(bytes, length))
}

impl Serialize for Codecs {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let packs = self.packer.as_ref().map_or(0, |packer| packer.bits());
        let seals = self.sealer.as_ref().map_or(0, |sealer| sealer.bit());
        serializer.collect_seq(names(packs | seals))
    }
}
