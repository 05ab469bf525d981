//! The B-tree on one log in a directory, row by row as key-value stores are compared: 24-byte random
//! keys, 150-byte values, one thread unless the row says so. Every read is checked.
//!
//! `cargo bench -p travertine-benches --bench btree_quick [-- --quick --bare leaf=4096 inner=4096
//! deltas=33554432 only=get+miss]`: with journaled commits, unless it is to be bare. The directory is `TMPDIR`, which must not be in memory. Durable rows: one `fdatasync` a commit.
//!
//! `get_many` of 16 keys is about 1.9 times single gets on a busy machine, 1.6 before what each step looks at
//! was prefetched; not the three times that the misses alone would give. By `valgrind --tool=callgrind`, with no
//! optimisation across crates, a single get is 2,300 instructions and one of sixteen 3,200, of which 1,400 are in
//! the steps of `find_many` itself; by `perf record` a quarter of its time are the first lines of leaves, which
//! wait for the page that they lie in to be found.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures with the system's clock, and reads what the kernel counts"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use travertine_engine::contract::{Env, Level, Name};
use travertine_engine::front::{Engine, Options};
use travertine_engine::log::{Log, LogOptions};
use travertine_engine::medium::file::FileMedium;
use travertine_interfaces::{Btree, Cursor, CursorExt, Index, Journal, Map, View};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const KEY: usize = 24;
const VALUE: usize = 150;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let number = |name: &str, usual: usize| {
        let given = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(name));
        given
            .and_then(|number| number.parse().ok())
            .unwrap_or(usual)
    };
    let index = Btree {
        leaf_bytes: number("leaf=", Btree::default().leaf_bytes),
        inner_bytes: number("inner=", Btree::default().inner_bytes),
        ..Btree::default()
    };
    let rows = if quick { 100_000 } else { 1_000_000 };
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("random");
    if arguments.iter().any(|argument| argument == "--bare") {
        random(&path, index, rows)?;
    } else {
        let usual = Journal::over(index);
        let journal = Journal {
            bytes_max: number("deltas=", usual.bytes_max as usize) as u64,
            ..usual
        };
        random(&path, journal, rows)?;
    }
    sorted(&directory.path().join("sorted"), index, rows)
}

fn open(path: &Path) -> Outcome<Engine> {
    let env = Env::system();
    let medium = Arc::new(FileMedium::new(path, 4096));
    let log = Log::open("file", medium, &env, LogOptions::default())?;
    Ok(Engine::open(Arc::new(log), &env, Options::default())?)
}

