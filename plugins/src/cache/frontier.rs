//! How far what is read can never change: below that, answers may be kept.
//!
//! ```text
//!   positions   0 ............ durable ............ end ............
//!   records     | final        | once this opening adopted         |
//!   absences    | final        | once it adopted   | not final: the next store may come here
//! ```
//!
//! What was durable when the stack was opened is never cut. Above it, whoever takes the store over may
//! cut, and before this opening has adopted that may be another process. Below the end of a stream
//! every place is taken or lies in a stated gap, and a gap is never filled, not after a cut either:
//! the next epoch begins at a ceiling above everything that was handed out.
//!
//! Invariant: an end that is told here is at or below the end of the stream at that moment, or of a
//! later one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use travertine_engine::contract::{Oid, Position, Record, Status, Stream, Vector};

/// What is known of each stream.
#[derive(Debug)]
pub(super) struct Frontier {
    lines: Box<[Line]>,
    /// Whether this opening adopted, so that every cut goes through here.
    ours: AtomicBool,
}

#[derive(Debug)]
struct Line {
    stream: Stream,
    /// Durable when the stack was opened.
    durable: Position,
    /// The end, as far as it was seen.
    end: AtomicU64,
}

/// How far answers to a question asked now are final.
#[derive(Debug, Clone, Copy)]
pub(super) struct Final {
    records: Position,
    absences: Position,
}

impl Final {
    /// Whether this answer can never change.
    pub(super) fn covers(self, oid: Oid, found: Option<&Record>) -> bool {
        oid.position() < found.map_or(self.absences, |_| self.records)
    }
}

impl Frontier {
    /// As a store says of itself when it is opened.
    pub(super) fn new(status: &Status) -> Self {
        let lines = status.streams.iter().map(|of| Line {
            stream: Stream(of.stream),
            durable: Position(of.durable.min(of.end)),
            end: AtomicU64::new(of.end),
        });
        Self {
            lines: lines.collect(),
            ours: AtomicBool::new(false),
        }
    }

    /// For a question about `stream` that is asked after this.
    pub(super) fn now(&self, stream: Stream) -> Final {
        let Some(line) = self.line(stream) else {
            let nothing = Position::START;
            return Final {
                records: nothing,
                absences: nothing,
            };
        };
        let records = match self.ours.load(Ordering::Acquire) {
            true => Position::LIMIT,
            false => line.durable,
        };
        Final {
            records,
            absences: records.min(Position(line.end.load(Ordering::Acquire))),
        }
    }

    /// A batch that ends here was taken.
    pub(super) fn reached(&self, stream: Stream, end: Position) {
        if let Some(line) = self.line(stream) {
            line.end.fetch_max(end.0, Ordering::AcqRel);
        }
    }

    /// The streams end here now: of those that are not named, nothing is known.
    pub(super) fn cut(&self, vector: &Vector) {
        for line in &self.lines {
            let named = vector.iter().find(|(stream, _)| *stream == line.stream);
            let end = named.map_or(0, |(_, end)| end.position.0);
            line.end.store(end, Ordering::Release);
        }
    }

    /// Whether every cut goes through here from now on.
    pub(super) fn own(&self, ours: bool) {
        self.ours.store(ours, Ordering::Release);
    }

    fn line(&self, stream: Stream) -> Option<&Line> {
        self.lines.iter().find(|line| line.stream == stream)
    }
}
