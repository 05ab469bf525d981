//! One session: asks come in, answers go out, in any order, with bounds on both.
//!
//! ```text
//!   asks ──> waiting ──> carried out, in order ──┬──────────────> answers ──> out
//!                          (a thread that may    └─> on their way ──┘
//!                           block; reads: here)
//! ```
//!
//! What came while a thread was at work goes to the next one together: the way there and back is long
//! beside one ask, and nothing beside many.
//!
//! Nothing more is taken in while answers wait to be fetched, too much is on its way, or the engine lets a
//! store wait: what the client sends then fills the window of its stream, and no memory here. A session
//! that ends, however it ends, lets go of what it held.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Status, Streaming};
use travertine_engine::contract::{Error, Op, Reference, Result};
use travertine_engine::front::Committed;

use super::inbound::Inbound;
use super::turn::{Outcome, Turn, answered, committed, refused};
use super::{Inner, blocking};
use crate::proto::{self, ask, reply};
use crate::wire::error::to_status;

/// Most answers of one message.
const ANSWERS_MAX: usize = 128;
/// A message takes no more answers above this.
const ANSWERS_BYTES: usize = 64 << 10;
/// Nothing more is carried out while so many bytes wait to be fetched.
const OWED_MAX: usize = 8 << 20;
/// Reads on their way below at once.
const READS_MAX: usize = 64;

/// About the bytes that an answer takes.
pub(super) fn size(answer: &proto::Reply) -> usize {
    64 + match &answer.what {
        Some(reply::What::Found(found)) => found.body.len() + 32 * found.references.len(),
        Some(reply::What::Root(root)) => {
            let names = root.names.iter();
            names.map(|name| name.name.len() + 48).sum()
        }
        Some(reply::What::Committed(committed)) => 32 * committed.stored.len(),
        _ => 0,
    }
}

/// What is on its way below.
#[derive(Default)]
struct Flight {
    /// In the order of their rounds: the first is answered first.
    commits: VecDeque<(u64, Op<Committed>, Vec<Reference>)>,
    reads: Vec<(u64, Op<proto::Found>)>,
}

