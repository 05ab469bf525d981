//! How many bytes are written for each byte given: batches of random keys into a large tree.
//!
//! Counted are bytes that the stack appended, and what this process handed to calls that write: that is those,
//! and what a reclaim wrote once more. Some batches come first and are not counted, so that what a journal puts
//! off is paid for within the count.

use clap::Args;
use serde_json::json;
use travertine::workload::Rows;
use travertine::workload::random::Rng;

use crate::desk::{Desk, Opened, written};
use crate::{Common, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Rows of a batch
    #[arg(long, default_value_t = 1_000)]
    batch: u64,
    /// Batches before the count
    #[arg(long, default_value_t = 200)]
    before: u64,
    /// Batches that are counted
    #[arg(long, default_value_t = 400)]
    batches: u64,
    /// Exit with 1 if more bytes than this are written for each byte given
    #[arg(long)]
    most: Option<f64>,
}

pub(crate) fn run(options: &Options) -> Outcome<bool> {
    let common = &options.common;
    let mut desk = Desk::new(common)?;
    let rows = Rows::new(common.rows, common.value.into(), common.seed);
    let opened = Opened::new(&desk.file, None)?;
    opened.load(&rows, None)?;
    eprintln!(
        "{} rows loaded: {} MiB on disk",
        common.rows,
        desk.used() >> 20
    );
    let mut rng = Rng::new(common.seed, 11);
    let mut value = Vec::new();
    let mut version = 0;
    let mut batches = |count: u64| -> Outcome<u64> {
        let mut given = 0;
        for _ in 0..count {
            version += 1;
            let ((), ticket) = opened.table.transact(|writer| {
                for _ in 0..options.batch {
                    let row = rng.below(rows.records());
                    rows.value(row, version, &mut value);
                    let key = rows.key(row);
                    given += (key.len() + value.len()) as u64;
                    writer.put(&key, &value)?;
                }
                Ok(())
            })?;
            ticket.wait()?;
        }
        Ok(given)
    };
    batches(options.before)?;
    let before = (opened.appended(), written());
    let given = batches(options.batches)?.max(1);
    let appended = (opened.appended() - before.0) as f64 / given as f64;
    let all = (written() - before.1) as f64 / given as f64;
    let used = desk.used();
    println!(
        "{} batches of {} rows into {}: {appended:.2} bytes appended and {all:.2} written in all for each \
         byte given; {} MiB on disk",
        options.batches,
        options.batch,
        common.rows,
        used >> 20
    );
    desk.tell(&json!({
        "rows": common.rows, "batch": options.batch, "batches": options.batches,
        "given": given, "appended": appended, "written": all, "used": used,
    }))?;
    opened.engine.close()?;
    Ok(options.most.is_none_or(|most| all <= most))
}
