//! Every batch of every stream, in order, and each record of it down to its body.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::Failure;
use super::super::pace::Pace;
use super::findings::Findings;
use crate::contract::{Batch, Codecs, End, ErrorKind, Kind, Oid, Position, Record, Store, Stream};

/// How far ahead of damage the scan is taken up again, where nobody tells of parts that begin before.
const STEP: u64 = 64 << 20;

/// What was read.
#[derive(Debug, Default, Serialize)]
pub(super) struct Facts {
    /// Bytes that were read of other things.
    #[serde(skip)]
    pub(super) before: u64,
    pub(super) streams: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) commits: u64,
    pub(super) bytes: u64,
}

pub(super) fn check(
    store: &dyn Store,
    before: u64,
    findings: &mut Findings,
    pace: &Pace,
) -> Result<Facts, Failure> {
    let mut facts = Facts {
        before,
        ..Facts::default()
    };
    let status = store.status();
    for stream in &status.streams {
        facts.streams += 1;
        let end = Position(stream.end);
        walk(
            store,
            &status.codecs,
            Stream(stream.stream),
            end,
            &mut facts,
            findings,
            pace,
        )?;
    }
    Ok(facts)
}

fn walk(
    store: &dyn Store,
    codecs: &Codecs,
    stream: Stream,
    end: Position,
    facts: &mut Facts,
    findings: &mut Findings,
    pace: &Pace,
) -> Result<(), Failure> {
    let mut from = Position::START;
    let mut before = None;
    let mut read = facts.bytes;
    loop {
        let some = match store.scan(stream, from).wait() {
            Ok(some) => some,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                findings.add(format_args!("stream {stream} from {from}"), &error);
                // What lies behind the damage is looked at from where the next segment begins.
                let Some(on) = behind(store, stream, from, end) else {
                    return Ok(());
                };
                (from, before) = (on, None);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for batch in &some.batches {
            before = Some(one(batch, codecs, before, facts, findings)?);
            facts.bytes += batch.header().length();
        }
        if let Some(left) = &some.sparse {
            for (oid, record) in &left.records {
                record_of(*oid, record.clone(), codecs, facts, findings)?;
            }
            // What was freed took the checksums of its batches along.
            before = left.after;
            facts.bytes += left.to.bytes_since(left.from);
        }
        pace.progress.at(facts.before + facts.bytes);
        pace.read(facts.bytes - read);
        read = facts.bytes;
        match some.next {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}

/// The next place after damage at `from` from which a scan goes on.
pub(in super::super) fn behind(
    store: &dyn Store,
    stream: Stream,
    from: Position,
    end: Position,
) -> Option<Position> {
    let mut begins = BTreeSet::new();
    let status = store.status();
    let mut floors = vec![&status];
    while let Some(floor) = floors.pop() {
        begins.extend(floor.parts.iter().filter_map(|part| part.begins));
        floors.extend(&floor.below);
    }
    let mut at = from;
    loop {
        let part = begins
            .range(at.0 + 1..)
            .next()
            .map(|begins| Position(*begins));
        let step = at.plus_bytes(STEP);
        at = part.map_or(step, |part| part.min(step));
        if at >= end {
            return None;
        }
        if store.scan(stream, at).wait().is_ok() {
            return Some(at);
        }
    }
}

/// Checks one batch, and says where the stream stands after it.
fn one(
    batch: &Batch,
    codecs: &Codecs,
    before: Option<End>,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Result<End, Failure> {
    let header = batch.header();
    let place = || format!("batch {}:{}", header.stream, header.base);
    let stated = End {
        position: header.before_end,
        running: header.before_running,
    };
    if before.is_some_and(|before| before != stated) {
        findings.add(place(), "it does not follow on the batch before it");
    }
    let mut records = 0;
    for (oid, record) in batch.records() {
        records += 1;
        record_of(oid, record, codecs, facts, findings)?;
    }
    if records != header.records {
        findings.add(
            place(),
            format_args!("it states {} records and has {records}", header.records),
        );
    }
    facts.batches += 1;
    Ok(End {
        position: header.end,
        running: batch.running(),
    })
}

/// Checks one record down to its body.
fn record_of(
    oid: Oid,
    record: Record,
    codecs: &Codecs,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Result<(), Failure> {
    facts.records += 1;
    if record.kind() == Kind::MARKER {
        facts.commits += 1;
    }
    // What a codec made of the body is looked at too: a checksum is no proof of who wrote it.
    match record.verify(oid).and_then(|()| codecs.decode(oid, record)) {
        Err(error) if error.kind() == ErrorKind::Corrupt => findings.add(oid, error),
        // A layer or a key is missing: nothing is known to be damaged.
        Err(error) => return Err(error.into()),
        Ok(_) => {}
    }
    Ok(())
}
