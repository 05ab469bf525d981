//! A stack that is open for reading, and is opened again when it is asked for the newest commit.
//!
//! A floor tells what it found when it was opened. A writer elsewhere goes on; so who reads for long has
//! to look again, and the way to look is to open. Opening is cheap, changes nothing, and what was read
//! before stays where it was, so that answers of the old handle and of the new one never disagree.
//!
//! It refuses to lose what it has: where the stack cannot be opened again, that is the answer, and reads
//! go on through the handle that is there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::below::Below;
use crate::contract::{
    Batch, Batches, Commit, Epoch, Error, Freed, Level, Oid, Op, Position, Reclaim, Record, Result,
    RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};

#[derive(Debug)]
pub(super) struct Again {
    below: Below,
    store: RwLock<Arc<dyn Store>>,
    /// Nobody asked for the newest commit since it was opened.
    fresh: AtomicBool,
    closed: AtomicBool,
}

impl Again {
    pub(super) fn open(below: Below) -> Result<Self> {
        let store = RwLock::new(below.open()?);
        Ok(Self {
            below,
            store,
            fresh: AtomicBool::new(true),
            closed: AtomicBool::new(false),
        })
    }

    fn store_now(&self) -> Arc<dyn Store> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone()
    }

    fn look_again(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed("the stack was closed"));
        }
        if self.fresh.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let again = self.below.open()?;
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = again;
        Ok(())
    }
}

impl Store for Again {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.store_now().store(sender, batch)
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.store_now().read(oid)
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        self.store_now().commit(commit)
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        if matches!(at, RootAt::Newest | RootAt::Proven)
            && let Err(error) = self.look_again()
        {
            return Op::err(error);
        }
        self.store_now().root(at)
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.store_now().fence(epoch)
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        self.store_now().adopt(epoch, vector)
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        self.store_now().scan(stream, from)
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        self.store_now().reclaim(decision)
    }

    fn status(&self) -> Status {
        self.store_now().status()
    }

    fn close(&self) -> Op<()> {
        self.closed.store(true, Ordering::Release);
        self.store_now().close()
    }
}
