//! What a cache costs on a hit and on a miss, over a log in memory.

use std::path::Path;
use std::sync::Arc;

use travertine_engine::contract::{
    BatchBuilder, Env, Epoch, Error, Kind, NewRecord, Oid, Store, Stream,
};
use travertine_engine::stack::{Layer, Opening, Plan, Spec};

use super::Outcome;

/// Records of a hundred bytes in a log in memory, under these floors.
pub(crate) fn open(floors: Vec<Layer>, records: usize) -> Outcome<(Arc<dyn Store>, Vec<Oid>)> {
    let spec = Spec::linear(floors.into_iter().chain([Layer::new("memory")])).level("memory");
    let plan =
        Plan::new(&spec, &travertine_plugins::standard(), Path::new("")).map_err(|errors| {
            errors
                .into_iter()
                .next()
                .map_or("refused".into(), |e| e.message)
        })?;
    let store = plan.open(&Env::system(), Opening::default())?.store();
    let epoch = Epoch { number: 1, tag: 1 };
    let states = store.fence(epoch).wait()?;
    let mut before = states
        .first()
        .map(|state| state.end)
        .ok_or_else(|| Error::unavailable("a fence reports no stream"))?;
    store.adopt(epoch, vec![(Stream(0), before)]).wait()?;
    let mut oids = Vec::new();
    // The first batch is empty and tells how far the writer may go.
    for count in [0, records] {
        let mut batch = BatchBuilder::new(Stream(0), before.position, before, epoch, 0);
        for _ in 0..count {
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&[7; 100]],
            };
            oids.push(batch.push(&record)?.oid);
        }
        let batch = batch.finish(None, false);
        before.position = batch.header().end;
        before.running = batch.running();
        store.store(epoch, batch).wait()?;
    }
    Ok((store, oids))
}
