//! A chain: entries one behind the other, each with a number, taken away at either end.
//!
//! ```text
//!   shift, trim                                   push, pop
//!        │ 96 │ 97 │ 98 │ … │ 127 │ 128 │ … │ 141 │
//!          └── a block of 32 ───┘   └ the tail: a part for each commit, until it is full
//! ```
//!
//! | use | verbs | face |
//! | --- | --- | --- |
//! | stack | `push`, `pop`, `top` | [`Stack`] |
//! | queue | `push`, `shift`, `front` | [`Queue`] |
//! | log | `push`, `trim`, [consumers](Consumer) | [`Log`] |
//!
//! All of them read and write the same records; [`Chain::writer`] has every verb.
//!
//! What it promises: an entry keeps its number as long as it is there, and numbers follow each other;
//! only a pop gives its number back. A commit costs the same at any length: what it adds, and a root
//! record. So does opening; an entry in the middle is a few reads away. Blocks are named by a directory
//! and by nothing else that is strong, so what is trimmed is reclaimed. Commits, conflicts and snapshots
//! are those of a [`Map`](crate::Map), and a chain is committed together with maps and other chains.
//!
//! A [linked](Options::linked) chain keeps a SHA-256 over all its entries, in each block and at the end:
//! [`Reader::verify`] names the first link that is broken. That tells whether what lies there is what was
//! pushed, as long as somebody knows one link that is right: [`Reader::link`], kept elsewhere. Who can
//! write the store can forge all of it otherwise.
//!
//! What it refuses: entries in the middle, and more than one writer at a time (`Conflict`). The bytes are
//! drawn in `docs/chain.md`.
//!
//! ```
//! use std::sync::Arc;
//! use travertine_engine::contract::{Env, Name, Result, Store};
//! use travertine_engine::front::{Engine, Options};
//! use travertine_interfaces::{Chain, chain};
//!
//! # fn run(store: Arc<dyn Store>) -> Result<()> {
//! let engine = Engine::open(store, &Env::system(), Options::default())?;
//! let jobs = Chain::new(Name::new("jobs")?, chain::Options::default());
//!
//! let session = engine.session()?;
//! let mut turn = jobs.writer(&session)?;
//! assert_eq!(turn.push(b"boil water")?, 0);
//! assert_eq!(turn.push(b"pour it")?, 1);
//! turn.commit(None)?.wait()?;
//!
//! let reader = jobs.reader(&engine.snapshot()).wait()?;
//! assert_eq!(reader.get(1).wait()?.as_deref(), Some(&b"pour it"[..]));
//! # Ok(())
//! # }
//! ```

mod block;
mod consumers;
mod describe;
mod directory;
mod faces;
mod link;
mod reader;
mod root;
#[cfg(test)]
mod tests;
mod turn;
mod verify;
mod writer;

use travertine_engine::contract::{Error, Kind};

pub use self::consumers::{CONSUMERS_MAX, Consumer};
pub use self::describe::{Described, describe};
pub use self::faces::{Log, Queue, Stack};
pub use self::link::Digest;
pub use self::reader::{Cursor, Reader};
pub use self::turn::{Chain, Turn};
pub use self::writer::Writer;

/// The root record of a chain.
pub const CHAIN_ROOT: Kind = Kind(32);
/// A node of the directory of a chain's blocks.
pub const CHAIN_NODE: Kind = Kind(33);
/// A block of a chain's entries.
pub const CHAIN_BLOCK: Kind = Kind(34);
/// The list of a chain's consumers.
pub const CHAIN_CONSUMERS: Kind = Kind(35);
/// How far a consumer of a chain got.
pub const CHAIN_POSITION: Kind = Kind(36);

/// Most entries of a block.
pub const BLOCK_ENTRIES_MAX: u32 = 1024;

/// Longest entry in a block, so that a block fits a record.
const INLINE_MAX: usize = 8 << 10;

/// How a chain is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Entries of a block, 1 to [`BLOCK_ENTRIES_MAX`]; 32 by default. A chain that is there keeps the
    /// number it began with.
    pub block_entries: u32,
    /// Longer entries lie apart, in records of their own. 1024 by default; at most 8 KiB.
    pub inline_max: usize,
    /// Whether a chain that begins is linked by SHA-256. A chain that began without links cannot be
    /// written with this set.
    pub linked: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_entries: 32,
            inline_max: 1024,
            linked: false,
        }
    }
}

impl Options {
    fn within_limits(self) -> Self {
        let block_entries = self.block_entries.clamp(1, BLOCK_ENTRIES_MAX);
        Self {
            block_entries,
            inline_max: self.inline_max.min(INLINE_MAX),
            ..self
        }
    }
}

fn lost(number: u64) -> Error {
    Error::corrupt(format!("the chain has lost entry {number}"))
}
