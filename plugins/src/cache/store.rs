//! The ten verbs over what is kept: reads are answered from it, what changes the store below is heard,
//! the rest passes.

use std::sync::Arc;

use travertine_engine::contract::{
    Batch, Batches, Commit, Epoch, Freed, Level, Oid, Op, Position, Reclaim, Record, Result,
    RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};
use travertine_engine::stack::Plugin;

use super::config::Cache;
use super::shared::{Count, Shared};

/// An open cache.
#[derive(Debug)]
pub(super) struct CacheStore {
    pub(super) shared: Arc<Shared>,
    pub(super) name: Option<String>,
}

impl CacheStore {
    /// Looks at an answer as it goes by. If nobody waits for it, nothing is learnt: what is not known
    /// is not kept.
    fn glance<T: Send + 'static>(
        &self,
        op: Op<T>,
        look: impl FnOnce(&Shared, &Result<T>) + Send + 'static,
    ) -> Op<T> {
        let shared = self.shared.clone();
        op.shape(move |answer| {
            look(&shared, &answer);
            answer
        })
    }

    /// Hears an answer before anybody else does, whether or not anybody waits for it.
    fn hear<T: Send + 'static>(
        &self,
        op: Op<T>,
        hear: impl FnOnce(&Shared, &Result<T>) + Send + 'static,
    ) -> Op<T> {
        match op.try_ready() {
            Ok(answer) => {
                hear(&self.shared, &answer);
                Op::ready(answer)
            }
            Err(op) => {
                let shared = self.shared.clone();
                self.shared.env.offload(move || {
                    let answer = op.wait();
                    hear(&shared, &answer);
                    answer
                })
            }
        }
    }
}

impl Store for CacheStore {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        let stream = batch.header().stream;
        let op = self.shared.below.store(sender, batch);
        self.glance(op, move |shared, answer| match answer {
            Ok(tail) => shared.frontier.reached(stream, tail.end),
            Err(_) => shared.heed(answer),
        })
    }

    #[inline]
    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        match self.shared.kept.get(oid) {
            Some(found) => {
                self.shared.count(Count::Hit);
                Op::ok(found)
            }
            None => self.shared.miss(oid),
        }
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        let ends = commit.last.iter().map(|batch| batch.header());
        let ends: Vec<_> = ends.map(|header| (header.stream, header.end)).collect();
        let op = self.shared.below.commit(commit);
        self.glance(op, move |shared, answer| match answer {
            Ok(_) => ends
                .iter()
                .for_each(|(stream, end)| shared.frontier.reached(*stream, *end)),
            Err(_) => shared.heed(answer),
        })
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.shared.below.root(at)
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.shared.below.fence(epoch)
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        let op = self.shared.below.adopt(epoch, vector.clone());
        self.hear(op, move |shared, answer| shared.adopted(&vector, answer))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        self.shared.below.scan(stream, from)
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        let (stream, before) = (decision.stream, decision.before);
        let op = self.shared.below.reclaim(decision);
        self.hear(op, move |shared, _| shared.reclaimed(stream, before))
    }

    fn status(&self) -> Status {
        let shared = &self.shared;
        let below = shared.below.status();
        Status {
            kind: Cache::KIND.name,
            name: self.name.clone(),
            figures: vec![
                ("hits", shared.counted(Count::Hit)),
                ("misses", shared.counted(Count::Miss)),
                ("joined", shared.counted(Count::Joined)),
                ("entries", shared.kept.count()),
                ("bytes", shared.kept.bytes()),
            ],
            below: vec![below.clone()],
            ..below
        }
    }

    fn close(&self) -> Op<()> {
        self.shared.empty();
        self.shared.below.close()
    }
}
