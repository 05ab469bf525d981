//! What the runs found, each as the shortest story that shows it: the engine on a log on a
//! simulated disk.

use std::sync::Arc;

use super::bottoms::TwoLogs;
use crate::conformance::env::SimEnv;
use crate::conformance::sim::{NameRule, Plan, SimDisk};
use crate::contract::{ErrorKind, Kind, Level, Name, NewRecord, Result, Stream};
use crate::front::{Change, Engine, Hint, Options};
use crate::log::{Log, LogOptions};

pub(super) fn open_with(disk: &SimDisk, log: LogOptions, options: Options) -> Result<Engine> {
    let env = SimEnv::new(1);
    let log = Log::open("file", Arc::new(disk.medium()), env.env(), log)?;
    Engine::open(Arc::new(log), env.env(), options)
}

pub(super) fn small() -> LogOptions {
    LogOptions {
        segment: 64 << 10,
        window: 1 << 20,
        ..LogOptions::default()
    }
}

fn open(disk: &SimDisk) -> Engine {
    open_with(disk, small(), Options::default()).unwrap()
}

pub(super) fn put(engine: &Engine, name: &str, body: &[u8]) -> Result<()> {
    let session = engine.session()?;
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[body],
    };
    let stored = session.store(&record, Hint::default())?;
    let change = Change::set(Name::new(name)?, stored);
    session.commit(&[change], None).wait().map(drop)
}

pub(super) fn get(engine: &Engine, name: &str) -> Option<Vec<u8>> {
    let snapshot = engine.snapshot();
    let record = snapshot.read_root(&Name::new(name).unwrap()).unwrap()?;
    Some(record.body().to_vec())
}

#[test]
fn recovery_may_write_to_a_segment_that_it_has_looked_at() {
    let disk = SimDisk::new(1, Plan::calm());
    let engine = open(&disk);
    put(&engine, "a", b"one").unwrap();
    disk.kill();
    // The tail is not known durable, so it is rewritten: through a handle that may write.
    let engine = open(&disk);
    assert_eq!(get(&engine, "a").unwrap(), b"one");
    put(&engine, "a", b"two").unwrap();
}

#[test]
fn an_engine_goes_on_in_a_log_that_was_closed_cleanly() {
    let disk = SimDisk::new(1, Plan::calm());
    let engine = open(&disk);
    put(&engine, "a", b"one").unwrap();
    engine.close().unwrap();
    disk.power_cut();
    let engine = open(&disk);
    put(&engine, "a", b"two").unwrap();
    disk.power_cut();
    assert_eq!(get(&open(&disk), "a").unwrap(), b"two");
}

#[test]
fn a_record_longer_than_a_segment_has_room() {
    let disk = SimDisk::new(1, Plan::calm());
    let engine = open(&disk);
    let body = vec![7; 300_000];
    put(&engine, "a", &body).unwrap();
    disk.power_cut();
    assert_eq!(get(&open(&disk), "a").unwrap(), body);
}

#[test]
fn the_last_commit_before_a_new_segment_is_not_forgotten() {
    for calls in 1..20 {
        let disk = SimDisk::new(calls, Plan::calm());
        let engine = open(&disk);
        put(&engine, "a", &[1; 60_000]).unwrap();
        // This one does not fit any more: a segment begins, and what is in it may be lost.
        disk.crash_in(calls);
        let _ = put(&engine, "a", &[2; 30_000]);
        disk.kill();
        for _ in 0..2 {
            let engine = open(&disk);
            assert!(get(&engine, "a").is_some(), "crash at call {calls}");
            disk.power_cut();
        }
    }
}

#[test]
fn a_close_after_a_commit_below_the_disk_writes_into_no_durable_unit() {
    let disk = SimDisk::new(1, Plan::calm());
    let options = Options {
        flush_bytes: 1 << 10,
        ..Options::default()
    };
    let engine = open_with(&disk, small(), options).unwrap();
    put(&engine, "a", b"one").unwrap();
    let session = engine.session().unwrap();
    let store = |length: usize| {
        let body = vec![3; length];
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        session.store(&record, Hint::default()).unwrap()
    };
    let change = Change::set(Name::new("a").unwrap(), store(100));
    session.commit(&[change], Some(Level::Os)).wait().unwrap();
    // Sent on its own, because it is long; the batch after it begins where it ends.
    store(4_000);
    engine.close().unwrap();
    disk.power_cut();
    assert_eq!(get(&open(&disk), "a").unwrap(), vec![3; 100]);
}

