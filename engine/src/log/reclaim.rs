//! Giving space back: runs of ended segments are written anew without what nobody keeps.
//!
//! ```text
//!   seg a | seg b | rec c | seg d …      a run of whole segments within the decision
//!     │ read what stays, each under its own checksum
//!     v
//!   rec-a-d.new ──sync──> rename ──sync of the directory──> readers see it ──> unlink a, b, c
//! ```
//!
//! A crash before the rename is durable leaves the old segments, and a file that the next writer
//! removes; one after it leaves the sparse segment, and perhaps old ones that its name covers, which
//! nobody looks into and the next writer removes. The room that one sparse segment takes is needed on
//! top, no more. Who has an old file open or mapped reads on in it: it is never changed.
//!
//! Only segments are taken that recovery reads over: the one after them is durable, so the newest
//! durable segment is whole, and what recovery needs of those before stands in headers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Shared;
use super::format::{SEGMENT_HEADER, SegmentHeader, SparseHeader, sparse_name};
use super::segment::Segment;
use super::sparse::{self, Place, Sparse};
use super::walk::{self, Window};
use crate::contract::{
    End, Epoch, Error, ErrorKind, Extent, Freed, Level, Oid, Position, Reclaim, Record, Result,
};
use crate::medium::MediumFile;

/// Fewer bytes than this are not worth a new file.
const GAIN_MIN: u64 = 4096;
/// Nor is less than this part of what has to be written for it.
const GAIN_PART: u64 = 8;
/// Bytes written at once.
const PIECE: usize = 1 << 20;
/// Bytes that are written before they are synced, so that no commit waits behind many of them.
const UNSYNCED_MAX: u64 = 8 << 20;

/// One whole segment that a decision speaks of.
struct Whole {
    segment: Arc<Segment>,
    /// How the stream stood where it ends, what was announced then, and the newest marker.
    end: End,
    ceiling: Position,
    marker: Option<Oid>,
    /// Bytes that it takes, and those of its records that stay.
    bytes: u64,
    stays: u64,
    /// What stays of it cannot be told: then it stays as it is.
    damage: Option<Error>,
}

impl Shared {
    /// Keeps segments where they are.
    pub(super) fn hold_reclaims(&self) -> MutexGuard<'_, ()> {
        self.reclaiming
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reclaim(&self, decision: &Reclaim) -> Result<Freed> {
        decision.check()?;
        if decision.stream != self.identity.stream {
            return Err(Error::invalid(format!(
                "stream {} does not lie here",
                decision.stream
            )));
        }
        // Nobody writes where a stream has ended: who gives back takes the lock for as long.
        let lent = self.options.extent.is_sealed() && decision.left.is_none();
        if lent {
            self.medium.lock()?;
        }
        if let Some(left) = &decision.left {
            return self
                .take_over(decision, left)
                .map_err(|error| error.at(self.medium.place()));
        }
        let ready = match lent {
            // No adoption ever did it.
            true => self.remove_leftovers(),
            false => Ok(()),
        };
        let freed = ready.and_then(|()| self.reclaim_all(decision));
        if lent {
            self.medium.unlock();
        }
        freed.map_err(|error| error.at(self.medium.place()))
    }

