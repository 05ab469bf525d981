//! What opening a log again costs: it must not depend on how much lies there.

use super::*;
use crate::conformance::env::SimEnv;
use crate::conformance::sim::{Plan, SimDisk, Tally};
use crate::front::{Change, Engine, Expect, Hint};

/// A log of so many segments, each filled by commits.
fn grown(disk: &SimDisk, env: &SimEnv, segments: u64) -> Engine {
    let engine = open_engine(disk, env);
    while engine.status().streams[0].segments < segments {
        commit(&engine);
    }
    // The last one is half full each time.
    for _ in 0..6 {
        commit(&engine);
    }
    engine
}

fn open_engine(disk: &SimDisk, env: &SimEnv) -> Engine {
    let log = Log::open("file", Arc::new(disk.medium()), env.env(), options()).unwrap();
    Engine::open(Arc::new(log), env.env(), crate::front::Options::default()).unwrap()
}

fn commit(engine: &Engine) {
    let session = engine.session().unwrap();
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[&[7; 3000]],
    };
    let reference = session.store(&record, Hint::default()).unwrap();
    let change = Change {
        name: Name::new("it").unwrap(),
        expect: Expect::Any,
        to: Some(reference),
    };
    session.commit(&[change], None).wait().unwrap();
}

/// Calls, reads, and bytes read by opening and by reading what the newest commit leads to.
fn opening(disk: &SimDisk, env: &SimEnv) -> [u64; 3] {
    let before = disk.tally();
    let engine = open_engine(disk, env);
    let newest = engine.snapshot().root(&Name::new("it").unwrap()).unwrap();
    let record = engine.read(newest.oid).wait().unwrap().unwrap();
    assert_eq!(record.body(), [7; 3000]);
    let after = disk.tally();
    let of: [fn(&Tally) -> u64; 3] = [|of| of.calls, |of| of.reads, |of| of.bytes_read];
    of.map(|of| of(&after) - of(&before))
}

#[test]
fn opening_after_a_clean_close_costs_the_same_however_many_segments_there_are() {
    let costs = [3, 30, 300].map(|segments| {
        let (disk, env) = (SimDisk::new(1, Plan::calm()), SimEnv::new(1));
        grown(&disk, &env, segments).close().unwrap();
        opening(&disk, &env)
    });
    println!("{costs:?}");
    assert_eq!((costs[0], costs[1]), (costs[1], costs[2]));
    let [calls, reads, bytes] = costs[0];
    assert!(calls <= 30 && reads <= 12 && bytes <= 32 << 10, "{costs:?}");
}

#[test]
fn opening_after_a_crash_costs_the_open_segment_however_many_there_are() {
    let costs = [3, 30, 300].map(|segments| {
        let (disk, env) = (SimDisk::new(1, Plan::calm()), SimEnv::new(1));
        drop(grown(&disk, &env, segments));
        disk.power_cut();
        opening(&disk, &env)
    });
    println!("{costs:?}");
    assert_eq!((costs[0], costs[1]), (costs[1], costs[2]));
    // To find the end, to look for marks behind it, and to write it anew.
    let [calls, reads, bytes] = costs[0];
    let length = options().segment + SEGMENT_HEADER;
    assert!(
        calls <= 60 && reads <= 30 && bytes <= 4 * length,
        "{costs:?}"
    );
}

#[test]
fn what_is_judged_after_a_crash_is_read_once_however_long_its_batches_are() {
    const LENGTH: u64 = 3 << 20;
    let (disk, env) = (SimDisk::new(1, Plan::calm()), SimEnv::new(1));
    let options = LogOptions {
        segment: 64 << 20,
        ..options()
    };
    let open = || Log::open("file", Arc::new(disk.medium()), env.env(), options.clone()).unwrap();
    let mut bones = Bones::begin(open());
    for n in 0..6 {
        bones.commit(&vec![n; LENGTH as usize]);
    }
    drop(bones);
    disk.kill();
    let before = disk.tally().bytes_read;
    let log = open();
    let read = disk.tally().bytes_read - before;
    assert!(log.status().streams[0].end * 8 > 6 * LENGTH);
    assert!(read < 6 * LENGTH + LENGTH / 2, "{read} bytes were read");
}

#[test]
fn what_was_stored_without_a_commit_is_read_again_only_as_far_as_no_sync_vouches_for_it() {
    let costs = [10, 40].map(|segments| {
        let (disk, env) = (SimDisk::new(1, Plan::calm()), SimEnv::new(1));
        let engine = open_engine(&disk, &env);
        commit(&engine);
        let session = engine.session().unwrap();
        while engine.status().streams[0].segments < segments {
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&[9; 30_000]],
            };
            session.store(&record, Hint::default()).unwrap();
        }
        drop((session, engine));
        disk.kill();
        opening(&disk, &env)
    });
    println!("{costs:?}");
}
