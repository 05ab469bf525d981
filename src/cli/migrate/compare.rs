//! Whether one store holds what another does: two graphs, walked side by side.

use std::collections::HashMap;

use super::super::Failure;
use crate::contract::{Oid, Record, Reference};
use crate::front::Snapshot;
use crate::interfaces::records::check_edge;

/// Which record of the copy each record of the source was found to be.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    map: HashMap<Oid, Option<Reference>>,
}

impl Comparison {
    pub(super) fn records(&self) -> u64 {
        self.map.len() as u64
    }

    pub(super) fn into_map(self) -> HashMap<Oid, Option<Reference>> {
        self.map
    }

    /// Compares two commits: the names, and all that they lead to. With `some`, the copy may lack names.
    pub(super) fn commit(
        &mut self,
        from: &Snapshot,
        to: &Snapshot,
        some: bool,
    ) -> Result<(), Failure> {
        let (wanted, found) = (from.names(), to.names());
        if let Some(name) = found.keys().find(|name| !wanted.contains_key(*name)) {
            return Err(Failure::fault(format!(
                "commit {} of the second has a name {name} that the first has not",
                to.sequence()
            )));
        }
        for (name, wanted) in wanted {
            let Some(found) = found.get(name) else {
                if some {
                    continue;
                }
                return Err(Failure::fault(format!(
                    "commit {} of the second has no name {name}",
                    to.sequence()
                )));
            };
            self.graph((from, *wanted), (to, *found))
                .map_err(|failure| match failure {
                    Failure::Found(what) => Failure::fault(format!("{name}: {what}")),
                    failure => failure,
                })?;
        }
        Ok(())
    }

    fn graph(
        &mut self,
        (from, wanted): (&Snapshot, Reference),
        (to, found): (&Snapshot, Reference),
    ) -> Result<(), Failure> {
        let mut left = vec![(wanted, found)];
        while let Some((wanted, found)) = left.pop() {
            if (wanted.weak, wanted.leaf) != (found.weak, found.leaf) {
                return Err(differs(&wanted, &found, "how it is referred to"));
            }
            match self.map.get(&wanted.oid) {
                Some(Some(known)) if known.oid == found.oid => continue,
                Some(_) => return Err(differs(&wanted, &found, "which record it is")),
                None => {}
            }
            let (one, other) = (read(from, &wanted)?, read(to, &found)?);
            if one.kind() != other.kind() {
                return Err(differs(&wanted, &found, "the kind"));
            }
            if one.body() != other.body() {
                return Err(differs(&wanted, &found, "the body"));
            }
            if one.reference_count() != other.reference_count() {
                return Err(differs(&wanted, &found, "the number of references"));
            }
            left.extend(one.references().zip(other.references()));
            self.map.insert(wanted.oid, Some(found));
        }
        Ok(())
    }
}

fn read(snapshot: &Snapshot, reference: &Reference) -> Result<Record, Failure> {
    let record = snapshot.read(reference).wait()?;
    check_edge(reference, &record)?;
    Ok(record)
}

fn differs(wanted: &Reference, found: &Reference, what: &str) -> Failure {
    Failure::fault(format!(
        "{} of the first and {} of the second differ in {what}",
        wanted.oid, found.oid
    ))
}
