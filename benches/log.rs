//! The log against raw files, in one interleaved run: buffered appends, durable commits by one and by
//! many, tickets in flight, point reads. Prints medians over rounds and ratios to the baseline.
//!
//! `cargo bench -p travertine-benches --bench log [-- --quick]`; the directory is `TMPDIR`, which must
//! not be in memory. Sync: `fdatasync` on both sides.
//!
//! Small hot reads reach about half of the baseline. That reads a slice of a map that nobody can take
//! away, and its reads overlap in the processor. Ours take a lane's lock and a share of the map and give
//! both back: four locked instructions a read, past which a processor does not look ahead, so that one
//! miss is waited for after the other. The row "one after another" has no overlap on either side.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures with the system's clock"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use travertine_benches::raw::{RawGroup, RawLog, Timing, compare};
use travertine_engine::contract::{Env, Kind, Level, Name, NewRecord, Oid, Store};
use travertine_engine::front::{Change, Engine, Hint, Options};
use travertine_engine::log::{Log, LogOptions};
use travertine_engine::medium::file::FileMedium;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let only = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
    let directory = tempfile::tempdir()?;
    let rounds = if quick { 3 } else { 7 };
    println!(
        "{:<44} {:>12} {:>12} {:>7}  spread",
        "row", "raw", "ours", "ratio"
    );
    if wanted("buffered") {
        for (size, total) in [
            (100, 128 << 20),
            (1024, 512 << 20),
            (16 << 10, 512 << 20),
            (1 << 20, 512 << 20),
        ] {
            let total = if quick { total / 4 } else { total };
            let count = total / size;
            compare(&format!("buffered {size} B, MB/s"), rounds, || {
                let raw = raw_buffered(directory.path(), size, count)?;
                let ours = our_buffered(directory.path(), size, count)?;
                let megabytes = (size * count) as f64 / 1e6;
                Ok((
                    megabytes / raw.total.as_secs_f64(),
                    megabytes / ours.total.as_secs_f64(),
                ))
            })?;
        }
    }
    if wanted("durable") {
        durable(directory.path(), rounds, if quick { 500 } else { 3000 })?;
    }
    if wanted("group") {
        for threads in [16, 64] {
            let each = if quick { 100 } else { 500 };
            compare(
                &format!("{threads} blocked committers, 1/s"),
                rounds,
                || {
                    let raw = raw_group(directory.path(), threads, each)?;
                    let ours = our_group(directory.path(), threads, each)?;
                    Ok((raw.rate(threads * each), ours.rate(threads * each)))
                },
            )?;
        }
        compare("64 blocked | 64 tickets, 1/s", rounds, || {
            let each = if quick { 100 } else { 500 };
            let blocked = our_group(directory.path(), 64, each)?;
            let tickets = our_tickets(directory.path(), 64, 64 * each)?;
            Ok((blocked.rate(64 * each), tickets.rate(64 * each)))
        })?;
    }
    if wanted("reads") {
        for size in [100, 1024, 16 << 10] {
            reads(directory.path(), size, rounds)?;
        }
    }
    Ok(())
}

fn open(directory: &Path, name: &str) -> Outcome<(Engine, Arc<Log>)> {
    let path = directory.join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path)?;
    }
    let env = Env::system();
    let medium = Arc::new(FileMedium::new(path, 4096));
    let log = Arc::new(Log::open("file", medium, &env, LogOptions::default())?);
    let engine = Engine::open(
        log.clone(),
        &env,
        Options {
            level: Level::Disk,
            ..Options::default()
        },
    )?;
    Ok((engine, log))
}

fn pool(size: usize) -> Vec<u8> {
    (0..size + 64).map(|at| (at * 31 % 251) as u8).collect()
}

fn raw_buffered(directory: &Path, size: usize, count: usize) -> Outcome<Timing> {
    let mut log = RawLog::create(&directory.join("raw"), 0)?;
    let pool = pool(size);
    Ok(Timing::once(|| {
        for index in 0..count {
            log.append(&pool[index % 64..index % 64 + size])?;
        }
        log.commit()
    })?)
}

