//! Opening a large store: how long it takes, and what it reads, after a clean close and after a crash.
//!
//! `cargo bench -p travertine-benches --bench open [-- --quick]`; the directory is `TMPDIR`, which needs
//! room for the larger of the two sizes, once. Each store is built, opened many times and removed.
//! Opening means: the stack, the engine on it, and the names of the newest commit. Pages are warm, as
//! after a restart of the process; what would have to come from the device is told by the reads.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures with the system's clock"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use travertine_benches::counted::{CountedMedia, Counts};
use travertine_engine::contract::{Env, Kind, Level, Name, NewRecord, Store};
use travertine_engine::front::{Change, Engine, Expect, Hint, Options};
use travertine_engine::stack::{Layer, Opening, Plan, Spec};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const RECORD: usize = 1 << 20;
const OPENINGS: usize = 41;

fn main() -> Outcome<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let sizes: [u64; 2] = if quick {
        [64 << 20, 640 << 20]
    } else {
        [1 << 30, 10 << 30]
    };
    println!(
        "{:<34} {:>7} {:>9} {:>9} {:>9} {:>10} {:>6} {:>10} {:>5}",
        "stack", "MiB", "best us", "median", "worst", "reading", "reads", "bytes read", "maps"
    );
    for size in sizes {
        for (name, layers) in stacks(quick) {
            one(name, layers, size)?;
        }
    }
    Ok(())
}

fn stacks(quick: bool) -> Vec<(&'static str, Vec<Layer>)> {
    let segment = if quick { "4 MiB" } else { "64 MiB" };
    let part = if quick { "16 MiB" } else { "256 MiB" };
    let file = || {
        Layer::new("file")
            .with("path", "data")
            .with("segment", segment)
    };
    vec![
        ("file", vec![file()]),
        (
            "sequence over file",
            vec![Layer::new("sequence").with("segment", part), file()],
        ),
    ]
}

fn one(name: &str, layers: Vec<Layer>, size: u64) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let plan = Plan::new(
        &Spec::linear(layers),
        &travertine_plugins::standard(),
        directory.path(),
    )
    .map_err(|errors| format!("{errors:?}"))?;
    let env = Env::system();
    let engine = open(&plan, &env, false)?;
    grow(&engine, size)?;
    engine.close()?;
    drop(engine);

    let clean = times(|| open(&plan, &env, false))?;
    let reading = times(|| open(&plan, &env, true))?;
    let counts = counted(&plan, &env)?;
    row(
        &format!("{name}, closed cleanly"),
        size,
        &clean,
        &reading,
        counts,
    );

    // Half a segment more, and then nobody closes it.
    let engine = open(&plan, &env, false)?;
    grow(&engine, 32 << 20)?;
    drop(engine);
    let began = Instant::now();
    let counts = counted(&plan, &env)?;
    let took = began.elapsed();
    row(
        &format!("{name}, after a crash"),
        size,
        &[took],
        &[],
        counts,
    );
    Ok(())
}

fn open(plan: &Plan, env: &Env, read_only: bool) -> travertine_engine::contract::Result<Engine> {
    let opening = Opening {
        read_only,
        ..Opening::default()
    };
    start(plan.open(env, opening)?.store(), env, read_only)
}

fn start(
    store: Arc<dyn Store>,
    env: &Env,
    read_only: bool,
) -> travertine_engine::contract::Result<Engine> {
    let options = Options {
        read_only,
        ..Options::default()
    };
    let engine = Engine::open(store, env, options)?;
    assert!(engine.snapshot().names().len() <= 1);
    Ok(engine)
}

/// Adds so many bytes, in commits of 64 MiB.
fn grow(engine: &Engine, size: u64) -> Outcome<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut body = vec![0; RECORD];
    let mut left = size / RECORD as u64;
    while left > 0 {
        let session = engine.session()?;
        let mut last = None;
        for _ in 0..left.min(64) {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            body[..8].copy_from_slice(&number.to_le_bytes());
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&body],
            };
            last = Some(session.store(&record, Hint::default())?);
            left -= 1;
        }
        let change = Change {
            name: Name::new("it")?,
            expect: Expect::Any,
            to: last,
        };
        session.commit(&[change], Some(Level::Disk)).wait()?;
    }
    Ok(())
}

fn times(
    mut open: impl FnMut() -> travertine_engine::contract::Result<Engine>,
) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..OPENINGS {
        let began = Instant::now();
        let engine = open()?;
        times.push(began.elapsed());
        engine.close()?;
    }
    times.sort_unstable();
    Ok(times)
}

/// What one opening asks of the medium.
fn counted(plan: &Plan, env: &Env) -> Outcome<Counts> {
    let media = Arc::new(CountedMedia::default());
    let opening = Opening {
        media: Some(media.clone()),
        ..Opening::default()
    };
    let engine = start(plan.open(env, opening)?.store(), env, false)?;
    let counts = media.counts();
    engine.close()?;
    Ok(counts)
}

fn row(name: &str, size: u64, times: &[Duration], reading: &[Duration], counts: Counts) {
    let at = |times: &[Duration], index: usize| {
        let time = times.get(index).map(Duration::as_micros);
        time.map_or("-".to_owned(), |time| time.to_string())
    };
    println!(
        "{name:<34} {:>7} {:>9} {:>9} {:>9} {:>10} {:>6} {:>10} {:>5}",
        size >> 20,
        at(times, 0),
        at(times, times.len() / 2),
        at(times, times.len().saturating_sub(1)),
        at(reading, reading.len() / 2),
        counts.reads,
        counts.bytes,
        counts.maps
    );
}
