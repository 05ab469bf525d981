//! Jitter: answers that were ready come as pending ones, by seed, at any boundary.
//!
//! Ready and pending are different paths through every floor. This forces the second without a
//! thread, so that a run stays what its seed decides: the work is done when the call returns, as ever;
//! only the answer lets itself be asked a few times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use super::between::{Between, Both, Twist, Twisted};
use super::fixture::{Crash, Fixture, Promises};
use super::machine::Machine;
use crate::conformance::rng::Rng;
use crate::contract::{
    Batch, Batches, Commit, Env, Epoch, Error, Level, Oid, Op, Pending, Position, Record, Result,
    RootAt, RootMarker, Store, Stream, StreamState, Tail, Vector,
};

/// Makes about half of all answers wait, at every boundary.
#[derive(Debug)]
pub struct Jitter {
    seed: u64,
    boundaries: AtomicU64,
}

impl Jitter {
    /// The jitter of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            boundaries: AtomicU64::new(0),
        }
    }
}

impl Between for Jitter {
    fn put(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let boundary = self.boundaries.fetch_add(1, Ordering::Relaxed);
        let rng = Rng::new(self.seed.wrapping_add(boundary.wrapping_mul(0x9E37_79B9)));
        Arc::new(Twisted::new(store, Late(Mutex::new(rng))))
    }
}

/// A fixture with jitter at every boundary.
#[derive(Debug)]
pub struct Jittered<F> {
    fixture: F,
    jitter: Arc<Jitter>,
}

impl<F: Fixture> Jittered<F> {
    /// This fixture, with the jitter of this seed.
    #[must_use]
    pub fn new(fixture: F, seed: u64) -> Self {
        Self {
            fixture,
            jitter: Arc::new(Jitter::new(seed)),
        }
    }
}

impl<F: Fixture> Fixture for Jittered<F> {
    fn env(&self) -> &Env {
        self.fixture.env()
    }

    fn promises(&self) -> Promises {
        Promises {
            prompt: false,
            ..self.fixture.promises()
        }
    }

    fn open(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        let both = Both(between.clone(), self.jitter.clone());
        self.fixture.open(&(Arc::new(both) as _))
    }

    fn read(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        let both = Both(between.clone(), self.jitter.clone());
        self.fixture.read(&(Arc::new(both) as _))
    }

    fn crash(&self, crash: Crash) {
        self.fixture.crash(crash);
    }

    fn machine(&self) -> Option<&Machine> {
        self.fixture.machine()
    }
}

#[derive(Debug)]
struct Late(Mutex<Rng>);

impl Late {
    fn late<T: Send + 'static>(&self, op: Op<T>) -> Op<T> {
        let polls = {
            let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            rng.below(6).saturating_sub(2)
        };
        if polls == 0 {
            return op;
        }
        match op.try_ready() {
            Ok(answer) => Op::pending(Deferred {
                answer: Some(answer),
                polls,
            }),
            Err(op) => op,
        }
    }
}

impl Twist for Late {
    fn store(&self, below: &dyn Store, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.late(below.store(sender, batch))
    }

    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        self.late(below.read(oid))
    }

    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        self.late(below.commit(commit))
    }

    fn root(&self, below: &dyn Store, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.late(below.root(at))
    }

    fn fence(&self, below: &dyn Store, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.late(below.fence(epoch))
    }

    fn adopt(&self, below: &dyn Store, epoch: Epoch, vector: Vector) -> Op<()> {
        self.late(below.adopt(epoch, vector))
    }

    fn scan(&self, below: &dyn Store, stream: Stream, from: Position) -> Op<Batches> {
        self.late(below.scan(stream, from))
    }

    fn close(&self, below: &dyn Store) -> Op<()> {
        self.late(below.close())
    }
}

/// An answer that is here and lets itself be asked so many times more.
pub(super) struct Deferred<T> {
    pub(super) answer: Option<Result<T>>,
    pub(super) polls: u64,
}

impl<T: Send> Pending<T> for Deferred<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        if self.polls > 0 {
            self.polls -= 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.answer.take().unwrap_or_else(|| Err(asked_again())))
    }

    fn wait(mut self: Box<Self>) -> Result<T> {
        self.answer.take().unwrap_or_else(|| Err(asked_again()))
    }
}

fn asked_again() -> Error {
    Error::invalid("an op was polled again after it had answered")
}