fn our_buffered(directory: &Path, size: usize, count: usize) -> Outcome<Timing> {
    let (engine, _) = open(directory, "ours")?;
    let session = engine.session()?;
    let pool = pool(size);
    let name = Name::new("last")?;
    let timing = Timing::once(|| {
        let mut last = None;
        for index in 0..count {
            let body = &pool[index % 64..index % 64 + size];
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[body],
            };
            last = Some(session.store(&record, Hint::default())?);
        }
        let changes: Vec<_> = last
            .map(|last| Change::set(name.clone(), last))
            .into_iter()
            .collect();
        session.commit(&changes, None).wait().map(drop)
    })?;
    engine.close()?;
    Ok(timing)
}

fn commit_one(
    engine: &Engine,
    name: &Name,
    body: &[u8],
) -> travertine_engine::contract::Result<()> {
    let session = engine.session()?;
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[body],
    };
    let stored = session.store(&record, Hint::default())?;
    session
        .commit(&[Change::set(name.clone(), stored)], None)
        .wait()
        .map(drop)
}

fn durable(directory: &Path, rounds: usize, count: usize) -> Outcome<()> {
    let pool = pool(100);
    let name = Name::new("last")?;
    let (mut rates, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut raw = RawLog::create(&directory.join("raw"), 64 << 20)?;
        let theirs = Timing::steps(count, |index| {
            raw.append(&pool[index % 64..index % 64 + 100])?;
            raw.commit()
        })?;
        let (engine, log) = open(directory, "ours")?;
        for _ in 0..8 {
            commit_one(&engine, &name, &pool[..100])?;
        }
        let figure = |name: &str| {
            log.status()
                .figures
                .iter()
                .find(|(key, _)| *key == name)
                .map_or(0, |(_, n)| *n)
        };
        let before = (figure("batches"), figure("syncs"));
        let ours = Timing::steps(count, |index| {
            commit_one(&engine, &name, &pool[index % 64..index % 64 + 100])
        })?;
        let after = (figure("batches"), figure("syncs"));
        if rates.is_empty() {
            println!(
                "  {} commits: {} batches written, {} syncs",
                count,
                after.0 - before.0,
                after.1 - before.1
            );
        }
        engine.close()?;
        rates.push((theirs.rate(count), ours.rate(count)));
        p50.push((theirs.quantile_us(0.5), ours.quantile_us(0.5)));
        p99.push((theirs.quantile_us(0.99), ours.quantile_us(0.99)));
    }
    for (name, pairs) in [
        ("durable 100 B, 1/s", rates),
        ("  p50, µs", p50),
        ("  p99, µs", p99),
    ] {
        let mut pairs = pairs.into_iter();
        compare(name, rounds, || {
            pairs.next().ok_or_else(|| "a round is missing".into())
        })?;
    }
    Ok(())
}

fn raw_group(directory: &Path, threads: usize, each: usize) -> Outcome<Timing> {
    let group = RawGroup::new(RawLog::create(&directory.join("raw"), 64 << 20)?);
    let pool = pool(100);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    (0..each).try_for_each(|index| group.commit(&pool[index % 64..][..100]))
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or(Ok(())))
    })?;
    Ok(Timing {
        total: began.elapsed(),
        steps: Vec::new(),
    })
}

fn our_group(directory: &Path, threads: usize, each: usize) -> Outcome<Timing> {
    let (engine, _) = open(directory, "ours")?;
    let pool = pool(100);
    let names: Vec<_> = (0..threads)
        .map(|index| Name::new(format!("n{index}")))
        .collect::<Result<_, _>>()?;
    for _ in 0..8 {
        commit_one(&engine, &names[0], &pool[..100])?;
    }
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = names
            .iter()
            .map(|name| {
                let (engine, pool) = (&engine, &pool);
                scope.spawn(move || {
                    (0..each)
                        .try_for_each(|index| commit_one(engine, name, &pool[index % 64..][..100]))
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or(Ok(())))
    })?;
    let timing = Timing {
        total: began.elapsed(),
        steps: Vec::new(),
    };
    engine.close()?;
    Ok(timing)
}

fn our_tickets(directory: &Path, in_flight: usize, count: usize) -> Outcome<Timing> {
    let (engine, _) = open(directory, "ours")?;
    let pool = pool(100);
    let name = Name::new("last")?;
    let mut tickets = std::collections::VecDeque::new();
    let session = engine.session()?;
    let began = Instant::now();
    for index in 0..count {
        let body = &pool[index % 64..][..100];
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[body],
        };
        let stored = session.store(&record, Hint::default())?;
        tickets.push_back(session.commit(&[Change::set(name.clone(), stored)], None));
        if tickets.len() >= in_flight
            && let Some(ticket) = tickets.pop_front()
        {
            ticket.wait()?;
        }
    }
    for ticket in tickets {
        ticket.wait()?;
    }
    let timing = Timing {
        total: began.elapsed(),
        steps: Vec::new(),
    };
    let figures = engine.status().figures;
    let figure = |name| figures.iter().find(|(key, _)| *key == name);
    if let (Some((_, commits)), Some((_, rounds))) = (figure("commits"), figure("rounds")) {
        println!("  {commits} tickets in {rounds} rounds");
    }
    engine.close()?;
    Ok(timing)
}

