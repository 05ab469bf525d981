//! What the leader does with the turn: sends sealed batches in order, and carries rounds of commits
//! through, one write and one flush each.
//!
//! ```text
//!   waiting batches ──store──> below
//!   queue ─ markers into the root stream's tail ─ seal every stream ─ commit ─> answer the round
//! ```
//!
//! The state's lock is taken to look and to note, never while a call below runs, so sessions go on
//! storing and the next round gathers while this one flushes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::contract::env::waiting;
use crate::contract::limits::BATCH_MAX;
use crate::contract::{
    Batch, Commit, Epoch, Error, ErrorKind, Level, Reference, Result, Stream, Tail,
};

use super::bell::Look;
use super::group::{Reached, Round};
use super::names::View;
use super::shared::{Shared, Shown, State, Writer};
use super::tail::Next;

/// Most batches that are on their way below at once.
const IN_FLIGHT: usize = 8;

/// A round that left the queue.
struct Flight {
    round: Arc<Round>,
    epoch: Epoch,
    plain: Vec<Batch>,
    last: Vec<Batch>,
    level: Level,
    markers: Vec<Reference>,
    newest: Arc<View>,
}

impl Drop for Flight {
    /// Nobody waits for ever, whatever happened to the leader.
    fn drop(&mut self) {
        let error = || Error::closed("the round ended without an answer");
        if !self.round.is_answered() {
            self.round.complete(Err(error()));
        }
    }
}

impl Shared {
    /// Leads until `round` is answered, if nobody leads. `false`: somebody does.
    pub(super) fn lead_for(self: &Arc<Self>, round: &Arc<Round>) -> bool {
        match self.try_turn() {
            Some(turn) => {
                self.lead(Some(round));
                drop(turn);
                true
            }
            None => false,
        }
    }

    /// Does all the work there is, or just until `round` is answered. Needs the turn.
    pub(super) fn lead(&self, round: Option<&Arc<Round>>) {
        loop {
            if round.is_some_and(|round| round.is_answered()) {
                return;
            }
            if let Err(error) = self.pump() {
                // Nothing of the queue was encoded: it is as if it had never been submitted.
                self.cancel_queue(&error);
                return;
            }
            match self.take_off() {
                Ok(Some(flight)) => {
                    if self.land(flight).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    self.poison(&error);
                    return;
                }
            }
        }
    }

    /// Sends every waiting batch. Needs the turn. `Full` leaves what was not taken waiting; any
    /// other error has poisoned the engine.
    pub(super) fn pump(&self) -> Result<()> {
        loop {
            let state = self.lock();
            if let Some(error) = &state.refusing {
                return Err(error.clone());
            }
            let Some(writer) = &state.writer else {
                return Ok(());
            };
            let epoch = writer.epoch;
            let unsent = writer.tails.iter().flat_map(|tail| tail.waiting());
            let batches: Vec<_> = unsent.take(IN_FLIGHT).cloned().collect();
            drop(state);
            if batches.is_empty() {
                return Ok(());
            }
            self.send(epoch, batches)?;
        }
    }

    fn send(&self, epoch: Epoch, batches: Vec<Batch>) -> Result<()> {
        // All calls first, then the answers: below, they may be on their way together.
        let calls: Vec<_> = batches
            .into_iter()
            .map(|batch| (batch.header().stream, self.store.store(epoch, batch)))
            .collect();
        for (stream, call) in calls {
            match call.wait() {
                Ok(tail) => self.note_taken(stream, Some(tail)),
                Err(error) if error.kind() == ErrorKind::Full => {
                    self.lock().stuck = true;
                    return Err(error);
                }
                Err(error) => return Err(self.poison(&error)),
            }
        }
        Ok(())
    }

    fn note_taken(&self, stream: Stream, tail: Option<Tail>) {
        self.figures.batches.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        state.stuck = false;
        if let Some(mine) = state.writer.as_mut().and_then(|writer| writer.tail(stream)) {
            mine.taken(self.pressure.recent_max(&self.options));
            if let Some(tail) = tail {
                mine.ceiling = mine.ceiling.max(tail.ceiling);
            }
            self.floors.set(stream, mine.floor());
        }
        self.alarm.look(|| state.written());
    }

