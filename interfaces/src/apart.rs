//! Values of any size, in records of their own.
//!
//! ```text
//!   up to CHUNK bytes    one record
//!   more                 a tree of index records over records of CHUNK bytes each
//!
//!   body of an index record     0 level u8, 1 = over chunks │ zeros │ 8 bytes below it u64
//! ```
//!
//! A whole value is handed out as one slice; a single chunk without a copy.

use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, Kind, NewRecord, Oid, Op, Record, Reference, Result};

use crate::index::Apart;
use crate::records::{Sink, Source, check_edge};
use crate::report::Report;

/// Bytes of one chunk.
pub const CHUNK: usize = 1 << 20;
/// Longest value that is read whole, in bytes.
pub const WHOLE_MAX: u64 = 1 << 30;
const FANOUT: usize = 1024;
const LEVEL_MAX: u8 = 8;
const BODY: usize = 16;

/// Stores a value.
pub fn store(sink: &dyn Sink, value: &[u8]) -> Result<Apart> {
    let mut row = Vec::new();
    for chunk in value.chunks(CHUNK) {
        let reference = sink.store(&NewRecord {
            kind: Kind::CHUNK,
            references: &[],
            body: &[chunk],
        })?;
        row.push((reference, chunk.len() as u64));
    }
    if row.is_empty() {
        return Err(Error::invalid("an empty value has no place of its own"));
    }
    let mut level = 1;
    while row.len() > 1 {
        let above: Result<Vec<_>> = row
            .chunks(FANOUT)
            .map(|row| index(sink, level, row))
            .collect();
        row = above?;
        level += 1;
    }
    let (reference, length) = row[0];
    Ok(Apart { reference, length })
}

fn index(sink: &dyn Sink, level: u8, row: &[(Reference, u64)]) -> Result<(Reference, u64)> {
    let references: Vec<_> = row.iter().map(|(reference, _)| *reference).collect();
    let total = row.iter().map(|(_, length)| length).sum::<u64>();
    let mut body = [0; BODY];
    body[0] = level;
    body[8..].copy_from_slice(&total.to_le_bytes());
    let reference = sink.store(&NewRecord {
        kind: Kind::CHUNK_INDEX,
        references: &references,
        body: &[&body],
    })?;
    Ok((reference, total))
}

/// Reads a value whole. Refuses one over [`WHOLE_MAX`].
pub fn read(source: &Arc<dyn Source>, apart: &Apart) -> Op<Bytes> {
    match Reading::new(apart) {
        Ok(reading) => go(source.clone(), reading),
        Err(error) => Op::err(error),
    }
}

/// Reads a value whole, blocking where a chunk must be fetched.
pub fn read_blocking(source: &dyn Source, apart: &Apart) -> Result<Bytes> {
    let mut reading = Reading::new(apart)?;
    while let Some((reference, most)) = reading.left.pop() {
        reading.take(&source.read(&reference).wait()?, most)?;
    }
    reading.whole()
}

fn go(source: Arc<dyn Source>, mut reading: Reading) -> Op<Bytes> {
    while let Some((reference, most)) = reading.left.pop() {
        let taken = match source.read(&reference).try_ready() {
            Ok(answer) => answer.and_then(|record| reading.take(&record, most)),
            Err(op) => {
                return op.then(move |record| match reading.take(&record, most) {
                    Ok(()) => go(source, reading),
                    Err(error) => Op::err(error),
                });
            }
        };
        if let Err(error) = taken {
            return Op::err(error);
        }
    }
    Op::ready(reading.whole())
}

struct Reading {
    apart: Apart,
    /// Parts to come, the next one last, and the level each may have at most.
    left: Vec<(Reference, u8)>,
    first: Option<Bytes>,
    rest: Vec<u8>,
}

impl Reading {
    fn new(apart: &Apart) -> Result<Self> {
        if apart.length > WHOLE_MAX {
            return Err(Error::invalid(format!(
                "a value of {} bytes is not read whole; the limit is {WHOLE_MAX}",
                apart.length
            )));
        }
        Ok(Self {
            apart: *apart,
            left: vec![(apart.reference, LEVEL_MAX)],
            first: None,
            rest: Vec::new(),
        })
    }

    fn take(&mut self, record: &Record, most: u8) -> Result<()> {
        if let Some(level) = part(record, most)? {
            let below: Vec<_> = record.references().collect();
            self.left
                .extend(below.into_iter().rev().map(|below| (below, level - 1)));
            return Ok(());
        }
        let bytes = record.body_bytes();
        if (self.found() + bytes.len()) as u64 > self.apart.length {
            return Err(self.wrong("more"));
        }
        // One chunk alone is handed out as it lies.
        match self.first.take() {
            None if self.rest.is_empty() => self.first = Some(bytes),
            first => {
                self.rest.extend_from_slice(&first.unwrap_or_default());
                self.rest.extend_from_slice(&bytes);
            }
        }
        Ok(())
    }

    fn whole(self) -> Result<Bytes> {
        if self.found() as u64 != self.apart.length {
            return Err(self.wrong(&self.found().to_string()));
        }
        Ok(self.first.unwrap_or_else(|| self.rest.into()))
    }

    fn found(&self) -> usize {
        self.first.as_ref().map_or(self.rest.len(), Bytes::len)
    }

    fn wrong(&self, found: &str) -> Error {
        Error::corrupt(format!(
            "the value at {} should have {} bytes and has {found}",
            self.apart.reference.oid, self.apart.length
        ))
    }
}

/// What a record of a value is: a chunk, or an index of this level.
fn part(record: &Record, most: u8) -> Result<Option<u8>> {
    match record.kind() {
        // Each part holds something, so that no walk is longer than the value.
        Kind::CHUNK if !record.body().is_empty() => Ok(None),
        Kind::CHUNK_INDEX => match record.body() {
            body if body.len() == BODY
                && (1..=most).contains(&body[0])
                && record.reference_count() > 0 =>
            {
                Ok(Some(body[0]))
            }
            _ => Err(Error::corrupt("an index of chunks has a wrong body")),
        },
        kind => Err(Error::corrupt(format!(
            "a part of a value is of kind {}",
            kind.0
        ))),
    }
}

/// Looks at a value that lies apart, chunk by chunk.
pub fn verify(source: &dyn Source, apart: &Apart, report: &mut Report) {
    report.apart += 1;
    let found = walk(source, &apart.reference, LEVEL_MAX, report);
    report.apart_bytes += found;
    if found != apart.length {
        report.add(
            apart.reference.oid,
            format!(
                "the value has {found} bytes, its entry says {}",
                apart.length
            ),
        );
    }
}

fn walk(source: &dyn Source, reference: &Reference, most: u8, report: &mut Report) -> u64 {
    let oid: Oid = reference.oid;
    let record = source.read(reference).wait().and_then(|record| {
        check_edge(reference, &record)?;
        Ok(record)
    });
    match record.and_then(|record| Ok((part(&record, most)?, record))) {
        Err(error) => {
            report.add_error(oid, &error);
            0
        }
        Ok((None, record)) => record.body().len() as u64,
        Ok((Some(level), record)) => {
            let below = |below| walk(source, &below, level - 1, report);
            record.references().map(below).fold(0, u64::saturating_add)
        }
    }
}
