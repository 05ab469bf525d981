//! Names of actions.

use std::fmt;
use std::sync::Arc;

use travertine_engine::contract::{Error, Random, Result};

use crate::block::random_letters;

/// Longest name, in bytes.
const ACTION_MAX: usize = 255;

/// Names what somebody did, once and for all: the same however often it is tried.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionId(Arc<str>);

impl ActionId {
    /// The id of this name: 1 to 255 bytes. `Invalid`: it has not.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self> {
        let name = name.into();
        match name.len() {
            1..=ACTION_MAX => Ok(Self(name)),
            length => Err(Error::invalid(format!(
                "an id of an action has 1 to {ACTION_MAX} bytes, this one {length}"
            ))),
        }
    }

    /// A new one that nobody else has: 128 random bits.
    pub fn random(random: &dyn Random) -> Self {
        Self(random_letters(random, 2).into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.escape_debug(), f)
    }
}

impl fmt::Debug for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
