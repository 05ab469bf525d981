//! Key-value stores: 24-byte random keys, 150-byte values, row by row.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use travertine::workload::random::{Rng, Shuffle};
use travertine::workload::{KEY, Rows};

use crate::Asked;
use crate::fjall_side::Fjall;
use crate::lmdb_side::Lmdb;
use crate::measure::{Better, Outcome, Report, Side, turns};
use crate::nebari_side::Nebari;
use crate::ours::OurTree;
use crate::redb_side::Redb;
#[cfg(feature = "rocksdb")]
use crate::rocksdb_side::Rocks;
use crate::sled_side::Sled;
use crate::sqlite_side::Sqlite;

/// What every store that has a cache may keep in it.
pub const CACHE: usize = 2 << 30;

const VALUE: usize = 150;
/// Rows of a range.
const RANGE: u64 = 10;

/// A store that is compared.
pub trait Kv: Sized + Sync {
    const NAME: &'static str;
    /// Whether a durable commit flushes the device.
    const FLUSHES: bool = true;
    /// Whether there are commits that are not synced.
    const LOOSE: bool = true;
    /// Whether it writes through a map: then no call tells how much.
    const MAPPED: bool = false;
    type Reader<'s>: Reader
    where
        Self: 's;

    fn open(path: &Path) -> Outcome<Self>;
    /// Puts rows in one transaction.
    fn put(&self, data: &Data, numbers: &[u64], durable: bool) -> Outcome<()>;
    /// Puts every row in the order of the keys, in one durable transaction, into an empty store.
    fn load_sorted(&self, data: &Data) -> Outcome<()>;
    /// Removes rows in one durable transaction.
    fn remove(&self, data: &Data, numbers: &[u64]) -> Outcome<()>;
    fn reader(&self) -> Outcome<Self::Reader<'_>>;
    /// Makes the store at `path` as small as it can; `false` if it cannot.
    fn compact(&mut self, path: &Path) -> Outcome<bool>;
    fn close(self) -> Outcome<()>;
}

/// What a reader of a store does.
pub trait Reader {
    /// Looks at the value of a key; `false` if there is none.
    fn get(&self, key: &[u8], look: impl FnMut(&[u8])) -> Outcome<bool>;
    /// Looks at the next rows from a key on, at most so many.
    fn range(&self, from: &[u8], most: u64, look: impl FnMut(&[u8], &[u8])) -> Outcome<u64>;
    fn len(&self) -> Outcome<u64>;
}

/// The rows of a run.
pub struct Data {
    pub rows: Rows,
    /// The loaded ones in no order.
    pub shuffled: Vec<u64>,
    /// Of the values that are put.
    pub version: u64,
    keys: Vec<[u8; KEY]>,
}

impl Data {
    pub fn new(count: u64, more: u64) -> Self {
        let rows = Rows::new(count, VALUE, 7);
        let order = Shuffle::new(count, 7);
        Self {
            shuffled: (0..count).map(|index| order.at(index)).collect(),
            keys: (0..count + more).map(|number| rows.key(number)).collect(),
            version: 0,
            rows,
        }
    }

    pub fn key(&self, number: u64) -> &[u8; KEY] {
        &self.keys[number as usize]
    }

    /// The value that a row is given.
    pub fn value(&self, number: u64, into: &mut Vec<u8>) {
        self.rows.value(number, self.version, into);
    }

    /// Bytes of so many rows.
    pub fn payload(&self, rows: u64) -> u64 {
        rows * (KEY + VALUE) as u64
    }
}

/// A store that is open, and where.
pub struct Open<S> {
    store: Option<S>,
    path: PathBuf,
}

/// How many rows there are of each kind.
pub struct Sizes {
    rows: u64,
    single: u64,
    batches: u64,
    loose: u64,
}

/// All rows, all rounds.
pub fn run(asked: &Asked, report: &mut Report) -> Outcome<()> {
    let rows = if asked.quick { 100_000 } else { 1_000_000 };
    let sizes = Sizes {
        rows,
        single: rows / 1000,
        batches: rows / 10_000,
        loose: rows / 20,
    };
    let more = sizes.single + sizes.batches * 1000 + sizes.loose;
    let data = Data::new(rows, more);
    for round in 0..asked.rounds {
        let (_ground, mut stores) = begin(asked, round, report)?;
        for row in ROWS {
            for side in turns(round, stores.len()) {
                let store = &mut stores[side];
                store
                    .row(*row, side, &data, &sizes, report)
                    .map_err(|error| format!("{}: {error}", store.name()))?;
            }
        }
    }
    Ok(())
}

