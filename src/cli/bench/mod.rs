//! `bench`: stacks side by side on the same work, in rounds that alternate.
//!
//! It promises that no existing data is touched: every run lies in a fresh directory that goes again
//! when the run has ended, and paths of a stack file count from there. It refuses what would lead out
//! of it, a server that holds what no benchmark left, and, unless told otherwise, a directory that is
//! memory in truth. What a run leaves at servers has no name any more, so that it can be reclaimed.

mod ablation;
mod ground;
mod plot;
mod report;
mod tables;

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::stack_arg::SetArg;
use super::{Failure, Outcome, Run, Terminal};
use crate::config::StackFile;
use crate::contract::{Env, Level};
use crate::stack::{ByteSize, Registry, level_from_text};
use crate::workload::{self, Params, Summary, Workload};

use self::ground::Ground;

/// Compare stacks by workloads, side by side, in fresh directories
///
/// Each round runs every workload on every stack in turn, A B C A B C, so that what else happens on
/// the machine meets all of them alike. Each run begins on an empty stack; keyed workloads load
/// --records rows first, which is not measured. Everything that is read is checked.
///
/// Figures are the medians of the rounds; the spread is the distance of least and most as a share of
/// the median. Latencies are those of all rounds: of a store, commit, read, range or transaction, of
/// an operation for ycsb, of 1000 rows for a scan. `x first` compares with the first stack.
/// `written` is what the bottoms wrote, zeros ahead included, for each byte of keys and values that
/// was handed in. `peak` is the memory that was resident, with maps of files.
///
/// A stack that goes on in servers runs on what they serve, which must hold nothing, or nothing but what
/// benchmarks left there: after a run no name leads to its rows, and they stay until they are reclaimed.
///
/// With --ablate, each stack also runs without each floor that can be taken out of it, in the same
/// rounds, and a table says what that floor costs or brings. With --report, everything is written
/// into one HTML file with plots as well, which opens without a network.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, after_help = "See --help for the workloads and examples.")]
pub(super) struct Bench {
    /// The stack files
    #[arg(value_name = "STACK", required = true)]
    stacks: Vec<PathBuf>,
    #[command(flatten)]
    set: SetArg,
    /// What to run, with commas between
    #[arg(
        long,
        short,
        value_name = "W[,W…]",
        value_delimiter = ',',
        default_value = "commit,fill-random,read-random",
        value_parser = workloads(),
        hide_possible_values = true
    )]
    workload: Vec<Workload>,
    /// Rows that are there, or that are filled in
    #[arg(long, value_name = "N", default_value = "100000", value_parser = count)]
    records: u64,
    /// Operations of a run, over all threads
    #[arg(long, value_name = "N", default_value = "100000", value_parser = count)]
    ops: u64,
    /// Threads that share them; several numbers, with commas between, run one after the other
    #[arg(long, value_name = "T[,T…]", value_delimiter = ',', default_value = "1", value_parser = count)]
    threads: Vec<u64>,
    /// Bytes of a value or record, like 150 or 4KiB
    #[arg(long, value_name = "B", default_value = "150", value_parser = bytes)]
    value_size: u64,
    /// Rows of a transaction of fill-random and delete
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count)]
    batch: u64,
    /// How often everything is run
    #[arg(long, value_name = "R", default_value = "3", value_parser = count)]
    rounds: u64,
    /// The same seed does the same operations on the same rows
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// The level of a commit: memory, os, disk or replicated(N); as each stack says, if not given
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Option<Level>,
    /// Where fresh directories are made; the system's temporary directory, if not given
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Go on even if that directory is in memory
    #[arg(long)]
    allow_tmpfs: bool,
    /// Run each stack without each removable floor as well, and say what the floor costs
    #[arg(long)]
    ablate: bool,
    /// Write one HTML file with plots, too
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print one JSON object per workload and stack
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Workloads:
  append       --ops records of --value-size bytes, one commit at the end
  commit       --ops records, each committed, and waited for, by itself
  fill-seq     --records rows in the order of their keys, by bulk load, in one commit
  fill-random  --records rows in no order, --batch rows a transaction
  read-random  --ops reads, every row equally likely
  read-hot     --ops reads, a few rows most of the time (Zipf 0.99)
  range        --ops ranges of 10 rows from anywhere
  scan         all rows in order, again until --ops rows are read
  delete       --ops removals in no order, at most --records, --batch a transaction
  ycsb-a       50 % reads, 50 % updates (Zipf)
  ycsb-b       95 % reads, 5 % updates (Zipf)
  ycsb-c       100 % reads (Zipf)
  ycsb-d       95 % reads of the newest rows, 5 % insertions
  ycsb-e       95 % ranges of 1 to 100 rows (Zipf), 5 % insertions
  ycsb-f       50 % reads, 50 % read, change and write back (Zipf)

