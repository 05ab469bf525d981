//! Root markers and directories: the records a commit appends.
//!
//! A marker is valid if its vector holds and its predecessor is valid or proven. Its references, in
//! this order and each only if its flag is set: previous marker (weak), jump marker (weak),
//! directory of names; then one for each changed name that points somewhere. Its body:
//!
//! ```text
//!   0 sequence     8 time, µs since 1970     16 epoch tag     24 proven: sequence  32 proven: OID
//!  40 jump: sequence  48 proven: epoch u32   52 flags u16     54 changes u16
//!  56 vector entries u16   58 zeros to 64
//!  64 each entry: stream u64, tail, running checksum
//!   … each change: name length u8, 1 if it points somewhere else 0, name
//! ```
//!
//! `changes` are all since the directory that the marker names, so one marker and one directory
//! tell every name. Jump links follow Myers' skew-binary rule, so that any commit is reached from the
//! newest in a logarithmic number of reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::{End, Proven};
use super::error::{Error, Result};
use super::level::Epoch;
use super::limits::{NAME_MAX, NAMES_MAX, STREAMS_MAX};
use super::oid::{Oid, Position, Stream};
use super::record::{Kind, Record, Reference, u16_at, u32_at, u64_at};

const PREVIOUS: u16 = 1;
const JUMP: u16 = 2;
const DIRECTORY: u16 = 4;
/// More commits than there is room for markers: a number above it is damage.
const SEQUENCE_MAX: u64 = Position::LIMIT.0 * (STREAMS_MAX as u64);
const FIXED: usize = 64;
const ENTRY: usize = 24;

