//! Bringing a child what it lacks, while the others serve.
//!
//! ```text
//!   open again ─ fence with the epoch in force ─ adopt its own end on the line
//!       ─ copy what was acknowledged ─ get in line ─ sync at a commit's end ─ note ─ vote
//! ```
//!
//! Only what was acknowledged is copied, so no child ever knows something to be durable that a later
//! takeover may have to cut.

use std::sync::Arc;

use travertine_engine::contract::{
    End, Epoch, Error, ErrorKind, Position, Result, Store, StreamState,
};

use super::note::{Note, Roster, SeatId, Seen, Standing};
use super::shared::{Figures, Shared, is_lost, reseated};
use super::state::Role;

/// First pause before a child is tried again, in nanoseconds; doubled each time.
const PAUSE: u64 = 10_000_000;
/// Longest pause, as a number of doublings.
const DOUBLINGS: u32 = 9;
/// The same while a write waits for it.
const WAITED_FOR: u32 = 4;
/// Most ends that are tried when looking where a child left the line.
const TRIES: usize = 64;
/// Most times that a child may fall back again before it is left alone for a while.
const ROUNDS: usize = 1000;

/// Where everything begins.
pub(super) const START: End = End {
    position: Position::START,
    running: 0,
};

impl Shared {
    /// Tries to bring a child back into line.
    pub(super) fn revive(self: &Arc<Self>, index: usize, generation: u64) {
        let tried = match self.stand_up(index, generation) {
            Ok((end, source)) => {
                let caught_up = self.catch_up(index, generation, end, source);
                caught_up.map_err(|error| (error, false))
            }
            Err(error) => Err((error.clone(), is_lost(&error))),
        };
        {
            let now = self.env.clock.monotonic_ns();
            let mut state = self.lock();
            let most = if state.stalled { WAITED_FOR } else { DOUBLINGS };
            let lane = &mut state.lanes[index];
            lane.done();
            if let Err((error, lost)) = tried {
                tracing::warn!(%error, child = self.children[index].title, "a child stays out");
                lane.lost = lost;
                // Only with room it goes on where it is; else from the beginning.
                lane.adopted &= error.kind() == ErrorKind::Full;
                if !lane.adopted {
                    lane.role = Role::Out;
                }
                lane.trouble = Some(error);
            }
            lane.tries = (lane.tries + 1).min(most);
            lane.retry_ns = now.saturating_add(PAUSE << lane.tries);
        }
        self.changed.notify_all();
        self.kick();
    }

    /// Has a child open, fenced and cut, so that what it lacks may be brought to it: from where.
    /// With that, who is known to hold it, if somebody had to be asked.
    fn stand_up(self: &Arc<Self>, index: usize, generation: u64) -> Result<(End, Option<usize>)> {
        let child = &self.children[index];
        let (epoch, out, adopted) = {
            let mut state = self.lock();
            state.withdraw(index);
            let lane = &state.lanes[index];
            (state.epoch, lane.role == Role::Out, lane.adopted)
        };
        let mut known = None;
        let end = if adopted && !out {
            self.report_of(&*child.open_store()?, epoch)?.end
        } else {
            self.lock().lanes[index].adopted = false;
            if out {
                self.open_again(index)?;
            }
            let (store, report) = self.unbind(index, epoch)?;
            let end = match self.remembered(&report) {
                Some(end) => end,
                None => {
                    let limit = self.lock().acked;
                    let (end, source) =
                        self.own_cut(index, &report, &self.sources(index), limit)?;
                    known = Some(source);
                    end
                }
            };
            let adopted = store.adopt(epoch, vec![(self.stream, end)]).wait();
            // One that was only out of reach has written under this epoch, and lies where it is to.
            let goes_on = report.epoch == epoch && report.end == end;
            adopted.or_else(|error| match error.kind() {
                ErrorKind::Invalid if goes_on => Ok(()),
                _ => Err(error),
            })?;
            let mut state = self.lock();
            (state.lanes[index].adopted, state.lanes[index].astray) = (true, false);
            end
        };
        let state = self.lock();
        if state.lanes[index].generation != generation {
            return Err(given_up());
        }
        child.set_applied(end.position);
        child.set_readable(true);
        Ok((end, known))
    }

