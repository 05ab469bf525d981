//! A snapshot: the names of one commit, and everything they reach, for reading only.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};

use crate::contract::{Epoch, Error, Name, Names, NewRecord, Op, Record, Reference, Result};

use super::aside::{Aside, Hold};
use super::memo::Memo;
use super::names::View;
use super::options::Hint;
use super::pins::{Guard, Held};
use super::shared::Shared;

/// Something that records can be read through.
pub trait Read {
    /// The record of a reference. It must be there and must match the reference.
    fn read(&self, reference: &Reference) -> Op<Record>;

    /// What was made of these records before and is still at hand. Without one, everything is made
    /// anew from the records: the answers are the same.
    fn memo(&self) -> Option<&Memo> {
        None
    }
}

/// Something that records can be stored through, and read back at once.
pub trait Write: Read {
    /// Stores a record: its address is final when the call returns.
    fn store(&self, record: &NewRecord<'_>, hint: Hint) -> Result<Reference>;

    /// Something that reads what this reads and can outlive it, but keeps nothing open or pinned: it
    /// may be kept in the [`Memo`]. Once the engine is gone it answers `Closed`.
    fn reader(&self) -> Arc<dyn Read + Send + Sync>;

    /// Has `work` done on another thread, with something to store through; what it stored is held until
    /// a reclaim begins. The work comes back where there is no thread to spare: do it here, or in parts.
    fn aside(&self, work: Aside) -> Result<Hold, Aside> {
        Err(work)
    }

    /// Takes over what work that was done aside has stored: from now on it is held as what this stored
    /// itself. `false`: it may be gone by now, and nothing may be made to lead to it.
    fn cover(&self, hold: &Hold) -> bool {
        let _ = hold;
        false
    }
}

impl<R: Read + ?Sized> Read for &R {
    fn read(&self, reference: &Reference) -> Op<Record> {
        (**self).read(reference)
    }

    fn memo(&self) -> Option<&Memo> {
        (**self).memo()
    }
}

impl<W: Write + ?Sized> Write for &W {
    fn store(&self, record: &NewRecord<'_>, hint: Hint) -> Result<Reference> {
        (**self).store(record, hint)
    }

    fn reader(&self) -> Arc<dyn Read + Send + Sync> {
        (**self).reader()
    }

    fn aside(&self, work: Aside) -> Result<Hold, Aside> {
        (**self).aside(work)
    }

    fn cover(&self, hold: &Hold) -> bool {
        (**self).cover(hold)
    }
}

/// One commit, as it will always be. While it or a clone of it lives, what it reaches is not freed: see
/// [`Engine::pins`](super::Engine::pins).
#[derive(Clone)]
pub struct Snapshot {
    shared: Arc<Shared>,
    view: Arc<View>,
    pin: Arc<Guard>,
}

impl Snapshot {
    pub(super) fn new(shared: Arc<Shared>, view: Arc<View>, pin: Arc<Guard>) -> Self {
        Self { shared, view, pin }
    }

    pub(super) fn pin(&self) -> &Guard {
        &self.pin
    }

    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    pub(super) fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The same commit, held in somebody's name: who asks for the pins of the engine is told it.
    #[must_use]
    pub fn held_by(&self, owner: impl Into<Cow<'static, str>>) -> Self {
        let held = Held {
            owner: owner.into(),
            since: self.shared.env.clock.unix_us(),
            view: self.view.clone(),
            began: None,
            weak: None,
        };
        // What is pinned already stays so, whatever was decided in between.
        let pin = self.shared.pins.hold(held, None);
        Self {
            pin: pin.map_or_else(|| self.pin.clone(), Arc::new),
            ..self.clone()
        }
    }

    /// The number of the commit; zero before the first.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.view.sequence
    }

    /// The epoch that made it.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.view.epoch
    }

    /// When it was made, in microseconds since 1970; zero before the first commit.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.view.time
    }

    /// What a name points to.
    #[must_use]
    pub fn root(&self, name: &Name) -> Option<Reference> {
        self.view.names.get(name)
    }

    /// Every name and what it points to, but for the engine's own.
    #[must_use]
    pub fn names(&self) -> &Names {
        self.view.merged()
    }

    /// The record of a reference that this snapshot leads to. It must be there and must match.
    pub fn read(&self, reference: &Reference) -> Op<Record> {
        self.shared.follow(reference)
    }

    /// The record of a name; `None` if there is no such name.
    pub fn read_root(&self, name: &Name) -> Result<Option<Record>> {
        let root = self.root(name);
        root.map(|reference| self.read(&reference).wait())
            .transpose()
    }
}

impl Read for Snapshot {
    fn read(&self, reference: &Reference) -> Op<Record> {
        self.shared.follow(reference)
    }

    fn memo(&self) -> Option<&Memo> {
        Some(&self.shared.memo)
    }
}

/// Reads from an engine as long as there is one.
pub(super) struct Beside(pub(super) Weak<Shared>);

impl Read for Beside {
    fn read(&self, reference: &Reference) -> Op<Record> {
        match self.0.upgrade() {
            Some(shared) => shared.follow_held(reference, false),
            None => Op::err(Error::closed("the engine was closed")),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} {})", self.sequence(), self.epoch())
    }
}
