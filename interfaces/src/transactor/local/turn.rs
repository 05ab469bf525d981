//! Calls that wait for their turn, and are decided together.
//!
//! ```text
//!   call ──> queue ── whoever waits first, or the call that fills it ──> decisions, in order ──> commits
//! ```
//!
//! Where a commit is answered at once one commit of the engine takes all that wait. Where it waits for a
//! medium each call is a commit of its own, and they wait for one flush together: that is the engine's
//! group commit. A call is decided when somebody waits for it, or lets it go.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use travertine_engine::contract::{Error, ErrorKind, Op, Pending, Promise, Reference, Result};
use travertine_engine::front::Session;

use super::Store;
use super::desk::{Decided, Desk, Row, Standings};
use super::rows::Rows;

/// Calls that wait at most: one more decides them all.
const QUEUE_MAX: usize = 64;
/// How often calls are decided again because somebody else changed the map.
const TRIES_MAX: usize = 64;

/// Whose turn it is.
#[derive(Default)]
pub(super) struct Turns {
    queue: Mutex<Vec<Box<dyn Call>>>,
    standings: Mutex<Standings>,
    /// Whether commits are answered at once.
    prompt: AtomicBool,
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One that waits for its turn.
trait Call: Send {
    /// Decides; `false`: it has to be decided again.
    fn decide(&mut self, desk: &mut Desk<'_>) -> bool;

    /// What was decided is written, and sure when this says so.
    fn written(self: Box<Self>, sure: Op<()>);
}

struct Asked<T, F> {
    decide: F,
    answer: Option<Result<T>>,
    promise: Promise<Op<T>>,
}

impl<T: Send + 'static, F: FnMut(&mut Desk<'_>) -> Result<T> + Send> Call for Asked<T, F> {
    fn decide(&mut self, desk: &mut Desk<'_>) -> bool {
        self.answer = match desk.decide(&mut self.decide) {
            Decided::Answer(answer) => Some(Ok(answer)),
            Decided::Failed(error) => Some(Err(error)),
            Decided::Later => None,
        };
        self.answer.is_some()
    }

    fn written(self: Box<Self>, sure: Op<()>) {
        let nobody = || Err(Error::invalid("a call was answered before it was decided"));
        let answer = self.answer.unwrap_or_else(nobody);
        let op = match answer {
            Ok(answer) => sure.map(|()| answer),
            Err(error) => Op::err(error),
        };
        self.promise.fulfil(Ok(op));
    }
}

/// The answer to a call: who waits for it takes the turn, and who lets it go as well.
struct Queued<T> {
    store: Arc<Store>,
    /// `None`: somebody waits for it.
    op: Option<Op<T>>,
}

fn taken<T>() -> Result<T> {
    Err(Error::invalid("an answer was taken twice"))
}

impl<T: Send> Pending<T> for Queued<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        self.store.take_turns();
        match &mut self.op {
            Some(op) => Pin::new(op).poll(context),
            None => Poll::Ready(taken()),
        }
    }

    fn wait(mut self: Box<Self>) -> Result<T> {
        self.store.take_turns();
        self.op.take().map_or_else(taken, Op::wait)
    }
}

impl<T> Drop for Queued<T> {
    fn drop(&mut self) {
        if self.op.is_some() {
            self.store.take_turns();
        }
    }
}

impl Store {
    /// Decides in its turn, over what is submitted before, and answers once that is sure.
    pub(super) fn call<T: Send + 'static>(
        self: &Arc<Self>,
        decide: impl FnMut(&mut Desk<'_>) -> Result<T> + Send + 'static,
    ) -> Op<T> {
        let (promise, op) = Promise::new();
        let asked = Asked {
            decide,
            answer: None,
            promise,
        };
        let full = {
            let mut queue = lock(&self.turns.queue);
            queue.push(Box::new(asked));
            queue.len() >= QUEUE_MAX
        };
        if full {
            self.take_turns();
        }
        Op::pending(Queued {
            store: self.clone(),
            op: Some(op.then(|answer| answer)),
        })
    }

    /// Decides all that waits.
    fn take_turns(&self) {
        let mut standings = lock(&self.turns.standings);
        let mut calls: VecDeque<_> = std::mem::take(&mut *lock(&self.turns.queue)).into();
        let mut tries = 0;
        while !calls.is_empty() {
            let mut decided = Vec::new();
            let Err(error) = self.round(&mut standings, &mut calls, &mut decided) else {
                tries = 0;
                continue;
            };
            // None of it is so.
            standings.clear();
            self.keep.clear();
            tries += 1;
            if error.kind() == ErrorKind::Conflict && tries < TRIES_MAX {
                // Somebody else changed the map: what was decided is decided again.
                for call in decided.into_iter().rev() {
                    calls.push_front(call);
                }
                continue;
            }
            if decided.is_empty() {
                decided.extend(calls.pop_front());
            }
            for call in decided {
                call.written(Op::err(error.clone()));
            }
        }
    }

    /// Decides some calls and commits them as one. After an error nothing of it is written, and those that
    /// were decided are in `decided`.
    fn round(
        &self,
        standings: &mut Standings,
        calls: &mut VecDeque<Box<dyn Call>>,
        decided: &mut Vec<Box<dyn Call>>,
    ) -> Result<()> {
        let session = self.engine.session()?;
        standings.rest_on(session.base().root(self.map.name()));
        let open = || Ok(Rows(self.map.reader(session.base()).wait()?));
        let mut desk = Desk::new(&open, &self.keep, standings);
        let prompt = self.turns.prompt.load(Ordering::Relaxed);
        let most = if prompt { QUEUE_MAX } else { 1 };
        while decided.len() < most {
            let Some(call) = calls.front_mut() else {
                break;
            };
            if !call.decide(&mut desk) && !decided.is_empty() {
                break;
            }
            decided.extend(calls.pop_front());
        }
        let edits = desk.into_rows();
        let (root, mut committed) = self.write(&session, &edits)?;
        standings.rest_on_next(root);
        if decided.len() > 1 && !committed.is_ready() {
            // Commits were answered at once until now, and no longer are.
            committed = Op::ready(committed.wait());
        }
        let mut all = std::mem::take(decided);
        if !edits.is_empty() {
            self.turns
                .prompt
                .store(committed.is_ready(), Ordering::Relaxed);
        }
        committed = match committed.try_ready() {
            Ok(Err(error)) => {
                *decided = all;
                return Err(error);
            }
            Ok(Ok(())) => Op::ok(()),
            Err(pending) => pending,
        };
        let last = all.pop();
        // One answer for all of them, which is here if there are several.
        for call in all {
            call.written(Op::ok(()));
        }
        if let Some(last) = last {
            last.written(committed);
        }
        Ok(())
    }

    /// Commits the rows, and returns where the map is then.
    fn write(&self, session: &Session, edits: &[Row]) -> Result<(Option<Reference>, Op<()>)> {
        let root = session.base().root(self.map.name());
        // All that was seen may have reached the level.
        let seen = session.base().sequence() == self.engine.snapshot().sequence();
        if edits.is_empty() && seen {
            return Ok((root, Op::ok(())));
        }
        let mut writer = self.map.writer(session);
        for (key, value) in edits {
            match value {
                Some(value) => writer.put(key, value)?,
                None => writer.delete(key)?,
            }
        }
        let change = writer.finish()?;
        let root = change.as_ref().map_or(root, |change| change.to);
        let committed = session.commit(change.as_slice(), self.level);
        Ok((root, committed.map(drop)))
    }
}