    /// The highest end of a child that lies on the line as far as it is kept here, and after which the
    /// next batch begins in a block of its own. What is not acknowledged yet is the writer's own.
    fn remembered(&self, child: &StreamState) -> Option<End> {
        let mut state = self.lock();
        let (unit, boundary, last) = (state.roster.unit, state.boundary, state.end());
        let mut kept: Vec<End> = state
            .recent
            .iter()
            .map(|batch| batch.header())
            .filter(|header| header.base.align_down(unit) >= header.before_end)
            .map(|header| End {
                position: header.before_end,
                running: header.before_running,
            })
            .collect();
        if last.position == boundary || last.position.align_down(unit) == last.position {
            kept.push(last);
        }
        let mut ends = own_ends(child);
        ends.retain(|end| kept.contains(end));
        ends.into_iter().max_by_key(|end| end.position)
    }

    /// Fences a child and opens it with the epoch in force. It may have announced more positions than
    /// the writer knew of when it began, which nobody was ever given; to a log that is opened under an
    /// epoch, what comes is no beginning of that epoch, and may lie below them.
    pub(super) fn unbind(
        &self,
        index: usize,
        epoch: Epoch,
    ) -> Result<(Arc<dyn Store>, StreamState)> {
        let child = &self.children[index];
        self.report_of(&*child.open_store()?, epoch)?;
        self.open_again(index)?;
        let store = child.open_store()?;
        let report = self.report_of(&*store, epoch)?;
        Ok((store, report))
    }

    /// Brings a child everything that was acknowledged, and puts it into line.
    fn catch_up(
        self: &Arc<Self>,
        index: usize,
        generation: u64,
        mut end: End,
        mut known: Option<usize>,
    ) -> Result<()> {
        let child = &self.children[index];
        for _ in 0..ROUNDS {
            let (acked, epoch) = {
                let state = self.lock();
                (state.acked, state.epoch)
            };
            let source = match end.position < acked {
                true => self.source(index, end, known).map(Some),
                false => Ok(None),
            };
            if let Ok(Some(source)) = source {
                known = Some(source);
                let source = self.children[source].open_store()?;
                end = self.copy(&*source, index, end, acked, epoch)?;
                child.set_applied(end.position);
            } else if self.join_line(index, generation, end.position)? {
                return Ok(());
            } else {
                source?;
            }
        }
        Err(Error::unavailable(
            "the child does not catch up with what is written",
        ))
    }

    /// Opens a child anew, and sees that it is the one that it was.
    pub(super) fn open_again(&self, index: usize) -> Result<()> {
        let child = &self.children[index];
        child.set_readable(false);
        if child.is_fleeting() {
            // What it had is gone with its handle.
            self.lock().lanes[index].counts = false;
        }
        if let Some(old) = child.store() {
            // It failed already; what counts is that its lock is free again.
            let _ = old.close().wait();
            child.set_store(None);
        }
        let (replacing, adopted) = {
            let state = self.lock();
            (state.replacing, state.adopted)
        };
        if let Some((_, _, seat)) = replacing.filter(|(replaced, ..)| *replaced == index) {
            if !adopted && !planted!(SeatedUnnoted) {
                return Err(Error::unavailable(
                    "it is new, and the others have not noted it yet",
                ));
            }
            return self.seat_anew(index, seat);
        }
        let known = child.note();
        match child.read_note()? {
            None => return Err(wiped()),
            Some(note) if known.is_none_or(|known| known.seat == note.seat) => {
                child.found_note(Some(note));
            }
            Some(_) => {
                return Err(Error::invalid(
                    "another medium stands in the place of this child",
                ));
            }
        }
        child.set_store(Some(child.below.open()?));
        Ok(())
    }

    /// Makes an empty child take a seat that the others have noted as its own.
    pub(super) fn seat_anew(&self, index: usize, seat: SeatId) -> Result<()> {
        let child = &self.children[index];
        let roster = self.lock().roster.clone();
        child.set_store(Some(child.below.open()?));
        if child.is_shared() {
            // It may lie there from a try whose answer was lost.
            let there = child.read_note()?.filter(|note| note.seat == seat);
            child.found_note(there);
        }
        child.put_note(Note {
            store: self.identity,
            stream: self.stream,
            seat,
            standing: Standing::Joining,
            normal: Epoch::default(),
            seen: vec![Default::default(); roster.seats.len()],
            roster,
        })?;
        self.lock().replacing = None;
        Ok(())
    }

