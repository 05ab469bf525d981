//! Steady random overwrites: what lies on the disk while they go on, and whether they stay as quick.
//!
//! Rows are loaded in order, then overwritten at random, in durable batches, until so many times the data
//! was written. Live is what a scan of the nodes finds at the end; what lies on the disk beside it is
//! looked at ten times a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use travertine::workload::random::Rng;
use travertine::workload::{Process, Rows, Steps};

use crate::desk::{Desk, Opened, anonymous, written};
use crate::page::{Page, Plot, Series};
use crate::{Common, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// How many times the data is overwritten
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// Rows of a commit
    #[arg(long, default_value_t = 100)]
    batch: u64,
    /// Exit with 1 if the most on disk, after the first tenth, is more than this many times what is live
    #[arg(long)]
    most_space: Option<f64>,
}

const TENTHS: u64 = 10;

pub(crate) fn run(options: &Options) -> Outcome<bool> {
    let common = &options.common;
    let mut desk = Desk::new(common)?;
    let rows = Rows::new(common.rows, common.value.into(), common.seed);
    let opened = Opened::new(&desk.file, None)?;
    opened.load(&rows, None)?;
    opened.table.checkpoint()?;
    eprintln!(
        "{} rows loaded: {} MiB on disk",
        common.rows,
        desk.used() >> 20
    );
    let before = (opened.appended(), written());
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let (tenths, looked) = std::thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let (mut used, mut memory) = (Vec::new(), 0);
            while !over.load(Ordering::Relaxed) {
                used.push((began.elapsed().as_secs_f64(), desk.used()));
                memory = anonymous().max(memory);
                std::thread::sleep(Duration::from_millis(100));
            }
            (used, memory)
        });
        let tenths = overwrite(options, &opened, &rows);
        over.store(true, Ordering::Relaxed);
        (tenths, looker.join())
    });
    let (used, memory) = looked.map_err(|_| "the looker failed")?;
    let tenths = tenths?;
    let after = (opened.appended(), written());
    let figures = opened.engine.status().figures;
    let figure = |name: &str| {
        let found = figures.iter().find(|figure| figure.0 == name);
        found.map_or(0, |figure| figure.1)
    };
    let reader = opened.table.reader()?;
    let verified = reader.verify();
    let live = verified.node_bytes + verified.apart_bytes;
    let payload = verified.payload_bytes.max(1);
    let mut all = Steps::new()?;
    tenths.iter().try_for_each(|tenth| all.add(&tenth.steps))?;
    let warm = tenths.first().map_or(0.0, |tenth| tenth.until);
    let lain: Vec<u64> = used
        .iter()
        .filter(|(at, _)| *at > warm)
        .map(|used| used.1)
        .collect();
    let most = lain.iter().copied().max().unwrap_or(0) as f64 / live as f64;
    let mean = lain.iter().sum::<u64>() as f64 / lain.len().max(1) as f64 / live as f64;
    let given = payload as f64 * options.times;
    let appended = (after.0 - before.0) as f64 / given;
    let handed = (after.1 - before.1) as f64 / given;
    let kept = match &tenths[..] {
        [first, .., last] => last.rate / first.rate,
        _ => 1.0,
    };
    let (p50, p99) = (all.quantile(0.5), all.quantile(0.99));
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let facts = [
        ("live: nodes of the newest commit", mib(live)),
        ("payload", mib(payload)),
        (
            "most on disk, after the first tenth",
            format!("{most:.2} of live"),
        ),
        (
            "mean on disk, after the first tenth",
            format!("{mean:.2} of live"),
        ),
        ("last tenth to first, throughput", format!("{kept:.2}")),
        (
            "commit",
            format!(
                "median {:.2} ms, p99 {:.2} ms ({:.1} of it), most {:.1} ms",
                p50 as f64 / 1e6,
                p99 as f64 / 1e6,
                p99 as f64 / p50.max(1) as f64,
                all.quantile(1.0) as f64 / 1e6
            ),
        ),
        (
            "appended, and written in all, for each byte given",
            format!("{appended:.2}, {handed:.2}"),
        ),
        (
            "reclaims",
            format!(
                "{}, which held writers back for {:.1} s",
                figure("reclaims"),
                figure("held_back_us") as f64 / 1e6
            ),
        ),
        ("resident at most", mib(Process::now().peak)),
        ("memory that is no file's, at most", mib(memory)),
        ("damage", verified.damaged.to_string()),
    ];
    for (name, fact) in &facts {
        eprintln!("{name:<52}{fact}");
    }
    desk.tell(&json!({
        "live": live, "payload": payload, "most": most, "mean": mean, "kept": kept,
        "p50_ns": p50, "p99_ns": p99, "appended": appended, "written": handed, "damaged": verified.damaged,
    }))?;
    opened.engine.close()?;
    if let Some(report) = &common.report {
        let mut page = Page::new("Steady overwrite", &facts, &[]);
        let space = used
            .iter()
            .map(|(at, used)| (*at, *used as f64 / live as f64));
        let of = |pick: fn(&Tenth) -> f64| {
            tenths
                .iter()
                .map(|tenth| (tenth.until, pick(tenth)))
                .collect()
        };
        let series = |name, points| Series { name, points };
        page.plot(&Plot {
            title: "On disk",
            unit: "of live",
            log: false,
            series: vec![series("on disk", space.collect())],
            marks: &[],
        });
        page.plot(&Plot {
            title: "Throughput",
            unit: "rows a second",
            log: false,
            series: vec![series("rows", of(|tenth| tenth.rate))],
            marks: &[],
        });
        page.plot(&Plot {
            title: "Commits",
            unit: "µs",
            log: true,
            series: vec![
                series("median", of(|tenth| tenth.steps.quantile(0.5) as f64 / 1e3)),
                series(
                    "99 of 100 below",
                    of(|tenth| tenth.steps.quantile(0.99) as f64 / 1e3),
                ),
                series(
                    "slowest",
                    of(|tenth| tenth.steps.quantile(1.0) as f64 / 1e3),
                ),
            ],
            marks: &[],
        });
        std::fs::write(report, page.end())?;
    }
    let fits = options.most_space.is_none_or(|allowed| most <= allowed);
    Ok(fits && verified.is_clean())
}

