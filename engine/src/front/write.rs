//! Storing and committing: what a session's calls do to the tail.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::contract::batch::BATCH_HEADER;
use crate::contract::codec::Way;
use crate::contract::limits::{BATCH_MAX, NAMES_PER_COMMIT_MAX};
use crate::contract::marker::encode_directory;
use crate::contract::{
    Batch, Begins, Error, ErrorKind, Kind, Level, NewRecord, Op, Reference, Result, Stream,
};

use super::group::Ticket;
use super::names::{Versioned, View};
use super::options::{Change, Committed, Hint};
use super::shared::{Shared, Shown, State, Submitted, Writer};
use super::tail::Next;

/// Kept free below the ceiling, so that what was stored can still be committed.
const RESERVE: u64 = 32 << 10;
/// How often a call asks for room that others take before it: each time something of theirs was stored.
const GROWS_MAX: u32 = 1000;
/// A round takes no more commits than this, and no more bytes of markers.
const ROUND_MAX: usize = 16_384;
const ROUND_BYTES_MAX: usize = 8 << 20;
/// A batch that is built takes no more records above this, so that markers still fit.
const BUILD_MAX: usize = BATCH_MAX - ROUND_BYTES_MAX;

/// Kinds that only the engine itself stores.
const OWN: [Kind; 4] = [Kind::MARKER, Kind::DIRECTORY, Kind::TAG, Kind::RECLAIM];

/// What must happen before a call can go on.
enum Hold {
    /// The engine has not written yet.
    Begin,
    /// So many bytes are needed in a stream.
    Room(Stream, u64),
    /// The round is full.
    Round,
}

/// What became of a commit.
enum Submit {
    /// It waits for its round.
    Queued(Ticket),
    /// It is answered; and whether a batch was sealed.
    Done(Committed, bool),
}

impl Shared {
    /// Encodes a record into its stream's tail and returns the reference to it.
    pub(super) fn store(self: &Arc<Self>, record: &NewRecord<'_>, hint: Hint) -> Result<Reference> {
        record.check_limits()?;
        if OWN.contains(&record.kind) {
            return Err(Error::invalid(
                "root markers, directories, tags and decisions are made by the engine only",
            ));
        }
        self.admit(Begins::Store)?;
        self.hold_back(false);
        let place =
            |record: &NewRecord<'_>, way: &Way<'_>| self.placer.place(hint, record.stored_len(way));
        match self.codecs.pack(record) {
            None => {
                let way = self.codecs.way(0);
                self.store_by(record, &way, place(record, &way), RESERVE)
            }
            Some(packed) => {
                let record = NewRecord {
                    body: &packed.body(),
                    ..*record
                };
                let way = self.codecs.way(packed.bit);
                self.store_by(&record, &way, place(&record, &way), RESERVE)
            }
        }
    }

    /// Stores a record of the engine's own, where its markers lie, readable without any key. It may take
    /// of what is kept free for commits.
    pub(super) fn store_own(
        self: &Arc<Self>,
        kind: Kind,
        references: &[Reference],
        body: &[u8],
    ) -> Result<Reference> {
        let record = NewRecord {
            kind,
            references,
            body: &[body],
        };
        record.check_limits()?;
        self.store_by(&record, &Way::default(), self.root_stream, 0)
    }

    /// Stores a record whose body is packed, if it is going to be, and leaves so many bytes free.
    fn store_by(
        self: &Arc<Self>,
        record: &NewRecord<'_>,
        way: &Way<'_>,
        stream: Stream,
        spare: u64,
    ) -> Result<Reference> {
        let mut tries = 0;
        loop {
            let mut state = self.lock();
            match self.try_store(&mut state, record, way, (stream, spare)) {
                Ok((reference, sealed, grew)) => {
                    drop(state);
                    self.pressure.look(grew, &self.options, &self.env);
                    if sealed {
                        self.relieve();
                    }
                    return Ok(reference);
                }
                Err(hold) => {
                    drop(state);
                    self.resolve(hold?, &mut tries)?;
                }
            }
        }
    }

