//! The directory of the simulated disk: names as the running system sees them, names as the disk
//! has them, and the changes between the two.

use std::collections::BTreeMap;

use super::plan::{Fault, NameRule, Plan};
use crate::conformance::rng::Rng;

/// Which file a name points to.
pub(super) type FileNumber = usize;

#[derive(Debug, Clone)]
enum NameChange {
    Point(String, FileNumber),
    Move(String, String, FileNumber),
    Drop(String),
}

impl NameChange {
    /// Whether a sync of this directory, written with its slash, makes it durable.
    fn is_in(&self, directory: &str) -> bool {
        let (Self::Point(name, _) | Self::Move(_, name, _) | Self::Drop(name)) = self;
        name.strip_prefix(directory)
            .is_some_and(|rest| !rest.contains('/'))
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    pub(super) live: BTreeMap<String, FileNumber>,
    pub(super) durable: BTreeMap<String, FileNumber>,
    pending: Vec<NameChange>,
}

impl Directory {
    /// The names as they are seen, and as the disk has them.
    pub(super) fn both(&mut self) -> [&mut BTreeMap<String, FileNumber>; 2] {
        [&mut self.live, &mut self.durable]
    }

    pub(super) fn point(&mut self, name: &str, file: FileNumber) {
        self.change(NameChange::Point(name.to_owned(), file));
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, file: FileNumber) {
        self.change(NameChange::Move(from.to_owned(), to.to_owned(), file));
    }

    pub(super) fn drop_name(&mut self, name: &str) {
        self.change(NameChange::Drop(name.to_owned()));
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.live, &change);
        self.pending.push(change);
    }

    /// Makes the names of one directory durable; `None`: those of all.
    pub(super) fn sync(&mut self, directory: Option<&str>) {
        let (synced, left) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|change| directory.is_none_or(|directory| change.is_in(directory)));
        self.pending = left;
        let synced: Vec<NameChange> = synced;
        for change in &synced {
            apply(&mut self.durable, change);
        }
    }

    pub(super) fn power_cut(&mut self, plan: &Plan, rng: &mut Rng, fired: &mut dyn FnMut(Fault)) {
        let pending = std::mem::take(&mut self.pending);
        let count = pending.len() as u64;
        let kept = if rng.chance(plan.persist_name, 1000) {
            count
        } else {
            rng.below(count + 1)
        };
        for (index, change) in pending.iter().enumerate() {
            let survives = match plan.names {
                NameRule::Strict => rng.chance(plan.persist_name, 1000),
                NameRule::Journalled => plan.persist_name > 0 && (index as u64) < kept,
            };
            if survives {
                apply(&mut self.durable, change);
            } else {
                fired(Fault::LostName);
            }
        }
        self.live.clone_from(&self.durable);
    }
}

fn apply(names: &mut BTreeMap<String, FileNumber>, change: &NameChange) {
    match change {
        NameChange::Point(name, file) => {
            names.insert(name.clone(), *file);
        }
        NameChange::Move(from, to, file) => {
            // The old name may never have become durable: the new one does all the same.
            if names.get(from) == Some(file) {
                names.remove(from);
            }
            names.insert(to.clone(), *file);
        }
        NameChange::Drop(name) => {
            names.remove(name);
        }
    }
}
