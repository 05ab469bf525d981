//! Watches every boundary for answers that came ready from below and went up as pending ones.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::between::{Between, Twist, Twisted};
use crate::contract::{
    Batch, Batches, Commit, Epoch, Level, Oid, Op, Position, Record, RootAt, RootMarker, Store,
    Stream, StreamState, Tail, Vector,
};

thread_local! {
    /// How many calls this thread made through watched boundaries.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Has every bottom answer at once, and notes each floor that still lets its caller wait.
#[derive(Debug, Default, Clone)]
pub(super) struct ReadyWatch {
    seen: Arc<Mutex<Vec<String>>>,
}

impl ReadyWatch {
    /// What was pending although all below was ready.
    pub(super) fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

impl Between for ReadyWatch {
    fn put(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let twist = Boundary {
            kind: store.status().kind,
            calls_below: AtomicBool::new(false),
            seen: self.seen.clone(),
        };
        Arc::new(Twisted::new(store, twist))
    }
}

#[derive(Debug)]
struct Boundary {
    kind: &'static str,
    /// Whether the floor was ever seen to call below. One that never does is a bottom, or as good as
    /// one: nobody below it can be ready.
    calls_below: AtomicBool,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Boundary {
    fn watch<T: Send + 'static>(&self, verb: &str, call: impl FnOnce() -> Op<T>) -> Op<T> {
        let before = CALLS.get();
        CALLS.set(before + 1);
        let op = call();
        if CALLS.get() > before + 1 {
            self.calls_below.store(true, Ordering::Relaxed);
        }
        if op.is_ready() {
            return op;
        }
        if self.calls_below.load(Ordering::Relaxed) {
            let text = format!(
                "`{}` lets {verb} wait, although all below it was ready",
                self.kind
            );
            self.seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(text);
        }
        Op::ready(op.wait())
    }
}

impl Twist for Boundary {
    fn store(&self, below: &dyn Store, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.watch("a store", || below.store(sender, batch))
    }

    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        self.watch("a read", || below.read(oid))
    }

    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        self.watch("a commit", || below.commit(commit))
    }

    fn root(&self, below: &dyn Store, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.watch("a root", || below.root(at))
    }

    fn fence(&self, below: &dyn Store, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.watch("a fence", || below.fence(epoch))
    }

    fn adopt(&self, below: &dyn Store, epoch: Epoch, vector: Vector) -> Op<()> {
        self.watch("an adopt", || below.adopt(epoch, vector))
    }

    fn scan(&self, below: &dyn Store, stream: Stream, from: Position) -> Op<Batches> {
        self.watch("a scan", || below.scan(stream, from))
    }

    fn close(&self, below: &dyn Store) -> Op<()> {
        self.watch("a close", || below.close())
    }
}
