//! A client and a server in a simulated network, by seed: the server is killed, loses its power, is
//! paused, slowed, and cut off one way and both ways, while a writer goes on. What was committed is
//! there in the end, byte for byte, and what was written is one line.
//!
//! `SEED=n` runs one seed, `SEEDS=n` says how many there are.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::conformance::kit::{Crash, Machine};
use travertine_engine::conformance::rng::Rng;
use travertine_engine::conformance::sim::{Class, Plan as DiskPlan};
use travertine_engine::contract::{
    Batch, BatchBuilder, Commit, End, Env, Epoch, Error, ErrorKind, Kind, Level, NewRecord, Oid,
    Position, Result, Store, Stream,
};
use travertine_engine::stack::{Layer, Opening, Plan, Properties, Property, Spec};
use travertine_net::accept::{Accept, Door, Listener};
use travertine_net::connect::{Dial, Dialing, Endpoint};
use travertine_net::limits::Limits as Bounds;
use travertine_net::remote::{Reach, Reaching, RemoteStore, Role, Settings};
use travertine_net::store_service::{Limits, Offer, StoreService};
use turmoil::net::{TcpListener, TcpStream};

const PORT: u16 = 7411;

/// Connections of the simulated network.
#[derive(Debug, Clone, Copy)]
struct Simulated;

impl Dial for Simulated {
    type Io = TcpStream;

    fn dial(&self, host: &str, port: u16) -> Dialing<TcpStream> {
        let host = host.to_owned();
        Box::pin(async move { TcpStream::connect((host, port)).await })
    }
}

#[derive(Debug)]
struct Server(Endpoint);

impl Reach for Server {
    fn reach(&self, env: &Env) -> Reaching {
        let (endpoint, env) = (self.0.clone(), env.clone());
        Box::pin(async move { endpoint.connect_over(Simulated, &env).await })
    }
}

type Accepting = Pin<Box<dyn Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send>>;

/// Accepts them.
struct Listening {
    listener: Arc<TcpListener>,
    next: Option<Accepting>,
}

impl Listener for Listening {
    type Io = TcpStream;

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let listener = self.listener.clone();
        let next = self
            .next
            .get_or_insert_with(|| Box::pin(async move { listener.accept().await }));
        let accepted = std::task::ready!(next.as_mut().poll(context));
        self.next = None;
        Poll::Ready(accepted)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A log on a simulated machine.
fn plan() -> Plan {
    let layer = Layer::new("file")
        .with("path", "/log")
        .with("segment", "64 KiB");
    let registry = travertine_plugins::standard();
    Plan::new(&Spec::linear([layer]), &registry, Path::new("/")).unwrap()
}

fn open(machine: &Machine, env: &Env) -> Result<Arc<dyn Store>> {
    let opening = Opening {
        media: Some(Arc::new(machine.clone())),
        ..Opening::default()
    };
    Ok(plan().open(env, opening)?.store())
}

/// One run of the server. Whoever comes stays, or is sent away after the welcome.
async fn serve(machine: Machine, env: Env, stays: bool) -> turmoil::Result {
    let opened = (machine, env.clone());
    let offer = Offer::new(
        Level::Disk,
        Properties::all_but(&[Property::Parts]),
        move || open(&opened.0, &opened.1),
    );
    let service = StoreService::open(offer, Limits::default(), &env)?;
    if !stays {
        service.drain();
    }
    let listener = Listening {
        listener: Arc::new(TcpListener::bind(("0.0.0.0", PORT)).await?),
        next: None,
    };
    let bounds = Bounds::default();
    let accept = Accept::over(listener, Door::PlainAnywhere, &bounds, &env)?;
    bounds
        .server()
        .add_service(service.server())
        .serve_with_incoming(accept)
        .await?;
    Ok(())
}

fn settings() -> Settings {
    Settings {
        address: format!("store:{PORT}"),
        level: Level::Disk,
        properties: Properties::all_but(&[Property::Parts]),
        deadline: Duration::from_secs(3),
        connect: Duration::from_secs(2),
        retry: Duration::from_millis(300),
        calls: 64,
        bytes: 1 << 20,
        keep: 64 << 20,
        refresh: Duration::from_millis(500),
        read_only: false,
        identity: None,
        stream: Stream(0),
        role: Role::default(),
    }
}

/// A writer that holds on: what it does not know it asks again.
struct Writer {
    store: RemoteStore,
    epoch: Epoch,
    end: End,
    ceiling: Position,
    unit: u64,
    /// The next batch begins at a unit: one before it was committed.
    aligned: bool,
    rng: Rng,
    lines: Vec<Vec<u8>>,
    /// All that it stored, and how many of them were committed.
    batches: Vec<Batch>,
    committed: Arc<AtomicU64>,
}

/// Asks until the answer is known.
async fn ask<T>(mut call: impl FnMut() -> travertine_engine::contract::Op<T>) -> Result<T> {
    loop {
        match call().await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer,
        }
    }
}

