//! What a verification found: counts, and the first places of damage.

use std::fmt;

use travertine_engine::contract::{Error, Oid};

/// Most places of damage that a report keeps; further ones are only counted.
pub const PLACES_MAX: usize = 100;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Records of the index itself.
    pub nodes: u64,
    /// Those among them that hold entries.
    pub leaves: u64,
    /// Levels from the top node to the leaves.
    pub height: u64,
    /// Entries seen.
    pub entries: u64,
    /// Bytes of all nodes, as they lie on the medium.
    pub node_bytes: u64,
    /// Bytes of keys and inline values.
    pub payload_bytes: u64,
    /// Nodes below the least fill, which costs space but is no damage.
    pub sparse: u64,
    /// Values that lie apart, each looked at.
    pub apart: u64,
    /// Bytes of values that lie apart.
    pub apart_bytes: u64,
    /// How many things are wrong.
    pub damaged: u64,
    /// The first of them, [`PLACES_MAX`] at most.
    pub damage: Vec<Damage>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The record it was found in, or on the way to.
    pub oid: Option<Oid>,
    /// What is wrong.
    pub what: String,
}

impl Report {
    /// An empty report.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damaged == 0
    }

    /// Notes damage.
    pub fn add(&mut self, oid: impl Into<Option<Oid>>, what: impl fmt::Display) {
        self.damaged += 1;
        if self.damage.len() < PLACES_MAX {
            self.damage.push(Damage {
                oid: oid.into(),
                what: what.to_string(),
            });
        }
    }

    /// Notes an error met on the way to `oid`.
    pub fn add_error(&mut self, oid: Oid, error: &Error) {
        self.add(oid, error);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} entries in {} nodes ({} leaves, height {}, {} bytes), {} values apart ({} bytes)",
            self.entries,
            self.nodes,
            self.leaves,
            self.height,
            self.node_bytes,
            self.apart,
            self.apart_bytes
        )?;
        if self.is_clean() {
            return f.write_str(": no damage");
        }
        write!(f, ": {} places damaged", self.damaged)?;
        for damage in &self.damage {
            match damage.oid {
                Some(oid) => write!(f, "\n  {oid}: {}", damage.what)?,
                None => write!(f, "\n  {}", damage.what)?,
            }
        }
        Ok(())
    }
}