    fn reclaim_all(&self, decision: &Reclaim) -> Result<Freed> {
        let mut freed = Freed::default();
        let mut from = decision.from;
        // What is damaged stays where it is, and is told once all the rest is done.
        let mut damage = None;
        loop {
            // One new file at a time: a fence or a close waits no longer than that.
            let _whole = self.hold_reclaims();
            self.may_reclaim(decision.sender)?;
            let run = self.run(decision, from)?;
            let Some(last) = run.last() else {
                break;
            };
            from = last.end.position;
            let old: u64 = run.iter().map(|whole| whole.bytes).sum();
            let less = match self.give(decision, &run) {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    self.must_be_damaged(&run)?;
                    damage.get_or_insert(error);
                    // One by one: all but the damaged one.
                    let alone = run.chunks(1).filter(|_| run.len() > 1);
                    let alone = alone.map(|whole| match self.give(decision, whole) {
                        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(0),
                        less => less,
                    });
                    alone.sum::<Result<u64>>()?
                }
                less => less?,
            };
            freed.bytes += less;
            freed.kept += old - less;
        }
        freed.to = from;
        damage.map_or(Ok(freed), Err)
    }

    /// Gives a run back if that is worth it, and answers how many bytes less it takes.
    fn give(&self, decision: &Reclaim, run: &[Whole]) -> Result<u64> {
        if let Some(error) = run.iter().find_map(|whole| whole.damage.clone()) {
            return Err(error);
        }
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let old: u64 = run.iter().map(|whole| whole.bytes).sum();
        let records = decision.alive_in(first.segment.base, last.end.position);
        let stays: u64 = run.iter().map(|whole| whole.stays).sum();
        let new = SEGMENT_HEADER + stays + sparse::index_length(records.len() as u64);
        if !is_worth(old, new) {
            return Ok(0);
        }
        self.put_in_place(decision, run, new)?;
        Ok(old - new)
    }

    /// Refuses a decision by which a record stays that cannot be read, though no byte of the run is
    /// damaged: it speaks of another log.
    fn must_be_damaged(&self, run: &[Whole]) -> Result<()> {
        for whole in run {
            let segment = &whole.segment;
            if segment.ends().is_some() {
                return Ok(());
            }
            let mut window = Window::new(segment.file()?);
            let mut end = segment.header()?.before;
            while end.position < whole.end.position {
                let Some(found) = walk::next(&mut window, segment, &self.identity, end)? else {
                    return Ok(());
                };
                end = End {
                    position: found.batch.header().end,
                    running: found.frame.running,
                };
            }
        }
        Err(Error::invalid(
            "what is to stay is no record, and nothing here is damaged",
        ))
    }

    pub(super) fn may_reclaim(&self, sender: Epoch) -> Result<()> {
        let writing = self.writing();
        if !self.options.extent.is_sealed() {
            if !self.writes() {
                return Err(Error::closed("the log is open for reading only"));
            }
            return writing.admit(sender);
        }
        if let Some(closed) = &writing.poison {
            return Err(closed.clone());
        }
        if sender.number < writing.epoch.number {
            return Err(Error::fenced(format!(
                "epoch {sender} is older than epoch {}, which wrote here",
                writing.epoch
            )));
        }
        Ok(())
    }

    /// Whole segments from a position on that go into one new file together. Empty: there are none.
    fn run(&self, decision: &Reclaim, from: Position) -> Result<Vec<Whole>> {
        let segments = self.segments();
        let first = segments.partition_point(|segment| segment.base < from);
        let mut run: Vec<Whole> = Vec::new();
        let (limit, mut stays) = (self.options.segment, 0);
        for (index, segment) in segments.iter().enumerate().skip(first) {
            let next = segments.get(index + 1);
            let Some(mut whole) = self.whole(segment, next)? else {
                break;
            };
            if whole.end.position > decision.to {
                break;
            }
            let alive = decision.alive_in(segment.base, whole.end.position);
            let (bytes, all) = match self.stays(&whole, alive) {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    whole.damage = Some(error);
                    (0, false)
                }
                stays => stays?,
            };
            whole.stays = bytes;
            // What would be copied for next to nothing stands for itself, unless it is little.
            let all = all || !is_worth(whole.bytes, whole.stays);
            let alone = all && whole.stays > limit / 8 || whole.damage.is_some();
            stays += whole.stays;
            if !run.is_empty() && (alone || stays > limit) {
                break;
            }
            run.push(whole);
            if alone {
                break;
            }
        }
        Ok(run)
    }

    /// What is known of a segment that may be given back; `None`: not of this one, nor of any later.
    fn whole(&self, segment: &Arc<Segment>, next: Option<&Arc<Segment>>) -> Result<Option<Whole>> {
        let lasting = |next: &&Arc<Segment>| {
            self.medium.level() < Level::Disk || next.base.0 < self.durable.load(Ordering::Acquire)
        };
        let (end, ceiling, marker) = match (self.options.extent, next) {
            (Extent::Sealed { .. }, Some(next)) => after(next.header()?),
            (Extent::Sealed { end, .. }, None) => (end, end.position, None),
            (_, next) => match next.filter(lasting) {
                Some(next) => after(next.header()?),
                None => return Ok(None),
            },
        };
        let (end, ceiling, marker, bytes) = match segment.sparse()? {
            Some(sparse) => {
                let header = &sparse.header;
                (
                    header.end,
                    header.common.ceiling,
                    header.marker,
                    sparse.length(),
                )
            }
            None => (end, ceiling, marker, segment.offset(end.position)),
        };
        Ok(Some(Whole {
            segment: segment.clone(),
            end,
            ceiling,
            marker,
            bytes,
            stays: 0,
            damage: None,
        }))
    }

    /// Bytes that what stays of a segment takes, and whether that is all there is in it.
    fn stays(&self, whole: &Whole, alive: &[Position]) -> Result<(u64, bool)> {
        if let Some(sparse) = whole.segment.sparse()?
            && sparse.header.records == alive.len() as u64
        {
            let file = whole.segment.file()?;
            let mut places = Places::new(whole, Some(sparse), &*file);
            for &position in alive {
                places.of(position)?;
            }
            return Ok((sparse.header.index - SEGMENT_HEADER, true));
        }
        let mut bytes = 0;
        self.each(whole, alive, |_, length, _| {
            bytes += length as u64;
            Ok(())
        })?;
        Ok((bytes, false))
    }

    /// Goes through what stays of a segment, in order: where it lies, how long it is, and its bytes.
    fn each(
        &self,
        whole: &Whole,
        alive: &[Position],
        mut then: impl FnMut(Oid, usize, &mut dyn FnMut() -> Result<Bytes>) -> Result<()>,
    ) -> Result<()> {
        let segment = &whole.segment;
        if alive.is_empty() {
            // Also of a sparse one nothing needs to be looked up.
            return Ok(());
        }
        let file = segment.file()?;
        let mut places = Places::new(whole, segment.sparse()?.map(Arc::as_ref), &*file);
        let mut window = Window::new(file.clone());
        for &position in alive {
            let place = places.of(position)?;
            let oid = segment.oid(self.identity.stream, position)?;
            let length = segment.length_at(&mut window, oid, place)?;
            then(oid, length, &mut || window.get(place.offset, length))?;
        }
        Ok(())
    }

    /// Writes what stays of a run to a new file, and puts that in the place of the run.
    fn put_in_place(&self, decision: &Reclaim, run: &[Whole], length: u64) -> Result<()> {
        // Given back once the old files are gone, which is the last thing that happens here.
        let _lent;
        let (medium, last) = (&*self.medium, &run[run.len() - 1]);
        let (base, end) = (run[0].segment.base, last.end.position);
        let name = sparse_name(base, end);
        let new = format!("{name}.new");
        let written = || self.write_sparse(decision, run, &new, length);
        let written = match written() {
            Err(error) if error.kind() == ErrorKind::Full => {
                _lent = Lent::new(self);
                written()
            }
            done => done,
        };
        if let Err(error) = written.and_then(|()| medium.rename(&new, &name)) {
            // Nothing has changed. A file that stays behind is removed by the next writer.
            let _ = medium.remove(&new);
            return Err(error);
        }
        if !planted!(UnlinkedBeforeNamed)
            && let Err(error) = medium.sync_dir()
        {
            // Which of the two a power cut leaves is not known, and both are right.
            self.writing().poison(&error);
            return Err(error);
        }
        {
            let mut segments = self
                .segments
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let at = segments.partition_point(|segment| segment.base < base);
            let sparse = Segment::new(&self.files, base, Some(end));
            segments.splice(at..at + run.len(), [Arc::new(sparse)]);
        }
        self.reclaims.fetch_add(1, Ordering::AcqRel);
        self.maps.forget(base..end);
        for whole in run.iter().filter(|whole| whole.segment.name() != name) {
            if let Err(error) = medium.remove(&whole.segment.name()) {
                tracing::warn!(%error, "what was given back could not be unlinked");
            }
        }
        tracing::debug!(
            base = base.0,
            end = end.0,
            bytes = length,
            "segments reclaimed"
        );
        Ok(())
    }

    fn write_sparse(
        &self,
        decision: &Reclaim,
        run: &[Whole],
        new: &str,
        length: u64,
    ) -> Result<()> {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let common = *first.segment.header()?;
        let file = {
            self.medium.remove(new)?;
            self.medium.create(new)?
        };
        file.claim(length)?;
        let mut out = Out::new(file.clone());
        let mut lies = Vec::new();
        for whole in run {
            let mut alive = decision.alive_in(whole.segment.base, whole.end.position);
            if planted!(LastOfASegmentFreed) {
                alive = alive.split_last().map_or(alive, |(_, rest)| rest);
            }
            self.each(whole, alive, |oid, _, bytes| {
                let bytes = bytes()?;
                Record::decode(oid, bytes.clone())
                    .map_err(|error| error.at(whole.segment.name()))?;
                lies.push((oid.position(), out.put(&bytes)?));
                Ok(())
            })?;
        }
        out.flush()?;
        let (index, firsts) = sparse::index(&self.identity, common.base, lies.iter().copied());
        let header = SparseHeader {
            common: SegmentHeader {
                ceiling: last.ceiling,
                durable: last.end.position,
                ..common
            },
            end: last.end,
            marker: last.marker,
            records: lies.len() as u64,
            index: out.at,
            firsts,
        };
        file.write_at(header.index, &[&index])?;
        file.write_at(0, &[&header.encode(&self.identity)])?;
        file.sync()
    }

    /// Removes segments in whose place a sparse one came. It is there for good before they go.
    pub(super) fn remove_covered(&self) -> Result<()> {
        let (segments, covered) = self.files.listed()?;
        if covered.is_empty() {
            return Ok(());
        }
        for segment in segments {
            let over = |old: &Arc<Segment>| segment.ends().is_some_and(|end| old.base < end);
            if covered.iter().any(over) {
                // Where it is damaged the old ones are all there is.
                segment.sparse()?;
            }
        }
        self.medium.sync_dir()?;
        covered
            .iter()
            .try_for_each(|old| self.medium.remove(&old.name()))
    }
}

