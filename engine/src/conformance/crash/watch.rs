//! A floor that changes nothing and notes which way recovery went.

use std::sync::{Arc, Mutex, PoisonError};

use super::marks::{Branch, Marks};
use crate::contract::{
    Batch, Batches, Commit, Epoch, Freed, Level, Oid, Op, Position, Reclaim, Record, RootAt,
    RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};

/// Passes every call to the store below.
#[derive(Debug)]
pub(super) struct Watch {
    below: Arc<dyn Store>,
    marks: Arc<Mutex<Marks>>,
    fenced: Mutex<Vec<StreamState>>,
}

impl Watch {
    pub(super) fn new(below: Arc<dyn Store>, marks: Arc<Mutex<Marks>>) -> Self {
        Self {
            below,
            marks,
            fenced: Mutex::default(),
        }
    }

    fn note(&self, branch: Branch) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.note(branch);
    }
}

impl Store for Watch {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.below.store(sender, batch)
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.below.read(oid)
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        self.below.commit(commit)
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.below.root(at)
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        let answer = self.below.fence(epoch).wait();
        if let Ok(states) = &answer
            && epoch.number > 0
        {
            for state in states
                .iter()
                .filter(|state| state.end.position > Position::START)
            {
                self.note(if state.clean {
                    Branch::OpenedClean
                } else if state.durable == state.end.position {
                    Branch::OpenedWhole
                } else {
                    Branch::OpenedUnproven
                });
            }
            *self.fenced.lock().unwrap_or_else(PoisonError::into_inner) = states.clone();
        }
        Op::ready(answer)
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        let states =
            std::mem::take(&mut *self.fenced.lock().unwrap_or_else(PoisonError::into_inner));
        for (stream, end) in &vector {
            let cuts =
                |state: &StreamState| state.stream == *stream && state.end.position > end.position;
            if states.iter().any(cuts) {
                self.note(Branch::CutValid);
            }
        }
        self.below.adopt(epoch, vector)
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        self.below.scan(stream, from)
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        self.below.reclaim(decision)
    }

    fn status(&self) -> Status {
        self.below.status()
    }

    fn close(&self) -> Op<()> {
        self.below.close()
    }
}
