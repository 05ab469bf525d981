//! One segment: a file that holds a run of positions, and how to read from it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::format::{
    Identity, SEGMENT_HEADER, SegmentHeader, segment_name, segment_run, sparse_name,
};
use super::mapped::{Map, Maps};
use super::sparse::{Place, Sparse};
use super::walk::Window;
use crate::contract::record::{RECORD_HEADER, stated_len};
use crate::contract::{Error, ErrorKind, Oid, Op, Position, Record, Result, Stream};
use crate::medium::{Handles, Medium, MediumFile, Slot};

/// Bytes read at once where the length of a record is not known yet: a node and a little more.
const GUESS: usize = 4096 + 256;
/// The map of the open segment is made anew when it has doubled, or grown by this many bytes.
const MAP_STEP: u64 = 4 << 20;

/// Some, by where they begin.
type Segments = Vec<Arc<Segment>>;

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
        self.listed().map(|(segments, _)| segments)
    }

    /// All that there are, and those in whose place a sparse one came that are still there.
    pub(super) fn listed(self: &Arc<Self>) -> Result<(Segments, Segments)> {
        let names = self.medium.list()?;
        let mut runs: Vec<_> = names.iter().filter_map(|name| segment_run(name)).collect();
        // What covers others comes before them.
        runs.sort_unstable_by_key(|(base, end)| (*base, std::cmp::Reverse(*end)));
        let mut covered = Position::START;
        let (mut valid, mut over) = (Vec::new(), Vec::new());
        for (base, end) in runs {
            let segment = Arc::new(Segment::new(self, base, end));
            if base < covered {
                over.push(segment);
                continue;
            }
            covered = end.unwrap_or(covered);
            valid.push(segment);
        }
        Ok((valid, over))
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
    /// Where it ends, if it is what a reclaim left.
    ends: Option<Position>,
    sparse: OnceLock<Arc<Sparse>>,
}

impl Segment {
    pub(super) fn new(files: &Arc<Files>, base: Position, ends: Option<Position>) -> Self {
        Self {
            base,
            files: files.clone(),
            slot: Arc::default(),
            header: OnceLock::new(),
            ends,
            sparse: OnceLock::new(),
        }
    }

    /// What it is called.
    pub(super) fn name(&self) -> String {
        match self.ends {
            Some(end) => sparse_name(self.base, end),
            None => segment_name(self.base),
        }
    }

    /// Where it ends, if it is sparse: what a reclaim left.
    pub(super) fn ends(&self) -> Option<Position> {
        self.ends
    }