/// A store in its rows, whatever its type.
pub trait Contender {
    fn name(&self) -> &'static str;

    /// Loads and overwrites rows, and tells what was written for it.
    fn amplify(&mut self, data: &mut Data, side: Side, report: &mut Report) -> Outcome<()>;

    fn row(
        &mut self,
        row: Row,
        side: Side,
        data: &Data,
        sizes: &Sizes,
        report: &mut Report,
    ) -> Outcome<()>;
}

impl<S: Kv> Contender for Open<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn amplify(&mut self, data: &mut Data, side: Side, report: &mut Report) -> Outcome<()> {
        crate::amplification::amplify(self, data, side, report)
    }

    fn row(
        &mut self,
        row: Row,
        side: Side,
        data: &Data,
        sizes: &Sizes,
        report: &mut Report,
    ) -> Outcome<()> {
        one(row, self, side, data, sizes, report)?;
        if let Some(name) = row.durable().filter(|_| !S::FLUSHES) {
            report.set_apart(name, side);
        }
        Ok(())
    }
}

/// What `--against` chooses from.
const RIVALS: &[&str] = &[
    "redb",
    "fjall",
    "lmdb",
    "lmdb-map",
    "sqlite",
    "sled",
    "nebari",
    #[cfg(feature = "rocksdb")]
    "rocksdb",
];

/// A round begins: the stores, all empty, and the directory that they lie in as long as it is held.
pub fn begin(
    asked: &Asked,
    round: usize,
    report: &mut Report,
) -> Outcome<(TempDir, Vec<Box<dyn Contender>>)> {
    eprintln!("round {} of {}", round + 1, asked.rounds);
    let ground = tempfile::Builder::new()
        .prefix("rivals-")
        .tempdir_in(&asked.directory)?;
    let stores = contenders(ground.path(), &asked.against)?;
    report.sides = stores.iter().map(|store| store.name()).collect();
    Ok((ground, stores))
}

/// Ours, and those of the others that were asked for; all of them, if none was.
fn contenders(ground: &Path, against: &[String]) -> Outcome<Vec<Box<dyn Contender>>> {
    fn open<S: Kv + 'static>(ground: &Path, name: &str) -> Box<dyn Contender> {
        Box::new(Open::<S>::new(ground.join(name)))
    }
    let mut stores = vec![open::<OurTree>(ground, "travertine")];
    for name in RIVALS {
        if !against.is_empty() && !against.iter().any(|asked| asked == name) {
            continue;
        }
        stores.push(match *name {
            "redb" => open::<Redb>(ground, name),
            "fjall" => open::<Fjall>(ground, name),
            "lmdb" => open::<Lmdb<false>>(ground, name),
            "lmdb-map" => open::<Lmdb<true>>(ground, name),
            "sqlite" => open::<Sqlite>(ground, name),
            "sled" => open::<Sled>(ground, name),
            #[cfg(feature = "rocksdb")]
            "rocksdb" => open::<Rocks>(ground, name),
            _ => open::<Nebari>(ground, name),
        });
    }
    if stores.len() < 2 {
        return Err(format!("--against knows {}", RIVALS.join(", ")).into());
    }
    Ok(stores)
}

/// The rows in order. Each begins where the one before ended.
#[derive(Clone, Copy)]
pub enum Row {
    Bulk,
    Single,
    Batches,
    Loose,
    CloseOpen,
    Reads(&'static str, u64),
    Misses,
    Ranges,
    Scan,
    Length,
    Removals,
    Reopened,
    Compact,
    Sorted,
}

impl Row {
    /// The name of a row that asks for a flush: who does not flush leads nothing in it.
    fn durable(self) -> Option<&'static str> {
        match self {
            Row::Bulk => Some("bulk load, random"),
            Row::Single => Some("single durable commits"),
            Row::Batches => Some("batches of 1000 durable"),
            Row::Removals => Some("removals of half"),
            Row::Sorted => Some("bulk load, sorted"),
            _ => None,
        }
    }
}

