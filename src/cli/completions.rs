//! `completions`: what a shell needs to complete calls of this program.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, Failure, Outcome, Run, Terminal};
use crate::stack::Registry;

/// Print what a shell needs to complete commands and options
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine completions bash > ~/.local/share/bash-completion/completions/travertine
  travertine completions fish > ~/.config/fish/completions/travertine.fish
  travertine completions zsh > ~/.zfunc/_travertine")]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Run for Completions {
    fn run(self, _registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let mut text = Vec::new();
        generate(self.shell, &mut Cli::command(), "travertine", &mut text);
        terminal.bytes(&text)?;
        Ok(Outcome::Fine)
    }
}
