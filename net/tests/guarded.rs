//! The services behind the guard: every method of the protocol is refused to nobody before it touches
//! anything, and whoever may only read moves no root by any of them.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use travertine_engine::conformance::model::ModelStore;
use travertine_engine::contract::{Env, ErrorKind, Level, Name};
use travertine_engine::front::{Engine, Options};
use travertine_net::accept::{Accept, Door};
use travertine_net::client::{Change, Client, NewRecord};
use travertine_net::connect::Endpoint;
use travertine_net::engine_service::{Bounds, EngineService};
use travertine_net::limits::Limits;
use travertine_net::proto::DESCRIPTORS;
use travertine_net::rights::{Granted, Live, Right, Rights, Token};
use travertine_net::server::Server;

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
    let never = std::future::pending();
    tokio::spawn(server.engine(&service).serve(incoming, never, PATIENCE));
    (engine, Endpoint::parse(&address).unwrap())
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
