//! Every reference from the newest commit on, or from all that are left, through reference tables alone.
//!
//! A record with references is read once however many lead to it, a record without at each edge to
//! it; so the work is bounded by the number of edges, and so is the list of what is still to be read.

use std::collections::HashMap;

use serde::Serialize;

use super::super::Failure;
use super::super::pace::Pace;
use super::findings::Findings;
use crate::contract::env::in_passing;
use crate::contract::{ErrorKind, Oid, Record, Reference, Result};
use crate::front::{Engine, Snapshot};
use crate::interfaces::records::check_edge;

/// What was followed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Facts {
    /// The commit that the walk began at.
    pub(super) sequence: u64,
    pub(super) edges: u64,
    /// Records with references once, records without at each edge to them.
    pub(super) records: u64,
}

pub(super) fn check(
    engine: &Engine,
    all: bool,
    findings: &mut Findings,
    pace: &Pace,
) -> std::result::Result<Facts, Failure> {
    let mut walk = Walk {
        engine,
        pace,
        findings,
        seen: Seen::default(),
        left: Vec::new(),
        facts: Facts {
            sequence: engine.snapshot().sequence(),
            ..Facts::default()
        },
    };
    let commits = if all { usize::MAX } else { 1 };
    for found in engine.history().take(commits) {
        let marker = match found {
            Ok((marker, _)) => marker,
            // Where the way back is damaged, nothing further back is found.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                walk.findings.add("an older commit", error);
                walk.names(&engine.snapshot());
                break;
            }
            Err(error) => return Err(error.into()),
        };
        walk.commit(marker)?;
    }
    Ok(walk.facts)
}

struct Walk<'a> {
    engine: &'a Engine,
    pace: &'a Pace,
    findings: &'a mut Findings,
    seen: Seen,
    left: Vec<Reference>,
    facts: Facts,
}

impl Walk<'_> {
    fn commit(&mut self, marker: Oid) -> Result<()> {
        let Some(record) = self.engine.read(marker).wait()? else {
            self.findings.add(marker, "the root marker is not there");
            return Ok(());
        };
        self.facts.records += 1;
        self.follow(marker, &record);
        self.drain();
        Ok(())
    }

    /// What the names of a commit lead to.
    fn names(&mut self, snapshot: &Snapshot) {
        for reference in snapshot.names().values() {
            self.facts.edges += 1;
            if self.seen.insert(reference.oid) {
                self.left.push(*reference);
            }
        }
        self.drain();
    }

    /// Follows all that is left.
    fn drain(&mut self) {
        while let Some(reference) = self.left.pop() {
            if let Some(record) = self.edge(&reference) {
                self.facts.records += 1;
                self.follow(reference.oid, &record);
            }
            self.pace.progress.tick();
        }
    }

    /// Looks at every edge out of a record. Those that lead on are left for later.
    fn follow(&mut self, oid: Oid, record: &Record) {
        for index in 0..record.reference_count() {
            self.facts.edges += 1;
            match record.reference(index) {
                None => {
                    let what = format_args!("its reference {index} names no record");
                    self.findings.add(oid, what);
                }
                // A weak edge is checked and not followed.
                Some(reference) if reference.weak || reference.leaf => {
                    self.facts.records += u64::from(self.edge(&reference).is_some());
                }
                Some(reference) => {
                    if self.seen.insert(reference.oid) {
                        self.left.push(reference);
                    }
                }
            }
        }
    }

    /// The record of an edge, if the edge is sound.
    fn edge(&mut self, reference: &Reference) -> Option<Record> {
        self.pace.read(u64::from(reference.length));
        let read = in_passing(|| self.engine.read(reference.oid));
        let found: Result<_> = read.wait().and_then(|found| {
            if let Some(record) = &found {
                check_edge(reference, record)?;
            }
            Ok(found)
        });
        match found {
            Ok(Some(record)) => Some(record),
            Ok(None) => {
                if !reference.weak {
                    let what = "a reference names it, and there is no record";
                    self.findings.add(reference.oid, what);
                }
                None
            }
            Err(error) => {
                self.findings.add(reference.oid, error);
                None
            }
        }
    }
}

/// Which records were met. A record takes 16 bytes or more, so no two of them begin within the same
/// 16: one bit for each.
#[derive(Default)]
pub(in super::super) struct Seen(HashMap<u64, Box<[u64; WORDS]>>);

const WORDS: usize = 64;
/// Positions, of eight bytes each, that share a bit.
const STEP: u64 = 2;

impl Seen {
    /// Whether it is met for the first time.
    pub(in super::super) fn insert(&mut self, oid: Oid) -> bool {
        let bit = oid.raw() / STEP;
        let (page, bit) = (bit / (WORDS as u64 * 64), bit % (WORDS as u64 * 64));
        let page = self.0.entry(page).or_insert_with(|| Box::new([0; WORDS]));
        let word = &mut page[(bit / 64) as usize];
        let mask = 1 << (bit % 64);
        let first = *word & mask == 0;
        *word |= mask;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Position, Stream};

    #[test]
    fn each_record_is_met_for_the_first_time_once() {
        let mut seen = Seen::default();
        for stream in [0, 1, u16::MAX] {
            for position in (4..100_000).step_by(2) {
                let oid = Oid::new(Stream(stream), Position(position)).unwrap();
                assert!(seen.insert(oid), "{oid}");
                assert!(!seen.insert(oid), "{oid}");
            }
        }
    }
}
