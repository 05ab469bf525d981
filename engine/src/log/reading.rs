//! The reading side of a log: one record by its OID, or whole batches in order.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::options::ReadBy;
use super::segment::Segment;
use super::sparse::Place;
use super::walk::{self, Window};
use super::{SCAN_BYTES, Shared};
use crate::contract::{
    Batches, End, Error, ErrorKind, Extent, Oid, Op, Position, Record, Result, Sparse,
};
use crate::medium::MediumFile;

/// How far a read got without copying.
enum Begun {
    Answered(Option<Record>),
    /// It lies in this segment, there in its file.
    In(Arc<Segment>, Place, Arc<dyn MediumFile>),
}

impl Shared {
    /// The segment that `position` falls to, and where its valid bytes end. `None`: in no segment,
    /// or in a stated gap.
    pub(super) fn locate(&self, position: Position) -> Result<Option<(Arc<Segment>, Position)>> {
        let (segment, next) = {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let after = segments.partition_point(|segment| segment.base <= position);
            if after == 0 {
                return Ok(None);
            }
            (segments[after - 1].clone(), segments.get(after).cloned())
        };
        let tail = Position(self.tail.load(Ordering::Acquire));
        let end = match (segment.ends(), next) {
            (Some(end), _) => end.min(tail),
            (None, Some(next)) => {
                let header = next.header()?;
                // A later segment may have outlived the tail of this one, until a cut takes it away.
                header.before.position.min(tail)
            }
            (None, None) => tail,
        };
        Ok((position < end).then_some((segment, end)))
    }

    #[inline]
    pub(super) fn read(self: &Arc<Self>, oid: Oid) -> Op<Option<Record>> {
        // What a map holds is answered with nothing else looked at; else everything is, from the start.
        if oid.stream() == self.identity.stream
            && let Ok(Some(record)) = self.maps.peek(oid)
        {
            return Op::ok(Some(record));
        }
        self.read_further(oid)
    }

    #[inline(never)]
    fn read_further(self: &Arc<Self>, oid: Oid) -> Op<Option<Record>> {
        match self.unless_moved(|| self.at_once(oid)) {
            Ok(Begun::Answered(answer)) => Op::ok(answer),
            Ok(Begun::In(segment, place, file)) => self.read_copied(&segment, oid, place, file),
            Err(error) => Op::ready(self.unless_a_gap(oid, error)),
        }
    }

    /// The answer, or where it must be copied from.
    fn at_once(&self, oid: Oid) -> Result<Begun> {
        if oid.stream() != self.identity.stream {
            return Err(Error::invalid(format!(
                "{oid} lies in stream {}, this log holds {}",
                oid.stream(),
                self.identity.stream
            )));
        }
        if let Some(record) = self.maps.peek(oid)? {
            return Ok(Begun::Answered(Some(record)));
        }
        // Before it is located: what is given back from here on is told below.
        let reclaims = self.reclaims.load(Ordering::Acquire);
        let Some((segment, end)) = self.locate(oid.position())? else {
            return self.absent(oid).map(Begun::Answered);
        };
        if segment.ends().is_some() {
            return self.at_once_in_sparse(segment, oid, end, reclaims);
        }
        if self.options.read == ReadBy::Map {
            let proven = Position(self.durable.load(Ordering::Acquire));
            let mapped = segment.read_mapped(&self.maps, oid, end.min(proven))?;
            self.forget_if_gone(&segment, reclaims);
            if mapped.is_some() {
                return Ok(Begun::Answered(mapped));
            }
        }
        let place = Place {
            offset: segment.offset(oid.position()),
            within: end.bytes_since(oid.position()) as usize,
        };
        let file = segment.file()?;
        Ok(Begun::In(segment, place, file))
    }

    /// As [`Shared::at_once`], of what a reclaim left: what its index does not name is absent.
    fn at_once_in_sparse(
        &self,
        segment: Arc<Segment>,
        oid: Oid,
        end: Position,
        reclaims: u64,
    ) -> Result<Begun> {
        if self.options.read == ReadBy::Map {
            let answer = segment.read_sparse(&self.maps, oid)?;
            self.forget_if_gone(&segment, reclaims);
            if let Some(answer) = answer {
                return Ok(Begun::Answered(answer));
            }
        }
        let Some(place) = segment.place(oid.position(), end)? else {
            return Ok(Begun::Answered(None));
        };
        let file = segment.file()?;
        Ok(Begun::In(segment, place, file))
    }

    /// A map that was just made may be of a file that was given back meanwhile: it must not keep its room.
    fn forget_if_gone(&self, segment: &Segment, reclaims: u64) {
        if self.reclaims.load(Ordering::Acquire) != reclaims {
            self.maps.forget(segment.base..Position(segment.base.0 + 1));
        }
    }

