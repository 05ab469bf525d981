//! What the way over the network costs: a stack behind a server on loopback against bare gRPC of the same
//! shape, and against the same stack at home. All rows in one run, the two sides of a row in turn.
//!
//! `cargo bench -p travertine-benches --bench wire [-- --quick] [ROW ..]`; the directory is `TMPDIR`, which
//! must not be in memory. Server and client are one process with threads of their own. The bare service
//! is `bare.rs`: the same library, windows, batches and way of waiting, and nothing done. Ours is all that
//! `travertine serve` runs: door, limits, rights, and a stack below. What is read is checked.
//!
//! `work` is how much more processor time our side takes than the other: it is told also by a machine that
//! is busy with other things.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures with the system's clock"
)]

mod bare;
mod rows;
mod served;

use travertine_benches::Asked;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let asked = Asked::of_process();
    let base = tempfile::tempdir()?;
    let run = rows::Run {
        base: base.path(),
        rounds: if asked.quick { 3 } else { 7 },
        scale: if asked.quick { 1 } else { 4 },
    };
    println!(
        "{:<44} {:>12} {:>12} {:>7}  {:<8} {:<10} {:>8}",
        "row", "without", "with", "ratio", "asked", "spread", "work"
    );
    for (name, row) in rows::ALL {
        if asked.wants(name) {
            row(&run)?;
        }
    }
    Ok(())
}
