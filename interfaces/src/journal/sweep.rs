//! Merging the old deltas beside the writer, a part at a time: on a thread of its own, in one walk over the base.
//!
//! ```text
//!   young deltas come   ├────────┼────────┼────────┼─── … ──┤ full
//!   old deltas merged   │ part 1 │ part 2 │ part 3 │        │ all of them: the young become old
//!                         └ begun by a commit, beside it;
//!                           taken over by a later one: young and old deltas over a newer base
//! ```
//!
//! A part is begun when as much has come as was merged, so the work is spread over the commits that bring it
//! about, and what a part has superseded is free before the next one. Who writes waits only where a part
//! takes longer than two of them should.
//!
//! Nothing is changed by it: it stores nodes, and whoever takes them over commits. So it may fail, or be
//! lost with the process, and what is lost is its work. Then a commit merges in its own turn.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use travertine_engine::contract::{Reference, Result};
use travertine_engine::front::Hold;

use super::tree::Item;
use crate::records::Sink;

/// A merge that was begun.
#[derive(Debug)]
pub(super) struct Sweep {
    hold: Hold,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    UnderWay,
    Merged(Part),
    Nothing,
}

/// A base with some of the old deltas in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) base: Option<Reference>,
    /// So many of their keys, and the last of them.
    pub(super) merged: u32,
    pub(super) last: Option<Item>,
}

/// What came of a sweep.
#[derive(Debug)]
pub(super) enum Outcome {
    UnderWay,
    Merged(Part),
    /// Nothing that may be used.
    Nothing,
}

impl Sweep {
    /// Has `merge` done on another thread; `None` if there is none to spare.
    pub(super) fn begin(
        sink: &dyn Sink,
        merge: impl FnOnce(&dyn Sink) -> Result<Part> + Send + 'static,
    ) -> Option<Arc<Self>> {
        let shared = Arc::new(Shared::default());
        let end = End(shared.clone());
        let work = sink.aside(Box::new(move |helper| {
            // What goes wrong is met again by the commit that merges in its own turn, and told to it.
            if let Ok(part) = merge(helper) {
                end.0.end(State::Merged(part));
            }
        }));
        let hold = work.ok()?;
        Some(Arc::new(Self { hold, shared }))
    }

    /// What came of it, for who stores through `sink` and will name it; waits for it if asked to.
    pub(super) fn outcome(&self, sink: &dyn Sink, wait: bool) -> Outcome {
        // Whatever comes of it, nobody may take it over. Who waits already is woken soon: it stores no more.
        if !self.hold.is_held() {
            return Outcome::Nothing;
        }
        if wait {
            self.hold.hurry();
        }
        let mut state = self.shared.lock();
        while wait && matches!(*state, State::UnderWay) {
            let waited = self.shared.ended.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let ended = *state;
        drop(state);
        match ended {
            State::UnderWay => Outcome::UnderWay,
            State::Merged(part) if sink.cover(&self.hold) => Outcome::Merged(part),
            State::Merged(_) | State::Nothing => Outcome::Nothing,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, state: State) {
        let mut here = self.lock();
        if matches!(*here, State::UnderWay) {
            *here = state;
        }
        drop(here);
        self.ended.notify_all();
    }
}

/// Nobody waits for ever, whatever becomes of the thread.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end(State::Nothing);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use travertine_engine::contract::Env;
    use travertine_engine::front::{Engine, Options, Reclaiming, Retention};
    use travertine_engine::log::{Log, LogOptions};
    use travertine_engine::medium::memory::MemoryMedium;

    use super::*;

    #[test]
    fn nobody_waits_for_a_sweep_that_a_reclaim_has_given_up() {
        let (env, medium) = (Env::system(), Arc::new(MemoryMedium::new()));
        let log = Log::open("memory", medium, &env, LogOptions::default()).unwrap();
        let options = Options {
            level: travertine_engine::contract::Level::Memory,
            ..Options::default()
        };
        let engine = Engine::open(Arc::new(log), &env, options).unwrap();
        let session = engine.session().unwrap();
        let (go_on, goes_on) = channel::<()>();
        let merge = move |_: &dyn Sink| {
            let _ = goes_on.recv();
            Ok(Part {
                base: None,
                merged: 0,
                last: None,
            })
        };
        let sweep = Sweep::begin(&session, merge).unwrap();
        let told = sweep.outcome(&session, false);
        assert!(matches!(told, Outcome::UnderWay));
        let (retention, reclaiming) = (Retention::newest(), Reclaiming::default());
        engine.reclaim(&retention, &reclaiming).unwrap();
        let told = sweep.outcome(&session, true);
        assert!(matches!(told, Outcome::Nothing));
        drop(go_on);
    }
}
