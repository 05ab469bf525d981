//! Three `travertine serve --store` processes and a client whose stack is a `cluster` over them: what the
//! tests of that share.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of processes and files, which fails where it unwraps"
)]

#[path = "../desk/metrics.rs"]
mod metrics;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::ops::Bound;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use self::metrics::metrics;
use crate::desk::Desk;
use travertine::config::{Overrides, StackFile};
use travertine::contract::{Batch, Env, Name, Position, Status, Stream};
use travertine::front::Engine;
use travertine::interfaces::{Direction, Map, Tree, Value};
use travertine::stack::{Opening, Stack};

/// Far longer than anything takes on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// Rows of one commit.
pub(crate) const BATCH: u64 = 1_000;
/// What a log writes in front of a batch lies in these bytes of it, and is its own.
const SLOT: usize = 40;
/// The places of the servers' files.
pub(crate) const PLACES: [&str; 3] = ["one", "two", "three"];

/// A server, which may be running.
pub(crate) struct Server {
    pub(crate) place: &'static str,
    pub(crate) address: SocketAddr,
    running: Option<Child>,
}

impl Server {
    /// Begins to serve a directory, which need not be there.
    pub(crate) fn start(desk: &Desk, place: &'static str) -> Self {
        let stack = format!("[[layer]]\nuse = \"file\"\npath = \"{place}\"\nsegment = \"4 MiB\"\n");
        desk.file(&format!("{place}.toml"), stack);
        let mut server = Self {
            place,
            address: ([127, 0, 0, 1], 0).into(),
            running: None,
        };
        server.restart(desk);
        server
    }