#[test]
fn a_full_disk_keeps_no_driver_busy() {
    let disk = SimDisk::new(1, Plan::calm());
    let options = Options {
        flush_bytes: 1 << 10,
        ..Options::default()
    };
    let engine = open_with(&disk, small(), options).unwrap();
    put(&engine, "a", b"one").unwrap();
    disk.set_capacity(Some(disk.used()));
    let mut refused = None;
    for _ in 0..20_000 {
        if let Err(error) = put(&engine, "a", &[4; 60_000]) {
            refused = Some(error.kind());
            break;
        }
    }
    assert_eq!(refused, Some(ErrorKind::Full));
    let before = disk.tally().calls;
    assert!(get(&engine, "a").is_some());
    assert!(disk.tally().calls < before + 100);
    disk.set_capacity(None);
    put(&engine, "a", b"two").unwrap();
}

#[test]
fn what_has_room_below_the_ceiling_is_never_refused_at_the_commit() {
    for room in (0..400).map(|step| step * 1_000) {
        let disk = SimDisk::new(1, Plan::calm());
        let engine = open(&disk);
        put(&engine, "a", b"one").unwrap();
        disk.set_capacity(Some(disk.used() + room));
        for length in [60_000, 100, 70_000, 100, 70_000, 100] {
            match put(&engine, "a", &vec![5; length]) {
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::Full, "{error}"),
            }
        }
    }
}

/// A story ends in a power cut in each of many ways; says whether the log opens after each, twice.
fn survives_all_cuts(disk: &SimDisk, wanted: &[u8]) {
    for seed in 0..60 {
        let image = disk.image(seed);
        image.power_cut();
        for _ in 0..2 {
            let engine = open(&image);
            let found = get(&engine, "a");
            assert_eq!(found.as_deref(), Some(wanted), "image {seed}");
            put(&engine, "b", b"more").unwrap();
            image.power_cut();
        }
    }
}

#[test]
fn a_clean_end_that_outlived_what_it_ends_is_none() {
    let plan = Plan {
        sector: 512,
        persist: 500,
        persist_length: 1000,
        ..Plan::calm()
    };
    // The close writes, and dies before, at or after each of its syncs.
    for calls in 1..6 {
        let disk = SimDisk::new(calls, plan.clone());
        let engine = open(&disk);
        put(&engine, "a", b"one").unwrap();
        engine.prove().unwrap();
        disk.crash_in(calls);
        let _ = engine.close();
        survives_all_cuts(&disk, b"one");
    }
}

#[test]
fn a_lost_segment_header_among_unsynced_ones_does_not_lock_the_log() {
    let plan = Plan {
        persist: 500,
        persist_name: 1000,
        persist_length: 500,
        ..Plan::calm()
    };
    let disk = SimDisk::new(1, plan);
    let options = Options {
        flush_bytes: 1 << 10,
        ..Options::default()
    };
    let engine = open_with(&disk, small(), options).unwrap();
    put(&engine, "a", b"one").unwrap();
    let session = engine.session().unwrap();
    for _ in 0..5 {
        let body = vec![6; 50_000];
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        session.store(&record, Hint::default()).unwrap();
    }
    survives_all_cuts(&disk, b"one");
}

#[test]
fn a_new_log_opens_again_wherever_its_making_stopped() {
    for names in [NameRule::Strict, NameRule::Journalled] {
        for calls in 1..30 {
            let plan = Plan {
                names,
                persist: 1000,
                persist_name: 500,
                ..Plan::calm()
            };
            let disk = SimDisk::new(calls, plan);
            disk.crash_in(calls);
            let log = Log::open(
                "file",
                Arc::new(disk.medium()),
                SimEnv::new(1).env(),
                small(),
            );
            drop(log);
            disk.kill();
            disk.crash_in(calls);
            let again = open_with(&disk, small(), Options::default());
            let _ = again.and_then(|engine| put(&engine, "a", b"one"));
            for seed in 0..20 {
                let image = disk.image(seed);
                image.power_cut();
                put(&open(&image), "a", b"two").unwrap();
            }
        }
    }
}