Examples:
  travertine bench stack.toml
  travertine bench a.toml b.toml c.toml --workload commit --ops 3000 --rounds 5
  travertine bench stack.toml --workload ycsb-a,ycsb-f --records 1000000 --ops 50000 --threads 2
  travertine bench stack.toml -w append --value-size 16KiB --ops 20000 --level os
  travertine bench stack.toml --ablate --workload commit,read-hot
  travertine bench a.toml b.toml --threads 1,2,4 --report report.html
  travertine bench stack.toml -w read-random --dir /mnt/disk --json | jq .ops_per_second.median

A run that reads a wrong value, or misses one, ends the command with exit code 1.";

/// Most rounds.
const ROUNDS_MAX: u64 = 10_000;

impl Run for Bench {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        for threads in &self.threads {
            self.params(*threads).check()?;
        }
        if !(1..=ROUNDS_MAX).contains(&self.rounds) {
            let rounds = self.rounds;
            return Err(Failure::wrong(format!(
                "rounds is {rounds}; it must be 1 to {ROUNDS_MAX}"
            )));
        }
        let contestants = self.contestants(registry, terminal)?;
        let ground = Ground::choose(self.dir.as_deref(), self.allow_tmpfs)?;
        let report = self.report.as_deref().map(report::create).transpose()?;
        let results = self.rounds(&contestants, &ground, terminal)?;
        let table = tables::Table {
            params: &self.params(self.threads[0]),
            threads: &self.threads,
            ground: &ground,
            contestants: &contestants,
            results: &results,
        };
        if self.json {
            table.json(terminal)?;
        } else {
            table.print(terminal)?;
            ablation::print(&table, terminal)?;
        }
        if let (Some(file), Some(path)) = (report, &self.report) {
            report::write(file, path, &table)?;
            terminal.note(format_args!("wrote {}", path.display()))?;
        }
        Ok(Outcome::Fine)
    }
}

impl Bench {
    fn params(&self, threads: u64) -> Params {
        Params {
            records: self.records,
            ops: self.ops,
            threads,
            value_size: usize::try_from(self.value_size).unwrap_or(usize::MAX),
            batch: self.batch,
            seed: self.seed,
            level: self.level,
        }
    }

    /// The stacks, each followed by itself without one floor, where that was asked for and is legal.
    fn contestants(
        &self,
        registry: &Registry,
        terminal: &mut Terminal<'_>,
    ) -> Result<Vec<Contestant>, Failure> {
        let overrides = self.set.overrides();
        let mut contestants = Vec::new();
        for path in &self.stacks {
            let whole = Contestant::new(path, &self.stacks, registry, &overrides)?;
            let thinner = match self.ablate {
                true => whole.file.thinner(registry),
                false => Vec::new(),
            };
            let (label, of) = (whole.label.clone(), contestants.len());
            contestants.push(whole);
            for (floor, file) in thinner {
                match file {
                    Ok(file) => contestants.push(Contestant {
                        label: format!("{label} - {floor}"),
                        file,
                        without: Some((of, floor)),
                    }),
                    Err(why) => terminal.note(format_args!(
                        "{label} is not run without {floor}, which would not be legal: {why}"
                    ))?,
                }
            }
        }
        Ok(contestants)
    }

