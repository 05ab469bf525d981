//! What a floor costs: a stack beside itself without that floor, round by round.

use comfy_table::{CellAlignment, Table as Grid, presets};

use super::Results;
use super::tables::{Table, number, time};
use crate::cli::{Failure, Terminal};
use crate::workload::Summary;

/// A floor, and the stack with it and without it.
pub(super) struct Floor<'a> {
    pub(super) stack: &'a str,
    pub(super) floor: &'a str,
    pub(super) with: &'a Summary,
    pub(super) without: &'a Summary,
}

impl Floor<'_> {
    /// Throughput with it over throughput without it: below one, the floor costs.
    pub(super) fn ratio(&self) -> f64 {
        self.with.rate.median / self.without.rate.median
    }

    /// Whether the rounds lie further apart than the two stacks.
    pub(super) fn within_the_spread(&self) -> bool {
        let spread = self.with.rate.width().max(self.without.rate.width());
        (self.ratio() - 1.0).abs() < spread
    }

    /// What it adds to this quantile of the latencies, in nanoseconds.
    pub(super) fn adds(&self, share: f64) -> i64 {
        let of = |summary: &Summary| summary.steps.quantile(share) as i64;
        of(self.with) - of(self.without)
    }
}

/// Every floor that was taken out, for one workload.
pub(super) fn floors<'a>(table: &Table<'a>, results: &'a Results) -> Vec<Floor<'a>> {
    let pairs = table.contestants.iter().zip(&results.stacks);
    let floors = pairs.filter_map(|(contestant, without)| {
        let (of, floor) = contestant.without.as_ref()?;
        Some(Floor {
            stack: &table.contestants[*of].label,
            floor,
            with: &results.stacks[*of],
            without,
        })
    });
    floors.collect()
}

/// A table per workload, if anything was taken out.
pub(super) fn print(table: &Table<'_>, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    for results in table.results {
        let floors = floors(table, results);
        if floors.is_empty() {
            continue;
        }
        terminal.say(format_args!(
            "\n{}{}: what each floor costs (throughput with it over throughput without it)",
            results.workload,
            table.in_threads(results)
        ))?;
        let mut grid = Grid::new();
        grid.load_style(presets::UTF8_HORIZONTAL_ONLY);
        grid.set_header([
            "stack", "floor", "with", "without", "ratio", "p50", "p99", "",
        ]);
        for floor in &floors {
            grid.add_row([
                floor.stack.to_owned(),
                floor.floor.to_owned(),
                number(floor.with.rate.median),
                number(floor.without.rate.median),
                format!("{:.2}", floor.ratio()),
                more(floor.adds(0.5)),
                more(floor.adds(0.99)),
                verdict(floor).to_owned(),
            ]);
        }
        for column in grid.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        terminal.say(grid)?;
    }
    Ok(())
}

/// What cannot be told from the rounds is not told.
pub(super) fn verdict(floor: &Floor<'_>) -> &'static str {
    match floor.within_the_spread() {
        true => "within the spread",
        false => "",
    }
}

/// A difference of times.
pub(super) fn more(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "+" };
    format!("{sign}{}", time(ns.unsigned_abs()))
}