/// The name of a root: 1 to 255 bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Takes a name, or says why it is none.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if name.len() > NAME_MAX {
            return Err(Error::invalid(format!(
                "a name of {} bytes is too long for a root: {NAME_MAX} are the limit",
                name.len()
            )));
        }
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "{name:?} is no name for a root: 1 to {NAME_MAX} bytes without control characters"
            )));
        }
        Ok(Self(name.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where streams ended: for each stream its end and running checksum.
pub type Vector = Vec<(Stream, End)>;

/// Names that changed, and what they point to now; `None` for a dropped name.
pub type Changes = BTreeMap<Name, Option<Reference>>;

/// Names alive, and what they point to.
pub type Names = BTreeMap<Name, Reference>;

/// What a commit appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootMarker {
    /// Number of the commit; with the epoch, its name.
    pub sequence: u64,
    /// The epoch that made it.
    pub epoch: Epoch,
    /// When, in microseconds since 1970; never less than its predecessor's.
    pub time: u64,
    /// The marker before.
    pub previous: Option<Reference>,
    /// A marker further back, and its sequence number.
    pub jump: Option<(Reference, u64)>,
    /// The newest commit that was proven when this one was made.
    pub proven: Option<Proven>,
    /// The directory of names that `changes` are relative to.
    pub directory: Option<Reference>,
    /// Names that changed since that directory.
    pub changes: Changes,
    /// Where streams stood before the batch that holds this marker.
    pub vector: Vector,
}

impl RootMarker {
    /// References and body of the record.
    #[must_use]
    pub fn encode(&self) -> (Vec<Reference>, Vec<u8>) {
        let (mut references, mut body) = (Vec::new(), Vec::new());
        let parts = MarkerParts {
            sequence: self.sequence,
            epoch: self.epoch,
            time: self.time,
            previous: self.previous,
            jump: self.jump,
            proven: self.proven,
            directory: self.directory,
            changes: self.changes.iter().map(|(name, to)| (name, *to)),
            vector: self.vector.iter().copied(),
        };
        parts.encode(&mut references, &mut body);
        (references, body)
    }

    /// Reads a marker from its record, which lies at `oid`.
    pub fn decode(oid: Oid, record: &Record) -> Result<Self> {
        Self::parse(record).ok_or_else(|| Error::corrupt(format!("no root marker at {oid}")))
    }

    fn parse(record: &Record) -> Option<Self> {
        let body = record.body();
        if record.kind() != Kind::MARKER || body.len() < FIXED || u64_at(body, 0) > SEQUENCE_MAX {
            return None;
        }
        let flags = u16_at(body, 52);
        let mut index = 0;
        let mut next = |wanted: bool| -> Option<Option<Reference>> {
            if !wanted {
                return Some(None);
            }
            index += 1;
            record.reference(index - 1).map(Some)
        };
        let previous = next(flags & PREVIOUS != 0)?;
        let jump = next(flags & JUMP != 0)?;
        let directory = next(flags & DIRECTORY != 0)?;
        let entries = u16_at(body, 56) as usize;
        if entries > STREAMS_MAX || body.len() < FIXED + entries * ENTRY {
            return None;
        }
        let vector = (0..entries)
            .map(|entry| {
                let at = FIXED + entry * ENTRY;
                let stream = Stream(u16::try_from(u64_at(body, at)).ok()?);
                let position = Position(u64_at(body, at + 8));
                let position = Some(position).filter(|&position| position <= Position::LIMIT)?;
                Some((
                    stream,
                    End {
                        position,
                        running: u64_at(body, at + 16),
                    },
                ))
            })
            .collect::<Option<_>>()?;
        let mut names = NameReader {
            bytes: &body[FIXED + entries * ENTRY..],
        };
        let mut changes = Changes::new();
        for _ in 0..u16_at(body, 54) {
            let (name, points) = names.next_change()?;
            changes.insert(name, next(points)?);
        }
        Some(Self {
            sequence: u64_at(body, 0),
            epoch: Epoch {
                number: record.epoch(),
                tag: u64_at(body, 16),
            },
            time: u64_at(body, 8),
            previous,
            jump: jump.map(|marker| (marker, u64_at(body, 40))),
            proven: Oid::from_raw(u64_at(body, 32)).map(|oid| Proven {
                sequence: u64_at(body, 24),
                epoch: u32_at(body, 48),
                oid,
            }),
            directory,
            changes,
            vector,
        })
    }
}

/// What a marker says, borrowed from where it lies: a commit encodes its marker once, and copies
/// nothing for it.
#[derive(Debug, Clone)]
pub(crate) struct MarkerParts<C, V> {
    pub(crate) sequence: u64,
    pub(crate) epoch: Epoch,
    pub(crate) time: u64,
    pub(crate) previous: Option<Reference>,
    pub(crate) jump: Option<(Reference, u64)>,
    pub(crate) proven: Option<Proven>,
    pub(crate) directory: Option<Reference>,
    pub(crate) changes: C,
    pub(crate) vector: V,
}

impl<'a, C, V> MarkerParts<C, V>
where
    C: ExactSizeIterator<Item = (&'a Name, Option<Reference>)> + Clone,
    V: ExactSizeIterator<Item = (Stream, End)> + Clone,
{
    /// As [`RootMarker::encode`], into buffers that were used before.
    pub(crate) fn encode(&self, references: &mut Vec<Reference>, body: &mut Vec<u8>) {
        references.clear();
        body.clear();
        let mut flags = 0;
        let fixed = [
            (self.previous.map(Reference::weakened), PREVIOUS),
            (self.jump.map(|(marker, _)| marker.weakened()), JUMP),
            (self.directory, DIRECTORY),
        ];
        for (reference, flag) in fixed {
            if let Some(reference) = reference {
                references.push(reference);
                flags |= flag;
            }
        }
        references.extend(self.changes.clone().filter_map(|(_, to)| to));
        body.resize(FIXED, 0);
        let (sequence, epoch, oid) = self.proven.map_or((0, 0, 0), |proven| {
            (proven.sequence, proven.epoch, proven.oid.raw())
        });
        let jump = self.jump.map_or(0, |(_, sequence)| sequence);
        let words = [
            self.sequence,
            self.time,
            self.epoch.tag,
            sequence,
            oid,
            jump,
        ];
        for (index, word) in words.into_iter().enumerate() {
            body[index * 8..index * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        body[48..52].copy_from_slice(&epoch.to_le_bytes());
        body[52..54].copy_from_slice(&u16::to_le_bytes(flags));
        body[54..56].copy_from_slice(&(self.changes.len() as u16).to_le_bytes());
        body[56..58].copy_from_slice(&(self.vector.len() as u16).to_le_bytes());
        for (stream, end) in self.vector.clone() {
            body.extend_from_slice(&u64::from(stream.0).to_le_bytes());
            body.extend_from_slice(&end.position.0.to_le_bytes());
            body.extend_from_slice(&end.running.to_le_bytes());
        }
        for (name, target) in self.changes.clone() {
            body.push(name.as_str().len() as u8);
            body.push(u8::from(target.is_some()));
            body.extend_from_slice(name.as_str().as_bytes());
        }
    }
}

struct NameReader<'a> {
    bytes: &'a [u8],
}

impl NameReader<'_> {
    fn next_change(&mut self) -> Option<(Name, bool)> {
        let (&length, rest) = self.bytes.split_first()?;
        let (&points, rest) = rest.split_first()?;
        let name = self.take(rest, length)?;
        (points <= 1).then_some((name, points == 1))
    }

    fn next_name(&mut self) -> Option<Name> {
        let (&length, rest) = self.bytes.split_first()?;
        self.take(rest, length)
    }
}

impl<'a> NameReader<'a> {
    fn take(&mut self, rest: &'a [u8], length: u8) -> Option<Name> {
        let (name, rest) = rest.split_at_checked(length as usize)?;
        self.bytes = rest;
        Name::new(std::str::from_utf8(name).ok()?).ok()
    }
}

/// References and body of a directory record: every name and what it points to.
#[must_use]
pub fn encode_directory(names: &Names) -> (Vec<Reference>, Vec<u8>) {
    let mut body = Vec::new();
    for name in names.keys() {
        body.push(name.as_str().len() as u8);
        body.extend_from_slice(name.as_str().as_bytes());
    }
    (names.values().copied().collect(), body)
}

/// Reads a directory from its record, which lies at `oid`.
pub fn decode_directory(oid: Oid, record: &Record) -> Result<Names> {
    let parse = || {
        if record.kind() != Kind::DIRECTORY || record.reference_count() > NAMES_MAX {
            return None;
        }
        let mut reader = NameReader {
            bytes: record.body(),
        };
        let mut names = Names::new();
        for reference in record.references() {
            names.insert(reader.next_name()?, reference);
        }
        reader.bytes.is_empty().then_some(names)
    };
    parse().ok_or_else(|| Error::corrupt(format!("no directory of names at {oid}")))
}
