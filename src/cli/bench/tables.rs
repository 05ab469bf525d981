//! What a bench found, for people and for programs.

use comfy_table::{CellAlignment, Table as Grid, presets};
use serde::Serialize;

use super::ground::Ground;
use super::{Contestant, Results};
use crate::cli::{Failure, Terminal};
use crate::contract::Level;
use crate::workload::{Params, Spread, Summary};

/// Everything that was found.
pub(super) struct Table<'a> {
    pub(super) params: &'a Params,
    /// The numbers of threads that were tried.
    pub(super) threads: &'a [u64],
    pub(super) ground: &'a Ground,
    pub(super) contestants: &'a [Contestant],
    pub(super) results: &'a [Results],
}

const HEADER: [&str; 11] = [
    "stack", "ops/s", "spread", "x first", "p50", "p99", "p99.9", "written", "syncs", "cpu/op",
    "peak",
];

impl Table<'_> {
    /// A table per workload.
    pub(super) fn print(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        for line in self.head() {
            terminal.say(line)?;
        }
        for results in self.results {
            terminal.say(format_args!(
                "\n{}{}: {} ({} rounds; latency per {})",
                results.workload,
                self.in_threads(results),
                results.workload.does(),
                results.stacks.first().map_or(0, |summary| summary.rounds),
                results.workload.step(),
            ))?;
            terminal.say(self.grid(results))?;
        }
        Ok(())
    }

    /// What was run, and where.
    pub(super) fn head(&self) -> Vec<String> {
        let params = self.params;
        let threads: Vec<_> = self.threads.iter().map(u64::to_string).collect();
        let mut lines = vec![
            format!(
                "{} rows, {} ops, {} thread{}, values of {} bytes, transactions of {}, seed {}",
                params.records,
                params.ops,
                threads.join(" and "),
                if self.threads == [1] { "" } else { "s" },
                params.value_size,
                params.batch,
                params.seed,
            ),
            format!(
                "in fresh directories below {} ({})",
                self.ground.place(),
                self.ground.file_system
            ),
        ];
        for contestant in self.contestants {
            let level = contestant.level(params);
            lines.push(format!(
                "{}: commits reach {level}; {}",
                contestant.label,
                sync(level)
            ));
        }
        lines
    }

    /// In how many threads, where several numbers were tried.
    pub(super) fn in_threads(&self, results: &Results) -> String {
        match (self.threads, results.threads) {
            ([_], _) => String::new(),
            (_, 1) => " in 1 thread".to_owned(),
            (_, threads) => format!(" in {threads} threads"),
        }
    }

    fn grid(&self, results: &Results) -> Grid {
        let mut grid = Grid::new();
        grid.load_style(presets::UTF8_HORIZONTAL_ONLY);
        grid.set_header(HEADER);
        let first = results.stacks.first().map_or(0.0, |s| s.rate.median);
        for (contestant, summary) in self.contestants.iter().zip(&results.stacks) {
            let latency = |share| time(summary.steps.quantile(share));
            grid.add_row([
                contestant.label.clone(),
                number(summary.rate.median),
                format!("{:.0} %", summary.rate.width() * 100.0),
                format!("{:.2}", summary.rate.median / first),
                latency(0.5),
                latency(0.99),
                latency(0.999),
                summary
                    .amplification
                    .map_or("-".to_owned(), |times| format!("{times:.2}")),
                number(summary.syncs.median),
                time((summary.cpu_us.median * 1e3) as u64),
                size(summary.peak.median),
            ]);
        }
        for column in grid.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        grid
    }

    /// A line of JSON per workload and stack.
    pub(super) fn json(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        for results in self.results {
            let first = results.stacks.first().map_or(0.0, |s| s.rate.median);
            for (contestant, summary) in self.contestants.iter().zip(&results.stacks) {
                terminal.json(&self.facts(results, contestant, summary, first))?;
            }
        }
        Ok(())
    }

    fn facts<'f>(
        &'f self,
        results: &'f Results,
        contestant: &'f Contestant,
        summary: &'f Summary,
        first: f64,
    ) -> Facts<'f> {
        let level = contestant.level(self.params);
        Facts {
            workload: results.workload.name(),
            stack: contestant.file.path().display().to_string(),
            without: contestant.without.as_ref().map(|(_, floor)| floor.as_str()),
            fingerprint: contestant.file.plan().fingerprint().text(),
            records: self.params.records,
            ops: summary.ops,
            threads: results.threads,
            value_size: self.params.value_size,
            batch: self.params.batch,
            seed: self.params.seed,
            rounds: summary.rounds,
            level,
            sync: sync(level),
            directory: self.ground.place(),
            file_system: &self.ground.file_system,
            ops_per_second: summary.rate.into(),
            ratio_to_first: summary.rate.median / first,
            latency_of: results.workload.step(),
            latency_ns: Latency {
                p50: summary.steps.quantile(0.5),
                p99: summary.steps.quantile(0.99),
                p999: summary.steps.quantile(0.999),
            },
            written_per_byte_given: summary.amplification,
            syncs: summary.syncs.median as u64,
            cpu_us_per_op: summary.cpu_us.into(),
            peak_resident_bytes: summary.peak.median as u64,
        }
    }
}

#[derive(Serialize)]
struct Facts<'a> {
    workload: &'a str,
    stack: String,
    /// The floor that was taken out of that stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    without: Option<&'a str>,
    fingerprint: &'a str,
    records: u64,
    ops: u64,
    threads: u64,
    value_size: usize,
    batch: u64,
    seed: u64,
    rounds: usize,
    level: Level,
    sync: &'a str,
    directory: String,
    file_system: &'a str,
    ops_per_second: Figure,
    ratio_to_first: f64,
    latency_of: &'a str,
    latency_ns: Latency,
    written_per_byte_given: Option<f64>,
    syncs: u64,
    cpu_us_per_op: Figure,
    peak_resident_bytes: u64,
}

#[derive(Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
    p999: u64,
}

#[derive(Serialize)]
struct Figure {
    median: f64,
    least: f64,
    most: f64,
}

impl From<Spread> for Figure {
    fn from(spread: Spread) -> Self {
        Self {
            median: spread.median,
            least: spread.least,
            most: spread.most,
        }
    }
}

/// What a commit of this level asks of the system.
fn sync(level: Level) -> &'static str {
    match level {
        Level::Memory => "nothing is written for a commit",
        Level::Os => "written for a commit, not flushed",
        Level::Disk | Level::Replicated(_) => "fdatasync for a commit",
    }
}

pub(super) fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

pub(super) fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..10_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

pub(super) fn size(bytes: f64) -> String {
    format!("{:.0} MiB", bytes / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_at_a_glance() {
        assert_eq!(number(0.0), "0");
        assert_eq!(number(999.0), "999");
        assert_eq!(number(1_234_567.4), "1_234_567");
        assert_eq!(time(950), "950 ns");
        assert_eq!(time(95_000), "95.0 us");
        assert_eq!(time(1_200_000), "1.20 ms");
    }
}
