//! How the state changes. The rules decide; this file applies them, or breaks them on demand.

use crate::action::Action;
use crate::history::Batch;
use crate::mark::{Epoch, Mark};
use crate::mutations::Mutation;
use crate::rules::{self, Report};
use crate::setting::Setting;
use crate::state::{Answer, Child, Link, Phase, State, Writer};

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
    fn take(&self, writer: usize) -> Option<State> {
        if self.state.left.takes == 0 {
            return None;
        }
        let promised = self
            .state
            .places
            .iter()
            .map(|place| place.child.promised.number);
        let born = self
            .state
            .history
            .batches()
            .iter()
            .map(|batch| batch.mark.epoch.number);
        let own = self.state.writers[writer].epoch;
        let number = promised.chain(born).fold(own.number, u8::max) + 1;
        let mut next = self.state.clone();
        next.left.takes -= 1;
        next.end_process(writer);
        next.writers[writer].epoch = Epoch { number, ..own };
        next.writers[writer].phase = Phase::Fencing;
        Some(next)
    }

    fn fence(&self, writer: usize, place: usize) -> Option<State> {
        let Writer { epoch, phase, .. } = self.state.writers[writer];
        let child = self.child(place);
        if phase == Phase::Idle || !child.knows || !self.may_fence(child.promised, epoch) {
            return None;
        }
        let mut next = self.state.clone();
        if self.setting.has(Mutation::CutAtOpen) {
            let kept = self.state.history.newest_named(child.end).max(self.root());
            next.places[place].child.end = kept;
            next.places[place].child.durable = kept;
        }
        next.places[place].child.promised = epoch;
        if phase == Phase::Fencing {
            next.places[place].links[writer].answer = Some(self.answer(&next.places[place].child));
        }
        Some(next)
    }

    fn choose(&self, writer: usize, mask: u8) -> Option<State> {
        let Writer { epoch, phase, .. } = self.state.writers[writer];
        if phase != Phase::Fencing {
            return None;
        }
        let mut reports = Vec::new();
        for place in (0..self.state.places.len()).filter(|place| mask & (1 << place) != 0) {
            let answer = self.state.places[place].links[writer].answer?;
            reports.push(self.report(place, &answer));
        }
        let mut next = self.state.clone();
        let choice = match rules::choose(self.setting.children, &reports) {
            Ok(choice) => choice,
            Err(rules::Refusal::TooFew { .. }) => return None,
            Err(rules::Refusal::BelowProven { .. }) => {
                next.met_lost_proof = true;
                next.end_process(writer);
                return Some(next);
            }
        };
        let cut = self.broken_cut(&reports).unwrap_or(choice.marker);
        let mut base = choice.first_base;
        if self.setting.has(Mutation::StartAtTail) {
            base = cut.base + 1;
        }
        if self.setting.has(Mutation::StartAtLowestCeiling) {
            let lowest = reports.iter().map(|report| report.ceiling).min();
            base = lowest.unwrap_or(base).max(cut.base + 1);
        }
        let first = Mark { epoch, base };
        let carried = self.setting.has(Mutation::NameCarriedAsProven);
        let names = if carried { cut } else { choice.proven };
        next.history.add(Batch {
            mark: first,
            before: cut,
            is_marker: true,
            names,
            was_proven: false,
        });
        for place in &mut next.places {
            place.links[writer] = Link::default();
        }
        next.writers[writer] = Writer {
            epoch,
            phase: Phase::Recovering,
            first,
            tail: first,
            on_quorum: Mark::NONE,
            proven: names,
        };
        Some(next)
    }

    fn send(&self, writer: usize, place: usize) -> Option<State> {
        let Writer {
            first, tail, phase, ..
        } = self.state.writers[writer];
        let child = self.child(place);
        if !self.may_send(writer, &child) {
            return None;
        }
        let kept = self.state.history.common(child.end, tail);
        let sent = self.state.history.after(kept, tail)?;
        debug_assert_eq!(
            rules::cut(
                &self.state.history.chain(child.end),
                &self.state.history.chain(tail)
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
        let acked = self.state.places[place].links[writer].acked;
        let is_news = child.durable != child.end || acked != child.end;
        let is_ours = self
            .state
            .history
            .holds(self.state.writers[writer].tail, child.end);
        if !self.may_send(writer, &child) || !is_news || !is_ours || child.end.is_none() {
            return None;
        }
        let mut next = self.state.clone();
        let held = &mut next.places[place].child;
        if !held.ghost {
            self.survive(held, child.end);
        }
        next.places[place].links[writer].acked = child.end;
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
        if phase != Phase::Recovering && phase != Phase::Serving {
            return None;
        }
        let acked: Vec<Mark> = self
            .state
            .places
            .iter()
            .map(|place| place.links[writer].acked)
            .collect();
        let chain = self.state.history.chain(tail);
        let mut reached = rules::newest_on_quorum(&chain, &acked);
        if phase == Phase::Serving && self.setting.has(Mutation::AckBeforeQuorum) {
            reached = acked.iter().copied().max().unwrap_or(reached);
        }
        let mut needed = first;
        if self.setting.has(Mutation::ServeBeforeAdopted) {
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
            names: proven,
            was_proven: false,
        });
        next.writers[writer].tail = mark;
        Some(next)
    }

    fn crash(&self, place: usize, end: Mark) -> Option<State> {
        let child = self.child(place);
        let forgets = self.setting.has(Mutation::FenceNotDurable);
        let is_settled = child.end == child.durable && !forgets;
        if self.state.left.crashes == 0 || !child.knows || is_settled {
            return None;
        }
        let mut next = self.state.clone();
        next.left.crashes -= 1;
        let held = &mut next.places[place].child;
        held.end = end;
        held.ghost = false;
        self.survive(held, end);
        if forgets {
            held.promised = end.epoch;
        }
        if self.setting.local {
            (0..self.setting.writers).for_each(|writer| next.end_process(writer));
        }
        Some(next)
    }

    fn wipe(&self, place: usize) -> Option<State> {
        if self.state.left.wipes == 0 || !self.child(place).knows {
            return None;
        }
        let unnoticed = self.setting.has(Mutation::CountWiped);
        let mut next = self.state.clone();
        next.left.wipes -= 1;
        next.places[place].child = Child {
            end: Mark::NONE,
            durable: Mark::NONE,
            promised: Epoch::default(),
            ceiling: 0,
            medium: u8::from(!unnoticed),
            knows: unnoticed,
            noted: false,
            short_of: 0,
            ghost: false,
        };
        Some(next)
    }

    fn damage(&self, place: usize, end: Mark) -> Option<State> {
        let child = self.child(place);
        if self.state.left.damages == 0 || !child.knows || end == child.durable {
            return None;
        }
        let mut next = self.state.clone();
        next.left.damages -= 1;
        let held = &mut next.places[place].child;
        held.end = end;
        held.durable = end;
        held.ghost = false;
        held.short_of = child.short_of.max(child.durable.base);
        Some(next)
    }

    fn note(&self, writer: usize, place: usize) -> Option<State> {
        let child = self.child(place);
        let is_wanted = self.state.places.iter().any(|place| !place.child.knows)
            && !self.state.places[place].links[writer].noted;
        let serves = self.state.writers[writer].phase == Phase::Serving;
        if !is_wanted || !serves || !self.may_send(writer, &child) {
            return None;
        }
        let mut next = self.state.clone();
        next.places[place].child.noted = true;
        next.places[place].links[writer].noted = true;
        Some(next)
    }

    fn rejoin(&self, writer: usize, place: usize) -> Option<State> {
        let Writer {
            epoch,
            phase,
            on_quorum,
            proven,
            ..
        } = self.state.writers[writer];
        let child = self.child(place);
        let noted = self
            .state
            .places
            .iter()
            .filter(|place| place.links[writer].noted)
            .count();
        let may_rejoin = rules::may_rejoin(self.setting.children, noted)
            || self.setting.has(Mutation::RejoinUnnoted);
        if child.knows || phase != Phase::Serving || !may_rejoin {
            return None;
        }
        // The chain up to what a quorum has, and so with it every ceiling that was used.
        let brought = match self.setting.mutation {
            Some(Mutation::RejoinWithoutCeiling) => proven,
            _ => on_quorum,
        };
        let mut next = self.state.clone();
        let held = &mut next.places[place].child;
        *held = Child {
            end: brought,
            promised: epoch,
            knows: true,
            noted: true,
            ..*held
        };
        self.survive(held, brought);
        let link = &mut next.places[place].links[writer];
        if !self.setting.has(Mutation::KeepAcksOfOldMedium) {
            link.acked = brought;
        }
        for place in &mut next.places {
            place.links.iter_mut().for_each(|link| link.noted = false);
        }
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
            durable_base: child.short_of,
            ceiling: child.ceiling.max(self.ceiling_of(child.end)),
            medium: child.medium,
            knows: child.knows,
            noted: child.noted,
        }
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
            end: answer.end,
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

    /// Where a planted mistake cuts instead.
    fn broken_cut(&self, reports: &[Report]) -> Option<Mark> {
        let newest = reports.iter().map(rules::newest);
        match self.setting.mutation {
            Some(Mutation::ChooseBelowProven) => reports.iter().map(|report| report.proven).max(),
            Some(Mutation::ChooseByPosition) => {
                newest.max_by_key(|mark| (mark.base, std::cmp::Reverse(mark.epoch)))
            }
            Some(Mutation::CutAboveMarker) => reports.iter().map(|report| report.end).max(),
            _ => None,
        }
    }
}
