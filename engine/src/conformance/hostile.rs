//! Hostile bytes: one function for each decoder, called by the fuzzers and by seeded tests alike.
//!
//! Each takes bytes of any kind and promises no panic, no hang and memory bounded by the input and
//! the limits of the format. Where something can be said of the outcome, it is asserted.

use std::sync::Arc;

use crate::contract::record::RECORD_HEADER;
use crate::contract::{
    Batch, BatchBuilder, BatchHeader, End, Env, Epoch, Kind, NewRecord, Oid, Position, Reclaim,
    Record, RootAt, RootMarker, Store, Stream, marker,
};
use crate::log::{Log, LogOptions};
use crate::medium::Medium;
use crate::medium::memory::MemoryMedium;

/// Most steps of a scan that is driven by hostile bytes.
const STEPS_MAX: usize = 1000;

/// What fuzzing begins with: the target, what the input is, and its bytes. `engine/fuzz/corpus` holds
/// them as files, and so pins what a record and a batch are.
#[must_use]
pub fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let medium = small_log();
    let file = |name: &str| -> Vec<u8> {
        let file = medium.open(name, false).ok();
        let bytes = file.and_then(|file| file.read_at(0, file.len().ok()? as usize).ok());
        bytes.map(|bytes| bytes.to_vec()).unwrap_or_default()
    };
    let (identity, mut segment) = (file("identity"), file("seg-000000000000"));
    // Room that was made in advance is not worth keeping.
    let end = segment.iter().rposition(|byte| *byte != 0);
    segment.truncate(end.map_or(0, |last| last + 1));
    let mut directory = (identity.len() as u16).to_le_bytes().to_vec();
    directory.extend_from_slice(&identity);
    directory.extend_from_slice(&segment);
    let env = super::env::SimEnv::new(7).env().clone();
    let options = LogOptions {
        read_only: true,
        ..LogOptions::default()
    };
    let mut seeds = Vec::new();
    let log = Log::open("memory", Arc::new(medium.clone()), &env, options);
    let batches = log.and_then(|log| log.scan(Stream(0), Position::START).wait());
    for batch in batches.iter().flat_map(|some| &some.batches).take(2) {
        let name = if seeds.is_empty() { "first" } else { "second" };
        seeds.push(("batch_decode", name, batch.bytes().to_vec()));
    }
    let Some(oid) = Oid::new(Stream(0), Position(16)) else {
        return seeds;
    };
    let mut blob = Vec::new();
    let body = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[b"a body of some bytes"],
    };
    let reference = body.encode(oid, 1, &mut blob);
    seeds.push(("record_decode", "blob", blob));
    let mut inner = Vec::new();
    let record = NewRecord {
        kind: Kind::FIRST_FREE,
        references: &[reference, reference.weakened()],
        body: &[b""],
    };
    record.encode(oid, 1, &mut inner);
    seeds.push(("record_decode", "references", inner));
    let torn = directory[..directory.len().saturating_sub(200)].to_vec();
    seeds.push(("segment_recover", "whole", directory));
    seeds.push(("segment_recover", "torn", torn));
    let medium = sparse_log();
    let mut directory = (identity.len() as u16).to_le_bytes().to_vec();
    directory.extend_from_slice(&identity);
    directory.extend_from_slice(
        &sparse_of(&medium)
            .map(|(_, bytes)| bytes)
            .unwrap_or_default(),
    );
    seeds.push(("segment_recover", "sparse", directory));
    // File, place (three bytes), whether to cut, three bytes to write.
    let changes = vec![1, 40, 16, 0, 0, 9, 9, 9, 1, 0, 17, 0, 0, 1, 2, 3];
    seeds.push(("segment_mutate", "two-writes", changes));
    seeds.push(("segment_mutate", "a-cut", vec![1, 60, 17, 0, 255, 0, 0, 0]));
    seeds
}