impl Writer {
    async fn begin(seed: u64, env: &Env, committed: Arc<AtomicU64>) -> Result<Self> {
        let endpoint = Endpoint::parse(&format!("store:{PORT}"))?.plain_text(true);
        let reach = Arc::new(Server(endpoint));
        let store = loop {
            let (store, opened) = RemoteStore::begin(env, settings(), reach.clone(), |task| {
                tokio::spawn(task);
            });
            match opened.await {
                Ok(()) => break store,
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                Err(error) => return Err(error),
            }
        };
        let epoch = Epoch { number: 1, tag: 7 };
        let states = ask(|| store.fence(epoch)).await?;
        let end = states[0].end;
        ask(|| store.adopt(epoch, vec![(Stream(0), end)])).await?;
        Ok(Self {
            epoch,
            end,
            ceiling: Position(states[0].ceiling.0.max(end.position.0)),
            unit: store.status().unit,
            aligned: true,
            store,
            rng: Rng::new(seed),
            lines: Vec::new(),
            batches: Vec::new(),
            committed,
        })
    }

    fn batch(&mut self) -> Batch {
        let unit = if std::mem::take(&mut self.aligned) {
            self.unit / 8
        } else {
            1
        };
        let base = Position(self.end.position.0.next_multiple_of(unit));
        let mut builder = BatchBuilder::new(Stream(0), base, self.end, self.epoch, 0);
        let most = [40, 900, 20_000][self.rng.below_usize(3)];
        let length = self.rng.below_usize(most) + 1;
        let body = self.rng.bytes(length);
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        builder.push(&record).unwrap();
        let batch = builder.finish(None, false);
        self.end = End {
            position: batch.header().end,
            running: batch.running(),
        };
        self.lines.push(body);
        self.batches.push(batch.clone());
        batch
    }

    /// Stores some batches, several on their way at once, and commits.
    async fn round(&mut self) -> Result<()> {
        let mut asked = Vec::new();
        for _ in 0..self.rng.below_usize(6) + 1 {
            let batch = self.batch();
            asked.push((batch.clone(), self.store.store(self.epoch, batch)));
        }
        let last = if self.rng.chance(1, 2) {
            vec![self.batch()]
        } else {
            Vec::new()
        };
        let commit = Commit {
            sender: self.epoch,
            level: Level::Disk,
            last,
        };
        let first = self.store.commit(commit.clone());
        for (batch, op) in asked {
            match op.await {
                Ok(tail) => self.ceiling = self.ceiling.max(tail.ceiling),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    ask(|| self.store.store(self.epoch, batch.clone())).await?;
                }
                Err(error) => return Err(error),
            }
        }
        // What was answered may have been a commit of less than all of it.
        let answered = first.await;
        let level = match answered {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                ask(|| self.store.commit(commit.clone())).await?
            }
            answered => answered?,
        };
        assert_eq!(level, Level::Disk);
        self.aligned = true;
        let count = self.batches.len() as u64;
        self.committed.store(count, Ordering::Release);
        Ok(())
    }

    async fn read_back(&self) -> Result<()> {
        for (batch, body) in self.batches.iter().zip(&self.lines) {
            let (oid, _) = batch.records().next().unwrap();
            let found = ask(|| self.store.read(oid)).await?;
            assert_eq!(found.unwrap().body(), body.as_slice(), "at {oid}");
        }
        let above = Oid::new(Stream(0), self.end.position.plus_bytes(128)).unwrap();
        assert_eq!(ask(|| self.store.read(above)).await?, None);
        Ok(())
    }
}

/// What may happen to the network and the server.
fn trouble(sim: &mut turmoil::Sim<'_>, machine: &Machine, rng: &mut Rng, down: &mut Down) {
    match rng.below(8) {
        0 | 1 if !down.server => {
            let crash = if rng.chance(1, 2) {
                Crash::Kill
            } else {
                Crash::PowerCut
            };
            sim.crash("store");
            machine.crash(crash);
            down.server = true;
        }
        2 => sim.hold("client", "store"),
        3 => sim.partition_oneway("client", "store"),
        4 => sim.partition_oneway("store", "client"),
        5 => sim.partition("client", "store"),
        6 => {
            let slow = Duration::from_millis(rng.below(200) + 1);
            sim.set_link_latency("client", "store", slow);
        }
        _ => {}
    }
    down.for_steps = rng.below(400) + 1;
}

#[derive(Default)]
struct Down {
    server: bool,
    for_steps: u64,
}

