//! One session: a stream of answers that reads calls while there is room for them.
//!
//! It is polled by whoever sends the answers, and has no task of its own. So a client that does not read
//! what it asked for is read no further: once the window is full nobody polls.
//!
//! An answer says nothing until it is there, so what calls may bring is reckoned before: each call
//! under way as the longest answer of the session so far.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, Sleep};
use tokio_stream::Stream;
use tonic::Status;
use travertine_engine::contract::{Error, Result, trace};

use super::Shared;
use super::flying::Flying;
use super::turn::Turn;
use super::verbs::Caller;
use crate::hop::Hop;
use crate::proto::answer::Answer as Payload;
use crate::proto::{Answer, Answers, Call, Calls, Part, Welcome};
use crate::traces;
use crate::wire::codec::read;
use crate::wire::error::{to_proto, to_status};
use crate::wire::parts::{Assembly, cut};
use crate::wire::{FLUSH, HOPS_MAX, ITEMS, PART};

/// How often calls under way are looked at, whether their time is over.
const TICK: Duration = Duration::from_millis(25);
/// What a call is reckoned to bring, at first.
const USUAL: usize = 4 << 10;

/// Where calls come from.
pub(super) type Inbound = Pin<Box<dyn Stream<Item = std::result::Result<Calls, Status>> + Send>>;

pub(super) struct Session {
    shared: Arc<Shared>,
    turn: Arc<Turn>,
    number: u64,
    caller: Caller,
    inbound: Option<Inbound>,
    welcome: Option<Welcome>,
    assembly: Assembly,
    /// The number of the last call.
    last: u64,
    flying: Flying<Payload>,
    tick: Option<Pin<Box<Sleep>>>,
    /// Ready once the server takes nothing more in.
    drained: Pin<Box<dyn Future<Output = ()> + Send>>,
    out: Out,
}

/// Answers that wait to be sent.
#[derive(Default)]
struct Out {
    answers: Vec<Answer>,
    parts: std::collections::VecDeque<Part>,
    bytes: usize,
    longest: usize,
}

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        (turn, number): (Arc<Turn>, u64),
        caller: Caller,
        welcome: Welcome,
        inbound: Inbound,
    ) -> Self {
        let mut draining = shared.draining.subscribe();
        Self {
            drained: Box::pin(async move {
                let _ = draining.wait_for(|draining| *draining).await;
            }),
            shared,
            turn,
            number,
            caller,
            inbound: Some(inbound),
            welcome: Some(welcome),
            assembly: Assembly::default(),
            last: 0,
            flying: Flying::new(),
            tick: None,
            out: Out {
                longest: USUAL,
                ..Out::default()
            },
        }
    }

    /// Whether another call may be begun.
    fn has_room(&self) -> bool {
        let limits = &self.shared.limits;
        let coming = self.flying.len() * self.out.longest;
        self.flying.len() < limits.calls
            && self.flying.bytes() + self.assembly.held() < limits.bytes
            && self.out.bytes + coming < limits.answers.max(2 * self.out.longest)
    }

    /// Takes the calls of one message.
    fn take(&mut self, calls: Calls) -> Result<()> {
        if calls.hello.is_some() {
            return Err(Error::invalid("a session greets once"));
        }
        if calls.calls.len() + calls.parts.len() > ITEMS {
            return Err(Error::invalid(format!(
                "{} calls came in one message, and {ITEMS} are the limit",
                calls.calls.len() + calls.parts.len()
            )));
        }
        let turn = self.turn.clone();
        let begun = turn.during(self.number, || {
            let now = Instant::now();
            for call in calls.calls {
                self.begin(call, now)?;
            }
            for part in calls.parts {
                if let Some((id, whole)) = self.assembly.take(part)? {
                    let call: Call = read(whole)?;
                    if call.id != id {
                        return Err(Error::invalid("a call has another number than its parts"));
                    }
                    self.begin(call, now)?;
                }
            }
            Ok(())
        });
        begun.ok_or_else(superseded)?
    }

    fn begin(&mut self, call: Call, now: Instant) -> Result<()> {
        if call.id <= self.last {
            return Err(Error::invalid(format!(
                "call {} came after call {}",
                call.id, self.last
            )));
        }
        self.last = call.id;
        let bytes = call.encoded_len();
        let longest = self.shared.limits.deadline;
        let asked = Duration::from_millis(call.deadline.into());
        let asked = if asked.is_zero() {
            longest
        } else {
            asked.min(longest)
        };
        let deadline = now + asked;
        let answer = match call.verb {
            None => Some(Err(Error::unsupported(
                "this server does not know the verb that was called",
            ))),
            Some(_) if call.hops >= HOPS_MAX => Some(Err(too_far())),
            Some(verb) => {
                let hop = Hop {
                    deadline: Some(deadline),
                    passed: call.hops + 1,
                };
                let caller = traces::of(&call.trace);
                let op = trace::within(caller, || self.shared.begin(&self.caller, hop, verb));
                self.flying.board(call.id, op, bytes, deadline)
            }
        };
        if let Some(answer) = answer {
            self.out.push(call.id, answer);
        }
        Ok(())
    }

    fn poll_calls(&mut self, context: &mut Context<'_>) -> Result<()> {
        while self.has_room() && !self.out.is_full() {
            let Some(inbound) = &mut self.inbound else {
                return Ok(());
            };
            match inbound.as_mut().poll_next(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(calls))) => self.take(calls)?,
                // The client has no more to ask, or is gone; what it asked is still answered.
                Poll::Ready(None) => self.inbound = None,
                Poll::Ready(Some(Err(status))) => {
                    self.inbound = None;
                    tracing::debug!(%status, "a session broke off");
                }
            }
        }
        Ok(())
    }

    fn poll_time(&mut self, context: &mut Context<'_>) {
        while self.flying.len() > 0 {
            let tick = self
                .tick
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(TICK)));
            if tick.as_mut().poll(context).is_pending() {
                return;
            }
            let now = Instant::now();
            tick.as_mut().reset(now + TICK);
            let out = &mut self.out;
            self.flying.expire(now, |id| out.push(id, Err(too_late())));
        }
    }

    /// The next message: what is ready, up to where a message is worth sending.
    fn next(&mut self) -> Option<Answers> {
        let out = &mut self.out;
        if self.welcome.is_none() && out.answers.is_empty() && out.parts.is_empty() {
            return None;
        }
        let part = out.parts.pop_front();
        let mut bytes = 0;
        let some = out.answers.iter().take(ITEMS - 1).take_while(|answer| {
            let fits = bytes < FLUSH;
            bytes += if fits { size(answer) } else { 0 };
            fits
        });
        let some = some.count();
        let answers = if some == out.answers.len() {
            std::mem::take(&mut out.answers)
        } else {
            out.answers.drain(..some).collect()
        };
        out.bytes -= bytes + part.as_ref().map_or(0, |part| part.bytes.len());
        Some(Answers {
            welcome: self.welcome.take(),
            answers,
            parts: part.into_iter().collect(),
        })
    }
}

