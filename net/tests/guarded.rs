//! The services behind the guard: every method of the protocol is refused to nobody before it touches
//! anything, and whoever may only read moves no root by any of them.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![expect(
    clippy::disallowed_methods,
    reason = "certificates and tokens are files"
)]

mod house;

use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use house::Papers;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use travertine_engine::conformance::model::ModelStore;
use travertine_engine::contract::{
    BatchBuilder, Commit, End, Env, Epoch, ErrorKind, Level, Name, Position, Reclaim, Result,
    RootAt, Store, Stream,
};
use travertine_engine::front::{Engine, Options};
use travertine_engine::stack::{Layer, Opening, Plan, Properties, Spec, Table};
use travertine_net::accept::{Accept, Door};
use travertine_net::client::{Change, Client, NewRecord};
use travertine_net::connect::Endpoint;
use travertine_net::engine_service::{Bounds, EngineService};
use travertine_net::limits::Limits;
use travertine_net::proto::DESCRIPTORS;
use travertine_net::remote::Remote;
use travertine_net::rights::{Granted, Live, Right, Rights, Token};
use travertine_net::server::Server;
use travertine_net::store_service::{self, Offer, StoreService};

const PATIENCE: Duration = Duration::from_secs(120);

async fn serve(rights: Rights) -> (Engine, Endpoint) {
    let env = Env::system();
    let store = Arc::new(ModelStore::default());
    let engine = Engine::open(store, &env, Options::default()).unwrap();
    let bounds = Bounds::default();
    let service = EngineService::new(engine.clone(), &env, Level::Disk, "model", bounds);
    let limits = Limits::default();
    let server = Server::new(limits.clone(), Live::fixed(rights), &env).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let incoming = Accept::bind(any, Door::Plain, &limits, &env).await.unwrap();
    let address = incoming.address().to_string();
    let server = server.engine(&service).store(&floors());
    tokio::spawn(server.serve(incoming, pending(), PATIENCE));
    (engine, Endpoint::parse(&address).unwrap())
}

/// Floors in memory, as a service.
fn floors() -> StoreService {
    let env = Env::system();
    let store = open(Layer::new("memory")).unwrap();
    let offer = Offer::new(Level::Memory, Properties::ALL, move || Ok(store.clone()));
    StoreService::open(offer, store_service::Limits::default(), &env).unwrap()
}

/// Every method that the protocol has.
fn methods() -> Vec<String> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let ours = files
        .iter()
        .filter(|file| file.package().starts_with("travertine."));
    let methods = ours.flat_map(|file| {
        file.service.iter().flat_map(|service| {
            let name = format!("/{}.{}", file.package(), service.name());
            service
                .method
                .iter()
                .map(move |method| format!("{name}/{}", method.name()))
        })
    });
    methods.collect()
}

