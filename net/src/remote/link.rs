//! The link to the other side: calls that wait to be sent, calls that wait for an answer.
//!
//! ```text
//!   verb ──> held, while there is no session ──> unsent ──> sent ──> answered
//!                     ▲                                       │
//!                     └──── the session broke off ────────────┘
//!              each leaves when its time is over: `unavailable`
//! ```
//!
//! Calls keep their order through all of it. A call that was sent and not answered is sent again: each
//! verb may be, for the contract makes a repeat a no-op.
//!
//! Whoever calls meets the connection at one lock, which is held for a moment only. What is sent and what
//! comes has another, which only the connection takes; it is taken first where both are.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use prost::Message;
use tokio::sync::Notify;
use tokio::time::Instant;
use travertine_engine::contract::{
    Batch, Env, Epoch, Error, ErrorKind, Level, Oid, Op, Position, Result, Status, Stream, Vector,
};

use super::Settings;
use super::kept::{Covered, Kept};
use super::slot::{Shape, Slot};
use crate::hop::{self, Host};
use crate::proto::answer::Answer as Payload;
use crate::proto::call::Verb;
use crate::proto::{Answer, Call, Calls, Part, Tail};
use crate::traces;
use crate::wire::error::{from_proto, to_proto};
use crate::wire::parts::cut;
use crate::wire::{FLUSH, HOPS_MAX, ITEMS, PART, WHOLE_MAX, convert, weight};

/// Most calls that wait to be sent, and most bytes of them.
const QUEUE: (usize, usize) = (65_536, 256 << 20);

/// So many calls that were sent, or bytes of them, may count as waiting yet.
const LEFT: (usize, usize) = (1_024, 8 << 20);

/// One opening of a `remote` floor.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) env: Env,
    pub(super) settings: Settings,
    /// How it names itself to servers.
    pub(super) client: [u8; 16],
    /// The server that this floor stands in, if any.
    pub(super) host: Option<Arc<Host>>,
    /// Something the one who drives the link has to look at.
    pub(super) changed: Notify,
    flight: Mutex<Flight>,
    state: Mutex<State>,
}

/// What the connection deals with.
#[derive(Debug, Default)]
struct Flight {
    /// The number of the session: an outbox of an older one has nothing to send.
    session: u64,
    /// The next to be sent.
    ready: VecDeque<Waiting>,
    sent: HashMap<u64, Waiting, BuildHasherDefault<Number>>,
    sent_bytes: usize,
    parts: VecDeque<Part>,
    next: u64,
    /// What the other side takes.
    credit: (usize, usize),
    /// Waits for credit.
    outbox: Option<Waker>,
    /// What was sent, and still counts as queued.
    left: Queued,
    figures: Figures,
}

/// What was sent so far.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Figures {
    pub(super) calls: u64,
    /// Messages that went while nothing else waited for an answer: ways there and back, one after the other.
    pub(super) trips: u64,
}

/// Calls that wait to be sent, and their bytes.
#[derive(Debug, Default, Clone, Copy)]
struct Queued {
    calls: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether calls may be sent.
    up: bool,
    held: VecDeque<Waiting>,
    unsent: VecDeque<Waiting>,
    /// Those, and what the connection took and may not have sent yet.
    queued: Queued,
    /// Waits for calls.
    outbox: Option<Waker>,
    ticking: bool,
    /// Why there is no session.
    pub(super) trouble: Option<Error>,
    /// Why nothing is written any more.
    pub(super) refused: Option<Error>,
    pub(super) kept: Kept,
    pub(super) known: Option<Known>,
    /// It gave way to another one who writes there.
    pub(super) yielded: bool,
    /// This run of the server may lack what was stored.
    pub(super) behind: Option<Behind>,
    /// The last time that the other side was asked how it is.
    asked: Option<Instant>,
    adoptions: u64,
    pub(super) closed: bool,
    stopped: bool,
}

/// What is known of the other side.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) identity: [u8; 16],
    /// The run of the server.
    pub(super) instance: [u8; 16],
    pub(super) status: Status,
}

/// A run of the server that may lack what was stored, until it was brought all of it: by this session or
/// by a later one.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// Where it was told to go on. It may have taken batches since, so it can be told no other place.
    pub(super) cut: Option<Vector>,
}

