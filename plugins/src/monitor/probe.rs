//! The probe at one boundary.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use travertine_engine::contract::{
    Batch, Batches, Clock, Commit, Env, Epoch, Freed, Level, Oid, Op, Pending, Position, Reclaim,
    Record, Result, RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};
use travertine_engine::stack::{Floor, Probe};

use super::histogram::Histogram;
use crate::shards::{Cells, Shards};

/// Puts a probe at every boundary that is opened under it.
#[derive(Debug)]
pub struct Watch {
    clock: Arc<dyn Clock>,
    mask: u64,
}

impl Watch {
    /// Times one call in `sample`, rounded up to a power of two: a remainder by anything else takes
    /// longer than all the rest of the counting.
    #[must_use]
    pub fn new(env: &Env, sample: u32) -> Self {
        Self {
            clock: env.clock.clone(),
            mask: u64::from(sample.max(1)).next_power_of_two() - 1,
        }
    }
}

impl Watch {
    fn seen(&self) -> Arc<Seen> {
        Arc::new(Seen {
            clock: self.clock.clone(),
            mask: self.mask,
            counts: Shards::new(),
            verbs: std::array::from_fn(|_| Histogram::new()),
        })
    }
}

impl Probe for Watch {
    fn wrap(&self, _floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Watched {
            below: store,
            seen: self.seen(),
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Verb {
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

const VERBS: usize = 9;
/// Calls, bytes and errors of each verb.
const COUNTERS: usize = 3 * VERBS;

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

/// What one probe saw.
#[derive(Debug)]
struct Seen {
    clock: Arc<dyn Clock>,
    mask: u64,
    counts: Shards<COUNTERS>,
    verbs: [Histogram; VERBS],
}

impl Seen {
    /// A ready answer is looked at and passed on as it is; a pending one is looked at when it comes.
    /// `bytes` are those that the call sends down.
    #[inline]
    fn watch<T: Weight + Send + 'static>(
        self: &Arc<Self>,
        verb: Verb,
        bytes: u64,
        call: impl FnOnce() -> Op<T>,
    ) -> Op<T> {
        let cells = self.counts.mine();
        let before = cells.add(verb as usize, 1);
        if bytes > 0 {
            cells.add(VERBS + verb as usize, bytes);
        }
        let timed = before & self.mask == 0;
        let began = timed.then(|| self.clock.monotonic_ns());
        let op = call();
        if let Some(answer) = op.as_ready() {
            self.end(&cells, verb, began, answer);
            return op;
        }
        Op::pending(Watching {
            op,
            seen: self.clone(),
            verb,
            began,
        })
    }

    #[inline]
    fn end<T: Weight>(
        &self,
        cells: &Cells<'_, COUNTERS>,
        verb: Verb,
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
            Err(_) => {
                cells.add(2 * VERBS + verb as usize, 1);
            }
        }
        if let Some(began) = began {
            self.time(verb, began);
        }
    }

    #[cold]
    fn time(&self, verb: Verb, began: u64) {
        let took = self.clock.monotonic_ns().saturating_sub(began);
        self.verbs[verb as usize].record(took);
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        let mut figures = Vec::new();
        for (verb, names) in FIGURES.iter().enumerate() {
            let calls = self.counts.sum(verb);
            if calls == 0 {
                continue;
            }
            let histogram = &self.verbs[verb];
            let quantile = |per_mille| histogram.quantile(per_mille).unwrap_or(0);
            let values = [
                calls,
                self.counts.sum(VERBS + verb),
                self.counts.sum(2 * VERBS + verb),
                quantile(500),
                quantile(990),
                quantile(999),
                histogram.max(),
            ];
            figures.extend(names.iter().copied().zip(values));
        }
        figures
    }
}

/// How many bytes an answer brought.
trait Weight {
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
        lengths.sum()
    }
}

impl Weight for Tail {}
impl Weight for Level {}
impl Weight for Option<(Oid, RootMarker)> {}
impl Weight for Vec<StreamState> {}
impl Weight for Freed {}
impl Weight for () {}

/// A probe on nothing, to be given answers by a test.
#[cfg(test)]
pub(super) fn look(env: &Env, sample: u32) -> Looked {
    Looked(Watch::new(env, sample).seen())
}

#[cfg(test)]
pub(super) struct Looked(Arc<Seen>);

#[cfg(test)]
impl Looked {
    pub(super) fn read(&self, call: impl FnOnce() -> Op<Option<Record>>) -> Op<Option<Record>> {
        self.0.watch(Verb::Read, 0, call)
    }

    pub(super) fn figures(&self) -> Vec<(&'static str, u64)> {
        self.0.figures()
    }
}

/// A floor with a probe on it.
#[derive(Debug)]
struct Watched {
    below: Arc<dyn Store>,
    seen: Arc<Seen>,
}

struct Watching<T> {
    op: Op<T>,
    seen: Arc<Seen>,
    verb: Verb,
    began: Option<u64>,
}

impl<T: Weight + Send> Pending<T> for Watching<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        let answer = ready!(std::pin::Pin::new(&mut self.op).poll(context));
        self.seen
            .end(&self.seen.counts.mine(), self.verb, self.began, &answer);
        Poll::Ready(answer)
    }

    fn wait(self: Box<Self>) -> Result<T> {
        let answer = self.op.wait();
        self.seen
            .end(&self.seen.counts.mine(), self.verb, self.began, &answer);
        answer
    }
}

impl Store for Watched {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        let bytes = batch.bytes().len() as u64;
        self.seen
            .watch(Verb::Store, bytes, || self.below.store(sender, batch))
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.seen.watch(Verb::Read, 0, || self.below.read(oid))
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        let lengths = commit.last.iter().map(|batch| batch.bytes().len() as u64);
        let bytes = lengths.sum();
        self.seen
            .watch(Verb::Commit, bytes, || self.below.commit(commit))
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.seen.watch(Verb::Root, 0, || self.below.root(at))
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.seen.watch(Verb::Fence, 0, || self.below.fence(epoch))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        self.seen
            .watch(Verb::Adopt, 0, || self.below.adopt(epoch, vector))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        self.seen
            .watch(Verb::Scan, 0, || self.below.scan(stream, from))
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        self.seen
            .watch(Verb::Reclaim, 0, || self.below.reclaim(decision))
    }

    fn status(&self) -> Status {
        let mut status = self.below.status();
        status.figures.extend(self.seen.figures());
        status
    }

    fn close(&self) -> Op<()> {
        self.seen.watch(Verb::Close, 0, || self.below.close())
    }
}
