//! Faults: how many, which, what they leave below, and what an engine makes of them.

use std::path::Path;

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::contract::{
    Batch, BatchBuilder, Commit, Epoch, ErrorKind, Kind, Level, Name, NewRecord, Oid, Position,
    Stream,
};
use travertine_engine::front::{Change, Engine, Hint, Options};
use travertine_engine::stack::{Layer, Opening, Plan, Spec, Table};

use super::*;
use crate::standard;

const EPOCH: Epoch = Epoch { number: 1, tag: 1 };

fn faulty(layer: Layer) -> Arc<dyn Store> {
    let spec = Spec::linear([layer, Layer::new("memory")])
        .for_tests()
        .level("memory");
    let plan = Plan::new(&spec, &standard(), Path::new("/nowhere")).unwrap();
    let env = SimEnv::new(1);
    plan.open(env.env(), Opening::default()).unwrap().store()
}

fn fault(verb: &str, way: &str, share: f64) -> Layer {
    let shares = Table::default().with(way, share);
    Layer::new("fault").with("seed", 5).with(verb, shares)
}

fn faults(store: &dyn Store) -> u64 {
    store.status().figures[0].1
}

/// A store that one batch was written to, and the next batch.
fn begun(layer: Layer) -> (Arc<dyn Store>, Batch) {
    // Fence, adopt, and the first batch, which tells how far the writer may go.
    let store = faulty(layer.with("after", 3));
    let states = store.fence(EPOCH).wait().unwrap();
    let mut end = states[0].end;
    store.adopt(EPOCH, vec![(Stream(0), end)]).wait().unwrap();
    let empty = BatchBuilder::new(Stream(0), end.position, end, EPOCH, 0).finish(None, false);
    store.store(EPOCH, empty.clone()).wait().unwrap();
    end.position = empty.header().end;
    end.running = empty.running();
    let mut batch = BatchBuilder::new(Stream(0), end.position, end, EPOCH, 0);
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[b"one"],
    };
    batch.push(&record).unwrap();
    (store, batch.finish(None, false))
}

fn end(store: &dyn Store) -> u64 {
    store.status().streams[0].end
}

/// Which of so many reads failed.
fn failed(seed: i64, layer: Layer) -> Vec<bool> {
    let store = faulty(layer.with("seed", seed));
    let nowhere = Oid::new(Stream(0), Position(4096)).unwrap();
    let reads = (0..400).map(|_| match store.read(nowhere).wait() {
        Ok(found) => {
            assert_eq!(found, None);
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            true
        }
    });
    let failed: Vec<_> = reads.collect();
    let count = failed.iter().filter(|failed| **failed).count();
    assert_eq!(faults(&*store), count as u64);
    failed
}

#[test]
fn the_seed_decides_which_calls_fail_and_the_share_how_many() {
    let some = failed(7, fault("read", "unavailable", 0.25));
    assert_eq!(some, failed(7, fault("read", "unavailable", 0.25)));
    assert_ne!(some, failed(8, fault("read", "unavailable", 0.25)));
    let count = some.iter().filter(|failed| **failed).count();
    assert!((50..150).contains(&count), "{count} of 400 failed");
    assert_eq!(failed(7, Layer::new("fault")), [false; 400]);
    assert_eq!(failed(7, fault("read", "unavailable", 1.0)), [true; 400]);
}

#[test]
fn faults_begin_after_so_many_calls_and_end_after_so_many_faults() {
    let layer = fault("read", "unavailable", 1.0)
        .with("after", 10)
        .with("most", 5);
    let expected: Vec<_> = (0..400).map(|call| (10..15).contains(&call)).collect();
    assert_eq!(failed(7, layer), expected);
}

#[test]
fn a_failed_store_happened_or_did_not_and_poisons() {
    let mut happened = [0, 0];
    for seed in 0..40 {
        let layer = fault("store", "failed", 1.0).with("seed", seed);
        let (store, batch) = begun(layer);
        let before = end(&*store);
        let error = store.store(EPOCH, batch.clone()).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        happened[usize::from(end(&*store) > before)] += 1;
        let again = store.store(EPOCH, batch.clone()).wait().unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Closed);
        assert!(store.status().refusing.is_some());
        // Reads still work.
        let oid = batch.records().next().unwrap().0;
        let found = store.read(oid).wait().unwrap();
        assert_eq!(found.is_some(), end(&*store) > before);
    }
    assert!(happened[0] > 5 && happened[1] > 5, "{happened:?}");
}

