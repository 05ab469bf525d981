//! Objects: what was stored is read back as it was, and what was not stored is not there.

use super::bones::{Bones, blob, engine, there};
use super::check::{Failure, Verdict, ensure, refused};
use super::fixture::Fixture;
use crate::conformance::rng::Rng;
use crate::contract::limits::{RECORD_BODY_MAX, REFERENCES_MAX};
use crate::contract::{
    ErrorKind, Kind, Name, NewRecord, Oid, Position, Record, Reference, Store, Stream,
};
use crate::front::{Change, Hint};

/// Every length, from nothing to the longest record, at the edges of units and pages.
pub(super) fn every_size_reads_back(fixture: &dyn Fixture) -> Verdict {
    let (store, engine) = engine(fixture)?;
    let unit = store.status().unit as usize;
    let mut lengths = vec![0, 1, 7, 8, 9, 100, RECORD_BODY_MAX - 1, RECORD_BODY_MAX];
    for edge in [512, 4096, unit, 64 << 10, 1 << 20] {
        lengths.extend([edge - 1, edge, edge + 1]);
    }
    let mut rng = Rng::new(1);
    let pattern = rng.bytes(RECORD_BODY_MAX);
    let session = engine.session()?;
    let mut stored = Vec::new();
    for (index, &length) in lengths.iter().enumerate() {
        let body = &pattern[..length];
        let reference = session.store(&blob(&[body]), Hint::default())?;
        if index % 3 == 0 {
            let name = Name::new(format!("size {length}"))?;
            let change = Change::set(name, reference);
            session.commit(&[change], None).wait()?;
        }
        stored.push((length, reference));
    }
    session.commit(&[], None).wait()?;
    for (length, reference) in stored {
        let record = there(&*store, reference.oid)?;
        ensure!(
            record.body() == &pattern[..length],
            "a body of {length} bytes reads back as {} others",
            record.body().len()
        );
        ensure!(
            record.reference_to(reference.oid) == reference,
            "a body of {length} bytes was stored as {reference:?} and reads as {:?}",
            record.reference_to(reference.oid)
        );
    }
    Ok(engine.close()?)
}

/// Reference tables of every size, and kinds that nobody knows, pass through untouched.
pub(super) fn references_and_unknown_kinds_read_back(fixture: &dyn Fixture) -> Verdict {
    let (store, engine) = engine(fixture)?;
    let session = engine.session()?;
    let leaf = session.store(&blob(&[b"leaf"]), Hint::default())?;
    for count in [1, 2, 255, REFERENCES_MAX] {
        let references: Vec<Reference> = (0..count)
            .map(|index| match index % 2 {
                0 => leaf,
                _ => leaf.weakened(),
            })
            .collect();
        let record = NewRecord {
            kind: Kind(Kind::FIRST_FREE.0 + 77),
            references: &references,
            body: &[b"in ", b"pieces"],
        };
        let reference = session.store(&record, Hint::default())?;
        session.commit(&[], None).wait()?;
        let found = there(&*store, reference.oid)?;
        ensure!(
            found.references().eq(references.iter().copied()),
            "a table of {count} references reads back otherwise"
        );
        ensure!(
            found.body() == b"in pieces" && found.kind() == record.kind,
            "a record with {count} references reads back as {found:?}"
        );
    }
    Ok(engine.close()?)
}

/// Thousands of records in many batches and commits, read in an order of their own.
pub(super) fn many_records_read_back_in_any_order(fixture: &dyn Fixture) -> Verdict {
    let (store, engine) = engine(fixture)?;
    let session = engine.session()?;
    let mut rng = Rng::new(2);
    let mut stored: Vec<(Reference, Vec<u8>)> = Vec::new();
    for round in 0..60 {
        for _ in 0..50 {
            let length = rng.below_usize(700);
            let body = rng.bytes(length);
            let reference = session.store(&blob(&[&body]), Hint { tag: round })?;
            stored.push((reference, body));
        }
        session.commit(&[], None).wait()?;
    }
    for _ in 0..2 * stored.len() {
        let (reference, body) = &stored[rng.below_usize(stored.len())];
        let record = there(&*store, reference.oid)?;
        ensure!(
            record.body() == body,
            "the record at {} reads back as other bytes",
            reference.oid
        );
    }
    Ok(engine.close()?)
}

