//! A stack behind a server in this process, and the same reached over loopback: all that a server has,
//! with its door, its limits and its rights.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use travertine::stack::{Layer, Opening, Plan, Spec, Stack, Table};
use travertine_engine::contract::{
    Batch, BatchBuilder, End, Env, Epoch, Kind, Level, NewRecord, Oid, Position, Store, Stream,
};
use travertine_engine::front::{Engine, Options};
use travertine_net::accept::{Accept, Door};
use travertine_net::engine_service::{Bounds, EngineService};
use travertine_net::limits::Limits;
use travertine_net::rights::{Live, Rights};
use travertine_net::server::Server;
use travertine_net::store_service::{self, Offer, StoreService};

use crate::Outcome;

/// A server, which ends with this.
pub(crate) struct Served {
    pub(crate) address: String,
    runtime: Option<Runtime>,
}

impl Served {
    /// A stack of floors, for an engine elsewhere.
    pub(crate) fn store(spec: &Spec, base: &Path, door: Door) -> Outcome<Self> {
        let env = Env::system();
        let offer = Offer::of_plan(plan(spec, base)?, env.clone(), Opening::default());
        let service = StoreService::open(offer, store_service::Limits::default(), &env)?;
        Self::carry(door, |server| server.store(&service))
    }

    /// An engine that clients share.
    pub(crate) fn engine(engine: &Engine) -> Outcome<Self> {
        let (env, level) = (Env::system(), Level::Disk);
        let bounds = Bounds::default();
        let service = EngineService::new(engine.clone(), &env, level, "file", bounds);
        Self::carry(Door::Plain, |server| server.engine(&service))
    }

    fn carry(door: Door, services: impl FnOnce(Server) -> Server) -> Outcome<Self> {
        let (env, limits) = (Env::system(), Limits::default());
        let runtime = travertine_net::server::runtime()?;
        let here = ([127, 0, 0, 1], 0).into();
        let accept = runtime.block_on(Accept::bind(here, door, &limits, &env))?;
        let address = accept.address().to_string();
        let server = Server::new(limits, Live::fixed(Rights::everyone()), &env)?;
        let server = services(server);
        runtime.spawn(server.serve(accept, std::future::pending(), Duration::from_secs(1)));
        Ok(Self {
            address,
            runtime: Some(runtime),
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A legal stack.
fn plan(spec: &Spec, base: &Path) -> Outcome<Plan> {
    let plan = Plan::new(spec, &travertine::standard(), base);
    Ok(plan.map_err(|errors| format!("{errors:?}"))?)
}

/// A log in memory.
pub(crate) fn memory() -> Spec {
    Spec::linear([Layer::new("memory")]).level("memory")
}

/// A log in a directory.
pub(crate) fn file(path: &str) -> Spec {
    Spec::linear([Layer::new("file").with("path", path)])
}

/// A `remote` that goes on at an address.
pub(crate) fn remote(address: &str) -> Layer {
    Layer::new("remote").with("address", address)
}

/// A stack of one that takes whatever is there; `tls` is its table of that name.
pub(crate) fn remote_of(address: &str, tls: Option<&Table>) -> Spec {
    let expects = "fences, proves absence, one stream";
    let mut layer = remote(address)
        .with("level", "memory")
        .with("expects", expects);
    if let Some(tls) = tls {
        layer = layer.with("tls", tls.clone());
    }
    Spec::linear([layer]).level("memory")
}

pub(crate) fn open(spec: &Spec, base: &Path) -> Outcome<Stack> {
    Ok(plan(spec, base)?.open(&Env::system(), Opening::default())?)
}

pub(crate) fn engine(store: Arc<dyn Store>) -> Outcome<Engine> {
    let level = store.status().level.min(Level::Disk);
    let options = Options {
        level,
        ..Options::default()
    };
    Ok(Engine::open(store, &Env::system(), options)?)
}

/// A writer without an engine: batches of one record, each at the end of the one before.
pub(crate) struct Writer {
    epoch: Epoch,
    before: End,
    unit: u64,
}

impl Writer {
    /// One that takes a store over.
    pub(crate) fn of(store: &dyn Store) -> Outcome<Self> {
        let epoch = Epoch { number: 1, tag: 7 };
        let states = store.fence(epoch).wait()?;
        let ends = states.iter().map(|state| (state.stream, state.end));
        store.adopt(epoch, ends.collect()).wait()?;
        let state = states.first().ok_or("there is no stream")?;
        Ok(Self {
            epoch,
            before: state.end,
            unit: store.status().unit,
        })
    }

    /// One that only makes batches.
    pub(crate) fn of_nothing() -> Self {
        Self {
            epoch: Epoch { number: 1, tag: 7 },
            before: End {
                position: Position::START,
                running: 0,
            },
            unit: 8,
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next batch, and where its record lies.
    pub(crate) fn next(&mut self, body: &[u8]) -> Outcome<(Oid, Batch)> {
        let base = self.before.position.align_up(self.unit);
        let mut builder =
            BatchBuilder::new(Stream(0), base, self.before, self.epoch, body.len() + 200);
        let reference = builder.push(&NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[body],
        })?;
        let batch = builder.finish(None, false);
        self.before = End {
            position: batch.header().end,
            running: batch.running(),
        };
        Ok((reference.oid, batch))
    }
}
