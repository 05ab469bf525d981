//! The model for the checker: what can happen, and what must hold.

use stateright::{Model, Property};

use crate::action::Action;
use crate::history::Batch;
use crate::mark::Mark;
use crate::mutations::Mutation;
use crate::rules;
use crate::setting::{Adoption, Setting};
use crate::state::{Child, Phase, Place, State};
use crate::step::{crash_ends, step};

/// A setting, ready to be checked.
#[derive(Clone, Debug)]
pub struct Takeover {
    /// What is explored.
    pub setting: Setting,
}

/// Always: what a writer called proven lies in what every later epoch adopted.
pub const PROVEN_KEPT: &str = "no proven marker is lost";
/// Always: no two batches that anyone was handed or shown share a position.
pub const ONE_CONTENT: &str = "no position has two contents";
/// Always: no marker is called proven by a writer whose successor has already cut it.
pub const NO_LATE_ACK: &str = "a fenced writer gets no new acknowledgement";
/// Always: each adopted epoch continues the one adopted before.
pub const GROWS: &str = "adopted histories only grow";
/// Always: an older epoch ends in a committed state.
pub const ENDS_AT_MARKER: &str = "a cut stands behind a marker";
/// Always: nobody says absent of an acknowledged record, though others may have taken over.
pub const ABSENT_IS_TRUE: &str = "absent is not answered for what was acknowledged";
/// Always: of two children that adopted the same epoch, one has all that the other has, or more, so
/// that the longer chain is the one to take. Where notes tell what was adopted.
pub const ONE_LINE: &str = "children that adopted the same epoch hold one line";
/// Always: the best chain holds every marker that is named proven.
pub const FLOOR_MET: &str = "recovery never meets a proven mark it lacks";

/// Sometimes: a second epoch is adopted.
pub const TAKEOVER: &str = "a takeover happens";
/// Sometimes: a crash, and then a takeover that cuts.
pub const CUTS: &str = "a takeover after a crash cuts a tail";
/// Sometimes: recovery carries over a marker that nobody had called proven.
pub const CARRIES: &str = "an unproven marker is carried over";
/// Sometimes: a writer that a newer epoch has replaced still makes batches.
pub const OLD_WRITES: &str = "an old writer still writes after the takeover";
/// Sometimes: an abandoned first batch, still on a child, has the position of an adopted one. This
/// is why nobody is told the OIDs of a first batch before it is adopted.
pub const SHARED: &str = "an abandoned first batch shares its position with an adopted one";
/// Sometimes: an epoch goes on right behind a clean close.
pub const GOES_ON: &str = "an epoch goes on where the one before closed";
/// Sometimes: a child that dropped its chain is counted by a later takeover.
pub const REBUILT: &str = "a rebuilt child is counted again";
/// Sometimes: a child that was rolled back is part of a takeover.
pub const ROLLED_BACK: &str = "a takeover follows a rollback";
/// Sometimes: a takeover counts a child that came back on a new medium.
pub const REJOINS: &str = "a wiped child rejoins";
/// Sometimes: the log loses power while it is recovered, and a later recovery succeeds.
pub const CRASH_IN_RECOVERY: &str = "a crash during recovery is survived";

impl Takeover {
    /// A marker is called proven by the writer that counts it, and by a batch that names it, as
    /// soon as some child shows that batch.
    fn proven_kept(&self, state: &State) -> bool {
        let history = &state.history;
        let named = |mark| {
            history.batches().iter().any(|batch| {
                let shown = |place: &Place| history.holds(place.child.end, batch.mark);
                batch.names == mark && state.places.iter().any(shown)
            })
        };
        history
            .batches()
            .iter()
            .filter(|batch| batch.is_marker)
            .all(|batch| !is_cut(state, batch.mark) || !(batch.was_proven || named(batch.mark)))
    }

    /// A batch is visible from its birth if a serving writer made it: the caller has the OID. The
    /// first batch of an epoch is made before anyone is served: with a marker in it, it is visible
    /// once adopted; without one it holds nothing, and so does the last.
    fn one_content(&self, state: &State) -> bool {
        let firsts = |batch: &Batch| self.is_empty(batch) || self.is_unadopted(state, batch);
        let mut seen = 0_u64;
        state
            .history
            .batches()
            .iter()
            .filter(|batch| !firsts(batch))
            .all(|batch| {
                let bit = 1 << batch.mark.base;
                let is_new = seen & bit == 0;
                seen |= bit;
                is_new
            })
    }

    /// Whether a batch has no records: nobody knows an OID in it.
    fn is_empty(&self, batch: &Batch) -> bool {
        let is_first = is_first(batch);
        batch.is_last || is_first && self.setting.adoption == Adoption::Note
    }

    fn is_unadopted(&self, state: &State, batch: &Batch) -> bool {
        is_first(batch) && !state.adopted.contains(&batch.mark)
    }

