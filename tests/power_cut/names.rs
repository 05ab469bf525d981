//! The names of a disk: as its users see them, as they are on it, and what lies between the two.

use std::collections::BTreeMap;

/// The number of a file or directory.
pub(crate) type Number = u64;

/// A name in a directory.
pub(crate) type Place = (Number, String);

/// Which numbers the names stand for.
pub(crate) type Table = BTreeMap<Place, Number>;

/// What makes a name durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// An fsync of its directory, and nothing else; names are lost one by one, in any order.
    Strict,
    /// As ext4 does it, any fsync takes all names along that were changed before it; names are lost
    /// from the newest backwards.
    Journalled,
}

/// A change of names that is not durable yet.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// The name stands for this from now on.
    Point(Place, Number),
    /// The name is gone.
    Drop(Place),
    /// What stood under the first name stands under the second, in one step.
    Move(Place, Place, Number),
}

impl Change {
    fn is_in(&self, directory: Number) -> bool {
        match self {
            Self::Point((place, _), _) | Self::Drop((place, _)) => *place == directory,
            Self::Move((from, _), (to, _), _) => *from == directory || *to == directory,
        }
    }

    /// Does it to a table.
    pub(crate) fn apply(&self, table: &mut Table) {
        match self {
            Self::Point(place, number) => {
                table.insert(place.clone(), *number);
            }
            Self::Drop(place) => {
                table.remove(place);
            }
            Self::Move(from, to, number) => {
                // The old name may never have become durable: the new one does all the same.
                if table.get(from) == Some(number) {
                    table.remove(from);
                }
                table.insert(to.clone(), *number);
            }
        }
    }
}

/// The names of a disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) live: Table,
    pub(crate) durable: Table,
    pub(crate) pending: Vec<Change>,
}

impl Names {
    /// Names that are all durable.
    pub(crate) fn settled(table: Table) -> Self {
        Self {
            live: table.clone(),
            durable: table,
            pending: Vec::new(),
        }
    }

    pub(crate) fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    /// An fsync of one directory, or of everything.
    pub(crate) fn sync(&mut self, directory: Option<Number>) {
        let (synced, left): (Vec<_>, Vec<_>) = self
            .pending
            .drain(..)
            .partition(|change| directory.is_none_or(|directory| change.is_in(directory)));
        for change in synced {
            change.apply(&mut self.durable);
        }
        self.pending = left;
    }

    /// What a directory holds, in order.
    pub(crate) fn within(table: &Table, directory: Number) -> impl Iterator<Item = (&str, Number)> {
        table
            .range((directory, String::new())..(directory + 1, String::new()))
            .map(|((_, name), number)| (name.as_str(), *number))
    }
}