/// Decodes a record, and what kinds of the engine it claims to be. A record that passes encodes to
/// the same bytes again.
pub fn record_decode(bytes: &[u8]) {
    let Some(oid) = Oid::new(Stream(0), Position(16)) else {
        return;
    };
    let Ok(record) = Record::decode(oid, bytes.to_vec().into()) else {
        return;
    };
    assert!(
        record.encoded().len() <= bytes.len().max(RECORD_HEADER),
        "it reads past its input"
    );
    let references: Vec<_> = record.references().collect();
    let _ = RootMarker::decode(oid, &record);
    let _ = marker::decode_directory(oid, &record);
    if record.codecs() == 0 && references.len() == record.reference_count() {
        let body = [record.body()];
        let again = NewRecord {
            kind: record.kind(),
            references: &references,
            body: &body,
        };
        let mut out = Vec::new();
        again.encode(oid, record.epoch(), &mut out);
        let unpadded = RECORD_HEADER + references.len() * 16 + record.body().len();
        assert_eq!(
            out[..unpadded],
            record.encoded()[..unpadded],
            "it does not round trip"
        );
    }
}

/// Decodes a batch and everything in it.
pub fn batch_decode(bytes: &[u8]) {
    let _ = BatchHeader::decode(bytes);
    let Ok(batch) = Batch::decode(bytes.to_vec().into()) else {
        return;
    };
    let _ = batch.running();
    for (oid, record) in batch.records() {
        let _ = record.verify(oid);
        let _ = batch.read(oid);
    }
}

/// Opens a directory whose identity and segment hold these bytes, beside a writer's file that is
/// whole; twice, with the same outcome. The first two bytes say how long the identity is; the segment
/// is the rest. One that says of itself that it is sparse lies where a reclaim left one.
pub fn segment_recover(bytes: &[u8]) {
    let medium = laid(bytes);
    assert_eq!(look(&medium), look(&medium), "looking changed what is seen");
}

