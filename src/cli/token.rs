//! `token`: a secret that a client says, and what a server keeps of it.

use clap::Args;
use travertine_net::rights::{Granted, Right, Rights, Token as Secret};

use super::{Failure, Outcome, Run, Terminal};
use crate::stack::Registry;

/// Make a token for a client, and the lines that a file of rights needs for it
///
/// The token is printed once, on the output; the lines go to the error output, so that the two are
/// easily kept apart. A server knows only the hash.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  (umask 077; travertine token reports --right read > reports.token 2>> rights.toml)")]
pub(super) struct Token {
    /// What it is called in logs
    name: String,
    /// What whoever says it may do: read, append, commit, admin; may be said several times
    #[arg(long = "right", value_name = "RIGHT", required = true, value_parser = right)]
    rights: Vec<&'static str>,
}

fn right(name: &str) -> Result<&'static str, String> {
    let found = Right::by_name(name).map(Right::name);
    found.ok_or_else(|| "rights are read, append, commit and admin".to_owned())
}

impl Run for Token {
    fn run(self, _registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let token = Secret::generate()?;
        // A name that no file of rights takes is better refused now.
        let mut rights = Rights::none();
        rights.token(&self.name, token.hash(), Granted::NONE)?;
        let granted: Vec<_> = self
            .rights
            .iter()
            .map(|right| format!("{right:?}"))
            .collect();
        terminal.say(token.reveal())?;
        terminal.note(format_args!(
            "[[token]]\nname = {:?}\nhash = \"{}\"\nrights = [{}]",
            self.name,
            token.hash(),
            granted.join(", ")
        ))?;
        Ok(Outcome::Fine)
    }
}
