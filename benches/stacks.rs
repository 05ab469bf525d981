//! Every stack of `examples/stacks`, side by side, by the workloads of the command line: what is
//! documented is what is timed, and a new file there is timed by lying there.
//!
//! `cargo bench -p travertine-benches --bench stacks [-- ARGUMENT…]`: arguments are those of
//! `travertine bench`, like `--workload append --rounds 5 --report stacks.html`. Runs lie in fresh
//! directories below `TMPDIR`, which must not be in memory.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench copies the stacks, and makes the key of the one that needs it"
)]

use std::ffi::OsString;
use std::io::Result;
use std::path::Path;
use std::process::ExitCode;

use travertine::cli::{self, Terminal};

const FEW: [&str; 5] = [
    "--workload=commit,fill-random,read-hot",
    "--records=20000",
    "--ops=2000",
    "--rounds=3",
    "--ablate",
];

fn main() -> Result<ExitCode> {
    let desk = tempfile::tempdir()?;
    std::fs::create_dir(desk.path().join("data"))?;
    std::fs::write(desk.path().join("data/sealed.key"), [0x9A; 32])?;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/stacks");
    let mut stacks = Vec::new();
    for entry in std::fs::read_dir(examples)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.extension().is_some_and(|end| end == "toml") {
            let copy = desk.path().join(name);
            std::fs::copy(&path, &copy)?;
            stacks.push(copy.into_os_string());
        }
    }
    stacks.sort();
    // Cargo says `--bench` to every bench.
    let mut said: Vec<_> = std::env::args_os().skip(1).collect();
    said.retain(|argument| argument != "--bench");
    if said.is_empty() {
        said.extend(FEW.map(OsString::from));
    }
    let call = ["travertine", "bench"].map(OsString::from).into_iter();
    let call = call.chain(stacks).chain(said);
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let code = cli::run(
        travertine::standard(),
        call,
        &mut Terminal::plain(&mut out, &mut err),
    );
    Ok(ExitCode::from(code))
}
