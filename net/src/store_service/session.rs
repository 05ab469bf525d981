//! One session: a stream of answers that reads calls while there is room for them.
//!
//! It is polled by whoever sends the answers, and has no task of its own. So a client that does not read
//! what it asked for is read no further: once the window is full nobody polls.
//!
//! An answer says nothing until it is there, so what calls may bring is reckoned before: each call
//! under way as the longest answer of the session so far. Calls are begun one by one while there is
//! room; the rest of a message waits, and so do the messages behind it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{Instant, Sleep};
use tokio_stream::Stream;
use tonic::Status;
use travertine_engine::contract::{Error, Result, trace};

use super::Shared;
use super::budget::{Account, Held, Of, Permit};
use super::flying::Flying;
use super::turn::Turn;
use super::verbs::{Caller, brings_much, takes_long};
use crate::hop::Hop;
use crate::proto::answer::Answer as Payload;
use crate::proto::{Answer, Answers, Call, Calls, Part, Welcome};
use crate::traces;
use crate::wire::codec::read;
use crate::wire::error::{to_proto, to_status};
use crate::wire::parts::{Assembly, cut};
use crate::wire::{FLUSH, HOPS_MAX, ITEMS, PART, weight};

/// How often calls under way are looked at, whether their time is over.
const TICK: Duration = Duration::from_millis(25);
/// Beginning the calls of a message takes less than this, where nothing waits for a device: also where others
/// have the processor for some slices of it meanwhile.
const LONG: Duration = Duration::from_millis(10);
/// So many messages are begun aside after one that took longer.
const ASIDE: u32 = 64;
/// What a call is reckoned to bring, at first.
const USUAL: usize = 4 << 10;
/// What a call that may bring much is reckoned with beside others' of its caller, until it is there.
pub(super) const UNKNOWN: usize = 1 << 20;

/// Where calls come from.
pub(super) type Inbound = Pin<Box<dyn Stream<Item = std::result::Result<Calls, Status>> + Send>>;

type Waits = Pin<Box<dyn Future<Output = Permit> + Send>>;

