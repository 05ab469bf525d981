//! Tests of the log over a medium in memory, driven by a writer reduced to the bones.

mod behind;
mod between;
mod bounded;
mod handles;
mod kept;
mod part;
mod reclaim;
mod through;
mod unbegun;

use super::*;
use crate::contract::{
    BatchBuilder, End, ErrorKind, Extent, Kind, Name, NewRecord, Proven, Reference,
};
use crate::medium::memory::MemoryMedium;

/// Makes batches and commits as the engine does, one record and one marker a commit.
struct Bones {
    log: Log,
    epoch: Epoch,
    before: End,
    next: Position,
    sequence: u64,
    proven: Option<Proven>,
}

fn options() -> LogOptions {
    LogOptions {
        segment: 64 << 10,
        window: 1 << 20,
        ..LogOptions::default()
    }
}

fn open(medium: &MemoryMedium) -> Log {
    Log::open(
        "memory",
        Arc::new(medium.clone()),
        &Env::system(),
        options(),
    )
    .unwrap()
}

impl Bones {
    fn begin(log: Log) -> Self {
        let state = log.fence(Epoch::default()).wait().unwrap().remove(0);
        let epoch = Epoch {
            number: state.epoch.number + 1,
            tag: 7,
        };
        log.fence(epoch).wait().unwrap();
        log.adopt(epoch, vec![(Stream(0), state.end)])
            .wait()
            .unwrap();
        let next = if state.clean {
            state.end.position
        } else {
            state.ceiling
        };
        let newest = log.root(RootAt::Newest).wait().unwrap();
        let sequence = newest.map_or(0, |(_, marker)| marker.sequence);
        Self {
            epoch,
            before: state.end,
            next: next.align_up(log.status().unit),
            log,
            sequence,
            proven: state.proven,
        }
    }

    fn batch(&mut self, body: &[u8], clean: bool) -> (Batch, Reference) {
        let mut builder = BatchBuilder::new(Stream(0), self.next, self.before, self.epoch, 4096);
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[body],
        };
        let stored = builder.push(&record).unwrap();
        self.sequence += 1;
        let marker = RootMarker {
            sequence: self.sequence,
            epoch: self.epoch,
            time: self.sequence * 10,
            previous: None,
            jump: None,
            proven: self.proven,
            directory: None,
            changes: [(Name::new("a").unwrap(), Some(stored))].into(),
            vector: vec![(Stream(0), self.before)],
        };
        let (references, body) = marker.encode();
        let record = NewRecord {
            kind: Kind::MARKER,
            references: &references,
            body: &[&body],
        };
        let marker = builder.push(&record).unwrap();
        builder.note_marker(marker.oid);
        let batch = builder.finish(self.proven, clean);
        (batch, stored)
    }

    fn take(&mut self, batch: &Batch) {
        self.before = End {
            position: batch.header().end,
            running: batch.running(),
        };
        self.next = batch.header().end.align_up(self.log.status().unit);
    }

    fn commit(&mut self, body: &[u8]) -> Oid {
        let (batch, stored) = self.batch(body, false);
        let level = self.log.status().level;
        let commit = Commit {
            sender: self.epoch,
            level,
            last: vec![batch.clone()],
        };
        self.log.commit(commit).wait().unwrap();
        self.take(&batch);
        stored.oid
    }
}