/// A call that has no answer yet.
#[derive(Debug)]
pub(super) struct Waiting {
    /// None: nobody waits for it any more.
    slot: Option<Arc<Slot>>,
    verb: Verb,
    deadline: Instant,
    hops: u32,
    /// On whose behalf.
    trace: String,
    bytes: usize,
    /// Whether it is sent again when a session breaks off.
    again: bool,
    note: Note,
}

/// The hash of a number that is chosen here.
#[derive(Debug, Default)]
struct Number(u64);

impl Hasher for Number {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What its answer says of what is kept here.
#[derive(Debug, Clone)]
pub(super) enum Note {
    Nothing,
    Stored(Stream),
    Committed(Covered),
    Adopted(Box<(Epoch, Vector)>),
    Status(u64),
}

/// Answers to be given once no lock is held.
pub(super) type Landed = Vec<(Arc<Slot>, Result<Payload>)>;

impl Link {
    pub(super) fn new(env: &Env, settings: Settings, host: Option<Arc<Host>>) -> Self {
        Self {
            env: env.clone(),
            settings,
            client: env.identity(),
            host,
            changed: Notify::new(),
            flight: Mutex::default(),
            state: Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call.
    pub(super) fn call<T: Send + 'static>(
        &self,
        verb: Verb,
        oid: Option<Oid>,
        shape: Shape<T>,
    ) -> Op<T> {
        let admit = |state: &mut State, verb: &Verb| {
            state.may_be_asked()?;
            Ok(state.note_of(verb))
        };
        match self.submit(verb, true, admit) {
            Ok(slot) => slot.op(oid, shape),
            Err(error) => Op::err(self.risen(error)),
        }
    }

    /// Makes a call that writes; `keep` keeps what it brings. It may say what the answer will tell.
    pub(super) fn write<T: Send + 'static>(
        &self,
        verb: Verb,
        keep: impl FnOnce(&mut Kept, u64) -> Option<Note>,
        shape: Shape<T>,
    ) -> Op<T> {
        let most = self.settings.keep;
        let slot = self.submit(verb, true, |state, verb| {
            if state.closed || self.settings.read_only {
                return Err(Error::closed(
                    "the floor is closed, or open for reading only",
                ));
            }
            if let Some(error) = &state.refused {
                return Err(error.clone());
            }
            state.may_be_asked()?;
            let note = keep(&mut state.kept, most);
            Ok(note.unwrap_or_else(|| state.note_of(verb)))
        });
        match slot {
            Ok(slot) => slot.op(None, shape),
            Err(error) => Op::err(self.risen(error)),
        }
    }

    /// Makes a call by which a session is made ready, before any other.
    pub(super) fn prepare<T: Send + 'static>(&self, verb: Verb, shape: Shape<T>) -> Op<T> {
        match self.submit(verb, false, |state, verb| Ok(state.note_of(verb))) {
            Ok(slot) => slot.op(None, shape),
            Err(error) => Op::err(error),
        }
    }

    fn submit(
        &self,
        verb: Verb,
        waits: bool,
        admit: impl FnOnce(&mut State, &Verb) -> Result<Note>,
    ) -> Result<Arc<Slot>> {
        let hop = hop::current();
        if hop.passed >= HOPS_MAX {
            return Err(Error::invalid(format!(
                "the call passed {HOPS_MAX} servers: they stand in a loop, or too many behind one another"
            )));
        }
        let size = weight(&verb);
        if size > WHOLE_MAX - AROUND {
            // The other side would end the session over it, and all that is under way with that.
            return Err(Error::invalid(format!(
                "a call of {size} bytes cannot be sent: {WHOLE_MAX} are the limit"
            )));
        }
        let own = Instant::now() + self.settings.deadline;
        let trace = traces::told();
        let slot = Arc::new(Slot::default());
        let mut state = self.lock();
        if state.stopped {
            return Err(Error::closed("the floor is gone"));
        }
        let Queued { calls, bytes } = state.queued;
        if waits && (calls >= QUEUE.0 || bytes >= QUEUE.1) {
            return Err(Error::unavailable(format!(
                "{calls} calls of {bytes} bytes wait to be sent, too many for another"
            )));
        }
        let note = admit(&mut state, &verb)?;
        let waiting = Waiting {
            slot: Some(slot.clone()),
            deadline: hop.deadline.map_or(own, |theirs| theirs.min(own)),
            hops: hop.passed,
            trace,
            bytes: size,
            again: waits,
            note,
            verb,
        };
        state.queued.add(&waiting);
        if waits && !state.up {
            state.held.push_back(waiting);
        } else {
            state.unsent.push_back(waiting);
        }
        self.rouse(state);
        Ok(slot)
    }

