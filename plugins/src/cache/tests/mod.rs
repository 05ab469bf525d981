//! Caches: what is kept and what is not, one read below for many, and the same with mistakes in it.

mod flights;
mod keeping;
mod sharing;
mod staying;
mod stress;
mod wrong;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use travertine_engine::conformance::kit::{Twist, Twisted};
use travertine_engine::conformance::model::{ModelOptions, ModelStore};
use travertine_engine::contract::{
    Batch, BatchBuilder, Commit, End, Env, Epoch, Kind, Level, NewRecord, Oid, Op, Position,
    Record, Reference, Store, Stream, StreamState,
};

use super::pool::{Kept, Pool};
use super::shared::Shared;
use super::store::CacheStore;

pub(super) use wrong::Wrong;

/// A cache over this store.
fn cache(below: Arc<dyn Store>, env: &Env, memory: u64) -> Arc<dyn Store> {
    let shared = Shared::new(below, env, alone(memory));
    Arc::new(CacheStore::new(shared, None))
}

/// A budget that is not shared.
fn alone(memory: u64) -> Kept {
    Arc::new(Pool::new(memory)).share().unwrap()
}

fn figures(store: &dyn Store) -> BTreeMap<&'static str, u64> {
    store.status().figures.into_iter().collect()
}

/// Hits, misses, joined, entries.
fn seen(store: &dyn Store) -> [u64; 4] {
    let figures = figures(store);
    ["hits", "misses", "joined", "entries"].map(|name| figures[name])
}

/// A model that counts reads, and answers those first for which an answer was prepared.
#[derive(Debug, Clone, Default)]
struct Prepared {
    reads: Arc<AtomicU64>,
    answers: Arc<Mutex<VecDeque<Op<Option<Record>>>>>,
}

impl Prepared {
    fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    fn next(&self, answer: Op<Option<Record>>) {
        self.answers.lock().unwrap().push_back(answer);
    }
}

impl Twist for Prepared {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let prepared = self.answers.lock().unwrap().pop_front();
        prepared.unwrap_or_else(|| below.read(oid))
    }
}

/// A cache over a model, adopted, and what counts below it.
fn over_a_model(env: &Env) -> (Writer, Prepared) {
    let prepared = Prepared::default();
    let model = Arc::new(ModelStore::new(ModelOptions::default()));
    let below = Arc::new(Twisted::new(model, prepared.clone()));
    let store = cache(below, env, 1 << 20);
    (Writer::new(store), prepared)
}

/// Writes batches as an engine would.
struct Writer {
    store: Arc<dyn Store>,
    epoch: Epoch,
    stream: Stream,
    unit: u64,
    before: End,
    base: Position,
}

impl Writer {
    /// Takes the next epoch and adopts everything.
    fn new(store: Arc<dyn Store>) -> Self {
        let mut writer = Self::fenced(store);
        writer.adopt(writer.before);
        writer
    }

    /// Takes the next epoch.
    fn fenced(store: Arc<dyn Store>) -> Self {
        let status = store.status();
        let stream = Stream(status.root_stream);
        let state = |epoch: Epoch| -> StreamState {
            let states = store.fence(epoch).wait().unwrap();
            states.into_iter().find(|of| of.stream == stream).unwrap()
        };
        let epoch = Epoch {
            number: state(Epoch::default()).epoch.number + 1,
            tag: 77,
        };
        let StreamState { end, ceiling, .. } = state(epoch);
        Self {
            epoch,
            stream,
            unit: status.unit,
            before: end,
            base: ceiling.max(end.position).align_up(status.unit),
            store,
        }
    }

    fn adopt(&mut self, end: End) {
        let vector = vec![(self.stream, end)];
        self.store.adopt(self.epoch, vector).wait().unwrap();
        self.before = end;
        // Learns how far it may go.
        self.put(&[]);
    }

    fn put(&mut self, bodies: &[&[u8]]) -> Vec<Oid> {
        self.put_with(bodies, &[])
    }

    /// As [`Writer::put`]; each record has these references.
    fn put_with(&mut self, bodies: &[&[u8]], references: &[Reference]) -> Vec<Oid> {
        let (batch, oids) = self.batch_of(bodies, references);
        self.store.store(self.epoch, batch.clone()).wait().unwrap();
        self.before = End {
            position: batch.header().end,
            running: batch.running(),
        };
        self.base = batch.header().end;
        oids
    }

    /// As [`Writer::put`], with the record as it will be read.
    fn put_one(&mut self, body: &[u8]) -> (Oid, Option<Record>) {
        let (batch, oids) = self.batch(&[body]);
        let record = batch.read(oids[0]).unwrap();
        assert_eq!(self.put(&[body]), oids);
        (oids[0], record)
    }

    fn batch(&self, bodies: &[&[u8]]) -> (Batch, Vec<Oid>) {
        self.batch_of(bodies, &[])
    }

    fn batch_of(&self, bodies: &[&[u8]], references: &[Reference]) -> (Batch, Vec<Oid>) {
        let mut batch = BatchBuilder::new(self.stream, self.base, self.before, self.epoch, 0);
        let push = |body: &&[u8]| {
            let record = NewRecord {
                kind: Kind::BLOB,
                references,
                body: &[body],
            };
            batch.push(&record).unwrap().oid
        };
        let oids = bodies.iter().map(push).collect();
        (batch.finish(None, false), oids)
    }

    fn commit(&mut self, level: Level) {
        let commit = Commit {
            sender: self.epoch,
            level,
            last: Vec::new(),
        };
        self.store.commit(commit).wait().unwrap();
        self.base = self.before.position.align_up(self.unit);
    }

    fn read(&self, oid: Oid) -> Option<Record> {
        self.store.read(oid).wait().unwrap()
    }

    /// An address so many steps past the end.
    fn past(&self, steps: u64) -> Oid {
        Oid::new(self.stream, Position(self.before.position.0 + steps)).unwrap()
    }
}
