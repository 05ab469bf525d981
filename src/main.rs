//! The `travertine` program: the command line over the standard registry.

use std::process::ExitCode;

fn main() -> ExitCode {
    travertine::cli::main(travertine::standard())
}
