//! A log that holds a part of a stream.

use super::*;
use crate::conformance::sim::{Plan, SimDisk};
use crate::contract::ErrorKind;

const PART: Extent = Extent::Part {
    near: Position(5_000),
    make: true,
};
const BEFORE: End = End {
    position: Position(6_001),
    running: 77,
};

fn open_on(disk: &SimDisk, extent: Extent) -> Result<Log> {
    let options = LogOptions {
        extent,
        ..options()
    };
    Log::open("file", Arc::new(disk.medium()), &Env::system(), options)
}

fn calm() -> SimDisk {
    SimDisk::new(1, Plan::calm())
}

fn epoch(number: u32) -> Epoch {
    Epoch { number, tag: 7 }
}

fn adopted(log: Log, number: u32, cut: End) -> Bones {
    log.fence(epoch(number)).wait().unwrap();
    log.adopt(epoch(number), vec![(Stream(0), cut)])
        .wait()
        .unwrap();
    let unit = log.status().unit;
    Bones {
        log,
        epoch: epoch(number),
        before: cut,
        next: cut.position.align_up(unit),
        sequence: 0,
        proven: None,
    }
}

#[test]
fn an_empty_part_begins_where_its_adoption_says_and_no_sync_is_needed() {
    let disk = calm();
    let log = open_on(&disk, PART).unwrap();
    log.fence(epoch(1)).wait().unwrap();
    let before = disk.tally();
    log.adopt(epoch(1), vec![(Stream(0), BEFORE)])
        .wait()
        .unwrap();
    let status = log.status().streams.remove(0);
    assert_eq!(status.end, BEFORE.position.0);
    assert!(
        status.ceiling > status.end,
        "it says how much fits before anything was stored"
    );
    let mut bones = Bones {
        log,
        epoch: epoch(1),
        before: BEFORE,
        next: BEFORE.position.align_up(4096),
        sequence: 0,
        proven: None,
    };
    let (batch, stored) = bones.batch(b"first", false);
    bones.log.store(epoch(1), batch.clone()).wait().unwrap();
    let after = disk.tally();
    assert_eq!(
        (before.syncs, before.directory_syncs),
        (after.syncs, after.directory_syncs)
    );
    bones.take(&batch);
    bones.commit(b"second");
    drop(bones);
    disk.power_cut();
    let log = open_on(&disk, PART).unwrap();
    let state = log.fence(Epoch::default()).wait().unwrap().remove(0);
    let links = state.chain.iter().map(|link| link.end.position);
    assert_eq!(links.count(), 2);
    assert_eq!(
        log.read(stored.oid).wait().unwrap().unwrap().body(),
        b"first"
    );
    let first = log.scan(Stream(0), Position::START).wait().unwrap();
    assert_eq!(first.batches[0].header().before_end, BEFORE.position);
}

#[test]
fn what_a_part_does_not_know_to_be_durable_goes_with_a_cut_at_its_beginning() {
    let disk = calm();
    let log = open_on(&disk, PART).unwrap();
    let mut bones = adopted(log, 1, BEFORE);
    let (batch, _) = bones.batch(&[1; 3000], false);
    bones.log.store(epoch(1), batch).wait().unwrap();
    drop(bones);
    disk.kill();
    let log = open_on(&disk, PART).unwrap();
    let state = log.fence(epoch(2)).wait().unwrap().remove(0);
    assert_eq!(
        state.durable,
        Position::START,
        "it vouches for its own bytes only"
    );
    assert!(state.end.position > BEFORE.position);
    let earlier = End {
        position: Position(4_000),
        running: 3,
    };
    let inside = End {
        position: Position(BEFORE.position.align_up(4096).0 + 1),
        running: 3,
    };
    let refused = log.adopt(epoch(2), vec![(Stream(0), inside)]).wait();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    drop(log);
    let mut bones = adopted(open_on(&disk, PART).unwrap(), 3, earlier);
    assert!(bones.log.segment_headers().unwrap().is_empty());
    bones.next = state.ceiling.align_up(4096);
    bones.commit(b"anew");
    drop(bones);
    disk.power_cut();
    let log = open_on(&disk, PART).unwrap();
    let state = log.fence(Epoch::default()).wait().unwrap().remove(0);
    assert_eq!(state.chain.len(), 1);
}

