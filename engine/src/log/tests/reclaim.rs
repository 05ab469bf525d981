//! What a reclaim frees, what it keeps, and what of that every crash leaves.

use super::*;
use crate::conformance::env::SimEnv;
use crate::conformance::rng::Rng;
use crate::conformance::sim::{Fault, Plan, SimDisk};
use crate::contract::{PartState, Reclaim, Sparse};
use crate::log::format::segment_name;
use crate::log::segment::offset_in;

/// A log of a few small segments on a simulated disk, and all that was stored in it.
struct World {
    disk: SimDisk,
    sim: SimEnv,
    bones: Bones,
    all: Vec<(Oid, Record)>,
}

fn options_by(read: ReadBy) -> LogOptions {
    LogOptions { read, ..options() }
}

fn open_by(disk: &SimDisk, sim: &SimEnv, read: ReadBy) -> Result<Log> {
    Log::open("file", Arc::new(disk.medium()), sim.env(), options_by(read))
}

fn reader_on(disk: &SimDisk, sim: &SimEnv, read: ReadBy) -> Log {
    let options = LogOptions {
        read_only: true,
        ..options_by(read)
    };
    Log::open("file", Arc::new(disk.medium()), sim.env(), options).unwrap()
}

/// Every record that a scan tells of.
fn scan_all(log: &Log) -> Vec<(Oid, Record)> {
    let (mut all, mut from) = (Vec::new(), Position::START);
    loop {
        let some = log.scan(Stream(0), from).wait().unwrap();
        for batch in &some.batches {
            all.extend(batch.records());
        }
        all.extend(some.sparse.into_iter().flat_map(|left| left.records));
        match some.next {
            Some(next) => {
                assert!(next > from);
                from = next;
            }
            None => break,
        }
    }
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    all
}

impl World {
    fn new(seed: u64, plan: Plan, commits: usize) -> Self {
        let disk = SimDisk::new(seed, plan);
        let sim = SimEnv::new(seed);
        let mut bones = Bones::begin(open_by(&disk, &sim, ReadBy::Map).unwrap());
        let mut rng = Rng::new(seed);
        for _ in 0..commits {
            let length = rng.below_usize(9_000);
            bones.commit(&rng.bytes(length));
        }
        let all = scan_all(&bones.log);
        Self {
            disk,
            sim,
            bones,
            all,
        }
    }

    /// A decision over the whole log that keeps what the chance says, or all that it says of.
    fn decision(&self, keep: impl Fn(usize) -> bool) -> Reclaim {
        let alive = self.all.iter().enumerate();
        let alive = alive.filter(|(index, _)| keep(*index));
        Reclaim {
            sender: self.bones.epoch,
            stream: Stream(0),
            from: Position::START,
            to: self.bones.before.position,
            alive: alive.map(|(_, (oid, _))| oid.position()).collect(),
            left: None,
        }
    }

    /// Whether all that stays reads as it was, and of the rest each is so or absent. Answers how much
    /// is absent.
    fn check(&self, log: &Log, decision: &Reclaim) -> usize {
        let mut absent = 0;
        for (oid, record) in &self.all {
            let found = log.read(*oid).wait();
            let found = found.unwrap_or_else(|error| panic!("{oid}: {error}"));
            match found {
                Some(found) => assert!(found.encoded() == record.encoded(), "{oid}"),
                None => {
                    assert!(!decision.alive.contains(&oid.position()), "{oid} must stay");
                    absent += 1;
                }
            }
        }
        absent
    }

    fn names(&self) -> Vec<String> {
        self.disk.medium().list().unwrap()
    }
}

fn maps(map: bool) -> Plan {
    Plan {
        map,
        ..Plan::calm()
    }
}