    /// Wakes who sends, and who looks at the time.
    fn rouse(&self, mut state: MutexGuard<'_, State>) {
        let outbox = state.outbox.take();
        let tick = !std::mem::replace(&mut state.ticking, true);
        drop(state);
        if let Some(outbox) = outbox {
            outbox.wake();
        }
        if tick {
            self.changed.notify_one();
        }
    }

    fn risen(&self, error: Error) -> Error {
        error.at(format!("remote {}", self.settings.address))
    }

    /// How the other side is, as far as it is known; asks again in passing if that is some time ago.
    pub(super) fn status(&self) -> Option<Status> {
        let now = Instant::now();
        let (status, ask) = {
            let mut state = self.lock();
            let fresh = |asked: Instant| now < asked + self.settings.refresh;
            let ask = state.up && !state.asked.is_some_and(fresh);
            if ask {
                state.asked = Some(now);
            }
            (state.known.as_ref().map(|it| it.status.clone()), ask)
        };
        if ask {
            let asked = self.call(Verb::Status(crate::proto::StatusCall {}), None, |_, _| {
                Ok(())
            });
            drop(asked);
        }
        let mut status = status?;
        let state = self.lock();
        let trouble = state.refused.as_ref().or(state.trouble.as_ref());
        if let Some(trouble) = trouble {
            status.refusing = Some(trouble.to_string());
        }
        Some(status)
    }

    pub(super) fn figures(&self) -> Figures {
        self.flight().figures
    }

    /// Writes no more. Whether the other side is to be told: it wrote there, or others gave way to it,
    /// and it can be reached.
    pub(super) fn close(&self) -> bool {
        let mut state = self.lock();
        let first = !std::mem::replace(&mut state.closed, true);
        let held = self.settings.role.yields && !self.settings.read_only;
        first && state.up && (held || state.kept.epoch().is_some())
    }

    /// Ends it: whoever waits is told.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The next message of a session; `None`: there is another session.
    pub(super) fn poll_message(&self, session: u64, waker: &Waker) -> Poll<Option<Calls>> {
        let now = Instant::now();
        let mut flight = self.flight();
        if flight.session != session {
            return Poll::Ready(None);
        }
        let flight = &mut *flight;
        let mut calls = Calls::default();
        let mut bytes = 0;
        while flight.parts.is_empty() && calls.calls.len() < ITEMS && bytes < FLUSH {
            // Whoever has something to send is asked again, without being woken.
            let waker = calls.calls.is_empty().then_some(waker);
            if !flight.has_credit() {
                flight.outbox = waker.cloned();
                break;
            }
            if flight.ready.is_empty() {
                self.lock().hand_over(flight, waker);
                calls.calls.reserve(flight.ready.len().min(ITEMS));
            } else if flight.left.calls >= LEFT.0 || flight.left.bytes >= LEFT.1 {
                self.lock().settle(flight);
            }
            let Some(waiting) = flight.ready.pop_front() else {
                break;
            };
            let id = flight.next;
            flight.next += 1;
            flight.figures.calls += 1;
            flight.figures.trips += u64::from(flight.sent.is_empty());
            let left = waiting.deadline.saturating_duration_since(now);
            let call = Call {
                id,
                deadline: (left.as_millis() as u32).max(1),
                hops: waiting.hops,
                trace: waiting.trace.clone(),
                verb: Some(waiting.verb.clone()),
            };
            bytes += waiting.bytes;
            flight.left.add(&waiting);
            flight.sent_bytes += waiting.bytes;
            if waiting.bytes > PART {
                flight.parts.extend(cut(id, call.encode_to_vec()));
            } else {
                calls.calls.push(call);
            }
            flight.sent.insert(id, waiting);
        }
        calls.parts.extend(flight.parts.pop_front());
        if calls.calls.is_empty() && calls.parts.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(Some(calls))
    }

