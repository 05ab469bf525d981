//! What a probe saw: calls and bytes of each verb, errors by kind, times, answers on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use travertine_engine::contract::batch::BATCH_HEADER;
use travertine_engine::contract::{
    Batches, Clock, Error, ErrorKind, Freed, Level, Oid, Op, Pending, Record, Result, RootMarker,
    StreamState, Tail,
};

use super::histogram::Histogram;
pub(super) use super::histogram::Taken;
use super::slow::SlowLog;
use crate::shards::{Cells, Shards};

/// The verbs that are counted, in the order of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Store,
    Read,
    Commit,
    Root,
    Fence,
    Adopt,
    Scan,
    Reclaim,
    Close,
}

impl Verb {
    pub(super) const ALL: [Self; VERBS] = [
        Self::Store,
        Self::Read,
        Self::Commit,
        Self::Root,
        Self::Fence,
        Self::Adopt,
        Self::Scan,
        Self::Reclaim,
        Self::Close,
    ];

    pub(super) const fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// Calls that may come millions of times a second: only some of them are timed.
    const fn is_frequent(self) -> bool {
        matches!(self, Self::Store | Self::Read)
    }
}

const VERBS: usize = 9;
const NAMES: [&str; VERBS] = [
    "store", "read", "commit", "root", "fence", "adopt", "scan", "reclaim", "close",
];

/// Calls of each verb, then bytes of each, then the batches that were brought.
const COUNTERS: usize = 2 * VERBS + 1;
const BATCHES: usize = 2 * VERBS;

/// The kinds of errors that are told apart.
pub(super) const KINDS: [ErrorKind; 8] = [
    ErrorKind::Conflict,
    ErrorKind::Unavailable,
    ErrorKind::Corrupt,
    ErrorKind::Invalid,
    ErrorKind::Fenced,
    ErrorKind::Closed,
    ErrorKind::Full,
    ErrorKind::Unsupported,
];

/// Names of the figures: calls, bytes, errors, p50, p99, p99.9, longest.
const FIGURES: [[&str; 7]; VERBS] = {
    macro_rules! names {
        ($($verb:literal)*) => {
            [$([
                concat!($verb, "_calls"),
                concat!($verb, "_bytes"),
                concat!($verb, "_errors"),
                concat!($verb, "_p50_ns"),
                concat!($verb, "_p99_ns"),
                concat!($verb, "_p999_ns"),
                concat!($verb, "_max_ns"),
            ]),*]
        };
    }
    names!["store" "read" "commit" "root" "fence" "adopt" "scan" "reclaim" "close"]
};

/// Whether a figure of this name is one that a probe adds to a floor's own.
pub(super) fn is_figure(name: &str) -> bool {
    let mut names = FIGURES.as_flattened().iter().chain(&PENDING);
    names.any(|figure| *figure == name)
}

const PENDING: [&str; 2] = ["pending", "pending_most"];

/// What was seen at one boundary, by all probes that share it.
#[derive(Debug)]
pub(super) struct Seen {
    /// The floor below the boundary, for people.
    pub(super) floor: String,
    clock: Arc<dyn Clock>,
    mask: u64,
    slow: Option<Arc<SlowLog>>,
    counts: Shards<COUNTERS>,
    errors: [[AtomicU64; KINDS.len()]; VERBS],
    verbs: [Histogram; VERBS],
    pending: AtomicU64,
    pending_most: AtomicU64,
}

impl Seen {
    /// One call in `mask + 1` is timed of the verbs that come often, and every call of the others.
    /// Where there is a log of slow calls, every call is timed.
    pub(super) fn new(
        floor: String,
        clock: Arc<dyn Clock>,
        mask: u64,
        slow: Option<Arc<SlowLog>>,
    ) -> Self {
        Self {
            floor,
            clock,
            mask: if slow.is_some() { 0 } else { mask },
            slow,
            counts: Shards::new(),
            errors: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            verbs: std::array::from_fn(|_| Histogram::new()),
            pending: AtomicU64::new(0),
            pending_most: AtomicU64::new(0),
        }
    }

