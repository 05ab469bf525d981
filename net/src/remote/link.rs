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

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use prost::Message;
use tokio::sync::Notify;
use tokio::time::Instant;
use travertine_engine::contract::{
    Env, Epoch, Error, ErrorKind, Level, Oid, Op, Position, Result, Status, Stream, Vector,
};

use super::Settings;
use super::kept::{Covered, Kept};
use super::slot::{Shape, Slot};
use crate::hop::{self, Host};
use crate::proto::answer::Answer as Payload;
use crate::proto::call::Verb;
use crate::proto::{Answer, Call, Calls, Part};
use crate::traces;
use crate::wire::error::{from_proto, to_proto};
use crate::wire::parts::cut;
use crate::wire::{FLUSH, HOPS_MAX, ITEMS, PART, WHOLE_MAX, convert};

/// Most calls that wait to be sent, and most bytes of them.
const QUEUE: (usize, usize) = (65_536, 256 << 20);

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
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether calls may be sent.
    pub(super) up: bool,
    /// The number of the session: an outbox of an older one has nothing to send.
    pub(super) session: u64,
    pub(super) held: VecDeque<Waiting>,
    pub(super) unsent: VecDeque<Waiting>,
    sent: HashMap<u64, Waiting, BuildHasherDefault<Number>>,
    sent_bytes: usize,
    queued_bytes: usize,
    parts: VecDeque<Part>,
    next: u64,
    /// What the other side takes.
    pub(super) credit: (usize, usize),
    outbox: Option<Waker>,
    ticking: bool,
    /// Why there is no session.
    pub(super) trouble: Option<Error>,
    /// Why nothing is written any more.
    pub(super) refused: Option<Error>,
    pub(super) kept: Kept,
    pub(super) known: Option<Known>,
    /// This run of the server may lack what was stored.
    pub(super) behind: Option<Behind>,
    /// The last time that the other side was asked how it is.
    asked: Option<Instant>,
    adoptions: u64,
    closed: bool,
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
enum Note {
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
            state: Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call.
    pub(super) fn call<T: Send + 'static>(
        &self,
        verb: Verb,
        oid: Option<Oid>,
        shape: Shape<T>,
    ) -> Op<T> {
        match self.submit(verb, true, |state| state.may_be_asked()) {
            Ok(slot) => slot.op(oid, shape),
            Err(error) => Op::err(self.risen(error)),
        }
    }

    /// Makes a call that writes; `keep` notes what it brings.
    pub(super) fn write<T: Send + 'static>(
        &self,
        verb: Verb,
        keep: impl FnOnce(&mut Kept, u64),
        shape: Shape<T>,
    ) -> Op<T> {
        let most = self.settings.keep;
        let slot = self.submit(verb, true, |state| {
            if state.closed || self.settings.read_only {
                return Err(Error::closed(
                    "the floor is closed, or open for reading only",
                ));
            }
            if let Some(error) = &state.refused {
                return Err(error.clone());
            }
            state.may_be_asked()?;
            keep(&mut state.kept, most);
            Ok(())
        });
        match slot {
            Ok(slot) => slot.op(None, shape),
            Err(error) => Op::err(self.risen(error)),
        }
    }

    /// Makes a call by which a session is made ready, before any other.
    pub(super) fn prepare<T: Send + 'static>(&self, verb: Verb, shape: Shape<T>) -> Op<T> {
        match self.submit(verb, false, |_| Ok(())) {
            Ok(slot) => slot.op(None, shape),
            Err(error) => Op::err(error),
        }
    }

    fn submit(
        &self,
        verb: Verb,
        waits: bool,
        admit: impl FnOnce(&mut State) -> Result<()>,
    ) -> Result<Arc<Slot>> {
        let hop = hop::current();
        if hop.passed >= HOPS_MAX {
            return Err(Error::invalid(format!(
                "the call passed {HOPS_MAX} servers: they stand in a loop, or too many behind one another"
            )));
        }
        let bytes = size(&verb);
        if bytes > WHOLE_MAX - AROUND {
            // The other side would end the session over it, and all that is under way with that.
            return Err(Error::invalid(format!(
                "a call of {bytes} bytes cannot be sent: {WHOLE_MAX} are the limit"
            )));
        }
        let own = Instant::now() + self.settings.deadline;
        let trace = traces::told();
        let slot = Arc::new(Slot::default());
        let mut state = self.lock();
        if state.stopped {
            return Err(Error::closed("the floor is gone"));
        }
        let queued = state.held.len() + state.unsent.len();
        if waits && (queued >= QUEUE.0 || state.queued_bytes >= QUEUE.1) {
            return Err(Error::unavailable(format!(
                "{queued} calls of {} bytes wait to be sent, too many for another",
                state.queued_bytes
            )));
        }
        admit(&mut state)?;
        let waiting = Waiting {
            slot: Some(slot.clone()),
            deadline: hop.deadline.map_or(own, |theirs| theirs.min(own)),
            hops: hop.passed,
            trace,
            bytes,
            again: waits,
            note: state.note_of(&verb),
            verb,
        };
        state.queued_bytes += waiting.bytes;
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

    /// Writes no more. Whether the other side is to be told: it wrote there, and can be reached.
    pub(super) fn close(&self) -> bool {
        let mut state = self.lock();
        let first = !std::mem::replace(&mut state.closed, true);
        first && state.up && state.kept.epoch().is_some()
    }

    /// Ends it: whoever waits is told.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The next message of a session. `None` with a waker kept: there is nothing to send now.
    pub(super) fn next_message(&self, session: u64, waker: &Waker) -> Option<Calls> {
        let now = Instant::now();
        let mut state = self.lock();
        let mut calls = Calls::default();
        let mut bytes = 0;
        if let Some(part) = state.parts.pop_front() {
            bytes += part.bytes.len();
            calls.parts.push(part);
        }
        while state.session == session && state.parts.is_empty() && calls.parts.is_empty() {
            if calls.calls.len() >= ITEMS || bytes >= FLUSH || !state.has_credit() {
                break;
            }
            let Some(waiting) = state.unsent.pop_front() else {
                break;
            };
            let id = state.next;
            state.next += 1;
            let left = waiting.deadline.saturating_duration_since(now);
            let call = Call {
                id,
                deadline: (left.as_millis() as u32).max(1),
                hops: waiting.hops,
                trace: waiting.trace.clone(),
                verb: Some(waiting.verb.clone()),
            };
            bytes += waiting.bytes;
            state.queued_bytes -= waiting.bytes;
            state.sent_bytes += waiting.bytes;
            if waiting.bytes > PART {
                state.parts.extend(cut(id, call.encode_to_vec()));
            } else {
                calls.calls.push(call);
            }
            state.sent.insert(id, waiting);
        }
        if calls.parts.is_empty()
            && let Some(part) = state.parts.pop_front()
        {
            calls.parts.push(part);
        }
        if calls.calls.is_empty() && calls.parts.is_empty() {
            state.outbox = Some(waker.clone());
            return None;
        }
        Some(calls)
    }

    /// A session has begun: nothing of it was sent yet.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.next = 1;
        state.session += 1;
        state.session
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
            let mut state = self.lock();
            let state = &mut *state;
            state.up = false;
            state.session += 1;
            state.parts.clear();
            let mut sent: Vec<_> = state.sent.drain().collect();
            sent.sort_unstable_by_key(|(id, _)| *id);
            let sent = sent.into_iter().map(|(_, waiting)| waiting);
            state.sent_bytes = 0;
            let unsent = std::mem::take(&mut state.unsent);
            let held = std::mem::take(&mut state.held);
            let again = sent.chain(unsent).chain(held);
            let wanted = |waiting: &Waiting| waiting.again && waiting.slot.is_some();
            state.held = again.filter(wanted).collect();
            state.queued_bytes = state.held.iter().map(|waiting| waiting.bytes).sum();
            if trouble.kind() != ErrorKind::Unavailable {
                for waiting in state.held.drain(..) {
                    landed.extend(waiting.slot.map(|slot| (slot, Err(trouble.clone()))));
                }
                state.queued_bytes = 0;
            }
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
            held.retain_mut(|waiting| {
                let stays = !writes(&waiting.verb);
                if !stays {
                    landed.extend(waiting.slot.take().map(|slot| (slot, Err(error.clone()))));
                }
                stays
            });
            state.held = held;
        }
        self.give(landed);
    }

    /// Takes answers in.
    ///
    /// Errors: `Invalid`, where nothing such was asked.
    pub(super) fn land(&self, answers: Vec<Answer>) -> Result<()> {
        let mut landed = Landed::with_capacity(answers.len());
        let mut freed = false;
        let taken = {
            let mut state = self.lock();
            let taken = answers.into_iter().try_for_each(|answer| {
                let Some(waiting) = state.sent.remove(&answer.id) else {
                    return Err(Error::invalid(format!(
                        "the server answered call {}, which waits for no answer",
                        answer.id
                    )));
                };
                freed = true;
                state.sent_bytes -= waiting.bytes;
                let payload = answer.answer.unwrap_or_else(nothing);
                let payload = match payload {
                    Payload::Error(told) => Err(self.risen(from_proto(&told))),
                    payload => Ok(payload),
                };
                if let Ok(payload) = &payload {
                    state.take_note(&waiting.note, payload);
                }
                landed.extend(waiting.slot.map(|slot| (slot, payload)));
                Ok(())
            });
            let outbox = if freed && !state.unsent.is_empty() {
                state.outbox.take()
            } else {
                None
            };
            drop(state);
            if let Some(outbox) = outbox {
                outbox.wake();
            }
            taken
        };
        self.give(landed);
        taken
    }

    /// Gives up those whose time is over. `false`: nobody waits.
    pub(super) fn tick(&self) -> bool {
        let now = Instant::now();
        let mut landed = Landed::new();
        let goes_on = {
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
            for waiting in state.sent.values_mut() {
                lost(waiting);
            }
            state.held.retain_mut(&mut lost);
            state.unsent.retain_mut(&mut lost);
            let queued = state.held.iter().chain(&state.unsent);
            state.queued_bytes = queued.map(|waiting| waiting.bytes).sum();
            let waits = |waiting: &Waiting| waiting.slot.is_some();
            state.ticking = !state.held.is_empty()
                || !state.unsent.is_empty()
                || state.sent.values().any(waits);
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

impl State {
    fn has_credit(&self) -> bool {
        self.sent.is_empty() || self.sent.len() < self.credit.0 && self.sent_bytes < self.credit.1
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

    /// What an answer says of the other side.
    fn take_note(&mut self, note: &Note, answer: &Payload) {
        match (note, answer) {
            (Note::Stored(stream), Payload::Stored(tail)) => {
                self.reached(*stream, Position(tail.end), Some(tail.ceiling), false);
            }
            (Note::Committed(covered), Payload::Committed(level)) => {
                let durable = convert::to_level(Some(*level)).is_ok_and(|level| {
                    let most = self
                        .known
                        .as_ref()
                        .map_or(Level::Disk, |it| it.status.level);
                    level >= most.min(Level::Disk)
                });
                if durable {
                    self.kept.durable(covered);
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

/// About what a call takes.
fn size(verb: &Verb) -> usize {
    let bytes = match verb {
        Verb::Store(call) => call.batch.len(),
        Verb::Commit(call) => call.last.iter().map(|batch| batch.len() + 8).sum(),
        Verb::Reclaim(call) => call.encoded_len(),
        Verb::Adopt(call) => call.encoded_len(),
        _ => 0,
    };
    bytes + 64
}
