//! The reading side of a log: one record by its OID, or whole batches in order.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::options::ReadBy;
use super::segment::Segment;
use super::walk::{self, Window};
use super::{SCAN_BYTES, Shared};
use crate::contract::{Batches, End, Error, ErrorKind, Oid, Position, Record, Result};

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
        let end = match next {
            Some(next) => {
                next.header(&*self.medium, self.writes(), &self.identity)?
                    .before
                    .position
            }
            None => Position(self.tail.load(Ordering::Acquire)),
        };
        Ok((position < end).then_some((segment, end)))
    }

    pub(super) fn read(&self, oid: Oid) -> Result<Option<Record>> {
        match self.find(oid) {
            Err(error) if error.kind() == ErrorKind::Corrupt && self.in_a_gap(oid)? => Ok(None),
            found => found,
        }
    }

    fn find(&self, oid: Oid) -> Result<Option<Record>> {
        if oid.stream() != self.identity.stream {
            return Err(Error::invalid(format!(
                "{oid} lies in stream {}, this log holds {}",
                oid.stream(),
                self.identity.stream
            )));
        }
        {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let after = segments.partition_point(|segment| segment.base <= oid.position());
            if let Some(segment) = after.checked_sub(1).map(|index| &segments[index])
                && let Some(record) = segment.peek(oid)?
            {
                return Ok(Some(record));
            }
        }
        let Some((segment, end)) = self.locate(oid.position())? else {
            return self.absent(oid);
        };
        let file = segment.file(&*self.medium, self.writes())?;
        let proven = match self.options.read {
            ReadBy::Map => Some(Position(self.durable.load(Ordering::Acquire))),
            ReadBy::Copy => None,
        };
        segment.read(&**file, oid, end, proven).map(Some)
    }

    /// What to say of an address in no segment: nothing is there, if it lies in a gap or somebody
    /// vouches for the tail.
    fn absent(&self, oid: Oid) -> Result<Option<Record>> {
        let tail = Position(self.tail.load(Ordering::Acquire));
        if oid.position() < tail || self.vouched.load(Ordering::Acquire) {
            return Ok(None);
        }
        Err(Error::unavailable(format!(
            "{oid} lies above the tail {tail}, and no writer vouches for the tail"
        ))
        .at(self.medium.place()))
    }

    /// Whether `oid` lies in a gap that a batch states. Where a batch on the way there is damaged,
    /// nobody knows.
    fn in_a_gap(&self, oid: Oid) -> Result<bool> {
        let Some((segment, _)) = self.locate(oid.position())? else {
            return Ok(false);
        };
        let mut window = Window::new(segment.file(&*self.medium, self.writes())?.clone());
        let header = segment.header(&*self.medium, self.writes(), &self.identity)?;
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
            next: None,
        };
        let mut from = from;
        let mut taken = 0;
        loop {
            let Some((segment, end)) = self.segment_at_or_after(from)? else {
                return Ok(out);
            };
            let file = segment.file(&*self.medium, self.writes())?.clone();
            let mut window = Window::new(file);
            let header = *segment.header(&*self.medium, self.writes(), &self.identity)?;
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