    /// A session has begun: nothing of it was sent yet.
    pub(super) fn begin(&self) -> u64 {
        let mut flight = self.flight();
        flight.next = 1;
        flight.session += 1;
        flight.session
    }

    /// The other side takes so many calls, of so many bytes.
    pub(super) fn credit(&self, calls: usize, bytes: usize) {
        self.flight().credit = (calls, bytes);
    }

    /// The session may be used.
    pub(super) fn rise(&self) {
        let mut state = self.lock();
        state.up = true;
        state.trouble = None;
        let held = std::mem::take(&mut state.held);
        state.unsent.extend(held);
        self.rouse(state);
    }

    /// The session broke off, or there is none. What was not answered is kept, in its order, to be
    /// sent again; unless trying again will not help.
    pub(super) fn fall(&self, trouble: Error) {
        let mut landed = Landed::new();
        {
            let mut flight = self.flight();
            let flight = &mut *flight;
            let mut state = self.lock();
            let state = &mut *state;
            state.up = false;
            flight.session += 1;
            flight.parts.clear();
            let mut sent: Vec<_> = flight.sent.drain().collect();
            sent.sort_unstable_by_key(|(id, _)| *id);
            let sent = sent.into_iter().map(|(_, waiting)| waiting);
            flight.sent_bytes = 0;
            let ready = std::mem::take(&mut flight.ready);
            let unsent = std::mem::take(&mut state.unsent);
            let held = std::mem::take(&mut state.held);
            let again = sent.chain(ready).chain(unsent).chain(held);
            let wanted = |waiting: &Waiting| waiting.again && waiting.slot.is_some();
            state.held = again.filter(wanted).collect();
            if trouble.kind() != ErrorKind::Unavailable {
                for waiting in state.held.drain(..) {
                    landed.extend(waiting.slot.map(|slot| (slot, Err(trouble.clone()))));
                }
            }
            state.count(flight);
            state.trouble = Some(trouble);
        }
        self.give(landed);
    }

    /// Nothing is written any more: those who wait to write are told.
    pub(super) fn refuse(&self, error: &Error) {
        let mut landed = Landed::new();
        {
            let mut state = self.lock();
            state.refused = Some(error.clone());
            let mut held = std::mem::take(&mut state.held);
            let mut gone = Queued::default();
            held.retain_mut(|waiting| {
                let stays = !writes(&waiting.verb);
                if !stays {
                    gone.add(waiting);
                    landed.extend(waiting.slot.take().map(|slot| (slot, Err(error.clone()))));
                }
                stays
            });
            state.held = held;
            state.queued.remove(gone);
        }
        self.give(landed);
    }

    /// Takes answers in.
    ///
    /// Errors: `Invalid`, where nothing such was asked.
    pub(super) fn land(&self, answers: Vec<Answer>) -> Result<()> {
        let mut landed = Landed::with_capacity(answers.len());
        let mut news = News::default();
        let (taken, outbox) = {
            let mut flight = self.flight();
            let taken = answers.into_iter().try_for_each(|answer| {
                let Some(waiting) = flight.sent.remove(&answer.id) else {
                    return Err(Error::invalid(format!(
                        "the server answered call {}, which waits for no answer",
                        answer.id
                    )));
                };
                flight.sent_bytes -= waiting.bytes;
                let payload = answer.answer.unwrap_or_else(nothing);
                let payload = match payload {
                    Payload::Error(told) => Err(self.risen(from_proto(&told))),
                    payload => Ok(payload),
                };
                if let Ok(payload) = &payload {
                    news.take(waiting.note, payload);
                }
                landed.extend(waiting.slot.map(|slot| (slot, payload)));
                Ok(())
            });
            (taken, flight.outbox.take())
        };
        if let Some(outbox) = outbox {
            outbox.wake();
        }
        let durable = match news.is_empty() {
            true => Vec::new(),
            // Before anybody has an answer: who asks then knows as much.
            false => self.lock().learn(news),
        };
        self.give(landed);
        drop(durable);
        taken
    }

