//! Tickets: a commit submitted and not yet answered. Commits that wait together are one round: one
//! write, one flush, one answer that all its tickets share, so that a ticket costs no wake of its own.
//!
//! ```text
//!   commit ─> queue ┐                       ┌> ticket 0: first + 0
//!   commit ─> queue ┼─ round ─> leader ─────┼> ticket 1: first + 1
//!   commit ─> queue ┘          write, flush └> …        one answer, one wake
//! ```
//!
//! A thread that waits for a ticket leads the round itself if nobody does: no hand-over to a driver
//! on the path of a lone commit. A ticket that is polled calls a driver; one that nobody asks is
//! found by the ticker.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::contract::{Epoch, Level, Oid, Pending, Result};

use super::options::Committed;
use super::shared::Shared;

/// What a round brought: its commits are numbered from `first` on.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) epoch: Epoch,
    pub(super) first: u64,
    pub(super) markers: Vec<Oid>,
    pub(super) level: Level,
}

/// Commits that share one answer.
#[derive(Debug, Default)]
pub(super) struct Round {
    answer: OnceLock<Result<Reached>>,
    waiters: Mutex<Waiters>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiters {
    wakers: Vec<Waker>,
    blocked: usize,
    /// One of the blocked should try to lead.
    lead: bool,
}

impl Round {
    pub(super) fn is_answered(&self) -> bool {
        self.answer.get().is_some()
    }

    /// Answers every ticket. Only the first answer counts.
    pub(super) fn complete(&self, answer: Result<Reached>) {
        if self.answer.set(answer).is_err() {
            return;
        }
        let mut waiters = self.lock();
        let wakers = std::mem::take(&mut waiters.wakers);
        let blocked = waiters.blocked > 0;
        drop(waiters);
        if blocked {
            self.changed.notify_all();
        }
        for waker in wakers {
            waker.wake();
        }
    }

    /// Calls one blocked thread to lead. `false`: none is blocked.
    pub(super) fn hand_over(&self) -> bool {
        let mut waiters = self.lock();
        // Said also when nobody is blocked yet: who is about to block will see it.
        waiters.lead = true;
        let blocked = waiters.blocked > 0;
        drop(waiters);
        if blocked {
            self.changed.notify_one();
        }
        blocked
    }

    /// Whether a task, rather than a thread, waits.
    pub(super) fn is_polled(&self) -> bool {
        !self.lock().wakers.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One commit of a round.
pub(super) struct Ticket {
    pub(super) shared: Arc<Shared>,
    pub(super) round: Arc<Round>,
    pub(super) sequence: u64,
}

impl Ticket {
    pub(super) fn answer(&self) -> Option<Result<Committed>> {
        let answer = self.round.answer.get()?;
        Some(
            answer
                .as_ref()
                .map_err(Clone::clone)
                .map(|reached| Committed {
                    sequence: self.sequence,
                    epoch: reached.epoch,
                    marker: reached.markers[(self.sequence - reached.first) as usize],
                    level: reached.level,
                }),
        )
    }
}

impl Pending<Committed> for Ticket {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Committed>> {
        if let Some(answer) = self.answer() {
            return Poll::Ready(answer);
        }
        let mut waiters = self.round.lock();
        let known = waiters.wakers.iter().rev();
        // Many tickets of one task come one after another: looking at a few is enough.
        if !known.take(4).any(|waker| waker.will_wake(context.waker())) {
            waiters.wakers.push(context.waker().clone());
        }
        drop(waiters);
        // It may have been answered before the waker was there to be woken.
        if let Some(answer) = self.answer() {
            return Poll::Ready(answer);
        }
        self.shared.call_driver();
        Poll::Pending
    }

    fn wait(self: Box<Self>) -> Result<Committed> {
        loop {
            if let Some(answer) = self.answer() {
                return answer;
            }
            if self.shared.lead_for(&self.round) {
                continue;
            }
            let mut waiters = self.round.lock();
            while !self.round.is_answered() && !waiters.lead {
                waiters.blocked += 1;
                waiters = self
                    .round
                    .changed
                    .wait(waiters)
                    .unwrap_or_else(PoisonError::into_inner);
                waiters.blocked -= 1;
            }
            waiters.lead = false;
        }
    }
}
