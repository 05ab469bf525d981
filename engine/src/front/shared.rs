//! What sessions, snapshots, tickets and drivers of one engine share, and the turn to call below.
//!
//! Everything that changes lies in one [`State`] behind one lock, which is never held across a call
//! below. Calls that change the store are made by whoever has the *turn*: one at a time, so that
//! batches reach the store in order, while sessions go on filling the tail buffer.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use crate::contract::marker::MarkerParts;
use crate::contract::{
    Begins, Codecs, Env, Epoch, Error, ErrorKind, Gate, Kind, Level, NewRecord, Oid, Op, Position,
    Proven, Record, Reference, Result, Store, Stream,
};

use super::automatic::Alarm;
use super::bell::Bell;
use super::follow::Landing;
use super::group::Round;
use super::links::Links;
use super::memo::Memo;
use super::names::View;
use super::open::Found;
use super::options::Options;
use super::pins::{Ends, Guard, Held, Pins};
use super::place::Placer;
use super::pressure::Pressure;
use super::tail::{Seen, StreamTail};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) env: Env,
    pub(super) options: Options,
    pub(super) placer: Placer,
    /// What bodies go through, as the stack says.
    pub(super) codecs: Codecs,
    pub(super) root_stream: Stream,
    /// The highest level that the stack reaches.
    pub(super) level_max: Level,
    /// The level that a proof needs: [`Level::Disk`] where the stack reaches it.
    pub(super) level_proven: Level,
    pub(super) unit: u64,
    /// Asked before anything new is begun.
    pub(super) gate: Option<Arc<dyn Gate>>,
    pub(super) floors: Floors,
    pub(super) bell: Arc<Bell>,
    /// Wakes those who follow.
    pub(super) landing: Landing,
    pub(super) figures: Figures,
    pub(super) pressure: Pressure,
    pub(super) pins: Arc<Pins>,
    /// Ends the thread that reclaims by itself.
    pub(super) alarm: Arc<Alarm>,
    /// Whether somebody reclaims: one at a time.
    pub(super) reclaiming: AtomicBool,
    /// How many works are done aside.
    pub(super) aside: AtomicUsize,
    /// What interfaces made of records.
    pub(super) memo: Memo,
    state: Mutex<State>,
    turn: Condvar,
    shown: Mutex<Arc<Shown>>,
}

/// The newest commit that reached its level.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) view: Arc<View>,
    pub(super) marker: Option<Reference>,
    pin: Mutex<Weak<Guard>>,
}

impl Shown {
    pub(super) fn new(view: Arc<View>, marker: Option<Reference>) -> Self {
        Self {
            view,
            marker,
            pin: Mutex::default(),
        }
    }

    /// The pin of whoever holds this commit as the newest one.
    pub(super) fn pin(&self) -> Option<Arc<Guard>> {
        self.pin
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()
    }

    pub(super) fn pinned(&self, pin: &Arc<Guard>) {
        *self.pin.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(pin);
    }
}

#[derive(Debug)]
pub(super) struct State {
    /// Why nothing can be written any more.
    pub(super) refusing: Option<Error>,
    /// What opening found, until the first write.
    pub(super) found: Found,
    pub(super) writer: Option<Writer>,
    /// The newest commit that was submitted.
    pub(super) newest: Arc<View>,
    /// Submitted and in no round's hands yet; all of them tickets of `round`.
    pub(super) queue: Vec<Submitted>,
    /// What their markers will take, at most.
    pub(super) queue_bytes: usize,
    pub(super) round: Arc<Round>,
    /// When the last round was answered, while the proof of it is still to be written.
    pub(super) unproved_ns: Option<u64>,
    /// The store had no room for a batch that waits: nobody is called for it until somebody asks.
    pub(super) stuck: bool,
    /// A round is on its way: what is committed now comes after it.
    pub(super) flying: bool,
    leading: bool,
    waiting_for_turn: usize,
    driver_called: bool,
}

/// The writing side, there from the first write on.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) epoch: Epoch,
    pub(super) tails: Vec<StreamTail>,
    pub(super) links: Links,
    pub(super) proven: Option<Proven>,
    pub(super) scratch: Scratch,
}

/// What a marker is encoded in, used again for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    references: Vec<Reference>,
    body: Vec<u8>,
}