#[test]
fn a_cut_below_what_a_part_knows_to_be_durable_is_refused() {
    let disk = calm();
    let mut bones = adopted(open_on(&disk, PART).unwrap(), 1, BEFORE);
    bones.commit(b"kept");
    // The frame after a commit vouches for it.
    bones.commit(b"and one more");
    drop(bones);
    disk.kill();
    let log = open_on(&disk, PART).unwrap();
    log.fence(epoch(2)).wait().unwrap();
    let refused = log.adopt(epoch(2), vec![(Stream(0), BEFORE)]).wait();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_sealed_part_opens_in_a_few_reads_and_takes_nothing() {
    let disk = calm();
    let mut bones = adopted(open_on(&disk, PART).unwrap(), 1, BEFORE);
    let oids: Vec<_> = (0..40).map(|_| bones.commit(&[5; 4000])).collect();
    let end = bones.before;
    bones.log.close().wait().unwrap();
    drop(bones);
    let before = disk.tally().calls;
    let log = open_on(&disk, Extent::Sealed { start: BEFORE, end }).unwrap();
    assert!(disk.tally().calls - before <= 8);
    for oid in oids {
        assert_eq!(log.read(oid).wait().unwrap().unwrap().body(), [5; 4000]);
    }
    let state = log.fence(Epoch::default()).wait().unwrap().remove(0);
    assert_eq!((state.end, state.durable), (end, end.position));
    assert!(log.fence(epoch(2)).wait().is_err());
    // Somebody else may hold the lock meanwhile: nothing is written here.
    let _writer = open_on(&disk, PART).unwrap();
    open_on(&disk, Extent::Sealed { start: BEFORE, end }).unwrap();
}

#[test]
fn a_part_that_had_begun_is_not_made_again() {
    let disk = calm();
    let begun = Extent::Part {
        near: Position::START,
        make: false,
    };
    let error = open_on(&disk, begun).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(disk.files().is_empty());
}

#[test]
fn a_scan_of_a_torn_log_ends_where_its_chain_does() {
    for extent in [Extent::Whole, PART] {
        let disk = calm();
        let start = match extent {
            Extent::Whole => End {
                position: Position::START,
                running: 0,
            },
            _ => BEFORE,
        };
        let mut bones = adopted(open_on(&disk, extent).unwrap(), 1, start);
        bones.commit(b"kept");
        while bones.log.status().streams[0].segments < 2 {
            let (batch, _) = bones.batch(&[6; 9000], false);
            bones.log.store(epoch(1), batch.clone()).wait().unwrap();
            bones.take(&batch);
        }
        drop(bones);
        disk.kill();
        // The second segment outlived the tail of the first, of which no sync was asked.
        let medium = disk.medium();
        let names = medium.list().unwrap();
        let first = names.iter().find(|name| name.starts_with("seg-")).unwrap();
        let file = medium.open(first, true).unwrap();
        file.set_len(file.len().unwrap() - 20_000).unwrap();
        let log = open_on(&disk, extent).unwrap();
        let state = log.fence(Epoch::default()).wait().unwrap().remove(0);
        let found = log.scan(Stream(0), Position::START).wait().unwrap();
        let last = found.batches.last().unwrap().header().end;
        assert_eq!((last, found.next), (state.end.position, None));
        let above = Oid::new(Stream(0), last.plus_bytes(8)).unwrap();
        let error = log.read(above).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

#[test]
fn closing_never_writes_the_block_again_that_holds_an_acknowledged_commit() {
    for seed in 0..40 {
        for calls in 1..6 {
            let plan = Plan {
                torn: 1000,
                ..Plan::calm()
            };
            let disk = SimDisk::new(seed, plan);
            let mut bones = adopted(open_on(&disk, PART).unwrap(), 1, BEFORE);
            // Enough small ones that zeros are written ahead, for the close to cut off.
            let oids: Vec<_> = (0..6).map(|_| bones.commit(b"kept")).collect();
            disk.crash_in(calls);
            let _ = bones.log.close().wait();
            drop(bones);
            disk.power_cut();
            let log = open_on(&disk, PART).unwrap();
            for oid in oids {
                let found = log.read(oid).wait().unwrap().unwrap();
                assert_eq!(found.body(), b"kept", "seed {seed}, call {calls}");
            }
        }
    }
}

#[test]
fn a_first_segment_that_lost_its_header_says_nothing_of_the_part_before() {
    let disk = calm();
    let mut bones = adopted(open_on(&disk, PART).unwrap(), 1, BEFORE);
    let (batch, _) = bones.batch(b"first", false);
    bones.log.store(epoch(1), batch).wait().unwrap();
    drop(bones);
    // The page with the header did not survive the power cut, the one behind it did. Its frame names
    // what the part before had made durable.
    let medium = disk.medium();
    let names = medium.list().unwrap();
    let name = names.iter().find(|name| name.starts_with("seg-")).unwrap();
    let file = medium.open(name, true).unwrap();
    file.write_at(0, &[&[0; 4096]]).unwrap();
    let log = open_on(&disk, PART).unwrap();
    assert!(log.damage().is_none(), "{:?}", log.damage());
    let mut bones = adopted(log, 2, BEFORE);
    bones.commit(b"again");
}