fn laid(bytes: &[u8]) -> MemoryMedium {
    let Some((length, bytes)) = bytes.split_first_chunk() else {
        return small_log();
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(bytes.len());
    let (identity, segment) = bytes.split_at(length);
    let (medium, name) = match segment.starts_with(b"TRAVREC\0") {
        true => {
            let medium = sparse_log();
            let name = sparse_of(&medium).map(|(name, _)| name);
            (medium, name.unwrap_or_default())
        }
        false => (small_log(), "seg-000000000000".to_owned()),
    };
    for (name, bytes) in [("identity", identity), (name.as_str(), segment)] {
        if let Ok(file) = medium.open(name, true) {
            let _ = file.set_len(0);
            let _ = file.write_at(0, &[bytes]);
        }
    }
    medium
}

/// Takes whole logs, changes bytes of them as the input says, mends the checksums so that the damage
/// gets past them, and opens them.
pub fn segment_mutate(bytes: &[u8]) {
    mutate(&small_log(), bytes);
    mutate(&sparse_log(), bytes);
}

fn mutate(medium: &MemoryMedium, bytes: &[u8]) {
    let Ok(names) = medium.list() else { return };
    for change in bytes.chunks_exact(8).take(64) {
        let name = &names[change[0] as usize % names.len()];
        let Ok(file) = medium.open(name, true) else {
            continue;
        };
        let Ok(length) = file.len() else { continue };
        let at = u64::from(u32::from_le_bytes([change[1], change[2], change[3], 0]));
        if length == 0 {
            continue;
        }
        if change[4] == 0xFF {
            let _ = file.set_len(at % length);
        } else {
            let _ = file.write_at(at % length, &[&change[5..8]]);
            mend(&*file, length);
        }
    }
    let _ = look(medium);
}

/// Mends the checksums of small files, of the segment header and of the first batch header.
fn mend(file: &dyn crate::medium::MediumFile, length: u64) {
    let Ok(bytes) = file.read_at(0, length as usize) else {
        return;
    };
    let mut bytes = bytes.to_vec();
    let sealed = match bytes.get(..8) {
        Some(b"TRAVSEG\0") => 128,
        Some(b"TRAVREC\0") => 160,
        Some(b"TRAVLOG\0" | b"TRAVWRT\0") => bytes.len(),
        _ => return,
    };
    if bytes.len() >= sealed.max(16) {
        let crc = crc32fast::hash(&bytes[12..sealed]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    }
    if bytes.len() >= 4096 + 128 && !bytes.starts_with(b"TRAVREC\0") {
        let crc = crc32fast::hash(&bytes[4096 + 48..4096 + 128]);
        bytes[4096 + 44..4096 + 48].copy_from_slice(&crc.to_le_bytes());
    }
    let _ = file.write_at(0, &[&bytes]);
}

/// Opens for reading, asks everything, and answers what was seen as text.
fn look(medium: &MemoryMedium) -> String {
    let env = super::env::SimEnv::new(1).env().clone();
    let options = LogOptions {
        read_only: true,
        ..LogOptions::default()
    };
    let log = match Log::open("memory", Arc::new(medium.clone()), &env, options) {
        Ok(log) => log,
        Err(error) => return error.to_string(),
    };
    let mut seen = format!("{:?}", log.fence(Epoch::default()).wait());
    seen += &format!("{:?}", log.root(RootAt::Newest).wait());
    let mut from = Position::START;
    for _ in 0..STEPS_MAX {
        let Ok(some) = log.scan(Stream(0), from).wait() else {
            break;
        };
        let left = some.sparse.iter().flat_map(|left| left.records.clone());
        for (oid, _) in some.batches.iter().flat_map(Batch::records).chain(left) {
            seen += &format!("{:?}", log.read(oid).wait().map_err(|error| error.kind()));
        }
        match some.next {
            Some(next) => from = next,
            None => break,
        }
    }
    seen
}

fn small_log() -> MemoryMedium {
    log_of(&[40], LogOptions::default()).0
}

/// A log of which a reclaim has left something.
fn sparse_log() -> MemoryMedium {
    let options = LogOptions {
        segment: 64 << 10,
        ..LogOptions::default()
    };
    let (medium, log) = log_of(&[50_000, 40], options);
    let Some((log, sender, to)) = log else {
        return medium;
    };
    let scanned = log.scan(Stream(0), Position::START).wait();
    let batches = scanned.iter().flat_map(|some| &some.batches);
    let stays = batches.flat_map(Batch::records);
    let stays = stays.filter(|(_, record)| record.body().len() < 100);
    let decision = Reclaim {
        sender,
        stream: Stream(0),
        from: Position::START,
        to,
        alive: stays.map(|(oid, _)| oid.position()).collect(),
        left: None,
    };
    let _ = log.reclaim(decision).wait();
    medium
}

/// The sparse segment that lies there.
fn sparse_of(medium: &MemoryMedium) -> Option<(String, Vec<u8>)> {
    let names = medium.list().ok()?;
    let name = names.into_iter().find(|name| name.starts_with("rec-"))?;
    let file = medium.open(&name, false).ok()?;
    let bytes = file.read_at(0, file.len().ok()? as usize).ok()?;
    Some((name, bytes.to_vec()))
}

/// A log of a few batches, each with a record of each of these lengths, and where it ends.
fn log_of(
    lengths: &[usize],
    options: LogOptions,
) -> (MemoryMedium, Option<(Log, Epoch, Position)>) {
    let medium = MemoryMedium::new();
    let env: Env = super::env::SimEnv::new(7).env().clone();
    let open = || Log::open("memory", Arc::new(medium.clone()), &env, options);
    let Ok(log) = open() else {
        return (medium, None);
    };
    let epoch = Epoch { number: 1, tag: 9 };
    let start = End {
        position: Position::START,
        running: 0,
    };
    let begun = log
        .fence(epoch)
        .wait()
        .and_then(|_| log.adopt(epoch, vec![(Stream(0), start)]).wait());
    let mut before = start;
    for n in 0..4_u8 {
        let mut builder = BatchBuilder::new(Stream(0), before.position, before, epoch, 0);
        for length in lengths {
            let body = vec![n; *length];
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&body],
            };
            if begun.is_err() || builder.push(&record).is_err() {
                return (medium, None);
            }
        }
        let batch = builder.finish(None, n == 3);
        before = End {
            position: batch.header().end,
            running: batch.running(),
        };
        let _ = log.store(epoch, batch).wait();
    }
    (medium, Some((log, epoch, before.position)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fuzzing_begins_with_gets_past_the_door() {
        for (target, name, bytes) in seeds() {
            if target == "segment_recover" {
                let seen = look(&laid(&bytes));
                assert!(seen.starts_with("Ok("), "{name}: {seen}");
                let records = match name {
                    "whole" => 4,
                    // Three segments of four lost one of their two records each.
                    "sparse" => 5,
                    _ => 2,
                };
                assert_eq!(seen.matches("Ok(Some").count(), records, "{name}: {seen}");
            }
        }
    }
}
