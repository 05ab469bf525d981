//! A session: a writer's turn. It knows what the names were when it began.

use std::fmt;
use std::sync::Arc;

use crate::contract::{Level, Name, NewRecord, Op, Record, Reference, Result};

use super::aside::{Aside, Hold};
use super::memo::Memo;
use super::names::is_reserved;
use super::options::{Change, Committed, Hint};
use super::shared::Shared;
use super::snapshot::{Beside, Read, Snapshot, Write};

/// A writer's turn: stores records and commits names. Many may be open at once; whose commit comes
/// first wins, the others get `Conflict` if they expected what is no longer so.
///
/// What it began from, and everything stored since, stays while it lives, whatever is reclaimed. So
/// point names only at records of this session, or at what its base or a snapshot that is held leads to.
pub struct Session {
    shared: Arc<Shared>,
    base: Snapshot,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, owner: &'static str) -> Result<Self> {
        let (newest, pin) = shared.pin_session(owner)?;
        Ok(Self {
            base: Snapshot::new(shared.clone(), newest, pin),
            shared,
        })
    }

    /// The newest *submitted* commit when the session began: what a stale expectation is held
    /// against. It may not have reached its level yet.
    #[must_use]
    pub fn base(&self) -> &Snapshot {
        &self.base
    }

    /// Stores a record: its address is final when the call returns, and reads see it at once. It
    /// survives once a commit that comes later has reached its level.
    ///
    /// May wait while too much is on its way below.
    ///
    /// Errors: `Invalid` (over a limit, or a reference to what was never stored), `Full` (nothing
    /// was handed out; reads go on, and writing does once there is space), `Unavailable` with a time
    /// to [try again](crate::contract::Error::retry_after) (a floor lets nothing new begin for now;
    /// nothing was handed out), `Closed`, `Fenced`.
    pub fn store(&self, record: &NewRecord<'_>, hint: Hint) -> Result<Reference> {
        self.shared.store(record, hint)
    }

    /// The record of a reference, committed or not.
    pub fn read(&self, reference: &Reference) -> Op<Record> {
        self.shared.follow(reference)
    }

    /// Changes names, all or none. Submitted when the call returns, in the order of the calls;
    /// answered when it has reached its level, `None` meaning the one of [`Options`](super::Options).
    /// Sessions opened from now on build on it.
    ///
    /// Errors: `Conflict` (a name is not what was expected; nothing was written), `Invalid` (more
    /// asked than the stack reaches, or a target that was never stored), `Full`, `Unavailable` with a
    /// time to [try again](crate::contract::Error::retry_after) (nothing was written); `Closed` or
    /// `Fenced`: writing has ended, and whether the commit happened is unknown.
    pub fn commit(&self, changes: &[Change], level: Option<Level>) -> Op<Committed> {
        match changes.iter().find(|change| is_reserved(&change.name)) {
            Some(change) => Op::err(crate::contract::Error::invalid(format!(
                "the name {} is one of the engine's own, which its verbs change",
                change.name
            ))),
            None => self.shared.commit(changes, level),
        }
    }

    /// Renames, in one commit: `from` must point where this session saw it, `to` must not exist.
    pub fn rename(&self, from: &Name, to: &Name) -> Op<Committed> {
        match self.base.root(from) {
            Some(reference) => {
                let changes = Change::rename(from.clone(), to.clone(), reference);
                self.commit(&changes, None)
            }
            None => Op::err(crate::contract::Error::conflict(format!(
                "there is no name {from} to rename"
            ))),
        }
    }
}

impl Read for Session {
    fn read(&self, reference: &Reference) -> Op<Record> {
        self.shared.follow(reference)
    }

    fn memo(&self) -> Option<&Memo> {
        Some(&self.shared.memo)
    }
}

impl Write for Session {
    fn store(&self, record: &NewRecord<'_>, hint: Hint) -> Result<Reference> {
        self.shared.store(record, hint)
    }

    fn reader(&self) -> Arc<dyn Read + Send + Sync> {
        Arc::new(Beside(Arc::downgrade(&self.shared)))
    }

    fn aside(&self, work: Aside) -> Result<Hold, Aside> {
        self.shared.aside(work)
    }

    fn cover(&self, hold: &Hold) -> bool {
        self.base.pin().cover(&hold.pin)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session(on {:?})", self.base)
    }
}