/// A store promises order and not survival; but what it took, it reads.
pub(super) fn what_was_stored_reads_before_its_commit(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    let mut stored = Vec::new();
    for body in [b"one".as_slice(), b"two", b"three"] {
        stored.push((bones.store(&[body, body])?[1], body));
    }
    for (reference, body) in stored {
        let record = there(&*bones.store, reference.oid)?;
        ensure!(record.body() == body, "{record:?} is not what was stored");
    }
    Ok(bones.store.close().wait()?)
}

/// Above the tail there is nothing, and the writer of the tail can say so.
pub(super) fn above_the_tail_is_absent(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    bones.store(&[b"one"])?;
    bones.commit()?;
    let end = bones.before.position;
    for ahead in [0, 16, 64, 1 << 10, 1 << 20, 1 << 30] {
        absent(&*bones.store, bones.stream, Position(end.0 + ahead))?;
    }
    absent(&*bones.store, bones.stream, Position(Position::LIMIT.0 - 2))?;
    Ok(bones.store.close().wait()?)
}

/// A gap that a batch states holds nothing, below the tail as well.
pub(super) fn inside_a_gap_is_absent(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    let first = bones.store(&[b"one"])?[0];
    bones.commit()?;
    let gap = bones.before.position;
    bones.base = Position(gap.0 + 1).align_up(bones.unit.max(4096));
    let second = bones.store(&[b"two"])?[0];
    bones.commit()?;
    let over = second.oid.position().0 - 16;
    for position in [gap.0, gap.0 + 2, (gap.0 + over) / 2, over - 1] {
        absent(&*bones.store, bones.stream, Position(position))?;
    }
    for reference in [first, second] {
        there(&*bones.store, reference.oid)?;
    }
    Ok(bones.store.close().wait()?)
}

/// Absent is true when it is said, and no longer than that.
pub(super) fn what_was_absent_is_found_once_it_is_stored(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    for round in 0..20_u8 {
        let (batch, references) = bones.batch(&[&[round; 80]])?;
        let oid = references[0].oid;
        absent(&*bones.store, bones.stream, oid.position())?;
        bones.send(&batch)?;
        there(&*bones.store, oid)?;
        if round % 4 == 3 {
            bones.commit()?;
        }
    }
    Ok(bones.store.close().wait()?)
}

/// Nobody can say that a stream which does not lie here holds nothing.
pub(super) fn a_foreign_stream_is_an_error(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    let known = bones.store(&[b"one"])?[0];
    bones.commit()?;
    let streams: Vec<u16> = bones
        .store
        .status()
        .streams
        .iter()
        .map(|stream| stream.stream)
        .collect();
    let foreign = (0..=u16::MAX).rev().find(|id| !streams.contains(id));
    let Some(foreign) = foreign.map(Stream) else {
        return Ok(());
    };
    let kinds = [ErrorKind::Invalid, ErrorKind::Unavailable];
    if let Some(oid) = Oid::new(foreign, known.oid.position()) {
        refused("reading a foreign stream", bones.store.read(oid), &kinds)?;
    }
    let scan = bones.store.scan(foreign, Position::START);
    refused("scanning a foreign stream", scan, &kinds)?;
    let home = std::mem::replace(&mut bones.stream, foreign);
    let (batch, _) = bones.batch(&[b"astray"])?;
    let sent = bones.store.store(bones.epoch, batch);
    refused("storing to a foreign stream", sent, &kinds)?;
    bones.stream = home;
    bones.store(&[b"and it goes on"])?;
    Ok(bones.store.close().wait()?)
}

fn absent(store: &dyn Store, stream: Stream, position: Position) -> Verdict {
    let Some(oid) = Oid::new(stream, position) else {
        return Ok(());
    };
    let found: Option<Record> = store.read(oid).wait().map_err(|error| {
        Failure::new(format!(
            "nothing was ever stored at {oid}, and reading it fails: {error}"
        ))
    })?;
    ensure!(
        found.is_none(),
        "nothing was ever stored at {oid}, and it reads as {found:?}"
    );
    Ok(())
}