/// A tenth of the run.
struct Tenth {
    /// When it was over, in seconds.
    until: f64,
    /// Rows a second.
    rate: f64,
    steps: Steps,
}

fn overwrite(options: &Options, opened: &Opened, rows: &Rows) -> Outcome<Vec<Tenth>> {
    let whole = (rows.records() as f64 * options.times / options.batch as f64).ceil() as u64;
    let mut rng = Rng::new(options.common.seed, 7);
    let mut value = Vec::new();
    let began = Instant::now();
    let mut tenths = Vec::new();
    let mut version = 0;
    for tenth in 0..TENTHS {
        let mut steps = Steps::new()?;
        let start = Instant::now();
        let commits = whole * (tenth + 1) / TENTHS - whole * tenth / TENTHS;
        for _ in 0..commits {
            version += 1;
            let step = Instant::now();
            let ((), ticket) = opened.table.transact(|writer| {
                for _ in 0..options.batch {
                    let row = rng.below(rows.records());
                    rows.value(row, version, &mut value);
                    writer.put(&rows.key(row), &value)?;
                }
                Ok(())
            })?;
            ticket.wait()?;
            steps.record(step.elapsed().as_nanos() as u64);
        }
        let rate = (commits * options.batch) as f64 / start.elapsed().as_secs_f64();
        eprintln!(
            "tenth {:>2}: {rate:>9.0} rows/s  p50 {:>7.2} ms  p99 {:>7.2} ms  most {:>7.1} ms",
            tenth + 1,
            steps.quantile(0.5) as f64 / 1e6,
            steps.quantile(0.99) as f64 / 1e6,
            steps.quantile(1.0) as f64 / 1e6
        );
        tenths.push(Tenth {
            until: began.elapsed().as_secs_f64(),
            rate,
            steps,
        });
    }
    Ok(tenths)
}