#[test]
fn without_poison_the_same_batch_is_taken_again_wherever_the_answer_was_lost() {
    for seed in 0..20 {
        let layer = fault("store", "failed", 1.0).with("seed", seed);
        let (store, batch) = begun(layer.with("poison", false).with("most", 1));
        store.store(EPOCH, batch.clone()).wait().unwrap_err();
        let tail = store.store(EPOCH, batch.clone()).wait().unwrap();
        assert_eq!(tail.end, batch.header().end);
    }
}

#[test]
fn a_batch_that_found_no_room_was_not_taken_and_is_taken_later() {
    let (store, batch) = begun(fault("store", "full", 1.0).with("most", 1));
    let before = end(&*store);
    let error = store.store(EPOCH, batch.clone()).wait().unwrap_err();
    assert_eq!((error.kind(), end(&*store)), (ErrorKind::Full, before));
    store.store(EPOCH, batch).wait().unwrap();
}

#[test]
fn every_verb_can_fail() {
    let nowhere = Oid::new(Stream(0), Position(4096)).unwrap();
    let failing = |verb: &str, way: &str| faulty(fault(verb, way, 1.0));
    for (way, kind) in [
        ("unavailable", ErrorKind::Unavailable),
        ("corrupt", ErrorKind::Corrupt),
    ] {
        let asked = [
            failing("read", way).read(nowhere).map(drop).wait(),
            failing("scan", way)
                .scan(Stream(0), Position::START)
                .map(drop)
                .wait(),
            failing("root", way)
                .root(travertine_engine::contract::RootAt::Newest)
                .map(drop)
                .wait(),
        ];
        for answer in asked {
            assert_eq!(answer.unwrap_err().kind(), kind);
        }
    }
    let commit = Commit {
        sender: EPOCH,
        level: Level::Memory,
        last: Vec::new(),
    };
    let changed = [
        failing("fence", "failed").fence(EPOCH).map(drop).wait(),
        failing("adopt", "failed").adopt(EPOCH, Vec::new()).wait(),
        failing("commit", "failed").commit(commit).map(drop).wait(),
    ];
    for answer in changed {
        assert!(answer.is_err());
    }
}

#[test]
fn a_failed_write_ends_the_writing_of_an_engine_and_not_its_reading() {
    for (verb, seed) in [("store", 1), ("store", 2), ("commit", 1), ("commit", 2)] {
        let layer = fault(verb, "failed", 1.0)
            .with("seed", seed)
            .with("after", 20);
        let options = Options {
            level: Level::Memory,
            recent_max: 0,
            ..Options::default()
        };
        let engine = Engine::open(faulty(layer), SimEnv::new(2).env(), options).unwrap();
        let session = engine.session().unwrap();
        let name = Name::new("name").unwrap();
        let mut acknowledged = Vec::new();
        let error = loop {
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[b"one"],
            };
            let committed = session.store(&record, Hint::default()).and_then(|stored| {
                let changes = [Change::set(name.clone(), stored)];
                session.commit(&changes, None).wait().map(|_| stored)
            });
            match committed {
                Ok(stored) => acknowledged.push(stored),
                Err(error) => break error,
            }
            if verb == "store" {
                // More than a batch takes with a commit: it is sent by itself.
                let bulk = vec![7; 2 << 20];
                let record = NewRecord {
                    body: &[&bulk],
                    ..record
                };
                let _ = session.store(&record, Hint::default());
            }
        };
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(engine.session().is_err());
        assert!(!acknowledged.is_empty());
        for stored in acknowledged {
            let found = engine.read(stored.oid).wait().unwrap().unwrap();
            assert_eq!(found.body(), b"one");
        }
        assert!(engine.close().is_err());
    }
}
