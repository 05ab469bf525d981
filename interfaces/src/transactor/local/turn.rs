//! Calls that wait for their turn, and are decided together.
//!
//! ```text
//!   call ──> queue ── whoever waits first, or the call that fills it ──> decisions, in order ──> commits
//! ```
//!
//! Where a commit is answered at once one commit of the engine takes all that wait. Where it waits for a
//! medium each call is a commit of its own, and they wait for one flush together: that is the engine's
//! group commit.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use travertine_engine::contract::{Error, Op, Pending, Promise, Result};
use travertine_engine::front::Session;

use super::Store;
use super::desk::{Decided, Desk, Standings};
use super::rows::Rows;

/// Calls that wait at most: one more decides them all.
const QUEUE_MAX: usize = 64;

/// Whose turn it is.
#[derive(Default)]
pub(super) struct Turns {
    queue: Mutex<Vec<Box<dyn Call>>>,
    standings: Mutex<Standings>,
    /// Whether what was decided may not be so.
    doubted: Arc<AtomicBool>,
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

/// The answer to a call: who waits for it takes the turn.
struct Queued<T> {
    store: Arc<Store>,
    op: Op<T>,
}

impl<T: Send> Pending<T> for Queued<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        self.store.take_turns();
        Pin::new(&mut self.op).poll(context)
    }

    fn wait(self: Box<Self>) -> Result<T> {
        self.store.take_turns();
        self.op.wait()
    }
}

/// Nobody waits for it, and it is done all the same.
struct Unwaited<T>(Option<Queued<T>>);

impl<T: Send> Pending<T> for Unwaited<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        match &mut self.0 {
            Some(queued) => queued.poll(context),
            None => Poll::Ready(Err(Error::invalid("an answer was taken twice"))),
        }
    }

    fn wait(mut self: Box<Self>) -> Result<T> {
        match self.0.take() {
            Some(queued) => Box::new(queued).wait(),
            None => Err(Error::invalid("an answer was taken twice")),
        }
    }
}

impl<T> Drop for Unwaited<T> {
    fn drop(&mut self) {
        if let Some(queued) = &self.0 {
            queued.store.take_turns();
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
        Op::pending(Unwaited(Some(Queued {
            store: self.clone(),
            op: op.then(|answer| answer),
        })))
    }

    /// Decides all that waits.
    fn take_turns(&self) {
        let mut standings = lock(&self.turns.standings);
        let mut calls = std::mem::take(&mut *lock(&self.turns.queue))
            .into_iter()
            .peekable();
        while calls.peek().is_some() {
            if self.turns.doubted.swap(false, Ordering::Relaxed) {
                standings.clear();
            }
            let most = match self.turns.prompt.load(Ordering::Relaxed) {
                true => QUEUE_MAX,
                false => 1,
            };
            let mut decided = Vec::new();
            if let Err(error) = self.round(&mut standings, &mut calls, most, &mut decided) {
                // None of it is so.
                standings.clear();
                if decided.is_empty() {
                    decided.extend(calls.next());
                }
                for call in decided {
                    call.written(Op::err(error.clone()));
                }
            }
        }
    }

    /// Decides some calls and commits them as one.
    fn round(
        &self,
        standings: &mut Standings,
        calls: &mut std::iter::Peekable<std::vec::IntoIter<Box<dyn Call>>>,
        most: usize,
        decided: &mut Vec<Box<dyn Call>>,
    ) -> Result<()> {
        let session = self.engine.session()?;
        let open = || Ok(Rows(self.map.reader(session.base()).wait()?));
        let mut desk = Desk::new(&open, &self.keep, standings);
        while decided.len() < most {
            let Some(call) = calls.peek_mut() else {
                break;
            };
            if !call.decide(&mut desk) && !decided.is_empty() {
                break;
            }
            decided.extend(calls.next());
        }
        let edits = desk.edits;
        let committed = self.write(&session, &edits)?;
        let ready = committed.is_ready();
        self.turns.prompt.store(ready, Ordering::Relaxed);
        let mut all = std::mem::take(decided).into_iter();
        let last = all.next_back();
        for call in all {
            // Few, where a commit that was answered at once no longer is.
            let sure = match ready {
                true => Op::ok(()),
                false => self.doubt(session.commit(&[], self.level)),
            };
            call.written(sure);
        }
        if let Some(last) = last {
            last.written(committed);
        }
        Ok(())
    }

    fn write(&self, session: &Session, edits: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<Op<()>> {
        // All that was seen may have reached the level.
        let seen = session.base().sequence() == self.engine.snapshot().sequence();
        if edits.is_empty() && seen {
            return Ok(Op::ok(()));
        }
        let mut writer = self.map.writer(session);
        for (key, value) in edits {
            match value {
                Some(value) => writer.put(key, value)?,
                None => writer.delete(key)?,
            }
        }
        Ok(self.doubt(writer.commit(self.level)?))
    }

    /// If a commit fails, what was decided since is not so.
    fn doubt<T: Send + 'static>(&self, committed: Op<T>) -> Op<()> {
        let doubted = self.turns.doubted.clone();
        committed.shape(move |committed| match committed {
            Ok(_) => Ok(()),
            Err(error) => {
                doubted.store(true, Ordering::Relaxed);
                Err(error)
            }
        })
    }
}
