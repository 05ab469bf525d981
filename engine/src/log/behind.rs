//! Syncing what is sealed while writing goes on: a segment that ended is brought to the device by a
//! driver, so that the commit at the end of a long load finds little left to sync.
//!
//! ```text
//!   append: segment ends ──> waiting ──driver──> sync, in order ──> done
//!   append, sync:  done ──> no longer dirty; the ceiling announced in it counts as durable
//! ```
//!
//! Promises nothing to anybody: whoever needs durability syncs what is still dirty itself. Invariant:
//! one sync at a time. The kernel tells of a lost page once on a handle, so nobody may take a sync for
//! good while the answer of another is still on its way.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::contract::{Epoch, Error, Position, Result};
use crate::medium::{Medium, MediumFile};

/// A segment that is written no more.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub(super) file: Arc<dyn MediumFile>,
    /// The epoch that wrote it last.
    pub(super) epoch: Epoch,
    /// Names that had been made when it ended, its own among them.
    pub(super) names: u64,
    /// The ceiling that its newest frame announces.
    pub(super) announced: Option<Position>,
}

/// What waits to be synced, and what was.
#[derive(Debug, Default)]
pub(super) struct Behind {
    turn: Mutex<()>,
    /// Whether there is anything in `done` or `failed`: looked at with every batch.
    news: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Sealed>,
    /// A driver is on its way, or at it. One that never comes is not called again: then who commits syncs.
    called: bool,
    names_synced: u64,
    done: Vec<Sealed>,
    failed: Option<Error>,
}

impl Behind {
    /// The right to sync. Waits for a sync that is on its way.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to sync, if nobody has it.
    pub(super) fn try_turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether a driver is to be called that [works](Behind::work): one is enough, and others would only
    /// stand in a row for the turn.
    #[must_use]
    pub(super) fn push(&self, sealed: impl IntoIterator<Item = Sealed>) -> bool {
        let mut state = self.state();
        state.waiting.extend(sealed);
        !std::mem::replace(&mut state.called, true)
    }

    /// Syncs all that waits, oldest first. What a driver runs.
    pub(super) fn work(&self, medium: &dyn Medium) {
        let _turn = self.turn();
        loop {
            let mut state = self.state();
            if state.failed.is_some() {
                return;
            }
            let Some(sealed) = state.waiting.pop_front() else {
                state.called = false;
                return;
            };
            let names_synced = state.names_synced;
            drop(state);
            let synced = match sealed.file.sync() {
                Err(_) if planted!(SyncRetried) => sealed.file.sync(),
                synced => synced,
            };
            let synced = synced.and_then(|()| {
                if sealed.names > names_synced && !planted!(NamesNotSynced) {
                    medium.sync_dir()
                } else {
                    Ok(())
                }
            });
            let mut state = self.state();
            match synced {
                Ok(()) => {
                    state.names_synced = sealed.names;
                    state.done.push(sealed);
                }
                Err(error) => state.failed = Some(error),
            }
            self.news.store(true, Ordering::Release);
        }
    }

    /// What was synced since the last call. The error of a failed sync is told for ever.
    pub(super) fn news(&self) -> Result<Vec<Sealed>> {
        if !self.news.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        let mut state = self.state();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        self.news.store(false, Ordering::Release);
        Ok(std::mem::take(&mut state.done))
    }

    /// Whoever has the turn syncs all that is dirty: nothing waits any more.
    pub(super) fn forget_waiting(&self) {
        self.state().waiting.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
