//! Names as a commit sees them, cheap to keep one version of for each commit.
//!
//! ```text
//!   directory record (shared by many commits)  +  what changed since it (a few names)
//! ```
//!
//! A version is made by copying the few changes. When they become many, a new directory is written
//! and the few start from none again: with n names alive about √n changes are the cheapest, for then
//! the bytes of markers and those of directories balance.

use std::sync::{Arc, OnceLock};

use crate::contract::limits::NAMES_MAX;
use crate::contract::{Epoch, Error, Name, Names, Proven, Reference, Result, RootMarker};

use super::options::{Change, Expect};

/// Names that begin so are the engine's own: they are changed by its verbs only, and snapshots do not
/// list them.
pub const RESERVED: &str = "travertine/";

/// Fewest changes after which a directory is written.
const CHANGES_MIN: usize = 32;

/// The names of one commit, and the commit's own facts.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) sequence: u64,
    pub(super) epoch: Epoch,
    pub(super) time: u64,
    pub(super) names: Versioned,
    merged: OnceLock<Names>,
}

impl View {
    /// The view that a commit after `self` makes.
    pub(super) fn next(&self, epoch: Epoch, time: u64, names: Versioned) -> Self {
        Self {
            sequence: self.sequence + 1,
            epoch,
            time: time.max(self.time),
            names,
            merged: OnceLock::new(),
        }
    }

    /// The view of a marker whose directory holds `base`.
    pub(super) fn of(marker: &RootMarker, base: Names) -> Self {
        Self {
            sequence: marker.sequence,
            epoch: marker.epoch,
            time: marker.time,
            names: Versioned::of(marker, base),
            merged: OnceLock::new(),
        }
    }

    /// The view of a commit that is told otherwise than by its marker.
    pub(super) fn told(
        sequence: u64,
        epoch: Epoch,
        time: u64,
        names: Names,
        directory: Option<Reference>,
    ) -> Self {
        Self {
            sequence,
            epoch,
            time,
            names: Versioned {
                directory,
                alive: names.len(),
                base: Arc::new(names),
                changes: Vec::new(),
            },
            merged: OnceLock::new(),
        }
    }

    /// The mark that names this commit as proven; `marker` is its own.
    pub(super) fn proven(&self, marker: Reference) -> Proven {
        Proven {
            sequence: self.sequence,
            epoch: self.epoch.number,
            oid: marker.oid,
        }
    }

    /// All names but the engine's own, put together at the first call.
    pub(super) fn merged(&self) -> &Names {
        self.merged.get_or_init(|| {
            let mut names = self.names.merged();
            names.retain(|name, _| !is_reserved(name));
            names
        })
    }

    /// What the commit itself refers to: its directory, and what changed since.
    pub(super) fn references(&self) -> impl Iterator<Item = Reference> {
        let changed = self.names.changes().filter_map(|(_, to)| to);
        self.names.directory.into_iter().chain(changed)
    }
}

/// Whether a name is the engine's own.
pub(super) fn is_reserved(name: &Name) -> bool {
    name.as_str().starts_with(RESERVED)
}

/// One version of the names.
#[derive(Debug, Clone, Default)]
pub(super) struct Versioned {
    pub(super) directory: Option<Reference>,
    base: Arc<Names>,
    /// By name. A commit copies them all, and they are few: one piece of memory, not a tree.
    changes: Vec<(Name, Option<Reference>)>,
    alive: usize,
}

impl Versioned {
    fn of(marker: &RootMarker, base: Names) -> Self {
        let mut names = Self {
            directory: marker.directory,
            alive: base.len(),
            base: Arc::new(base),
            changes: Vec::with_capacity(marker.changes.len()),
        };
        for (name, to) in &marker.changes {
            names.put(name, *to);
        }
        names
    }

    pub(super) fn get(&self, name: &Name) -> Option<Reference> {
        match self.place(name) {
            Ok(at) => self.changes[at].1,
            Err(_) => self.base.get(name).copied(),
        }
    }

    /// What changed since the directory was written, by name.
    pub(super) fn changes(
        &self,
    ) -> impl ExactSizeIterator<Item = (&Name, Option<Reference>)> + Clone {
        self.changes.iter().map(|(name, to)| (name, *to))
    }

