//! Segments that are synced while writing goes on.

use super::*;
use crate::conformance::env::{OnCall, SimEnv};
use crate::conformance::sim::{Fault, Plan, SimDisk};
use crate::contract::ErrorKind;

fn begin(disk: &SimDisk) -> Bones {
    let env = SimEnv::new(1);
    let log = Log::open("file", Arc::new(disk.medium()), env.env(), options()).unwrap();
    Bones::begin(log)
}

/// Stores batches, uncommitted, until a segment has ended or the log refuses one.
fn roll(bones: &mut Bones) -> Result<()> {
    let segments = bones.log.status().streams[0].segments;
    while bones.log.status().streams[0].segments < segments.max(1) + 1 {
        let (batch, _) = bones.batch(&[7; 20_000], false);
        bones.log.store(bones.epoch, batch.clone()).wait()?;
        bones.take(&batch);
    }
    Ok(())
}

#[test]
fn a_segment_that_ended_is_synced_before_any_commit_asks() {
    let disk = SimDisk::new(1, Plan::calm());
    let mut bones = begin(&disk);
    let before = disk.tally().syncs;
    roll(&mut bones).unwrap();
    roll(&mut bones).unwrap();
    let behind = disk.tally().syncs;
    assert_eq!(behind - before, 2);
    bones.commit(&[1; 100]);
    assert_eq!(
        disk.tally().syncs - behind,
        1,
        "only the open segment was left"
    );
}

#[test]
fn bytes_lost_behind_the_writers_back_end_the_writing() {
    let disk = SimDisk::new(1, Plan::calm());
    let mut bones = begin(&disk);
    roll(&mut bones).unwrap();
    disk.set_plan(Plan::calm().with(Fault::SyncDropped, 1000));
    let error = roll(&mut bones).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    disk.quiet();
    // The device is well again, but what it lost stays lost.
    let (batch, _) = bones.batch(&[1; 100], false);
    let commit = Commit {
        sender: bones.epoch,
        level: Level::Disk,
        last: vec![batch],
    };
    let error = bones.log.commit(commit).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}

#[test]
fn one_driver_syncs_all_segments_that_end_before_it_is_done() {
    let disk = SimDisk::new(1, Plan::calm());
    let drivers = Arc::new(OnCall::default());
    let env = Env {
        drivers: drivers.clone(),
        ..SimEnv::new(1).env().clone()
    };
    let log = Log::open("file", Arc::new(disk.medium()), &env, options()).unwrap();
    let mut bones = Bones::begin(log);
    for rounds in [5, 3] {
        let before = disk.tally().syncs;
        for _ in 0..rounds {
            roll(&mut bones).unwrap();
        }
        let mut called = drivers.take();
        assert_eq!(called.len(), 1);
        assert_eq!(disk.tally().syncs, before);
        called.pop().unwrap()();
        assert_eq!(disk.tally().syncs, before + rounds);
    }
}