#[test]
fn where_a_marker_lies_in_another_stream_tells_nothing_of_this_one() {
    let medium = MemoryMedium::new();
    let other = LogOptions {
        stream: Stream(1),
        ..options()
    };
    let open = || {
        Log::open(
            "memory",
            Arc::new(medium.clone()),
            &Env::system(),
            other.clone(),
        )
    };
    let log = open().unwrap();
    let epoch = Epoch { number: 1, tag: 7 };
    log.fence(epoch).wait().unwrap();
    log.adopt(epoch, Vector::new()).wait().unwrap();
    let mut before = End {
        position: Position::START,
        running: 0,
    };
    let mut ends = Vec::new();
    for sequence in 1..=5 {
        // The root stream is far ahead of this one.
        let marker = Oid::new(Stream(0), Position(1_000_000 + sequence)).unwrap();
        let proven = Proven {
            sequence,
            epoch: 1,
            oid: marker,
        };
        let builder = BatchBuilder::new(Stream(1), before.position, before, epoch, 0);
        let batch = builder.finish(Some(proven), false);
        log.store(epoch, batch.clone()).wait().unwrap();
        before = End {
            position: batch.header().end,
            running: batch.running(),
        };
        ends.push(before);
    }
    drop(log);
    let state = open()
        .unwrap()
        .fence(Epoch::default())
        .wait()
        .unwrap()
        .remove(0);
    let links: Vec<_> = state.chain.iter().map(|link| link.end).collect();
    assert_eq!(links, ends, "any of them may be what a vector names");
}

