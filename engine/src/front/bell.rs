//! The ticker: one thread that starts what nobody waits for. It takes over rounds whose tickets
//! are neither waited for nor polled, sends a tail buffer that grew old, and writes the proof when
//! commits pause. It sleeps without a time limit when there is nothing to look after, and looks less
//! often where those who commit wait for their commits themselves: each look takes a processor from them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::shared::Shared;

/// How soon something that nobody waits for is started.
const SOON: Duration = Duration::from_millis(1);
/// The longest that it is left alone while all that was submitted is in somebody's hands.
const LATER: Duration = Duration::from_millis(8);

/// When the ticker should look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Soon,
    /// Nothing waits now, but nobody will ring: at the latest after so long.
    Later(Duration),
    In(Duration),
    WhenRung,
}

/// What wakes the ticker.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// The ticker looks again soon anyway: no need to ring.
    awake: AtomicBool,
    state: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Rung {
    rung: bool,
    closed: bool,
}

impl Bell {
    pub(super) fn ring(&self) {
        // The load alone is the common case: no write to a shared line on every commit.
        if !self.awake.load(Ordering::SeqCst) && !self.awake.swap(true, Ordering::SeqCst) {
            self.lock().rung = true;
            self.changed.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ticker's body. Ends when the bell is closed or the engine is gone.
pub(super) fn tick(bell: &Arc<Bell>, shared: &Weak<Shared>) {
    let mut oldest_seen = 0;
    let (mut look, mut later) = (Look::WhenRung, SOON);
    loop {
        let mut rung = bell.lock();
        loop {
            if rung.closed {
                return;
            }
            if rung.rung {
                break;
            }
            let time = match look {
                Look::WhenRung => {
                    let wait = bell.changed.wait(rung);
                    rung = wait.unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Look::Soon => SOON,
                Look::Later(time) => later.min(time),
                Look::In(time) => time,
            };
            let wait = bell.changed.wait_timeout(rung, time);
            let (guard, waited) = wait.unwrap_or_else(PoisonError::into_inner);
            rung = guard;
            if waited.timed_out() {
                break;
            }
        }
        rung.rung = false;
        drop(rung);
        // Before looking: whoever comes after the look rings.
        bell.awake.store(false, Ordering::SeqCst);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        look = shared.look_after(&mut oldest_seen);
        later = match look {
            Look::Later(_) => LATER.min(later * 2),
            _ => SOON,
        };
        if matches!(look, Look::Soon | Look::Later(_)) {
            bell.awake.store(true, Ordering::SeqCst);
        }
    }
}
