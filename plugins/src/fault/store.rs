//! The ten verbs, some of them failing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use travertine_engine::contract::{
    Batch, Batches, Commit, Epoch, Error, ErrorKind, Freed, Level, Oid, Op, Position, Reclaim,
    Record, RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};
use travertine_engine::forward;
use travertine_engine::stack::{OpenContext, Plugin};

use super::Failed;
use super::config::{Fault, Shares};
use crate::chance::{Chance, reach};

#[derive(Debug)]
pub(super) struct FaultStore {
    below: Arc<dyn Store>,
    told: Fault,
    chance: Chance,
    calls: AtomicU64,
    mine: AtomicU64,
    failed: Arc<Failed>,
    poisoned: AtomicBool,
    name: Option<String>,
}

impl FaultStore {
    pub(super) fn new(
        told: &Fault,
        context: &OpenContext,
        below: Arc<dyn Store>,
        failed: Arc<Failed>,
    ) -> Self {
        Self {
            below,
            told: told.clone(),
            chance: Chance::new(context, told.seed),
            calls: AtomicU64::new(0),
            mine: AtomicU64::new(0),
            failed,
            poisoned: AtomicBool::new(false),
            name: context.name.clone(),
        }
    }

    /// How this call of a verb fails, if it does.
    fn fails(&self, verb: &str, shares: Shares) -> Option<Error> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut draw = self.chance.draw();
        if call < self.told.after {
            return None;
        }
        let ways = [
            (ErrorKind::Unavailable, shares.unavailable),
            (ErrorKind::Unavailable, shares.failed),
            (ErrorKind::Corrupt, shares.corrupt),
            (ErrorKind::Full, shares.full),
        ];
        for (kind, share) in ways {
            let reach = reach(share);
            if draw < reach {
                return self
                    .one_more()
                    .then(|| Error::new(kind, format!("call {call} is a {verb}, failed by seed")));
            }
            draw -= reach;
        }
        None
    }

    /// Counts a failed call, if there may be one more.
    fn one_more(&self) -> bool {
        let most = self.told.most.unwrap_or(u64::MAX);
        let more = |mine: u64| (mine < most).then_some(mine + 1);
        let counted = self
            .mine
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if counted {
            self.failed.0.fetch_add(1, Ordering::Relaxed);
        }
        counted
    }

    fn question<T>(&self, verb: &str, shares: Shares, ask: impl FnOnce() -> Op<T>) -> Op<T> {
        match self.fails(verb, shares) {
            Some(error) => Op::err(error),
            None => ask(),
        }
    }

    fn change<T: Send + 'static>(
        &self,
        verb: &str,
        shares: Shares,
        change: impl FnOnce() -> Op<T>,
    ) -> Op<T> {
        let fault = self.fails(verb, shares);
        self.carry_out(fault, change)
    }

    /// As [`FaultStore::change`], by a writer: refused after a failed one.
    fn write<T: Send + 'static>(
        &self,
        verb: &str,
        shares: Shares,
        write: impl FnOnce() -> Op<T>,
    ) -> Op<T> {
        if self.poisoned.load(Ordering::Acquire) {
            return Op::err(Error::closed(POISONED));
        }
        let fault = self.fails(verb, shares);
        let unsure = |fault: &Error| fault.kind() != ErrorKind::Full;
        if self.told.poison && fault.as_ref().is_some_and(unsure) {
            self.poisoned.store(true, Ordering::Release);
        }
        self.carry_out(fault, write)
    }

    /// What fails has happened below, or not. What finds no room has not.
    fn carry_out<T: Send + 'static>(
        &self,
        fault: Option<Error>,
        change: impl FnOnce() -> Op<T>,
    ) -> Op<T> {
        match fault {
            None => change(),
            Some(fault) if fault.kind() == ErrorKind::Full || self.chance.below(2) == 0 => {
                Op::err(fault)
            }
            Some(fault) => change().and_then(|_| Err(fault)),
        }
    }
}

const POISONED: &str = "a write failed by seed, and nothing is written until it is opened again";

impl Store for FaultStore {
    forward!(below: close);

    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.write("store", self.told.store, || self.below.store(sender, batch))
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.question("read", self.told.read, || self.below.read(oid))
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        self.write("commit", self.told.commit, || self.below.commit(commit))
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.question("root", self.told.root, || self.below.root(at))
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.change("fence", self.told.fence, || self.below.fence(epoch))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        self.write("adopt", self.told.adopt, || self.below.adopt(epoch, vector))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        self.question("scan", self.told.scan, || self.below.scan(stream, from))
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        self.change("reclaim", self.told.reclaim, || {
            self.below.reclaim(decision)
        })
    }

    fn status(&self) -> Status {
        let status = Status::over(self.below.status(), Fault::KIND.name, self.name.clone());
        let poisoned = self.poisoned.load(Ordering::Acquire);
        Status {
            figures: vec![("faults", self.failed.0.load(Ordering::Relaxed))],
            refusing: poisoned.then(|| POISONED.to_owned()).or(status.refusing),
            ..status
        }
    }
}