    fn place(&self, name: &Name) -> std::result::Result<usize, usize> {
        self.changes.binary_search_by(|(mine, _)| mine.cmp(name))
    }

    fn put(&mut self, name: &Name, to: Option<Reference>) {
        match (self.get(name).is_some(), to.is_some()) {
            (false, true) => self.alive += 1,
            (true, false) => self.alive -= 1,
            _ => {}
        }
        match self.place(name) {
            Ok(at) => self.changes[at].1 = to,
            Err(at) => self.changes.insert(at, (name.clone(), to)),
        }
    }

    pub(super) fn merged(&self) -> Names {
        let mut names = (*self.base).clone();
        for (name, to) in &self.changes {
            match to {
                Some(reference) => names.insert(name.clone(), *reference),
                None => names.remove(name),
            };
        }
        names
    }

    /// The version after `changes`, if each finds what it expects. All or nothing.
    pub(super) fn apply(&self, changes: &[Change]) -> Result<Self> {
        for change in changes {
            let Expect::Is(expected) = change.expect else {
                continue;
            };
            let found = self.get(&change.name).map(|reference| reference.oid);
            if found != expected {
                let show =
                    |oid: Option<_>| oid.map_or("no such name".into(), |oid| format!("{oid}"));
                return Err(Error::conflict(format!(
                    "the name {} was expected to be {}, but is {}",
                    change.name,
                    show(expected),
                    show(found)
                )));
            }
        }
        let mut next = self.clone();
        for change in changes {
            next.put(&change.name, change.to);
        }
        if next.alive > NAMES_MAX {
            return Err(Error::invalid(format!(
                "{} names would be alive, the limit is {NAMES_MAX}",
                next.alive
            )));
        }
        Ok(next)
    }

    /// Whether a directory should be written before the next marker.
    pub(super) fn wants_directory(&self) -> bool {
        self.changes.len() > CHANGES_MIN.max(self.base.len().isqrt())
    }

    /// The same names, all in a directory that was written.
    pub(super) fn moved(names: Names, directory: Reference) -> Self {
        Self {
            directory: Some(directory),
            alive: names.len(),
            base: Arc::new(names),
            changes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Oid;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn reference(raw: u64) -> Reference {
        Reference {
            oid: Oid::from_raw(raw).unwrap(),
            length: 16,
            check: 0,
            weak: false,
            leaf: true,
        }
    }

    #[test]
    fn a_conflict_names_the_name_and_changes_nothing() {
        let names = Versioned::default();
        let names = names
            .apply(&[Change::set(name("a"), reference(1))])
            .unwrap();
        let both = [
            Change::set(name("b"), reference(2)),
            Change::swap(name("a"), None, reference(3)),
        ];
        let error = names.apply(&both).unwrap_err();
        assert!(error.message().contains("name a"), "{error}");
        assert!(error.message().contains("oid:v1:b0:o1"), "{error}");
        assert_eq!(names.merged().len(), 1);
    }

    #[test]
    fn a_rename_moves_the_reference_and_leaves_no_old_name() {
        let names = Versioned::default();
        let names = names
            .apply(&[Change::set(name("a"), reference(1))])
            .unwrap();
        let rename = Change::rename(name("a"), name("b"), reference(1));
        let names = names.apply(&rename).unwrap();
        assert_eq!(names.get(&name("a")), None);
        assert_eq!(names.get(&name("b")), Some(reference(1)));
        assert_eq!(names.alive, 1);
        assert!(names.apply(&rename).is_err());
    }

    #[test]
    fn many_changes_ask_for_a_directory_and_a_directory_starts_from_none() {
        let mut names = Versioned::default();
        for n in 0..33 {
            assert!(!names.wants_directory());
            let change = Change::set(name(&n.to_string()), reference(n + 1));
            names = names.apply(&[change]).unwrap();
        }
        assert!(names.wants_directory());
        let moved = Versioned::moved(names.merged(), reference(99));
        assert_eq!(moved.merged(), names.merged());
        assert!(moved.changes.is_empty() && !moved.wants_directory());
    }
}