fn reads(directory: &Path, size: usize, rounds: usize) -> Outcome<()> {
    let count = ((256 << 20) / size).min(1_000_000);
    let pool = pool(size);
    let mut raw = RawLog::create(&directory.join("raw"), 0)?;
    let mut places = Vec::with_capacity(count);
    for index in 0..count {
        places.push(raw.append(&pool[index % 64..][..size])?);
    }
    raw.commit()?;
    let file = std::fs::File::open(directory.join("raw"))?;
    let map = travertine_benches::map(&file)?;
    let (engine, log) = open(directory, "ours")?;
    let session = engine.session()?;
    let mut oids = Vec::with_capacity(count);
    for index in 0..count {
        let body = &pool[index % 64..][..size];
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[body],
        };
        oids.push(session.store(&record, Hint::default())?.oid);
    }
    session.commit(&[], None).wait()?;
    drop(session);
    let mut random = 88_172_645_463_325_252_u64;
    let order: Vec<usize> = (0..count.min(400_000))
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % count as u64) as usize
        })
        .collect();
    let read_raw = |at: u64| -> Outcome<u64> {
        let at = at as usize;
        let length = u32::from_le_bytes(map[at..at + 4].try_into()?) as usize;
        let crc = u32::from_le_bytes(map[at + 4..at + 8].try_into()?);
        let body = &map[at + 8..at + 8 + length];
        if crc32fast::hash(body) != crc {
            return Err("the baseline read wrong bytes".into());
        }
        Ok(u64::from(body[0]))
    };
    let read_ours = |store: &dyn Store, oid: Oid| -> Outcome<u64> {
        let record = store.read(oid).wait()?.ok_or("a record is missing")?;
        Ok(u64::from(record.body()[0]))
    };
    for &index in &order {
        if read_raw(places[index])? != read_ours(&*log, oids[index])? {
            return Err("the two sides differ".into());
        }
    }
    compare(&format!("reads {size} B hot, k/s"), rounds, || {
        let mut sum = 0;
        let raw = Timing::once(|| -> Outcome<()> {
            for &index in &order {
                sum += read_raw(places[index])?;
            }
            Ok(())
        })?;
        let ours = Timing::once(|| -> Outcome<()> {
            for &index in &order {
                sum -= read_ours(&*log, oids[index])?;
            }
            Ok(())
        })?;
        if sum != 0 {
            return Err("the two sides differ".into());
        }
        Ok((raw.rate(order.len()) / 1e3, ours.rate(order.len()) / 1e3))
    })?;
    // Independent reads overlap in the processor as far as nothing holds it back; those of a tree that
    // is walked do not, for each waits for the one before.
    let none = std::hint::black_box(0);
    compare(
        &format!("reads {size} B hot, one after another, k/s"),
        rounds,
        || {
            let mut last = 0;
            let raw = Timing::once(|| -> Outcome<()> {
                for &index in &order {
                    last = read_raw(places[index + (last & none) as usize])?;
                }
                Ok(())
            })?;
            let ours = Timing::once(|| -> Outcome<()> {
                for &index in &order {
                    last = read_ours(&*log, oids[index + (last & none) as usize])?;
                }
                Ok(())
            })?;
            Ok((raw.rate(order.len()) / 1e3, ours.rate(order.len()) / 1e3))
        },
    )?;
    engine.close()?;
    Ok(())
}
