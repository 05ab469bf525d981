//! Travertine beside other engines on the same work, in one run.
//!
//! ```text
//!   cargo run --release --manifest-path benches/rivals/Cargo.toml -- kv     beside redb
//!   cargo run --release --manifest-path benches/rivals/Cargo.toml -- log    beside okaywal
//!       --quick         a tenth of the rows          --rounds N   3 unless told otherwise
//!       --only TEXT     rows whose name has this     --dir DIR    a directory on a disk
//!       --json          a line of JSON per row
//! ```
//!
//! Both sides do each row in turn, and who begins changes from round to round, so that what else the
//! machine does meets both alike. A ratio is ours to theirs, the median over rounds, and always so that
//! more than 1 is better for us; `cpu` is the same of the processor time of the whole process, which
//! other processes disturb less. Everything that is read is checked. Durable rows are one `fdatasync`
//! on either side; compression is off where there is one.

mod kv;
mod log;
mod measure;
mod okaywal_side;
mod ours;
mod redb_side;

use std::path::PathBuf;
use std::process::ExitCode;

use measure::{Outcome, Report};

/// What was asked for.
struct Asked {
    quick: bool,
    json: bool,
    rounds: usize,
    only: Option<String>,
    directory: PathBuf,
}

fn main() -> Outcome<ExitCode> {
    let (mut what, mut asked) = (
        None,
        Asked {
            quick: false,
            json: false,
            rounds: 3,
            only: None,
            directory: std::env::temp_dir(),
        },
    );
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("a value is missing");
        match argument.as_str() {
            "kv" | "log" => what = Some(argument),
            "--quick" => asked.quick = true,
            "--json" => asked.json = true,
            "--rounds" => asked.rounds = value()?.parse()?,
            "--only" => asked.only = Some(value()?),
            "--dir" => asked.directory = value()?.into(),
            _ => {
                eprintln!(
                    "what is `{argument}`? kv or log, --quick, --json, --rounds N, --only TEXT, --dir DIR"
                );
                return Ok(ExitCode::from(2));
            }
        }
    }
    let mut report = Report::new(asked.only.clone());
    match what.as_deref() {
        Some("kv") => kv::run(&asked, &mut report)?,
        Some("log") => log::run(&asked, &mut report)?,
        _ => {
            eprintln!("say kv or log");
            return Ok(ExitCode::from(2));
        }
    }
    report.print(asked.json);
    Ok(ExitCode::SUCCESS)
}
