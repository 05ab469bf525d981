//! Tags: commits that somebody gave a name, and that stay until the tag goes.
//!
//! A tag is a name of the engine's own that points to a record of kind [`Kind::TAG`]. Its references: the
//! directory of the commit's names (strong, so a mark needs no rule for tags), then the commit's marker
//! (weak), each only if its flag is set. Its body, little-endian:
//!
//! ```text
//!  0 sequence u64     8 time, µs since 1970 u64     16 epoch tag u64     24 epoch number u32   28 flags u32
//! ```
//!
//! The directory is one without the engine's own names: a tag does not hold what other tags name.

use std::fmt;
use std::sync::Arc;

use crate::contract::marker::{decode_directory, encode_directory};
use crate::contract::record::{u32_at, u64_at};
use crate::contract::{Epoch, Error, Kind, Name, Names, Record, Reference, Result};

use super::Engine;
use super::names::{RESERVED, View, is_reserved};
use super::options::{Change, Committed};
use super::shared::Shared;
use super::snapshot::Snapshot;

const BODY: usize = 32;
const DIRECTORY: u32 = 1;
const MARKER: u32 = 2;

/// A tag, and the commit that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// What it is called.
    pub name: String,
    /// The number of the commit.
    pub sequence: u64,
    /// The epoch that made it.
    pub epoch: Epoch,
    /// When it was made, in microseconds since 1970.
    pub time: u64,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on commit {}", self.name, self.sequence)
    }
}

impl Engine {
    /// Gives a commit a name, under which [`Engine::at_tag`] finds it until [`Engine::untag`] takes the
    /// name away, whatever is reclaimed. That is a commit of its own. Blocks until it is answered.
    ///
    /// Errors: `Conflict` (there is such a tag), `Invalid` (no name, or a snapshot of another engine),
    /// and those of a commit.
    pub fn tag(&self, name: &str, snapshot: &Snapshot) -> Result<Committed> {
        let key = key(name)?;
        if !snapshot.is_of(&self.0) {
            return Err(Error::invalid("a tag names a commit of its own engine"));
        }
        let view = snapshot.view();
        if view.sequence == 0 {
            return Err(Error::invalid(format!(
                "there is no commit yet that {name} could be a tag of"
            )));
        }
        // What is stored here stays until the commit that names it.
        let session = self.session()?;
        let mut references = Vec::new();
        let mut flags = 0;
        if let Some(directory) = self.0.directory_of(view)? {
            references.push(directory);
            flags |= DIRECTORY;
        }
        if let Some((marker, _)) = self.0.by_sequence(&self.0.shown(), view.sequence)? {
            references.push(marker.weakened());
            flags |= MARKER;
        }
        let mut body = Vec::with_capacity(BODY);
        for word in [view.sequence, view.time, view.epoch.tag] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        body.extend_from_slice(&view.epoch.number.to_le_bytes());
        body.extend_from_slice(&flags.to_le_bytes());
        let tag = self.0.store_own(Kind::TAG, &references, &body)?;
        let done = self.0.commit(&[Change::swap(key, None, tag)], None).wait();
        drop(session);
        done
    }

    /// Takes a tag away. What only it held may then be freed.
    ///
    /// Errors: `Conflict` (there is no such tag), and those of a commit.
    pub fn untag(&self, name: &str) -> Result<Committed> {
        let key = key(name)?;
        let newest = self.0.lock().newest.clone();
        match newest.names.get(&key) {
            Some(tag) => self.0.commit(&[Change::drop(key, tag.oid)], None).wait(),
            None => Err(Error::conflict(format!("there is no tag {name}"))),
        }
    }

    /// The commit of a tag; `None` if there is no such tag.
    pub fn at_tag(&self, name: &str) -> Result<Option<Snapshot>> {
        let key = key(name)?;
        let found = self.0.look_and_pin("a snapshot", || {
            let tag = self.0.shown().view.names.get(&key);
            tag.map(|tag| self.0.tagged(&tag).map(Arc::new)).transpose()
        })?;
        Ok(found.map(|(view, pin)| Snapshot::new(self.0.clone(), view, pin)))
    }

    /// All tags of the newest commit, by name.
    pub fn tags(&self) -> Result<Vec<Tag>> {
        let view = self.0.shown().view.clone();
        let tags = tags_of(&view);
        let told = tags.iter().map(|(name, reference)| {
            let record = self.0.follow(reference).wait()?;
            let (sequence, epoch, time, ..) = parse(&record, reference)?;
            Ok(Tag {
                name: name.clone(),
                sequence,
                epoch,
                time,
            })
        });
        told.collect()
    }
}

/// The tags among the names of a commit: what each is called, and its record.
pub(super) fn tags_of(view: &View) -> Vec<(String, Reference)> {
    let tag = |(name, to): (&Name, &Reference)| {
        let name = name.as_str().strip_prefix(RESERVED)?.strip_prefix(TAG)?;
        Some((name.to_owned(), *to))
    };
    view.names.merged().iter().filter_map(tag).collect()
}

const TAG: &str = "tag/";

/// The name that points to a tag.
fn key(name: &str) -> Result<Name> {
    if name.is_empty() {
        return Err(Error::invalid("a tag has a name of one byte or more"));
    }
    Name::new(format!("{RESERVED}{TAG}{name}"))
}

type Parts = (u64, Epoch, u64, Option<Reference>);

fn parse(record: &Record, reference: &Reference) -> Result<Parts> {
    let body = record.body();
    let parts = || {
        if record.kind() != Kind::TAG || body.len() != BODY {
            return None;
        }
        let directory = match u32_at(body, 28) & DIRECTORY {
            0 => None,
            _ => Some(record.reference(0).filter(|directory| !directory.weak)?),
        };
        let epoch = Epoch {
            number: u32_at(body, 24),
            tag: u64_at(body, 16),
        };
        Some((u64_at(body, 0), epoch, u64_at(body, 8), directory))
    };
    parts().ok_or_else(|| Error::corrupt(format!("no tag at {}", reference.oid)))
}

impl Shared {
    /// The number of the commit that a tag names.
    pub(super) fn tagged_sequence(&self, tag: &Reference) -> Result<u64> {
        let record = self.follow(tag).wait()?;
        parse(&record, tag).map(|parts| parts.0)
    }

    /// The commit that a tag names.
    fn tagged(&self, tag: &Reference) -> Result<View> {
        let record = self.follow(tag).wait()?;
        let (sequence, epoch, time, directory) = parse(&record, tag)?;
        let names = match &directory {
            None => Names::new(),
            Some(directory) => decode_directory(directory.oid, &self.follow(directory).wait()?)?,
        };
        Ok(View::told(sequence, epoch, time, names, directory))
    }

    /// A directory of the names of a commit, but for the engine's own: the one it has, if that says just
    /// this, or a new one. `None`: it has no names.
    fn directory_of(self: &Arc<Self>, view: &View) -> Result<Option<Reference>> {
        let all = view.names.merged();
        let same = view.names.changes().len() == 0 && !all.keys().any(is_reserved);
        if let Some(directory) = view.names.directory.filter(|_| same) {
            return Ok(Some(directory));
        }
        let names = view.merged();
        if names.is_empty() {
            return Ok(None);
        }
        let (references, body) = encode_directory(names);
        self.store_own(Kind::DIRECTORY, &references, &body)
            .map(Some)
    }
}
