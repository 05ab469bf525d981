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
//! line by the running checksum before and behind each. A child that is away holds back what lies above
//! its end, until it comes back or is replaced.

use std::sync::Arc;

use travertine_engine::contract::{
    End, Epoch, Error, ErrorKind, Freed, Level, Oid, Op, Position, Reclaim, Result, Sparse, Store,
};

use super::shared::Shared;
use super::state::State;

impl Shared {
    pub(super) fn reclaim(self: &Arc<Self>, decision: Reclaim) -> Op<Freed> {
        let shared = self.clone();
        self.env.offload(move || shared.reclaim_each(&decision))
    }

    fn reclaim_each(&self, decision: &Reclaim) -> Result<Freed> {
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
        let (held, which) = {
            let state = self.lock();
            state.admit(decision.sender)?;
            let lanes = state.lanes.iter().enumerate();
            let in_line = lanes.filter(|(_, lane)| lane.in_line());
            let which: Vec<usize> = in_line.map(|(index, _)| index).collect();
            (self.held_by_all(&state), which)
        };
        // A child that cannot take over what is left could never be made whole again.
        for &index in &which {
            let asked = self.children[index].open_store()?.reclaim(empty(decision));
            asked.wait().map_err(|error| self.blame(index, error))?;
        }
        let to = decision.to.min(held).max(decision.from);
        if to < decision.to {
            tracing::info!(
                to = to.0,
                wanted = decision.to.0,
                "a child that is away, or behind, holds back what lies above its end"
            );
        }
        let share = Reclaim {
            to,
            alive: decision.alive_in(decision.from, to).into(),
            ..decision.clone()
        };
        let mut freed = Freed::default();
        let mut troubles = Vec::new();
        for &index in &which {
            // One after another, so that the room it takes is needed on one of them at a time.
            self.lock().admit(decision.sender)?;
            match self.reclaim_child(index, &share) {
                Ok(of) => {
                    freed.bytes += of.bytes;
                    freed.kept += of.kept;
                }
                Err(error) if error.kind() == ErrorKind::Fenced => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, child = self.children[index].title, "a child gives nothing back");
                    troubles.push(error);
                }
            }
        }
        freed.kept += decision.to.bytes_since(to);
        // One that is gone meanwhile is asked again by the next decision; what is wrong is told.
        let away =
            |error: &Error| matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Closed);
        let all = troubles.len() == which.len();
        match troubles.into_iter().find(|error| all || !away(error)) {
            Some(error) => Err(error),
            None => Ok(freed),
        }
    }

    fn reclaim_child(&self, index: usize, share: &Reclaim) -> Result<Freed> {
        let store = self.children[index].open_store()?;
        let told = store.reclaim(share.clone()).wait();
        let told = match told {
            Err(error) if error.kind() == ErrorKind::Invalid => {
                // An older decision freed here what another child still has, and that is now among
                // what stays: nobody kept it then.
                let left = self.left_of(&*store, share)?;
                match left.len() == share.alive.len() {
                    true => Err(error),
                    false => {
                        let alive = left.into();
                        store
                            .reclaim(Reclaim {
                                alive,
                                ..share.clone()
                            })
                            .wait()
                    }
                }
            }
            told => told,
        };
        told.map_err(|error| self.blame(index, error))
    }

    /// Of what is to stay, that which a child has.
    fn left_of(&self, store: &dyn Store, share: &Reclaim) -> Result<Vec<Position>> {
        let mut left = Vec::with_capacity(share.alive.len());
        for &position in share.alive.iter() {
            let Some(oid) = Oid::new(self.stream, position) else {
                continue;
            };
            if store.read(oid).wait()?.is_some() {
                left.push(position);
            }
        }
        Ok(left)
    }

    fn blame(&self, index: usize, error: Error) -> Error {
        error.at(self.children[index].title.clone())
    }

    /// Up to here every child that may come back with what it had holds everything, durably.
    fn held_by_all(&self, state: &State) -> Position {
        let lanes = state.lanes.iter().zip(&self.children).enumerate();
        let may = lanes.filter(|(_, (lane, child))| {
            let gone = lane.lost || child.is_fleeting();
            lane.in_line() || !gone
        });
        let held = may.map(|(index, (lane, child))| match self.level < Level::Disk {
            true if lane.in_line() => child.applied(),
            _ => lane.durable.max(self.seen_of(index)),
        });
        held.min().unwrap_or_default()
    }

    /// Where the others have seen a child end, when it was known to hold the line.
    fn seen_of(&self, index: usize) -> Position {
        let Some(seat) = self.children[index].note().map(|note| note.seat) else {
            return Position::START;
        };
        let notes = self.children.iter().filter_map(|other| other.note());
        let seen = notes.filter_map(|note| note.seen.get(note.roster.index(&seat)?).copied());
        seen.max().map_or(Position::START, |(_, end)| end)
    }

    /// Has a child go on behind what `source` has left of the run that follows on its end.
    pub(super) fn take_over(
        &self,
        source: &dyn Store,
        store: &dyn Store,
        (from, sender): (End, Epoch),
        first: Sparse,
    ) -> Result<End> {
        if first.before != Some(from) {
            return Err(Error::corrupt(format!(
                "it ends at {}, inside of what the others have given back up to {}: clear the \
                 directory and replace the child",
                from.position, first.to
            )));
        }
        let mut left = first;
        while left.after.is_none() {
            let more = source.scan(self.stream, left.to).wait()?.sparse;
            let more = more.filter(|more| more.from == left.to).ok_or_else(|| {
                Error::unavailable(format!(
                    "what is left from {} on cannot be had any more",
                    left.to
                ))
            })?;
            left.records.extend(more.records);
            (left.to, left.after) = (more.to, more.after);
        }
        let after = left.after.unwrap_or(from);
        let decision = Reclaim {
            sender,
            stream: self.stream,
            from: left.from,
            to: left.to,
            alive: Arc::default(),
            left: Some(Arc::new(left)),
        };
        store.reclaim(decision).wait()?;
        Ok(after)
    }
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
