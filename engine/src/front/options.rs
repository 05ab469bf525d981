//! What an engine is told when it is opened, and what a session tells it.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::contract::{Epoch, Error, Level, Name, Oid, Reference, Result};

use super::automatic::Automatic;

/// How an engine behaves. Every field has a default that suits a local log.
#[derive(Debug, Clone)]
pub struct Options {
    /// The level of a commit that names none. Default: [`Level::Disk`].
    pub level: Level,
    /// The tail buffer is sent when it holds this many bytes. Default 1 MiB, at most 8 MiB.
    pub flush_bytes: usize,
    /// The tail buffer is sent when its oldest record is this old. Needs a driver thread, so a
    /// simulated environment knows no such flush. Default 1 s.
    pub flush_age: Duration,
    /// While so many percent of the memory that this process may use are in use, the tail buffer is
    /// sent when it holds a sixteenth of [`Options::flush_bytes`], a store waits for what is on its
    /// way, and nothing that was sent stays here. Default: however much is in use.
    pub flush_pressure: Option<u8>,
    /// A store waits while more than this many bytes are on their way. Default 8 MiB.
    pub tail_max: usize,
    /// Batches that were sent stay readable here up to this many bytes. Default 8 MiB.
    pub recent_max: usize,
    /// So long after the last commit an empty batch names it as proven, for readers in other
    /// processes and to tell damage of the last batch from a torn write. Default 50 ms.
    pub proof_after: Duration,
    /// When to reclaim without being asked to. Needs a driver thread, so a simulated environment knows
    /// no such reclaim. Default: never.
    pub reclaim: Option<Automatic>,
    /// Refuse to write, and write nothing while opening. Default false.
    pub read_only: bool,
}

/// Most bytes that [`Options::flush_bytes`] may say, so that one more record always fits a batch.
pub(super) const FLUSH_BYTES_MAX: usize = 8 << 20;

impl Default for Options {
    fn default() -> Self {
        Self {
            level: Level::Disk,
            flush_bytes: 1 << 20,
            flush_age: Duration::from_secs(1),
            flush_pressure: None,
            tail_max: 8 << 20,
            recent_max: 8 << 20,
            proof_after: Duration::from_millis(50),
            reclaim: None,
            read_only: false,
        }
    }
}

impl Options {
    /// The defaults, for reading only.
    #[must_use]
    pub fn reading() -> Self {
        Self {
            read_only: true,
            ..Self::default()
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.flush_bytes > FLUSH_BYTES_MAX {
            return Err(Error::invalid(format!(
                "flush_bytes is {}, at most {FLUSH_BYTES_MAX} are allowed",
                self.flush_bytes
            )));
        }
        self.reclaim.as_ref().map_or(Ok(()), Automatic::check)
    }
}

/// What a session knows about a record that may help to place it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hint {
    /// Records of one tag go to one stream where the stack places by tag. Zero: no tag.
    pub tag: u64,
}

impl Hint {
    /// The hint of a tag given as text.
    #[must_use]
    pub fn tag(text: &str) -> Self {
        Self {
            tag: xxh3_64(text.as_bytes()),
        }
    }
}

/// What a commit does to one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The name.
    pub name: Name,
    /// What it must point to for the commit to happen.
    pub expect: Expect,
    /// What it shall point to; `None` drops the name.
    pub to: Option<Reference>,
}

impl Change {
    /// Points `name` at a record, whatever it pointed to.
    #[must_use]
    pub fn set(name: Name, to: Reference) -> Self {
        Self {
            name,
            expect: Expect::Any,
            to: Some(to),
        }
    }

    /// Points `name` at a record if it points to `expect` now; `None`: if there is no such name.
    #[must_use]
    pub fn swap(name: Name, expect: Option<Oid>, to: Reference) -> Self {
        Self {
            name,
            expect: Expect::Is(expect),
            to: Some(to),
        }
    }

    /// Drops `name` if it points to `expect` now.
    #[must_use]
    pub fn drop(name: Name, expect: Oid) -> Self {
        Self {
            name,
            expect: Expect::Is(Some(expect)),
            to: None,
        }
    }

    /// Renames: one name goes, another that must not exist comes and points where the first did.
    #[must_use]
    pub fn rename(from: Name, to: Name, reference: Reference) -> [Self; 2] {
        [
            Self::drop(from, reference.oid),
            Self::swap(to, None, reference),
        ]
    }
}

/// What a name must point to for a commit to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything, or nothing.
    Any,
    /// Exactly this record; `None`: there must be no such name.
    Is(Option<Oid>),
}

/// The answer to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its number; with the epoch, its name.
    pub sequence: u64,
    /// The epoch that made it.
    pub epoch: Epoch,
    /// Its root marker.
    pub marker: Oid,
    /// The level that was reached: at least the one asked for.
    pub level: Level,
}
