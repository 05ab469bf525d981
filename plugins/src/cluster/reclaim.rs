//! Giving space back, and bringing a child what is left where that was done.
//!
//! ```text
//!   a decision ─> up to where every child that may come back has everything ─> each child in line
//!
//!   a new child:   START ─ what is left of a run ─> goes on behind it ─ whole batches ─> in line
//! ```
//!
//! Each child frees what lies in whole segments of its own, when it can: a record that one has freed and
//! another has not yet is absent with proof on the one and found on the other, and both are right.
//!
//! Invariant: no child that knows what it had acknowledged ends inside a run that another one has given
//! back. So a lagging child is brought whole batches, and only one that begins at the beginning takes
//! over what is left of runs: as they are, for nobody has their batches any more, and it is bound to the
//! line by the running checksum before and behind each. No two children need have their runs cut alike: it
//! goes on with one that has a run which begins where it ends. A child that is away, or whose place is
//! found empty, holds back what lies above its end, until it comes back or is replaced.

use std::sync::Arc;

use travertine_engine::contract::{
    End, Epoch, Error, ErrorKind, Freed, Level, Oid, Op, Position, Reclaim, Result, Sparse, Store,
};

use super::child::Child;
use super::note::{Note, Roster, SeatId};
use super::shared::Shared;
use super::state::State;

impl Shared {
    pub(super) fn reclaim(self: &Arc<Self>, decision: Reclaim) -> Op<Freed> {
        let shared = self.clone();
        self.env.offload(move || shared.reclaim_each(&decision))
    }

    fn reclaim_each(self: &Arc<Self>, decision: &Reclaim) -> Result<Freed> {
        decision.check()?;
        if self.read_only {
            return Err(Error::closed("the cluster is open for reading only"));
        }
        if decision.left.is_some() {
            return Err(Error::unsupported(
                "`cluster` takes no run over from another store",
            ));
        }
        if decision.stream != self.stream {
            return Err(Error::invalid(format!(
                "stream {} does not lie here",
                decision.stream
            )));
        }
        let (held, mut which) = {
            let state = self.lock();
            state.admit(decision.sender)?;
            let lanes = state.lanes.iter().enumerate();
            let in_line = lanes.filter(|(_, lane)| lane.in_line());
            let which: Vec<usize> = in_line.map(|(index, _)| index).collect();
            (self.held_by_all(&state), which)
        };
        let mut troubles = Troubles(Vec::new());
        // A child that cannot take over what is left could never be made whole again.
        let asked = Arc::new(empty(decision));
        for index in std::mem::take(&mut which) {
            let nothing = asked.clone();
            let able = self.ask(index, move |shared, index| {
                let store = shared.children[index].open_store()?;
                store.reclaim((*nothing).clone()).wait()
            });
            match able {
                Ok(_) => which.push(index),
                Err(error) if is_away(&error) => troubles.note(self, index, error),
                Err(error) => return Err(error),
            }
        }
        let to = decision.to.min(held).max(decision.from);
        if to < decision.to {
            tracing::info!(
                to = to.0,
                wanted = decision.to.0,
                "a child that is away, or behind, holds back what lies above its end"
            );
        }
        let share = Arc::new(decision.within(decision.from, to));
        let mut freed = Freed::nothing(to);
        let mut done = 0;
        for index in which {
            // One after another, so that the room it takes is needed on one of them at a time.
            self.lock().admit(decision.sender)?;
            let share = share.clone();
            match self.ask_long(index, move |shared, index| {
                shared.reclaim_child(index, &share)
            }) {
                Ok(of) => {
                    freed.bytes += of.bytes;
                    freed.kept += of.kept;
                    // Their parts do not end at the same places: who came further does not do it again.
                    freed.to = freed.to.min(of.to);
                    done += 1;
                }
                Err(error) if error.kind() == ErrorKind::Fenced => return Err(error),
                Err(error) => troubles.note(self, index, error),
            }
        }
        if to < decision.to {
            // What is held back stays so, however often it is asked.
            freed.kept += decision.to.bytes_since(freed.to);
            freed.to = decision.to;
        }
        // One that is gone meanwhile is asked again by the next decision; what is wrong is told.
        let told = |error: &Error| done == 0 || !is_away(error);
        match troubles.0.into_iter().find(told) {
            Some(error) => Err(error),
            None => Ok(freed),
        }
    }

