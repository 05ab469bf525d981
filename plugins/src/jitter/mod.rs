//! `jitter`: answers that come late, for tests.
//!
//! ```text
//!   call ──> below, at once ──> the answer ──┬──────────────────> the caller
//!                                            └─ asked again, or ──> the caller
//!                                               after a delay
//! ```
//!
//! Ready and pending are different paths through every floor above. This one forces the second: so
//! large a share of all answers lets itself be asked a few times, or takes up to `delay`, so that
//! answers overtake one another. It promises never to change an answer and never to hold a call back:
//! whatever was to happen below has been asked for when the call returns, in the order of the calls.

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Deserialize;
use travertine_engine::contract::{
    Batch, Batches, Commit, Env, Epoch, Freed, Level, Oid, Op, Pending, Position, Reclaim, Record,
    Result, RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};
use travertine_engine::stack::{
    Arity, Below, Declared, Fault, OpenContext, OptionRow, OptionType, Plugin, PluginKind, Time,
};

use crate::chance::{Chance, SEED, reach};

/// An answer lets itself be asked at most so many times more than it must.
const POLLS_MAX: u64 = 4;

/// The config of a `jitter` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Jitter {
    seed: Option<i64>,
    rate: f64,
    delay: Option<Time>,
}

impl Plugin for Jitter {
    const KIND: PluginKind = PluginKind {
        summary: "lets answers come late, by seed",
        cost: "whatever it is told to",
        doc: "For tests only: the floors above must answer the same. No answer is changed, and no \
              call is held back.",
        options: &[
            SEED,
            OptionRow::preset(
                "rate",
                OptionType::Number { min: 0.0, max: 1.0 },
                "0.5",
                "the share of answers that come late",
            ),
            OptionRow::optional(
                "delay",
                OptionType::Time {
                    min: 1_000,
                    max: 10_000_000_000,
                },
                "no time: asking again is enough",
                "the longest that a late answer takes",
            ),
        ],
        declared: Declared::TRANSPARENT,
        test_only: true,
        ..PluginKind::new("jitter", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(JitterStore {
            below: Below::only(below)?.open()?,
            env: context.env.clone(),
            chance: Chance::new(context, self.seed),
            late: reach(self.rate),
            delay: self.delay.map_or(Duration::ZERO, |delay| delay.0),
            name: context.name.clone(),
        }))
    }
}

#[derive(Debug)]
struct JitterStore {
    below: Arc<dyn Store>,
    env: Env,
    chance: Chance,
    late: u64,
    delay: Duration,
    name: Option<String>,
}

impl JitterStore {
    fn late<T: Send + 'static>(&self, op: Op<T>) -> Op<T> {
        if self.chance.draw() >= self.late {
            return op;
        }
        let most = u64::try_from(self.delay.as_nanos()).unwrap_or(u64::MAX);
        let delay = Duration::from_nanos(self.chance.below(most));
        let polls = 1 + self.chance.below(POLLS_MAX);
        let op = match delay {
            Duration::ZERO => op,
            delay => {
                let clock = self.env.clock.clone();
                self.env.offload(move || {
                    clock.sleep(delay);
                    op.wait()
                })
            }
        };
        Op::pending(Late { op, polls })
    }
}

/// An answer that lets itself be asked so many times more.
struct Late<T> {
    op: Op<T>,
    polls: u64,
}

impl<T: Send> Pending<T> for Late<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        if self.polls > 0 {
            self.polls -= 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.op).poll(context)
    }

    fn wait(self: Box<Self>) -> Result<T> {
        self.op.wait()
    }
}

impl Store for JitterStore {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.late(self.below.store(sender, batch))
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.late(self.below.read(oid))
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        self.late(self.below.commit(commit))
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.late(self.below.root(at))
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.late(self.below.fence(epoch))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        self.late(self.below.adopt(epoch, vector))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        self.late(self.below.scan(stream, from))
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        self.late(self.below.reclaim(decision))
    }

    fn status(&self) -> Status {
        Status::over(self.below.status(), Jitter::KIND.name, self.name.clone())
    }

    fn close(&self) -> Op<()> {
        self.late(self.below.close())
    }
}
