//! What a floor costs on a hit, and what a probe adds: nanoseconds and allocations a read, through
//! stacks of growing height; and what a cache costs. Prints the best of many short rounds.
//!
//! `cargo bench -p travertine-benches --bench floors [-- --quick]`. Nothing touches a disk.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures with the system's clock"
)]

mod cached;
mod counting;
mod kinds;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use travertine_engine::contract::{Env, Kind, Level, NewRecord, Oid, Store};
use travertine_engine::front::{Engine, Hint, Options};
use travertine_engine::stack::{Layer, Opening, Plan, Registry, Spec};
use travertine_plugins::monitor::Monitor;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn main() -> Outcome<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, reads) = if quick { (50, 20_000) } else { (1_000, 20_000) };
    println!(
        "{:<28} {:>10} {:>16} {:>12}",
        "stack", "ns a read", "ns a floor more", "allocations"
    );
    for watched in [false, true] {
        let mut before: Option<(usize, f64)> = None;
        for floors in [0, 1, 2, 4, 8] {
            let store = open(watched, floors)?;
            let oid = kinds::oid()?;
            let (ns, allocations) = measure(rounds, reads, || read(&*store, oid))?;
            let more = before.map_or(String::new(), |(less, was)| {
                format!("{:.2}", (ns - was) / (floors - less) as f64)
            });
            let name = format!("{floors} floors{}", if watched { ", probed" } else { "" });
            println!("{name:<28} {ns:>10.2} {more:>16} {allocations:>12.3}");
            before = Some((floors, ns));
        }
    }
    // The same record again; then more records, in turn, than a small cache keeps.
    let cache = |memory: &str| vec![Layer::new("cache").with("memory", memory)];
    for (name, floors, records) in [
        ("memory alone", Vec::new(), 1),
        ("cache over memory, hits", cache("1 MiB"), 1),
        ("cache over memory, misses", cache("64 KiB"), 10_000),
    ] {
        let (store, oids) = cached::open(floors, records)?;
        oids.iter().try_for_each(|oid| read(&*store, *oid))?;
        let mut turn = 0;
        let (ns, allocations) = measure(rounds, reads, || {
            turn = if turn + 1 < oids.len() { turn + 1 } else { 0 };
            read(&*store, oids[turn])
        })?;
        println!("{name:<28} {ns:>10.2} {:>16} {allocations:>12.3}", "");
    }
    together(rounds * reads)?;
    stores_in_one_batch()
}

/// Hits on a cache of the default size by two threads at once: what each sees. Few records are the worst
/// case: both threads count references to the same ones, so that cache lines go to and fro between cores.
/// Nothing else that a hit writes is shared.
fn together(reads: usize) -> Outcome<()> {
    for records in [100, 20_000] {
        let (store, oids) = cached::open(vec![Layer::new("cache")], records)?;
        oids.iter().try_for_each(|oid| read(&*store, *oid))?;
        for threads in [1, 2] {
            let began = Instant::now();
            std::thread::scope(|scope| -> travertine_engine::contract::Result<()> {
                let readers: Vec<_> = (0..threads)
                    .map(|thread| {
                        let (store, oids) = (&store, &oids);
                        let first = thread * records / 2;
                        scope.spawn(move || {
                            let mut turns = (0..oids.len()).cycle().skip(first);
                            let mut next = || oids[turns.next().unwrap_or(0)];
                            (0..reads).try_for_each(|_| read(&**store, next()))
                        })
                    })
                    .collect();
                let done = readers.into_iter().map(|reader| reader.join());
                done.flatten().collect()
            })?;
            let ns = began.elapsed().as_nanos() as f64 / reads as f64;
            let each = 1e3 * threads as f64 / ns;
            println!(
                "cache hits on {records} records, {threads} threads: {ns:.1} ns a read and thread, \
                 {each:.1} million a second"
            );
        }
    }
    Ok(())
}

/// The write-behind of a stack: what a thousand small stores and one commit become below.
fn stores_in_one_batch() -> Outcome<()> {
    const STORES: usize = 1_000;
    let (store, _) = cached::open(vec![Layer::new("cache")], 0)?;
    let options = Options {
        level: Level::Memory,
        flush_age: std::time::Duration::from_secs(3_600),
        ..Options::default()
    };
    let engine = Engine::open(store, &Env::system(), options)?;
    let batches = || {
        let figures = engine.status().figures;
        let batches = figures.iter().find(|(name, _)| *name == "batches");
        batches.map_or(0, |(_, count)| *count)
    };
    let session = engine.session()?;
    session.commit(&[], None).wait()?;
    let before = batches();
    let began = Instant::now();
    for _ in 0..STORES {
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&[7; 100]],
        };
        session.store(&record, Hint::default())?;
    }
    session.commit(&[], None).wait()?;
    let ns = began.elapsed().as_nanos() as f64 / STORES as f64;
    let sent = batches() - before;
    println!("{STORES} stores of 100 bytes and a commit: {sent} batches below, {ns:.0} ns a store");
    Ok(())
}

/// So many floors that let everything pass, over one that has the record at hand.
fn open(watched: bool, floors: usize) -> Outcome<Arc<dyn Store>> {
    let registry = Registry::new()
        .with::<kinds::Hit>()
        .with::<kinds::Pass>()
        .with::<Monitor>();
    let mut layers = vec![Layer::new("pass"); floors];
    layers.push(Layer::new("hit"));
    if watched {
        layers.insert(0, Layer::new("monitor"));
    }
    let spec = Spec::linear(layers).level("memory");
    let plan = Plan::new(&spec, &registry, Path::new("")).map_err(|errors| {
        errors
            .into_iter()
            .next()
            .map_or("refused".into(), |e| e.message)
    })?;
    Ok(plan.open(&Env::system(), Opening::default())?.store())
}

/// The time of a read in the best round, and the allocations of one. Nothing here waits, so what a
/// round takes longer than the best is what else the machine did.
fn measure(
    rounds: usize,
    reads: usize,
    mut read: impl FnMut() -> travertine_engine::contract::Result<()>,
) -> Outcome<(f64, f64)> {
    let mut times = Vec::new();
    let allocated = counting::allocations();
    for _ in 0..rounds {
        let began = Instant::now();
        for _ in 0..reads {
            read()?;
        }
        times.push(began.elapsed().as_nanos() as f64 / reads as f64);
    }
    let allocations = (counting::allocations() - allocated) as f64 / (rounds * reads) as f64;
    times.sort_by(f64::total_cmp);
    Ok((times[0], allocations))
}

fn read(store: &dyn Store, oid: Oid) -> travertine_engine::contract::Result<()> {
    let answer = black_box(store).read(black_box(oid)).wait()?;
    black_box(answer);
    Ok(())
}