#[test]
fn what_does_not_stay_is_absent_and_all_else_reads_on() {
    for (seed, read) in [ReadBy::Map, ReadBy::Copy].into_iter().enumerate() {
        let mut world = World::new(seed as u64, maps(true), 120);
        world.bones.log = {
            world.bones.log.close().wait().unwrap();
            open_by(&world.disk, &world.sim, read).unwrap()
        };
        world.bones = Bones::begin(world.bones.log.clone());
        let reader = reader_on(&world.disk, &world.sim, read);
        let before = world.bones.log.status().parts;
        let used = world.disk.used();
        let decision = world.decision(|index| index % 7 == 0);
        let freed = world.bones.log.reclaim(decision.clone()).wait().unwrap();
        assert!(freed.bytes > 5 * freed.kept / 4, "{freed:?}");
        assert!(world.disk.used() + freed.bytes <= used + 8192);
        let absent = world.check(&world.bones.log, &decision);
        assert!(
            absent > world.all.len() / 2,
            "{absent} of {}",
            world.all.len()
        );
        // Who looked before looks where it lies now.
        assert_eq!(world.check(&reader, &decision), absent);
        let parts = world.bones.log.status().parts;
        assert!(parts.len() < before.len());
        let first = &parts[0];
        assert_eq!((first.begins, first.state), (Some(0), PartState::Synced));
        assert!(first.bytes.unwrap() < (first.ends.unwrap() - first.begins.unwrap()) * 8);
        for pair in parts.windows(2) {
            assert!(
                pair[1]
                    .begins
                    .is_none_or(|begins| pair[0].ends.unwrap() <= begins)
            );
        }

        // The same again is nothing, and more is more.
        let again = world.bones.log.reclaim(decision.clone()).wait().unwrap();
        assert_eq!(again.bytes, 0);
        world.bones.commit(b"it goes on");
        let less = world.decision(|index| index % 21 == 0);
        let more = world.bones.log.reclaim(less.clone()).wait().unwrap();
        assert!(
            more.bytes > 0 && more.kept < freed.kept,
            "{freed:?} {more:?}"
        );
        assert!(world.check(&world.bones.log, &less) > absent);
        // What is gone cannot stay.
        let error = world.bones.log.reclaim(decision).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let nothing = world.decision(|_| false);
        world.bones.log.reclaim(nothing.clone()).wait().unwrap();
        let left = world.check(&world.bones.log, &nothing);

        // It is all the same to who opens it next, however this ended.
        for crash in [false, true] {
            if crash {
                world.disk.power_cut();
            } else {
                world.bones.log.close().wait().unwrap();
            }
            let log = open_by(&world.disk, &world.sim, read).unwrap();
            assert_eq!(world.check(&log, &nothing), left);
            assert_eq!(scan_all(&log).len(), world.all.len() - left + 2);
            world.bones = Bones::begin(log);
            world.check(&world.bones.log, &nothing);
            assert!(world.bones.log.damage().is_none());
        }
    }
}

#[test]
fn a_decision_in_runs_frees_what_the_whole_of_it_frees() {
    let whole = World::new(9, maps(true), 120);
    let decision = whole.decision(|index| index % 7 == 0);
    let freed = whole.bones.log.reclaim(decision.clone()).wait().unwrap();
    assert!(freed.to < decision.to, "the open segment is left");
    let world = World::new(9, maps(true), 120);
    let (mut from, mut most, mut bytes) = (Position::START, 1, 0);
    while from < decision.to {
        let rest = decision.alive_in(from, decision.to);
        let to = rest.get(most).copied().unwrap_or(decision.to);
        let run = Reclaim {
            sender: world.bones.epoch,
            ..decision.within(from, to)
        };
        let freed = world.bones.log.reclaim(run).wait().unwrap();
        assert!(from <= freed.to && freed.to <= to);
        let segments = world.bones.log.segment_headers().unwrap();
        let known = |at| {
            segments
                .iter()
                .any(|(header, _)| header.before.position == at)
        };
        assert!(freed.to == from || known(freed.to), "{}", freed.to);
        bytes += freed.bytes;
        most += usize::from(freed.to == from);
        from = match to == decision.to {
            true => to,
            false => freed.to,
        };
    }
    assert!(bytes > freed.bytes / 2, "{bytes} of {}", freed.bytes);
    // It is the same records that are left.
    let left = |world: &World| {
        let log = &world.bones.log;
        let oids = scan_all(log).into_iter().map(|(oid, _)| oid);
        oids.filter(|oid| oid.position() < freed.to)
            .collect::<Vec<_>>()
    };
    world.check(&world.bones.log, &decision);
    let kept = whole.all.len() / 7;
    assert!(left(&world).len() < 3 * kept && left(&whole).len() < 3 * kept);
}