    pub(super) fn report_of(&self, store: &dyn Store, epoch: Epoch) -> Result<StreamState> {
        let states = store.fence(epoch).wait()?;
        let mine = states.into_iter().find(|state| state.stream == self.stream);
        mine.ok_or_else(|| {
            Error::unavailable(format!("the child does not know of stream {}", self.stream))
        })
    }

    /// The children whose answers count, to copy from, or if there are none, those that get into line;
    /// another one first at each try.
    fn sources(&self, but: usize) -> Vec<usize> {
        let state = self.lock();
        let are = |role| -> Vec<usize> {
            let fit = |index: &usize| *index != but && state.lanes[*index].role == role;
            (0..self.children.len()).filter(fit).collect()
        };
        let mut from = are(Role::Votes);
        if from.is_empty() {
            from = are(Role::Follows);
        }
        let first = state.lanes[but].tries as usize % from.len().max(1);
        from.rotate_left(first);
        from
    }

    /// Which child has what follows on an end that lies on the line: the one that had it before, if it may
    /// still be asked. Others may have their runs cut elsewhere.
    fn source(&self, but: usize, end: End, known: Option<usize>) -> Result<usize> {
        let sources = self.sources(but);
        match known.filter(|known| sources.contains(known)) {
            Some(known) => Ok(known),
            None => Ok(self.follow(but, &[end], end.position, &sources)?.1),
        }
    }

    /// The highest end of a child that lies on the line, and after which the next batch begins in a block
    /// of its own; and which of these others goes on behind it.
    pub(super) fn own_cut(
        &self,
        index: usize,
        child: &StreamState,
        sources: &[usize],
        limit: Position,
    ) -> Result<(End, usize)> {
        let mut ends = own_ends(child);
        ends.retain(|end| end.position <= limit);
        ends.sort_by_key(|end| std::cmp::Reverse(end.position));
        ends.dedup();
        ends.truncate(TRIES);
        if let (true, Some(&source)) = (planted!(OwnEndTaken), sources.first()) {
            return Ok((child.end, source));
        }
        let found = self.follow(index, &ends, child.durable, sources);
        let astray = |error: &Error| error.kind() == ErrorKind::Corrupt;
        self.lock().lanes[index].astray = found.as_ref().is_err_and(astray);
        found
    }

    /// The first of these ends that one of the sources goes on behind, and which. It has left the line only
    /// if everybody who may know it says so.
    fn follow(
        &self,
        index: usize,
        ends: &[End],
        durable: Position,
        sources: &[usize],
    ) -> Result<(End, usize)> {
        let unit = self.lock().roster.unit;
        let none = || Error::unavailable("no child is in line to copy from");
        let mut unknown = sources.is_empty().then(none);
        let mut inside = false;
        for &source in sources {
            match self.follows(source, ends, unit, durable) {
                Ok(Lies::On(end)) => return Ok((end, source)),
                Ok(Lies::Inside) => inside = true,
                Ok(Lies::Off) => {}
                Ok(Lies::Beyond) => {
                    let text = "those to copy from do not have yet what it has";
                    unknown = Some(Error::unavailable(text));
                }
                // What is wrong with that one is not wrong with this one.
                Err(error) => unknown = Some(Error::unavailable(error.to_string())),
            }
        }
        if let Some(error) = unknown {
            return Err(error);
        }
        let up_to = ends.first().map_or(durable, |end| end.position);
        let state = self.lock();
        let lanes = state.lanes.iter().enumerate();
        let others = lanes.filter(|(other, lane)| *other != index && !lane.lost);
        if inside && others.count() > sources.len() {
            return Err(Error::unavailable(format!(
                "it ends at {up_to}, inside of what those in line have given back, and another one may \
                 have its runs cut there"
            )));
        }
        Err(Error::corrupt(match inside {
            true => format!(
                "it ends at {up_to}, inside of what the others have given back: clear the directory \
                 and replace the child"
            ),
            false => format!(
                "what lies here up to {up_to} has left the line of the other children, and is known \
                 durable up to {durable}: clear the directory and replace the child"
            ),
        }))
    }

    /// How these ends of a child lie to what another one holds.
    fn follows(&self, source: usize, ends: &[End], unit: u64, durable: Position) -> Result<Lies> {
        let store = self.children[source].open_store()?;
        let mut lies = Lies::Off;
        for &end in ends {
            match self.lies_on(&*store, end, unit, durable)? {
                Lies::Off => {}
                on @ Lies::On(_) => return Ok(on),
                unclear => lies = unclear,
            }
        }
        Ok(lies)
    }