    /// What is adopted is shown from then on: the marker in the first batch, or the newest before it.
    fn grows(&self, state: &State) -> bool {
        let shown = |first: Mark| state.history.newest_marker(first);
        state
            .adopted
            .windows(2)
            .all(|pair| state.history.holds(shown(pair[1]), shown(pair[0])))
    }

    /// Every serving writer, fenced without its knowing or not, and every child that answers for it.
    fn absent_is_true(&self, state: &State) -> bool {
        let history = &state.history;
        let acked = |batch: &&Batch| {
            let mut chains = history.batches().iter().filter(|batch| batch.was_proven);
            !self.is_empty(batch) && chains.any(|marker| history.holds(marker.mark, batch.mark))
        };
        history.batches().iter().filter(acked).all(|batch| {
            (0..self.setting.writers).all(|index| !self.says_absent(state, index, batch.mark))
        })
    }

    fn says_absent(&self, state: &State, index: usize, mark: Mark) -> bool {
        let history = &state.history;
        let writer = &state.writers[index];
        if writer.phase != Phase::Serving {
            return false;
        }
        let ceiling = rules::announced(writer.on_quorum.base, self.setting.window);
        if !rules::writer_vouches(mark.base, ceiling)
            && !self.setting.has(Mutation::AbsentAboveCeiling)
        {
            return false;
        }
        let by_writer = !history.holds(writer.tail, mark);
        let by_child = state.places.iter().any(|place| {
            let acked = place.links[index].acked;
            let vouches = rules::child_vouches(mark.base, acked)
                || place.child.knows && self.setting.has(Mutation::AbsentFromLagging);
            vouches && !history.holds(acked, mark)
        });
        by_writer || by_child
    }

    fn one_line(&self, state: &State) -> bool {
        let mut known = state.places.iter().map(|place| &place.child);
        let alike = |left: &Child, right: &Child| {
            let history = &state.history;
            left.adopted != right.adopted
                || history.holds(left.end, right.end)
                || history.holds(right.end, left.end)
        };
        known.all(|left| {
            let others = state.places.iter().map(|place| &place.child);
            let mut known = others.filter(|child| child.knows);
            !left.knows || known.all(|right| alike(left, right))
        })
    }

    fn ends_at_marker(&self, state: &State) -> bool {
        state.adopted.iter().all(|&first| {
            let cut = state.history.before(first);
            cut.is_none()
                || state
                    .history
                    .get(cut)
                    .is_some_and(|batch| batch.is_marker || batch.is_last)
        })
    }

    fn cuts(&self, state: &State) -> bool {
        state.left.crashes < self.setting.crashes
            && state
                .history
                .batches()
                .iter()
                .any(|batch| is_cut(state, batch.mark))
    }

    /// A recovering writer is about to adopt a marker that nobody has called proven yet.
    fn carries(&self, state: &State) -> bool {
        (0..self.setting.writers).any(|index| {
            let writer = &state.writers[index];
            let acked: Vec<_> = state
                .places
                .iter()
                .map(|place| place.links[index].acked)
                .collect();
            let before = state.history.before(writer.first);
            let needed = match self.setting.adoption {
                Adoption::Marker => writer.first,
                Adoption::Note => before,
            };
            let on_quorum = rules::newest_acked(self.setting.quorums(), &[needed], &acked);
            let cut = state.history.get(before);
            writer.phase == Phase::Recovering
                && !on_quorum.is_none()
                && cut.is_some_and(|batch| !batch.was_proven)
        })
    }

    fn old_writes(&self, state: &State) -> bool {
        state.writers[..self.setting.writers].iter().any(|writer| {
            let is_old = state.adopted.iter().any(|first| first.epoch > writer.epoch);
            writer.phase == Phase::Serving && is_old && writer.tail != writer.on_quorum
        })
    }

    fn shared(&self, state: &State) -> bool {
        state.places.iter().any(|place| {
            let end = place.child.end;
            !state.adopted.contains(&end)
                && state
                    .adopted
                    .iter()
                    .any(|first| first.base == end.base && *first != end)
        })
    }

    fn rejoins(&self, state: &State) -> bool {
        let rejoined = |index: usize| {
            state.places.iter().any(|place| {
                place.child.knows
                    && place.child.medium > 0
                    && place.child.promised == state.writers[index].epoch
                    && place.links[index].acked.epoch == state.writers[index].epoch
            })
        };
        (0..self.setting.writers).any(|index| {
            let writer = &state.writers[index];
            writer.phase == Phase::Serving && writer.epoch.number > 1 && rejoined(index)
        })
    }

    fn goes_on(&self, state: &State) -> bool {
        state.adopted.iter().any(|first| {
            let before = state.history.get(state.history.before(*first));
            before.is_some_and(|batch| batch.is_last && batch.mark.base + 1 == first.base)
        })
    }

    fn rebuilt(&self, state: &State) -> bool {
        let is_served = state.adopted.len() > 1;
        let is_back = |place: &Place| place.child.knows && place.child.promised.number > 1;
        state.left.rebuilds < self.setting.rebuilds && is_served && state.places.iter().all(is_back)
    }

