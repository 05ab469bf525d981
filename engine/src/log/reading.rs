//! The reading side of a log: one record by its OID, or whole batches in order.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::options::ReadBy;
use super::segment::Segment;
use super::walk::{self, Window};
use super::{SCAN_BYTES, Shared};
use crate::contract::{Batches, End, Error, ErrorKind, Extent, Oid, Op, Position, Record, Result};

/// How far a read got without copying.
enum Begun {
    Answered(Option<Record>),
    /// It lies in this segment, whose valid bytes end there.
    In(Arc<Segment>, Position),
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
        let end = match next {
            Some(next) => {
                let header = next.header()?;
                // A later segment may have outlived the tail of this one, until a cut takes it away.
                header.before.position.min(tail)
            }
            None => tail,
        };
        Ok((position < end).then_some((segment, end)))
    }

    pub(super) fn read(self: &Arc<Self>, oid: Oid) -> Op<Option<Record>> {
        match self.at_once(oid) {
            Ok(Begun::Answered(answer)) => Op::ok(answer),
            Ok(Begun::In(segment, end)) => self.read_copied(&segment, oid, end),
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
        let Some((segment, end)) = self.locate(oid.position())? else {
            return self.absent(oid).map(Begun::Answered);
        };
        if self.options.read == ReadBy::Map {
            let proven = Position(self.durable.load(Ordering::Acquire));
            if let Some(record) = segment.read_mapped(&self.maps, oid, end.min(proven))? {
                return Ok(Begun::Answered(Some(record)));
            }
        }
        Ok(Begun::In(segment, end))
    }

    fn read_copied(
        self: &Arc<Self>,
        segment: &Arc<Segment>,
        oid: Oid,
        end: Position,
    ) -> Op<Option<Record>> {
        let file = match segment.file() {
            Ok(file) => file,
            Err(error) => return Op::err(error),
        };
        let this = self.clone();
        let bring = move |offset, length| match this.options.read {
            ReadBy::Ring => file.fetch(&this.env, offset, length),
            ReadBy::Map | ReadBy::Copy => Op::ready(file.read_at(offset, length)),
        };
        let this = self.clone();
        segment
            .read_copied(oid, end, bring)
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
        let mut out = Batches {
            batches: Vec::new(),
            sparse: None,
            next: None,
        };
        if self.options.extent == Extent::Whole {
            // A part begins where it begins; of a whole stream nothing may be missing.
            self.check_begun(from)?;
        }
        let mut from = from;
        let mut taken = 0;
        loop {
            let Some((segment, end)) = self.segment_at_or_after(from)? else {
                return Ok(out);
            };
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
                    return Ok(out);
                }
                out.batches.push(found.batch);
            }
            from = end;
            let tail = Position(self.tail.load(Ordering::Acquire));
            if from >= tail {
                return Ok(out);
            }
        }
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