#[test]
fn what_was_committed_reads_back_after_reopening() {
    let medium = MemoryMedium::new();
    let mut oids = Vec::new();
    for round in 0..4_u8 {
        let mut bones = Bones::begin(open(&medium));
        assert_eq!(bones.sequence, u64::from(round) * 100);
        for n in 0..100 {
            let body = vec![round; 1500 + n];
            oids.push((bones.commit(&body), body));
        }
    }
    let log = open(&medium);
    assert!(
        log.segment_headers().unwrap().len() > 4,
        "the log must have rolled"
    );
    for (oid, body) in &oids {
        assert_eq!(log.read(*oid).wait().unwrap().unwrap().body(), &body[..]);
    }
    let mut from = Position::START;
    let mut seen = Vec::new();
    loop {
        let some = log.scan(Stream(0), from).wait().unwrap();
        for batch in &some.batches {
            seen.extend(
                batch
                    .records()
                    .filter(|(_, record)| record.kind() == Kind::BLOB)
                    .map(|(oid, _)| oid),
            );
        }
        match some.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(seen, oids.iter().map(|(oid, _)| *oid).collect::<Vec<_>>());
}

#[test]
fn segments_tell_how_far_their_lives_have_come() {
    use crate::contract::PartState::{Active, Ended, Next, Synced};
    let disk = crate::conformance::sim::SimDisk::new(1, crate::conformance::sim::Plan::calm());
    let sim = crate::conformance::env::SimEnv::new(1);
    let open = || Log::open("file", Arc::new(disk.medium()), sim.env(), options()).unwrap();
    let mut bones = Bones::begin(open());
    for n in 0..40 {
        bones.commit(&vec![n; 5_000]);
    }
    let stream = |log: &Log| log.status().streams.remove(0);
    let mut parts = bones.log.status().parts;
    assert_eq!(
        parts.pop().unwrap().state,
        Next,
        "room for one is claimed ahead"
    );
    assert_eq!(parts.len() as u64, stream(&bones.log).segments);
    let (last, older) = parts.split_last().unwrap();
    assert!(older.len() > 2 && older.iter().all(|part| part.state == Synced));
    assert_eq!(
        (last.state, last.ends),
        (Active, Some(stream(&bones.log).end))
    );
    for pair in parts.windows(2) {
        assert!(pair[0].ends <= pair[1].begins && pair[0].epoch == Some(1));
        assert!(pair[0].marker < pair[1].marker && pair[0].marker < pair[0].ends);
    }
    // What a crash left is not known to be durable to its end.
    drop(bones);
    let parts = open().status().parts;
    assert_eq!(parts.last().unwrap().state, Ended);
}

#[test]
fn a_log_in_a_directory_is_written_on_after_a_clean_end_and_after_an_unclean_one() {
    // A real directory tells a handle for reading from one for writing.
    for unit in [8, 4096] {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("log");
        let mut oids = Vec::new();
        for round in 0..6_u8 {
            let medium = crate::medium::file::FileMedium::new(&place, unit);
            let log = Log::open("file", Arc::new(medium), &Env::system(), options()).unwrap();
            let mut bones = Bones::begin(log);
            for n in 0..3 {
                let body = vec![round; 1500 + n];
                oids.push((bones.commit(&body), body));
            }
            if round % 2 == 0 {
                let (last, _) = bones.batch(b"last", true);
                let commit = Commit {
                    sender: bones.epoch,
                    level: Level::Disk,
                    last: vec![last],
                };
                bones.log.commit(commit).wait().unwrap();
                bones.log.close().wait().unwrap();
            }
            for (oid, body) in &oids {
                let record = bones.log.read(*oid).wait().unwrap();
                assert_eq!(record.unwrap().body(), &body[..], "round {round}, {oid}");
            }
        }
    }
}

#[test]
fn what_is_missing_below_a_clean_end_is_damage_and_no_older_state() {
    let directory = tempfile::tempdir().unwrap();
    let open = |place: &std::path::Path, read_only| {
        let medium = crate::medium::file::FileMedium::new(place, 4096);
        let options = LogOptions {
            read_only,
            ..options()
        };
        Log::open("file", Arc::new(medium), &Env::system(), options).unwrap()
    };
    let place = directory.path().join("log");
    let mut bones = Bones::begin(open(&place, false));
    for n in 0..60 {
        bones.commit(&vec![n; 1500]);
    }
    let (last, _) = bones.batch(b"last", true);
    let commit = Commit {
        sender: bones.epoch,
        level: Level::Disk,
        last: vec![last],
    };
    bones.log.commit(commit).wait().unwrap();
    bones.log.close().wait().unwrap();
    let newest = bones.log.segment_headers().unwrap().len();
    assert!(newest > 2, "the log must have rolled");
    let medium = crate::medium::file::FileMedium::new(&place, 4096);
    let mut names = medium.list().unwrap();
    names.retain(|name| format::segment_base(name).is_some());
    names.sort();
    let name = names.pop().unwrap();
    let file = medium.open(&name, true).unwrap();
    let length = file.len().unwrap();
    for keep in [
        Some(length - 8),
        Some(length - 4096),
        Some(300),
        Some(0),
        None,
    ] {
        match keep {
            Some(keep) => file.set_len(keep).unwrap(),
            None => medium.remove(&name).unwrap(),
        }
        for read_only in [true, false] {
            let log = open(&place, read_only);
            let state = log.fence(Epoch::default()).wait();
            let error = state.expect_err("an older state passes for the newest");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{keep:?}");
            log.close().wait().unwrap();
        }
    }
}

#[test]
fn after_an_unclean_end_the_next_epoch_starts_at_the_ceiling() {
    let medium = MemoryMedium::new();
    let mut bones = Bones::begin(open(&medium));
    bones.commit(b"one");
    let handed_out = bones.next;
    drop(bones);
    let mut bones = Bones::begin(open(&medium));
    assert!(bones.next > handed_out);
    let skipped = Oid::new(Stream(0), handed_out.plus_bytes(128)).unwrap();
    bones.commit(b"two");
    assert_eq!(
        bones.log.read(skipped).wait().unwrap(),
        None,
        "a stated gap is proof of absence"
    );
}

#[test]
fn an_older_writer_is_fenced_and_the_same_batch_again_is_a_no_op() {
    let medium = MemoryMedium::new();
    let log = open(&medium);
    let mut old = Bones::begin(log.clone());
    old.commit(b"one");
    let (batch, _) = old.batch(b"two", false);
    log.store(old.epoch, batch.clone()).wait().unwrap();
    log.store(old.epoch, batch.clone()).wait().unwrap();
    let (other, _) = old.batch(b"other bytes", false);
    assert_eq!(
        log.store(old.epoch, other).wait().unwrap_err().kind(),
        ErrorKind::Invalid
    );
    old.take(&batch);
    let mut new = Bones::begin(log.clone());
    let (late, _) = old.batch(b"late", false);
    assert_eq!(
        log.store(old.epoch, late).wait().unwrap_err().kind(),
        ErrorKind::Fenced
    );
    new.commit(b"three");
}

#[test]
fn above_the_tail_is_absent_and_another_stream_is_refused() {
    let medium = MemoryMedium::new();
    let mut bones = Bones::begin(open(&medium));
    let oid = bones.commit(b"one");
    let above = Oid::from_raw(oid.raw() + 1_000_000).unwrap();
    assert_eq!(bones.log.read(above).wait().unwrap(), None);
    let elsewhere = Oid::new(Stream(1), Position(64)).unwrap();
    assert_eq!(
        bones.log.read(elsewhere).wait().unwrap_err().kind(),
        ErrorKind::Invalid
    );
    let wrong = LogOptions {
        stream: Stream(4),
        ..options()
    };
    drop(bones);
    let error = Log::open("memory", Arc::new(medium), &Env::system(), wrong).unwrap_err();
    assert!(error.message().contains("holds stream b0"), "{error}");
}

#[test]
fn a_directory_that_is_not_ours_is_refused_untouched() {
    let medium = MemoryMedium::new();
    medium.create("letter.txt").unwrap();
    let error = Log::open(
        "memory",
        Arc::new(medium.clone()),
        &Env::system(),
        options(),
    )
    .unwrap_err();
    assert!(error.message().contains("letter.txt"), "{error}");
    assert_eq!(medium.list().unwrap(), ["letter.txt"]);
}

/// A log of a few commits whose frames vouch for all but the last, as bytes by name.
fn small_log() -> (MemoryMedium, Vec<(Oid, Vec<u8>)>) {
    let medium = MemoryMedium::new();
    let mut bones = Bones::begin(open(&medium));
    let stored = (0..4_u8)
        .map(|n| {
            let body = vec![n; 40];
            (bones.commit(&body), body)
        })
        .collect();
    (medium, stored)
}

fn damaged(medium: &MemoryMedium, name: &str, bytes: &[u8]) -> MemoryMedium {
    let copy = MemoryMedium::new();
    for other in medium.list().unwrap() {
        let file = medium.open(&other, false).unwrap();
        let same = file.read_at(0, 1 << 20).unwrap();
        let bytes = if other == name { bytes } else { &same[..] };
        copy.create(&other).unwrap().write_at(0, &[bytes]).unwrap();
    }
    copy
}

/// Opens, recovers and reads everything: right bytes or an error, never wrong bytes, never a panic.
fn survives(medium: &MemoryMedium, stored: &[(Oid, Vec<u8>)], what: &str) {
    let Ok(log) = Log::open(
        "memory",
        Arc::new(medium.clone()),
        &Env::system(),
        options(),
    ) else {
        return;
    };
    for (oid, body) in stored {
        if let Ok(Some(record)) = log.read(*oid).wait() {
            assert_eq!(record.body(), &body[..], "{what}");
        }
    }
    let _ = log.fence(Epoch { number: 90, tag: 1 }).wait();
    let _ = log.scan(Stream(0), Position::START).wait();
    let _ = log.root(RootAt::Newest).wait();
}

#[test]
fn a_log_cut_at_any_byte_or_with_any_bit_flipped_never_gives_wrong_bytes() {
    let (medium, stored) = small_log();
    for name in medium.list().unwrap() {
        let file = medium.open(&name, false).unwrap();
        let bytes = file.read_at(0, 1 << 20).unwrap();
        // The zeros behind the header of a segment hold nothing.
        let interesting = (0..bytes.len()).filter(|at| !(140..4096).contains(at));
        for at in interesting {
            survives(
                &damaged(&medium, &name, &bytes[..at]),
                &stored,
                &format!("{name} cut at {at}"),
            );
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << (at % 8);
            survives(
                &damaged(&medium, &name, &flipped),
                &stored,
                &format!("{name} flip at {at}"),
            );
        }
    }
}

#[test]
fn history_is_found_by_sequence_and_time() {
    let (medium, _) = small_log();
    let bones = Bones::begin(open(&medium));
    let (_, newest) = bones.log.root(RootAt::Newest).wait().unwrap().unwrap();
    assert_eq!(newest.sequence, 4);
    // These markers carry no links, so nothing older is reachable from the newest.
    assert!(
        bones
            .log
            .root(RootAt::Sequence(2))
            .wait()
            .unwrap()
            .is_none()
    );
    assert!(bones.log.root(RootAt::Time(45)).wait().unwrap().is_some());
}

#[test]
fn a_ring_brings_what_memory_lacks_and_says_what_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let open = |read| {
        let medium = crate::medium::file::FileMedium::new(directory.path(), 4096);
        let options = LogOptions { read, ..options() };
        Log::open("file", Arc::new(medium), &Env::system(), options).unwrap()
    };
    let mut bones = Bones::begin(open(ReadBy::Copy));
    // Shorter than the first read, and longer: both ways of bringing a record.
    let bodies: Vec<_> = (0..40_usize).map(|n| vec![n as u8; n * 397]).collect();
    let oids: Vec<_> = bodies.iter().map(|body| bones.commit(body)).collect();
    let inside = Oid::new(Stream(0), oids[20].position().plus_bytes(8)).unwrap();
    bones.log.close().wait().unwrap();
    drop(bones);
    let mut pending = 0;
    for _ in 0..3 {
        let log = open(ReadBy::Ring);
        // Clean pages that nobody maps are forgotten when asked; on a file system in memory they stay.
        for (header, _) in log.segment_headers().unwrap() {
            let name = format::segment_name(header.base);
            let file = rustix::fs::open(
                directory.path().join(name),
                rustix::fs::OFlags::RDONLY,
                rustix::fs::Mode::empty(),
            );
            rustix::fs::fadvise(file.unwrap(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        let ops: Vec<_> = oids.iter().map(|oid| log.read(*oid)).collect();
        pending += ops.iter().filter(|op| !op.is_ready()).count();
        for (op, body) in ops.into_iter().zip(&bodies) {
            assert_eq!(op.wait().unwrap().unwrap().body(), &body[..]);
        }
        assert!(log.read(inside).wait().is_err());
    }
    println!("{pending} of 120 reads were pending");
}

#[test]
fn mapped_reads_give_what_copied_reads_give_and_refuse_what_is_no_record() {
    use crate::medium::file::FileMedium;
    let directory = tempfile::tempdir().unwrap();
    let open = |read| {
        let medium = Arc::new(FileMedium::new(directory.path(), 4096));
        Log::open(
            "file",
            medium,
            &Env::system(),
            LogOptions { read, ..options() },
        )
        .unwrap()
    };
    let mut bones = Bones::begin(open(ReadBy::Map));
    let stored: Vec<_> = (0..60_u32)
        .map(|n| {
            let body = vec![n as u8; (n * 97) as usize];
            (bones.commit(&body), body)
        })
        .collect();
    for (oid, body) in &stored {
        for _ in 0..2 {
            assert_eq!(
                bones.log.read(*oid).wait().unwrap().unwrap().body(),
                &body[..]
            );
        }
    }
    for (oid, body) in stored.iter().filter(|(_, body)| body.len() > 1100) {
        let inside = Oid::from_raw(oid.raw() + 4).unwrap();
        assert!(
            bones.log.read(inside).wait().is_err(),
            "inside {oid} of {} bytes",
            body.len()
        );
    }
    bones.log.close().wait().unwrap();
    drop(bones);
    let log = open(ReadBy::Copy);
    for (oid, body) in &stored {
        assert_eq!(log.read(*oid).wait().unwrap().unwrap().body(), &body[..]);
    }
}
