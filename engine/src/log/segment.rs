//! One segment: a file that holds a run of positions, and how to read from it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::format::{Identity, SEGMENT_HEADER, SegmentHeader, segment_base, segment_name};
use super::mapped::{Map, Maps};
use crate::contract::record::{RECORD_HEADER, stated_len};
use crate::contract::{Error, ErrorKind, Oid, Op, Position, Record, Result};
use crate::medium::{Handles, Medium, MediumFile, Slot};

/// Bytes read at once where the length of a record is not known yet: a node and a little more.
const GUESS: usize = 4096 + 256;
/// The map of the open segment is made anew when it has doubled, or grown by this many bytes.
const MAP_STEP: u64 = 4 << 20;

/// Where the segments of a log lie, and how many of their files may be open.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) medium: Arc<dyn Medium>,
    pub(super) identity: Identity,
    pub(super) handles: Arc<Handles>,
}

impl Files {
    /// All that there are, by where they begin.
    pub(super) fn segments(self: &Arc<Self>) -> Result<Vec<Arc<Segment>>> {
        let names = self.medium.list()?;
        let mut bases: Vec<_> = names.iter().filter_map(|name| segment_base(name)).collect();
        bases.sort_unstable();
        let segments = bases.into_iter().map(|base| Segment::new(self, base));
        Ok(segments.map(Arc::new).collect())
    }
}

/// A segment. Its file is opened when it is read and closed when others are read more, so that a log
/// of many segments costs no more than one of a few.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) base: Position,
    files: Arc<Files>,
    /// A handle for reading; what is written goes through handles of the writer's own.
    slot: Arc<Slot>,
    header: OnceLock<SegmentHeader>,
}

impl Segment {
    fn new(files: &Arc<Files>, base: Position) -> Self {
        Self {
            base,
            files: files.clone(),
            slot: Arc::default(),
            header: OnceLock::new(),
        }
    }

    /// One that was just made, in this file.
    pub(super) fn begun(
        files: &Arc<Files>,
        header: SegmentHeader,
        file: Arc<dyn MediumFile>,
    ) -> Self {
        let segment = Self {
            header: OnceLock::from(header),
            ..Self::new(files, header.base)
        };
        files.handles.keep(&segment.slot, file);
        segment
    }

    /// The file, to be read.
    ///
    /// Errors: `Unavailable`, if it is not there any more, or is another one than before: whoever
    /// writes here took it away.
    pub(super) fn file(&self) -> Result<Arc<dyn MediumFile>> {
        if let Some(file) = self.slot.get() {
            return Ok(file);
        }
        let name = segment_name(self.base);
        let medium = &*self.files.medium;
        let file = match medium.open(&name, false) {
            Err(error) if error.kind() == ErrorKind::Invalid && !medium.list()?.contains(&name) => {
                return Err(Error::unavailable(format!("{name} is not there any more")));
            }
            opened => opened?,
        };
        if let Some(known) = self.header.get()
            && self.header_in(&*file)? != *known
        {
            return Err(Error::unavailable(format!(
                "another {name} lies in the place of the one that was read before"
            )));
        }
        Ok(self.files.handles.keep(&self.slot, file))
    }

    /// Lets go of the file until it is read again.
    pub(super) fn close(&self) {
        self.slot.close();
    }

    /// The file, opened anew to be written.
    pub(super) fn file_to_write(&self) -> Result<Arc<dyn MediumFile>> {
        self.files.medium.open(&segment_name(self.base), true)
    }

    /// The header, if it was read.
    pub(super) fn known_header(&self) -> Option<&SegmentHeader> {
        self.header.get()
    }

    pub(super) fn header(&self) -> Result<&SegmentHeader> {
        if let Some(header) = self.header.get() {
            return Ok(header);
        }
        let header = self.header_in(&*self.file()?)?;
        Ok(self.header.get_or_init(|| header))
    }