#[test]
fn a_run_is_taken_over_piece_by_piece_and_nothing_of_it_is_there_before_the_last() {
    let world = World::new(3, maps(false), 150);
    let decision = world.decision(|index| index % 3 == 0);
    world.bones.log.reclaim(decision).wait().unwrap();
    let some = world.bones.log.scan(Stream(0), Position::START);
    let left = some.wait().unwrap().sparse.unwrap();
    let third = left.records.len() / 3;
    assert!(third > 3 && left.after.is_some());
    let at = |index: usize| left.records[index].0.position();
    let cuts = [left.from, at(third), at(2 * third), left.to];
    let piece = |number: usize| {
        let (from, to) = (cuts[number], cuts[number + 1]);
        let records = left.records.iter();
        let records = records.filter(|(oid, _)| (from..to).contains(&oid.position()));
        Sparse {
            from,
            to,
            before: left.before.filter(|_| number == 0),
            records: records.cloned().collect(),
            after: left.after.filter(|_| number == 2),
        }
    };
    let disk = SimDisk::new(7, maps(false));
    let sim = SimEnv::new(7);
    let mut bones = Bones::begin(open_by(&disk, &sim, ReadBy::Map).unwrap());
    let take = |bones: &Bones, number| {
        let piece = piece(number);
        let decision = Reclaim {
            sender: bones.epoch,
            stream: Stream(0),
            from: piece.from,
            to: piece.to,
            alive: Arc::default(),
            left: Some(Arc::new(piece)),
        };
        bones
            .log
            .reclaim(decision)
            .wait()
            .map(drop)
            .map_err(|error| error.kind())
    };
    let end = |bones: &Bones| Position(bones.log.status().streams[0].end);
    for round in 0..4 {
        // What comes first is not there, or was brought by an older one, or a crash took it.
        assert_eq!(take(&bones, 1), Err(ErrorKind::Invalid));
        assert_eq!(take(&bones, 0), Ok(()));
        assert_eq!(take(&bones, 2), Err(ErrorKind::Invalid));
        assert_eq!(take(&bones, 1), Err(ErrorKind::Invalid));
        // Each may be sent again.
        for number in [0, 0, 1, 1] {
            assert_eq!(take(&bones, number), Ok(()));
        }
        assert_eq!(end(&bones), Position::START);
        match round {
            0 => disk.power_cut(),
            1 => disk.kill(),
            2 => drop(bones.log.close().wait()),
            _ => break,
        }
        bones = Bones::begin(open_by(&disk, &sim, ReadBy::Map).unwrap());
    }
    for _ in 0..2 {
        assert_eq!(take(&bones, 2), Ok(()));
        assert_eq!(end(&bones), left.to);
    }
    disk.power_cut();
    let log = open_by(&disk, &sim, ReadBy::Map).unwrap();
    assert_eq!(scan_all(&log).len(), left.records.len());
    for (oid, record) in &left.records {
        let found = log.read(*oid).wait().unwrap().unwrap();
        assert!(found.encoded() == record.encoded(), "{oid}");
    }
    assert!(
        disk.medium()
            .list()
            .unwrap()
            .iter()
            .all(|name| !name.ends_with(".new"))
    );
}

