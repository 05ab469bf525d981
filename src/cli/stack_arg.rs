//! The stack that a command works on.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::config::{Overrides, StackFile};
use crate::contract::Env;
use crate::front::Engine;
use crate::stack::{Registry, Stack};

/// A stack file, and what to change in it.
#[derive(Debug, Args)]
pub struct StackArg {
    /// The stack file
    #[arg(value_name = "STACK")]
    pub path: PathBuf,
    /// What to change in it.
    #[command(flatten)]
    pub set: SetArg,
}

/// Overrides.
#[derive(Debug, Args)]
pub struct SetArg {
    /// Change an option, like --set cache.memory=1GiB; the part before the dot is the name or the kind
    /// of a layer. May be given again. The variable TRAVERTINE_SET holds such settings too, with `;`
    /// between them
    #[arg(long = "set", value_name = "LAYER.OPTION=VALUE")]
    pub set: Vec<String>,
}

impl SetArg {
    /// These over those of the environment.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides::with_environment(&self.set)
    }
}

/// A stack that a command works on, open.
#[derive(Debug)]
pub struct Opened {
    /// What it was read from.
    pub file: StackFile,
    /// Its floors.
    pub stack: Stack,
    /// What stands on them. Close it when the work is done.
    pub engine: Engine,
}

impl StackArg {
    /// Opens the stack for writing, with an engine on it.
    pub fn open(&self, registry: &Registry) -> Result<Opened, Failure> {
        self.open_with(registry, false)
    }

    /// Opens the stack for reading, with an engine on it; not one byte is written.
    pub fn open_to_read(&self, registry: &Registry) -> Result<Opened, Failure> {
        self.open_with(registry, true)
    }

    fn open_with(&self, registry: &Registry, read_only: bool) -> Result<Opened, Failure> {
        let file = self.load(registry)?;
        let (stack, engine) = file.engine(&Env::system(), read_only)?;
        Ok(Opened {
            file,
            stack,
            engine,
        })
    }

    /// Reads and judges the stack file. Opens nothing.
    pub fn load(&self, registry: &Registry) -> Result<StackFile, Failure> {
        Ok(StackFile::load(
            &self.path,
            registry,
            &self.set.overrides(),
        )?)
    }
}
