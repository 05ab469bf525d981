//! Holds what calls by themselves stored, for a while, so that a later call can name it.
//!
//! ```text
//!   time      ├── idle ──┼── idle ──┼── idle ──┤
//!   younger    ▓▓▓▓▓▓▓▓▓  …                        a call stores into the younger one
//!   older                 ▓▓▓▓▓▓▓▓▓                then it is the older one, then it is let go
//! ```
//!
//! So a record is held for between one and two times as long as a session may be idle, and two pins are
//! enough for any number of calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use travertine_engine::contract::Result;
use travertine_engine::front::Engine;

use super::turn::Turn;

pub(super) struct Keeper {
    engine: Engine,
    idle: Duration,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    younger: Option<Arc<Turn>>,
    older: Option<Arc<Turn>>,
    wound: bool,
}

impl Keeper {
    pub(super) fn new(engine: Engine, idle: Duration) -> Self {
        Self {
            engine,
            idle,
            held: Mutex::default(),
        }
    }

    /// A session to store into.
    pub(super) fn turn(&self) -> Result<Arc<Turn>> {
        if let Some(turn) = &self.lock().younger {
            return Ok(turn.clone());
        }
        // No lock is held while the engine is asked: of two that do so one is enough.
        let made = Arc::new(Turn::new(self.engine.clone(), 0)?);
        Ok(self.lock().younger.get_or_insert(made).clone())
    }

    /// Has a task let go in time of what is held.
    pub(super) fn wind(self: &Arc<Self>) {
        if std::mem::replace(&mut self.lock().wound, true) {
            return;
        }
        let keeper = Arc::downgrade(self);
        let idle = self.idle;
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(idle).await;
                let Some(keeper) = keeper.upgrade() else {
                    return;
                };
                let mut held = keeper.lock();
                let let_go = held.older.take();
                held.older = held.younger.take();
                let ended = held.older.is_none();
                held.wound = !ended;
                drop(held);
                drop(let_go);
                if ended {
                    return;
                }
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