    fn try_store(
        &self,
        state: &mut State,
        record: &NewRecord<'_>,
        way: &Way<'_>,
        (stream, spare): (Stream, u64),
    ) -> Result<(Reference, bool, Range<usize>), Result<Hold>> {
        let length = record.stored_len(way);
        let queued = state.queue_bytes as u64;
        let Some(writer) = state.writing().map_err(Err)? else {
            return Err(Ok(Hold::Begin));
        };
        for reference in record.references {
            check_covered(writer, reference).map_err(Err)?;
        }
        let queued = if stream == self.root_stream {
            queued
        } else {
            0
        };
        let need = length as u64 + queued + spare + self.slack();
        let proven = writer.proven;
        let Some(tail) = writer.tail(stream) else {
            let text = format!("the stack has no stream {stream}");
            return Err(Err(Error::unavailable(text)));
        };
        if tail.room() < need {
            return Err(Ok(Hold::Room(stream, need)));
        }
        let mut sealed = false;
        if tail.building() + length > BUILD_MAX {
            tail.seal(proven, false, Next::Follows);
            sealed = true;
        }
        let first = tail.is_empty();
        let before = if first { 0 } else { tail.building() };
        let reference = tail.push_through(record, way).map_err(Err)?;
        let grew = before..tail.building();
        if tail.building() >= self.pressure.flush_bytes(&self.options) {
            tail.seal(proven, false, Next::Follows);
            sealed = true;
        } else if first || sealed {
            tail.since_ns = Some(self.env.clock.monotonic_ns());
            self.bell.ring();
        }
        Ok((reference, sealed, grew))
    }

    /// Submits a commit. Its answer is the ticket's.
    pub(super) fn commit(
        self: &Arc<Self>,
        changes: &[Change],
        level: Option<Level>,
    ) -> Op<Committed> {
        self.hold_back(true);
        self.commit_with(changes, level.unwrap_or(self.options.level), false)
    }

    /// As [`Shared::commit`], with a new directory if there is one that no longer says how things are:
    /// what only the old one names can then be freed with it.
    pub(super) fn commit_with(
        self: &Arc<Self>,
        changes: &[Change],
        level: Level,
        renew: bool,
    ) -> Op<Committed> {
        match self.submit(changes, level, renew) {
            Ok(Submit::Done(committed, sealed)) => {
                if sealed {
                    self.relieve();
                }
                Op::ok(committed)
            }
            Ok(Submit::Queued(ticket)) if self.env.drivers.inline() => {
                while !ticket.round.is_answered() {
                    let turn = self.take_turn();
                    self.lead(Some(&ticket.round));
                    drop(turn);
                }
                let lost = || Err(Error::closed("the round ended without an answer"));
                Op::ready(ticket.answer().unwrap_or_else(lost))
            }
            Ok(Submit::Queued(ticket)) => {
                self.bell.ring();
                Op::pending(ticket)
            }
            Err(error) => {
                if error.kind() == ErrorKind::Conflict {
                    self.figures.conflicts.fetch_add(1, Ordering::Relaxed);
                }
                Op::err(error)
            }
        }
    }

    fn submit(self: &Arc<Self>, changes: &[Change], level: Level, renew: bool) -> Result<Submit> {
        if level > self.level_max {
            return Err(Error::invalid(format!(
                "a commit asks for {level}, this stack reaches {}",
                self.level_max
            )));
        }
        check_changes(changes)?;
        self.admit(Begins::Commit)?;
        let mut tries = 0;
        loop {
            let mut state = self.lock();
            match self.try_submit(&mut state, changes, level, renew) {
                Ok(submit) => return Ok(submit),
                Err(hold) => {
                    drop(state);
                    self.resolve(hold?, &mut tries)?;
                }
            }
        }
    }

