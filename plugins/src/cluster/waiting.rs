//! Asking several children at once, and waiting for them: for each as long as it gets on, for none for
//! ever.
//!
//! ```text
//!   each ─┬─ a driver ─ child 1 ─> its answer
//!         ├─ a driver ─ child 2 ─> its answer
//!         └─ a driver ─ child 3 ─ … nothing moves for `PATIENCE`: out of line, and stuck
//! ```
//!
//! A call that was given up on may still end, at any time. Until it does nobody else touches the child,
//! and what it did counts as much as what a crash cuts off: it may have happened, and nobody relies on
//! it. Then the child is opened again, like any that failed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use travertine_engine::contract::env::Job;
use travertine_engine::contract::{Error, Result};

use super::shared::{Figures, Shared, give};
use super::state::{Lane, Role};

/// A child of which nothing moves for so long is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same where one call may write a file as long as a segment anew.
const LONG: Duration = Duration::from_secs(60);
/// How often whoever waits looks at the clock, which is not that of the machine in a test.
const LOOK: Duration = Duration::from_millis(10);

impl Shared {
    /// Does something with several children side by side, and waits for all that get on.
    pub(super) fn each<T: Send + 'static>(
        self: &Arc<Self>,
        which: impl IntoIterator<Item = usize>,
        work: impl Fn(&Arc<Self>, usize) -> Result<T> + Clone + Send + 'static,
    ) -> Vec<(usize, Result<T>)> {
        self.each_within(PATIENCE, which, work)
    }

    fn each_within<T: Send + 'static>(
        self: &Arc<Self>,
        patience: Duration,
        which: impl IntoIterator<Item = usize>,
        work: impl Fn(&Arc<Self>, usize) -> Result<T> + Clone + Send + 'static,
    ) -> Vec<(usize, Result<T>)> {
        let which: Vec<usize> = which.into_iter().collect();
        let free: Vec<usize> = {
            let mut state = self.lock();
            let free = |index: &&usize| !state.lanes[**index].stuck;
            let free: Vec<_> = which.iter().filter(free).copied().collect();
            for &index in &free {
                state.lanes[index].busy += 1;
            }
            free
        };
        let told = Arc::new(Mutex::new(BTreeMap::new()));
        let job = |&index: &usize| {
            let (shared, work, told) = (self.clone(), work.clone(), told.clone());
            let job: Job = Box::new(move || {
                let done = work(&shared, index);
                lock(&told).insert(index, done);
                shared.lock().lanes[index].done();
                shared.children[index].moved();
                shared.changed.notify_all();
            });
            Arc::new(Mutex::new(Some(job)))
        };
        let jobs: Vec<_> = free.iter().map(job).collect();
        for job in &jobs {
            let job = job.clone();
            self.env.drivers.run(Box::new(move || start(&job)));
        }
        let waits =
            |index: usize, _: &Lane| free.contains(&index) && !lock(&told).contains_key(&index);
        self.wait_while(patience, waits, || {
            // All drivers may be waiting as this thread does: then a thread of its own.
            for job in jobs.iter().filter(|job| lock(job).is_some()) {
                let job = job.clone();
                let body = Box::new(move || start(&job));
                let _ = self.env.drivers.thread("travertine-cluster", body);
            }
        });
        let mut told = std::mem::take(&mut *lock(&told));
        let answer = |index| {
            let answer = told.remove(&index);
            let answer = answer.unwrap_or_else(|| Err(overdue(patience)));
            let answer = answer.map_err(|error| error.at(self.children[index].title.clone()));
            (index, answer)
        };
        which.into_iter().map(answer).collect()
    }

    /// Does something with one child, as long as it gets on.
    pub(super) fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        index: usize,
        work: impl Fn(&Arc<Self>, usize) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        self.ask_within(PATIENCE, index, work)
    }

    /// The same where that may write long files.
    pub(super) fn ask_long<T: Send + 'static>(
        self: &Arc<Self>,
        index: usize,
        work: impl Fn(&Arc<Self>, usize) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        self.ask_within(LONG, index, work)
    }

    fn ask_within<T: Send + 'static>(
        self: &Arc<Self>,
        patience: Duration,
        index: usize,
        work: impl Fn(&Arc<Self>, usize) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        let done = self.each_within(patience, [index], work).pop();
        done.map_or_else(|| Err(overdue(patience)), |(_, done)| done)
    }

    /// Waits until no child is called any more, but for those that do not get on.
    pub(super) fn rest(&self) {
        self.wait_while(PATIENCE, |_, lane| lane.active || lane.busy > 0, || ());
    }

    /// Waits while this holds of a lane, and gives up those of which nothing moves for too long.
    fn wait_while(
        &self,
        patience: Duration,
        holds: impl Fn(usize, &Lane) -> bool,
        meanwhile: impl Fn(),
    ) {
        let mut state = self.lock();
        let began = self.env.clock.monotonic_ns();
        let mut moved: Vec<_> = self
            .children
            .iter()
            .map(|child| (child.moves(), began))
            .collect();
        loop {
            let (mut waits, mut left) = (false, false);
            let now = self.env.clock.monotonic_ns();
            for (index, (moves, since)) in moved.iter_mut().enumerate() {
                let (child, lane) = (&self.children[index], &mut state.lanes[index]);
                if lane.stuck || !holds(index, lane) {
                    continue;
                }
                if child.moves() != *moves {
                    (*moves, *since) = (child.moves(), now);
                }
                if u128::from(now.saturating_sub(*since)) < patience.as_nanos() {
                    waits = true;
                    continue;
                }
                tracing::warn!(
                    child = child.title,
                    "a child does not get on, and is left out"
                );
                if lane.in_line() {
                    Figures::add(&self.figures.left);
                }
                lane.drop_out(Role::Out, overdue(patience));
                lane.stuck = true;
                child.set_readable(false);
                left = true;
            }
            if left {
                let answers = self.settle(&mut state);
                drop(state);
                give(answers);
                state = self.lock();
            }
            if !waits {
                return;
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            let (guard, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if waited.timed_out() {
                drop(state);
                meanwhile();
                state = self.lock();
            }
        }
    }
}

fn overdue(patience: Duration) -> Error {
    Error::unavailable(format!(
        "it was asked, and nothing came of it for {} s",
        patience.as_secs()
    ))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does a job, if nobody does it yet.
fn start(job: &Mutex<Option<Job>>) {
    let job = lock(job).take();
    if let Some(job) = job {
        job();
    }
}
