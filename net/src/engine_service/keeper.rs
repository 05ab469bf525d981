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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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

    /// A session to store into; it is let go in time, whatever becomes of who asked. Called within a
    /// runtime. May block.
    pub(super) fn turn(self: &Arc<Self>) -> Result<Arc<Turn>> {
        if let Some(turn) = &self.lock().younger {
            return Ok(turn.clone());
        }
        // No lock is held while the engine is asked: of two that do so one is enough.
        let made = Arc::new(Turn::new(self.engine.clone(), 0)?);
        let mut held = self.lock();
        let turn = held.younger.get_or_insert(made).clone();
        if !std::mem::replace(&mut held.wound, true) {
            tokio::spawn(Self::wind(Arc::downgrade(self), self.idle));
        }
        Ok(turn)
    }

    /// Lets go in time of what is held, until nothing is.
    async fn wind(keeper: Weak<Self>, idle: Duration) {
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
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use travertine_engine::conformance::model::ModelStore;
    use travertine_engine::contract::Env;
    use travertine_engine::front::Options;

    #[tokio::test]
    async fn what_a_call_held_is_let_go_also_when_nobody_waits_for_the_call() {
        let store = Arc::new(ModelStore::default());
        let engine = Engine::open(store, &Env::system(), Options::default()).unwrap();
        let keeper = Arc::new(Keeper::new(engine.clone(), Duration::from_millis(20)));
        for _ in 0..2 {
            let (calls, (say, said)) = (keeper.clone(), tokio::sync::oneshot::channel());
            let call = tokio::task::spawn_blocking(move || {
                calls.turn().map(drop).unwrap();
                say.send(()).unwrap();
            });
            // Whoever called is gone: only the call itself goes on.
            drop(call);
            let let_go = async {
                said.await.unwrap();
                while !engine.pins().is_empty() || keeper.lock().wound {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let patience = Duration::from_secs(120);
            tokio::time::timeout(patience, let_go).await.unwrap();
        }
    }
}