#[test]
fn a_damaged_record_that_stays_is_told_and_keeps_its_own_segments_only() {
    for header in [false, true] {
        let mut world = World::new(5, maps(true), 120);
        let decision = world.decision(|index| index % 7 == 0);
        let (oid, record) = &world.all[7];
        let segments = world.bones.log.segment_headers().unwrap();
        let after = segments.partition_point(|(header, _)| header.base <= oid.position());
        let base = segments[after - 1].0.base;
        world.bones.log.close().wait().unwrap();
        // Its length, or a byte of its body.
        let inside = if header {
            3
        } else {
            record.encoded().len() / 2
        };
        let name = segment_name(base);
        let files = world.disk.files();
        let (_, whole) = files.iter().find(|(known, _)| *known == name).unwrap();
        let mut bytes = whole.to_vec();
        bytes[offset_in(base, oid.position()) as usize + inside] ^= 0x55;
        world.disk.replace(&name, &bytes);
        world.bones = Bones::begin(open_by(&world.disk, &world.sim, ReadBy::Map).unwrap());
        let decision = Reclaim {
            sender: world.bones.epoch,
            ..decision
        };
        let used = world.disk.used();
        let told = world.bones.log.reclaim(decision.clone()).wait();
        assert_eq!(told.unwrap_err().kind(), ErrorKind::Corrupt, "{header}");
        assert!(world.disk.used() < used / 2, "header: {header}");
        for (other, record) in world.all.iter().filter(|(other, _)| other != oid) {
            if decision.alive.contains(&other.position()) {
                let found = world.bones.log.read(*other).wait().unwrap();
                assert!(found.unwrap().encoded() == record.encoded(), "{other}");
            }
        }
    }
}

#[test]
fn a_scan_gives_what_is_left_in_its_order_from_anywhere() {
    let world = World::new(3, maps(false), 150);
    let log = &world.bones.log;
    let decision = world.decision(|index| index % 3 == 0);
    log.reclaim(decision.clone()).wait().unwrap();
    let left = scan_all(log);
    let absent = world.check(log, &decision);
    assert_eq!(left.len() + absent, world.all.len());
    for (oid, _) in world.all.iter().step_by(5) {
        let some = log.scan(Stream(0), oid.position()).wait().unwrap();
        let Some(Sparse { from, records, .. }) = some.sparse.filter(|_| some.batches.is_empty())
        else {
            continue;
        };
        assert!(from >= oid.position());
        let first = left.iter().find(|(at, _)| at >= oid).unwrap();
        assert_eq!(records.first().map(|(at, _)| at), Some(&first.0));
    }
    // What stands behind it follows on what it says of itself.
    let some = log.scan(Stream(0), Position::START).wait().unwrap();
    let after = some.sparse.unwrap().after.unwrap();
    let mut rest = log.scan(Stream(0), some.next.unwrap()).wait().unwrap();
    while rest.batches.is_empty() {
        rest = log.scan(Stream(0), rest.next.unwrap()).wait().unwrap();
    }
    assert!(rest.batches[0].header().before_end >= after.position);
}

#[test]
fn a_crash_at_any_call_of_a_reclaim_loses_nothing_that_stays() {
    for (seed, persist) in [0, 500, 1000].into_iter().enumerate() {
        let plan = Plan {
            persist,
            persist_name: persist,
            persist_length: persist,
            ..Plan::calm()
        };
        let world = World::new(seed as u64, plan, 60);
        let decision = world.decision(|index| index % 5 == 0);
        let mut done = 0;
        for call in 1.. {
            let disk = world.disk.image(call);
            let log = {
                // The process that wrote is gone: this one takes over, and reclaims.
                disk.kill();
                open_by(&disk, &world.sim, ReadBy::Map).unwrap()
            };
            let bones = Bones::begin(log);
            let decision = Reclaim {
                sender: bones.epoch,
                ..decision.clone()
            };
            disk.crash_in(call);
            let _ = bones.log.reclaim(decision.clone()).wait();
            let crashed = disk.is_down();
            disk.crash_never();
            drop(bones);
            if call % 2 == 0 {
                disk.kill();
            } else {
                disk.power_cut();
            }
            let log = open_by(&disk, &world.sim, ReadBy::Map).unwrap();
            world.check(&log, &decision);
            let mut bones = Bones::begin(log);
            world.check(&bones.log, &decision);
            bones.commit(b"it goes on");
            let again = Reclaim {
                sender: bones.epoch,
                ..decision.clone()
            };
            bones.log.reclaim(again).wait().unwrap();
            let absent = world.check(&bones.log, &decision);
            assert!(absent > world.all.len() / 2, "call {call}: {absent}");
            let names = disk.medium().list().unwrap();
            assert!(
                !names.iter().any(|name| name.ends_with(".new")),
                "{names:?}"
            );
            let (_, covered) = bones.log.0.files.listed().unwrap();
            assert!(covered.is_empty(), "{covered:?}");
            if !crashed {
                break;
            }
            done = call;
        }
        assert!(done > 8, "a reclaim made {done} calls");
    }
}

