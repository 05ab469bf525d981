//! How the state changes. The rules decide; this file applies them, or breaks them on demand.

mod faults;
mod takeover;

use crate::action::Action;
use crate::history::Batch;
use crate::mark::{Epoch, Mark};
use crate::mutations::Mutation;
use crate::rules::{self, Report};
use crate::setting::{Adoption, Setting};
use crate::state::{Answer, Child, Phase, State, Writer};

/// The state after `action`, with the children in their old places; none if it cannot happen.
#[must_use]
pub fn step(setting: &Setting, state: &State, action: Action) -> Option<State> {
    let step = Step { setting, state };
    match action {
        Action::Take(writer) => step.take(writer),
        Action::Fence(writer, child) => step.fence(writer, child),
        Action::Choose(writer, mask) => step.choose(writer, mask),
        Action::Send(writer, child) => step.send(writer, child),
        Action::Commit(writer, child) => step.commit(writer, child),
        Action::Adopt(writer, child) => step.adopt(writer, child),
        Action::Close(writer) => step.close(writer),
        Action::Copy(child) => step.copy(child),
        Action::Restore(child) => step.restore(child),
        Action::Rebuild(writer, child) => step.rebuild(writer, child),
        Action::FailSync(writer, child) => step.fail_sync(writer, child),
        Action::Count(writer) => step.count(writer),
        Action::Make(writer, is_marker) => step.make(writer, is_marker),
        Action::Crash(child, end) => step.crash(child, end),
        Action::Wipe(child) => step.wipe(child),
        Action::Damage(child, end) => step.damage(child, end),
        Action::Note(writer, child) => step.note(writer, child),
        Action::Rejoin(writer, child) => step.rejoin(writer, child),
    }
}

/// Where a crash may leave the chain of `child`: as it was durable, or with any part of the
/// unsynced tail. If the tail replaces durable batches that were cut, the cut itself may be
/// undone, or done with nothing behind it.
#[must_use]
pub fn crash_ends(state: &State, child: &Child) -> Vec<Mark> {
    let stem = state.history.common(child.end, child.durable);
    let mut ends: Vec<Mark> = state
        .history
        .back(child.end)
        .map(|batch| batch.mark)
        .take_while(|&mark| mark != stem)
        .collect();
    ends.push(stem);
    if stem != child.durable {
        ends.push(child.durable);
    }
    ends
}

struct Step<'a> {
    setting: &'a Setting,
    state: &'a State,
}

