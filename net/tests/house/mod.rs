//! A small house for tests of the door: certificates, a server of one service, clients, and a log.
#![expect(dead_code, reason = "each test uses its part of it")]

use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;
use travertine_engine::contract::{Clock, Env, Error, Result};
use travertine_net::accept::{Accept, Counts, Door};
use travertine_net::certs::{Authority, LEAF, Use};
use travertine_net::connect::{Channel, Endpoint};
use travertine_net::limits::Limits;
use travertine_net::rights::{Asks, Guard, Live, Rights, Verb};

/// Longer than anything takes that is not broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "it never came true that {what}");
}

/// Waits for an answer, not for ever.
pub(crate) async fn soon<T>(what: &str, answer: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => panic!("{what}: no answer"),
    }
}

/// Limits that no machine is too slow for.
pub(crate) fn calm() -> Limits {
    Limits {
        handshake: PATIENCE,
        item: PATIENCE,
        message: PATIENCE,
        write: PATIENCE,
        keepalive_timeout: PATIENCE,
        ..Limits::default()
    }
}

/// A directory of certificates.
#[derive(Debug)]
pub(crate) struct Papers {
    pub(crate) dir: tempfile::TempDir,
}

impl Papers {
    /// An authority `ca`, a certificate `server` for localhost, and a client's `client`.
    pub(crate) fn new() -> Self {
        let papers = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let authority = Authority::new("a test's authority", &Env::system()).unwrap();
        papers.put("ca", &authority.pair());
        papers.sign(
            &authority,
            "server",
            &["localhost", "127.0.0.1"],
            Use::Server,
            LEAF,
        );
        papers.sign(&authority, "client", &["client.example"], Use::Client, LEAF);
        papers
    }

    pub(crate) fn put(&self, name: &str, pair: &travertine_net::certs::Pair) {
        std::fs::write(self.cert(name), &pair.cert).unwrap();
        std::fs::write(self.key(name), &pair.key).unwrap();
    }

    pub(crate) fn sign(
        &self,
        by: &Authority,
        name: &str,
        names: &[&str],
        what_for: Use,
        lasts: Duration,
    ) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        self.put(name, &by.sign(&names, what_for, lasts).unwrap());
    }

    pub(crate) fn cert(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.pem"))
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.key"))
    }

    /// A door for whoever has a certificate of the authority.
    pub(crate) fn door(&self) -> Door {
        Door::tls(
            self.cert("server"),
            self.key("server"),
            Some(self.cert("ca")),
        )
    }

    /// The way to a server, with the certificate of this name.
    pub(crate) fn way(&self, address: SocketAddr, name: &str) -> Endpoint {
        endpoint(address)
            .ca(self.cert("ca"))
            .cert(self.cert(name))
            .key(self.key(name))
    }
}

pub(crate) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::parse(&format!("localhost:{}", address.port())).unwrap()
}

/// A server that serves nothing but its health.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    pub(crate) live: Arc<Live>,
    pub(crate) reporter: HealthReporter,
    task: tokio::task::JoinHandle<()>,
}

/// The health service stands for verbs here: to ask once reads, to watch appends.
fn paths(path: &str) -> Option<Asks> {
    match path {
        "/verbs/none" => Some(Asks::Nothing),
        "/verbs/some" => Some(Asks::Something),
        _ => Verb::by_name(path.strip_prefix("/verbs/")?).map(Asks::Verb),
    }
}

impl House {
    pub(crate) async fn open(door: Door, limits: &Limits, rights: Rights, env: &Env) -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        let accept = Accept::bind(address, door, limits, env).await.unwrap();
        let (address, counts) = (accept.address(), accept.counts());
        let (reporter, health) = tonic_health::server::health_reporter();
        let live = Live::fixed(rights);
        let serving = limits
            .server()
            .layer(Guard::new(live.clone(), env).paths(paths))
            .add_service(health)
            .serve_with_incoming(accept);
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self {
            address,
            counts,
            live,
            reporter,
            task,
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks for the health of the server behind an endpoint: whether it was reached and answered.
pub(crate) async fn ask(endpoint: &Endpoint) -> Result<()> {
    let channel = soon("connecting", endpoint.connect(&Env::system())).await?;
    well(&channel).await
}

/// Whether whoever is behind this channel is well; an error says all that lies behind it.
pub(crate) async fn well(channel: &Channel) -> Result<()> {
    let mut client = HealthClient::new(channel.clone());
    let answer = soon("health", client.check(HealthCheckRequest::default())).await;
    let answer = answer.map_err(|status| {
        let mut text = status.to_string();
        let mut next = std::error::Error::source(&status);
        while let Some(source) = next {
            let _ = write!(text, ": {source}");
            next = source.source();
        }
        Error::unavailable(text)
    })?;
    assert_eq!(answer.into_inner().status, 1);
    Ok(())
}

/// What is logged while it is held, by this thread: so a test of it has one thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(Writer {
            log: log.clone(),
            spans: AtomicU64::new(1),
        });
        (log, guard)
    }

    /// The lines that hold this.
    pub(crate) fn lines(&self, with: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines
            .iter()
            .filter(|line| line.contains(with))
            .cloned()
            .collect()
    }
}

struct Writer {
    log: Log,
    spans: AtomicU64,
}

impl tracing::Subscriber for Writer {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let mut line = Line(attributes.metadata().name().to_owned());
        attributes.record(&mut line);
        self.log.0.lock().unwrap().push(line.0);
        tracing::span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        self.log.0.lock().unwrap().push(line.0);
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        self.log.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

/// A clock of the system's that is ahead of time.
#[derive(Debug)]
pub(crate) struct Ahead(pub(crate) Arc<dyn Clock>, pub(crate) Duration);

impl Clock for Ahead {
    fn monotonic_ns(&self) -> u64 {
        self.0.monotonic_ns()
    }

    fn unix_us(&self) -> u64 {
        self.0.unix_us() + self.1.as_micros() as u64
    }

    fn sleep(&self, time: Duration) {
        self.0.sleep(time);
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
