//! More rows than there is memory for: loaded in no order, and all of them read back.
//!
//! ```text
//!   load   batches of rows in a random order, each durable; or all in the order of their keys, in one commit
//!   scan   every row, in the order of the keys; what is there must be what was written
//!   read   every row once, or as many as were asked for, in another random order
//! ```
//!
//! Without `--stack` a cache of `--cache` lies over one log, which is read by calls and not mapped, so that
//! what the cache holds is all that the process holds of it. To see that it lives with as little, limit the
//! process from outside: `systemd-run --scope -p MemoryMax=2G soak large …`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use travertine::workload::random::Shuffle;
use travertine::workload::{KEY, Rows, from_key, walk};

use crate::desk::{Desk, Opened, anonymous};
use crate::{Common, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Rows of a batch
    #[arg(long, default_value_t = 50_000)]
    batch: u64,
    /// Load in the order of the keys, in one commit: what takes hours otherwise takes minutes
    #[arg(long, conflicts_with = "batch")]
    in_order: bool,
    /// What the cache may hold
    #[arg(long, default_value = "1 GiB")]
    cache: String,
    /// Threads that read
    #[arg(long, default_value_t = 2)]
    readers: u64,
    /// Read so many rows, not all
    #[arg(long)]
    reads: Option<u64>,
    /// Exit with 1 if more than so many MiB of memory that is no file's were held
    #[arg(long)]
    most_memory: Option<u64>,
}

impl Options {
    fn stack(&self) -> String {
        format!(
            "reclaim = {{ retain = \"newest\", rate = \"1 GiB\" }}\n\n\
             [[layer]]\nuse = \"cache\"\nmemory = \"{}\"\n\n\
             [[layer]]\nuse = \"file\"\npath = \"data\"\nread = \"pread\"\n",
            self.cache
        )
    }
}

pub(crate) fn run(options: &Options) -> Outcome<bool> {
    let common = &options.common;
    let mut desk = Desk::with(common, &options.stack())?;
    let rows = Rows::new(common.rows, common.value.into(), common.seed);
    let opened = Opened::new(&desk.file, None)?;
    let (over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let (loading, scanning, reading) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(anonymous(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let began = Instant::now();
        let loaded = match options.in_order {
            true => opened.load(&rows, None),
            false => load(options, &opened, &rows),
        };
        let done = loaded.and_then(|()| {
            let loading = rows.records() as f64 / began.elapsed().as_secs_f64();
            eprintln!(
                "{loading:.0} rows a second loaded, {} MiB on disk",
                desk.used() >> 20
            );
            let scanning = scan(&opened, &rows)?;
            eprintln!(
                "{scanning:.0} rows a second scanned, {} MiB held",
                anonymous() >> 20
            );
            Ok((loading, scanning, read(options, &opened, &rows)?))
        });
        over.store(true, Ordering::Relaxed);
        done
    })?;
    opened.engine.close()?;
    let payload = (common.rows * (KEY as u64 + u64::from(common.value))).max(1);
    let (memory, used) = (most.into_inner(), desk.used());
    println!(
        "{} rows: {loading:.0} rows a second loaded, {scanning:.0} scanned, {reading:.0} read; {:.2} of the \
         payload on disk; at most {} MiB of memory that is no file's",
        common.rows,
        used as f64 / payload as f64,
        memory >> 20
    );
    desk.tell(&json!({
        "rows": common.rows, "loaded": loading, "scanned": scanning, "read": reading, "used": used, "payload": payload,
        "anonymous": memory,
    }))?;
    Ok(options.most_memory.is_none_or(|most| memory >> 20 <= most))
}

/// Loads all rows in batches, in no order.
fn load(options: &Options, opened: &Opened, rows: &Rows) -> Outcome<()> {
    let count = rows.records();
    let order = Shuffle::new(count, options.common.seed);
    let (mut told, mut value) = (Instant::now(), Vec::new());
    let mut next = 0;
    while next < count {
        let upto = count.min(next + options.batch.max(1));
        let ((), ticket) = opened.table.transact(|writer| {
            for index in next..upto {
                let row = order.at(index);
                rows.value(row, 0, &mut value);
                writer.put(&rows.key(row), &value)?;
            }
            Ok(())
        })?;
        ticket.wait()?;
        next = upto;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("{next:>12} of {count} rows, {} MiB held", anonymous() >> 20);
        }
    }
    opened.table.checkpoint()?;
    Ok(())
}

/// Reads all rows back in the order of their keys, and answers how many in a second.
fn scan(opened: &Opened, rows: &Rows) -> Outcome<f64> {
    let reader = opened.table.reader()?;
    let began = Instant::now();
    let mut range = from_key(&reader, &[]);
    let (mut row, mut wrong) = (0, None);
    walk(&reader, &mut range, u64::MAX, |key, value| {
        let fine = key == rows.key(row) && rows.check(row, value) == Some(0);
        wrong = wrong.or((!fine).then_some(row));
        row += 1;
        Ok(())
    })?;
    match wrong.or((row < rows.records()).then_some(row)) {
        Some(row) => Err(format!("row {row} is missing or not its own").into()),
        None => Ok(row as f64 / began.elapsed().as_secs_f64()),
    }
}

/// Reads rows back in no order, and answers how many in a second.
fn read(options: &Options, opened: &Opened, rows: &Rows) -> Outcome<f64> {
    let count = rows.records();
    let reads = options.reads.unwrap_or(count).min(count);
    let order = Shuffle::new(count, !options.common.seed);
    let threads = options.readers.max(1);
    let part = |lane: u64| -> Outcome<()> {
        let reader = opened.table.reader()?;
        for index in reads * lane / threads..reads * (lane + 1) / threads {
            let row = order.at(index);
            let value = reader.get(&rows.key(row)).wait()?;
            if value.and_then(|value| rows.check(row, &value)) != Some(0) {
                return Err(format!("row {row} is missing or not its own").into());
            }
        }
        Ok(())
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..threads)
            .map(|lane| scope.spawn(move || part(lane).map_err(|error| error.to_string())))
            .collect();
        let mut lanes = lanes.into_iter();
        lanes.try_for_each(|lane| lane.join().map_err(|_| "a thread failed".to_owned())?)
    })?;
    Ok(reads as f64 / began.elapsed().as_secs_f64())
}