/// Whether a file is worth writing that takes so many bytes in the place of so many old ones.
fn is_worth(old: u64, new: u64) -> bool {
    old >= new + GAIN_MIN.max(new / GAIN_PART)
}

/// What a header says of the place where the segment before it ended.
fn after(next: &SegmentHeader) -> (End, Position, Option<Oid>) {
    (next.before, next.ceiling, next.newest)
}

/// Where records of a segment lie that are asked for in order.
struct Places<'a> {
    segment: &'a Segment,
    sparse: Option<&'a Sparse>,
    file: &'a dyn MediumFile,
    end: Position,
    block: Vec<(Position, Place)>,
}

impl<'a> Places<'a> {
    fn new(whole: &'a Whole, sparse: Option<&'a Sparse>, file: &'a dyn MediumFile) -> Self {
        Self {
            segment: &whole.segment,
            sparse,
            file,
            end: whole.end.position,
            block: Vec::new(),
        }
    }

    fn of(&mut self, position: Position) -> Result<Place> {
        let Some(sparse) = self.sparse else {
            return Ok(Place {
                offset: self.segment.offset(position),
                within: self.end.bytes_since(position) as usize,
            });
        };
        if self.block.last().is_none_or(|last| last.0 < position) {
            self.block = sparse
                .some_from(self.file, position)
                .map_err(|error| error.at(self.segment.name()))?;
        }
        let found = self.block.binary_search_by_key(&position, |(at, _)| *at);
        found.map(|index| self.block[index].1).map_err(|_| {
            let text = format!("what lay at {position} was freed before: it cannot stay");
            Error::new(ErrorKind::Invalid, text)
        })
    }
}