    /// Does something again if a reclaim took a segment away while it was done.
    fn unless_moved<T>(&self, what: impl Fn() -> Result<T>) -> Result<T> {
        const TIMES: usize = 4;
        for _ in 1..TIMES {
            match what() {
                Err(error) if error.kind() == ErrorKind::Unavailable && self.moved()? => {}
                answer => return answer,
            }
        }
        what()
    }

    /// Whether segments may lie elsewhere than when this handle looked last; then it has looked again.
    fn moved(&self) -> Result<bool> {
        if self.held.load(Ordering::Acquire) {
            // Whoever reclaims here says so before the old files go.
            return Ok(self.reclaims.load(Ordering::Acquire) > 0);
        }
        let fresh = self.files.segments()?;
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(last) = segments.last().map(|last| last.base) else {
            return Ok(false);
        };
        // The newest of a log that is written is never reclaimed, and what came after it is not known
        // of yet. One that has ended gives all back.
        let ended = self.options.extent.is_sealed() || self.writes();
        let known = segments.len() - usize::from(!ended);
        let limit = match ended {
            true => Position(self.tail.load(Ordering::Acquire)),
            false => last,
        };
        let within = |segment: &Arc<Segment>| segment.base < limit;
        let fresh: Vec<_> = fresh.into_iter().take_while(within).collect();
        let run = |segment: &Arc<Segment>| (segment.base, segment.ends());
        // One that is missing with nothing in its place was lost.
        let found = |old: &Arc<Segment>| {
            let after = fresh.partition_point(|new| new.base <= old.base);
            let new = after.checked_sub(1).map(|index| &fresh[index]);
            new.is_some_and(|new| run(new) == run(old) || new.ends() > Some(old.base))
        };
        if fresh.iter().map(run).eq(segments[..known].iter().map(run))
            || !segments[..known].iter().all(found)
        {
            return Ok(false);
        }
        segments.splice(..known, fresh);
        drop(segments);
        self.maps.clear();
        Ok(true)
    }

    fn read_copied(
        self: &Arc<Self>,
        segment: &Arc<Segment>,
        oid: Oid,
        place: Place,
        file: Arc<dyn MediumFile>,
    ) -> Op<Option<Record>> {
        let this = self.clone();
        let bring = move |offset, length| match this.options.read {
            ReadBy::Ring => file.fetch(&this.env, offset, length),
            ReadBy::Map | ReadBy::Copy => Op::ready(file.read_at(offset, length)),
        };
        let this = self.clone();
        segment
            .read_copied(oid, place, bring)
            .shape(move |answer| match answer {
                Ok(record) => Ok(Some(record)),
                Err(error) => this.unless_a_gap(oid, error),
            })
    }

    /// What reading met, unless nothing was ever there.
    fn unless_a_gap(&self, oid: Oid, error: Error) -> Result<Option<Record>> {
        if error.kind() == ErrorKind::Corrupt && self.in_a_gap(oid)? {
            return Ok(None);
        }
        Err(error)
    }

    /// What to say of an address in no segment: nothing is there, if it lies in a gap or somebody
    /// vouches for the tail.
    fn absent(&self, oid: Oid) -> Result<Option<Record>> {
        self.check_begun(oid.position())?;
        let tail = Position(self.tail.load(Ordering::Acquire));
        if oid.position() < tail || self.vouched.load(Ordering::Acquire) {
            return Ok(None);
        }
        Err(Error::unavailable(format!(
            "{oid} lies above the tail {tail}, and no writer vouches for the tail"
        ))
        .at(self.medium.place()))
    }

    /// Refuses to speak of positions before the first segment, unless the gap that it states holds
    /// them: what lay there is elsewhere, or gone.
    fn check_begun(&self, position: Position) -> Result<()> {
        let first = {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            segments.first().cloned()
        };
        let Some(first) = first.filter(|first| position < first.base) else {
            return Ok(());
        };
        let header = first.header()?;
        let begins = header.before.position;
        if position >= begins {
            return Ok(());
        }
        let text = format!("{position} lies before {begins}, and nothing that old is here");
        Err(match self.options.extent {
            Extent::Whole => Error::corrupt(format!("{text}: segments are missing")),
            _ => Error::unavailable(text),
        }
        .at(self.medium.place()))
    }

    /// Whether `oid` lies in a gap that a batch states. Where a batch on the way there is damaged,
    /// nobody knows.
    fn in_a_gap(&self, oid: Oid) -> Result<bool> {
        let Some((segment, _)) = self.locate(oid.position())? else {
            return Ok(false);
        };
        if segment.ends().is_some() {
            return Ok(false);
        }
        let mut window = Window::new(segment.file()?);
        let header = segment.header()?;
        let mut before = header.before;
        while let Some(found) = walk::next(&mut window, &segment, &self.identity, before)? {
            let header = found.batch.header();
            if oid.position() < header.end {
                return Ok(oid.position() < header.base);
            }
            before = End {
                position: header.end,
                running: found.frame.running,
            };
        }
        Ok(false)
    }