/// A commit that waits for its round.
#[derive(Debug)]
pub(super) struct Submitted {
    pub(super) view: Arc<View>,
    pub(super) level: Level,
}

/// How often what happened.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) commits: AtomicU64,
    pub(super) rounds: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) waits: AtomicU64,
    pub(super) refusals: AtomicU64,
    pub(super) reclaims: AtomicU64,
    /// Bytes that they freed, and those of the records that stayed at the last of them.
    pub(super) reclaimed: AtomicU64,
    pub(super) stayed: AtomicU64,
    /// How long writers were held back since a reclaim lagged.
    pub(super) held_ns: AtomicU64,
}

/// For each stream the position from which on reads are answered from memory.
#[derive(Debug)]
pub(super) struct Floors(Vec<(Stream, AtomicU64)>);

impl Floors {
    pub(super) fn new(streams: impl Iterator<Item = Stream>) -> Self {
        Self(
            streams
                .map(|stream| (stream, AtomicU64::new(u64::MAX)))
                .collect(),
        )
    }

    fn covers(&self, oid: Oid) -> bool {
        let stream = oid.stream();
        let mut floors = self.0.iter();
        floors.any(|(mine, floor)| {
            *mine == stream && oid.position().0 >= floor.load(Ordering::Acquire)
        })
    }

    /// Says where the tail of a stream begins. Only ever called under the lock of the state.
    pub(super) fn set(&self, stream: Stream, floor: Position) {
        if let Some((_, mine)) = self.0.iter().find(|(mine, _)| *mine == stream) {
            mine.store(floor.0, Ordering::Release);
        }
    }
}

impl State {
    pub(super) fn new(found: Found, newest: Arc<View>) -> Self {
        Self {
            refusing: None,
            found,
            writer: None,
            newest,
            queue: Vec::new(),
            queue_bytes: 0,
            round: Arc::default(),
            unproved_ns: None,
            stuck: false,
            flying: false,
            leading: false,
            waiting_for_turn: 0,
            driver_called: false,
        }
    }

    /// The writer, or why there is none: an error, or `None` before the first write.
    pub(super) fn writing(&mut self) -> Result<Option<&mut Writer>> {
        match &self.refusing {
            Some(error) => Err(error.clone()),
            None => Ok(self.writer.as_mut()),
        }
    }

    pub(super) fn is_leading(&self) -> bool {
        self.leading
    }

    /// Where the next record of each stream goes, or may go once something is written.
    pub(super) fn ends(&self) -> Ends {
        match &self.writer {
            Some(writer) => {
                let tails = writer.tails.iter();
                tails.map(|tail| (tail.stream(), tail.next())).collect()
            }
            None => self.found.bases().collect(),
        }
    }
}

impl Writer {
    pub(super) fn tail(&mut self, stream: Stream) -> Option<&mut StreamTail> {
        self.tails.iter_mut().find(|tail| tail.stream() == stream)
    }

    /// The tail that markers go to.
    pub(super) fn root(&mut self, root: Stream) -> Result<&mut StreamTail> {
        let lost = || Error::unavailable(format!("the root stream {root} is gone"));
        self.tail(root).ok_or_else(lost)
    }

    /// Encodes the marker of a commit, the newest so far, into the root stream's tail. It says where every
    /// stream ends now. Those that did not change are named too: one that is found shorter than the
    /// newest proven commit says is an old copy, however long ago it changed last.
    pub(super) fn push_marker(&mut self, root: Stream, view: &View) -> Result<Reference> {
        let tails = self.tails.iter();
        let parts = MarkerParts {
            sequence: view.sequence,
            epoch: self.epoch,
            time: view.time,
            previous: self.links.previous(),
            jump: self.links.jump(),
            proven: self.proven,
            directory: view.names.directory,
            changes: view.names.changes(),
            vector: tails.map(|tail| (tail.stream(), tail.end())),
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        parts.encode(&mut scratch.references, &mut scratch.body);
        let tail = self.root(root)?;
        let marker = tail.push(&NewRecord {
            kind: Kind::MARKER,
            references: &scratch.references,
            body: &[&scratch.body],
        })?;
        tail.note_marker(marker.oid);
        self.scratch = scratch;
        self.links.push(marker, view.sequence);
        Ok(marker)
    }

    /// Whether the record of `reference` was stored, as far as its place tells.
    pub(super) fn covers(&self, reference: &Reference) -> bool {
        let stream = reference.oid.stream();
        let mut tails = self.tails.iter();
        tails.any(|tail| tail.stream() == stream && tail.covers(reference))
    }
}

/// The right to call below. Given back when dropped.
pub(super) struct Turn<'a>(&'a Arc<Shared>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.end_turn();
    }
}

