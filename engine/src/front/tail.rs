//! The tail of one stream: the batch in the making, and the batches made lately.
//!
//! ```text
//!   … below | sent | sent | sealed | sealed | records of the builder … |        ceiling
//!           └ recent, kept ┘ └─ on the way ──┘                          ^ end
//!           ^ floor: reads at or above it are answered here
//! ```
//!
//! Invariant: OIDs are handed out only below the ceiling. Invariant: every batch that the store has
//! not taken yet is kept here.

use std::collections::VecDeque;

use crate::contract::batch::BATCH_HEADER;
use crate::contract::codec::Way;
use crate::contract::{
    Batch, BatchBuilder, End, Epoch, NewRecord, Oid, Position, Proven, Record, Reference, Result,
    Stream,
};

/// Where the next batch begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    /// At once: nothing was acknowledged at the end of this batch.
    Follows,
    /// At the next multiple of this many bytes: never again in a unit that holds a commit's end.
    Aligned(u64),
}

#[derive(Debug)]
pub(super) struct StreamTail {
    stream: Stream,
    epoch: Epoch,
    builder: BatchBuilder,
    /// When the builder's first record came, on the monotonic clock.
    pub(super) since_ns: Option<u64>,
    /// End of the last sealed batch.
    end: End,
    pub(super) ceiling: Position,
    /// Sent first, then sealed.
    batches: VecDeque<Batch>,
    sent: usize,
    kept_bytes: usize,
    waiting_bytes: usize,
    /// A buffer that was built in before: its pages need not be got from the kernel again.
    spare: Option<Vec<u8>>,
}

/// Smaller buffers are not worth keeping; larger ones are rare, and would be kept for nothing.
const SPARE: std::ops::RangeInclusive<usize> = 64 << 10..=4 << 20;

/// What a look into a tail found.
pub(super) enum Seen {
    /// It lies below the tail: ask the store.
    Below,
    /// A batch that covers the position.
    In(Batch),
    /// The answer.
    Answer(Result<Option<Record>>),
}

impl StreamTail {
    /// The tail of a stream whose last batch ended at `end`; the next begins at `base`.
    pub(super) fn new(stream: Stream, epoch: Epoch, base: Position, end: End) -> Self {
        Self {
            stream,
            epoch,
            builder: BatchBuilder::new(stream, base, end, epoch, 0),
            since_ns: None,
            end,
            ceiling: base,
            batches: VecDeque::new(),
            sent: 0,
            kept_bytes: 0,
            waiting_bytes: 0,
            spare: None,
        }
    }

    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    /// End of the last sealed batch: what the batch in the making follows on.
    pub(super) fn end(&self) -> End {
        self.end
    }

    /// Where the next record goes at the earliest.
    pub(super) fn next(&self) -> Position {
        self.builder.end()
    }

    /// Bytes in the builder.
    pub(super) fn building(&self) -> usize {
        self.builder.len()
    }

    /// Whether the builder holds no record.
    pub(super) fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// Bytes sealed and not taken by the store yet.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Bytes below the ceiling that are left.
    pub(super) fn room(&self) -> u64 {
        self.ceiling.bytes_since(self.builder.end())
    }

    /// The lowest position that is answered here.
    pub(super) fn floor(&self) -> Position {
        let first = self.batches.front().map(|batch| batch.header().base);
        first.unwrap_or_else(|| self.builder.base())
    }

    /// Whether the record of `reference` may lie in this stream: below the end of what was stored.
    pub(super) fn covers(&self, reference: &Reference) -> bool {
        let end = reference.oid.position().0 + u64::from(reference.length).div_ceil(8);
        end <= self.builder.end().0
    }

    pub(super) fn push(&mut self, record: &NewRecord<'_>) -> Result<Reference> {
        self.builder.push(record)
    }

    /// As [`StreamTail::push`], for a body that goes a way.
    pub(super) fn push_through(
        &mut self,
        record: &NewRecord<'_>,
        way: &Way<'_>,
    ) -> Result<Reference> {
        self.builder.push_through(record, way)
    }

    /// Notes that the last pushed record is a root marker.
    pub(super) fn note_marker(&mut self, oid: Oid) {
        self.builder.note_marker(oid);
    }

    /// Moves the beginning of the batch in the making, while that is empty.
    pub(super) fn begin_at(&mut self, next: Next) {
        if let Next::Aligned(unit) = next
            && self.builder.base().align_up(unit) != self.builder.base()
        {
            let base = self.builder.base().align_up(unit);
            self.builder = BatchBuilder::new(self.stream, base, self.end, self.epoch, 0);
        }
    }

    /// Closes the batch in the making and begins the next.
    pub(super) fn seal(&mut self, proven: Option<Proven>, clean: bool, next: Next) -> Batch {
        // A stream of like batches allocates each at once, a lone small commit little.
        let capacity = self.builder.len() + self.builder.len() / 16;
        let base = match next {
            Next::Follows => self.builder.end(),
            Next::Aligned(unit) => self.builder.end().align_up(unit),
        };
        // The next batch follows on a checksum that is known only once this one is finished.
        let placeholder = BatchBuilder::new(self.stream, base, self.end, self.epoch, 0);
        let batch = std::mem::replace(&mut self.builder, placeholder).finish(proven, clean);
        self.end = End {
            position: batch.header().end,
            running: batch.running(),
        };
        let fits = |spare: &mut Vec<u8>| SPARE.contains(&capacity) && spare.capacity() >= capacity;
        self.builder = match self.spare.take_if(fits) {
            Some(spare) => BatchBuilder::reusing(spare, self.stream, base, self.end, self.epoch),
            None => BatchBuilder::new(self.stream, base, self.end, self.epoch, capacity),
        };
        self.since_ns = None;
        self.waiting_bytes += batch.bytes().len();
        self.kept_bytes += batch.bytes().len();
        self.batches.push_back(batch.clone());
        batch
    }

    /// Sealed batches that the store has not taken, in order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Batch> {
        self.batches.range(self.sent..)
    }

    /// The newest sealed batch.
    pub(super) fn last(&self) -> Option<&Batch> {
        self.batches.back()
    }

    /// Notes that the store took the first waiting batch, and lets go of the oldest sent ones beyond
    /// so many bytes. The newest stays, to ask the store for its ceiling with.
    pub(super) fn taken(&mut self, recent_max: usize) {
        if let Some(batch) = self.batches.get(self.sent) {
            self.waiting_bytes -= batch.bytes().len();
            self.sent += 1;
        }
        while self.kept_bytes > recent_max && self.sent > 0 && self.batches.len() > 1 {
            if let Some(batch) = self.batches.pop_front() {
                self.kept_bytes -= batch.bytes().len();
                self.sent -= 1;
                let buffer = batch.into_buffer();
                if let Some(buffer) = buffer.filter(|buffer| SPARE.contains(&buffer.capacity())) {
                    self.spare = Some(buffer);
                }
            }
        }
    }

    /// Looks for a record here.
    pub(super) fn look(&self, oid: Oid) -> Seen {
        let position = oid.position();
        if position >= self.builder.base() {
            // Above the tail nothing was handed out, and the writer of the stream says so.
            return Seen::Answer(self.builder.read(oid));
        }
        let after = |batch: &Batch| batch.header().base <= position;
        let Some(index) = self.batches.partition_point(after).checked_sub(1) else {
            return Seen::Below;
        };
        let batch = &self.batches[index];
        let first = batch.header().base.plus_bytes(BATCH_HEADER as u64);
        if position < first || position >= batch.header().end {
            return Seen::Answer(Ok(None));
        }
        Seen::In(batch.clone())
    }
}
