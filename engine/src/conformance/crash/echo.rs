//! A floor that sends batches and commits again, as one does that never heard the answer. Whatever it
//! sends again must be taken as what is there already.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::marks::{Branch, Marks};
use crate::conformance::rng::Rng;
use crate::contract::{
    Batch, Batches, Commit, Epoch, Error, ErrorKind, Freed, Level, Oid, Op, Position, Reclaim,
    Record, Result, RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};

/// Most batches that are remembered.
const KEPT: usize = 8;

/// Passes every call to the store below, some of them twice.
#[derive(Debug)]
pub(super) struct Echo {
    below: Arc<dyn Store>,
    marks: Arc<Mutex<Marks>>,
    state: Mutex<State>,
    /// The first promise that was broken, for whoever holds the other end.
    broken: Arc<Mutex<Option<String>>>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    /// How likely it is, in hundredths, that a call is made again.
    rate: u64,
    sent: Vec<Batch>,
}

impl Echo {
    pub(super) fn new(
        below: Arc<dyn Store>,
        marks: Arc<Mutex<Marks>>,
        broken: Arc<Mutex<Option<String>>>,
        seed: u64,
    ) -> Self {
        let mut rng = Rng::new(seed);
        let state = State {
            rate: if rng.chance(1, 2) { 10 } else { 0 },
            rng,
            sent: Vec::new(),
        };
        Self {
            below,
            marks,
            state: Mutex::new(state),
            broken,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, batch: &Batch) {
        let mut state = self.state();
        if state.sent.len() == KEPT {
            state.sent.remove(0);
        }
        state.sent.push(batch.clone());
    }

    /// Sends one of the last batches again, sometimes.
    fn store_again(&self, sender: Epoch, tail: Tail) {
        let again = {
            let State { rng, rate, sent } = &mut *self.state();
            if !rng.chance(*rate, 100) {
                return;
            }
            rng.pick(sent).cloned()
        };
        let Some(batch) = again else { return };
        let (stream, end) = (batch.header().stream, batch.header().end);
        let same = self.state().sent.last().map(|last| last.header().stream) == Some(stream);
        match self.below.store(sender, batch).wait() {
            Ok(now) if now.end < end || same && now.end < tail.end => self.break_promise(format!(
                "a batch that ends at {end} was sent again, and the tail went from {} to {}",
                tail.end, now.end
            )),
            answer => self.judge(answer, "a batch"),
        }
    }

    fn judge<T>(&self, answer: Result<T>, what: &str) {
        match answer {
            Ok(_) => {
                let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
                marks.note(Branch::SentAgain);
            }
            Err(error) if is_refusal(&error) => {
                self.break_promise(format!(
                    "{what} was taken, and refused the second time: {error}"
                ));
            }
            // The disk failed, and said so.
            Err(_) => {}
        }
    }

    fn break_promise(&self, what: String) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.get_or_insert(what);
    }
}

fn is_refusal(error: &Error) -> bool {
    let kinds = [ErrorKind::Invalid, ErrorKind::Fenced, ErrorKind::Conflict];
    kinds.contains(&error.kind())
}

impl Store for Echo {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        let answer = self.below.store(sender, batch.clone()).wait();
        if let Ok(tail) = answer {
            self.remember(&batch);
            self.store_again(sender, tail);
        }
        Op::ready(answer)
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.below.read(oid)
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        let answer = self.below.commit(commit.clone()).wait();
        if answer.is_ok() {
            for batch in &commit.last {
                self.remember(batch);
            }
            let again = {
                let State { rng, rate, .. } = &mut *self.state();
                rng.chance(*rate, 100)
            };
            if again {
                self.judge(self.below.commit(commit).wait(), "a commit");
            }
        }
        Op::ready(answer)
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.below.root(at)
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.below.fence(epoch)
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        // Some of what was sent may be void now.
        self.state().sent.clear();
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
