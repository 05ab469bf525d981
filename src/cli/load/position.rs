//! How far a load has got: a record beside the tree, changed in the same commit.
//!
//! The record is a blob of JSON, so that a person can read it with `inspect`. It names the file by its
//! length and by a hash of pieces spread over it, never by its path: files are moved.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::tree::LOADS;
use super::Format;
use crate::contract::limits::NAME_MAX;
use crate::contract::{Error, Kind, Name, NewRecord, Result};
use crate::front::{Change, Hint, Session, Snapshot};

/// Behind a row of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    file: Identity,
    #[serde(flatten)]
    shape: Shape,
    /// Where the next row begins.
    pub(super) byte: u64,
    /// The line that it begins on.
    pub(super) line: u64,
    /// Rows behind, bad ones included.
    pub(super) rows: u64,
    /// Rows behind that could not be read.
    pub(super) bad: u64,
    /// Rows behind that took the place of an entry.
    pub(super) replaced: u64,
    /// Whether the tree was empty when the load began.
    pub(super) into_empty: bool,
    /// Whether the file has ended.
    pub(super) done: bool,
}

/// How a file is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) format: Format,
    pub(super) delimiter: u8,
    pub(super) header: bool,
    pub(super) key: String,
}

/// Which file it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) bytes: u64,
    pub(super) hash: String,
}

impl Position {
    /// Refuses a tree whose name leaves no room for that of its position.
    pub(super) fn check_name(tree: &Name) -> Result<()> {
        name_of(tree).map(drop)
    }

    pub(super) fn start(file: Identity, shape: Shape, into_empty: bool) -> Self {
        Self {
            file,
            shape,
            byte: 0,
            line: 1,
            rows: 0,
            bad: 0,
            replaced: 0,
            into_empty,
            done: false,
        }
    }

    /// How far the load of a tree has got; `None` if none was begun.
    pub(super) fn read(snapshot: &Snapshot, tree: &Name) -> Result<Option<Self>> {
        let name = name_of(tree)?;
        let Some(record) = snapshot.read_root(&name)? else {
            return Ok(None);
        };
        serde_json::from_slice(record.body())
            .map(Some)
            .map_err(|error| Error::corrupt(format!("{name} is no position of a load: {error}")))
    }

    /// Stores it, and returns the change to commit with the rows.
    pub(super) fn store(&self, session: &Session, tree: &Name) -> Result<Change> {
        let body = serde_json::to_vec(self)
            .map_err(|error| Error::invalid(format!("a position cannot be written: {error}")))?;
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        let reference = session.store(&record, Hint::default())?;
        Ok(Change::set(name_of(tree)?, reference))
    }

    /// Refuses to go on with another file, or with another way to read it.
    pub(super) fn check_same(&self, file: &Identity, shape: &Shape, path: &Path) -> Result<()> {
        if self.file != *file {
            return Err(Error::invalid(format!(
                "{} is not the file that the load began on: it has {} bytes and hash {}, that one \
                 had {} and {}; without --resume it is loaded from its start",
                path.display(),
                file.bytes,
                file.hash,
                self.file.bytes,
                self.file.hash
            )));
        }
        if self.shape != *shape {
            let words = |shape: &Shape| serde_json::to_string(shape).unwrap_or_default();
            return Err(Error::invalid(format!(
                "the load began with {}, this call says {}; without --resume the file is loaded \
                 from its start",
                words(&self.shape),
                words(shape)
            )));
        }
        Ok(())
    }
}

fn name_of(tree: &Name) -> Result<Name> {
    Name::new(format!("{LOADS}{tree}")).map_err(|_| {
        Error::invalid(format!(
            "a tree that is loaded has a name of at most {} bytes, this one has {}: how far its load \
             got is kept under {LOADS}NAME",
            NAME_MAX - LOADS.len(),
            tree.as_str().len()
        ))
    })
}