#[test]
fn a_full_disk_frees_nothing_loses_nothing_and_goes_on_when_there_is_room() {
    let mut world = World::new(5, maps(false), 120);
    let decision = world.decision(|index| index % 2 == 0);
    let names = world.names();
    // Less than lies there: the room that is kept, lent to the reclaim, is of no use either.
    world.disk.set_capacity(Some(64 << 10));
    let error = world
        .bones
        .log
        .reclaim(decision.clone())
        .wait()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(world.names(), names);
    assert_eq!(world.check(&world.bones.log, &decision), 0);
    // Of a segment with nothing alive in it even a full disk gets room.
    world.disk.set_capacity(Some(world.disk.used() + 8192));
    let nothing = Reclaim {
        alive: Arc::default(),
        to: Position(20_000),
        ..decision.clone()
    };
    let freed = world.bones.log.reclaim(nothing.clone()).wait().unwrap();
    assert!(freed.bytes > 64 << 10, "{freed:?}");
    world.disk.set_capacity(None);
    let from = nothing.to;
    let rest = Reclaim {
        from,
        alive: decision.alive_in(from, decision.to).into(),
        ..decision
    };
    assert!(world.bones.log.reclaim(rest).wait().unwrap().bytes > 0);
    world.bones.commit(b"it goes on");
}

#[test]
fn failures_of_the_disk_lose_nothing_that_stays() {
    let faults = [
        Fault::WriteError,
        Fault::PartialWrite,
        Fault::SyncDropped,
        Fault::SyncKept,
        Fault::DirSyncError,
        Fault::NameError,
        Fault::FullWrite,
        Fault::FullSync,
        Fault::ReadError,
    ];
    for (seed, fault) in (0..6).flat_map(|seed| faults.map(|fault| (seed, fault))) {
        let world = World::new(seed, maps(false), 60);
        let decision = world.decision(|index| index % 5 == 0);
        world.disk.set_plan(maps(false).with(fault, 200));
        let _ = world.bones.log.reclaim(decision.clone()).wait();
        world.disk.quiet();
        world.check(&world.bones.log, &decision);
        world.disk.power_cut();
        let log = open_by(&world.disk, &world.sim, ReadBy::Map).unwrap();
        world.check(&log, &decision);
        let bones = Bones::begin(log);
        let again = Reclaim {
            sender: bones.epoch,
            ..decision.clone()
        };
        bones.log.reclaim(again).wait().unwrap();
        assert!(world.check(&bones.log, &decision) > world.all.len() / 2);
    }
}

