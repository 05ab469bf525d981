//! Blocks, the transactor and collections: operations for a second of the clock, and for a second of
//! processor time of all threads.
//!
//! `cargo bench -p travertine-benches --bench blocks [-- --quick] [ROW ..]`; the directory is `TMPDIR`,
//! which must not be in memory. Durable rows wait for an `fdatasync`. What is read is checked.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures with the system's clock"
)]

mod rows;

use std::time::{Duration, Instant};

use travertine_benches::{Asked, processor};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let asked = Asked::of_process();
    let base = tempfile::tempdir()?;
    let run = Run {
        base: base.path(),
        scale: if asked.quick { 10 } else { 1 },
    };
    println!(
        "{:<52} {:>10} {:>12} {:>14}  asked",
        "row", "operations", "a second", "a CPU second"
    );
    for (name, row) in rows::ALL {
        if asked.wants(name) {
            row(&run)?;
        }
    }
    Ok(())
}

/// What a row is told.
struct Run<'r> {
    base: &'r std::path::Path,
    /// So many times fewer operations.
    scale: u64,
}

impl Run<'_> {
    /// Does a row's work and prints what it took.
    fn row<T>(
        &self,
        name: &str,
        asked: &str,
        operations: u64,
        work: impl FnOnce() -> Outcome<T>,
    ) -> Outcome<T> {
        let (began, cpu) = (Instant::now(), processor());
        let done = work()?;
        let (took, cpu) = (began.elapsed(), processor() - cpu);
        let rate = |took: Duration| operations as f64 / took.as_secs_f64();
        println!(
            "{name:<52} {operations:>10} {:>12.0} {:>14.0}  {asked}",
            rate(took),
            rate(cpu)
        );
        Ok(done)
    }
}
