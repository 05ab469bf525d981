//! Names of blocks, and of kinds of blocks.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use travertine_engine::contract::{Error, Random, Result};

/// Longest id, in bytes.
pub const ID_MAX: usize = 1024;

/// The name of a block, which it keeps for ever whatever becomes of it: one to [`ID_MAX`] bytes of
/// UTF-8, any of them. It is a name and no more: nothing about the content follows from it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(Arc<str>);

impl BlockId {
    /// The id of this name. `Invalid`: it is empty or longer than [`ID_MAX`].
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self> {
        let name = name.into();
        match name.len() {
            1..=ID_MAX => Ok(Self(name)),
            length => Err(Error::invalid(format!(
                "an id of a block has 1 to {ID_MAX} bytes, this one {length}"
            ))),
        }
    }

    /// A new one that nobody else has: 256 random bits, in the 64 letters that are safe in names of files
    /// and in addresses.
    pub fn random(random: &dyn Random) -> Self {
        Self(random_letters(random, 4).into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So many times 64 random bits, in letters of six.
pub(crate) fn random_letters(random: &dyn Random, times: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(times * 11);
    let (mut bits, mut held) = (0_u128, 0);
    for _ in 0..times {
        bits |= u128::from(random.next_u64()) << held;
        held += 64;
        while held >= 6 {
            text.push(char::from(LETTERS[(bits & 63) as usize]));
            (bits, held) = (bits >> 6, held - 6);
        }
    }
    if held > 0 {
        text.push(char::from(LETTERS[(bits & 63) as usize]));
    }
    text
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.escape_debug(), f)
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Longest code, in bytes.
pub const CODE_MAX: usize = 16;

/// What kind of block it is, in a few letters: `TL` is the leaf of a tree. [`Types`](super::Types) has
/// the names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(Cow<'static, str>);

impl Code {
    /// A code that is part of a program.
    #[must_use]
    pub const fn of(code: &'static str) -> Self {
        assert!(!code.is_empty() && code.len() <= CODE_MAX, "1 to 16 bytes");
        Self(Cow::Borrowed(code))
    }

    /// The code of these letters. `Invalid`: there are none, or more than [`CODE_MAX`].
    pub fn new(code: impl Into<String>) -> Result<Self> {
        let code = code.into();
        match code.len() {
            1..=CODE_MAX => Ok(Self(Cow::Owned(code))),
            length => Err(Error::invalid(format!(
                "the code of a kind of blocks has 1 to {CODE_MAX} bytes, this one {length}"
            ))),
        }
    }

    /// Its letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.escape_debug(), f)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