    /// Gives up those whose time is over. `false`: nobody waits.
    pub(super) fn tick(&self) -> bool {
        let now = Instant::now();
        let mut landed = Landed::new();
        let goes_on = {
            let mut flight = self.flight();
            let flight = &mut *flight;
            let mut state = self.lock();
            let state = &mut *state;
            let why = match &state.trouble {
                Some(trouble) => {
                    Error::unavailable(format!("no connection: {}", trouble.message()))
                }
                None => Error::unavailable("no answer in time: it may still come to pass"),
            };
            let mut lost = |waiting: &mut Waiting| {
                if waiting.deadline > now {
                    return true;
                }
                let slot = waiting.slot.take();
                landed.extend(slot.map(|slot| (slot, Err(self.risen(why.clone())))));
                false
            };
            // What was sent stays until it is answered: the other side still works for it.
            for waiting in flight.sent.values_mut() {
                lost(waiting);
            }
            flight.ready.retain_mut(&mut lost);
            state.held.retain_mut(&mut lost);
            state.unsent.retain_mut(&mut lost);
            state.count(flight);
            let waits = |waiting: &Waiting| waiting.slot.is_some();
            state.ticking = state.queued.calls > 0 || flight.sent.values().any(waits);
            state.ticking
        };
        self.give(landed);
        goes_on
    }

    /// Gives answers: wakers run on a driver, for they may do anything.
    fn give(&self, landed: Landed) {
        let (mut wakers, mut blocked) = (Vec::new(), Vec::new());
        for (slot, answer) in landed {
            let (waker, waits) = slot.put(answer);
            wakers.extend(waker);
            blocked.extend(waits.then_some(slot));
        }
        blocked.iter().for_each(|slot| slot.notify());
        if !wakers.is_empty() {
            let wake = move || wakers.into_iter().for_each(Waker::wake);
            self.env.drivers.run(Box::new(wake));
        }
    }

    /// All who wait are told that the floor is gone.
    pub(super) fn end(&self) {
        self.fall(Error::closed("the floor is gone"));
    }
}

impl Flight {
    fn has_credit(&self) -> bool {
        self.sent.is_empty() || self.sent.len() < self.credit.0 && self.sent_bytes < self.credit.1
    }
}

impl Queued {
    fn add(&mut self, waiting: &Waiting) {
        self.calls += 1;
        self.bytes += waiting.bytes;
    }

    fn remove(&mut self, gone: Self) {
        self.calls -= gone.calls;
        self.bytes -= gone.bytes;
    }
}

impl State {
    /// Hands all that is to be sent over to the connection, which has nothing more; if there is nothing,
    /// it is woken when something comes.
    fn hand_over(&mut self, flight: &mut Flight, waker: Option<&Waker>) {
        self.settle(flight);
        std::mem::swap(&mut self.unsent, &mut flight.ready);
        if flight.ready.is_empty()
            && let Some(waker) = waker
        {
            self.outbox = Some(waker.clone());
        }
    }

    /// What was sent waits no more.
    fn settle(&mut self, flight: &mut Flight) {
        self.queued.remove(std::mem::take(&mut flight.left));
    }

    /// Counts anew what waits to be sent.
    fn count(&mut self, flight: &mut Flight) {
        (self.queued, flight.left) = Default::default();
        let waiting = self.held.iter().chain(&self.unsent).chain(&flight.ready);
        waiting.for_each(|waiting| self.queued.add(waiting));
    }

    /// Whether a call may wait for a session: not while it is known that none will do.
    fn may_be_asked(&self) -> Result<()> {
        match &self.trouble {
            Some(trouble) if trouble.kind() != ErrorKind::Unavailable => Err(trouble.clone()),
            _ => Ok(()),
        }
    }

    fn note_of(&self, verb: &Verb) -> Note {
        match verb {
            Verb::Store(call) => stream_of(&call.batch).map_or(Note::Nothing, Note::Stored),
            Verb::Commit(_) => Note::Committed(self.kept.covered()),
            Verb::Adopt(call) => convert::to_adopt(call)
                .map_or(Note::Nothing, |adopted| Note::Adopted(adopted.into())),
            Verb::Status(_) => Note::Status(self.adoptions),
            _ => Note::Nothing,
        }
    }

