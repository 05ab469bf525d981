//! What checks put between floors: stores that pass everything on but for one thing.

use std::fmt::Debug;
use std::sync::Arc;

use crate::contract::{
    Batch, Batches, Commit, Epoch, Freed, Level, Oid, Op, Position, Reclaim, Record, Result,
    RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};

/// Stands at every boundary of a stack, the top one included, from the moment it is opened.
pub trait Between: Send + Sync + Debug {
    /// What stands over `store` instead of nothing.
    fn put(&self, store: Arc<dyn Store>) -> Arc<dyn Store>;
}

/// Leaves every boundary as it is.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl Between for Nothing {
    fn put(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store
    }
}

/// Two of them, the first further out.
#[derive(Debug)]
pub(super) struct Both(pub(super) Arc<dyn Between>, pub(super) Arc<dyn Between>);

impl Between for Both {
    fn put(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        self.0.put(self.1.put(store))
    }
}

/// Changes one or two verbs and leaves the rest. The contract gives its verbs no defaults, so that no
/// plug-in forgets one; a store for a test may.
#[expect(missing_docs, reason = "the verbs are those of the contract")]
pub trait Twist: Send + Sync + Debug {
    fn store(&self, below: &dyn Store, sender: Epoch, batch: Batch) -> Op<Tail> {
        below.store(sender, batch)
    }

    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        below.read(oid)
    }

    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        below.commit(commit)
    }

    fn root(&self, below: &dyn Store, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        below.root(at)
    }

    fn fence(&self, below: &dyn Store, epoch: Epoch) -> Op<Vec<StreamState>> {
        below.fence(epoch)
    }

    fn adopt(&self, below: &dyn Store, epoch: Epoch, vector: Vector) -> Op<()> {
        below.adopt(epoch, vector)
    }

    fn scan(&self, below: &dyn Store, stream: Stream, from: Position) -> Op<Batches> {
        below.scan(stream, from)
    }

    fn reclaim(&self, below: &dyn Store, decision: Reclaim) -> Op<Freed> {
        below.reclaim(decision)
    }

    fn status(&self, below: &dyn Store) -> Status {
        below.status()
    }

    fn close(&self, below: &dyn Store) -> Op<()> {
        below.close()
    }
}

/// A store with a twist.
#[derive(Debug)]
pub struct Twisted<T> {
    below: Arc<dyn Store>,
    twist: T,
}

impl<T: Twist> Twisted<T> {
    /// This store, twisted.
    #[must_use]
    pub fn new(below: Arc<dyn Store>, twist: T) -> Self {
        Self { below, twist }
    }
}

impl<T: Twist> Store for Twisted<T> {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.twist.store(&*self.below, sender, batch)
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.twist.read(&*self.below, oid)
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        self.twist.commit(&*self.below, commit)
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.twist.root(&*self.below, at)
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.twist.fence(&*self.below, epoch)
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        self.twist.adopt(&*self.below, epoch, vector)
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        self.twist.scan(&*self.below, stream, from)
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        self.twist.reclaim(&*self.below, decision)
    }

    fn status(&self) -> Status {
        self.twist.status(&*self.below)
    }

    fn close(&self) -> Op<()> {
        self.twist.close(&*self.below)
    }
}

impl<T: Twist + ?Sized> Twist for Arc<T> {
    fn store(&self, below: &dyn Store, sender: Epoch, batch: Batch) -> Op<Tail> {
        (**self).store(below, sender, batch)
    }

    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        (**self).read(below, oid)
    }

    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        (**self).commit(below, commit)
    }

    fn root(&self, below: &dyn Store, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        (**self).root(below, at)
    }

    fn fence(&self, below: &dyn Store, epoch: Epoch) -> Op<Vec<StreamState>> {
        (**self).fence(below, epoch)
    }

    fn adopt(&self, below: &dyn Store, epoch: Epoch, vector: Vector) -> Op<()> {
        (**self).adopt(below, epoch, vector)
    }

    fn scan(&self, below: &dyn Store, stream: Stream, from: Position) -> Op<Batches> {
        (**self).scan(below, stream, from)
    }

    fn reclaim(&self, below: &dyn Store, decision: Reclaim) -> Op<Freed> {
        (**self).reclaim(below, decision)
    }

    fn status(&self, below: &dyn Store) -> Status {
        (**self).status(below)
    }

    fn close(&self, below: &dyn Store) -> Op<()> {
        (**self).close(below)
    }
}

/// What a fixture of one store opens: the store, with what stands over it.
pub(super) fn over(
    between: &dyn Between,
    store: Result<impl Store + 'static>,
) -> Result<Arc<dyn Store>> {
    Ok(between.put(Arc::new(store?)))
}
