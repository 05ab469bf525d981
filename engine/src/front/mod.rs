//! The engine front: what a program opens on a stack, and what interfaces are built on.
//!
//! The front owns the positions. It encodes records into the tail buffer, hands out their addresses,
//! cuts batches, gathers commits into rounds, keeps the names, and decides after a crash which
//! commit is the newest. The store below only keeps batches.
//!
//! ```text
//!   session.store ──> tail buffer ──(bytes, age, commit)──> batches ──> store below
//!   session.commit ─> queue of tickets ──> round: markers, one write, one flush
//!   snapshot.read ──> tail buffer, recent batches, below
//! ```
//!
//! - A record's address is final when [`Session::store`] returns, and reads see it at once.
//! - A commit changes several names or none, and only if each is what the writer expects. It is
//!   durable when its answer says so, and so is every commit before it.
//! - A commit that asks for [`Level::Memory`](crate::contract::Level::Memory) alone is answered at once
//!   and goes below with what comes after it, or when the tail buffer is sent.
//! - Every commit is a [`Snapshot`] that can be found by number or by time.
//! - What no name, tag, kept commit, snapshot or session leads to is freed by [`Engine::reclaim`], and
//!   nothing else is; which commits are kept is said in a [language](retention) of its own.
//! - Bodies go through the [codecs](crate::contract::codec) of the stack here, and come back as given.
//! - If the store fails, what was on its way fails with `Closed` and its outcome is unknown; nothing
//!   more is written through this engine, and reads go on.
//!
//! Everything can be called from plain threads (`wait` on an answer) and from async tasks (await it).
//! An engine that is dropped without [`Engine::close`] leaves its files as a crash would: no
//! commit is lost that reached more than memory, and the next opening has to recover.
//!
//! Values larger than one record are a tree of them: see [`chunk`]. Not here: indexes, and where bytes
//! lie.
//!
//! ```
//! use std::sync::Arc;
//! use travertine_engine::contract::{Env, Kind, Name, NewRecord, Store};
//! use travertine_engine::front::{Change, Engine, Hint, Options};
//!
//! # fn run(store: Arc<dyn Store>) -> travertine_engine::contract::Result<()> {
//! let engine = Engine::open(store, &Env::system(), Options::default())?;
//! let session = engine.session()?;
//! let body: &[u8] = b"hello";
//! let record = NewRecord { kind: Kind::BLOB, references: &[], body: &[body] };
//! let reference = session.store(&record, Hint::default())?;
//! let name = Name::new("greeting")?;
//! session.commit(&[Change::set(name.clone(), reference)], None).wait()?;
//! assert_eq!(engine.snapshot().root(&name), Some(reference));
//! engine.close()?;
//! # Ok(())
//! # }
//! ```

mod alive;
mod aside;
mod automatic;
mod bell;
pub mod choose;
pub mod chunk;
mod follow;
mod group;
mod history;
mod lead;
mod links;
mod mark;
mod memo;
mod names;
mod open;
mod options;
mod past;
mod pins;
mod place;
mod pressure;
mod reclaim;
pub mod retention;
mod session;
mod shared;
mod snapshot;
mod tags;
mod tail;
mod worst;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::contract::{Env, Error, Oid, Op, Record, Result, RootAt, Status, Store};

use self::shared::Shared;

pub use self::aside::{Aside, Helper, Hold};
pub use self::automatic::Automatic;
pub use self::follow::{Follow, Followed};
pub use self::history::History;
pub use self::memo::{Kept, Memo};
pub use self::names::RESERVED;
pub use self::options::{Change, Committed, Expect, Hint, Options};
pub use self::pins::Pin;
pub use self::reclaim::{Holder, Progress, Reclaiming, Report, Watch, Who};
pub use self::retention::{Moment, Retention, Timeline};
pub use self::session::Session;
pub use self::snapshot::{Read, Snapshot, Write};
pub use self::tags::Tag;

/// An opened store. Clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

impl Engine {
    /// Opens a store: recovers, unless the last writer closed cleanly, and serves the newest commit.
    /// Blocks until that is done. An epoch is taken at the first write, or when recovery must write.
    ///
    /// Errors: `Corrupt` or `Unavailable` (what was proven is not all there; nothing was changed),
    /// `Invalid` (the options ask for a level that the store cannot reach).
    pub fn open(store: Arc<dyn Store>, env: &Env, options: Options) -> Result<Self> {
        open::open(store, env, options).map(|shared| Self(Arc::new(shared)))
    }