#[tokio::test]
async fn every_method_is_refused_to_nobody() {
    let token = Token::generate().unwrap();
    let mut rights = Rights::none();
    rights
        .token("powerless", token.hash(), Granted::NONE)
        .unwrap();
    let (engine, endpoint) = serve(rights).await;
    let env = Env::system();
    let methods = methods();
    assert!(methods.len() >= 8, "{methods:?}");
    for endpoint in [endpoint.clone(), endpoint.token(token)] {
        let channel = endpoint.connect(&env).await.unwrap();
        for method in &methods {
            let mut grpc = Grpc::new(channel.clone());
            grpc.ready().await.unwrap();
            let path: PathAndQuery = method.parse().unwrap();
            let codec = tonic_prost::ProstCodec::<(), ()>::default();
            let call = grpc.unary(tonic::Request::new(()), path, codec);
            let status = tokio::time::timeout(PATIENCE, call)
                .await
                .unwrap()
                .unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied, "{method}: {status}");
        }
    }
    assert_eq!(engine.snapshot().sequence(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_only_read_moves_no_root() {
    let (reader, writer) = (Token::generate().unwrap(), Token::generate().unwrap());
    let (appender, mover) = (Token::generate().unwrap(), Token::generate().unwrap());
    let mut rights = Rights::none();
    let all = Granted::of(&[Right::Read, Right::Append, Right::Commit]);
    rights.token("writer", writer.hash(), all).unwrap();
    rights
        .token("reader", reader.hash(), Granted::of(&[Right::Read]))
        .unwrap();
    let appends = Granted::of(&[Right::Read, Right::Append]);
    rights.token("appender", appender.hash(), appends).unwrap();
    let moves = Granted::of(&[Right::Read, Right::Commit]);
    rights.token("mover", mover.hash(), moves).unwrap();
    let (engine, endpoint) = serve(rights).await;
    let client = async |token: Token| {
        let endpoint = endpoint.clone().token(token);
        Client::connect(&endpoint, &Env::system()).await.unwrap()
    };
    let name = Name::new("n").unwrap();
    let writer = client(writer).await;
    let session = writer.session().await.unwrap();
    let stored = session
        .store(NewRecord::blob("one"))
        .await
        .unwrap()
        .await
        .unwrap();
    let change = Change::set(name.clone(), stored);
    session
        .commit(vec![change.clone()], None)
        .await
        .unwrap()
        .await
        .unwrap();
    let sequence = engine.snapshot().sequence();

    let reader = client(reader).await;
    assert_eq!(reader.root(&name).await.unwrap(), Some(stored));
    reader.read(stored).await.unwrap().unwrap();
    reader.status().await.unwrap();
    let records = vec![NewRecord::blob("two")];
    for error in [
        reader.store(NewRecord::blob("two")).await.unwrap_err(),
        reader
            .commit(Vec::new(), vec![change.clone()], None)
            .await
            .unwrap_err(),
        reader
            .commit(records.clone(), Vec::new(), None)
            .await
            .unwrap_err(),
        reader.session().await.unwrap_err(),
        // Whoever may store may not therefore move a name, and the other way round.
        client(appender)
            .await
            .commit(Vec::new(), vec![change], None)
            .await
            .unwrap_err(),
        client(mover)
            .await
            .commit(records, Vec::new(), None)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().contains("lacks the right"), "{error}");
    }
    assert_eq!(engine.snapshot().sequence(), sequence);
    assert_eq!(reader.root(&name).await.unwrap(), Some(stored));
}

/// A stack of this one layer.
fn plan(layer: Layer) -> Plan {
    let spec = Spec::linear([layer]).level("memory");
    let registry = travertine_plugins::standard().with::<Remote>();
    Plan::new(&spec, &registry, Path::new("/nowhere")).unwrap()
}

fn open(layer: Layer) -> Result<Arc<dyn Store>> {
    let opened = plan(layer).open(&Env::system(), Opening::default())?;
    Ok(opened.store())
}

/// Floors in memory, served on threads of their own.
struct Floors {
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Floors {
    fn serve(door: Door, rights: Rights) -> Self {
        let (env, limits) = (Env::system(), Limits::default());
        let server = Server::new(limits.clone(), Live::fixed(rights), &env).unwrap();
        let runtime = travertine_net::server::runtime().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let incoming = runtime
            .block_on(Accept::bind(any, door, &limits, &env))
            .unwrap();
        let address = incoming.address();
        runtime.spawn(server.store(&floors()).serve(incoming, pending(), PATIENCE));
        let runtime = Some(runtime);
        Self { address, runtime }
    }

    /// A layer that goes on there.
    fn remote(&self) -> Layer {
        let address = format!("localhost:{}", self.address.port());
        let expects = "fences, proves absence, one stream, notes";
        Layer::new("remote")
            .with("address", address)
            .with("level", "memory")
            .with("expects", expects)
    }
}

impl Drop for Floors {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[test]
fn a_stack_goes_on_over_mutual_tls_and_without_papers_it_does_not_open() {
    let papers = Papers::new();
    let served = Floors::serve(papers.door(), Rights::everyone());
    let path = |path: std::path::PathBuf| path.display().to_string();
    let authority = Table::default().with("ca", path(papers.cert("ca")));
    let both = authority
        .clone()
        .with("cert", path(papers.cert("client")))
        .with("key", path(papers.key("client")));
    let store = open(served.remote().with("tls", both)).unwrap();
    let epoch = Epoch { number: 1, tag: 7 };
    let states = store.fence(epoch).wait().unwrap();
    assert_eq!(states.len(), 1);
    assert!(store.root(RootAt::Newest).wait().unwrap().is_none());
    for layer in [served.remote(), served.remote().with("tls", authority)] {
        let error = open(layer.with("connect", "2 s")).unwrap_err();
        let kinds = [ErrorKind::Invalid, ErrorKind::Unavailable];
        assert!(kinds.contains(&error.kind()), "{error}");
    }
}

#[test]
fn over_a_served_store_whoever_may_only_read_changes_nothing() {
    let token = Token::generate().unwrap();
    let mut rights = Rights::none();
    let reads = Granted::of(&[Right::Read]);
    rights.token("reader", token.hash(), reads).unwrap();
    let served = Floors::serve(Door::Plain, rights);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, token.reveal()).unwrap();
    let layer = served.remote().with("token", file.display().to_string());
    let shelves = plan(layer.clone()).shelves(&Env::system(), &Opening::default());
    let store = open(layer).unwrap();
    assert!(store.root(RootAt::Newest).wait().unwrap().is_none());
    // What others have noted there it may read.
    assert_eq!(shelves[0].read("it").unwrap(), None);
    // The number zero refuses nobody: it looks how the streams lie.
    let nobody = Epoch { number: 0, tag: 0 };
    let states = store.fence(nobody).wait().unwrap();
    let (stream, before) = (states[0].stream, states[0].end);
    let sender = Epoch { number: 1, tag: 7 };
    let batch = BatchBuilder::new(stream, before.position, before, sender, 0).finish(None, false);
    let commit = Commit {
        sender,
        level: Level::Memory,
        last: Vec::new(),
    };
    let reclaim = Reclaim {
        sender,
        stream,
        from: Position::START,
        to: Position::START,
        alive: [].into(),
        left: None,
    };
    let ends: Vec<(Stream, End)> = vec![(stream, before)];
    for error in [
        store.fence(sender).wait().unwrap_err(),
        store.adopt(sender, ends).wait().unwrap_err(),
        store.store(sender, batch).wait().unwrap_err(),
        store.commit(commit).wait().unwrap_err(),
        store.reclaim(reclaim).wait().unwrap_err(),
        shelves[0].replace("it", None, b"mine").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().contains("lacks the right"), "{error}");
    }
}
