//! `init`: a commented stack file to begin with.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Failure, Outcome, Run, Terminal};
use crate::contract::Error;
use crate::stack::Registry;

/// Write a commented stack file to begin with
///
/// Never overwrites a file that is there.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine init --template memory scratch.toml")]
pub(super) struct Init {
    /// What to begin with
    #[arg(long, value_enum, default_value = "solo")]
    template: Template,
    /// Where to write it; `-` prints it
    #[arg(default_value = "stack.toml")]
    file: PathBuf,
}

/// The templates are the examples, so what is tested there is what is written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Template {
    /// One log in one directory
    Solo,
    /// One log in memory, for tests and for what can be made again
    Memory,
    /// One log in one directory, watched
    Monitored,
    /// A small store inside another program
    Embedded,
    /// One stream over many directories
    Sequence,
    /// One stream over several disks
    Disks,
    /// One stream over many directories, with what is read often in memory, watched
    Cached,
    /// Records spread over several disks that work side by side
    ScaleUp,
    /// Every batch in two directories
    DurableLaptop,
    /// Every batch in three directories, of which one may be lost
    Replicated,
    /// A log whose bodies are packed and encrypted
    Sealed,
}

impl Template {
    fn text(self) -> &'static str {
        match self {
            Self::Solo => include_str!("../../examples/stacks/solo.toml"),
            Self::Embedded => include_str!("../../examples/stacks/embedded.toml"),
            Self::Monitored => include_str!("../../examples/stacks/monitored.toml"),
            Self::Sequence => include_str!("../../examples/stacks/sequence.toml"),
            Self::Disks => include_str!("../../examples/stacks/disks.toml"),
            Self::Cached => include_str!("../../examples/stacks/cached.toml"),
            Self::ScaleUp => include_str!("../../examples/stacks/scale-up.toml"),
            Self::DurableLaptop => include_str!("../../examples/stacks/durable-laptop.toml"),
            Self::Replicated => include_str!("../../examples/stacks/replicated.toml"),
            Self::Sealed => include_str!("../../examples/stacks/sealed.toml"),
            Self::Memory => include_str!("../../examples/stacks/memory.toml"),
        }
    }
}

impl Run for Init {
    fn run(self, _registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let text = self.template.text();
        if self.file == Path::new("-") {
            terminal.bytes(text.as_bytes())?;
            return Ok(Outcome::Fine);
        }
        let place = self.file.display();
        #[expect(
            clippy::disallowed_methods,
            reason = "a stack file is written before there is a medium"
        )]
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&self.file);
        let mut file = file.map_err(|source| {
            if source.kind() == std::io::ErrorKind::AlreadyExists {
                return Error::invalid(format!("{place} is there already, and stays as it is"));
            }
            Error::invalid(format!("cannot write {place}: {source}"))
        })?;
        file.write_all(text.as_bytes())
            .map_err(|source| Error::io(format!("writing {place}"), source))?;
        terminal.say(format_args!(
            "wrote {place}; `travertine explain {place}` tells what it does"
        ))?;
        Ok(Outcome::Fine)
    }
}