#[test]
fn any_flipped_bit_of_what_is_left_is_told_or_harms_nobody() {
    let world = World::new(7, maps(false), 40);
    let decision = world.decision(|index| index % 4 == 0);
    world.bones.log.reclaim(decision.clone()).wait().unwrap();
    let names = world.names();
    let name = names.iter().find(|name| name.starts_with("rec-")).unwrap();
    let files = world.disk.files();
    let (_, whole) = files.iter().find(|(known, _)| known == name).unwrap();
    let here = |oid: &Oid| {
        let (base, end) = format::segment_run(name).unwrap();
        (base..end.unwrap()).contains(&oid.position())
    };
    let mut rng = Rng::new(7);
    let mut told = 0;
    for round in 0..600 {
        // Every byte that is used of the header and of the index's first positions, and chance.
        let at = match round {
            0..160 => round,
            160..168 => whole.len() - 1 - (round - 160),
            _ => rng.below_usize(whole.len()),
        };
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1 << rng.below(8);
        world.disk.replace(name, &bytes);
        let reader = reader_on(&world.disk, &world.sim, ReadBy::Copy);
        let mut noticed = false;
        for (oid, record) in world.all.iter().filter(|(oid, _)| here(oid)) {
            match reader.read(*oid).wait() {
                // Zeros that fill a record up to eight bytes are under no checksum.
                Ok(Some(found)) => assert!(found.body() == record.body(), "byte {at}"),
                Ok(None) => assert!(!decision.alive.contains(&oid.position()), "byte {at}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    noticed = true;
                }
            }
        }
        let _ = reader.scan(Stream(0), Position::START).wait();
        told += u32::from(noticed);
    }
    assert!(told > 300, "{told}");
    // Cut anywhere, or much too long.
    for length in (0..whole.len()).step_by(509).chain([whole.len() + 4096]) {
        let mut bytes = whole.to_vec();
        bytes.resize(length, 0);
        world.disk.replace(name, &bytes);
        let reader = reader_on(&world.disk, &world.sim, ReadBy::Copy);
        let alive = world
            .all
            .iter()
            .find(|(oid, _)| decision.alive.contains(&oid.position()));
        let error = reader.read(alive.unwrap().0).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn a_decision_that_contradicts_itself_or_comes_too_late_changes_nothing() {
    let mut world = World::new(9, maps(false), 60);
    let decision = world.decision(|index| index % 2 == 0);
    let names = world.names();
    let mut backwards: Vec<_> = decision.alive.to_vec();
    backwards.reverse();
    let outside = [decision.to];
    for alive in [&backwards[..], &outside[..], &[Position(3), Position(3)]] {
        let wrong = Reclaim {
            alive: alive.into(),
            ..decision.clone()
        };
        let error = world.bones.log.reclaim(wrong).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    // No record begins there.
    let wrong = Reclaim {
        alive: [Position(decision.alive[0].0 + 1)].into(),
        ..decision.clone()
    };
    let error = world.bones.log.reclaim(wrong).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    // Elsewhere, or by somebody who was taken over.
    let wrong = Reclaim {
        stream: Stream(4),
        ..decision.clone()
    };
    let error = world.bones.log.reclaim(wrong).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let old = decision.sender;
    world.bones = Bones::begin(world.bones.log.clone());
    let late = Reclaim {
        sender: old,
        ..decision.clone()
    };
    let error = world.bones.log.reclaim(late).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(world.check(&world.bones.log, &decision), 0);
    let kept = |name: &&String| name.starts_with("seg-");
    let segments = world.names();
    assert!(
        names
            .iter()
            .filter(kept)
            .all(|name| segments.contains(name))
    );
}

#[test]
fn who_holds_an_old_file_reads_on_in_it() {
    for read in [ReadBy::Map, ReadBy::Copy] {
        let world = World::new(11, maps(true), 60);
        let log = &world.bones.log;
        let held = log.0.segments();
        let records: Vec<_> = (world.all.iter())
            .map(|(oid, _)| log.read(*oid).wait().unwrap().unwrap())
            .collect();
        let files: Vec<_> = held.iter().map(|segment| segment.file().unwrap()).collect();
        let decision = world.decision(|_| false);
        log.reclaim(decision).wait().unwrap();
        for (found, (_, record)) in records.iter().zip(&world.all) {
            assert!(found.encoded() == record.encoded());
        }
        for (segment, file) in held.iter().zip(&files) {
            assert!(
                file.len().unwrap() >= SEGMENT_HEADER,
                "{segment:?} {read:?}"
            );
        }
        assert_eq!(world.disk.violations(), Vec::<String>::new());
    }
}

/// A reclaim and a power cut at each of its calls, on a disk that keeps some of the names that were not
/// synced: whether anything that stays was lost.
#[cfg(planted)]
fn loses(bug: Option<crate::planted::Bug>) -> bool {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let bugs: Vec<_> = bug.into_iter().collect();
    let lost = |seed: u64| {
        let plan = Plan {
            persist_name: 500,
            ..Plan::calm()
        };
        let world = World::new(seed, plan, 40);
        let decision = world.decision(|index| index % 3 == 0);
        (1..25).any(|call| {
            let disk = world.disk.image(seed * 100 + call);
            disk.kill();
            let bones = Bones::begin(open_by(&disk, &world.sim, ReadBy::Copy).unwrap());
            let decision = Reclaim {
                sender: bones.epoch,
                ..decision.clone()
            };
            disk.crash_in(call);
            let _ = bones.log.reclaim(decision.clone()).wait();
            drop(bones);
            disk.power_cut();
            let check = || {
                let log = open_by(&disk, &world.sim, ReadBy::Copy).unwrap();
                world.check(&log, &decision);
            };
            catch_unwind(AssertUnwindSafe(check)).is_err()
        })
    };
    crate::planted::with(&bugs, || (0..10).any(lost))
}

#[cfg(planted)]
#[test]
fn planted_bugs_of_a_reclaim_are_found() {
    use crate::planted::Bug::{LastOfASegmentFreed, UnlinkedBeforeNamed};
    for bug in [UnlinkedBeforeNamed, LastOfASegmentFreed] {
        assert!(loses(Some(bug)), "{bug:?} was planted, and nobody saw it");
    }
    assert!(!loses(None));
}

#[test]
fn the_bytes_of_a_sparse_segment_are_golden_bytes() {
    let identity = Identity {
        store: [1; 16],
        medium: [2; 16],
        stream: Stream(3),
    };
    let common = SegmentHeader {
        base: Position(0x200),
        before: End {
            position: Position(0x1f0),
            running: 0x1111_2222_3333_4444,
        },
        epoch: Epoch { number: 5, tag: 6 },
        ceiling: Position(0x9000),
        durable: Position(0x4000),
        newest: Oid::new(Stream(3), Position(0x1e0)),
    };
    let (index, firsts) = sparse::index(
        &identity,
        common.base,
        [(Position(0x210), 4096), (Position(0x300), 4160)].into_iter(),
    );
    let header = format::SparseHeader {
        common,
        end: End {
            position: Position(0x4000),
            running: 0x5555_6666_7777_8888,
        },
        marker: Oid::new(Stream(3), Position(0x3ff0)),
        records: 2,
        index: 4200,
        firsts,
    };
    let bytes = header.encode(&identity);
    assert_eq!(
        format::SparseHeader::decode(&bytes, &identity).unwrap(),
        header
    );
    let text =
        |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    assert_eq!(text(&bytes[..160]), GOLDEN_HEADER);
    assert!(bytes[160..].iter().all(|byte| *byte == 0));
    assert_eq!(
        (index.len(), text(&index[..40])),
        (4104, GOLDEN_BLOCK.to_owned())
    );
    assert_eq!(text(&index[4096..]), "1002000000000000");
}

const GOLDEN_HEADER: &str = concat!(
    "5452415652454300b8873d870100000002020202020202020202020202020202",
    "0002000000000000f00100000000000044443333222211110600000000000000",
    "0500000000000000009000000000000000400000000000000300000000000000",
    "e00100000000030000400000000000008888777766665555f03f000000000300",
    "02000000000000006810000000000000f9b38a12000000000000000000000000",
);
const GOLDEN_BLOCK: &str =
    "e16bc74c020000001002000000000000001000000000000000030000000000004010000000000000";

#[test]
fn whatever_a_sparse_segment_says_of_itself_it_is_read_in_bounded_memory() {
    let world = World::new(13, maps(true), 40);
    let decision = world.decision(|index| index % 4 == 0);
    world.bones.log.reclaim(decision.clone()).wait().unwrap();
    let names = world.names();
    let name = names.iter().find(|name| name.starts_with("rec-")).unwrap();
    let files = world.disk.files();
    let (_, whole) = files.iter().find(|(known, _)| known == name).unwrap();
    let words = [
        0,
        1,
        7,
        254,
        4096,
        1 << 32,
        (1 << 40) + 8,
        1 << 62,
        u64::MAX,
    ];
    for (at, word) in (32..160)
        .step_by(8)
        .flat_map(|at| words.map(|word| (at, word)))
    {
        let mut bytes = whole.to_vec();
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        // The damage gets past the checksum.
        let crc = crc32fast::hash(&bytes[12..format::SPARSE_FIELDS]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        world.disk.replace(name, &bytes);
        for read in [ReadBy::Map, ReadBy::Copy] {
            let reader = reader_on(&world.disk, &world.sim, read);
            for (oid, record) in &world.all {
                if let Ok(Some(found)) = reader.read(*oid).wait() {
                    assert!(found.encoded() == record.encoded(), "{at} {word}");
                }
            }
            let _ = reader.scan(Stream(0), Position::START).wait();
            let _ = reader.fence(Epoch::default()).wait();
        }
    }
}
