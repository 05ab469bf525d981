//! Secrets: what a stack file names and never holds.
//!
//! A stack file says where a secret is found, in a variable of the environment or in a file of its own:
//! `{ env = "NAME" }` or `{ file = "path" }`, relative to the stack file. It is read when the stack is opened; to judge a stack or to
//! explain it nobody needs its secrets. No message of this module holds any part of one.

use std::fmt;
use std::io::Read as _;

use serde::Deserialize;

use super::below::OpenContext;
use super::fault::Fault;
use super::options::{OptionRow, OptionType};
use crate::contract::{Error, Result};

/// Where a secret is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Secret {
    env: Option<String>,
    file: Option<String>,
}

/// Longest secret, in bytes.
pub const SECRET_MAX: usize = 64 << 10;

impl Secret {
    /// The options of a secret: one of them must be written.
    pub const ROWS: &'static [OptionRow] = &[
        OptionRow::optional(
            "env",
            OptionType::Text,
            "not there",
            "the variable of the environment that holds it",
        ),
        OptionRow::optional(
            "file",
            OptionType::Path,
            "not there",
            "the file that holds it",
        ),
    ];

    /// Refuses a secret that is found nowhere or in two places; `option` names it.
    pub fn check(&self, option: &'static str) -> std::result::Result<(), Fault> {
        let help = "write { env = \"NAME\" } or { file = \"path\" }";
        match (&self.env, &self.file) {
            (Some(name), None) if name.is_empty() || name.contains(['=', '\0']) => {
                let text = format!("{name:?} is no name of a variable");
                Err(Fault::of(option, text).help(help))
            }
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (None, None) => Err(Fault::of(option, "it says nowhere to find it").help(help)),
            (Some(_), Some(_)) => Err(Fault::of(option, "it says two places").help(help)),
        }
    }

    /// Reads it. Whoever opened the stack on simulated media answers for it.
    ///
    /// Errors: `Invalid` (there is none, or it is over [`SECRET_MAX`]).
    pub fn read(&self, context: &OpenContext) -> Result<Vec<u8>> {
        let bytes = match context.simulated_secret(self) {
            Some(bytes) => bytes,
            None => self.read_outside(context)?,
        };
        if bytes.len() > SECRET_MAX {
            return Err(Error::invalid(format!(
                "{self} holds more than {SECRET_MAX} bytes"
            )));
        }
        Ok(bytes)
    }

    fn read_outside(&self, context: &OpenContext) -> Result<Vec<u8>> {
        if let Some(name) = &self.env {
            let value = std::env::var_os(name);
            let value = value.ok_or_else(|| Error::invalid(format!("{self} is not set")))?;
            return Ok(value.into_encoded_bytes());
        }
        let path = context.beside(self.file.as_deref().unwrap_or_default());
        let mut bytes = Vec::new();
        #[expect(
            clippy::disallowed_methods,
            reason = "a secret lies outside every medium"
        )]
        let read = std::fs::File::open(&path)
            .and_then(|file| file.take(SECRET_MAX as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => {
                let text = format!("{self} cannot be read at {}: {error}", path.display());
                Err(Error::invalid(text).caused_by(error))
            }
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.env, &self.file) {
            (Some(name), _) => write!(f, "the environment variable {name}"),
            (None, path) => write!(f, "the file {:?}", path.as_deref().unwrap_or_default()),
        }
    }
}