    /// Takes the queue as a round: its markers are encoded, every stream is sealed.
    fn take_off(&self) -> Result<Option<Flight>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let (Some(newest), Some(writer)) = (state.queue.last(), &mut state.writer) else {
            return Ok(None);
        };
        let mut flight = Flight {
            round: std::mem::take(&mut state.round),
            epoch: writer.epoch,
            plain: Vec::new(),
            last: Vec::with_capacity(1),
            level: Level::Memory,
            markers: Vec::with_capacity(state.queue.len()),
            newest: newest.view.clone(),
        };
        let queue = std::mem::take(&mut state.queue);
        let queue_bytes = std::mem::take(&mut state.queue_bytes);
        let proven = writer.proven;
        let aligned = Next::Aligned(self.unit);
        let root = self.root_stream;
        if let Some(tail) = writer.tail(root)
            && tail.building() + queue_bytes > BATCH_MAX
        {
            tail.seal(proven, false, Next::Follows);
        }
        let unsent = writer.tails.iter().flat_map(|tail| tail.waiting());
        flight.plain = unsent.cloned().collect();
        seal_others(writer, root, aligned, &mut flight.last);
        for submitted in &queue {
            flight.level = flight.level.max(submitted.level);
            let marker = writer.push_marker(root, &submitted.view)?;
            flight.markers.push(marker);
        }
        let tail = writer.root(root)?;
        flight.last.push(tail.seal(proven, false, aligned));
        state.flying = true;
        Ok(Some(flight))
    }

    /// Brings a round to its level and answers it.
    fn land(&self, mut flight: Flight) -> Result<()> {
        let fail = |error: &Error| {
            let error = self.poison(error);
            flight.round.complete(Err(error.clone()));
            error
        };
        let plain = std::mem::take(&mut flight.plain);
        for batches in plain.chunks(IN_FLIGHT) {
            self.send(flight.epoch, batches.to_vec())
                .map_err(|error| fail(&error))?;
        }
        let streams: Vec<_> = flight
            .last
            .iter()
            .map(|batch| batch.header().stream)
            .collect();
        let commit = Commit {
            sender: flight.epoch,
            level: flight.level,
            last: std::mem::take(&mut flight.last),
        };
        let reached = waiting(|| self.store.commit(commit)).wait();
        let reached = reached.map_err(|error| fail(&error))?;
        if reached < flight.level {
            let short = format!("a commit asked for {} and reached {reached}", flight.level);
            return Err(fail(&Error::unavailable(short)));
        }
        for stream in streams {
            self.note_taken(stream, None);
        }
        self.figures.rounds.fetch_add(1, Ordering::Relaxed);
        let commits = flight.markers.len() as u64;
        self.figures.commits.fetch_add(commits, Ordering::Relaxed);
        let newest = flight.newest.clone();
        let marker = flight.markers.last().copied();
        let enough = reached >= self.level_proven || planted!(ProvenTooEarly);
        let proven = marker.filter(|_| enough);
        let mut state = self.lock();
        if let (Some(writer), Some(marker)) = (&mut state.writer, proven) {
            writer.proven = Some(newest.proven(marker));
            state.unproved_ns = Some(self.env.clock.monotonic_ns());
        }
        // Under the same lock: a commit that does not wait is shown after those before it.
        state.flying = false;
        self.show(Shown::new(newest.clone(), marker));
        drop(state);
        flight.round.complete(Ok(Reached {
            epoch: flight.epoch,
            first: newest.sequence + 1 - commits,
            markers: flight.markers.iter().map(|marker| marker.oid).collect(),
            level: reached,
        }));
        Ok(())
    }

    /// Fails the queue before any of it was encoded: as if it had never been submitted.
    pub(super) fn cancel_queue(&self, error: &Error) {
        let shown = self.shown();
        let mut state = self.lock();
        state.queue.clear();
        state.queue_bytes = 0;
        state.newest = shown.view.clone();
        let round = std::mem::take(&mut state.round);
        drop(state);
        round.complete(Err(error.clone()));
    }

    /// Writes an empty batch, or the records that wait, naming the newest proven commit. Needs the
    /// turn. Not brought to disk: it is a help to readers and to detection, never a promise.
    pub(super) fn prove(&self) -> Result<()> {
        self.pump()?;
        // Before its first batch a tail has not asked for its ceiling.
        let short = |writer: &Writer| {
            let mut begun = writer.tails.iter().filter(|tail| tail.last().is_some());
            begun.any(|tail| tail.room() < self.slack())
        };
        if self.lock().writer.as_ref().is_some_and(short) {
            // The last room is for commits.
            return Ok(());
        }
        let mut state = self.lock();
        state.unproved_ns = None;
        match state.writing()? {
            Some(writer) if writer.proven.is_some() => {
                seal_all(writer, false, Next::Aligned(self.unit));
            }
            _ => return Ok(()),
        }
        drop(state);
        match self.pump() {
            // Nothing was promised: without room for it, it waits with whatever else waits.
            Err(error) if error.kind() == ErrorKind::Full => Ok(()),
            sent => sent,
        }
    }

    /// Carries out what was submitted, says that the writer goes away, and refuses all that comes
    /// later with `closed`. Needs the turn.
    pub(super) fn finish(&self, closed: &Error) -> Result<()> {
        loop {
            self.lead(None);
            self.prove_newest()?;
            if self.write_last(closed)? {
                return Ok(());
            }
        }
    }

    /// Ends every stream, naming the newest proven commit in each: these are the last batches of this
    /// engine. `false`: a commit came in between.
    fn write_last(&self, closed: &Error) -> Result<bool> {
        let mut state = self.lock();
        state.unproved_ns = None;
        state.writing()?;
        if !state.queue.is_empty() || !self.is_newest_proven(&state) {
            return Ok(false);
        }
        // Under the same lock as the seal: nothing is handed out past a clean end.
        state.refusing = Some(closed.clone());
        let Some(writer) = &mut state.writer else {
            return Ok(true);
        };
        let sealed = seal_all(writer, true, Next::Aligned(self.unit));
        drop(state);
        self.bring_to_proof(sealed).map(|()| true)
    }

    /// Whether the newest commit is named as proven, if this engine writes at all.
    fn is_newest_proven(&self, state: &State) -> bool {
        let Some(writer) = &state.writer else {
            return true;
        };
        let proven = writer.proven.map_or(0, |proven| proven.sequence);
        self.shown().view.sequence <= proven
    }

    /// Brings what was committed at a lower level to the one that proves it. Needs the turn.
    pub(super) fn prove_newest(&self) -> Result<()> {
        let shown = self.shown();
        let mut state = self.lock();
        let Some(writer) = state.writing()? else {
            return Ok(());
        };
        let Some(marker) = shown.marker else {
            return Ok(());
        };
        if writer
            .proven
            .is_some_and(|proven| proven.sequence >= shown.view.sequence)
        {
            return Ok(());
        }
        // What follows may not lie in a unit that holds the end of what is about to be durable.
        let sealed = seal_all(writer, false, Next::Aligned(self.unit));
        drop(state);
        self.bring_to_proof(sealed)?;
        if let Some(writer) = &mut self.lock().writer {
            writer.proven = Some(shown.view.proven(marker));
        }
        self.landing.ring();
        Ok(())
    }

    fn bring_to_proof(&self, sealed: Sealed) -> Result<()> {
        for batches in sealed.plain.chunks(IN_FLIGHT) {
            self.send(sealed.epoch, batches.to_vec())?;
        }
        let streams: Vec<_> = sealed
            .last
            .iter()
            .map(|batch| batch.header().stream)
            .collect();
        let commit = Commit {
            sender: sealed.epoch,
            level: self.level_proven,
            last: sealed.last,
        };
        let reached = waiting(|| self.store.commit(commit)).wait();
        reached.map_err(|error| self.poison(&error))?;
        for stream in streams {
            self.note_taken(stream, None);
        }
        Ok(())
    }

    /// What the ticker does: starts what nobody waits for.
    pub(super) fn look_after(self: &Arc<Self>, oldest_seen: &mut u64) -> Look {
        let now = self.env.clock.monotonic_ns();
        let mut state = self.lock();
        if state.refusing.is_some() {
            return Look::WhenRung;
        }
        let oldest = state.queue.first().map_or(0, |first| first.view.sequence);
        let forgotten = oldest > 0 && oldest == *oldest_seen;
        *oldest_seen = oldest;
        let proof = self.options.proof_after;
        let unproved = passed(state.unproved_ns, proof, now);
        let paused = unproved == Some(Duration::ZERO) && oldest == 0;
        let left = self.flush_left(&mut state, now);
        let old = left == Some(Duration::ZERO);
        let busy = state.is_leading();
        drop(state);
        if !busy
            && (forgotten || paused || old)
            && let Some(turn) = self.try_turn()
        {
            if paused {
                // An error has poisoned the engine, which tells it to who writes next; or there is no
                // room, and the next commit will want a proof of its own.
                if self.prove().is_err() {
                    self.lock().unproved_ns = None;
                }
            } else {
                self.seal_old(old);
                self.lead(None);
            }
            drop(turn);
            return Look::Soon;
        }
        match left {
            _ if oldest > 0 || paused || old => Look::Soon,
            _ if busy || unproved.is_some() => {
                let times = [left, unproved].into_iter().flatten();
                Look::Later(times.min().unwrap_or(Duration::MAX))
            }
            Some(left) => Look::In(left),
            None => Look::WhenRung,
        }
    }

    /// How long the oldest record in a builder may still wait there.
    fn flush_left(&self, state: &mut State, now: u64) -> Option<Duration> {
        let tails = state.writer.as_ref()?.tails.iter();
        let since = tails.filter_map(|tail| tail.since_ns).min();
        passed(since, self.options.flush_age, now)
    }

    fn seal_old(&self, old: bool) {
        if !old {
            return;
        }
        if let Some(writer) = &mut self.lock().writer {
            let proven = writer.proven;
            for tail in &mut writer.tails {
                if !tail.is_empty() {
                    tail.seal(proven, false, Next::Follows);
                }
            }
        }
    }
}