    fn header_in(&self, file: &dyn MediumFile) -> Result<SegmentHeader> {
        let bytes = file.read_at(0, SEGMENT_HEADER as usize)?;
        let header = SegmentHeader::decode(&bytes, &self.files.identity)
            .map_err(|error| error.at(segment_name(self.base)))?;
        if header.base != self.base {
            return Err(Error::corrupt(format!(
                "the header says {}, the name says {}",
                header.base, self.base
            ))
            .at(segment_name(self.base)));
        }
        Ok(header)
    }

    /// Where in the file `position` lies.
    pub(super) fn offset(&self, position: Position) -> u64 {
        offset_in(self.base, position)
    }

    /// Maps what is proven, if that is worth a new map, and reads from it.
    pub(super) fn read_mapped(
        &self,
        maps: &Maps,
        oid: Oid,
        proven: Position,
    ) -> Result<Option<Record>> {
        if proven <= oid.position() {
            return Ok(None);
        }
        // Whole blocks only: the block that holds the tail is still written to.
        let length = self.offset(proven) / SEGMENT_HEADER * SEGMENT_HEADER;
        let have = maps.len(self.base);
        let at = self.offset(oid.position());
        if at >= length || length < have + MAP_STEP.min(have.max(1)) {
            return Ok(None);
        }
        let file = self.file()?;
        // A file that lost its end is told by the copying read; mapped past its end it would kill.
        if file.len()? < length {
            return Ok(None);
        }
        let Some(bytes) = file.map(length) else {
            return Ok(None);
        };
        let fresh = Map::new(bytes.map_err(|error| error.at(segment_name(self.base)))?);
        let record = fresh.record(oid, at as usize);
        let record = record.map_err(|error| error.at(segment_name(self.base)))?;
        maps.put(self.base, fresh);
        Ok(record)
    }

    /// The record at `oid`, which lies in this segment below `end`, brought in one read, or in two if
    /// it is long.
    pub(super) fn read_copied(
        self: &Arc<Self>,
        oid: Oid,
        end: Position,
        bring: impl Fn(u64, usize) -> Op<Bytes> + Send + 'static,
    ) -> Op<Record> {
        let offset = self.offset(oid.position());
        let within = end.bytes_since(oid.position()) as usize;
        let this = self.clone();
        bring(offset, GUESS.min(within)).then(move |bytes| {
            match this.record_length(oid, &bytes, within) {
                Ok(length) if length > bytes.len() => {
                    bring(offset, length).and_then(move |bytes| this.decode(oid, bytes, length))
                }
                Ok(length) => Op::ready(this.decode(oid, bytes, length)),
                Err(error) => Op::err(error),
            }
        })
    }

    /// How long the record says it is whose first bytes these are; `within` is all it may be.
    fn record_length(&self, oid: Oid, bytes: &Bytes, within: usize) -> Result<usize> {
        if bytes.len() < RECORD_HEADER {
            return Err(self.cut_short(oid));
        }
        let length = stated_len(bytes)
            .filter(|&length| length <= within)
            .ok_or_else(|| {
                Error::corrupt(format!("no record begins at {oid}")).at(segment_name(self.base))
            })?;
        if length > bytes.len() && bytes.len() < GUESS.min(within) {
            return Err(self.cut_short(oid));
        }
        Ok(length)
    }

    fn decode(&self, oid: Oid, mut bytes: Bytes, length: usize) -> Result<Record> {
        if bytes.len() < length {
            return Err(self.cut_short(oid));
        }
        if length * 2 < bytes.len() {
            // A small record must not keep the whole guess alive.
            bytes = Bytes::copy_from_slice(&bytes[..length]);
        }
        Record::decode(oid, bytes).map_err(|error| error.at(segment_name(self.base)))
    }

    fn cut_short(&self, oid: Oid) -> Error {
        Error::corrupt(format!(
            "no whole record at {oid}: the segment ends before it"
        ))
        .at(segment_name(self.base))
    }
}

/// Where in the file of the segment that begins at `base` a position of it lies.
pub(super) fn offset_in(base: Position, position: Position) -> u64 {
    // Blocks of the file and blocks of the stream fall together, wherever the segment begins.
    let lead = base.bytes_since(base.align_down(SEGMENT_HEADER));
    SEGMENT_HEADER + lead + position.bytes_since(base)
}
