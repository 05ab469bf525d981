//! One read below, for all who ask for the same record before it is answered.
//!
//! ```text
//!            the call below                    is ready
//!   Asking ─────────────────────────────────────────────────────────> Landed
//!     │ ^                                                                ^
//!     │ └── a driver asks again <── woken ──┐                            │
//!     └── pending ──> Open, nobody waits ───┘                            │
//!                      └── a caller waits, and does the waiting for all ─┘
//! ```
//!
//! The answer of the call below belongs to the flight, not to the caller who started it, so it lands
//! whoever walks away. A caller who blocks waits below itself if nobody else does: then a read that
//! lets its waiter do the work is done even where every driver waits for it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use travertine_engine::contract::env::is_passing;
use travertine_engine::contract::{Drivers, Error, Oid, Op, Pending, Record, Result};

use super::frontier::Final;
use super::shared::Shared;

type Answer = Result<Option<Record>>;

/// A read that is under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) oid: Oid,
    /// How far answers were final when it was asked.
    pub(super) known: Final,
    /// Whether somebody asks who may ask again.
    wanted: AtomicBool,
    shared: Weak<Shared>,
    drivers: Arc<dyn Drivers>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    course: Course,
    /// Tasks to wake, by the numbers of those who wait.
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

#[derive(Debug)]
enum Course {
    /// Somebody calls below, or asks whether the answer is there; `again`: and shall ask once more.
    Asking { again: bool },
    /// The answer is on its way, and nobody waits below; `called`: a driver comes.
    Open {
        op: Op<Option<Record>>,
        called: bool,
    },
    /// A caller waits below, for all.
    Awaited,
    /// The answer is here.
    Landed(Answer),
}

impl Flight {
    pub(super) fn new(
        oid: Oid,
        known: Final,
        shared: Weak<Shared>,
        drivers: Arc<dyn Drivers>,
    ) -> Self {
        Self {
            oid,
            known,
            wanted: AtomicBool::new(!is_passing()),
            shared,
            drivers,
            state: Mutex::new(State {
                course: Course::Asking { again: false },
                wakers: BTreeMap::new(),
                next: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Asks below by this call, once; answers whoever began it.
    pub(super) fn begin(
        self: &Arc<Self>,
        call: impl FnOnce() -> Op<Option<Record>>,
    ) -> Op<Option<Record>> {
        let lost = Lost(self);
        match call().try_ready() {
            Ok(answer) => {
                let answer = self.land(answer);
                lost.not();
                Op::ready(answer)
            }
            Err(op) => {
                lost.not();
                self.ask(op);
                self.join()
            }
        }
    }

    /// Whether the answer is to be kept: not if all who ask do so in passing.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// The answer, for one more caller.
    pub(super) fn join(self: &Arc<Self>) -> Op<Option<Record>> {
        if !is_passing() {
            self.wanted.store(true, Ordering::Release);
        }
        if let Course::Landed(answer) = &self.lock().course {
            return Op::ready(answer.clone());
        }
        Op::pending(Joined {
            flight: self.clone(),
            number: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whether the answer is there, and is woken when there is reason to ask again.
    fn ask(self: &Arc<Self>, mut op: Op<Option<Record>>) {
        let waker = Waker::from(self.clone());
        let mut context = Context::from_waker(&waker);
        let lost = Lost(self);
        loop {
            if let Poll::Ready(answer) = Pin::new(&mut op).poll(&mut context) {
                let _ = self.land(answer);
                break;
            }
            let mut state = self.lock();
            if matches!(state.course, Course::Asking { again: true }) {
                state.course = Course::Asking { again: false };
                continue;
            }
            state.course = Course::Open { op, called: false };
            drop(state);
            // Who blocks may wait below now.
            self.changed.notify_all();
            break;
        }
        lost.not();
    }

    /// A driver's turn to ask.
    fn ask_again(self: &Arc<Self>) {
        if let Some(op) = self.take() {
            self.ask(op);
        }
    }

    /// Takes the answer that is on its way, to ask for it.
    fn take(&self) -> Option<Op<Option<Record>>> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.course, Course::Asking { again: false }) {
            Course::Open { op, .. } => Some(op),
            other => {
                state.course = other;
                None
            }
        }
    }

    /// The answer is here: it is kept if it may be, and everybody is told.
    fn land(self: &Arc<Self>, answer: Answer) -> Answer {
        let answer = match self.shared.upgrade() {
            Some(shared) => shared.landed(self, answer),
            None => answer,
        };
        let mut state = self.lock();
        state.course = Course::Landed(answer.clone());
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        wakers.into_values().for_each(Waker::wake);
        answer
    }
}

impl Wake for Flight {
    fn wake(self: Arc<Self>) {
        match &mut self.lock().course {
            Course::Asking { again } => {
                *again = true;
                return;
            }
            Course::Open { called, .. } if !*called => *called = true,
            _ => return,
        }
        // Whoever wakes may hold what answering needs: a driver goes on.
        let drivers = self.drivers.clone();
        drivers.run(Box::new(move || self.ask_again()));
    }
}

/// Ends a flight whose asking ended without an answer, so that nobody waits for ever.
struct Lost<'a>(&'a Arc<Flight>);

impl Lost<'_> {
    fn not(self) {
        std::mem::forget(self);
    }
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        let lost = Error::closed("a read below ended without an answer");
        let _ = self.0.land(Err(lost));
    }
}

/// One who waits.
struct Joined {
    flight: Arc<Flight>,
    /// Under which its task is known.
    number: Option<u64>,
}

impl Pending<Option<Record>> for Joined {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.flight.lock();
        if let Course::Landed(answer) = &state.course {
            return Poll::Ready(answer.clone());
        }
        let number = *self.number.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        state.wakers.insert(number, context.waker().clone());
        Poll::Pending
    }

    fn wait(self: Box<Self>) -> Answer {
        let flight = &self.flight;
        let mut state = flight.lock();
        loop {
            match std::mem::replace(&mut state.course, Course::Awaited) {
                Course::Open { op, .. } => {
                    drop(state);
                    let lost = Lost(flight);
                    let answer = flight.land(op.wait());
                    lost.not();
                    return answer;
                }
                other => state.course = other,
            }
            if let Course::Landed(answer) = &state.course {
                return answer.clone();
            }
            state = flight
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.flight.lock().wakers.remove(&number);
        }
    }
}