    /// One that was just made, in this file.
    pub(super) fn begun(
        files: &Arc<Files>,
        header: SegmentHeader,
        file: Arc<dyn MediumFile>,
    ) -> Self {
        let segment = Self {
            header: OnceLock::from(header),
            ..Self::new(files, header.base, None)
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
        let name = self.name();
        let medium = &*self.files.medium;
        let file = match medium.open(&name, false) {
            Err(error) if error.kind() == ErrorKind::Invalid && !medium.list()?.contains(&name) => {
                return Err(Error::unavailable(format!("{name} is not there any more")));
            }
            opened => opened?,
        };
        let same = match (self.sparse.get(), self.header.get()) {
            (Some(known), _) => self.sparse_in(&*file)?.header == known.header,
            (None, Some(known)) => self.header_in(&*file)? == *known,
            (None, None) => true,
        };
        if !same {
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
        self.files.medium.open(&self.name(), true)
    }

    /// The header, if it was read.
    pub(super) fn known_header(&self) -> Option<&SegmentHeader> {
        let sparse = self.sparse.get();
        sparse.map_or(self.header.get(), |sparse| Some(&sparse.header.common))
    }

    /// What a sparse segment holds, if it was looked into.
    pub(super) fn known_sparse(&self) -> Option<&Sparse> {
        self.sparse.get().map(Arc::as_ref)
    }

    /// What a sparse segment holds; `None`: it is none, all is there.
    pub(super) fn sparse(&self) -> Result<Option<&Arc<Sparse>>> {
        if self.ends.is_none() {
            return Ok(None);
        }
        if let Some(sparse) = self.sparse.get() {
            return Ok(Some(sparse));
        }
        let sparse = self.sparse_in(&*self.file()?)?;
        Ok(Some(self.sparse.get_or_init(|| Arc::new(sparse))))
    }

    fn sparse_in(&self, file: &dyn MediumFile) -> Result<Sparse> {
        let sparse = Sparse::open(file, &self.files.identity);
        let sparse = sparse.map_err(|error| error.at(self.name()))?;
        let says = (sparse.header.common.base, sparse.header.end.position);
        if (says.0, Some(says.1)) != (self.base, self.ends) {
            return Err(Error::corrupt(format!(
                "the header says {}..{}, the name says otherwise",
                says.0, says.1
            ))
            .at(self.name()));
        }
        Ok(sparse)
    }

    pub(super) fn header(&self) -> Result<&SegmentHeader> {
        if let Some(sparse) = self.sparse()? {
            return Ok(&sparse.header.common);
        }
        if let Some(header) = self.header.get() {
            return Ok(header);
        }
        let header = self.header_in(&*self.file()?)?;
        Ok(self.header.get_or_init(|| header))
    }

    fn header_in(&self, file: &dyn MediumFile) -> Result<SegmentHeader> {
        let bytes = file.read_at(0, SEGMENT_HEADER as usize)?;
        let header = SegmentHeader::decode(&bytes, &self.files.identity)
            .map_err(|error| error.at(self.name()))?;
        if header.base != self.base {
            return Err(Error::corrupt(format!(
                "the header says {}, the name says {}",
                header.base, self.base
            ))
            .at(self.name()));
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
        let fresh = Map::new(bytes.map_err(|error| error.at(self.name()))?);
        let record = fresh.record(oid, at as usize);
        let record = record.map_err(|error| error.at(self.name()))?;
        maps.put(self.base, &fresh);
        Ok(record)
    }

    /// Where the record at `position` lies, of a segment whose valid bytes go up to `end`; `None`: it
    /// was freed, or never was. Of a segment that is whole only the reading tells whether one is there.
    pub(super) fn place(&self, position: Position, end: Position) -> Result<Option<Place>> {
        match self.sparse()? {
            Some(sparse) => {
                let place = sparse.find(&*self.file()?, position);
                place.map_err(|error| error.at(self.name()))
            }
            None => Ok(Some(Place {
                offset: self.offset(position),
                within: end.bytes_since(position) as usize,
            })),
        }
    }

    /// The record at `oid` of a sparse segment, from a map; `None`: it cannot be mapped.
    pub(super) fn read_sparse(&self, maps: &Maps, oid: Oid) -> Result<Option<Option<Record>>> {
        let Some(sparse) = self.sparse()? else {
            return Ok(None);
        };
        let map = match maps.of(self.base, sparse) {
            Some(map) => map,
            None => {
                let (file, length) = (self.file()?, sparse.length());
                // Mapped past its end it would kill.
                if file.len()? < length {
                    return Ok(None);
                }
                let Some(bytes) = file.map(length) else {
                    return Ok(None);
                };
                let bytes = bytes.map_err(|error| error.at(self.name()))?;
                let fresh = Map::sparse(bytes, sparse.clone());
                maps.put(self.base, &fresh);
                fresh
            }
        };
        let found = map.find(self.base, oid);
        found.map(Some).map_err(|error| error.at(self.name()))
    }

    /// The record at `oid`, without bringing in anything but its bytes; `None`: it was freed.
    pub(super) fn read_now(self: &Arc<Self>, oid: Oid, end: Position) -> Result<Option<Record>> {
        let Some(place) = self.place(oid.position(), end)? else {
            return Ok(None);
        };
        let file = self.file()?;
        let bring = move |offset, length| Op::ready(file.read_at(offset, length));
        self.read_copied(oid, place, bring).wait().map(Some)
    }

    /// The record at `oid`, which lies there in this segment, brought in one read, or in two if it is
    /// long.
    pub(super) fn read_copied(
        self: &Arc<Self>,
        oid: Oid,
        Place { offset, within }: Place,
        bring: impl Fn(u64, usize) -> Op<Bytes> + Send + 'static,
    ) -> Op<Record> {
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

    /// How long the record at a place says it is, through a window.
    pub(super) fn length_at(&self, window: &mut Window, oid: Oid, place: Place) -> Result<usize> {
        let head = window.get(place.offset, RECORD_HEADER)?;
        if head.len() < RECORD_HEADER {
            return Err(self.cut_short(oid));
        }
        self.stated(oid, &head, place.within)
    }

    /// The record at a place, through a window; not verified.
    pub(super) fn record_at(&self, window: &mut Window, oid: Oid, place: Place) -> Result<Record> {
        let length = self.length_at(window, oid, place)?;
        let bytes = window.get(place.offset, length)?;
        if bytes.len() < length {
            return Err(self.cut_short(oid));
        }
        Record::decode_unverified(oid, bytes).map_err(|error| error.at(self.name()))
    }

    pub(super) fn oid(&self, stream: Stream, position: Position) -> Result<Oid> {
        let oid = Oid::new(stream, position);
        oid.ok_or_else(|| Error::corrupt(format!("no record begins at {position}")).at(self.name()))
    }

    /// How long the record says it is whose first bytes these are; `within` is all it may be.
    fn record_length(&self, oid: Oid, bytes: &Bytes, within: usize) -> Result<usize> {
        if bytes.len() < RECORD_HEADER {
            return Err(self.cut_short(oid));
        }
        let length = self.stated(oid, bytes, within)?;
        if length > bytes.len() && bytes.len() < GUESS.min(within) {
            return Err(self.cut_short(oid));
        }
        Ok(length)
    }

    fn stated(&self, oid: Oid, bytes: &Bytes, within: usize) -> Result<usize> {
        let length = stated_len(bytes).filter(|&length| length <= within);
        length.ok_or_else(|| Error::corrupt(format!("no record begins at {oid}")).at(self.name()))
    }

    fn decode(&self, oid: Oid, mut bytes: Bytes, length: usize) -> Result<Record> {
        if bytes.len() < length {
            return Err(self.cut_short(oid));
        }
        if length * 2 < bytes.len() {
            // A small record must not keep the whole guess alive.
            bytes = Bytes::copy_from_slice(&bytes[..length]);
        }
        Record::decode(oid, bytes).map_err(|error| error.at(self.name()))
    }

    fn cut_short(&self, oid: Oid) -> Error {
        Error::corrupt(format!(
            "no whole record at {oid}: the segment ends before it"
        ))
        .at(self.name())
    }
}

/// Where in the file of the segment that begins at `base` a position of it lies.
pub(super) fn offset_in(base: Position, position: Position) -> u64 {
    // Blocks of the file and blocks of the stream fall together, wherever the segment begins.
    let lead = base.bytes_since(base.align_down(SEGMENT_HEADER));
    SEGMENT_HEADER + lead + position.bytes_since(base)
}
