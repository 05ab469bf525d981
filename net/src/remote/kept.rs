//! What was stored on the other side and is not durable there yet.
//!
//! ```text
//!   durable there │ kept: stored, or on its way there      │ next
//!   ──────────────┼────────────────────────────────────────┼─────
//!               base            ▲ a server that was lost and came back ends somewhere here
//! ```
//!
//! A server that comes back may have lost any of it, from the end. It is brought what it lacks, batch
//! by batch, before anything else is asked of it. If it ends elsewhere, it is not what it was.

use std::collections::{BTreeMap, VecDeque};

use travertine_engine::contract::{
    Batch, End, Epoch, Error, Position, Result, Stream, StreamState, Vector,
};

/// The lines of one writer.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Who writes, once the older epochs have ended.
    epoch: Option<Epoch>,
    lines: BTreeMap<Stream, Line>,
    bytes: u64,
}

#[derive(Debug)]
struct Line {
    /// What the first batch here follows on.
    base: End,
    batches: VecDeque<Batch>,
    /// Some were let go that are not durable.
    gap: bool,
}

/// How far the streams were when a commit was asked for.
pub(super) type Covered = Vec<(Stream, Position)>;

impl Kept {
    /// The epoch that writes.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Where the streams of the writer begin.
    pub(super) fn adopted(&mut self, epoch: Epoch, vector: &Vector) {
        // The same again: what was stored since stays.
        if self.epoch == Some(epoch) && self.bytes > 0 {
            return;
        }
        self.epoch = Some(epoch);
        self.bytes = 0;
        let line = |end: &End| Line {
            base: *end,
            batches: VecDeque::new(),
            gap: false,
        };
        let lines = vector.iter().map(|(stream, end)| (*stream, line(end)));
        self.lines = lines.collect();
    }

    /// A batch goes there. One that was kept already is not kept twice.
    pub(super) fn push(&mut self, batch: Batch, most: u64) {
        let header = *batch.header();
        let before = End {
            position: header.before_end,
            running: header.before_running,
        };
        let line = self.lines.entry(header.stream).or_insert_with(|| Line {
            base: before,
            batches: VecDeque::new(),
            gap: false,
        });
        let end = line.batches.back().map_or(line.base, end_of);
        if header.end <= end.position || before != end {
            return;
        }
        self.bytes += header.length();
        line.batches.push_back(batch);
        while self.bytes > most {
            let Some(first) = line.batches.pop_front() else {
                break;
            };
            self.bytes -= first.header().length();
            line.base = end_of(&first);
            line.gap = true;
        }
    }

    /// How far the streams are.
    pub(super) fn covered(&self) -> Covered {
        let ends = self.lines.iter().map(|(stream, line)| {
            let end = line.batches.back().map_or(line.base, end_of);
            (*stream, end.position)
        });
        ends.collect()
    }

    /// What lies below these is durable there: it is kept no more. Letting go of much takes long, so that is
    /// for the caller, where nobody waits.
    #[must_use]
    pub(super) fn durable(&mut self, covered: &Covered) -> Vec<Batch> {
        let mut gone = Vec::new();
        for (stream, to) in covered {
            let Some(line) = self.lines.get_mut(stream) else {
                continue;
            };
            if line.base.position <= *to {
                line.gap = false;
            }
            let count = line.batches.partition_point(|it| it.header().end <= *to);
            if let Some(last) = count.checked_sub(1) {
                line.base = end_of(&line.batches[last]);
            }
            let first = gone.len();
            gone.extend(line.batches.drain(..count));
            let lengths = gone[first..].iter().map(|it| it.header().length());
            self.bytes -= lengths.sum::<u64>();
        }
        gone
    }

    /// Where a server that began anew is to go on: where a commit ended, for what comes after one begins
    /// at a unit of its own. So what lies there and is not known durable is brought again.
    ///
    /// Errors: `Corrupt`, if it lost what was durable; `Unavailable`, if it lost what is kept no more.
    pub(super) fn goes_on(&self, told: &StreamState, unit: u64) -> Result<End> {
        let Some(line) = self.lines.get(&told.stream) else {
            return Ok(told.end);
        };
        let mut points = vec![line.base];
        points.extend(line.batches.iter().map(end_of));
        if points.contains(&told.end) {
            let after = |at: usize| line.batches.get(at).map(|batch| batch.header().base);
            // Of what lies further back the server tells no ends, and adopts none.
            let known = |point: &End| {
                *point == told.end || told.chain.iter().any(|link| link.end == *point)
            };
            let apart = |(at, point): &(usize, &End)| {
                let may = (told.durable..=told.end.position).contains(&point.position);
                may && known(point)
                    && after(*at).is_none_or(|base| base.align_down(unit) >= point.position)
            };
            if let Some((_, cut)) = points.iter().enumerate().find(apart) {
                return Ok(*cut);
            }
        }
        let (stream, there, here) = (told.stream, told.end.position, line.base.position);
        if line.gap && there <= here {
            return Err(let_go(stream, there, here));
        }
        Err(Error::corrupt(format!(
            "the server came back and ends at {there} of {stream}: what it acknowledged as durable ends \
             at {here}"
        )))
    }

    /// The batches that follow on a place of a stream.
    ///
    /// Errors: `Unavailable`, if the first of them were let go.
    pub(super) fn after(&self, stream: Stream, cut: End) -> Result<Vec<Batch>> {
        let Some(line) = self.lines.get(&stream) else {
            return Ok(Vec::new());
        };
        if line.base.position > cut.position {
            return Err(let_go(stream, cut.position, line.base.position));
        }
        let above = |batch: &&Batch| batch.header().before_end >= cut.position;
        Ok(line.batches.iter().filter(above).cloned().collect())
    }
}

/// What a server lacks is not kept any more.
fn let_go(stream: Stream, there: Position, here: Position) -> Error {
    Error::unavailable(format!(
        "the server was lost and ends at {there} of {stream}: what was stored up to {here} was not \
         durable there, and was kept here no more"
    ))
}

fn end_of(batch: &Batch) -> End {
    End {
        position: batch.header().end,
        running: batch.running(),
    }
}
