//! Servers and ways that say nothing any more: whoever waits is told in time.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "these are tests, with threads and listeners of their own"
)]

mod rig;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rig::{Served, body, commit, engine, memory, open, plan_of, remote};
use travertine_engine::contract::{Env, ErrorKind, Level, Oid, Store as _, Stream};
use travertine_engine::stack::{Properties, Spec};
use travertine_net::remote::{Reach, Reaching, RemoteStore, Role, Settings};

/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// A way to a server, of which the first so many connections can be made silent without being closed.
#[derive(Debug)]
struct Way {
    address: SocketAddr,
    silent: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Way {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Self {
            address: listener.local_addr().unwrap(),
            silent: Arc::default(),
            connections: Arc::default(),
        };
        let (silent, connections) = (way.silent.clone(), way.connections.clone());
        std::thread::spawn(move || {
            for here in listener.incoming() {
                let (here, there) = (here.unwrap(), TcpStream::connect(server).unwrap());
                let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                for stream in [&here, &there] {
                    stream.set_nodelay(true).unwrap();
                }
                carry(
                    here.try_clone().unwrap(),
                    there.try_clone().unwrap(),
                    number,
                    &silent,
                );
                carry(there, here, number, &silent);
            }
        });
        way
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, number: usize, silent: &Arc<AtomicUsize>) {
    let silent = silent.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 16 << 10];
        while let Ok(1..) = from.peek(&mut bytes) {
            let length = from.read(&mut bytes).unwrap_or(0);
            // What is lost is lost without a word.
            let lost = number <= silent.load(Ordering::SeqCst);
            if !lost && to.write_all(&bytes[..length]).is_err() {
                return;
            }
        }
    });
}

#[test]
fn a_call_over_a_way_that_went_silent_is_answered_by_another_within_its_time() {
    let served = Served::plan(memory(), &Env::system()).unwrap();
    let way = Way::to(served.address);
    let layer = remote(way.address)
        .with("level", "memory")
        .with("expects", "fences")
        .with("deadline", "24 s");
    let plan = plan_of(Spec::linear([layer]).level("memory"), "/".as_ref());
    let engine = engine(open(&plan).unwrap()).unwrap();
    commit(&engine, "it", b"before").unwrap();
    way.silent
        .store(way.connections.load(Ordering::SeqCst), Ordering::SeqCst);
    commit(&engine, "it", b"after").unwrap();
    assert_eq!(body(&engine, "it").unwrap(), b"after");
}

/// Reaches nobody, and does not say so.
#[derive(Debug)]
struct Nowhere;

impl Reach for Nowhere {
    fn reach(&self, _: &Env) -> Reaching {
        Box::pin(std::future::pending())
    }
}

#[test]
fn whoever_waits_is_told_when_what_drives_the_floor_is_gone() {
    let settings = Settings {
        address: "nowhere".to_owned(),
        level: Level::Memory,
        properties: Properties::NONE,
        deadline: 10 * PATIENCE,
        connect: 10 * PATIENCE,
        retry: Duration::from_secs(1),
        calls: 8,
        bytes: 1 << 20,
        keep: 1 << 20,
        refresh: PATIENCE,
        read_only: true,
        identity: None,
        stream: Stream::default(),
        role: Role::default(),
    };
    let task = Mutex::new(None);
    let (store, _opened) = RemoteStore::begin(&Env::system(), settings, Arc::new(Nowhere), |it| {
        *task.lock().unwrap() = Some(it);
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let driving = runtime.spawn(task.into_inner().unwrap().unwrap());
    let waiting = store.read(Oid::from_raw(64).unwrap());
    driving.abort();
    let (say, heard) = mpsc::channel();
    std::thread::spawn(move || say.send(waiting.wait().map(drop)));
    let told = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(told.unwrap_err().kind(), ErrorKind::Closed);
    let later = store.read(Oid::from_raw(64).unwrap()).wait();
    assert_eq!(later.unwrap_err().kind(), ErrorKind::Closed);
}