impl Flight {
    fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.reads.is_empty()
    }

    fn len(&self) -> usize {
        self.commits.len() + self.reads.len()
    }

    /// Takes what has landed.
    fn poll(&mut self, context: &mut Context<'_>, answers: &mut Vec<proto::Reply>) -> Poll<()> {
        let before = answers.len();
        while let Some((id, op, stored)) = self.commits.front_mut() {
            let Poll::Ready(answer) = Pin::new(op).poll(context) else {
                break;
            };
            answers.push(match answer {
                Ok(done) => {
                    let done = committed(done, std::mem::take(stored));
                    answered(*id, reply::What::Committed(done))
                }
                Err(error) => refused(*id, &error),
            });
            self.commits.pop_front();
        }
        self.reads.retain_mut(|(id, op)| {
            let Poll::Ready(answer) = Pin::new(op).poll(context) else {
                return true;
            };
            answers.push(match answer {
                Ok(found) => answered(*id, reply::What::Found(found)),
                Err(error) => refused(*id, &error),
            });
            false
        });
        if answers.len() > before {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Answers what is asked, until nobody asks any more.
pub(super) async fn run(
    inner: Arc<Inner>,
    turn: Turn,
    asks: Streaming<proto::Asks>,
    out: Sender<Result<proto::Replies, Status>>,
) {
    let mut session = Running {
        inner,
        turn: Some(turn),
        waiting: VecDeque::new(),
        flight: Flight::default(),
        answers: Vec::new(),
        out,
    };
    // Whoever is gone is told nothing.
    let asks = Inbound::new(asks, session.inner.bounds.asks);
    if let Err(Some(status)) = session.run(asks).await {
        let Running { inner, out, .. } = session;
        // Nothing is held for it any more.
        let _ = timeout(inner.bounds.idle, out.send(Err(status))).await;
    }
}

struct Running {
    inner: Arc<Inner>,
    /// Not here while something is carried out.
    turn: Option<Turn>,
    waiting: VecDeque<proto::Ask>,
    flight: Flight,
    answers: Vec<proto::Reply>,
    out: Sender<Result<proto::Replies, Status>>,
}

impl Running {
    /// Ends with what the client is told at last; with nothing if it is gone.
    async fn run(&mut self, mut asks: Inbound) -> Result<(), Option<Status>> {
        let bounds = self.inner.bounds.clone();
        let mut draining = self.inner.draining.subscribe();
        let mut idle = Instant::now() + bounds.idle;
        self.greet()?;
        loop {
            self.carry_out().await?;
            self.send().await?;
            if !self.waiting.is_empty() && self.flight.is_empty() {
                // There was more than one turn may owe, and nothing else would wake this one.
                continue;
            }
            let drain = *draining.borrow_and_update();
            let busy = !self.waiting.is_empty() || !self.flight.is_empty();
            if !busy && asks.is_over() {
                return Ok(());
            }
            if !busy && drain {
                return Err(Some(to_status(&going_away())));
            }
            let room = self.waiting.is_empty() && self.flight.len() < bounds.asks;
            let out = self.out.clone();
            tokio::select! {
                came = poll_fn(|context| asks.poll(context, &mut self.waiting)),
                    if !asks.is_over() && room && !drain => {
                    idle = Instant::now() + bounds.idle;
                    // The connection is gone, or what came is no message.
                    came.map_err(Some)?;
                }
                () = poll_fn(|context| self.flight.poll(context, &mut self.answers)),
                    if !self.flight.is_empty() => {
                    idle = Instant::now() + bounds.idle;
                }
                _ = draining.changed(), if !drain => {}
                () = out.closed() => return Err(None),
                () = sleep_until(idle), if !busy => {
                    return Err(Some(to_status(&Error::closed(format!(
                        "nothing was asked for {:?}: the session ended, and what it held is let go",
                        bounds.idle
                    )))));
                }
            }
        }
    }

    fn greet(&mut self) -> Result<(), Option<Status>> {
        let begun = self.turn.as_ref().map(Turn::begun);
        let greeting = self
            .inner
            .greeting(begun)
            .map_err(|error| to_status(&error))?;
        self.answers
            .push(answered(0, reply::What::Greeting(greeting)));
        Ok(())
    }

    /// Carries out what waits: here, if it is reading alone, else where one may block.
    async fn carry_out(&mut self) -> Result<(), Option<Status>> {
        if self.waiting.is_empty() || self.flight.reads.len() >= READS_MAX {
            return Ok(());
        }
        let Some(mut turn) = self.turn.take() else {
            return Err(Some(Status::internal("the session lost its turn")));
        };
        let mut asks = std::mem::take(&mut self.waiting);
        let reads = |ask: &proto::Ask| matches!(ask.what, Some(ask::What::Read(_)));
        let outcomes;
        if asks.iter().all(reads) {
            let rest = asks.split_off(asks.len().min(READS_MAX - self.flight.reads.len()));
            outcomes = turn.carry_out(&mut asks, OWED_MAX);
            asks.extend(rest);
            self.turn = Some(turn);
        } else {
            let done = blocking(move || {
                let outcomes = turn.carry_out(&mut asks, OWED_MAX);
                Ok((turn, asks, outcomes))
            });
            let (turn, rest, done) = done.await.map_err(|error| to_status(&error))?;
            (asks, outcomes) = (rest, done);
            self.turn = Some(turn);
        }
        self.waiting = asks;
        for outcome in outcomes {
            match outcome {
                Outcome::Ready(answer) => self.answers.push(answer),
                Outcome::Commit(id, op, stored) => self.flight.commits.push_back((id, op, stored)),
                Outcome::Read(id, op) => self.flight.reads.push((id, op)),
            }
        }
        // What is here already goes out with the rest; and whoever drives the rest is called.
        poll_fn(|context| {
            let _ = self.flight.poll(context, &mut self.answers);
            Poll::Ready(())
        })
        .await;
        Ok(())
    }

    /// Sends the answers that are there. Waits while the client does not fetch them, as long as a
    /// session may be idle.
    async fn send(&mut self) -> Result<(), Option<Status>> {
        let mut answers = std::mem::take(&mut self.answers).into_iter().peekable();
        while answers.peek().is_some() {
            let mut message = proto::Replies::default();
            let mut bytes = 0;
            while let Some(answer) = answers.next_if(|answer| {
                message.replies.is_empty()
                    || (message.replies.len() < ANSWERS_MAX
                        && bytes + size(answer) <= ANSWERS_BYTES)
            }) {
                bytes += size(&answer);
                message.replies.push(answer);
            }
            let idle = self.inner.bounds.idle;
            let sent = timeout(idle, self.out.send(Ok(message))).await;
            let sent = sent.map_err(|_| {
                to_status(&Error::closed(format!(
                    "answers were not fetched for {idle:?}: the session ended, and what it held is let go"
                )))
            })?;
            sent.map_err(|_| None)?;
        }
        Ok(())
    }
}

fn going_away() -> Error {
    Error::unavailable("the server is going away: what was answered stands, begin again elsewhere")
}
