//! A floor that has one record at hand, and one that lets everything pass.

use std::sync::Arc;

use serde::Deserialize;
use travertine_engine::contract::{
    Batch, BatchBuilder, Batches, Codecs, Commit, End, Epoch, Error, Freed, Kind, Level, NewRecord,
    Oid, Op, Placement, Position, Reclaim, Record, Result, RootAt, RootMarker, Status, Store,
    Stream, StreamState, Tail, Vector,
};
use travertine_engine::forward;
use travertine_engine::stack::{
    Arity, Below, Declared, Fault, OpenContext, Plugin, PluginKind, Properties,
};

/// The one record that is there.
pub(crate) fn oid() -> Result<Oid> {
    Ok(one()?.0)
}

fn one() -> Result<(Oid, Record)> {
    let before = End {
        position: Position::START,
        running: 0,
    };
    let epoch = Epoch { number: 1, tag: 1 };
    let mut batch = BatchBuilder::new(Stream(0), Position::START, before, epoch, 0);
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[&[7; 100]],
    };
    let oid = batch.push(&record)?.oid;
    let record = batch.read(oid)?;
    record
        .map(|record| (oid, record))
        .ok_or_else(|| Error::corrupt("the record is not where it was put"))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Hit {}

impl Plugin for Hit {
    const KIND: PluginKind = PluginKind {
        declared: Declared::bottom(Level::Memory, Properties::ALL),
        ..PluginKind::new("hit", Arity::Bottom)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    fn open(&self, _context: &OpenContext, _below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let (oid, record) = one()?;
        Ok(Arc::new(HitStore { oid, record }))
    }
}

#[derive(Debug)]
struct HitStore {
    oid: Oid,
    record: Record,
}

fn no<T>() -> Op<T> {
    Op::err(Error::unsupported("`hit` only reads"))
}

impl Store for HitStore {
    fn store(&self, _sender: Epoch, _batch: Batch) -> Op<Tail> {
        no()
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        Op::ok((oid == self.oid).then(|| self.record.clone()))
    }

    fn commit(&self, _commit: Commit) -> Op<Level> {
        no()
    }

    fn root(&self, _at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        no()
    }

    fn fence(&self, _epoch: Epoch) -> Op<Vec<StreamState>> {
        no()
    }

    fn adopt(&self, _epoch: Epoch, _vector: Vector) -> Op<()> {
        no()
    }

    fn scan(&self, _stream: Stream, _from: Position) -> Op<Batches> {
        no()
    }

    fn reclaim(&self, _decision: Reclaim) -> Op<Freed> {
        no()
    }

    fn status(&self) -> Status {
        Status {
            kind: "hit",
            name: None,
            identity: String::new(),
            level: Level::Memory,
            root_stream: 0,
            placement: Placement::One(0),
            codecs: Codecs::default(),
            unit: 8,
            refusing: Some("it only reads".to_owned()),
            streams: Vec::new(),
            parts: Vec::new(),
            figures: Vec::new(),
            gate: None,
            below: Vec::new(),
        }
    }

    fn close(&self) -> Op<()> {
        Op::ok(())
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Pass {}

impl Plugin for Pass {
    const KIND: PluginKind = PluginKind {
        declared: Declared::TRANSPARENT,
        ..PluginKind::new("pass", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    fn open(&self, _context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let below = Below::only(below)?.open()?;
        Ok(Arc::new(PassStore { below }))
    }
}

#[derive(Debug)]
struct PassStore {
    below: Arc<dyn Store>,
}

impl Store for PassStore {
    forward!(below: store read commit root fence adopt scan reclaim status close);
}
