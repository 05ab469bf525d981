//! Taking over: fence, choose, and adopt by notes.

use super::Step;
use crate::history::Batch;
use crate::mark::{Epoch, Mark};
use crate::mutations::Mutation;
use crate::rules::{self, Report};
use crate::state::{Answer, Link, Phase, State, Writer};

impl Step<'_> {
    pub(super) fn take(&self, writer: usize) -> Option<State> {
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

    pub(super) fn fence(&self, writer: usize, place: usize) -> Option<State> {
        let Writer { epoch, phase, .. } = self.state.writers[writer];
        let child = self.child(place);
        // A wiped child has nobody's promise to keep: it is brought back, not fenced.
        let is_there = child.knows || child.promised != Epoch::default();
        if let Some(answer) = self.unread(writer, place) {
            let mut next = self.state.clone();
            next.places[place].links[writer].answer = None;
            if phase == Phase::Recovering && self.met_new_medium(writer, place, &answer) {
                next.end_process(writer);
            }
            return Some(next);
        }
        if phase == Phase::Idle || !is_there || !self.may_fence(child.promised, epoch) {
            return None;
        }
        let mut next = self.state.clone();
        if self.setting.has(Mutation::CutAtOpen) {
            let kept = self.state.history.newest_named(child.end).max(self.root());
            next.places[place].child.end = kept;
            next.places[place].child.durable = kept;
        }
        let answer = self.answer(&next.places[place].child);
        let only_looks = phase == Phase::Fencing && self.setting.has(Mutation::ChooseFromLooks);
        if !only_looks {
            next.places[place].child.promised = epoch;
        }
        if phase == Phase::Fencing {
            next.places[place].links[writer].answer = Some(answer);
        } else if phase == Phase::Recovering && self.met_new_medium(writer, place, &answer) {
            next.end_process(writer);
        }
        Some(next)
    }

    /// An answer that the writer did not choose from, because it had not come yet.
    pub(super) fn unread(&self, writer: usize, place: usize) -> Option<Answer> {
        let has_chosen = self.state.writers[writer].sends();
        let answer = self.state.places[place].links[writer].answer;
        answer.filter(|_| has_chosen)
    }

    /// Whether a late answer shows that a report which was counted came from a medium that is gone.
    fn met_new_medium(&self, writer: usize, place: usize, answer: &Answer) -> bool {
        let late = self.report(place, answer);
        let counted = self.state.places.iter().enumerate();
        let mut counted =
            counted.filter_map(|(child, place)| Some((child, place.links[writer].counted?)));
        let is_ignored = self.setting.has(Mutation::TrustOldMedium)
            || self.setting.has(Mutation::IgnoreLateAnswers);
        !is_ignored && counted.any(|counted| rules::is_stale(counted, &late))
    }

    pub(super) fn choose(&self, writer: usize, mask: u8) -> Option<State> {
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
        let mut quorums = self.setting.quorums();
        if self.setting.has(Mutation::FenceOneTooFew) {
            quorums.ack += 1;
        }
        if self.setting.has(Mutation::TrustRolledBack) {
            quorums.forgetful = 0;
        }
        let joined = match rules::join(quorums, &reports) {
            Ok(joined) => joined,
            Err(rules::Refusal::TooFew { .. }) => return None,
            Err(rules::Refusal::BelowProven { .. }) => {
                next.met_lost_proof = true;
                next.end_process(writer);
                return Some(next);
            }
        };
        let mut choice = rules::choose(&joined);
        if self.setting.has(Mutation::GoOnWhereOneClosed) {
            let closed = reports.iter().filter(|report| report.clean);
            let start = closed.map(|report| report.end.base + 1).max();
            choice.first_base = start.unwrap_or(choice.first_base).max(choice.cut.base + 1);
        }
        let cut = self.broken_cut(&reports).unwrap_or(choice.cut);
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
            is_marker: !self.notes(),
            is_last: false,
            names,
            was_proven: false,
        });
        for (child, place) in next.places.iter_mut().enumerate() {
            let counted = reports.iter().find(|report| report.child == child);
            let unread = place.links[writer].answer.filter(|_| counted.is_none());
            // Without a wipe to come or gone there is nothing to remember.
            place.links[writer] = Link {
                answer: unread.filter(|_| self.setting.wipes > 0),
                counted: counted
                    .filter(|_| self.setting.wipes > 0)
                    .map(|report| report.medium),
                ..Link::default()
            };
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

    /// A child that has the chain up to the cut, durable, notes so: what lies above is void.
    pub(super) fn adopt(&self, writer: usize, place: usize) -> Option<State> {
        let child = self.child(place);
        let Writer { epoch, .. } = self.state.writers[writer];
        let is_heard = self.unread(writer, place).is_none();
        if !self.notes() || !self.may_send(writer, &child) || child.adopted == epoch || !is_heard {
            return None;
        }
        let cut = self.cut_of(writer);
        let has_all = self.state.history.holds(child.end, cut);
        if !has_all && !self.setting.has(Mutation::NoteBeforeCaughtUp) {
            return None;
        }
        let mut next = self.state.clone();
        let held = &mut next.places[place].child;
        held.end = self.state.history.common(child.end, cut);
        held.adopted = epoch;
        self.survive(held, held.end);
        if has_all {
            next.places[place].links[writer].acked = cut;
        }
        Some(next)
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