#[test]
fn a_clean_end_whose_sync_failed_counts_for_nothing() {
    // Whichever sync of the close fails, the pages stay and count as clean.
    for healthy in 0..4 {
        let disk = SimDisk::new(1, Plan::calm());
        let engine = open(&disk);
        put(&engine, "a", b"one").unwrap();
        disk.fail_sync_after(healthy);
        let _ = engine.close();
        disk.quiet();
        disk.kill();
        let engine = open(&disk);
        put(&engine, "a", b"two").unwrap();
        disk.power_cut();
        let engine = open(&disk);
        assert_eq!(
            get(&engine, "a").unwrap(),
            b"two",
            "{healthy} syncs succeeded"
        );
    }
}

#[test]
fn room_that_came_back_is_found_though_a_small_spare_was_kept() {
    for room in (0..300).map(|step| step * 1_000) {
        let disk = SimDisk::new(1, Plan::calm());
        let engine = open(&disk);
        put(&engine, "a", b"one").unwrap();
        disk.set_capacity(Some(disk.used() + room));
        for _ in 0..4 {
            let _ = put(&engine, "a", &[8; 50_000]);
        }
        disk.set_capacity(None);
        put(&engine, "a", &[9; 200_000]).unwrap();
    }
}

fn open_two(disk: &SimDisk, options: Options) -> Engine {
    let env = SimEnv::new(1);
    let log = |name, stream| {
        let medium = Arc::new(disk.medium().within(name));
        let options = LogOptions { stream, ..small() };
        Log::open("file", medium, env.env(), options).unwrap()
    };
    let logs = TwoLogs([log("root", Stream(0)), log("other", Stream(1))]);
    Engine::open(Arc::new(logs), env.env(), options).unwrap()
}

#[test]
fn a_stream_without_markers_opens_again_after_it_began_a_segment() {
    let disk = SimDisk::new(1, Plan::calm());
    let engine = open_two(&disk, Options::default());
    for _ in 0..10 {
        put(&engine, "a", &[1; 30_000]).unwrap();
    }
    disk.kill();
    let engine = open_two(&disk, Options::default());
    assert_eq!(get(&engine, "a").unwrap(), [1; 30_000]);
    put(&engine, "a", b"two").unwrap();
}

#[test]
fn a_stream_that_a_commit_brought_nothing_goes_on_in_a_new_unit() {
    let disk = SimDisk::new(1, Plan::calm());
    let options = Options {
        flush_bytes: 1 << 10,
        ..Options::default()
    };
    let engine = open_two(&disk, options);
    for _ in 0..3 {
        let session = engine.session().unwrap();
        let mut stored = Vec::new();
        // In turn: short ones to the root stream, long ones, sent at once, to the other.
        for length in [100, 4_000] {
            let body = vec![3; length];
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&body],
            };
            stored.push(session.store(&record, Hint::default()).unwrap());
        }
        let change = Change::set(Name::new("a").unwrap(), stored[1]);
        session.commit(&[change], None).wait().unwrap();
    }
    disk.power_cut();
    assert_eq!(
        get(&open_two(&disk, Options::default()), "a")
            .unwrap()
            .len(),
        4_000
    );
}

#[test]
fn an_engine_that_finds_another_at_work_gives_up_and_leaves_it_alone() {
    for seed in 0..10 {
        let disk = SimDisk::new(1, Plan::calm());
        let env = SimEnv::new(seed);
        let log = Log::open("file", Arc::new(disk.medium()), env.env(), small()).unwrap();
        let open = || Engine::open(Arc::new(log.clone()), env.env(), Options::default()).unwrap();
        let (first, second) = (open(), open());
        put(&first, "a", b"one").unwrap();
        let refused = put(&second, "a", b"two").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Fenced, "{refused}");
        put(&first, "a", b"three").unwrap();
    }
}