/// Everything is well again.
fn relief(sim: &mut turmoil::Sim<'_>, down: &mut Down) {
    if std::mem::take(&mut down.server) {
        sim.bounce("store");
    }
    sim.release("client", "store");
    sim.repair("client", "store");
    sim.set_link_latency("client", "store", Duration::from_millis(1));
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let machine = Machine::new(seed, DiskPlan::draw(seed, Class::Crash));
    let sim_env = SimEnv::new(seed);
    let env = sim_env.env().clone();
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(600))
        .tick_duration(Duration::from_millis(2))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(5))
        .tcp_capacity(4_096)
        .rng_seed(seed)
        .build();
    let served = (machine.clone(), env.clone());
    sim.host("store", move || {
        serve(served.0.clone(), served.1.clone(), true)
    });
    let committed = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let kept: Arc<Mutex<Vec<Batch>>> = Arc::default();
    let seen = (committed.clone(), done.clone(), kept.clone());
    sim.client("client", async move {
        let mut writer = Writer::begin(seed, &env, seen.0).await?;
        for _ in 0..40 {
            writer.round().await?;
            tokio::time::sleep(Duration::from_millis(writer.rng.below(60))).await;
        }
        seen.1.store(true, Ordering::Release);
        writer.read_back().await?;
        seen.2.lock().unwrap().clone_from(&writer.batches);
        Ok(())
    });
    let mut down = Down::default();
    loop {
        let over = sim
            .step()
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        if over {
            break;
        }
        if down.for_steps > 0 {
            down.for_steps -= 1;
            if down.for_steps == 0 {
                relief(&mut sim, &mut down);
            }
        } else if !done.load(Ordering::Acquire) && rng.chance(1, 150) {
            trouble(&mut sim, &machine, &mut rng, &mut down);
        }
    }
    let batches = kept.lock().unwrap().clone();
    assert_eq!(committed.load(Ordering::Acquire), batches.len() as u64);
    drop(sim);
    // Once more at home, after a last loss of power: all of it was committed.
    machine.crash(Crash::PowerCut);
    let home = open(&machine, sim_env.env()).unwrap();
    let mut found = Vec::new();
    let mut from = Some(Position::START);
    while let Some(at) = from {
        let scanned = home.scan(Stream(0), at).wait().unwrap();
        found.extend(scanned.batches);
        from = scanned.next;
    }
    assert_eq!(found.len(), batches.len(), "seed {seed}");
    for (found, stored) in found.iter().zip(&batches) {
        assert_eq!(found.running(), stored.running(), "seed {seed}");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_committed_is_lost_whatever_happens_to_server_and_network() {
    if let Some(seed) = number("SEED") {
        return run(seed);
    }
    for seed in 0..number("SEEDS").unwrap_or(60) {
        run(seed);
    }
}

#[test]
fn a_server_that_comes_back_with_another_store_is_refused() {
    let env = SimEnv::new(3).env().clone();
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(60))
        .tick_duration(Duration::from_millis(2))
        .rng_seed(3)
        .build();
    let machine = Arc::new(Mutex::new(Machine::new(3, DiskPlan::calm())));
    let (served, server_env) = (machine.clone(), env.clone());
    sim.host("store", move || {
        serve(served.lock().unwrap().clone(), server_env.clone(), true)
    });
    let replaced = Arc::new(AtomicBool::new(false));
    let ready = Arc::new(AtomicBool::new(false));
    let (wait, tell) = (replaced.clone(), ready.clone());
    sim.client("client", async move {
        let mut writer = Writer::begin(3, &env, Arc::default()).await?;
        writer.round().await?;
        tell.store(true, Ordering::Release);
        while !wait.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (oid, _) = writer.batches[0].records().next().unwrap();
        let error: Error = ask(|| writer.store.read(oid)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().contains("store"), "{error}");
        let batch = writer.batch();
        let error = ask(|| writer.store.store(writer.epoch, batch.clone())).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
        Ok(())
    });
    while !sim.step().unwrap() {
        if ready.load(Ordering::Acquire) && !replaced.load(Ordering::Acquire) {
            sim.crash("store");
            *machine.lock().unwrap() = Machine::new(4, DiskPlan::calm());
            sim.bounce("store");
            replaced.store(true, Ordering::Release);
        }
    }
}

/// Counts how often it is asked for a connection.
#[derive(Debug)]
struct Counted(Server, Arc<AtomicU64>);

impl Reach for Counted {
    fn reach(&self, env: &Env) -> Reaching {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.reach(env)
    }
}

#[test]
fn who_is_welcomed_and_sent_away_at_once_comes_ever_more_seldom() {
    let env = SimEnv::new(5).env().clone();
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(300))
        .tick_duration(Duration::from_millis(2))
        .rng_seed(5)
        .build();
    let (machine, server_env) = (Machine::new(5, DiskPlan::calm()), env.clone());
    sim.host("store", move || {
        serve(machine.clone(), server_env.clone(), false)
    });
    let came = Arc::new(AtomicU64::new(0));
    let counted = came.clone();
    sim.client("client", async move {
        let endpoint = Endpoint::parse(&format!("store:{PORT}"))?.plain_text(true);
        let reach = Arc::new(Counted(Server(endpoint), counted));
        let settings = Settings {
            retry: Duration::from_secs(2),
            ..settings()
        };
        let (store, opened) = RemoteStore::begin(&env, settings, reach, |task| {
            tokio::spawn(task);
        });
        opened.await?;
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(store);
        Ok(())
    });
    sim.run().unwrap();
    // Once the pauses have grown, one time in one to two seconds.
    let came = came.load(Ordering::Relaxed);
    assert!((5..=80).contains(&came), "{came} times in a minute");
}
