//! Going on behind a run that another log has left of a reclaim: a log that lacks the run cannot be given
//! its batches any more, for nobody has them whole.
//!
//! ```text
//!   seg | seg | open segment ]              ends where the run begins, with the same running checksum
//!     sync of all that ─> rec-<base>-<end>.new ─> rename, durable ─> the log ends where the run ends
//! ```
//!
//! The file is the one that a reclaim here would have left, and is read and recovered like it. A crash
//! before the rename is durable leaves the log as it was.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Shared;
use super::format::{SEGMENT_HEADER, SegmentHeader, SparseHeader, sparse_name};
use super::reclaim::Out;
use super::segment::Segment;
use super::sparse;
use crate::contract::{End, Error, Extent, Freed, Kind, Oid, Reclaim, Record, Result, Sparse};

impl Shared {
    /// Takes over what is left of a run that follows on the end of this log. Of an empty run nothing:
    /// whoever asks wants to know whether it can.
    pub(super) fn take_over(&self, decision: &Reclaim, left: &Sparse) -> Result<Freed> {
        if self.options.extent != Extent::Whole {
            return Err(Error::unsupported(
                "a part of a stream takes no run over from another store",
            ));
        }
        self.may_reclaim(decision.sender)?;
        if left.from == left.to {
            return Ok(Freed::default());
        }
        let (Some(before), Some(after)) = (left.before, left.after) else {
            return Err(Error::invalid(format!(
                "{}..{} is not the whole of what is left of a run",
                left.from, left.to
            )));
        };
        for (oid, record) in &left.records {
            if oid.stream() != self.identity.stream {
                return Err(Error::invalid(format!("{oid} does not belong here")));
            }
            record.verify(*oid)?;
        }
        // A fence or a close waits for it.
        let _whole = self.hold_reclaims();
        // What comes before the run has to be there: its name says so.
        self.sync(decision.sender, None)?;
        let _turn = self.take_turn();
        let header = {
            let writing = self.writing();
            writing.admit(decision.sender)?;
            if writing.end == after {
                return Ok(Freed::default());
            }
            if writing.end != before || !writing.dirty.is_empty() {
                return Err(Error::invalid(format!(
                    "a run that follows on {} cannot be taken over, the log ends at {}",
                    before.position, writing.end.position
                )));
            }
            SegmentHeader {
                base: left.from,
                before,
                epoch: writing.epoch,
                ceiling: writing.announced.max(after.position),
                durable: after.position,
                newest: writing.newest,
            }
        };
        let marker =
            |(oid, record): &(Oid, Record)| (record.kind() == Kind::MARKER).then_some(*oid);
        let marker = left.records.iter().rev().find_map(marker).or(header.newest);
        self.put_down(left, header, after, marker)?;
        let segment = Segment::new(&self.files, left.from, Some(left.to));
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::new(segment));
        let mut writing = self.writing();
        writing.go_on_behind(after, header.ceiling, marker);
        self.tail.store(after.position.0, Ordering::Release);
        self.durable.store(after.position.0, Ordering::Release);
        Ok(Freed::default())
    }

    /// Writes the file of a run, durably, under its name.
    fn put_down(
        &self,
        left: &Sparse,
        common: SegmentHeader,
        end: End,
        marker: Option<Oid>,
    ) -> Result<()> {
        let medium = &*self.medium;
        let name = sparse_name(left.from, left.to);
        let new = format!("{name}.new");
        let written = || {
            medium.remove(&new)?;
            let file = medium.create(&new)?;
            let bytes: u64 = left
                .records
                .iter()
                .map(|(_, record)| record.encoded().len() as u64)
                .sum();
            file.claim(SEGMENT_HEADER + bytes + sparse::index_length(left.records.len() as u64))?;
            let mut out = Out::new(&*file);
            let mut lies = Vec::with_capacity(left.records.len());
            for (oid, record) in &left.records {
                lies.push((oid.position(), out.put(record.encoded())?));
            }
            out.flush()?;
            let (index, firsts) = sparse::index(&self.identity, left.from, lies.iter().copied());
            let header = SparseHeader {
                common,
                end,
                marker,
                records: lies.len() as u64,
                index: out.at,
                firsts,
            };
            file.write_at(header.index, &[&index])?;
            file.write_at(0, &[&header.encode(&self.identity)])?;
            file.sync()?;
            medium.rename(&new, &name)
        };
        if let Err(error) = written() {
            // Nothing has changed. A file that stays behind is removed by the next writer.
            let _ = medium.remove(&new);
            return Err(error);
        }
        medium.sync_dir().inspect_err(|error| {
            // Whether it is there after a power cut is not known: nothing is written after it.
            self.writing().poison(error);
        })
    }
}