    pub(super) fn scan(&self, from: Position) -> Result<Batches> {
        self.unless_moved(|| self.scan_once(from))
    }

    fn scan_once(&self, from: Position) -> Result<Batches> {
        let mut out = Batches {
            batches: Vec::new(),
            sparse: None,
            next: None,
        };
        match (self.gather(from, &mut out), out.batches.last()) {
            // What lies before the damage is answered first: who goes on meets it.
            (Err(error), Some(last)) if error.kind() == ErrorKind::Corrupt => {
                out.next = Some(last.header().end);
                Ok(out)
            }
            (done, _) => done.map(|()| out),
        }
    }

    fn gather(&self, from: Position, out: &mut Batches) -> Result<()> {
        if self.options.extent == Extent::Whole {
            // A part begins where it begins; of a whole stream nothing may be missing.
            self.check_begun(from)?;
        }
        let mut from = from;
        let mut taken = 0;
        loop {
            let Some((segment, end)) = self.segment_at_or_after(from)? else {
                return Ok(());
            };
            if segment.ends().is_some() {
                let from = from.max(segment.base);
                if out.batches.is_empty() {
                    *out = self.scan_sparse(&segment, from)?;
                    return Ok(());
                }
                out.next = Some(from);
                return Ok(());
            }
            let file = segment.file()?;
            let mut window = Window::new(file);
            let header = *segment.header()?;
            let mut before = header.before;
            // A scan that goes on begins at a batch; any other walks there from the segment's start.
            if let Some(found) = walk::at(&mut window, &segment, &self.identity, from)? {
                let header = found.batch.header();
                before = End {
                    position: header.before_end,
                    running: header.before_running,
                };
            }
            while before.position < end {
                let next = walk::next(&mut window, &segment, &self.identity, before)?;
                let Some(found) = next else {
                    return Err(Error::corrupt(format!(
                        "no whole batch follows on {} of stream {}, though the log goes on to {end}",
                        before.position, self.identity.stream
                    ))
                    .at(self.medium.place()));
                };
                let header = found.batch.header();
                before = End {
                    position: header.end,
                    running: found.frame.running,
                };
                if header.base < from {
                    continue;
                }
                taken += header.length();
                if taken > SCAN_BYTES && !out.batches.is_empty() {
                    out.next = Some(header.base);
                    return Ok(());
                }
                out.batches.push(found.batch);
            }
            from = end;
            let tail = Position(self.tail.load(Ordering::Acquire));
            if from >= tail {
                return Ok(());
            }
        }
    }

    /// What is left of a sparse segment from a position on, or a piece of it.
    fn scan_sparse(&self, segment: &Arc<Segment>, from: Position) -> Result<Batches> {
        let Some(sparse) = segment.sparse()? else {
            return Err(Error::corrupt(format!(
                "{} is no sparse segment",
                segment.name()
            )));
        };
        let end = sparse.header.end;
        let file = segment.file()?;
        let mut window = Window::new(file.clone());
        let (mut records, mut at, mut taken) = (Vec::new(), from, 0);
        let more = 'all: loop {
            let block = sparse.some_from(&*file, at);
            let block = block.map_err(|error| error.at(segment.name()))?;
            if block.is_empty() {
                break None;
            }
            for (position, place) in block {
                if taken > SCAN_BYTES {
                    break 'all Some(position);
                }
                let oid = segment.oid(self.identity.stream, position)?;
                let record = segment.record_at(&mut window, oid, place)?;
                taken += record.encoded().len() as u64;
                records.push((oid, record));
                at = Position(position.0 + 1);
            }
        };
        let tail = Position(self.tail.load(Ordering::Acquire));
        let to = more.unwrap_or(end.position);
        Ok(Batches {
            batches: Vec::new(),
            sparse: Some(Sparse {
                from,
                to,
                before: (from == segment.base).then_some(sparse.header.common.before),
                records,
                after: more.is_none().then_some(end),
            }),
            next: (to < tail).then_some(to),
        })
    }

    /// The segment that holds `from`, or the next one after it; with the end of its valid bytes.
    pub(super) fn segment_at_or_after(
        &self,
        from: Position,
    ) -> Result<Option<(Arc<Segment>, Position)>> {
        if let Some(found) = self.locate(from)? {
            return Ok(Some(found));
        }
        let next = {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let after = segments.partition_point(|segment| segment.base <= from);
            segments.get(after).map(|segment| segment.base)
        };
        match next {
            Some(base) => self.locate(base),
            None => Ok(None),
        }
    }
}
