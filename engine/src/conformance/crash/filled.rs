//! A disk without room that holds a segment that is not proven: it is recovered where it is, as often
//! as its writers die, and read.

use super::regressions::{get, open_with, put, small};
use crate::conformance::rng::Rng;
use crate::conformance::sim::{Plan, SimDisk};
use crate::contract::{ErrorKind, Kind, NewRecord, Result};
use crate::front::{Engine, Hint, Options};

fn try_open(disk: &SimDisk) -> Result<Engine> {
    let options = Options {
        flush_bytes: 4 << 10,
        ..Options::default()
    };
    open_with(disk, small(), options)
}

fn open(disk: &SimDisk) -> Engine {
    disk.crash_never();
    try_open(disk).unwrap()
}

fn body(rng: &mut Rng) -> Vec<u8> {
    vec![rng.below(256) as u8; rng.below_usize(60_000)]
}

/// Commits until there is no room. Answers the last body that is committed.
fn fill(engine: &Engine, rng: &mut Rng) -> Option<Vec<u8>> {
    let mut last = None;
    loop {
        let body = body(rng);
        match put(engine, "a", &body) {
            Ok(()) => last = Some(body),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                return last;
            }
        }
    }
}

/// Stores without a commit, until there is no room or enough.
fn begin(engine: &Engine, rng: &mut Rng) {
    let session = engine.session().unwrap();
    for _ in 0..rng.below(8) {
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body(rng)],
        };
        if let Err(error) = session.store(&record, Hint::default()) {
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        }
    }
}

#[test]
fn a_full_disk_is_recovered_where_it_is_and_read() {
    let mut commits = 0;
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let plan = Plan {
            power_safe: rng.chance(1, 2),
            map: rng.chance(1, 2),
            ..Plan::calm()
        };
        let disk = SimDisk::new(seed, plan);
        let mut engine = open(&disk);
        disk.set_capacity(Some(disk.used() + (300 << 10) + rng.below(2 << 20)));
        let mut last = None;
        for turn in 0..6 {
            if rng.chance(1, 3) {
                begin(&engine, &mut rng);
            }
            if let Some(newer) = fill(&engine, &mut rng) {
                commits += 1;
                last = Some(newer);
            }
            assert_eq!(get(&engine, "a"), last, "seed {seed}, turn {turn}");
            match rng.chance(2, 3) {
                true => disk.kill(),
                false => disk.power_cut(),
            }
            // Whoever recovers it may die as well.
            while rng.chance(1, 2) {
                disk.crash_in(1 + rng.below(25));
                drop(try_open(&disk));
                disk.kill();
            }
            engine = open(&disk);
            assert_eq!(get(&engine, "a"), last, "seed {seed}, turn {turn}");
        }
        // And goes on when there is room.
        disk.set_capacity(None);
        put(&engine, "a", b"room").unwrap();
        assert_eq!(disk.violations(), Vec::<String>::new());
    }
    assert!(commits > 300, "{commits} turns with room for a commit");
}
