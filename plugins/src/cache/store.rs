//! The ten verbs over what is kept: reads are answered from it, what changes the store below is heard,
//! the rest passes.

use std::sync::Arc;

use travertine_engine::contract::env::is_passing;
use travertine_engine::contract::{
    Batch, Commit, Epoch, Freed, Level, Oid, Op, Reclaim, Record, Result, Status, Store, Tail,
    Vector,
};
use travertine_engine::forward;
use travertine_engine::stack::Plugin;

use super::config::Cache;
use super::shared::{Count, Shared};

/// An open cache.
#[derive(Debug)]
pub(super) struct CacheStore {
    below: Arc<dyn Store>,
    shared: Arc<Shared>,
    name: Option<String>,
}

impl CacheStore {
    /// What is kept goes here, for the store below.
    pub(super) fn new(shared: Shared, name: Option<String>) -> Self {
        Self {
            below: shared.below.clone(),
            shared: Arc::new(shared),
            name,
        }
    }

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
    forward!(below: root fence scan);

    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        let stream = batch.header().stream;
        let op = self.below.store(sender, batch);
        self.glance(op, move |shared, answer| match answer {
            Ok(tail) => shared.frontier.reached(stream, tail.end),
            Err(_) => shared.heed(answer),
        })
    }

    #[inline]
    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        let kept = &self.shared.kept;
        // A walk over everything that meets what others want says nothing about it.
        let found = if is_passing() {
            kept.look(oid)
        } else {
            kept.get(oid)
        };
        match found {
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
        let op = self.below.commit(commit);
        self.glance(op, move |shared, answer| match answer {
            Ok(_) => ends
                .iter()
                .for_each(|(stream, end)| shared.frontier.reached(*stream, *end)),
            Err(_) => shared.heed(answer),
        })
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        let op = self.below.adopt(epoch, vector.clone());
        self.hear(op, move |shared, answer| shared.adopted(&vector, answer))
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        let op = self.below.reclaim(decision.clone());
        self.hear(op, move |shared, _| shared.reclaimed(&decision))
    }

    fn status(&self) -> Status {
        let shared = &self.shared;
        Status {
            figures: vec![
                ("hits", shared.counted(Count::Hit)),
                ("misses", shared.counted(Count::Miss)),
                ("joined", shared.counted(Count::Joined)),
                ("entries", shared.kept.count()),
                ("bytes", shared.kept.bytes()),
                ("bytes_of_all_caches", shared.kept.bytes_of_all()),
            ],
            ..Status::over(self.below.status(), Cache::KIND.name, self.name.clone())
        }
    }

    fn close(&self) -> Op<()> {
        self.shared.empty();
        self.below.close()
    }
}