pub(super) struct Session {
    shared: Arc<Shared>,
    turn: Arc<Turn>,
    number: u64,
    caller: Caller,
    inbound: Option<Inbound>,
    welcome: Option<Welcome>,
    /// Calls that came and were not begun: there was no room.
    calls: std::vec::IntoIter<Call>,
    parts: std::vec::IntoIter<Part>,
    assembly: Assembly,
    /// Room for what is put together.
    room: Option<Permit>,
    /// How long it has kept this side listening, up to when it was begun to listen again.
    listened: Duration,
    listens: Option<Instant>,
    /// The permit that the first of the calls or parts waits for.
    waits: Option<Waits>,
    account: Arc<Account>,
    /// Bytes that lie here for this session.
    held: Held,
    _place: Option<Permit>,
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
        (account, place): (Arc<Account>, Option<Permit>),
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
            held: account.held(),
            account,
            _place: place,
            caller,
            inbound: Some(inbound),
            welcome: Some(welcome),
            calls: Vec::new().into_iter(),
            parts: Vec::new().into_iter(),
            assembly: Assembly::default(),
            room: None,
            listened: Duration::ZERO,
            listens: None,
            waits: None,
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
            && self.held.has_room()
    }

    /// Tells what lies here: what is asked and not answered, and what is answered and not sent.
    fn count(&mut self, waiting: usize) {
        let flying = self.flying.bytes() + self.flying.coming();
        self.held.set(flying + self.out.bytes + waiting);
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
        self.calls = calls.calls.into_iter();
        self.parts = calls.parts.into_iter();
        Ok(())
    }

    /// Whether all that came is begun.
    fn is_through(&self) -> bool {
        self.calls.len() + self.parts.len() == 0
    }

    /// Begins what came, while there is room.
    fn go_on(&mut self, context: &mut Context<'_>) -> Result<()> {
        if self.is_through() {
            return Ok(());
        }
        let (turn, shared, number) = (self.turn.clone(), self.shared.clone(), self.number);
        let now = Instant::now();
        let begin = || -> Result<()> {
            self.count(0);
            while self.has_room() && self.begin_next(context, now)? {
                self.count(0);
            }
            let calls = self.calls.as_slice().iter().map(Message::encoded_len);
            let parts = self.parts.as_slice().iter().map(|part| part.bytes.len());
            self.count(calls.chain(parts).sum());
            if !self.has_room() {
                self.waits = None;
            }
            Ok(())
        };
        let begun = aside(&shared.slow, now, || turn.during(number, begin));
        begun.ok_or_else(superseded)?
    }

    /// Begins the next call, or takes the next part. False: there is none, or it waits for a permit.
    fn begin_next(&mut self, context: &mut Context<'_>, now: Instant) -> Result<bool> {
        if let Some(call) = self.calls.as_slice().first() {
            let mut permit = None;
            if call.verb.as_ref().is_some_and(takes_long) {
                permit = self.poll_permit(context, Of::Jobs, 1);
                if permit.is_none() {
                    return Ok(false);
                }
            }
            return match self.calls.next() {
                Some(call) => self.begin(call, permit, now).map(|()| true),
                None => Ok(false),
            };
        }
        let Some(part) = self.parts.as_slice().first() else {
            return Ok(false);
        };
        if self.assembly.held() == 0 {
            self.caller.may_send_parts()?;
            let whole = Assembly::announced(part)?.div_ceil(1 << 10);
            self.room = self.poll_permit(context, Of::Parts, whole as u32);
            if self.room.is_none() {
                return Ok(false);
            }
        }
        let Some(part) = self.parts.next() else {
            return Ok(false);
        };
        if let Some((id, whole)) = self.assembly.take(part)? {
            self.listened = Duration::ZERO;
            let call: Call = read(whole)?;
            if call.id != id {
                return Err(Error::invalid("a call has another number than its parts"));
            }
            if call.verb.as_ref().is_some_and(takes_long) {
                return Err(Error::invalid("only calls that bring much come in parts"));
            }
            self.begin(call, None, now)?;
            self.room = None;
        }
        Ok(true)
    }

    /// A permit for the first of what came.
    fn poll_permit(&mut self, context: &mut Context<'_>, of: Of, much: u32) -> Option<Permit> {
        let account = &self.account;
        let waits = self
            .waits
            .get_or_insert_with(|| Box::pin(account.clone().take(of, much)));
        match waits.as_mut().poll(context) {
            Poll::Pending => None,
            Poll::Ready(permit) => {
                self.waits = None;
                Some(permit)
            }
        }
    }

    fn begin(&mut self, call: Call, permit: Option<Permit>, now: Instant) -> Result<()> {
        if call.id <= self.last {
            return Err(Error::invalid(format!(
                "call {} came after call {}",
                call.id, self.last
            )));
        }
        self.last = call.id;
        let bytes = call.verb.as_ref().map_or(0, weight);
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
                let coming = if brings_much(&verb) {
                    self.out.longest.max(UNKNOWN)
                } else {
                    0
                };
                let caller = traces::of(&call.trace);
                let op = trace::within(caller, || {
                    self.shared.begin(&self.caller, hop, verb, permit)
                });
                self.flying.board(call.id, op, (bytes, coming), deadline)
            }
        };
        if let Some(answer) = answer {
            self.out.push(call.id, answer);
        }
        Ok(())
    }

    fn poll_calls(&mut self, context: &mut Context<'_>) -> Result<()> {
        loop {
            self.go_on(context)?;
            let more = self.is_through() && self.has_room() && !self.out.is_full();
            let inbound = self.inbound.as_mut().filter(|_| more);
            let said = inbound.map(|inbound| inbound.as_mut().poll_next(context));
            self.listen(matches!(said, Some(Poll::Pending)));
            match said {
                None | Some(Poll::Pending) => return Ok(()),
                Some(Poll::Ready(said)) => match said {
                    Some(Ok(calls)) => self.take(calls)?,
                    // The client has no more to ask, or is gone; what it asked is still answered.
                    None => self.inbound = None,
                    Some(Err(status)) => {
                        self.inbound = None;
                        tracing::debug!(%status, "a session broke off");
                    }
                },
            }
        }
    }

    /// Counts the time in which the rest of a call is listened for.
    fn listen(&mut self, listens: bool) {
        if listens && self.assembly.held() > 0 {
            self.listens.get_or_insert_with(Instant::now);
        } else if let Some(since) = self.listens.take() {
            self.listened += since.elapsed();
        }
    }

    fn poll_time(&mut self, context: &mut Context<'_>) -> Result<()> {
        while self.flying.len() + self.assembly.held() > 0
            || !self.is_through()
            || !self.held.has_room()
        {
            let tick = self
                .tick
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(TICK)));
            if tick.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            let now = Instant::now();
            tick.as_mut().reset(now + TICK);
            let out = &mut self.out;
            self.flying.expire(now, |id| out.push(id, Err(too_late())));
            let listened = self.listens.map_or(Duration::ZERO, |since| now - since);
            if self.listened + listened > self.shared.limits.patience {
                return Err(Error::unavailable(
                    "a call in parts was begun, and its end did not come",
                ));
            }
        }
        Ok(())
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
                // What was not begun is asked again, of whoever is there then.
                (this.calls, this.parts) = Default::default();
                this.waits = None;
            }
            this.count(0);
            let room = this.has_room();
            let polled = this.poll_calls(context);
            if let Err(error) = polled.and_then(|()| this.poll_time(context)) {
                return Poll::Ready(Some(Err(to_status(&error))));
            }
            if let Some(answers) = this.next() {
                // Nobody polls until the client reads: a turn is not kept from others meanwhile.
                this.waits = None;
                return Poll::Ready(Some(Ok(answers)));
            }
            if this.inbound.is_none() && this.is_through() && this.flying.len() == 0 {
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
        Some(Payload::Stored(_)) => 48,
        _ => answer.encoded_len(),
    }
}

/// Begins calls. Where that took long of late, as on a slow disk, others have the runtime's worker meanwhile:
/// that costs some microseconds, so it is not done otherwise.
fn aside<T>(slow: &AtomicU32, now: Instant, begin: impl FnOnce() -> T) -> T {
    let several = |it: Handle| it.runtime_flavor() == RuntimeFlavor::MultiThread;
    let left = slow.load(Ordering::Relaxed);
    let begun = if left > 0 && Handle::try_current().is_ok_and(several) {
        tokio::task::block_in_place(begin)
    } else {
        begin()
    };
    if now.elapsed() >= LONG {
        slow.store(ASIDE, Ordering::Relaxed);
    } else if left > 0 {
        slow.store(left - 1, Ordering::Relaxed);
    }
    begun
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
