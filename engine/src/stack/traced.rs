//! Spans of `tracing` at every boundary, where somebody wants them.
//!
//! ```text
//!   commit floor="cache"  ─────────────────────────────┐
//!     commit floor="cluster"  ───────────────────────┐ │    a span lasts until the answer comes,
//!       commit floor="file"  ──────┐                 │ │    ready or not
//! ```
//!
//! A stack that is opened while nobody listens for target [`CALLS`] has none of this, and does nothing more
//! than one without it. `store`, `read` and `scan` are spans of level TRACE, the other verbs of DEBUG. A span
//! tells of addresses, lengths and epochs, and never of what records hold.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tracing::field::{Empty, display};
use tracing::{Level as Detail, Span, debug_span, span_enabled, trace_span};

use crate::contract::{
    Batch, Batches, Commit, Epoch, Error, Freed, Level, Oid, Op, Pending, Position, Reclaim,
    Record, Result, RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector, trace,
};

use super::below::Probe;
use super::plan::Floor;

/// The target of these spans.
pub const CALLS: &str = "travertine::calls";

/// A probe that makes spans.
#[derive(Debug)]
struct Tracing;

/// The probe, if anybody listens.
pub(super) fn wanted() -> Option<Arc<dyn Probe>> {
    span_enabled!(target: CALLS, Detail::DEBUG).then(|| Arc::new(Tracing) as Arc<dyn Probe>)
}

impl Probe for Tracing {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Traced {
            below: store,
            floor: floor.title().to_owned(),
        })
    }
}

/// A floor whose calls are spans.
#[derive(Debug)]
struct Traced {
    below: Arc<dyn Store>,
    floor: String,
}

/// A span of a verb on a floor, with what fails left open.
macro_rules! span {
    ($level:ident, $self:ident, $verb:literal $(, $field:ident = $value:expr)*) => {
        $level!(
            target: CALLS,
            $verb,
            floor = $self.floor.as_str(),
            $($field = $value,)*
            error = Empty,
        )
    };
}

impl Store for Traced {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        let header = batch.header();
        let span = span!(
            trace_span,
            self,
            "store",
            stream = header.stream.0,
            base = header.base.0,
            end = header.end.0,
            epoch = display(sender)
        );
        within(span, || self.below.store(sender, batch))
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        let span = span!(trace_span, self, "read", oid = display(oid));
        within(span, || self.below.read(oid))
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        let lengths = commit.last.iter().map(|batch| batch.bytes().len());
        let span = span!(
            debug_span,
            self,
            "commit",
            level = display(commit.level),
            bytes = lengths.sum::<usize>(),
            epoch = display(commit.sender)
        );
        within(span, || self.below.commit(commit))
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        let span = span!(debug_span, self, "root", at = tracing::field::debug(at));
        within(span, || self.below.root(at))
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        let span = span!(debug_span, self, "fence", epoch = display(epoch));
        within(span, || self.below.fence(epoch))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        let span = span!(debug_span, self, "adopt", epoch = display(epoch));
        within(span, || self.below.adopt(epoch, vector))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        let span = span!(trace_span, self, "scan", stream = stream.0, from = from.0);
        within(span, || self.below.scan(stream, from))
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        let span = span!(
            debug_span,
            self,
            "reclaim",
            stream = decision.stream.0,
            from = decision.from.0,
            to = decision.to.0
        );
        within(span, || self.below.reclaim(decision))
    }

    fn status(&self) -> Status {
        self.below.status()
    }

    fn close(&self) -> Op<()> {
        let span = span!(debug_span, self, "close");
        within(span, || self.below.close())
    }
}

fn within<T: Send + 'static>(span: Span, call: impl FnOnce() -> Op<T>) -> Op<T> {
    if span.is_disabled() {
        return call();
    }
    trace::adopt(&span);
    match span.in_scope(call).try_ready() {
        Ok(answer) => {
            note(&span, &answer);
            Op::ready(answer)
        }
        Err(op) => Op::pending(Going { op: Some(op), span }),
    }
}

fn note<T>(span: &Span, answer: &Result<T>) {
    if let Err(error) = answer {
        span.record("error", display(error));
    }
}

/// An answer on its way: the span lasts as long.
struct Going<T> {
    op: Option<Op<T>>,
    span: Span,
}

impl<T: Send> Pending<T> for Going<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        let Some(op) = &mut self.op else {
            return Poll::Ready(Err(asked_again()));
        };
        let answer = ready!(self.span.in_scope(|| Pin::new(op).poll(context)));
        note(&self.span, &answer);
        Poll::Ready(answer)
    }

    fn wait(mut self: Box<Self>) -> Result<T> {
        let Some(op) = self.op.take() else {
            return Err(asked_again());
        };
        let answer = self.span.in_scope(|| op.wait());
        note(&self.span, &answer);
        answer
    }
}

fn asked_again() -> Error {
    Error::invalid("an op was asked again after its answer")
}
