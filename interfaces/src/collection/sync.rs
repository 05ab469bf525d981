//! What is noted becomes an entry of the log, at the next revision; and again, if somebody was first.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use travertine_engine::contract::{Error, Random, Result};

use super::{Attempt, Collection, Kind};
use crate::block::{BlockId, Changes, Tracker};
use crate::structure::log::{Action, CHECKPOINT};
use crate::transactor::{
    ActionId, ActionRev, Commit, Context, Part, Pend, Stale, Transacted, transact,
};

/// How often to try, and how long.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Times in a row that somebody else may be first.
    pub attempts: u32,
    /// The first wait; each further one is twice as long, and a part of each is chance.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// The longest time for all of it.
    pub deadline: Option<Duration>,
    /// Set from elsewhere, ends it before the next attempt.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 10,
            base: Duration::from_millis(1),
            cap: Duration::from_secs(5),
            deadline: None,
            cancel: None,
        }
    }
}

/// Why a collection was not synchronised. What is noted is still noted, under the same id: to try again is
/// safe.
#[derive(Debug, Clone)]
pub enum SyncError {
    /// Others were first too often, or for too long.
    Exhausted(Exhausted),
    /// It was cancelled.
    Cancelled,
    /// Whoever decides refused it: trying again changes nothing.
    Refused(String),
    /// Something failed; the kind says what to do.
    Failed(Error),
}

/// What stood in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// How often it was tried.
    pub attempts: u32,
    /// The revision that this client stands on.
    pub revision: u64,
    /// Who was first in the end.
    pub stale: Stale,
}

impl From<Error> for SyncError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted(why) => write!(
                f,
                "others were first {} times, and this client stands at revision {}: sync again",
                why.attempts, why.revision
            ),
            Self::Cancelled => f.write_str("it was cancelled: sync again when you want to"),
            Self::Refused(why) => write!(f, "it was refused: {why}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SyncError {}

impl<K: Kind> Collection<K> {
    /// Commits what is noted, so that everybody sees it; nothing noted is nothing to do, but the creation
    /// of a new collection. Whatever comes of it, this client stands where it did or further.
    pub async fn sync(&mut self, retry: &Retry) -> Result<(), SyncError> {
        let began = self.env.clock.monotonic_ns();
        if self.unsure.is_some() {
            self.update().await?;
        }
        self.redo().await?;
        let id = ActionId::random(&*self.env.random);
        let (mut attempts, mut wait) = (0, retry.base);
        while self.new || !self.noted.is_empty() {
            if retry
                .cancel
                .as_ref()
                .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
            {
                return Err(SyncError::Cancelled);
            }
            let stale = match self.commit(&id).await? {
                None => return Ok(()),
                Some(Stale::Refused(why)) => return Err(SyncError::Refused(why)),
                Some(stale) => stale,
            };
            attempts += 1;
            let pause = wait / 2 + wait.mul_f64(0.5 * chance(self.env.random.next_u64()));
            let spent = Duration::from_nanos(self.env.clock.monotonic_ns().saturating_sub(began));
            let late = retry
                .deadline
                .is_some_and(|deadline| spent + pause > deadline);
            if attempts >= retry.attempts || late {
                let revision = self.context.revision;
                return Err(SyncError::Exhausted(Exhausted {
                    attempts,
                    revision,
                    stale,
                }));
            }
            let clock = self.env.clock.clone();
            let slept = self.env.offload(move || {
                clock.sleep(pause);
                Ok(())
            });
            slept.await?;
            wait = (wait * 2).min(retry.cap);
            self.update().await?;
        }
        Ok(())
    }

    /// One attempt.
    async fn commit(&mut self, id: &ActionId) -> Result<Option<Stale>> {
        let now = self.env.clock.unix_us() / 1000;
        let prepared = self.prepare(id, &[], now, &self.env.random).await?;
        self.unsure = Some(Attempt {
            id: id.clone(),
            blocks: prepared.part.commit.blocks.clone(),
            noted: self.noted.len(),
        });
        let transactor = self.view.transactor().clone();
        // After an error it is not known whether it landed: that is settled first the next time.
        let done = transact(&transactor, vec![prepared.part.clone()]).await?;
        self.unsure = None;
        match done {
            Transacted::Done => self.landed(prepared),
            Transacted::Stale(stale) => return Ok(Some(stale)),
            Transacted::Partly { .. } => return Err(Error::invalid("one part landed in part")),
        }
        Ok(None)
    }

    /// What is noted, as an entry of the log and its blocks at the next revision. The entry stands in a
    /// section of its own, so that one which does not land leaves none.
    pub(crate) async fn prepare(
        &self,
        id: &ActionId,
        others: &[BlockId],
        now: u64,
        random: &Arc<dyn Random>,
    ) -> Result<Prepared> {
        let revision = self.context.revision + 1;
        let by = ActionRev {
            action: id.clone(),
            revision,
        };
        let action = Action {
            id: id.clone(),
            actions: self.written.clone(),
            blocks: Vec::new(),
            collections: others.to_vec(),
        };
        let mut tried = self.tracker.clone().with_random(random.clone());
        let checkpoint = self.since + 1 >= CHECKPOINT;
        if checkpoint && self.context.revision > 0 {
            let at = self.context.revision;
            self.log
                .add_checkpoint(&mut tried, Vec::new(), at, now)
                .await?;
        }
        let changed = |tried: &Tracker<_>| tried.changes().ids().cloned().collect();
        let place = self
            .log
            .add(&mut tried, action, revision, now, changed)
            .await?;
        let changes = tried.reset();
        let part = Part {
            collection: self.id.clone(),
            pend: Pend::new(id.clone(), Some(revision), changes.transforms()),
            commit: Commit {
                action: by,
                blocks: changes.ids().cloned().collect(),
                tail: place.block,
                header: self.new.then(|| self.id.clone()),
            },
        };
        Ok(Prepared {
            part,
            changes,
            checkpoint,
        })
    }

    /// What was prepared is committed.
    pub(crate) fn landed(&mut self, prepared: Prepared) {
        let by = prepared.part.commit.action;
        let mut committed = match prepared.checkpoint {
            true => Vec::new(),
            false => std::mem::take(&mut self.context.committed),
        };
        self.since = if prepared.checkpoint {
            1
        } else {
            self.since + 1
        };
        let revision = by.revision;
        committed.push(by);
        self.context = Context {
            revision,
            committed,
            pending: None,
        };
        self.view.committed(self.context.clone(), &prepared.changes);
        self.tracker.reset();
        self.noted.clear();
        self.written.clear();
        self.new = false;
    }
}

/// What is noted, ready to be committed.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) part: Part,
    changes: Changes,
    checkpoint: bool,
}

/// From 0 to 1.
fn chance(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}