impl Step<'_> {
    fn notes(&self) -> bool {
        self.setting.adoption == Adoption::Note
    }

    /// Where the older epochs end, for this writer.
    fn cut_of(&self, writer: usize) -> Mark {
        self.state.history.before(self.state.writers[writer].first)
    }

    /// How far a child may go: with notes, no further than the cut before it has noted.
    fn goal(&self, writer: usize, child: &Child) -> Mark {
        let Writer { epoch, tail, .. } = self.state.writers[writer];
        if self.notes() && child.adopted != epoch {
            self.cut_of(writer)
        } else {
            tail
        }
    }

    fn send(&self, writer: usize, place: usize) -> Option<State> {
        let Writer { first, phase, .. } = self.state.writers[writer];
        let child = self.child(place);
        let is_due = !self.notes() || phase != Phase::Recovering || child.adopted < first.epoch;
        let is_heard = self.unread(writer, place).is_none();
        if !self.may_send(writer, &child) || !is_due || !is_heard {
            return None;
        }
        let goal = self.goal(writer, &child);
        let kept = self.state.history.common(child.end, goal);
        let sent = self.state.history.after(kept, goal)?;
        debug_assert_eq!(
            rules::cut(
                &self.state.history.chain(child.end),
                &self.state.history.chain(goal)
            ),
            self.state.history.chain(kept).len(),
            "a child keeps the common prefix",
        );
        let mut next = self.state.clone();
        let held = &mut next.places[place].child;
        held.end = sent;
        if kept != child.end && self.setting.has(Mutation::CutLowersCeiling) {
            held.ceiling = self.ceiling_of(kept);
        }
        if self.setting.local && sent == first {
            // The tail that was found is written again, so that the sync to come means something.
            if !self.setting.has(Mutation::SyncWithoutRewrite) {
                held.ghost = false;
            }
            if self.setting.has(Mutation::RewriteInPlace) {
                let proven = self.state.history.newest_named(sent).max(self.root());
                held.durable = self.state.history.common(child.durable, proven);
            }
        }
        if phase == Phase::Recovering && self.setting.has(Mutation::ServeBeforeSync) {
            next.places[place].links[writer].acked = sent;
        }
        Some(next)
    }

    fn commit(&self, writer: usize, place: usize) -> Option<State> {
        let child = self.child(place);
        let Writer { epoch, tail, .. } = self.state.writers[writer];
        let acked = self.state.places[place].links[writer].acked;
        // Before it has adopted it makes durable what it has, and that is no acknowledgement.
        let tells = !self.notes() || child.adopted == epoch;
        let mut told = if tells { child.end } else { acked };
        if tells && self.setting.has(Mutation::AckAhead) {
            told = tail;
        }
        let is_news = child.durable != child.end || acked != told;
        let is_ours = self.state.history.holds(tail, child.end);
        let is_heard = self.unread(writer, place).is_none();
        if !self.may_send(writer, &child) || !is_heard || !is_news || !is_ours {
            return None;
        }
        if child.end.is_none() {
            return None;
        }
        let mut next = self.state.clone();
        let held = &mut next.places[place].child;
        if !held.ghost {
            self.survive(held, child.end);
        }
        next.places[place].links[writer].acked = told;
        Some(next)
    }

    fn fail_sync(&self, writer: usize, place: usize) -> Option<State> {
        let child = self.child(place);
        let is_dirty = child.durable != child.end && !child.ghost;
        if self.state.left.failed_syncs == 0 || !self.may_send(writer, &child) || !is_dirty {
            return None;
        }
        let mut next = self.state.clone();
        next.left.failed_syncs -= 1;
        next.places[place].child.ghost = true;
        if !self.setting.has(Mutation::RetryFailedSync) {
            next.end_process(writer);
        }
        Some(next)
    }

    fn count(&self, writer: usize) -> Option<State> {
        let Writer {
            phase,
            first,
            tail,
            on_quorum,
            proven,
            ..
        } = self.state.writers[writer];
        if !self.state.writers[writer].sends() {
            return None;
        }
        let acked: Vec<Mark> = self
            .state
            .places
            .iter()
            .map(|place| place.links[writer].acked)
            .collect();
        let chain = self.state.history.chain(tail);
        let mut reached = rules::newest_acked(self.setting.quorums(), &chain, &acked);
        if phase == Phase::Serving && self.setting.has(Mutation::AckBeforeQuorum) {
            reached = acked.iter().copied().max().unwrap_or(reached);
        }
        let mut needed = first;
        if self.notes() || self.setting.has(Mutation::ServeBeforeAdopted) {
            needed = self.state.history.before(first);
        }
        if reached.base <= on_quorum.base || reached.base < needed.base {
            return None;
        }
        let mut next = self.state.clone();
        if phase == Phase::Recovering {
            next.writers[writer].phase = Phase::Serving;
            let at = next.adopted.partition_point(|held| *held < first);
            next.adopted.insert(at, first);
        }
        next.writers[writer].on_quorum = reached;
        let newest = self.state.history.newest_marker(reached);
        if newest.base > proven.base {
            next.late_ack |= self.state.adopted.iter().any(|&adopted| {
                adopted.epoch > first.epoch && !self.state.history.holds(adopted, newest)
            });
            next.writers[writer].proven = newest;
        }
        next.history.prove(reached);
        if phase == Phase::Closing && reached == tail {
            next.end_process(writer);
        }
        Some(next)
    }

    fn close(&self, writer: usize) -> Option<State> {
        let Writer {
            epoch,
            phase,
            tail,
            proven,
            ..
        } = self.state.writers[writer];
        let is_proven = self.state.history.newest_marker(tail) == proven;
        if self.state.left.closes == 0 || phase != Phase::Serving || !is_proven {
            return None;
        }
        let mut next = self.state.clone();
        next.left.closes -= 1;
        let mark = Mark {
            epoch,
            base: tail.base + 1,
        };
        next.history.add(Batch {
            mark,
            before: tail,
            is_marker: false,
            is_last: true,
            names: proven,
            was_proven: false,
        });
        next.writers[writer].tail = mark;
        next.writers[writer].phase = Phase::Closing;
        Some(next)
    }

    fn make(&self, writer: usize, is_marker: bool) -> Option<State> {
        let Writer {
            epoch,
            phase,
            tail,
            on_quorum,
            proven,
            ..
        } = self.state.writers[writer];
        let base = tail.base + 1;
        let ceiling = rules::announced(on_quorum.base, self.setting.window);
        let is_below =
            rules::may_hand_out(base, ceiling) || self.setting.has(Mutation::UseUnprovenCeiling);
        if self.state.left.births == 0 || phase != Phase::Serving || !is_below {
            return None;
        }
        let mut next = self.state.clone();
        next.left.births -= 1;
        let mark = Mark { epoch, base };
        next.history.add(Batch {
            mark,
            before: tail,
            is_marker,
            is_last: false,
            names: proven,
            was_proven: false,
        });
        next.writers[writer].tail = mark;
        Some(next)
    }

    fn child(&self, place: usize) -> Child {
        self.state.places[place].child
    }

    /// The first batch of all: below it there is nothing to lose.
    fn root(&self) -> Mark {
        self.state.adopted.first().copied().unwrap_or(Mark::NONE)
    }

    fn may_fence(&self, promised: Epoch, asked: Epoch) -> bool {
        if self.setting.has(Mutation::EpochWithoutTag) {
            return asked.number > promised.number
                || asked.number == promised.number && asked.tag != promised.tag;
        }
        rules::may_fence(promised, asked)
    }

    fn may_send(&self, writer: usize, child: &Child) -> bool {
        let writer = &self.state.writers[writer];
        let accepts = match self.setting.mutation {
            Some(Mutation::EpochWithoutTag) => child.promised.number == writer.epoch.number,
            Some(Mutation::AcceptUnpromised) => child.promised <= writer.epoch,
            Some(Mutation::AcceptFenced) => child.promised >= writer.epoch,
            _ => rules::accepts(child.promised, writer.epoch),
        };
        writer.sends() && child.knows && accepts
    }

    /// What is durable now: the chain up to `end`, and with it every ceiling it announces.
    fn survive(&self, child: &mut Child, end: Mark) {
        child.durable = end;
        child.ceiling = child.ceiling.max(self.ceiling_of(end));
        if end.base >= child.short_of {
            child.short_of = 0;
        }
    }

    fn ceiling_of(&self, end: Mark) -> u8 {
        if end.is_none() {
            0
        } else {
            rules::announced(end.base, self.setting.window)
        }
    }

    fn answer(&self, child: &Child) -> Answer {
        Answer {
            end: child.end,
            clean: self.is_closed(child),
            promised: child.promised,
            adopted: child.adopted,
            durable_base: child.short_of,
            ceiling: child.ceiling.max(self.ceiling_of(child.end)),
            medium: child.medium,
            knows: child.knows,
            noted: child.noted,
        }
    }

    /// Whether the newest epoch that was promised here has closed here.
    fn is_closed(&self, child: &Child) -> bool {
        let last = self.state.history.get(child.durable);
        let is_last = last.is_some_and(|batch| batch.is_last && batch.mark.epoch == child.promised);
        is_last && child.end == child.durable
    }

    fn report(&self, place: usize, answer: &Answer) -> Report {
        let history = &self.state.history;
        let proven = history.newest_named(answer.end).max(self.root());
        let mut candidates: Vec<Mark> = history
            .back(answer.end)
            .take_while(|batch| batch.mark != proven)
            .filter(|batch| batch.is_marker)
            .map(|batch| batch.mark)
            .collect();
        candidates.reverse();
        let replaced = self
            .state
            .places
            .iter()
            .position(|place| place.child.medium > 0);
        let trusts = self.setting.has(Mutation::TrustOldMedium);
        let replaced = replaced.filter(|_| answer.noted && !trusts);
        let is_damage_ignored = self.setting.has(Mutation::CountDamaged);
        Report {
            child: place,
            medium: answer.medium,
            knows: answer.knows,
            adopted: match self.setting.mutation {
                _ if !self.notes() => Epoch::default(),
                Some(Mutation::RankByMarker) => Epoch::default(),
                Some(Mutation::RankByPromise) => answer.promised,
                _ => answer.adopted,
            },
            end: answer.end,
            clean: answer.clean,
            durable_base: if is_damage_ignored {
                0
            } else {
                answer.durable_base
            },
            proven: if answer.end.is_none() {
                Mark::NONE
            } else {
                proven
            },
            candidates,
            ceiling: answer.ceiling,
            replaced: replaced.map(|child| (child, 1)).into_iter().collect(),
        }
    }
}