/// The room that is kept for a recovery, lent to a reclaim on a full medium. A crash meanwhile leaves a
/// file that the recovery removes before it needs the room; no batch is promised any until it is back.
struct Lent<'a> {
    to: &'a Shared,
    bytes: u64,
}

impl<'a> Lent<'a> {
    fn new(to: &'a Shared) -> Option<Self> {
        let bytes = to.writing().lend_reserve(&*to.medium);
        (bytes > 0).then_some(Self { to, bytes })
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut writing = self.to.writing();
        writing.take_reserve_back(&*self.to.medium, self.bytes);
    }
}

/// A file that is written in large pieces.
pub(super) struct Out {
    pub(super) file: Arc<dyn MediumFile>,
    pub(super) at: u64,
    held: Vec<u8>,
    synced: u64,
}

impl Out {
    /// What is put down comes behind the header.
    pub(super) fn new(file: Arc<dyn MediumFile>) -> Self {
        Self {
            file,
            at: SEGMENT_HEADER,
            held: Vec::with_capacity(PIECE),
            synced: SEGMENT_HEADER,
        }
    }

    /// Where what comes next lies.
    pub(super) fn end(&self) -> u64 {
        self.at + self.held.len() as u64
    }

    /// Takes bytes, and tells where in the file they lie.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<u64> {
        let at = self.end();
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE {
            self.flush()?;
        }
        Ok(at)
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.file.write_at(self.at, &[&self.held])?;
        self.at += self.held.len() as u64;
        self.held.clear();
        if self.at - self.synced >= UNSYNCED_MAX {
            self.file.sync()?;
            self.synced = self.at;
        }
        Ok(())
    }
}