impl Shared {
    pub(super) fn new(
        store: Arc<dyn Store>,
        env: Env,
        options: Options,
        placer: Placer,
        status: &crate::contract::Status,
        found: Found,
        shown: Shown,
    ) -> Self {
        let streams = status.streams.iter().map(|stream| Stream(stream.stream));
        Self {
            store,
            env,
            options,
            placer,
            codecs: status.codecs.clone(),
            root_stream: Stream(status.root_stream),
            level_max: status.level,
            level_proven: status.level.min(Level::Disk),
            unit: status.unit,
            gate: status.gate.clone(),
            floors: Floors::new(streams),
            bell: Arc::default(),
            landing: Landing::default(),
            figures: Figures::default(),
            pressure: Pressure::default(),
            pins: Arc::default(),
            alarm: Arc::default(),
            reclaiming: AtomicBool::new(false),
            aside: AtomicUsize::new(0),
            memo: Memo::default(),
            state: Mutex::new(State::new(found, shown.view.clone())),
            turn: Condvar::new(),
            shown: Mutex::new(Arc::new(shown)),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a floor refuses what is not begun yet.
    pub(super) fn admit(&self, what: Begins) -> Result<()> {
        let Some(gate) = &self.gate else {
            return Ok(());
        };
        gate.admit(what).inspect_err(|_| {
            self.figures.refusals.fetch_add(1, Ordering::Relaxed);
        })
    }

    pub(super) fn shown(&self) -> Arc<Shown> {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn show(&self, shown: Shown) {
        let shown = Arc::new(shown);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        self.landing.ring();
    }

    /// Pins the newest submitted commit for a session that begins now.
    pub(super) fn pin_session(
        self: &Arc<Self>,
        owner: &'static str,
    ) -> Result<(Arc<View>, Arc<Guard>)> {
        let since = self.env.clock.unix_us();
        let state = self.lock();
        let view = state.newest.clone();
        let held = Held {
            owner: owner.into(),
            since,
            view: view.clone(),
            began: Some(state.ends()),
            weak: None,
        };
        // Under the lock of the state: what a reclaim holds on to is either this or what comes later.
        let pin = self.pins.hold(held, None);
        drop(state);
        let lost = || Error::closed("the pins of this engine are gone");
        Ok((view, Arc::new(pin.ok_or_else(lost)?)))
    }

    /// The record at `oid`, with the body that was given.
    pub(super) fn read(&self, oid: Oid) -> Op<Option<Record>> {
        let codecs = self.codecs.clone();
        self.read_stored(oid)
            .and_then(move |found| codecs.decode_found(oid, found))
    }

    /// The record at `oid` as it was stored: from the tail, from batches sent lately, or from below.
    pub(super) fn read_stored(&self, oid: Oid) -> Op<Option<Record>> {
        if self.floors.covers(oid) {
            let mut state = self.lock();
            let tail = state
                .writer
                .as_mut()
                .and_then(|writer| writer.tail(oid.stream()));
            let seen = tail.map_or(Seen::Below, |tail| tail.look(oid));
            // Who no longer writes vouches for nothing: somebody else may have stored there.
            let vouched = state.refusing.is_none();
            drop(state);
            match seen {
                Seen::Answer(Ok(None)) if !vouched => {}
                Seen::Answer(answer) => return Op::ready(answer),
                Seen::In(batch) => return Op::ready(batch.read(oid)),
                Seen::Below => {}
            }
        }
        self.store.read(oid)
    }

    /// The record of a reference, which it must match.
    pub(super) fn follow(&self, reference: &Reference) -> Op<Record> {
        // What is pinned by an engine that does not write, whoever writes elsewhere does not know of.
        self.follow_held(reference, !self.options.read_only)
    }

    /// As [`Shared::follow`]; `held`: a pin here holds it, so that no reclaim has freed it.
    pub(super) fn follow_held(&self, reference: &Reference, held: bool) -> Op<Record> {
        match self.read_stored(reference.oid).try_ready() {
            Ok(Ok(Some(record))) if record.codecs() == 0 && Self::fits(reference, &record) => {
                Op::ok(record)
            }
            // What is here is shaped with nothing counted: every thread shares the codecs.
            Ok(answer) => {
                Op::ready(answer.and_then(|found| followed(&self.codecs, reference, found, held)))
            }
            Err(op) => {
                let (codecs, reference) = (self.codecs.clone(), *reference);
                op.and_then(move |found| followed(&codecs, &reference, found, held))
            }
        }
    }

    /// Waits for the turn.
    pub(super) fn take_turn(self: &Arc<Self>) -> Turn<'_> {
        let mut state = self.lock();
        while state.leading {
            state.waiting_for_turn += 1;
            state = self
                .turn
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.waiting_for_turn -= 1;
        }
        state.leading = true;
        Turn(self)
    }

    /// Takes the turn if nobody has it.
    pub(super) fn try_turn(self: &Arc<Self>) -> Option<Turn<'_>> {
        let mut state = self.lock();
        if state.leading {
            return None;
        }
        state.leading = true;
        Some(Turn(self))
    }

    /// Gives the turn back, to somebody who needs it if there is work left.
    fn end_turn(self: &Arc<Self>) {
        let mut state = self.lock();
        state.leading = false;
        if state.waiting_for_turn > 0 {
            drop(state);
            self.turn.notify_one();
            return;
        }
        if state.refusing.is_some() {
            return;
        }
        let polled = if state.queue.is_empty() {
            false
        } else if state.round.hand_over() {
            return;
        } else {
            state.round.is_polled()
        };
        let waiting = state
            .writer
            .as_ref()
            .is_some_and(|writer| writer.tails.iter().any(|tail| tail.waiting_bytes() > 0));
        let waiting = waiting && !state.stuck;
        drop(state);
        if polled || waiting {
            self.call_driver();
        }
    }

    /// Has a driver do the work that is there, unless somebody does it.
    pub(super) fn call_driver(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.leading || state.driver_called {
            return;
        }
        state.driver_called = true;
        drop(state);
        let shared = self.clone();
        self.env.drivers.run(Box::new(move || {
            shared.lock().driver_called = false;
            if let Some(turn) = shared.try_turn() {
                shared.lead(None);
                drop(turn);
            }
        }));
    }

    /// Refuses all writing from now on, and fails what waits. Whoever met the cause is told of it, also
    /// if writing had ended before.
    pub(super) fn poison(&self, cause: &Error) -> Error {
        let kind = match cause.kind() {
            ErrorKind::Fenced => ErrorKind::Fenced,
            _ => ErrorKind::Closed,
        };
        let text =
            format!("writing ended when the store failed; what was on its way is unknown: {cause}");
        let error = Error::new(kind, text).caused_by(cause.clone());
        let mut state = self.lock();
        state.refusing.get_or_insert_with(|| error.clone());
        let round = std::mem::take(&mut state.round);
        state.queue.clear();
        state.queue_bytes = 0;
        drop(state);
        round.complete(Err(error.clone()));
        self.turn.notify_all();
        self.landing.ring();
        error
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.bell.close();
        self.alarm.close();
        // Submitted is started, also when every handle went away at once.
        if !self.lock().queue.is_empty() {
            self.lead(None);
        }
    }
}

/// What was found where a reference leads, if it is what the reference says.
fn followed(
    codecs: &Codecs,
    reference: &Reference,
    found: Option<Record>,
    held: bool,
) -> Result<Record> {
    if found.is_none() && !held {
        return Err(gone(reference.oid));
    }
    codecs.decode(reference.oid, Shared::check_found(reference, found)?)
}

/// What to say of a record that is not there, where nobody held on to it.
pub(super) fn gone(oid: Oid) -> Error {
    Error::unavailable(format!(
        "there is no record at {oid} any more: a reclaim may have freed it, so go on from a newer commit"
    ))
}
