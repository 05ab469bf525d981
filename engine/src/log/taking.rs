//! Going on behind a run that another log has left of a reclaim: a log that lacks the run cannot be given
//! its batches any more, for nobody has them whole.
//!
//! ```text
//!   seg | seg | open segment ]              ends where the run begins, with the same running checksum
//!     piece, piece, … ─> rec-<base>-….new   what has come of it: nobody looks into it
//!     the last piece ─> sync of all that ─> rec-<base>-<end>, durable ─> the log ends where the run ends
//! ```
//!
//! The file is the one that a reclaim here would have left, and is read and recovered like it. A run comes
//! in as many pieces as whoever brings it likes: none need be longer than what a scan gives. A crash before
//! the rename is durable leaves the log as it was, and so does a run whose end never comes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Shared;
use super::format::{Identity, SegmentHeader, SparseHeader, sparse_name};
use super::reclaim::Out;
use super::segment::Segment;
use super::sparse;
use crate::contract::{
    End, Epoch, Error, Extent, Freed, Kind, Oid, Position, Reclaim, Result, Sparse,
};

/// What has come of a run.
pub(super) struct Taking {
    sender: Epoch,
    from: Position,
    /// What the run follows on.
    before: End,
    /// Where what has come ends.
    to: Position,
    /// Where it lies until all of it is there.
    name: String,
    out: Out,
    lies: Vec<(Position, u64)>,
    /// The newest marker among it.
    marker: Option<Oid>,
}

impl Shared {
    /// Takes over what is left of a run that follows on the end of this log, or the next piece of it. Of an
    /// empty run nothing: whoever asks wants to know whether it can.
    pub(super) fn take_over(&self, decision: &Reclaim, left: &Sparse) -> Result<Freed> {
        if self.options.extent != Extent::Whole {
            return Err(Error::unsupported(
                "a part of a stream takes no run over from another store",
            ));
        }
        self.may_reclaim(decision.sender)?;
        let taken = Freed::nothing(left.to);
        if left.from == left.to {
            return Ok(taken);
        }
        for (oid, record) in &left.records {
            if oid.stream() != self.identity.stream {
                return Err(Error::invalid(format!("{oid} does not belong here")));
            }
            record.verify(*oid)?;
        }
        // A fence or a close waits for it.
        let _whole = self.hold_reclaims();
        let mut place = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let came = |begun: &Taking| (begun.sender, begun.to) == (decision.sender, left.to);
        if left.after == Some(self.writing().end)
            || left.before.is_none() && place.as_ref().is_some_and(came)
        {
            // It was sent again.
            return Ok(taken);
        }
        let mut taking = self.goes_on(place.take(), decision.sender, left)?;
        let done = taking.take(left).and_then(|()| match left.after {
            Some(after) => self.end_taking(&mut taking, after),
            None => Ok(()),
        });
        if let Err(error) = done {
            // Nothing has changed. A file that stays behind is removed by the next writer.
            let _ = self.medium.remove(&taking.name);
            return Err(error);
        }
        if left.after.is_none() {
            *place = Some(taking);
        }
        Ok(taken)
    }

    /// What a piece is put to.
    fn goes_on(&self, begun: Option<Taking>, sender: Epoch, left: &Sparse) -> Result<Taking> {
        match (begun, left.before) {
            (Some(begun), None) if (begun.sender, begun.to) == (sender, left.from) => {
                return Ok(begun);
            }
            (Some(begun), _) => self.medium.remove(&begun.name)?,
            (None, _) => {}
        }
        let Some(before) = left.before else {
            return Err(Error::invalid(format!(
                "{}..{} is a piece of a run, and what comes before it is not here",
                left.from, left.to
            )));
        };
        self.must_end_at(before, self.writing().end)?;
        let name = format!("{}.new", sparse_name(left.from, left.from));
        self.medium.remove(&name)?;
        Ok(Taking {
            sender,
            from: left.from,
            before,
            to: left.from,
            out: Out::new(self.medium.create(&name)?),
            name,
            lies: Vec::new(),
            marker: None,
        })
    }

    /// All of it is here: writes the file of the run, durably, under its name, and goes on behind it.
    fn end_taking(&self, taking: &mut Taking, after: End) -> Result<()> {
        // What comes before the run has to be there: its name says so.
        self.sync(taking.sender, None)?;
        let _turn = self.take_turn();
        let common = {
            let writing = self.writing();
            writing.admit(taking.sender)?;
            self.must_end_at(taking.before, writing.end)?;
            if !writing.dirty.is_empty() {
                return Err(Error::invalid(
                    "a run is taken over by a log that is written to",
                ));
            }
            SegmentHeader {
                base: taking.from,
                before: taking.before,
                epoch: writing.epoch,
                ceiling: writing.announced.max(after.position),
                durable: after.position,
                newest: writing.newest,
            }
        };
        let marker = taking.marker.or(common.newest);
        taking.end(&self.identity, common, after, marker)?;
        let medium = &*self.medium;
        medium.rename(&taking.name, &sparse_name(taking.from, after.position))?;
        medium.sync_dir().inspect_err(|error| {
            // Whether it is there after a power cut is not known: nothing is written after it.
            self.writing().poison(error);
        })?;
        let segment = Segment::new(&self.files, taking.from, Some(after.position));
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::new(segment));
        let mut writing = self.writing();
        writing.go_on_behind(after, common.ceiling, marker);
        self.tail.store(after.position.0, Ordering::Release);
        self.durable.store(after.position.0, Ordering::Release);
        Ok(())
    }

    fn must_end_at(&self, before: End, end: End) -> Result<()> {
        match end == before {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "a run that follows on {} cannot be taken over, the log ends at {}",
                before.position, end.position
            ))),
        }
    }
}

impl Taking {
    fn take(&mut self, left: &Sparse) -> Result<()> {
        let lengths = left.records.iter();
        let bytes: usize = lengths.map(|(_, record)| record.encoded().len()).sum();
        let count = self.lies.len() + left.records.len();
        let end = self.out.end() + bytes as u64;
        self.out
            .file
            .claim(end + sparse::index_length(count as u64))?;
        for (oid, record) in &left.records {
            self.lies
                .push((oid.position(), self.out.put(record.encoded())?));
            if record.kind() == Kind::MARKER {
                self.marker = Some(*oid);
            }
        }
        self.to = left.to;
        Ok(())
    }

    /// Writes what stands around the records.
    fn end(
        &mut self,
        identity: &Identity,
        common: SegmentHeader,
        end: End,
        marker: Option<Oid>,
    ) -> Result<()> {
        self.out.flush()?;
        let (index, firsts) = sparse::index(identity, self.from, self.lies.iter().copied());
        let header = SparseHeader {
            common,
            end,
            marker,
            records: self.lies.len() as u64,
            index: self.out.at,
            firsts,
        };
        let file = &self.out.file;
        file.write_at(header.index, &[&index])?;
        file.write_at(0, &[&header.encode(identity)])?;
        file.sync()
    }
}
