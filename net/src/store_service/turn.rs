//! The sessions of one client, one after the other.
//!
//! A client that lost its connection comes again and sends again what was not answered. Bytes of the
//! older session may still lie in a buffer here: nothing of them may begin once the newer one has begun.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turn {
    state: Mutex<State>,
    quiet: Notify,
}

#[derive(Debug, Default)]
struct State {
    newest: u64,
    busy: bool,
}

impl Turn {
    /// A newer session: it may begin once [`Turn::quiet`] has answered.
    pub(super) fn next(&self) -> u64 {
        let mut state = self.lock();
        state.newest += 1;
        state.newest
    }

    /// Waits until no older session is beginning anything.
    pub(super) async fn quiet(&self) {
        loop {
            let quiet = self.quiet.notified();
            if !self.lock().busy {
                return;
            }
            quiet.await;
        }
    }

    /// Begins calls, if it is still this session's turn.
    pub(super) fn during<T>(&self, session: u64, begin: impl FnOnce() -> T) -> Option<T> {
        /// It is over, whatever way the calls end.
        struct Busy<'a>(&'a Turn);
        impl Drop for Busy<'_> {
            fn drop(&mut self) {
                self.0.lock().busy = false;
                self.0.quiet.notify_waiters();
            }
        }
        {
            let mut state = self.lock();
            if state.newest != session {
                return None;
            }
            state.busy = true;
        }
        let _busy = Busy(self);
        Some(begin())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
