//! Cold point reads: what the ring gains over a map and over copying, by how many reads one thread keeps
//! in flight and by how many threads read.
//!
//! `cargo bench -p travertine-benches --bench cold [-- --quick]`; the directory is `TMPDIR`, which must
//! not be in memory. Before each run the kernel is told to forget the file, so that every first read of
//! a page waits for the device. Each way runs in turn, in every round; medians over rounds. Every record
//! is checked by its checksum.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures with the system's clock"
)]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::Advice;
use travertine_benches::raw::median;
use travertine_engine::contract::{Env, Kind, NewRecord, Oid, Op, Record, Result, Store};
use travertine_engine::front::{Engine, Hint, Options};
use travertine_engine::log::{Log, LogOptions, ReadBy};
use travertine_engine::medium::file::FileMedium;
use travertine_engine::medium::no_depth;

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BODY: usize = 4000;

/// A way to read: by what, on how many threads, with how many reads in flight on each.
struct Way {
    name: &'static str,
    by: ReadBy,
    threads: usize,
    in_flight: usize,
}

const WAYS: [Way; 8] = [
    way("map, 1 thread", ReadBy::Map, 1, 1),
    way("copy, 1 thread", ReadBy::Copy, 1, 1),
    way("copy, 32 threads", ReadBy::Copy, 32, 1),
    way("ring, 1 thread, 1 in flight", ReadBy::Ring, 1, 1),
    way("ring, 1 thread, 8 in flight", ReadBy::Ring, 1, 8),
    way("ring, 1 thread, 32 in flight", ReadBy::Ring, 1, 32),
    way("ring, 1 thread, 100 in flight", ReadBy::Ring, 1, 100),
    way("ring, 2 threads, 32 in flight", ReadBy::Ring, 2, 32),
];

const fn way(name: &'static str, by: ReadBy, threads: usize, in_flight: usize) -> Way {
    Way {
        name,
        by,
        threads,
        in_flight,
    }
}

fn main() -> Outcome<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (count, reads, rounds) = if quick {
        (40_000, 4_000, 3)
    } else {
        (250_000, 20_000, 5)
    };
    if let Some(why) = no_depth() {
        println!("no ring here, its rows are plain copying: {why}");
    }
    let directory = tempfile::tempdir()?;
    let oids = fill(directory.path(), count)?;
    let mut rates = WAYS.map(|_| Vec::new());
    for round in 0..rounds {
        for (way, rates) in WAYS.iter().zip(&mut rates) {
            forget(directory.path())?;
            let log = open(directory.path(), way.by, true)?;
            let order = shuffled(&oids, reads, round);
            let began = Instant::now();
            std::thread::scope(|scope| -> Outcome<()> {
                let share = order.len().div_ceil(way.threads);
                let workers: Vec<_> = order
                    .chunks(share)
                    .map(|oids| scope.spawn(|| read_all(&log, oids, way.in_flight)))
                    .collect();
                for worker in workers {
                    worker.join().map_err(|_| "a reader panicked")??;
                }
                Ok(())
            })?;
            rates.push(reads as f64 / began.elapsed().as_secs_f64());
        }
    }
    let map = median(rates[0].clone());
    println!(
        "{:<32} {:>10} {:>10}",
        "cold reads of 4 KB", "1/s", "to map"
    );
    for (way, rates) in WAYS.iter().zip(rates) {
        let rate = median(rates);
        println!("{:<32} {rate:>10.0} {:>10.2}", way.name, rate / map);
    }
    Ok(())
}

fn open(directory: &Path, read: ReadBy, read_only: bool) -> Result<Log> {
    let options = LogOptions {
        read,
        read_only,
        ..LogOptions::default()
    };
    let medium = Arc::new(FileMedium::new(directory, 4096));
    Log::open("file", medium, &Env::system(), options)
}

fn fill(directory: &Path, count: usize) -> Result<Vec<Oid>> {
    let log = Arc::new(open(directory, ReadBy::Copy, false)?);
    let engine = Engine::open(log, &Env::system(), Options::default())?;
    let session = engine.session()?;
    let body: Vec<u8> = (0..BODY).map(|at| (at / 3) as u8).collect();
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[&body],
    };
    let stored: Result<Vec<_>> = (0..count)
        .map(|_| Ok(session.store(&record, Hint::default())?.oid))
        .collect();
    session.commit(&[], None).wait()?;
    drop(session);
    engine.close()?;
    stored
}

/// Makes the page cache forget every segment.
fn forget(directory: &Path) -> Outcome<()> {
    for entry in std::fs::read_dir(directory)? {
        let file = std::fs::File::open(entry?.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

fn shuffled(oids: &[Oid], reads: usize, round: u64) -> Vec<Oid> {
    let mut random = 88_172_645_463_325_252_u64 + round;
    (0..reads)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            oids[(random % oids.len() as u64) as usize]
        })
        .collect()
}

fn read_all(log: &Log, oids: &[Oid], in_flight: usize) -> Result<()> {
    let mut flying: VecDeque<Op<Option<Record>>> = VecDeque::with_capacity(in_flight);
    for oid in oids {
        if flying.len() == in_flight
            && let Some(first) = flying.pop_front()
        {
            first.wait()?;
        }
        flying.push_back(log.read(*oid));
    }
    flying
        .into_iter()
        .try_for_each(|read| read.wait().map(drop))
}
