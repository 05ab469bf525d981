//! The command line, as a function of a registry.
//!
//! One file per command: an arguments struct whose doc comment is its help, and [`Run`]. A new command
//! is such a file, its `mod` line, and its line in `commands!`. Commands print through
//! [`Terminal`], so that a closed pipe ends a command quietly, and say with an [`Outcome`] or a
//! [`Failure`] how it went.
//!
//! Exit codes: 0 fine; 1 the work found a fault; 2 the call or the config is wrong.

mod backup;
mod bench;
mod branch;
#[cfg(feature = "net")]
mod certs;
mod chain;
mod check;
mod cluster;
mod collection;
mod completions;
mod count;
mod del;
mod derivation;
mod diff;
mod explain;
mod export;
mod failure;
mod follow;
mod found;
mod get;
mod import;
mod init;
mod inspect;
mod load;
mod logging;
mod migrate;
#[cfg(feature = "otlp")]
mod otlp;
mod pace;
mod plugins;
mod progress;
mod put;
mod raw;
mod reclaim;
mod report;
mod roots;
mod rows;
mod scan;
mod schema;
#[cfg(feature = "net")]
mod serve;
mod space;
mod stack_arg;
mod tag;
mod takeover;
mod terminal;
mod text;
#[cfg(feature = "net")]
mod token;
mod top;
mod tree;
mod verify;
mod wrote;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::stack::Registry;
pub use failure::{Failure, Outcome};
pub use stack_arg::{Opened, SetArg, StackArg};
pub use terminal::Terminal;

/// A command that can run.
pub trait Run {
    /// Does it. What it has to say goes to `terminal`.
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure>;
}

macro_rules! commands {
    ($($(#[$when:meta])* $module:ident :: $name:ident,)*) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($(#[$when])* $name($module::$name),)*
        }

        impl Run for Command {
            fn run(
                self,
                registry: &Registry,
                terminal: &mut Terminal<'_>,
            ) -> Result<Outcome, Failure> {
                match self {
                    $($(#[$when])* Self::$name(command) => command.run(registry, terminal),)*
                }
            }
        }
    };
}

commands! {
    init::Init,
    check::Check,
    explain::Explain,
    plugins::Plugins,
    schema::Schema,
    completions::Completions,
    get::Get,
    put::Put,
    del::Del,
    scan::Scan,
    count::Count,
    load::Load,
    chain::Chain,
    collection::Collection,
    roots::Roots,
    follow::Follow,
    top::Top,
    diff::Diff,
    branch::Branch,
    tag::Tag,
    reclaim::Reclaim,
    inspect::Inspect,
    verify::Verify,
    cluster::Cluster,
    #[cfg(feature = "net")]
    serve::Serve,
    takeover::Takeover,
    export::Export,
    import::Import,
    migrate::Migrate,
    backup::Backup,
    backup::Restore,
    raw::Store,
    raw::Read,
    raw::Commit,
    raw::Root,
    bench::Bench,
    #[cfg(feature = "net")]
    certs::Certs,
    #[cfg(feature = "net")]
    token::Token,
}

/// A storage engine composed of floors: write a stack file, have it checked, and work with it.
///
/// A stack file says from top to bottom through which floors a request goes, and where the bytes come
/// to rest. Begin with `travertine init`, then `travertine explain` what it wrote.
#[derive(Debug, Parser)]
#[command(
    name = "travertine",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_long_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: logging::LogArgs,
}

const EXAMPLES: &str = "\
Examples:
  travertine init                      write stack.toml: one log in one directory
  travertine check stack.toml          is it legal, and what does each floor guarantee?
  travertine explain stack.toml        every option in force, and where it came from
  travertine check stack.toml --set file.segment=16MiB
  TRAVERTINE_SET='level=os' travertine explain stack.toml
  travertine plugins                   what floors there are
  travertine load stack.toml people.csv --tree people --key email
  travertine get stack.toml --tree people ada@example.org
  travertine verify stack.toml         is every byte as it was written?
  travertine serve stack.toml --listen 127.0.0.1:7420

Exit codes: 0 fine, 1 the work found a fault, 2 the call or the config is wrong.";

/// Runs the command that this process was called with.
#[must_use]
pub fn main(registry: Registry) -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal = Terminal::of_process(&mut out, &mut err);
    ExitCode::from(run(registry, std::env::args_os(), &mut terminal))
}

/// Runs one command and answers its exit code. `args` begins with the name of the program.
pub fn run(
    registry: Registry,
    args: impl IntoIterator<Item = OsString>,
    terminal: &mut Terminal<'_>,
) -> u8 {
    let outcome = match Cli::try_parse_from(args) {
        // The log ends when the command has.
        Ok(cli) => {
            (cli.log.begin(terminal.colour)).and_then(|_log| cli.command.run(&registry, terminal))
        }
        Err(error) => terminal.usage(&error),
    };
    match outcome.and_then(|outcome| terminal.flush().map(|()| outcome)) {
        Ok(Outcome::Fine) => 0,
        Ok(Outcome::Fault) => 1,
        Ok(Outcome::Wrong) => 2,
        Err(failure) => failure.tell(terminal),
    }
}
