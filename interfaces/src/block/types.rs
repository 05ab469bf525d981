//! The kinds of blocks that somebody knows: a value, not a table of the process.

use std::collections::BTreeMap;

use travertine_engine::contract::{Error, Result};

use super::id::Code;

/// Codes of blocks and what they are called. Two parts of a program have two of them, or share one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Types(BTreeMap<Code, String>);

impl Types {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more. To say the same again changes nothing; another name for a known code is `Invalid`.
    pub fn with(mut self, code: Code, name: &str) -> Result<Self> {
        let known = self.0.entry(code).or_insert_with(|| name.to_owned());
        if known == name {
            return Ok(self);
        }
        Err(Error::invalid(format!(
            "blocks of {known:?} have the code of {name:?} already: take another"
        )))
    }

    /// What blocks of this code are called.
    #[must_use]
    pub fn name(&self, code: &Code) -> Option<&str> {
        self.0.get(code).map(String::as_str)
    }

    /// All of them, by code.
    pub fn iter(&self) -> impl Iterator<Item = (&Code, &str)> {
        self.0.iter().map(|(code, name)| (code, name.as_str()))
    }
}