fn random(path: &Path, index: impl Index, rows: usize) -> Outcome<()> {
    let engine = open(path)?;
    let map = Map::new(Name::new("rows")?, index);
    let mut chance = Chance(42);
    let data: Vec<_> = (0..rows).map(|_| chance.row()).collect();
    row("bulk load", rows, || {
        let session = engine.session()?;
        let mut writer = map.writer(&session);
        for (key, value) in &data {
            writer.put(key, value)?;
        }
        writer.commit(None)?.wait()?;
        Ok(())
    })?;
    let bytes = engine.status().below[0]
        .streams
        .iter()
        .map(|stream| stream.bytes)
        .sum::<u64>();
    let payload = (rows * (KEY + VALUE)) as f64;
    println!(
        "{:<28} {:>12.2}",
        "size, times the payload",
        bytes as f64 / payload
    );
    let single = (rows / 1000).max(100);
    let put = |rows: &[Row], level| -> Outcome<()> {
        let session = engine.session()?;
        let mut writer = map.writer(&session);
        for (key, value) in rows {
            writer.put(key, value)?;
        }
        writer.commit(Some(level))?.wait()?;
        Ok(())
    };
    let more: Vec<_> = (0..single).map(|_| chance.row()).collect();
    row("single durable", single, || {
        more.iter()
            .try_for_each(|one| put(std::slice::from_ref(one), Level::Disk))
    })?;
    let more: Vec<_> = (0..rows / 10).map(|_| chance.row()).collect();
    row("batches of 1000 durable", more.len(), || {
        more.chunks(1000)
            .try_for_each(|some| put(some, Level::Disk))
    })?;
    let more: Vec<_> = (0..rows / 20).map(|_| chance.row()).collect();
    row("single, not synced", more.len(), || {
        more.iter()
            .try_for_each(|one| put(std::slice::from_ref(one), Level::Memory))
    })?;
    engine.close()?;
    let began = Instant::now();
    let engine = open(path)?;
    println!(
        "{:<28} {:>12.2} ms",
        "open",
        began.elapsed().as_secs_f64() * 1e3
    );
    let reader = map.reader(&engine.snapshot()).wait()?;
    println!("{:<28} {:>12} rows", "count", reader.count());

    let mut order: Vec<_> = (0..rows).collect();
    chance.shuffle(&mut order);
    let gets = |order: &[usize]| -> Outcome<()> {
        for at in order {
            let (key, value) = &data[*at];
            let found = reader.get(key).wait()?;
            assert_eq!(found.as_deref(), Some(&value[..]));
        }
        Ok(())
    };
    row("get, first pass", rows, || gets(&order))?;
    row("get", rows, || gets(&order))?;
    row("get_many, 16 keys", rows, || {
        let mut keys: Vec<&[u8]> = Vec::with_capacity(16);
        for some in order.chunks(16) {
            keys.clear();
            keys.extend(some.iter().map(|at| &data[*at].0[..]));
            for (at, found) in some.iter().zip(reader.get_many(&keys).wait()?) {
                assert_eq!(found.as_deref(), Some(&data[*at].1[..]));
            }
        }
        Ok(())
    })?;
    row("get, 2 threads", rows, || {
        let (one, two) = order.split_at(rows / 2);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| gets(one).is_ok());
            gets(two)?;
            assert!(other.join().is_ok_and(|fine| fine));
            Ok(())
        })
    })?;
    row("get, by a new reader each", rows / 10, || {
        for at in &order[..rows / 10] {
            let reader = map.reader(&engine.snapshot()).wait()?;
            let found = reader.get(&data[*at].0).wait()?;
            assert_eq!(found.as_deref(), Some(&data[*at].1[..]));
        }
        Ok(())
    })?;
    let absent: Vec<_> = (0..rows).map(|_| chance.row().0).collect();
    row("miss", rows, || {
        for key in &absent {
            assert!(reader.get(key).wait()?.is_none());
        }
        Ok(())
    })?;
    let ranges = rows / 5;
    row("range of 10", ranges, || {
        let mut cursor = reader.cursor();
        let mut sum = 0;
        for (key, _) in data.iter().take(ranges) {
            cursor.seek(key);
            for _ in 0..10 {
                let Some(entry) = cursor.next()? else { break };
                sum += entry.key.len();
            }
        }
        assert!(sum > 0);
        Ok(())
    })?;
    let count = reader.count() as usize;
    for (name, back) in [("scan", false), ("scan back", true)] {
        row(name, count, || {
            let mut cursor = reader.cursor();
            if back {
                cursor.seek_end();
            }
            let (mut seen, mut sum) = (0, 0);
            while let Some(entry) = if back { cursor.prev()? } else { cursor.next()? } {
                seen += 1;
                sum += match entry.value {
                    travertine_interfaces::Value::Inline(value) => value[0] as usize,
                    travertine_interfaces::Value::Apart(_) => 0,
                };
            }
            assert!(seen == count && sum > 0);
            Ok(())
        })?;
    }
    row("verify", count, || {
        let mut report = travertine_interfaces::report::Report::new();
        reader.view().verify(&mut report);
        assert!(report.is_clean());
        println!("  {report}, {} sparse", report.sparse);
        Ok(())
    })?;
    row("removals, half of them", rows / 2, || {
        let session = engine.session()?;
        let mut writer = map.writer(&session);
        for at in &order[..rows / 2] {
            writer.delete(&data[*at].0)?;
        }
        writer.commit(None)?.wait()?;
        Ok(())
    })?;
    let reader = map.reader(&engine.snapshot()).wait()?;
    println!("  {}", reader.verify());
    engine.close()?;
    Ok(())
}

fn sorted(path: &Path, index: Btree, rows: usize) -> Outcome<()> {
    let engine = open(path)?;
    let map = Map::new(Name::new("rows")?, index);
    let mut chance = Chance(7);
    let mut data: Vec<_> = (0..rows).map(|_| chance.row()).collect();
    data.sort_unstable();
    row("sorted load", rows, || {
        let session = engine.session()?;
        let mut load = map.loader(&session)?;
        for (key, value) in &data {
            load.push(key, value)?;
        }
        load.commit(None)?.wait()?;
        Ok(())
    })?;
    engine.close()?;
    Ok(())
}

/// Times `work` on so many operations and prints the row.
fn row(name: &str, count: usize, work: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    let only =
        std::env::args().find_map(|argument| Some(argument.strip_prefix("only=")?.to_owned()));
    if !only.is_none_or(|only| name == "bulk load" || only.split('+').any(|only| only == name)) {
        return Ok(());
    }
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    work()?;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    let cpu = (cpu_seconds()? - cpu) / count as f64 * 1e6;
    println!("{name:<28} {rate:>12.0} /s {cpu:>10.3} µs of CPU each");
    Ok(())
}

/// What all threads of this process have run, which other processes disturb less than the rate.
fn cpu_seconds() -> Outcome<f64> {
    let mut total = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let ran: f64 = stat.split(' ').next().unwrap_or_default().parse()?;
        total += ran / 1e9;
    }
    Ok(total)
}

type Row = ([u8; KEY], [u8; VALUE]);

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    fn row(&mut self) -> Row {
        let mut row = ([0; KEY], [0; VALUE]);
        self.fill(&mut row.0);
        self.fill(&mut row.1);
        row
    }

    fn shuffle(&mut self, order: &mut [usize]) {
        for at in (1..order.len()).rev() {
            let other = (self.next() % (at as u64 + 1)) as usize;
            order.swap(at, other);
        }
    }
}