    fn rolled_back(&self, state: &State) -> bool {
        state.left.rollbacks < self.setting.rollbacks && state.adopted.len() > 1
    }

    /// An epoch whose first batch was made and lost, and a later one that was adopted.
    fn crash_in_recovery(&self, state: &State) -> bool {
        let last = state.adopted.last().map(|first| first.epoch);
        state.left.crashes < self.setting.crashes
            && state.history.batches().iter().any(|batch| {
                Some(batch.mark.epoch) < last
                    && batch.before.epoch != batch.mark.epoch
                    && !state.adopted.contains(&batch.mark)
            })
    }
}

/// Whether it is the first batch of its epoch.
fn is_first(batch: &Batch) -> bool {
    batch.before.epoch != batch.mark.epoch
}

/// Whether an adopted epoch has left a batch of an older one behind.
fn is_cut(state: &State, mark: Mark) -> bool {
    let leaves = |first: &Mark| first.epoch > mark.epoch && !state.history.holds(*first, mark);
    state.adopted.iter().any(leaves)
}

impl Model for Takeover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.setting)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let children = state.places.len();
        for writer in 0..self.setting.writers {
            actions.push(Action::Take(writer));
            match state.writers[writer].phase {
                Phase::Idle => continue,
                Phase::Fencing => {
                    actions.extend((1..1 << children).map(|mask| Action::Choose(writer, mask)));
                }
                Phase::Recovering | Phase::Closing => actions.push(Action::Count(writer)),
                Phase::Serving => {
                    actions.push(Action::Count(writer));
                    actions.push(Action::Close(writer));
                    actions.push(Action::Make(writer, true));
                    if !self.setting.only_markers {
                        actions.push(Action::Make(writer, false));
                    }
                }
            }
            for child in 0..children {
                actions.push(Action::Fence(writer, child));
                if state.writers[writer].sends() {
                    actions.push(Action::Send(writer, child));
                    actions.push(Action::Commit(writer, child));
                    actions.push(Action::Adopt(writer, child));
                    actions.push(Action::Rebuild(writer, child));
                    actions.push(Action::FailSync(writer, child));
                    actions.push(Action::Note(writer, child));
                    actions.push(Action::Rejoin(writer, child));
                }
            }
        }
        for (child, place) in state.places.iter().enumerate() {
            actions.push(Action::Wipe(child));
            actions.push(Action::Copy(child));
            actions.push(Action::Restore(child));
            if state.left.crashes > 0 {
                let ends = crash_ends(state, &place.child);
                actions.extend(ends.into_iter().map(|end| Action::Crash(child, end)));
            }
            if state.left.damages > 0 {
                let ends = state.history.chain(place.child.durable);
                actions.extend(ends.into_iter().map(|end| Action::Damage(child, end)));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        step(&self.setting, last, action).map(State::canonical)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(PROVEN_KEPT, Self::proven_kept),
            Property::always(ONE_CONTENT, Self::one_content),
            Property::always(NO_LATE_ACK, |_, state: &State| !state.late_ack),
            Property::always(ABSENT_IS_TRUE, Self::absent_is_true),
            Property::always(GROWS, Self::grows),
            Property::always(ENDS_AT_MARKER, Self::ends_at_marker),
            Property::always(FLOOR_MET, |_, state: &State| !state.met_lost_proof),
            Property::sometimes(TAKEOVER, |_, state: &State| state.adopted.len() > 1),
            Property::sometimes(CARRIES, Self::carries),
        ];
        if self.setting.adoption == Adoption::Note {
            properties.push(Property::always(ONE_LINE, Self::one_line));
        }
        if self.setting.crashes > 0 {
            properties.push(Property::sometimes(CUTS, Self::cuts));
        }
        if self.setting.writers > 1 && self.setting.births > 0 {
            properties.push(Property::sometimes(OLD_WRITES, Self::old_writes));
        }
        let abandons = self.setting.adoption == Adoption::Marker;
        if self.setting.children > 1 && self.setting.takes > 1 && abandons {
            properties.push(Property::sometimes(SHARED, Self::shared));
        }
        if self.setting.wipes > 0 {
            properties.push(Property::sometimes(REJOINS, Self::rejoins));
        }
        if self.setting.closes > 0 {
            properties.push(Property::sometimes(GOES_ON, Self::goes_on));
        }
        if self.setting.rebuilds > 0 {
            properties.push(Property::sometimes(REBUILT, Self::rebuilt));
        }
        if self.setting.rollbacks > 0 {
            properties.push(Property::sometimes(ROLLED_BACK, Self::rolled_back));
        }
        if self.setting.local && self.setting.crashes > 0 {
            properties.push(Property::sometimes(
                CRASH_IN_RECOVERY,
                Self::crash_in_recovery,
            ));
        }
        properties
    }
}