    /// Whether a batch of `source` ends there, and the next one begins in a block of its own: behind what
    /// is known durable it does.
    fn lies_on(&self, source: &dyn Store, end: End, unit: u64, durable: Position) -> Result<Lies> {
        let on = |it| if it { Lies::On(end) } else { Lies::Off };
        loop {
            let found = source.scan(self.stream, end.position).wait()?;
            if let (true, Some(left)) = (found.batches.is_empty(), &found.sparse) {
                return Ok(match left.before {
                    None => Lies::Inside,
                    Some(before) => on(before == end),
                });
            }
            if let Some(header) = found.batches.first().map(|batch| batch.header()) {
                let follows = (header.before_end, header.before_running);
                let apart = header.base.align_down(unit) >= end.position || end.position == durable;
                return Ok(on(follows == (end.position, end.running) && apart));
            }
            let last = self.report_of(source, Epoch::default())?.end;
            if last.position < end.position {
                return Ok(Lies::Beyond);
            }
            if last.position == end.position {
                return Ok(on(last == end));
            }
            // It went on just now.
        }
    }

    /// Copies whole batches to a child from another one, up to a position.
    pub(super) fn copy(
        &self,
        source: &dyn Store,
        target: usize,
        mut from: End,
        to: Position,
        sender: Epoch,
    ) -> Result<End> {
        let child = &self.children[target];
        let store = child.open_store()?;
        while from.position < to {
            {
                let state = self.lock();
                if let Some(closed) = &state.closed {
                    return Err(closed.clone());
                }
                if state.epoch != sender {
                    return Err(Error::fenced(format!("epoch {} took over", state.epoch)));
                }
            }
            let found = source.scan(self.stream, from.position).wait()?;
            let began = from;
            for batch in found.batches {
                let header = *batch.header();
                if header.end > to {
                    break;
                }
                if (header.before_end, header.before_running) != (from.position, from.running) {
                    return Err(Error::unavailable(format!(
                        "no batch that follows on {} is to be had",
                        from.position
                    )));
                }
                from = End {
                    position: header.end,
                    running: batch.running(),
                };
                if planted!(BatchSkipped) && header.end < to {
                    continue;
                }
                store.store(sender, batch).wait()?;
                child.moved();
                Figures::add(&self.figures.caught_up);
            }
            if from == began
                && let Some(left) = found.sparse
            {
                from = self.take_over(child, (source, &*store), (from, sender), left)?;
                child.set_applied(from.position);
                Figures::add(&self.figures.caught_up);
                continue;
            }
            if from == began {
                return Err(Error::unavailable(format!(
                    "nothing more is to be had after {}",
                    from.position
                )));
            }
        }
        Ok(from)
    }

    /// Notes on a child that it holds the line of `epoch` up to `cut`.
    pub(super) fn note_adopted(
        &self,
        index: usize,
        epoch: Epoch,
        roster: &Roster,
        seen: &[Seen],
    ) -> Result<()> {
        let child = &self.children[index];
        let note = child.note().ok_or_else(wiped)?;
        let mut merged = reseated(&note, &roster.seats);
        for (old, new) in merged.iter_mut().zip(seen) {
            *old = (*old).max(*new);
        }
        child.put_note(Note {
            standing: Standing::Member,
            normal: epoch,
            roster: roster.clone(),
            seen: merged,
            ..note
        })
    }
}

/// How an end of a child lies to what another one holds.
enum Lies {
    /// It goes on behind it.
    On(End),
    /// It has given back what lies there, and none of its runs begins there.
    Inside,
    /// It has not come so far.
    Beyond,
    /// It holds something else there.
    Off,
}

/// Where a child may be cut, as far as it alone is concerned.
fn own_ends(child: &StreamState) -> Vec<End> {
    let mut ends: Vec<End> = child.chain.iter().map(|link| link.end).collect();
    ends.push(child.end);
    if child.durable == Position::START {
        ends.push(START);
    }
    ends.retain(|end| end.position >= child.durable);
    ends
}

pub(super) fn given_up() -> Error {
    Error::unavailable("it has left the line meanwhile")
}

pub(super) fn wiped() -> Error {
    Error::invalid(
        "nothing here says that it belongs to this cluster: it is empty, or not what it was; \
         `travertine cluster replace` brings an empty child in",
    )
}
