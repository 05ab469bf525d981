//! Soaks: hours of one workload on a stack, with figures over time, on a page of its own.
//!
//! ```text
//!   cargo run --release -p travertine-benches --bin soak -- reclaim --minutes 30 --report soak.html
//!
//!   reclaim         overwrites with readers, snapshots and tags, killed again and again; nothing
//!                   acknowledged may be lost, no snapshot may read other than it was
//!   overwrite       steady random overwrites of so many times the data: disk use, throughput, latency
//!   amplification   batches of random keys into a large tree: bytes written for each byte given
//!   large           more rows than there is memory for, loaded and read back
//! ```
//!
//! A figure that misses what `--most-…` asks for, and anything lost or wrong, ends it with exit code 1.
//! Progress goes to standard error. Memory is bounded: a few words for each row, and eight bytes for
//! each commit of a `reclaim`.
#![expect(
    clippy::disallowed_methods,
    reason = "a soak measures with the system's clock, and looks at files as the system sees them"
)]

mod amplification;
mod child;
mod desk;
mod large;
mod model;
mod overwrite;
mod page;
mod reclaim;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Debug, Parser)]
#[command(
    name = "soak",
    about = "Long runs of one workload on a stack, with figures over time",
    after_help = "Examples:\n  \
        soak reclaim --minutes 30 --report soak.html\n  \
        soak reclaim --stack examples/stacks/solo.toml --minutes 5 --kills 40\n  \
        soak overwrite --rows 1000000 --times 10 --report overwrite.html\n  \
        soak amplification --rows 10000000\n  \
        soak large --rows 100000000 --cache '1 GiB' --in-order\n\n\
        A run works in a directory of its own, which goes again at the end, unless --keep names one.\n\
        TRAVERTINE_LOG=info tells what is reclaimed as well, on standard error."
)]
struct Soak {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Overwrites a tree beside readers, held snapshots and tags, reclaims by itself, and is killed
    Reclaim(reclaim::Options),
    /// Overwrites random rows, so many times the data, and looks at disk use and latency
    Overwrite(overwrite::Options),
    /// Commits batches of random keys into a large tree and counts what is written for them
    Amplification(amplification::Options),
    /// Loads more rows than there is memory for, and reads them back
    Large(large::Options),
    /// What `reclaim` kills
    #[command(hide = true)]
    Child(child::Options),
}

/// What every soak takes.
#[derive(Debug, Clone, Args)]
struct Common {
    /// A stack file; paths in it count from the directory of the run. Usual: one log, in small segments
    #[arg(long)]
    stack: Option<PathBuf>,
    /// Work here and leave everything. The directory must be empty or not be there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Rows of the tree
    #[arg(long, default_value_t = 300_000)]
    rows: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u16).range(24..))]
    value: u16,
    /// Repeats a run, as far as the machine allows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write a page with plots here
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the figures here, one JSON object a line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is told beside the figures.
fn level() -> LevelFilter {
    let asked = std::env::var("TRAVERTINE_LOG").ok();
    let level = asked.and_then(|level| level.parse().ok());
    level.unwrap_or(LevelFilter::WARN)
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(level())
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let done = match Soak::parse().what {
        What::Reclaim(options) => reclaim::run(&options),
        What::Overwrite(options) => overwrite::run(&options),
        What::Amplification(options) => amplification::run(&options),
        What::Large(options) => large::run(&options),
        What::Child(options) => child::run(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}
