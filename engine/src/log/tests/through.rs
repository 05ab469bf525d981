//! Small commits over zeros that were written ahead.

use super::*;
use crate::conformance::env::SimEnv;
use crate::conformance::sim::{Fault, Plan, SimDisk};
use crate::contract::ErrorKind;

/// Room for some pieces of zeros.
fn begin(disk: &SimDisk) -> Bones {
    let options = LogOptions {
        segment: 8 << 20,
        ..LogOptions::default()
    };
    let env = SimEnv::new(1);
    let log = Log::open("file", Arc::new(disk.medium()), env.env(), options).unwrap();
    Bones::begin(log)
}

/// A disk that keeps at a power cut exactly what was made durable.
fn disk(through: bool) -> SimDisk {
    let plan = Plan {
        through,
        ..Plan::calm()
    };
    SimDisk::new(1, plan)
}

fn zeros(bones: &Bones) -> u64 {
    let figures = bones.log.status().figures;
    let zeros = figures.iter().find(|(name, _)| *name == "zeros");
    zeros.map_or(0, |(_, count)| *count)
}

#[test]
fn a_small_commit_is_one_write_and_one_flush_of_blocks_that_were_written_before() {
    for through in [false, true] {
        let disk = disk(through);
        let mut bones = begin(&disk);
        for number in 0..8 {
            bones.commit(&[number; 300]);
        }
        let ahead = zeros(&bones);
        assert!(ahead > 0, "three commits were small");
        let before = disk.tally();
        let oids: Vec<_> = (0..20).map(|number| bones.commit(&[number; 300])).collect();
        let after = disk.tally();
        assert_eq!(after.writes - before.writes, 20, "{through}");
        assert_eq!(after.syncs - before.syncs, 20, "{through}");
        assert_eq!(after.directory_syncs, before.directory_syncs);
        assert_eq!(zeros(&bones), ahead);
        for (number, oid) in (0..).zip(oids) {
            let record = bones.log.read(oid).wait().unwrap().unwrap();
            assert_eq!(record.body(), [number; 300]);
        }
    }
}

#[test]
fn what_went_through_survives_a_power_cut_and_the_chain_ends_at_the_zeros() {
    for through in [false, true] {
        let disk = disk(through);
        let mut bones = begin(&disk);
        let oids: Vec<_> = (0..100)
            .map(|number| bones.commit(&[number; 500]))
            .collect();
        let (end, written) = (bones.before, bones.log.status().streams[0].bytes);
        assert!(written < zeros(&bones));
        disk.power_cut();
        let env = SimEnv::new(2);
        let medium = Arc::new(disk.medium());
        let log = Log::open("file", medium, env.env(), LogOptions::default()).unwrap();
        assert!(log.damage().is_none(), "{:?}", log.damage());
        let state = log.fence(Epoch::default()).wait().unwrap().remove(0);
        assert_eq!(state.end, end);
        for (number, oid) in (0..).zip(oids) {
            assert_eq!(log.read(oid).wait().unwrap().unwrap().body(), [number; 500]);
        }
    }
}

#[test]
fn large_commits_have_no_zeros_written_for_them() {
    let disk = disk(true);
    let mut bones = begin(&disk);
    for number in 0..20 {
        bones.commit(&[number; 100_000]);
    }
    assert_eq!(zeros(&bones), 0);
}

#[test]
fn what_was_stored_without_a_sync_is_synced_by_the_commit_after_it() {
    let disk = disk(true);
    let mut bones = begin(&disk);
    for number in 0..8 {
        bones.commit(&[number; 300]);
    }
    let (batch, loose) = bones.batch(&[9; 300], false);
    bones.log.store(bones.epoch, batch.clone()).wait().unwrap();
    bones.take(&batch);
    let last = bones.commit(&[10; 300]);
    disk.power_cut();
    let env = SimEnv::new(2);
    let medium = Arc::new(disk.medium());
    let log = Log::open("file", medium, env.env(), LogOptions::default()).unwrap();
    for (oid, byte) in [(loose.oid, 9), (last, 10)] {
        let record = log.read(oid).wait().unwrap().unwrap();
        assert_eq!(record.body(), [byte; 300]);
    }
}

#[test]
fn a_write_through_that_fails_ends_the_writing() {
    for fault in [Fault::WriteError, Fault::SyncDropped, Fault::FullSync] {
        let disk = disk(true);
        let mut bones = begin(&disk);
        for number in 0..8 {
            bones.commit(&[number; 300]);
        }
        let plan = Plan {
            through: true,
            ..Plan::calm()
        };
        disk.set_plan(plan.with(fault, 1000));
        for _ in 0..2 {
            let (batch, _) = bones.batch(&[1; 300], false);
            let commit = Commit {
                sender: bones.epoch,
                level: Level::Disk,
                last: vec![batch],
            };
            let error = bones.log.commit(commit).wait().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed, "{fault:?}: {error}");
            // The device is well again, but nothing is written after this.
            disk.quiet();
        }
    }
}