    /// Begins to serve it again, where it was.
    pub(crate) fn restart(&mut self, desk: &Desk) {
        let (place, address) = (self.place, self.address);
        let line = format!("serve {place}.toml --store --listen {address} --json");
        let began = Instant::now();
        loop {
            match begin(desk.command(&line)) {
                Ok((child, address)) => {
                    (self.running, self.address) = (Some(child), address);
                    return;
                }
                Err(said) => assert!(began.elapsed() < PATIENCE, "{line}: {said}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as the plug would: by `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Begins to serve: the process and its address, or what it said instead.
pub(crate) fn begin(mut command: Command) -> Result<(Child, SocketAddr), String> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let facts: Option<serde_json::Value> = serde_json::from_str(&line).ok();
    let address = facts.and_then(|facts| facts["address"].as_str()?.parse().ok());
    match address {
        Some(address) => Ok((child, address)),
        None => {
            let _ = child.stderr.take().unwrap().read_to_string(&mut line);
            let _ = child.wait();
            Err(line)
        }
    }
}

/// The client's stack: a monitor, and a cluster over servers at these addresses.
pub(crate) fn stack_over(addresses: &[SocketAddr]) -> String {
    let mut text = "[[layer]]\nuse = \"monitor\"\nserve = \"127.0.0.1:0\"\n\
                    [[layer]]\nuse = \"cluster\"\nwait = \"5 min\"\nover = [\"a\", \"b\", \"c\"]\n"
        .to_owned();
    for (name, address) in ["a", "b", "c"].iter().zip(addresses) {
        text += &format!(
            "[[stack.{name}]]\nuse = \"remote\"\naddress = \"{address}\"\nretry = \"100 ms\"\ndeadline = \"3 s\"\n"
        );
    }
    text
}

/// Opens a stack, with an engine on it.
pub(crate) fn open(
    text: &str,
    base: &Path,
    read_only: bool,
) -> travertine::contract::Result<(Stack, Engine)> {
    let kinds = travertine::standard();
    let file = StackFile::parse("c.toml", text, base, &kinds, &Overrides::none()).unwrap();
    file.engine(&Env::system(), read_only)
}

/// A figure of the cluster, as the monitor has it.
pub(crate) fn figure(engine: &Engine, name: &str) -> u64 {
    figure_of(&floor(engine, "cluster"), name)
}

/// How the floor of this kind is, as the monitor has it.
pub(crate) fn floor(engine: &Engine, kind: &str) -> Status {
    fn find(status: &Status, kind: &str) -> Option<Status> {
        let below = || status.below.iter().find_map(|below| find(below, kind));
        (status.kind == kind).then(|| status.clone()).or_else(below)
    }
    find(&engine.status(), kind).unwrap()
}

fn figure_of(status: &Status, name: &str) -> u64 {
    let mut figures = status.figures.iter();
    figures.find(|(of, _)| *of == name).unwrap().1
}

/// A figure of the cluster, as the monitor tells whoever asks over HTTP.
pub(crate) fn told(engine: &Engine, name: &str) -> u64 {
    let port = figure_of(&floor(engine, "monitor"), "port");
    let whole = metrics(port);
    let line = whole
        .lines()
        .find(|line| line.contains(name) && !line.starts_with('#'));
    let line = line.unwrap_or_else(|| panic!("no {name} in {whole}"));
    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
}

/// The map that is written.
pub(crate) fn map() -> Map<Tree> {
    Map::new(Name::new("rows").unwrap(), Tree::default())
}

/// Keys in no order, each once: an odd factor permutes the numbers below a power of two.
pub(crate) fn key(row: u64) -> [u8; 8] {
    (row.wrapping_mul(0x9E37_79B1) & 0xFFFF_FFFF).to_be_bytes()
}

pub(crate) fn value(row: u64) -> String {
    format!("row {row} {}", "x".repeat((row * row % 61) as usize))
}

/// Writes the next rows, acknowledged when this returns.
pub(crate) fn write(engine: &Engine, rows: &mut u64, some: u64) {
    let session = engine.session().unwrap();
    let map = map();
    let mut turn = map.writer(&session);
    for row in *rows..*rows + some {
        turn.put(&key(row), value(row).as_bytes()).unwrap();
    }
    turn.commit(None).unwrap().wait().unwrap();
    *rows += some;
}

/// Writes so many batches, and then a little now and then until something holds.
pub(crate) fn write_until(engine: &Engine, rows: &mut u64, commits: u64, holds: impl Fn() -> bool) {
    (0..commits).for_each(|_| write(engine, rows, BATCH));
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{:?}", engine.status());
        std::thread::sleep(Duration::from_millis(10));
        write(engine, rows, 10);
    }
}

/// All rows are there, and nothing else.
pub(crate) fn all_there(engine: &Engine, rows: u64) {
    let reader = map().reader(&engine.snapshot()).wait().unwrap();
    let mut wanted: Vec<_> = (0..rows).map(|row| (key(row), row)).collect();
    wanted.sort_unstable();
    let mut found = reader.range(Bound::Unbounded, Bound::Unbounded, Direction::Forward);
    for (key, row) in wanted {
        let entry = found.next().unwrap().unwrap();
        assert_eq!(entry.key, key, "row {row}");
        let Value::Inline(text) = entry.value else {
            panic!("row {row} lies apart");
        };
        assert_eq!(text, value(row).as_bytes(), "row {row}");
    }
    assert!(found.next().unwrap().is_none());
}

/// Every batch that lies in a server's directory, which nobody serves now.
pub(crate) fn batches(desk: &Desk, place: &str) -> Vec<Batch> {
    let text = std::fs::read_to_string(desk.path().join(format!("{place}.toml"))).unwrap();
    let kinds = travertine::standard();
    let file = StackFile::parse("f.toml", &text, desk.path(), &kinds, &Overrides::none()).unwrap();
    let opening = Opening {
        read_only: true,
        ..Opening::default()
    };
    let stack = file.plan().open(&Env::system(), opening).unwrap();
    let store = stack.store();
    let (mut found, mut from) = (Vec::new(), Some(Position::START));
    while let Some(at) = from {
        let scanned = store.scan(Stream(0), at).wait().unwrap();
        assert!(scanned.sparse.is_none(), "nothing was given back");
        found.extend(scanned.batches);
        from = scanned.next;
    }
    found
}

/// All servers hold the same line of batches, byte for byte. What a log writes into the slot in front of a
/// batch is its own, and says what is durable there; and files need not be cut at the same places, for a
/// server that was killed goes on in the file that it had.
pub(crate) fn are_alike(desk: &Desk) -> usize {
    let first = batches(desk, PLACES[0]);
    for place in &PLACES[1..] {
        let other = batches(desk, place);
        assert_eq!(first.len(), other.len(), "{place}");
        for (one, other) in first.iter().zip(&other) {
            let place = format!("{place} at {}", one.header().base);
            assert_eq!(one.running(), other.running(), "{place}");
            assert!(one.bytes()[SLOT..] == other.bytes()[SLOT..], "{place}");
        }
    }
    first.len()
}

// Each test program uses a part of this file; naming all of it here keeps the others quiet.
const _: () = {
    let _ = (Server::start, Server::restart, Server::kill, told);
};