const ROWS: &[Row] = &[
    Row::Bulk,
    Row::Single,
    Row::Batches,
    Row::Loose,
    Row::CloseOpen,
    Row::Reads("random gets, first pass", 1),
    Row::Reads("random gets, 1 thread", 1),
    Row::Reads("random gets, 2 threads", 2),
    Row::Reads("random gets, 4 threads", 4),
    Row::Misses,
    Row::Ranges,
    Row::Scan,
    Row::Length,
    Row::Removals,
    Row::Reopened,
    Row::Compact,
    Row::Sorted,
];

fn one<S: Kv>(
    row: Row,
    open: &mut Open<S>,
    side: Side,
    data: &Data,
    sizes: &Sizes,
    report: &mut Report,
) -> Outcome<()> {
    let first = sizes.rows;
    let (single, batches) = (
        first + sizes.single,
        first + sizes.single + sizes.batches * 1000,
    );
    let all = batches + sizes.loose;
    let payload = |rows: u64| (rows * (KEY + VALUE) as u64) as f64;
    match row {
        Row::Bulk => {
            open.open()?;
            report.rate("bulk load, random", side, first, || {
                open.store()?.put(data, &data.shuffled, true)
            })?;
            let size = open.size()? / payload(first);
            report.add("size, loaded", "x", Better::Less, side, size, None);
        }
        Row::Single => {
            report.rate("single durable commits", side, sizes.single, || {
                (first..single).try_for_each(|number| open.store()?.put(data, &[number], true))
            })?;
        }
        Row::Batches => {
            report.rate(
                "batches of 1000 durable",
                side,
                sizes.batches * 1000,
                || {
                    (single..batches).step_by(1000).try_for_each(|number| {
                        let batch: Vec<_> = (number..number + 1000).collect();
                        open.store()?.put(data, &batch, true)
                    })
                },
            )?;
        }
        Row::Loose if !S::LOOSE => {
            open.store()?
                .put(data, &(batches..all).collect::<Vec<_>>(), true)?
        }
        Row::Loose => {
            report.rate("single commits, not synced", side, sizes.loose, || {
                (batches..all).try_for_each(|number| open.store()?.put(data, &[number], false))
            })?;
        }
        Row::CloseOpen => {
            report.time("close", side, || open.close())?;
            report.time("open after a clean close", side, || open.open())?;
        }
        Row::Reads(name, threads) => {
            let store = open.store()?;
            report.rate(name, side, first, || gets(store, data, threads, first))?;
        }
        Row::Misses => {
            let absent: Vec<_> = data.shuffled.iter().map(|n| data.rows.absent(*n)).collect();
            let reader = open.store()?.reader()?;
            report.rate("misses", side, first, || {
                for key in &absent {
                    if reader.get(key, |_| {})? {
                        return Err("a key is there that never was".into());
                    }
                }
                Ok(())
            })?;
        }
        Row::Ranges => {
            let (reader, mut rng) = (open.store()?.reader()?, Rng::new(3, 0));
            let ranges = first / 5;
            report.rate("ranges of 10", side, ranges, || {
                for _ in 0..ranges {
                    let from = data.key(rng.below(first - RANGE));
                    check(&reader, from, RANGE, RANGE, data)?;
                }
                Ok(())
            })?;
        }
        Row::Scan => {
            let reader = open.store()?.reader()?;
            report.rate("full scan", side, all, || {
                check(&reader, &[], u64::MAX, all, data)
            })?;
        }
        Row::Length => {
            let length = report.time("length", side, || open.store()?.reader()?.len())?;
            expect("rows", length, all)?;
        }
        Row::Removals => {
            let half = &data.shuffled[..first as usize / 2];
            report.rate("removals of half", side, half.len() as u64, || {
                open.store()?.remove(data, half)
            })?;
            let reader = open.store()?.reader()?;
            let left = all - half.len() as u64;
            expect("rows", reader.len()?, left)?;
            check(&reader, &[], u64::MAX, left, data)?;
        }
        Row::Reopened => {
            let left = all - first / 2;
            open.close()?;
            let size = open.size()? / payload(left);
            report.add("size, half removed", "x", Better::Less, side, size, None);
            open.open()?;
            check(&open.store()?.reader()?, &[], u64::MAX, left, data)?;
        }
        Row::Compact => {
            let left = all - first / 2;
            let path = open.path.clone();
            let store = open.store.as_mut().ok_or("the store is not open")?;
            let began = std::time::Instant::now();
            let compacted = store.compact(&path)?;
            let took = began.elapsed().as_secs_f64() * 1e3;
            open.close()?;
            if compacted {
                report.add("compaction", "ms", Better::Less, side, took, None);
                let size = open.size()? / payload(left);
                report.add("size, compacted", "x", Better::Less, side, size, None);
                open.open()?;
                check(&open.store()?.reader()?, &[], u64::MAX, left, data)?;
                open.close()?;
            }
            open.remove()?;
        }
        Row::Sorted => {
            open.open()?;
            report.rate("bulk load, sorted", side, first, || {
                open.store()?.load_sorted(data)
            })?;
            check(&open.store()?.reader()?, &[], u64::MAX, first, data)?;
            open.close()?;
            let size = open.size()? / payload(first);
            report.add("size, loaded sorted", "x", Better::Less, side, size, None);
            open.remove()?;
        }
    }
    Ok(())
}