    fn try_submit(
        self: &Arc<Self>,
        state: &mut State,
        changes: &[Change],
        level: Level,
        renew: bool,
    ) -> Result<Submit, Result<Hold>> {
        let newest = state.newest.clone();
        let queued = state.queue_bytes;
        let full = state.queue.len() >= ROUND_MAX;
        let Some(writer) = state.writing().map_err(Err)? else {
            return Err(Ok(Hold::Begin));
        };
        let mut names = newest.names.apply(changes).map_err(Err)?;
        for reference in changes.iter().filter_map(|change| change.to.as_ref()) {
            check_covered(writer, reference).map_err(Err)?;
        }
        let renew = renew && names.directory.is_some();
        let directory = (renew || names.wants_directory()).then(|| {
            let merged = names.merged();
            let (references, body) = encode_directory(&merged);
            (merged, references, body)
        });
        let directory = directory.as_ref().map(|(merged, references, body)| {
            let body = [body.as_slice()];
            (merged, references, body)
        });
        let record = directory.as_ref().map(|(_, references, body)| NewRecord {
            kind: Kind::DIRECTORY,
            references,
            body,
        });
        let directory_len = record.as_ref().map_or(0, NewRecord::encoded_len);
        let marker_len = if record.is_some() {
            marker_len(&Versioned::default(), writer)
        } else {
            marker_len(&names, writer)
        };
        if full || queued + marker_len > ROUND_BYTES_MAX {
            return Err(Ok(Hold::Round));
        }
        let need = (directory_len + queued + marker_len) as u64 + self.slack();
        let proven = writer.proven;
        let epoch = writer.epoch;
        let tail = writer.root(self.root_stream).map_err(Err)?;
        if tail.room() < need {
            return Err(Ok(Hold::Room(self.root_stream, need)));
        }
        if let (Some(record), Some((merged, ..))) = (&record, &directory) {
            if tail.building() + directory_len > BUILD_MAX {
                tail.seal(proven, false, Next::Follows);
            }
            let reference = tail.push(record).map_err(Err)?;
            names = Versioned::moved((*merged).clone(), reference);
        }
        let view = Arc::new(newest.next(epoch, self.env.clock.unix_us(), names));
        if level == Level::Memory && self.stays_here(state) {
            return self.commit_here(state, view, marker_len).map_err(Err);
        }
        let sequence = view.sequence;
        state.newest = view.clone();
        state.queue.push(Submitted { view, level });
        state.queue_bytes += marker_len;
        Ok(Submit::Queued(Ticket {
            shared: self.clone(),
            round: state.round.clone(),
            sequence,
        }))
    }

    /// Whether a commit that shall survive nothing can be answered at once: its place in the order is
    /// free.
    fn stays_here(&self, state: &State) -> bool {
        self.level_max > Level::Memory && state.queue.is_empty() && !state.flying
    }

    /// Commits in the memory of this process: the marker joins the tail, and goes below with what
    /// comes after it. What other streams hold is sealed, so that the marker can name it.
    fn commit_here(&self, state: &mut State, view: Arc<View>, marker_len: usize) -> Result<Submit> {
        let root = self.root_stream;
        let Some(writer) = state.writing()? else {
            return Err(Error::closed("the writer is gone"));
        };
        let (epoch, proven) = (writer.epoch, writer.proven);
        let tail = writer.root(root)?;
        let mut sealed = false;
        if tail.building() + marker_len > BUILD_MAX {
            tail.seal(proven, false, Next::Follows);
            sealed = true;
        }
        for other in &mut writer.tails {
            if other.stream() != root && !other.is_empty() {
                other.seal(proven, false, Next::Follows);
                sealed = true;
            }
        }
        let marker = writer.push_marker(root, &view)?;
        let tail = writer.root(root)?;
        if tail.building() >= self.pressure.flush_bytes(&self.options) {
            tail.seal(proven, false, Next::Follows);
            sealed = true;
        } else if tail.since_ns.is_none() {
            tail.since_ns = Some(self.env.clock.monotonic_ns());
            self.bell.ring();
        }
        state.newest = view.clone();
        self.figures.commits.fetch_add(1, Ordering::Relaxed);
        let committed = Committed {
            sequence: view.sequence,
            epoch,
            marker: marker.oid,
            level: Level::Memory,
        };
        // Under the lock of the state: nobody shows an older commit later.
        self.show(Shown::new(view, Some(marker)));
        Ok(Submit::Done(committed, sealed))
    }