/// All streams, sealed.
struct Sealed {
    epoch: Epoch,
    /// What waited already.
    plain: Vec<Batch>,
    /// One batch of each stream, empty or not.
    last: Vec<Batch>,
}

/// Seals every stream, naming the newest proven commit in each.
fn seal_all(writer: &mut Writer, clean: bool, next: Next) -> Sealed {
    let proven = writer.proven;
    let waiting = writer.tails.iter().flat_map(|tail| tail.waiting());
    let plain = waiting.cloned().collect();
    let tails = writer.tails.iter_mut();
    let last = tails.map(|tail| tail.seal(proven, clean, next)).collect();
    Sealed {
        epoch: writer.epoch,
        plain,
        last,
    }
}

/// Seals every stream but the root's, so that markers made now can name their ends.
fn seal_others(writer: &mut Writer, root: Stream, next: Next, last: &mut Vec<Batch>) {
    let proven = writer.proven;
    for tail in &mut writer.tails {
        if tail.stream() != root {
            if tail.is_empty() {
                // The commit makes durable what was sent before, up to here.
                tail.begin_at(next);
            } else {
                last.push(tail.seal(proven, false, next));
            }
        }
    }
}

/// What is left of `time` since a moment.
fn passed(since: Option<u64>, time: Duration, now: u64) -> Option<Duration> {
    let gone = Duration::from_nanos(now.saturating_sub(since?));
    Some(time.saturating_sub(gone))
}
