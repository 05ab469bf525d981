//! Travertine beside other engines on the same work, in one run.
//!
//! ```text
//!   cargo run --release --manifest-path benches/rivals/Cargo.toml -- kv     beside redb, fjall, LMDB, SQLite, sled, nebari
//!       and with --features rocksdb (librocksdb-dev of the system)           also beside RocksDB
//!   cargo run --release --manifest-path benches/rivals/Cargo.toml -- log    beside okaywal
//!   cargo run --release --manifest-path benches/rivals/Cargo.toml -- amplification    bytes written for each byte given
//!       --quick         a tenth of the rows          --rounds N   3 unless told otherwise
//!       --only TEXT     rows whose name has this     --dir DIR    a directory on a disk
//!       --json          a line of JSON per row           --report FILE   one page with plots
//!       --against A,B   kv and amplification beside these only
//!       --rows N        of amplification
//! ```
//!
//! All sides do each row in turn, and who begins changes from round to round, so that what else the
//! machine does meets all alike. A ratio is ours to the best of the others, the median over rounds, and
//! always so that more than 1 is better for us. Everything that is read is checked. What a durable
//! commit syncs is said in each side's own file; compression is off where there is one.

mod amplification;
mod fjall_side;
mod kv;
mod lmdb_side;
mod log;
mod measure;
mod nebari_side;
mod okaywal_side;
mod ours;
mod page;
mod redb_side;
#[cfg(feature = "rocksdb")]
mod rocksdb_side;
mod sled_side;
mod sqlite_side;

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
    against: Vec<String>,
    page: Option<PathBuf>,
    rows: Option<u64>,
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
            against: Vec::new(),
            page: None,
            rows: None,
        },
    );
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("a value is missing");
        match argument.as_str() {
            "kv" | "log" | "amplification" => what = Some(argument),
            "--quick" => asked.quick = true,
            "--json" => asked.json = true,
            "--rows" => asked.rows = Some(value()?.parse()?),
            "--rounds" => asked.rounds = value()?.parse()?,
            "--only" => asked.only = Some(value()?),
            "--dir" => asked.directory = value()?.into(),
            "--against" => asked.against = value()?.split(',').map(str::to_owned).collect(),
            "--report" => asked.page = Some(value()?.into()),
            _ => {
                eprintln!(
                    "what is `{argument}`? kv, log or amplification, --quick, --json, --rounds N, --only TEXT, \
                     --dir DIR, --against NAMES, --report FILE, --rows N"
                );
                return Ok(ExitCode::from(2));
            }
        }
    }
    let mut report = Report::new(asked.only.clone());
    match what.as_deref() {
        Some("kv") => kv::run(&asked, &mut report)?,
        Some("log") => log::run(&asked, &mut report)?,
        Some("amplification") => amplification::run(&asked, &mut report)?,
        _ => {
            eprintln!("say kv, log or amplification");
            return Ok(ExitCode::from(2));
        }
    }
    report.print(asked.json);
    if let Some(file) = &asked.page {
        std::fs::write(file, page::page(&report, "Travertine beside other engines"))?;
        eprintln!("wrote {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}