    /// Removes what stands in a call's way.
    fn resolve(self: &Arc<Self>, hold: Hold, tries: &mut u32) -> Result<()> {
        match hold {
            Hold::Begin => self.begin(),
            Hold::Round => {
                let _turn = self.take_turn();
                self.lead(None);
                Ok(())
            }
            Hold::Room(stream, need) => {
                let room = self.grow(stream, need)?;
                *tries += 1;
                // Somebody else may have taken the room in between, but not without end.
                if room < need || *tries == GROWS_MAX {
                    return Err(Error::full(format!(
                        "stream {stream} has room for {room} bytes, {need} are needed"
                    )));
                }
                Ok(())
            }
        }
    }

    /// Asks the store for a higher ceiling, and tells the room that there is then. Storing tells it:
    /// what waits, else an empty batch in a new epoch, else the last batch once more.
    fn grow(self: &Arc<Self>, stream: Stream, need: u64) -> Result<u64> {
        let _turn = self.take_turn();
        {
            let mut state = self.lock();
            let Some(writer) = state.writing()? else {
                return Ok(0);
            };
            let proven = writer.proven;
            if let Some(tail) = writer.tail(stream)
                && (!tail.is_empty() || tail.last().is_none())
            {
                tail.seal(proven, false, Next::Follows);
            }
        }
        self.pump()?;
        let mut again: Option<Batch> = None;
        loop {
            let mut state = self.lock();
            let Some(writer) = state.writing()? else {
                return Ok(0);
            };
            let epoch = writer.epoch;
            let Some(tail) = writer.tail(stream) else {
                return Ok(0);
            };
            if tail.room() >= need || again.is_some() {
                return Ok(tail.room());
            }
            again = tail.last().cloned();
            drop(state);
            let Some(batch) = again.clone() else {
                return Ok(0);
            };
            let told = self.store.store(epoch, batch).wait();
            let told = match told {
                Ok(told) => told,
                Err(error) if error.kind() == ErrorKind::Full => return Err(error),
                Err(error) => return Err(self.poison(&error)),
            };
            if let Some(writer) = &mut self.lock().writer
                && let Some(tail) = writer.tail(stream)
            {
                tail.ceiling = tail.ceiling.max(told.ceiling);
            }
        }
    }

    /// After a batch was sealed: a driver sends it, or this thread does if too much waits.
    fn relieve(self: &Arc<Self>) {
        let waiting: usize = {
            let state = self.lock();
            let tails = state.writer.iter().flat_map(|writer| &writer.tails);
            tails.map(super::tail::StreamTail::waiting_bytes).sum()
        };
        if self.env.drivers.inline() || waiting > self.pressure.tail_max(&self.options) {
            self.figures.waits.fetch_add(1, Ordering::Relaxed);
            let _turn = self.take_turn();
            // `Full` leaves the batch waiting, any other error is told to whoever writes next.
            let _ = self.pump();
        } else if waiting > 0 {
            self.call_driver();
        }
    }

    /// What sealing a batch more, and aligning it, may cost.
    pub(super) fn slack(&self) -> u64 {
        2 * (BATCH_HEADER as u64 + self.unit)
    }
}

fn check_changes(changes: &[Change]) -> Result<()> {
    if changes.len() > NAMES_PER_COMMIT_MAX {
        return Err(Error::invalid(format!(
            "a commit changes {} names, the limit is {NAMES_PER_COMMIT_MAX}",
            changes.len()
        )));
    }
    let mut targets = changes.iter().filter_map(|change| change.to.as_ref());
    if let Some(weak) = targets.find(|to| to.weak) {
        return Err(Error::invalid(format!(
            "a name holds what it points to, and {weak:?} is a weak reference"
        )));
    }
    if changes.len() < 2 {
        return Ok(());
    }
    let mut names: Vec<_> = changes.iter().map(|change| &change.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::invalid(format!(
            "a commit changes the name {} twice",
            pair[0]
        ))),
        None => Ok(()),
    }
}

fn check_covered(writer: &Writer, reference: &Reference) -> Result<()> {
    if writer.covers(reference) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{reference:?} names a record that was never stored"
    )))
}

/// The most bytes that a marker with these names takes.
fn marker_len(names: &Versioned, writer: &Writer) -> usize {
    let changes = names.changes();
    let changes: usize = changes.map(|(name, _)| 2 + 16 + name.as_str().len()).sum();
    16 + 3 * 16 + 64 + writer.tails.len() * 24 + changes + 8
}
