//! The place of an answer that comes over the wire.
//!
//! Whoever blocks for it is woken where it lands. Whoever polls for it may do anything when woken, also
//! wait for another answer of the same connection: so wakers run on a driver, never on the thread that
//! reads the connection.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use travertine_engine::contract::{Error, Oid, Op, Pending, Result};

use crate::proto::answer::Answer;

/// The place.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<Result<Answer>>,
    waker: Option<Waker>,
    blocked: bool,
}

/// What is made of an answer; the address is the one that was asked for, if one was.
pub(super) type Shape<T> = fn(Answer, Option<Oid>) -> Result<T>;

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the answer here: who polls for it, and whether somebody is blocked for it. The caller wakes
    /// them, once all answers that came together lie in their places.
    pub(super) fn put(&self, answer: Result<Answer>) -> (Option<Waker>, bool) {
        let mut state = self.lock();
        state.answer = Some(answer);
        (state.waker.take(), state.blocked)
    }

    /// Wakes who is blocked.
    pub(super) fn notify(&self) {
        self.answered.notify_one();
    }

    /// The answer that will lie here.
    pub(super) fn op<T: Send + 'static>(
        self: Arc<Self>,
        oid: Option<Oid>,
        shape: Shape<T>,
    ) -> Op<T> {
        Op::pending(Waiting {
            slot: self,
            oid,
            shape,
        })
    }
}

struct Waiting<T> {
    slot: Arc<Slot>,
    oid: Option<Oid>,
    shape: Shape<T>,
}

impl<T: Send> Pending<T> for Waiting<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        let mut state = self.slot.lock();
        let Some(answer) = state.answer.take() else {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        drop(state);
        Poll::Ready(answer.and_then(|answer| (self.shape)(answer, self.oid)))
    }

    fn wait(self: Box<Self>) -> Result<T> {
        let mut state = self.slot.lock();
        let answer = loop {
            if let Some(answer) = state.answer.take() {
                break answer;
            }
            state.blocked = true;
            state = self
                .slot
                .answered
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        (self.shape)(answer?, self.oid)
    }
}

/// An answer that does not fit its call.
pub(super) fn unfit<T>() -> Result<T> {
    Err(Error::unavailable("the answer is not one of this verb"))
}
