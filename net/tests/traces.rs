//! A client's spans and a server's are of one trace. What is installed is the program's, so this is a
//! program of its own.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod rig;

use std::future::{Future, pending, poll_fn};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rig::{Served, engine, memory, open, plan_of, remote};
use travertine_engine::contract::trace::{TraceParent, Tracer, install, within};
use travertine_engine::contract::{Env, Level, Oid, Position, Stream};
use travertine_engine::front::Engine;
use travertine_engine::stack::{CALLS, Spec};
use travertine_net::accept::{Accept, Door};
use travertine_net::client::Client;
use travertine_net::connect::Endpoint;
use travertine_net::engine_service::{Bounds, EngineService};
use travertine_net::limits::Limits;
use travertine_net::rights::{Live, Rights};
use travertine_net::server::Server;

/// Which span went on from which trace.
static ADOPTED: Mutex<Vec<(&'static str, u128)>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Noting;

impl Tracer for Noting {
    fn current(&self) -> Option<TraceParent> {
        None
    }

    fn adopt(&self, span: &tracing::Span, caller: TraceParent) {
        let name = span.metadata().map_or("", |known| known.name());
        ADOPTED.lock().unwrap().push((name, caller.trace()));
    }
}

/// Wants the spans of calls, and keeps nothing of them.
#[derive(Default)]
struct Wanting(AtomicU64);

impl tracing::Subscriber for Wanting {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == CALLS
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1 + self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// The spans that went on from a trace, in order.
fn spans_of(trace: u128) -> Vec<&'static str> {
    let adopted = ADOPTED.lock().unwrap();
    let ours = adopted.iter().filter(|(_, of)| *of == trace);
    ours.map(|(name, _)| *name).collect()
}

#[test]
fn the_spans_of_a_client_and_of_its_server_are_one_trace() {
    tracing::subscriber::set_global_default(Wanting::default()).unwrap();
    install(Box::new(Noting)).unwrap();

    // Floors: the client's and the server's each have one span of the call.
    let served = Served::plan(memory(), &Env::system()).unwrap();
    let layer = remote(served.address)
        .with("level", "memory")
        .with("expects", "fences, proves absence, one stream");
    let spec = Spec::linear([layer]).level("memory");
    let store = open(&plan_of(spec, "/".as_ref())).unwrap();
    let nowhere = Oid::new(Stream(0), Position(16)).unwrap();
    let here = |trace| TraceParent::new(trace, 1, true);
    within(here(7), || store.read(nowhere).wait()).unwrap();
    assert_eq!(spans_of(7), ["read", "read"]);
    // What may block there goes to another thread, and takes the trace along.
    within(here(8), || store.scan(Stream(0), Position::START).wait()).unwrap();
    assert_eq!(spans_of(8), ["scan", "scan"]);
    store.read(nowhere).wait().unwrap();
    assert_eq!(
        ADOPTED.lock().unwrap().len(),
        4,
        "nobody's call is nobody's"
    );

    // A served engine: in a session, and alone.
    let engine = engine(open(&memory()).unwrap()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // What the engine cannot answer by itself, whatever the floors make of it.
    let elsewhere = Oid::new(Stream(9), Position(16)).unwrap();
    runtime.block_on(async {
        let client = client_of(&engine).await;
        let session = client.session().await.unwrap();
        let answer = traced(9, session.read(elsewhere)).await.unwrap();
        let _ = answer.await;
        let _ = traced(10, client.read(elsewhere)).await;
    });
    assert_eq!((spans_of(9), spans_of(10)), (vec!["read"], vec!["read"]));
}

/// Asks on behalf of somebody.
async fn traced<T>(trace: u128, asking: impl Future<Output = T>) -> T {
    let mut asking = Box::pin(asking);
    let here = TraceParent::new(trace, 1, true);
    poll_fn(move |context| within(here, || asking.as_mut().poll(context))).await
}

/// A client of an engine that is served.
async fn client_of(engine: &Engine) -> Client {
    let (env, limits) = (Env::system(), Limits::default());
    let bounds = Bounds::default();
    let service = EngineService::new(engine.clone(), &env, Level::Memory, "memory", bounds);
    let server = Server::new(limits.clone(), Live::fixed(Rights::everyone()), &env).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let incoming = Accept::bind(any, Door::Plain, &limits, &env).await.unwrap();
    let way = Endpoint::parse(&incoming.address().to_string()).unwrap();
    let server = server.engine(&service);
    tokio::spawn(server.serve(incoming, pending(), Duration::from_secs(1)));
    Client::connect(&way, &env).await.unwrap()
}