/// Every loaded row once, in no order, by so many threads.
fn gets<S: Kv>(store: &S, data: &Data, threads: u64, count: u64) -> Outcome<()> {
    let share = |lane: u64| {
        let part = (count * lane / threads) as usize..(count * (lane + 1) / threads) as usize;
        let reader = store.reader()?;
        for &number in &data.shuffled[part] {
            let mut fine = false;
            let there = reader.get(data.key(number), |value| {
                fine = data.rows.check(number, value).is_some();
            })?;
            if !(there && fine) {
                return Err(format!("row {number} is missing or not its own").into());
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..threads)
            .map(|lane| scope.spawn(move || share(lane)))
            .collect();
        lanes
            .into_iter()
            .try_for_each(|lane| lane.join().map_err(|_| "a thread died")?)
    })
}

/// Reads rows from a key on: keys must rise, values must be whole, and there must be so many.
fn check(reader: &impl Reader, from: &[u8], most: u64, expected: u64, data: &Data) -> Outcome<()> {
    let (mut last, mut fine) = ([0; KEY], true);
    let met = reader.range(from, most, |key, value| {
        let number = value
            .first_chunk()
            .map_or(0, |number| u64::from_le_bytes(*number));
        fine &= key > &last[..] && data.rows.check(number, value).is_some();
        if let Ok(key) = key.try_into() {
            last = key;
        }
    })?;
    if !fine {
        return Err("rows out of order, or values not their own".into());
    }
    expect("rows of a range", met, expected)
}

fn expect(what: &str, met: u64, expected: u64) -> Outcome<()> {
    if met == expected {
        return Ok(());
    }
    Err(format!("there are {met} {what}, there should be {expected}").into())
}

impl<S: Kv> Open<S> {
    fn new(path: PathBuf) -> Self {
        Self { store: None, path }
    }

    pub fn open(&mut self) -> Outcome<()> {
        self.store = Some(S::open(&self.path)?);
        Ok(())
    }

    pub fn store(&self) -> Outcome<&S> {
        Ok(self.store.as_ref().ok_or("the store is not open")?)
    }

    pub fn close(&mut self) -> Outcome<()> {
        self.store.take().ok_or("the store is not open")?.close()
    }

    pub fn remove(&self) -> Outcome<()> {
        if self.path.is_dir() {
            std::fs::remove_dir_all(&self.path)?;
        } else {
            std::fs::remove_file(&self.path)?;
        }
        Ok(())
    }

    /// Bytes on the device, whether one file or a directory.
    pub fn size(&self) -> Outcome<f64> {
        use std::os::unix::fs::MetadataExt;
        let on_disk = |meta: std::fs::Metadata| meta.blocks() as f64 * 512.0;
        if self.path.is_file() {
            return Ok(on_disk(std::fs::metadata(&self.path)?));
        }
        let (mut sum, mut below) = (0.0, vec![self.path.clone()]);
        while let Some(directory) = below.pop() {
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                let meta = entry.metadata()?;
                if meta.is_dir() {
                    below.push(entry.path());
                } else {
                    sum += on_disk(meta);
                }
            }
        }
        Ok(sum)
    }
}