    /// What answers say of the other side. What need not be kept any more is let go by the caller.
    fn learn(&mut self, news: News) -> Vec<Batch> {
        for (stream, tail) in news.tails {
            self.reached(stream, Position(tail.end), Some(tail.ceiling), false);
        }
        let mut durable = Vec::new();
        for (note, answer) in &news.others {
            self.take_note(note, answer, &mut durable);
        }
        durable
    }

    fn take_note(&mut self, note: &Note, answer: &Payload, gone: &mut Vec<Batch>) {
        match (note, answer) {
            (Note::Committed(covered), Payload::Committed(level)) => {
                let durable = convert::to_level(Some(*level)).is_ok_and(|level| {
                    let most = self
                        .known
                        .as_ref()
                        .map_or(Level::Disk, |it| it.status.level);
                    level >= most.min(Level::Disk)
                });
                if durable {
                    gone.extend(self.kept.durable(covered));
                }
                for (stream, end) in covered {
                    self.reached(*stream, *end, None, durable);
                }
            }
            (Note::Adopted(adopted), Payload::Adopted(_)) => {
                let (epoch, vector) = &**adopted;
                self.kept.adopted(*epoch, vector);
                self.adoptions += 1;
                let streams = self.known.iter_mut().flat_map(|it| &mut it.status.streams);
                for known in streams {
                    let end = vector.iter().find(|(stream, _)| stream.0 == known.stream);
                    if let Some((_, end)) = end {
                        known.end = end.position.0;
                        known.durable = known.durable.min(known.end);
                    }
                }
            }
            (Note::Status(adoptions), Payload::Status(told)) if *adoptions == self.adoptions => {
                let (Some(known), Ok(mut status)) =
                    (&mut self.known, crate::wire::status::from_proto(told))
                else {
                    return;
                };
                for stream in &mut status.streams {
                    let mut before = known.status.streams.iter();
                    if let Some(before) = before.find(|it| it.stream == stream.stream) {
                        stream.end = stream.end.max(before.end);
                        stream.durable = stream.durable.max(before.durable);
                        stream.ceiling = stream.ceiling.max(before.ceiling);
                    }
                }
                known.status = status;
            }
            _ => {}
        }
    }

    fn reached(&mut self, stream: Stream, end: Position, ceiling: Option<u64>, durable: bool) {
        let streams = self.known.iter_mut().flat_map(|it| &mut it.status.streams);
        for known in streams.filter(|it| it.stream == stream.0) {
            known.end = known.end.max(end.0);
            known.ceiling = known.ceiling.max(ceiling.unwrap_or(0));
            if durable {
                known.durable = known.durable.max(end.0);
            }
        }
    }
}

/// What answers that came together say of the other side.
#[derive(Debug, Default)]
struct News {
    /// How far each stream is: of many stores the last says it.
    tails: Vec<(Stream, Tail)>,
    others: Vec<(Note, Payload)>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.tails.is_empty() && self.others.is_empty()
    }

    fn take(&mut self, note: Note, answer: &Payload) {
        match (note, answer) {
            (Note::Nothing, _) => {}
            (Note::Stored(stream), Payload::Stored(told)) => {
                let known = self.tails.iter_mut().find(|(known, _)| *known == stream);
                match known {
                    Some((_, tail)) => {
                        tail.end = tail.end.max(told.end);
                        tail.ceiling = tail.ceiling.max(told.ceiling);
                    }
                    None => self.tails.push((stream, *told)),
                }
            }
            (note, answer) => self.others.push((note, answer.clone())),
        }
    }
}

/// Whether a call changes anything there.
fn writes(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Store(_) | Verb::Commit(_) | Verb::Adopt(_) | Verb::Reclaim(_)
    )
}

fn stream_of(batch: &[u8]) -> Option<Stream> {
    let header = travertine_engine::contract::BatchHeader::decode(batch)?;
    Some(header.stream)
}

fn nothing() -> Payload {
    let error = Error::unavailable("the server's answer is of a kind that is not known here");
    Payload::Error(to_proto(&error).into())
}

/// Room in a message for what stands around a call.
const AROUND: usize = 4 << 10;
