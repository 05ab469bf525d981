//! What the calls and the drivers of one sequence share, and the work that drivers do for it.
//!
//! The lock of the state is taken to look and to note, never while a part is called. Whoever must wait
//! for a task that nobody has begun carries it out, so waiting never depends on a free driver.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use travertine_engine::contract::{
    Epoch, Error, Extent, Oid, Op, Position, Record, Result, Status, Store, Stream, StreamState,
};

use super::recover::Setup;
use super::state::{State, Task};
use super::table::{Part, Place, Table};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) setup: Setup,
    /// After a commit the next batch begins at a multiple of this, in whichever part.
    pub(super) unit: u64,
    pub(super) table: Table,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part that holds `position`, opened if need be. `None`: it lies past all that there is.
    pub(super) fn reach(&self, position: Position) -> Result<Option<Arc<dyn Store>>> {
        match self.table.find(position)? {
            Place::Open(store) => Ok(Some(store)),
            Place::Past => Ok(None),
            Place::Closed(part) => {
                let store = self.open_ended(&part)?;
                // Now its end is known, and the position may lie past it.
                let place = self.table.find(position)?;
                Ok((!matches!(place, Place::Past)).then_some(store))
            }
        }
    }

    /// What to say of an address past all that there is: nothing lies there, if the last writer closed
    /// cleanly or an adoption has decided.
    pub(super) fn past(&self, oid: Oid) -> Result<Option<Record>> {
        let state = self.lock();
        let clean = match &state.report {
            Ok((_, joined)) => joined.state.clean && !self.setup.read_only,
            Err(damage) => return Err(damage.clone()),
        };
        if clean || state.adopted {
            return Ok(None);
        }
        Err(Error::unavailable(format!(
            "{oid} lies past the end {} of the sequence, and no writer vouches for it",
            state.end.position
        )))
    }

    pub(super) fn open_ended(&self, part: &Part) -> Result<Arc<dyn Store>> {
        let (number, start) = (part.number, part.start);
        let extent = match self.setup.catalogue.footer(number, start) {
            Ok(footer) => {
                part.know(&footer);
                Extent::Sealed {
                    start: footer.start,
                    end: footer.end,
                }
            }
            Err(error) => {
                tracing::warn!(%error, number, "a part is read without its footer");
                Extent::Part {
                    near: start,
                    make: false,
                }
            }
        };
        let opened = self
            .setup
            .parts
            .open(number, extent, self.setup.catalogue.store(), true)
            .map_err(|error| unknown(number, start, &error));
        part.lost.store(opened.is_err(), Ordering::Relaxed);
        let opened = opened?;
        self.table.opened(part, opened.clone(), self.setup.open_max);
        Ok(opened)
    }

    // ---- tasks ---------------------------------------------------------------------------------

    /// Gives a task to a driver.
    pub(super) fn delegate(self: &Arc<Self>, task: Task) {
        self.lock().tasks.push_back(task);
        let shared = self.clone();
        self.setup.env.drivers.run(Box::new(move || {
            shared.work();
        }));
    }

    /// Carries out one task, if there is one that nobody has begun.
    pub(super) fn work(self: &Arc<Self>) -> bool {
        let task = {
            let mut state = self.lock();
            let Some(task) = state.tasks.pop_front() else {
                return false;
            };
            state.running += 1;
            task
        };
        match task {
            Task::Prepare {
                number,
                near,
                epoch,
            } => self.prepare(number, near, epoch),
            Task::Announce { member, end, epoch } => self.announce(member, end, epoch),
            Task::Sync { number, op } => {
                let answer = op.wait();
                self.synced(number, answer.map(drop));
            }
            Task::Seal => self.seal(),
        }
        self.lock().running -= 1;
        self.changed.notify_all();
        true
    }

    /// Waits until `done`, and helps.
    pub(super) fn wait_until(self: &Arc<Self>, done: impl Fn(&State) -> bool) {
        loop {
            {
                let mut state = self.lock();
                if done(&state) {
                    return;
                }
                if state.tasks.is_empty() {
                    if state.running == 0 {
                        return;
                    }
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                    drop(state);
                    continue;
                }
            }
            self.work();
        }
    }

    /// Waits until no task is left.
    pub(super) fn rest(self: &Arc<Self>) {
        self.wait_until(|state| state.tasks.is_empty() && state.running == 0);
    }

    /// An answer that the state must hear of: at once if it is here, else when it comes, whether or
    /// not anybody still waits for it.
    pub(super) fn heard<T: Send + 'static, U: Send + 'static>(
        self: &Arc<Self>,
        op: Op<T>,
        hear: impl FnOnce(&Arc<Self>, Result<T>) -> Result<U> + Send + 'static,
    ) -> Op<U> {
        match op.try_ready() {
            Ok(answer) => Op::ready(hear(self, answer)),
            Err(op) => {
                let shared = self.clone();
                self.setup.env.offload(move || hear(&shared, op.wait()))
            }
        }
    }
}

/// What a fence of one part reports of the stream.
pub(super) fn report_of(
    store: &Arc<dyn Store>,
    epoch: Epoch,
    stream: Stream,
) -> Result<StreamState> {
    let states = store.fence(epoch).wait()?;
    let mine = states.into_iter().find(|state| state.stream == stream);
    mine.ok_or_else(|| Error::unavailable(format!("a part does not know of stream {stream}")))
}

/// How far a part lets its writer go.
pub(super) fn ceiling_of(status: &Status, stream: Stream) -> Position {
    let mine = status.streams.iter().find(|of| of.stream == stream.0);
    mine.map_or(Position::START, |of| Position(of.ceiling))
}

/// Nobody can say what a part holds that cannot be opened.
fn unknown(number: u32, start: Position, error: &Error) -> Error {
    use travertine_engine::contract::ErrorKind::{Corrupt, Unavailable};
    let kind = match error.kind() {
        Corrupt => Corrupt,
        _ => Unavailable,
    };
    let text = format!(
        "part {number} of the sequence, which begins at {start}, cannot be opened: {error}"
    );
    Error::new(kind, text).caused_by(error.clone())
}
