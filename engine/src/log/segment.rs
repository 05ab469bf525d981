//! One segment: a file that holds a run of positions, and how to read from it.

use std::sync::Arc;
use std::sync::OnceLock;

use bytes::Bytes;

use super::format::{Identity, SEGMENT_HEADER, SegmentHeader, segment_name};
use crate::contract::record::{RECORD_HEADER, stated_len};
use crate::contract::{Error, Oid, Position, Record, Result};
use crate::medium::{Medium, MediumFile};

/// Bytes read at once where the length of a record is not known yet: a node and a little more.
const GUESS: usize = 4096 + 256;

/// A segment. Its file is opened at the first use, so that opening a log of many segments costs the
/// same as opening one.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) base: Position,
    file: OnceLock<Arc<dyn MediumFile>>,
    header: OnceLock<SegmentHeader>,
}

impl Segment {
    pub(super) fn named(base: Position) -> Self {
        Self {
            base,
            file: OnceLock::new(),
            header: OnceLock::new(),
        }
    }

    pub(super) fn begun(header: SegmentHeader, file: Arc<dyn MediumFile>) -> Self {
        Self {
            base: header.base,
            file: OnceLock::from(file),
            header: OnceLock::from(header),
        }
    }

    pub(super) fn file(&self, medium: &dyn Medium, write: bool) -> Result<&Arc<dyn MediumFile>> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = medium.open(&segment_name(self.base), write)?;
        Ok(self.file.get_or_init(|| file))
    }

    pub(super) fn header(
        &self,
        medium: &dyn Medium,
        write: bool,
        identity: &Identity,
    ) -> Result<&SegmentHeader> {
        if let Some(header) = self.header.get() {
            return Ok(header);
        }
        let bytes = self
            .file(medium, write)?
            .read_at(0, SEGMENT_HEADER as usize)?;
        let header = SegmentHeader::decode(&bytes, identity)
            .map_err(|error| error.at(segment_name(self.base)))?;
        if header.base != self.base {
            return Err(Error::corrupt(format!(
                "the header says {}, the name says {}",
                header.base, self.base
            ))
            .at(segment_name(self.base)));
        }
        Ok(self.header.get_or_init(|| header))
    }

    /// Where in the file `position` lies.
    pub(super) fn offset(&self, position: Position) -> u64 {
        // Blocks of the file and blocks of the stream fall together, wherever the segment begins.
        let lead = self.base.bytes_since(self.base.align_down(SEGMENT_HEADER));
        SEGMENT_HEADER + lead + position.bytes_since(self.base)
    }

    /// The verified record at `oid`, which lies in this segment, below `end`.
    pub(super) fn read(&self, file: &dyn MediumFile, oid: Oid, end: Position) -> Result<Record> {
        let offset = self.offset(oid.position());
        let within = end.bytes_since(oid.position()) as usize;
        let mut bytes = file.read_at(offset, GUESS.min(within))?;
        let short = || {
            Error::corrupt(format!(
                "no whole record at {oid}: the segment ends before it"
            ))
            .at(segment_name(self.base))
        };
        if bytes.len() < RECORD_HEADER {
            return Err(short());
        }
        let length = stated_len(&bytes)
            .filter(|&length| length <= within)
            .ok_or_else(|| {
                Error::corrupt(format!("no record begins at {oid}")).at(segment_name(self.base))
            })?;
        if length > bytes.len() {
            if bytes.len() < GUESS.min(within) {
                return Err(short());
            }
            bytes = file.read_at(offset, length)?;
            if bytes.len() < length {
                return Err(short());
            }
        } else if length * 2 < bytes.len() {
            // A small record must not keep the whole guess alive.
            bytes = Bytes::copy_from_slice(&bytes[..length]);
        }
        Record::decode(oid, bytes).map_err(|error| error.at(segment_name(self.base)))
    }
}
