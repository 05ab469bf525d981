//! What goes wrong with children, and how they are brought back.

use super::Step;
use crate::mark::{Epoch, Mark};
use crate::mutations::Mutation;
use crate::rules;
use crate::state::{Child, Phase, Place, State, Writer};

impl Step<'_> {
    pub(super) fn copy(&self, place: usize) -> Option<State> {
        let Place { child, image, .. } = self.state.places[place];
        let is_kept = self.state.places.iter().any(|place| place.image.is_some());
        if self.state.left.rollbacks == 0 || is_kept || image.is_some() {
            return None;
        }
        let mut next = self.state.clone();
        next.places[place].image = Some(child);
        Some(next)
    }

    pub(super) fn restore(&self, place: usize) -> Option<State> {
        let Place { child, image, .. } = self.state.places[place];
        let image = image.filter(|image| *image != child)?;
        let mut next = self.state.clone();
        next.left.rollbacks -= 1;
        next.places[place].child = image;
        next.places[place].image = None;
        Some(next)
    }

    pub(super) fn rebuild(&self, writer: usize, place: usize) -> Option<State> {
        let child = self.child(place);
        if self.state.left.rebuilds == 0 || !self.may_send(writer, &child) {
            return None;
        }
        let mut next = self.state.clone();
        next.left.rebuilds -= 1;
        next.places[place].child = Child {
            end: Mark::NONE,
            durable: Mark::NONE,
            adopted: Epoch::default(),
            ceiling: 0,
            knows: self.setting.has(Mutation::RebuildUnnoted),
            short_of: 0,
            ghost: false,
            ..child
        };
        Some(next)
    }

    pub(super) fn crash(&self, place: usize, end: Mark) -> Option<State> {
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
            held.promised = end.epoch.max(held.adopted);
        }
        if self.setting.local {
            (0..self.setting.writers).for_each(|writer| next.end_process(writer));
        }
        Some(next)
    }

    pub(super) fn wipe(&self, place: usize) -> Option<State> {
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
            adopted: Epoch::default(),
            ceiling: 0,
            medium: u8::from(!unnoticed),
            knows: unnoticed,
            noted: false,
            short_of: 0,
            ghost: false,
        };
        Some(next)
    }

    pub(super) fn damage(&self, place: usize, end: Mark) -> Option<State> {
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

    pub(super) fn note(&self, writer: usize, place: usize) -> Option<State> {
        let child = self.child(place);
        let is_wanted = self.state.places.iter().any(|place| place.child.is_wiped())
            && !self.state.places[place].links[writer].noted;
        if !is_wanted || !self.may_send(writer, &child) {
            return None;
        }
        let mut next = self.state.clone();
        next.places[place].child.noted = true;
        next.places[place].links[writer].noted = true;
        Some(next)
    }

    pub(super) fn rejoin(&self, writer: usize, place: usize) -> Option<State> {
        let Writer {
            epoch,
            phase,
            on_quorum,
            proven,
            ..
        } = self.state.writers[writer];
        let child = self.child(place);
        if child.knows || !self.state.writers[writer].sends() {
            return None;
        }
        if child.is_wiped() {
            let links = self.state.places.iter().map(|place| place.links[writer]);
            let noted = links.filter(|link| link.noted).count();
            if !rules::may_rejoin(self.setting.quorums(), noted)
                && !self.setting.has(Mutation::RejoinUnnoted)
            {
                return None;
            }
        } else if !rules::accepts(child.promised, epoch) {
            return None;
        }
        // The chain up to what is acknowledged, and so with it every ceiling that was used.
        let brought = match (self.setting.mutation, phase) {
            (_, Phase::Recovering) => self.cut_of(writer),
            (Some(Mutation::RejoinWithoutCeiling), _) => proven,
            _ => on_quorum,
        };
        let mut next = self.state.clone();
        let held = &mut next.places[place].child;
        *held = Child {
            end: brought,
            promised: epoch,
            adopted: if self.notes() { epoch } else { held.adopted },
            knows: true,
            noted: child.noted || child.is_wiped(),
            ..*held
        };
        self.survive(held, brought);
        let link = &mut next.places[place].links[writer];
        link.counted = link.counted.map(|_| child.medium);
        if !self.setting.has(Mutation::KeepAcksOfOldMedium) {
            link.acked = brought;
        }
        if child.is_wiped() {
            for place in &mut next.places {
                place.links.iter_mut().for_each(|link| link.noted = false);
            }
        }
        Some(next)
    }
}