    /// A ready answer is looked at and passed on as it is; a pending one is looked at when it comes.
    /// `bytes` are those that the call sends down, `about` the raw address that it is about.
    #[inline]
    pub(super) fn watch<T: Weight + Send + 'static>(
        self: &Arc<Self>,
        verb: Verb,
        bytes: u64,
        about: u64,
        call: impl FnOnce() -> Op<T>,
    ) -> Op<T> {
        let cells = self.counts.mine();
        let before = cells.add(verb as usize, 1);
        if bytes > 0 {
            cells.add(VERBS + verb as usize, bytes);
        }
        let timed = !verb.is_frequent() || before & self.mask == 0;
        let began = timed.then(|| self.clock.monotonic_ns());
        let op = call();
        if let Some(answer) = op.as_ready() {
            self.end(&cells, verb, about, began, answer);
            return op;
        }
        let pending = self.pending.fetch_add(1, Ordering::Relaxed) + 1;
        self.pending_most.fetch_max(pending, Ordering::Relaxed);
        Op::pending(Watching {
            op: Some(op),
            seen: self.clone(),
            verb,
            about,
            began,
        })
    }

    /// Batches that a call brings besides being one call.
    pub(super) fn brought(&self, batches: usize) {
        self.counts.mine().add(BATCHES, batches as u64);
    }

    #[inline]
    fn end<T: Weight>(
        &self,
        cells: &Cells<'_, COUNTERS>,
        verb: Verb,
        about: u64,
        began: Option<u64>,
        answer: &Result<T>,
    ) {
        match answer {
            Ok(value) => {
                let bytes = value.bytes();
                if bytes > 0 {
                    cells.add(VERBS + verb as usize, bytes);
                }
            }
            Err(error) => self.note(verb, error),
        }
        if let Some(began) = began {
            self.time(verb, about, began);
        }
    }

    #[cold]
    fn note(&self, verb: Verb, error: &Error) {
        if let Some(kind) = KINDS.iter().position(|kind| *kind == error.kind()) {
            self.errors[verb as usize][kind].fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cold]
    fn time(&self, verb: Verb, about: u64, began: u64) {
        let now = self.clock.monotonic_ns();
        let took = now.saturating_sub(began);
        self.verbs[verb as usize].record(took);
        if let Some(slow) = &self.slow {
            slow.look(&self.floor, verb, Oid::from_raw(about), took, now);
        }
    }

    pub(super) fn calls(&self, verb: Verb) -> u64 {
        self.counts.sum(verb as usize)
    }

    pub(super) fn bytes(&self, verb: Verb) -> u64 {
        self.counts.sum(VERBS + verb as usize)
    }

    /// How many errors of each of [`KINDS`].
    pub(super) fn errors(&self, verb: Verb) -> impl Iterator<Item = (ErrorKind, u64)> {
        let counts = self.errors[verb as usize].iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        KINDS.into_iter().zip(counts)
    }

    pub(super) fn times(&self, verb: Verb) -> Taken {
        self.verbs[verb as usize].taken()
    }

    /// Answers that are waited for now, and the most that ever were.
    pub(super) fn pending(&self) -> (u64, u64) {
        let now = self.pending.load(Ordering::Relaxed);
        (now, self.pending_most.load(Ordering::Relaxed))
    }

    /// Calls of the verbs that programs wait for, and how many of them failed for a reason that lies
    /// with the floor.
    pub(super) fn blame(&self) -> (u64, u64) {
        let mut totals = (0, 0);
        for verb in [Verb::Store, Verb::Read, Verb::Commit] {
            totals.0 += self.calls(verb);
            let theirs = |(kind, _): &(ErrorKind, u64)| {
                use ErrorKind as K;
                matches!(kind, K::Unavailable | K::Corrupt | K::Closed | K::Full)
            };
            let counts = self.errors(verb).filter(theirs);
            totals.1 += counts.map(|(_, count)| count).sum::<u64>();
        }
        totals
    }

    /// Bytes of all batches that were brought, and of them those of records.
    pub(super) fn written(&self) -> (u64, u64) {
        let bytes = self.bytes(Verb::Store) + self.bytes(Verb::Commit);
        let batches = self.calls(Verb::Store) + self.counts.sum(BATCHES);
        (bytes, bytes.saturating_sub(batches * BATCH_HEADER as u64))
    }

    pub(super) fn figures(&self) -> Vec<(&'static str, u64)> {
        let mut figures = Vec::new();
        for verb in Verb::ALL {
            let calls = self.calls(verb);
            if calls == 0 {
                continue;
            }
            let times = self.times(verb);
            let quantile = |per_mille| times.quantile(per_mille).unwrap_or(0);
            let values = [
                calls,
                self.bytes(verb),
                self.errors(verb).map(|(_, count)| count).sum(),
                quantile(500),
                quantile(990),
                quantile(999),
                times.max,
            ];
            let names = FIGURES[verb as usize].iter().copied();
            figures.extend(names.zip(values));
        }
        let (now, most) = self.pending();
        figures.extend(PENDING.into_iter().zip([now, most]));
        figures
    }
}

/// How many bytes an answer brought.
pub(super) trait Weight {
    fn bytes(&self) -> u64 {
        0
    }
}

impl Weight for Option<Record> {
    #[inline]
    fn bytes(&self) -> u64 {
        self.as_ref()
            .map_or(0, |record| record.encoded().len() as u64)
    }
}

impl Weight for Batches {
    fn bytes(&self) -> u64 {
        let lengths = self.batches.iter().map(|batch| batch.bytes().len() as u64);
        let left = self.sparse.iter().flat_map(|sparse| &sparse.records);
        let left = left.map(|(_, record)| record.encoded().len() as u64);
        lengths.chain(left).sum()
    }
}

/// What was given back.
impl Weight for Freed {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Weight for Tail {}
impl Weight for Level {}
impl Weight for Option<(Oid, RootMarker)> {}
impl Weight for Vec<StreamState> {}
impl Weight for () {}

/// An answer on its way.
struct Watching<T> {
    op: Option<Op<T>>,
    seen: Arc<Seen>,
    verb: Verb,
    about: u64,
    began: Option<u64>,
}

impl<T: Weight> Watching<T> {
    fn end(&self, answer: &Result<T>) {
        let cells = self.seen.counts.mine();
        self.seen
            .end(&cells, self.verb, self.about, self.began, answer);
    }
}

impl<T> Drop for Watching<T> {
    /// Answered, or waited for no longer.
    fn drop(&mut self) {
        self.seen.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T: Weight + Send> Pending<T> for Watching<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        let Some(op) = &mut self.op else {
            return Poll::Ready(Err(asked_again()));
        };
        let answer = ready!(std::pin::Pin::new(op).poll(context));
        self.end(&answer);
        Poll::Ready(answer)
    }

    fn wait(mut self: Box<Self>) -> Result<T> {
        let answer = match self.op.take() {
            Some(op) => op.wait(),
            None => return Err(asked_again()),
        };
        self.end(&answer);
        answer
    }
}

fn asked_again() -> Error {
    Error::invalid("an op was asked again after its answer")
}
