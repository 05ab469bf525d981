//! Bytes that the system writes for each byte given: rows loaded in no order, then overwritten at random.
//!
//! Counted is what this process hands to the system by calls that write (`wchar` of `/proc/self/io`). Pages
//! made dirty (`write_bytes` there) say less: where a file lies in large folios, the system counts a whole one
//! for each page of it that is written again, more than ten times the bytes of who writes in place. Who
//! writes through a map tells nothing.
//!
//! Every side has the process to itself until it is closed, so what it does beside its writers is its own;
//! what it would do later, had it stayed open, is not counted. Batches of rows come before the count, so that
//! what was put off when it began is about as much as what is when it ends.

use std::fs;

use travertine::workload::random::Rng;

use crate::Asked;
use crate::kv::{Data, Kv, Open, begin};
use crate::measure::{Better, Outcome, Report, Side};

/// Rows of a batch that is overwritten.
const BATCH: usize = 1_000;
/// Rows of a batch that is loaded.
const LOAD: usize = 100_000;

/// Loads and overwrites with every side.
pub fn run(asked: &Asked, report: &mut Report) -> Outcome<()> {
    let rows = match (asked.rows, asked.quick) {
        (Some(rows), _) => rows,
        (None, true) => 100_000,
        (None, false) => 1_000_000,
    };
    let mut data = Data::new(rows, 0);
    for round in 0..asked.rounds {
        let (_ground, mut stores) = begin(asked, round, report)?;
        for (side, store) in stores.iter_mut().enumerate() {
            eprintln!("{}", store.name());
            let amplified = store.amplify(&mut data, side, report);
            amplified.map_err(|error| format!("{}: {error}", store.name()))?;
        }
    }
    Ok(())
}

/// Loads all rows, overwrites as many, and tells what was written for both.
pub fn amplify<S: Kv>(
    open: &mut Open<S>,
    data: &mut Data,
    side: Side,
    report: &mut Report,
) -> Outcome<()> {
    let rows = data.rows.records();
    let mut rng = Rng::new(17, side as u64);
    data.version = 0;
    open.open()?;
    let mut batches = |data: &mut Data, count: u64| -> Outcome<u64> {
        let mut given = 0;
        for _ in 0..count {
            data.version += 1;
            let mut numbers: Vec<_> = (0..BATCH).map(|_| rng.below(rows)).collect();
            numbers.sort_unstable();
            numbers.dedup();
            given += data.payload(numbers.len() as u64);
            open.store()?.put(data, &numbers, true)?;
        }
        Ok(given)
    };
    let before = written()?;
    for some in data.shuffled.chunks(LOAD) {
        open.store()?.put(data, some, true)?;
    }
    let loaded = (written()? - before) as f64 / data.payload(rows) as f64;
    if !S::MAPPED {
        report.add("written by a load", "x", Better::Less, side, loaded, None);
    }
    let count = rows / BATCH as u64;
    batches(data, count / 4)?;
    let before = written()?;
    let began = std::time::Instant::now();
    let given = batches(data, count)?;
    let rate = rows as f64 / began.elapsed().as_secs_f64();
    open.close()?;
    let amplified = (written()? - before) as f64 / given.max(1) as f64;
    let (name, less) = ("written by overwrites", Better::Less);
    if !S::MAPPED {
        report.add(name, "x", less, side, amplified, None);
    }
    report.add("overwrites", "/s", Better::More, side, rate, None);
    let size = open.size()? / data.payload(rows) as f64;
    report.add("size, overwritten", "x", Better::Less, side, size, None);
    data.version = 0;
    open.remove()
}

/// Bytes that this process gave to calls that write.
fn written() -> Outcome<u64> {
    let told = fs::read_to_string("/proc/self/io")?;
    let mut lines = told.lines();
    let line = lines.find_map(|line| line.strip_prefix("wchar: "));
    Ok(line
        .ok_or("the system does not tell what it wrote")?
        .parse()?)
}
