//! Every reference from the newest commit on, through reference tables alone.
//!
//! A record with references is read once however many lead to it, a record without at each edge to
//! it; so the work is bounded by the number of edges, and so is the list of what is still to be read.

use std::collections::HashMap;

use serde::Serialize;

use super::super::Failure;
use super::super::progress::Progress;
use super::findings::Findings;
use crate::contract::env::in_passing;
use crate::contract::{Oid, Record, Reference, Result};
use crate::front::Engine;
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
    findings: &mut Findings,
    progress: &Progress,
) -> std::result::Result<Facts, Failure> {
    let mut facts = Facts {
        sequence: engine.snapshot().sequence(),
        ..Facts::default()
    };
    let Some(newest) = engine.history().next() else {
        return Ok(facts);
    };
    let marker = newest?.0;
    let Some(record) = engine.read(marker).wait()? else {
        findings.add(marker, "the newest root marker is not there");
        return Ok(facts);
    };
    facts.records += 1;
    let mut seen = Seen::default();
    let mut left = Vec::new();
    follow(
        engine, marker, &record, &mut left, &mut seen, &mut facts, findings,
    );
    while let Some(reference) = left.pop() {
        if let Some(record) = edge(engine, &reference, findings) {
            facts.records += 1;
            let oid = reference.oid;
            follow(
                engine, oid, &record, &mut left, &mut seen, &mut facts, findings,
            );
        }
        progress.tick();
    }
    Ok(facts)
}

/// Looks at every edge out of a record. Those that lead on are left for later.
fn follow(
    engine: &Engine,
    oid: Oid,
    record: &Record,
    left: &mut Vec<Reference>,
    seen: &mut Seen,
    facts: &mut Facts,
    findings: &mut Findings,
) {
    for index in 0..record.reference_count() {
        facts.edges += 1;
        match record.reference(index) {
            None => findings.add(oid, format_args!("its reference {index} names no record")),
            // A weak edge is checked and not followed.
            Some(reference) if reference.weak || reference.leaf => {
                facts.records += u64::from(edge(engine, &reference, findings).is_some());
            }
            Some(reference) => {
                if seen.insert(reference.oid) {
                    left.push(reference);
                }
            }
        }
    }
}

/// The record of an edge, if the edge is sound.
fn edge(engine: &Engine, reference: &Reference, findings: &mut Findings) -> Option<Record> {
    let read = in_passing(|| engine.read(reference.oid));
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
                findings.add(
                    reference.oid,
                    "a reference names it, and there is no record",
                );
            }
            None
        }
        Err(error) => {
            findings.add(reference.oid, error);
            None
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
