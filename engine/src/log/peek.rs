//! What the files of a log say by themselves, without opening it.
//!
//! For those who found a directory and do not know what it is. It promises to write nothing, to take no
//! lock, and to tell of each file what can be told of it: one that is damaged hides no other.

use super::format::{Identity, SegmentHeader, SparseHeader, Writer, segment_base, segment_run};
use super::{IDENTITY, WRITER};
use crate::contract::{Error, Position, Result};
use crate::medium::{Medium, read_small};

/// A log, looked at from outside.
#[derive(Debug, Clone)]
pub struct Peek {
    /// Who it is.
    pub identity: Result<Identity>,
    /// What the newest writer left; `None`: nobody has written yet.
    pub writer: Result<Option<Writer>>,
    /// Its segments, oldest first.
    pub segments: Vec<PeekSegment>,
}

/// One segment of it.
#[derive(Debug, Clone)]
pub struct PeekSegment {
    /// The name of the file.
    pub name: String,
    /// Where it begins, by its name.
    pub base: Position,
    /// How long the file is.
    pub bytes: Result<u64>,
    /// What stands in front. Of a log without an identity it cannot be read.
    pub header: Option<Result<SegmentHeader>>,
}

impl Peek {
    /// Looks. `None`: there is no log here.
    pub fn at(medium: &dyn Medium) -> Result<Option<Self>> {
        let names = medium.list()?;
        let has = |name: &str| names.iter().any(|found| found == name);
        let bases = names
            .iter()
            .filter_map(|name| Some((name.clone(), segment_base(name)?)));
        let bases: Vec<_> = bases.collect();
        if !has(IDENTITY) && !has(WRITER) && bases.is_empty() {
            return Ok(None);
        }
        let identity = if has(IDENTITY) {
            read_small(medium, IDENTITY).and_then(|bytes| Identity::decode(&bytes))
        } else {
            Err(Error::corrupt("the identity file is gone"))
        };
        let writer = match has(WRITER) {
            true => read_small(medium, WRITER)
                .and_then(|bytes| Writer::decode(&bytes))
                .map(Some),
            false if bases.is_empty() => Ok(None),
            false => Err(Error::corrupt("the writer file is gone")),
        };
        let segments = bases.into_iter().map(|(name, base)| {
            let file = medium.open(&name, false);
            let header = identity.as_ref().ok().map(|identity| {
                let bytes = file.clone()?.read_at(0, super::SEGMENT_HEADER as usize)?;
                let header = match segment_run(&name) {
                    Some((_, Some(_))) => SparseHeader::decode(&bytes, identity)?.common,
                    _ => SegmentHeader::decode(&bytes, identity)?,
                };
                if header.base != base {
                    return Err(Error::corrupt("the segment has the name of another"));
                }
                Ok(header)
            });
            PeekSegment {
                bytes: file.and_then(|file| file.len()),
                name,
                base,
                header,
            }
        });
        Ok(Some(Self {
            segments: segments.collect(),
            identity,
            writer,
        }))
    }

    /// Everything about it that is damaged, in words.
    pub fn damage(&self) -> impl Iterator<Item = String> {
        let identity = self.identity.as_ref().err().map(ToString::to_string);
        let writer = self.writer.as_ref().err().map(ToString::to_string);
        // Files at the end with nothing in them were made and never begun: opening passes over them.
        let begun = |segment: &PeekSegment| !matches!(segment.bytes, Ok(0));
        let begun = self.segments.iter().rposition(begun);
        let segments = self.segments[..begun.map_or(0, |last| last + 1)].iter();
        let segments = segments.filter_map(|segment| {
            let length = segment.bytes.as_ref().err();
            let header = segment
                .header
                .iter()
                .find_map(|header| header.as_ref().err());
            let error = length.or(header)?;
            Some(format!("{}: {error}", segment.name))
        });
        identity.into_iter().chain(writer).chain(segments)
    }
}