impl Stream for Session {
    type Item = std::result::Result<Answers, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let out = &mut this.out;
            this.flying.poll(context, |id, answer| out.push(id, answer));
            if this.inbound.is_some() && this.drained.as_mut().poll(context).is_ready() {
                this.inbound = None;
            }
            let room = this.has_room();
            if let Err(error) = this.poll_calls(context) {
                return Poll::Ready(Some(Err(to_status(&error))));
            }
            this.poll_time(context);
            if let Some(answers) = this.next() {
                return Poll::Ready(Some(Ok(answers)));
            }
            if this.inbound.is_none() && this.flying.len() == 0 {
                return Poll::Ready(None);
            }
            // Room that came with answers which were there at once: read on.
            if room || !this.has_room() {
                return Poll::Pending;
            }
        }
    }
}

impl Out {
    fn push(&mut self, id: u64, answer: Result<Payload>) {
        let payload = answer.unwrap_or_else(|error| Payload::Error(to_proto(&error).into()));
        let answer = Answer {
            id,
            answer: Some(payload),
        };
        let bytes = size(&answer);
        self.longest = self.longest.max(bytes);
        if bytes > PART {
            for part in cut(id, answer.encode_to_vec()) {
                self.bytes += part.bytes.len();
                self.parts.push_back(part);
            }
        } else {
            self.bytes += bytes;
            self.answers.push(answer);
        }
    }

    /// Whether a message is worth sending.
    fn is_full(&self) -> bool {
        self.answers.len() >= ITEMS || self.bytes >= FLUSH
    }
}

/// About what an answer takes.
fn size(answer: &Answer) -> usize {
    match &answer.answer {
        Some(Payload::Record(record)) => record.len() + 16,
        _ => answer.encoded_len(),
    }
}

fn too_late() -> Error {
    Error::unavailable("no answer in time from what is served here: it may still come to pass")
}

fn too_far() -> Error {
    Error::invalid(format!(
        "the call passed {HOPS_MAX} servers and no store: they stand in a loop, or too many behind one \
         another"
    ))
}

fn superseded() -> Error {
    Error::unavailable("the client came again, and goes on in another session")
}
