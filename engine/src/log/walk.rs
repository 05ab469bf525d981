//! Walking the batches of a segment in order, through a window on its file.

use std::sync::Arc;

use bytes::Bytes;

use super::format::{Frame, Identity};
use super::segment::Segment;
use crate::contract::batch::{BATCH_HEADER, running_of};
use crate::contract::{Batch, BatchHeader, End, Position, Result};
use crate::medium::MediumFile;

/// Bytes read ahead at once.
const WINDOW: usize = 1 << 20;

/// Units that some medium may have aligned a batch to after a commit. A reader tries each: which one
/// it was is stated by the batch found there.
const UNITS: [u64; 3] = [8, 512, 4096];

/// A file read in large pieces.
pub(super) struct Window {
    file: Arc<dyn MediumFile>,
    start: u64,
    bytes: Bytes,
    /// Bytes read at once, at least.
    most: usize,
}

impl Window {
    pub(super) fn new(file: Arc<dyn MediumFile>) -> Self {
        Self::narrow(file, WINDOW)
    }

    /// One that reads no further ahead.
    pub(super) fn narrow(file: Arc<dyn MediumFile>, most: usize) -> Self {
        Self {
            file,
            start: 0,
            bytes: Bytes::new(),
            most,
        }
    }

    /// `length` bytes at `offset`, fewer only at the end of the file.
    pub(super) fn get(&mut self, offset: u64, length: usize) -> Result<Bytes> {
        let end = offset + length as u64;
        let have = self.start + self.bytes.len() as u64;
        if offset < self.start || end > have {
            // What is here already is not read again: a batch may be longer than the window was.
            let kept = match (self.start..have).contains(&offset) {
                true => self.bytes.slice((offset - self.start) as usize..),
                false => Bytes::new(),
            };
            let missing = length.max(self.most) - kept.len();
            let rest = self.file.read_at(offset + kept.len() as u64, missing)?;
            self.bytes = match kept.is_empty() {
                true => rest,
                false => [kept, rest].concat().into(),
            };
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        let to = (from + length).min(self.bytes.len());
        Ok(self.bytes.slice(from..to))
    }
}

/// One whole, valid batch and the log's words about it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) frame: Frame,
    pub(super) batch: Batch,
}

/// Looks for the batch that follows on `before`. `None`: no whole and valid one is there.
pub(super) fn next(
    window: &mut Window,
    segment: &Segment,
    identity: &Identity,
    before: End,
) -> Result<Option<Found>> {
    let mut tried = None;
    for unit in UNITS {
        // The first batch of a segment begins at its base, however wide the gap before.
        let base = before.position.align_up(unit).max(segment.base);
        if tried == Some(base) {
            continue;
        }
        tried = Some(base);
        if let Some(found) = at(window, segment, identity, base)? {
            let header = found.batch.header();
            if (header.before_end, header.before_running) == (before.position, before.running) {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// The whole and valid batch that begins at `base`, if there is one.
pub(super) fn at(
    window: &mut Window,
    segment: &Segment,
    identity: &Identity,
    base: Position,
) -> Result<Option<Found>> {
    let offset = segment.offset(base);
    let head = window.get(offset, BATCH_HEADER)?;
    let Some(frame) = Frame::decode(&head, identity, base) else {
        return Ok(None);
    };
    let Some(header) = BatchHeader::decode(&head) else {
        return Ok(None);
    };
    let agrees = header.base == base
        && header.stream == identity.stream
        && header.length() == u64::from(frame.length);
    if !agrees {
        return Ok(None);
    }
    let bytes = window.get(offset, frame.length as usize)?;
    if bytes.len() < frame.length as usize
        || running_of(header.before_running, &bytes) != frame.running && !planted!(TornBatchCounts)
    {
        return Ok(None);
    }
    // The running checksum holds, so a batch that does not parse was never made by an engine; it is
    // as good as none.
    Ok(Batch::decode(bytes)
        .ok()
        .map(|batch| Found { frame, batch }))
}

/// The highest durable mark and the highest ceiling that frames of this file state from `from` on,
/// valid batches or not.
pub(super) fn durable_marks(
    window: &mut Window,
    segment: &Segment,
    identity: &Identity,
    from: Position,
) -> Result<Option<(Position, Position)>> {
    let mut highest: Option<(Position, Position)> = None;
    let mut offset = segment.offset(from);
    loop {
        let piece = window.get(offset, WINDOW)?;
        // The last few bytes of a piece are looked at again in front of the next.
        let whole = piece.len().saturating_sub(BATCH_HEADER - 8) & !7;
        for at in (0..whole)
            .step_by(8)
            .filter(|&at| Frame::looks_like(&piece[at..]))
        {
            let place = segment
                .base
                .plus_bytes(offset + at as u64 - segment.offset(segment.base));
            if let Some(frame) = Frame::decode(&piece[at..], identity, place) {
                let (durable, ceiling) = highest.unwrap_or_default();
                highest = Some((frame.durable.max(durable), frame.ceiling.max(ceiling)));
            }
        }
        if piece.len() < WINDOW {
            return Ok(highest);
        }
        offset += whole as u64;
    }
}