    /// Everything, so many times. A workload's results stand in the order of the contestants.
    fn rounds(
        &self,
        contestants: &[Contestant],
        ground: &Ground,
        terminal: &mut Terminal<'_>,
    ) -> Result<Vec<Results>, Failure> {
        let mut results = Vec::new();
        for workload in &self.workload {
            for threads in &self.threads {
                results.push((*workload, *threads, vec![Vec::new(); contestants.len()]));
            }
        }
        for round in 1..=self.rounds {
            for (workload, threads, runs) in &mut results {
                let params = self.params(*threads);
                for (contestant, runs) in contestants.iter().zip(runs) {
                    let label = &contestant.label;
                    terminal.progress(format_args!(
                        "round {round} of {}: {workload} on {label}",
                        self.rounds
                    ))?;
                    runs.push(contestant.run(*workload, &params, ground)?);
                }
            }
        }
        terminal.progress("")?;
        let summarise = |(workload, threads, runs): (Workload, u64, Vec<Vec<workload::Run>>)| {
            let stacks = runs.iter().map(|runs| Summary::of(runs));
            Ok(Results {
                workload,
                threads,
                stacks: stacks.collect::<crate::contract::Result<_>>()?,
            })
        };
        results.into_iter().map(summarise).collect()
    }
}

/// One workload on all stacks, in so many threads.
struct Results {
    workload: Workload,
    threads: u64,
    stacks: Vec<Summary>,
}

/// One of the stacks.
struct Contestant {
    label: String,
    file: StackFile,
    /// The contestant that this one is, less a floor; and the floor.
    without: Option<(usize, String)>,
}

impl Contestant {
    fn new(
        path: &Path,
        all: &[PathBuf],
        registry: &Registry,
        overrides: &crate::config::Overrides,
    ) -> Result<Self, Failure> {
        let file = StackFile::load(path, registry, overrides)?;
        ground::stays_inside(&file)?;
        ground::is_free(&file)?;
        // The short name, where no other stack has it.
        let same = |other: &&PathBuf| other.file_stem() == path.file_stem();
        let label = match path.file_stem() {
            Some(stem) if all.iter().filter(same).count() == 1 => stem.to_string_lossy(),
            _ => path.to_string_lossy(),
        };
        Ok(Self {
            label: label.into_owned(),
            file,
            without: None,
        })
    }

    /// The level of its commits.
    fn level(&self, params: &Params) -> Level {
        params.level.unwrap_or(self.file.plan().level())
    }

    fn run(
        &self,
        workload: Workload,
        params: &Params,
        ground: &Ground,
    ) -> Result<workload::Run, Failure> {
        let fresh = ground.fresh()?;
        let env = Env::system();
        let run = || {
            let (stack, engine) = self.file.at(fresh.path()).engine(&env, false)?;
            let elsewhere = ground::is_elsewhere(&self.file);
            if elsewhere {
                // A run that was ended in the middle left its rows.
                workload::clear(&engine)?;
            }
            let run = workload::run(workload, &engine, &env, params)?;
            if elsewhere {
                workload::clear(&engine)?;
            }
            engine.close()?;
            drop(stack);
            Ok(run)
        };
        let run = run().map_err(|error: crate::contract::Error| {
            error.at(format!("{workload} on {}", self.label))
        })?;
        fresh.close()?;
        Ok(run)
    }
}

fn workloads() -> impl TypedValueParser<Value = Workload> {
    let names: Vec<_> = Workload::all().map(Workload::name).collect();
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Workload>())
}

/// A number, with `_` wherever one likes.
fn count(text: &str) -> Result<u64, String> {
    let digits = text.replace('_', "");
    digits
        .parse()
        .map_err(|_| format!("`{text}` is no whole number"))
}

/// Bytes, with a unit or without.
fn bytes(text: &str) -> Result<u64, String> {
    match count(text) {
        Ok(bytes) => Ok(bytes),
        Err(_) => text
            .parse::<ByteSize>()
            .map(|size| size.0)
            .map_err(|fault| fault.to_string()),
    }
}

fn level(text: &str) -> Result<Level, String> {
    level_from_text(text).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_tells_of_every_workload_as_it_is() {
        for workload in Workload::all() {
            let line = format!("  {:<12} {}\n", workload.name(), workload.does());
            assert!(EXAMPLES.contains(&line), "{line}");
        }
    }
}