    /// A writer's turn, on the newest submitted commit.
    ///
    /// Errors: `Invalid` if the engine was opened for reading only, `Closed` or `Fenced` if writing
    /// has ended.
    pub fn session(&self) -> Result<Session> {
        if self.0.options.read_only {
            return Err(Error::invalid("this engine was opened for reading only"));
        }
        self.0.lock().writing()?;
        Session::new(self.0.clone(), "a session")
    }

    /// The newest commit that reached its level; an empty snapshot with number zero before the
    /// first. An engine opened for reading sees later ones after [`Engine::refresh`].
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (view, pin) = self.0.pin_newest();
        Snapshot::new(self.0.clone(), view, pin)
    }

    /// A commit by number or by time; `None` if there is none such, or none that old.
    pub fn at(&self, at: RootAt) -> Result<Option<Snapshot>> {
        let found = self.0.look_and_pin("a snapshot", || self.0.at(at))?;
        Ok(found.map(|(view, pin)| Snapshot::new(self.0.clone(), view, pin)))
    }

    /// What snapshots and sessions are held, the oldest first, each with its owner and its age: what
    /// they reach is not freed.
    #[must_use]
    pub fn pins(&self) -> Vec<Pin> {
        self.0.pins.held().iter().map(Pin::from).collect()
    }

    /// Commits from the newest back, each with the address of its root marker.
    #[must_use]
    pub fn history(&self) -> History {
        History::new(self.0.clone())
    }

    /// The record at an address; `None`: there is none, for certain.
    pub fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.0.read(oid)
    }

    /// Looks again what a writer elsewhere names as proven, if this engine was opened for reading. On an
    /// opened [`Stack`](crate::stack::Stack) that opens the floors again: what a cache among them keeps
    /// and what a monitor counted begins anew, and snapshots that are held stay as they are.
    pub fn refresh(&self) -> Result<Snapshot> {
        if self.0.options.read_only {
            let shown = open::look(&self.0.store, open::newest_named)?;
            if shown.view.sequence > self.0.shown().view.sequence {
                self.0.show(shown);
                self.0.pins.forget();
            }
        }
        Ok(self.snapshot())
    }

    /// Tells readers elsewhere of the newest proven commit now, rather than when commits pause.
    /// After an opening that recovered this includes what recovery chose, written to or not.
    pub fn prove(&self) -> Result<()> {
        let recovered = self.0.lock().found.recovered();
        if recovered {
            self.0.begin()?;
        }
        let _turn = self.0.take_turn();
        self.0.prove()
    }

    /// What lies below, and figures of the front itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let below = self.0.store.status();
        let figures = &self.0.figures;
        let count = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
        let refusing = self.0.lock().refusing.as_ref().map(ToString::to_string);
        Status {
            kind: "engine",
            name: None,
            parts: Vec::new(),
            refusing: refusing.or_else(|| below.refusing.clone()),
            figures: vec![
                ("commits", count(&figures.commits)),
                ("rounds", count(&figures.rounds)),
                ("batches", count(&figures.batches)),
                ("conflicts", count(&figures.conflicts)),
                ("waits", count(&figures.waits)),
                ("pressed", count(&self.0.pressure.began)),
                ("refusals", count(&figures.refusals)),
                ("reclaims", count(&figures.reclaims)),
                ("reclaimed_bytes", count(&figures.reclaimed)),
                ("stayed_bytes", count(&figures.stayed)),
                ("held_back_us", count(&figures.held_ns) / 1_000),
            ],
            below: vec![below.clone()],
            ..below
        }
    }

    /// Finishes what was submitted, says that nothing is amiss, and closes the store. What was stored
    /// and not committed is lost to all but those who know its address. The second call is a no-op.
    ///
    /// Errors: whatever made this engine refuse to write; what was committed at a level below that of
    /// the stack may then survive less than a clean close would make it.
    pub fn close(&self) -> Result<()> {
        self.0.alarm.close_and_wait();
        let _turn = self.0.take_turn();
        let closed = Error::closed(CLOSED);
        let refusing = self.0.lock().refusing.clone();
        let finished = match refusing {
            Some(error) if error.message() == CLOSED => return Ok(()),
            // A close that is fine says that every commit is as safe as the stack makes it.
            Some(error) => Err(error),
            None => self.0.finish(&closed),
        };
        self.0.lock().refusing = Some(closed.clone());
        // What was submitted while a close that failed was at it: nobody carries it out any more.
        self.0.cancel_queue(&closed);
        self.0.bell.close();
        self.0.landing.ring();
        let closed = self.0.store.close().wait();
        finished.and(closed)
    }
}

const CLOSED: &str = "the engine was closed";

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({:?})", self.snapshot())
    }
}
