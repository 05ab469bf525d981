//! Memory while many rows are loaded: what stays resident must not grow with their number.
//!
//! `cargo bench -p travertine-benches --bench memory [-- ROWS]`: ten million rows unless told otherwise,
//! sorted by bulk load, then a tenth as many in no order in transactions of 10,000, which leave many
//! times their own bytes behind; the directory is `TMPDIR`.
//! Anonymous memory is what the process itself holds; resident parts of mapped files are the system's
//! to take back, and are told apart. Exit code 1 if the last quarter of the rows took more memory than
//! the first quarter and [`SLACK`] besides.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads what the kernel counts"
)]

use std::path::Path;
use std::process::ExitCode;

use travertine::contract::{Env, Error, Result};
use travertine::front::{Engine, Options};
use travertine::stack::{Layer, Opening, Plan, Spec};
use travertine::workload::random::Shuffle;
use travertine::workload::{Rows, Table};

/// Bytes that buffers may still grow by once a quarter of the rows is loaded.
const SLACK: u64 = 32 << 20;
const BATCH: u64 = 10_000;

fn main() -> Result<ExitCode> {
    let rows = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(10_000_000);
    let directory = tempfile::tempdir().map_err(|error| Error::io("TMPDIR", error))?;
    println!(
        "{:<8} {:>12} {:>16} {:>16}",
        "load", "rows", "anonymous MiB", "mapped MiB"
    );
    let sorted = load(directory.path(), "sorted", rows, sorted)?;
    let random = load(directory.path(), "random", rows / 10, random)?;
    Ok(if sorted && random {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Loads in a stack of its own. Whether memory stayed bounded.
fn load(
    base: &Path,
    name: &'static str,
    count: u64,
    fill: impl FnOnce(&Table, &Rows, &mut dyn FnMut(u64)) -> Result<()>,
) -> Result<bool> {
    let spec = Spec::linear([Layer::new("file").with("path", name)]);
    let plan = Plan::new(&spec, &travertine::standard(), base)
        .map_err(|errors| Error::invalid(format!("{errors:?}")))?;
    let env = Env::system();
    let stack = plan.open(&env, Opening::default())?;
    let engine = Engine::open(stack.store(), &env, Options::default())?;
    let rows = Rows::new(count, 150, 1);
    let table = Table::new(&engine, name, None)?;
    let mut peaks = [0; 4];
    let mut look = |done: u64| {
        if done.is_multiple_of(BATCH) {
            let peak = &mut peaks[(done * 4 / count).min(3) as usize];
            *peak = (*peak).max(resident("RssAnon:"));
        }
        if done.is_multiple_of((count / 10).max(1)) {
            println!(
                "{name:<8} {done:>12} {:>16} {:>16}",
                resident("RssAnon:") >> 20,
                resident("RssFile:") >> 20
            );
        }
    };
    fill(&table, &rows, &mut look)?;
    engine.close()?;
    drop(stack);
    let _ = std::fs::remove_dir_all(base.join(name));
    let bounded = peaks[3] <= peaks[0] + SLACK;
    println!(
        "{name}: peaks by quarters {:?} MiB: {}",
        peaks.map(|peak| peak >> 20),
        if bounded { "bounded" } else { "GROWING" }
    );
    Ok(bounded)
}

fn sorted(table: &Table, rows: &Rows, look: &mut dyn FnMut(u64)) -> Result<()> {
    let (mut number, mut value) = (0, Vec::new());
    table.load(|push| {
        if number == rows.records() {
            return Ok(false);
        }
        rows.value(number, 0, &mut value);
        push(&rows.key(number), &value)?;
        number += 1;
        look(number);
        Ok(true)
    })?;
    Ok(())
}

fn random(table: &Table, rows: &Rows, look: &mut dyn FnMut(u64)) -> Result<()> {
    let order = Shuffle::new(rows.records(), 1);
    let mut value = Vec::new();
    for first in (0..rows.records()).step_by(BATCH as usize) {
        let end = rows.records().min(first + BATCH);
        let (_, ticket) = table.transact(|writer| {
            for number in (first..end).map(|index| order.at(index)) {
                rows.value(number, 0, &mut value);
                writer.put(&rows.key(number), &value)?;
            }
            Ok(())
        })?;
        ticket.wait()?;
        look(end);
    }
    Ok(())
}

fn resident(name: &str) -> u64 {
    let status = std::fs::read("/proc/self/status").unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = value.and_then(|value| value.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}
