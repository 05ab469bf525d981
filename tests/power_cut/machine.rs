//! The disk with somebody beside it: who takes images of it as it is used, notes what was promised
//! before each, and stops its user at a chosen moment.
//!
//! The user's output goes to a file of the disk itself, [`ACKS`]: so what was acknowledged is ordered
//! with what was written and synced, exactly. A promise is a number alone on a line, or behind
//! `committed`; it holds from then on.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::Errno;
use travertine_engine::conformance::rng::Rng;

use crate::disk::{Answer, Disk, Faults, TOP, Tally};
use crate::image::{Cut, Image};
use crate::names::Number;

/// The file that promises are written to. It is part of no image.
pub(crate) const ACKS: &str = "acks";

/// How long the disk waits for its user to be killed.
const KILL_WAIT: Duration = Duration::from_secs(120);

/// What a power cut left, and what had been promised.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) image: Image,
    pub(crate) cut: Cut,
    pub(crate) promised: u64,
    /// When, in words.
    pub(crate) moment: String,
}

/// When images are taken, and when the user is stopped. Moments are counted in events: a write, an
/// fsync about to be done, one just done, a change of names, a promise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Watch {
    /// On average one moment in so many is taken; none if zero.
    pub(crate) one_in: u64,
    /// At most so many, with an image of each kind.
    pub(crate) moments: usize,
    /// The event of this number, from now on, is the last one.
    pub(crate) stop_at: Option<u64>,
}

/// A disk that is watched.
#[derive(Debug)]
pub(crate) struct Machine {
    state: Mutex<State>,
    /// Told when the user was killed.
    killed: Condvar,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) disk: Disk,
    /// Whether a page that is being written may come to hold anything.
    ruins: bool,
    rng: Rng,
    watch: Watch,
    events: u64,
    promised: u64,
    /// A line of promises that has not ended.
    line: Vec<u8>,
    taken: Vec<Taken>,
    stopping: bool,
    user_gone: bool,
}

impl Machine {
    pub(crate) fn new(disk: Disk, ruins: bool, promised: u64, rng: Rng) -> Self {
        Self {
            state: Mutex::new(State {
                disk,
                ruins,
                rng,
                watch: Watch::default(),
                events: 0,
                promised,
                line: Vec::new(),
                taken: Vec::new(),
                stopping: false,
                user_gone: false,
            }),
            killed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the disk, or changes it behind its user's back.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Disk) -> T) -> T {
        work(&mut self.lock().disk)
    }

    /// Watches anew.
    pub(crate) fn watch(&self, watch: Watch) {
        let mut state = self.lock();
        state.watch = watch;
        state.events = 0;
        // Whoever began this line was killed.
        state.line.clear();
        state.stopping = false;
        state.user_gone = false;
    }

    /// Faults from now on, counted from now on.
    pub(crate) fn faults(&self, faults: Faults) {
        let mut state = self.lock();
        state.disk.faults = faults;
        state.disk.tally = Tally::default();
    }

    /// Whether the user is to be stopped now. The disk stands still until [`Machine::user_gone`].
    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// The user was killed.
    pub(crate) fn user_gone(&self) {
        self.lock().user_gone = true;
        self.killed.notify_all();
    }

    /// Makes a promise by hand.
    pub(crate) fn promise(&self, promised: u64) {
        let mut state = self.lock();
        state.promised = state.promised.max(promised);
        state.event("a promise");
    }

    /// What was promised so far.
    pub(crate) fn promised(&self) -> u64 {
        self.lock().promised
    }

    pub(crate) fn tally(&self) -> Tally {
        self.lock().disk.tally
    }

    /// Takes an image of each kind now, whatever the watch says.
    pub(crate) fn take(&self, moment: &str) {
        self.lock().take(moment);
    }

    /// The images so far.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        std::mem::take(&mut self.lock().taken)
    }

    pub(crate) fn write(&self, number: Number, at: u64, bytes: &[u8]) -> Answer<()> {
        let mut state = self.lock();
        if state.disk.find(TOP, ACKS) == Ok(number) {
            state.note(bytes);
        } else {
            state.disk.write(number, at, bytes)?;
            state.event("a write");
        }
        self.stop(state)
    }

    pub(crate) fn sync(&self, number: Number) -> Answer<()> {
        let mut state = self.lock();
        state.event("before an fsync");
        if state.stopping {
            // Its user does not live to see the answer.
            return self.stop(state).and(Err(Errno::EIO));
        }
        let State { disk, rng, .. } = &mut *state;
        disk.sync(number, rng)?;
        state.event("after an fsync");
        self.stop(state)
    }

    /// A change of names, lengths or room.
    pub(crate) fn change<T>(&self, work: impl FnOnce(&mut Disk) -> Answer<T>) -> Answer<T> {
        let mut state = self.lock();
        let value = work(&mut state.disk)?;
        state.event("a change of names");
        self.stop(state).map(|()| value)
    }

    /// If this was the last event, waits until the user was killed.
    fn stop(&self, state: MutexGuard<'_, State>) -> Answer<()> {
        if !state.stopping {
            return Ok(());
        }
        let waiting = |state: &mut State| !state.user_gone;
        let waited = self.killed.wait_timeout_while(state, KILL_WAIT, waiting);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        match waited.timed_out() {
            true => Err(Errno::EIO),
            false => Ok(()),
        }
    }
}

impl State {
    /// Something happened. Perhaps the power goes here, or the user does.
    fn event(&mut self, what: &str) {
        if self.stopping {
            return;
        }
        self.events += 1;
        let one_in = self.watch.one_in;
        if self.watch.moments > 0 && one_in > 0 && self.rng.chance(1, one_in) {
            self.watch.moments -= 1;
            self.take(what);
        }
        self.stopping = self.watch.stop_at == Some(self.events);
    }

    fn take(&mut self, moment: &str) {
        for cut in Cut::ALL {
            let image = self.disk.draw(cut, self.ruins, &[ACKS], &mut self.rng);
            self.taken.push(Taken {
                image,
                cut,
                promised: self.promised,
                moment: format!(
                    "{cut:?} at event {}, {moment} ({} writes, {} fsyncs)",
                    self.events, self.disk.tally.writes, self.disk.tally.syncs
                ),
            });
        }
    }

    /// Reads promises.
    fn note(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8(std::mem::take(&mut self.line)).unwrap_or_default();
            let number = line.strip_prefix("committed ").unwrap_or(&line);
            if let Ok(number) = number.parse() {
                self.promised = self.promised.max(number);
                self.event("a promise");
            }
        }
    }
}