    fn reclaim_child(&self, index: usize, share: &Reclaim) -> Result<Freed> {
        let child = &self.children[index];
        let store = child.open_store()?;
        match store.reclaim(share.clone()).wait() {
            Err(error) if error.kind() == ErrorKind::Invalid => {
                // An older decision freed here what another child still has, and that is now among
                // what stays: nobody kept it then.
                let left = self.left_of(child, &*store, share)?;
                if left.len() == share.alive.len() {
                    return Err(error);
                }
                let alive = left.into();
                let less = Reclaim {
                    alive,
                    ..share.clone()
                };
                store.reclaim(less).wait()
            }
            told => told,
        }
    }

    /// Of what is to stay, that which a child has.
    fn left_of(&self, child: &Child, store: &dyn Store, share: &Reclaim) -> Result<Vec<Position>> {
        let mut left = Vec::with_capacity(share.alive.len());
        for &position in share.alive.iter() {
            let Some(oid) = Oid::new(self.stream, position) else {
                continue;
            };
            if store.read(oid).wait()?.is_some() {
                left.push(position);
            }
            child.moved();
        }
        Ok(left)
    }

    /// Up to here every child that may come back with what it had holds everything, durably. Who has left
    /// the line does not, nor a new one before it is given a seat: that begins at the beginning.
    fn held_by_all(&self, state: &State) -> Position {
        let new = state.replacing.map(|(index, ..)| index);
        let lanes = state.lanes.iter().zip(&self.children).enumerate();
        let may = lanes.filter(|(index, (lane, child))| {
            let gone = lane.astray || child.is_fleeting() || new == Some(*index);
            lane.in_line() || !gone
        });
        let held = may.map(|(index, (lane, child))| match self.level < Level::Disk {
            true if lane.in_line() => child.applied(),
            _ => lane.durable.max(self.seen_of(index, &state.roster)),
        });
        held.min().unwrap_or_default()
    }

    /// Where the others have seen a child end, when it was known to hold the line. Whose medium is not
    /// there, or another one in its place, may be any that is missing.
    fn seen_of(&self, index: usize, roster: &Roster) -> Position {
        let notes: Vec<_> = self.children.iter().filter_map(Child::note).collect();
        let own = self.children[index].note().map(|note| note.seat);
        let seats: Vec<SeatId> = match own.filter(|seat| roster.index(seat).is_some()) {
            Some(seat) => vec![seat],
            None => {
                let free = |seat: &&SeatId| notes.iter().all(|note| note.seat != **seat);
                roster.seats.iter().filter(free).copied().collect()
            }
        };
        let seen = |seat: &SeatId| {
            let of = |note: &Note| note.seen.get(note.roster.index(seat)?).copied();
            let seen = notes.iter().filter_map(of).max();
            seen.map_or(Position::START, |(_, end)| end)
        };
        seats.iter().map(seen).min().unwrap_or_default()
    }

    /// Has a child go on behind what `source` has left of the run that follows on its end.
    pub(super) fn take_over(
        &self,
        child: &Child,
        (source, store): (&dyn Store, &dyn Store),
        (from, sender): (End, Epoch),
        first: Sparse,
    ) -> Result<End> {
        if first.before != Some(from) {
            return Err(Error::unavailable(format!(
                "it ends at {}, inside of what the one that it is brought has given back up to {}",
                from.position, first.to
            )));
        }
        let mut left = first;
        loop {
            let (to, after) = (left.to, left.after);
            let decision = Reclaim {
                sender,
                stream: self.stream,
                from: left.from,
                to,
                alive: Arc::default(),
                left: Some(Arc::new(left)),
            };
            store.reclaim(decision).wait()?;
            child.moved();
            if let Some(after) = after {
                return Ok(after);
            }
            let more = source.scan(self.stream, to).wait()?.sparse;
            left = more.filter(|more| more.from == to).ok_or_else(|| {
                Error::unavailable(format!("what is left from {to} on cannot be had any more"))
            })?;
        }
    }
}

/// What went wrong with some children.
struct Troubles(Vec<Error>);

impl Troubles {
    fn note(&mut self, shared: &Shared, index: usize, error: Error) {
        tracing::warn!(%error, child = shared.children[index].title, "a child gives nothing back");
        self.0.push(error);
    }
}

/// Whether a child may be asked again later.
fn is_away(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Closed)
}

/// Asks whether a child frees anything, and takes over what another one has left.
fn empty(decision: &Reclaim) -> Reclaim {
    let at = Position::START;
    let nothing = Sparse {
        from: at,
        to: at,
        before: None,
        records: Vec::new(),
        after: None,
    };
    Reclaim {
        from: at,
        to: at,
        alive: Arc::default(),
        left: Some(Arc::new(nothing)),
        ..decision.clone()
    }
}
