//! A server on loopback, and stacks that go on in it.

#![expect(
    clippy::unwrap_used,
    reason = "a rig that cannot be made fails its test"
)]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses a part of it"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use travertine_engine::contract::{
    Env, Kind, Level, Name, NewRecord, Record, Reference, Result, Store,
};
use travertine_engine::front::{Change, Engine, Expect, Hint, Options};
use travertine_engine::stack::{Layer, Opening, Plan, Registry, Spec};
use travertine_net::remote::Remote;
use travertine_net::store_service::{Limits, Offer, StoreService};

/// Every kind, `remote` included.
pub(crate) fn registry() -> Registry {
    travertine_plugins::standard().with::<Remote>()
}

/// A server in this process, which can be lost like another process.
#[derive(Debug)]
pub(crate) struct Served {
    pub service: StoreService,
    pub address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Served {
    /// Serves a stack at a free port.
    pub(crate) fn plan(plan: Plan, env: &Env) -> Result<Self> {
        Self::offer(Offer::of_plan(plan, env.clone(), Opening::default()), env)
    }

    pub(crate) fn offer(offer: Offer, env: &Env) -> Result<Self> {
        let service = StoreService::open(offer, Limits::default(), env)?;
        Ok(Self::at("127.0.0.1:0".parse().unwrap(), service))
    }

    /// Serves at this address.
    pub(crate) fn at(address: SocketAddr, service: StoreService) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = {
            let _inside = runtime.enter();
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).unwrap();
            let listener: TcpListener = socket.listen(64).unwrap();
            listener
        };
        let address = listener.local_addr().unwrap();
        let server = service.server();
        let incoming = TcpListenerStream::new(listener).map(|stream| {
            let stream: TcpStream = stream?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        });
        runtime.spawn(async move {
            Server::builder()
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .add_service(server)
                .serve_with_incoming(incoming)
                .await
        });
        Self {
            service,
            address,
            runtime: Some(runtime),
        }
    }

    /// Ends it as a kill would: nothing is closed, every connection is lost.
    pub(crate) fn kill(mut self) -> SocketAddr {
        self.stop();
        self.address
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A log in a directory.
pub(crate) fn file(directory: &Path) -> Plan {
    let layer = Layer::new("file")
        .with("path", "log")
        .with("segment", "256 KiB");
    plan_of(Spec::linear([layer]), directory)
}

/// A log in memory.
pub(crate) fn memory() -> Plan {
    let spec = Spec::linear([Layer::new("memory")]).level("memory");
    plan_of(spec, Path::new("/nowhere"))
}

/// A legal stack.
pub(crate) fn plan_of(spec: Spec, base: &Path) -> Plan {
    Plan::new(&spec, &registry(), base).unwrap()
}

/// A `remote` layer.
pub(crate) fn remote(address: SocketAddr) -> Layer {
    Layer::new("remote").with("address", address.to_string().as_str())
}

/// A stack that is `remote` alone.
pub(crate) fn over(address: SocketAddr) -> Plan {
    plan_of(Spec::linear([remote(address)]), Path::new("/"))
}

/// Opens a stack in the real world.
pub(crate) fn open(plan: &Plan) -> Result<Arc<dyn Store>> {
    Ok(plan.open(&Env::system(), Opening::default())?.store())
}

/// An engine on a stack, which remembers nothing that it does not have to.
pub(crate) fn engine(store: Arc<dyn Store>) -> Result<Engine> {
    let options = Options {
        recent_max: 0,
        level: store.status().level.min(Level::Disk),
        ..Options::default()
    };
    Engine::open(store, &Env::system(), options)
}

/// Commits a body under a name.
pub(crate) fn commit(engine: &Engine, name: &str, body: &[u8]) -> Result<Reference> {
    let session = engine.session()?;
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[body],
    };
    let reference = session.store(&record, Hint::default())?;
    let change = Change {
        name: Name::new(name).unwrap(),
        expect: Expect::Any,
        to: Some(reference),
    };
    session.commit(&[change], None).wait()?;
    Ok(reference)
}

/// What a name points to.
pub(crate) fn body(engine: &Engine, name: &str) -> Option<Vec<u8>> {
    let record = engine
        .snapshot()
        .read_root(&Name::new(name).unwrap())
        .unwrap();
    record.map(|record: Record| record.body().to_vec())
}
