//! Chains on an engine: faces, conflicts, commits with maps, consumers, crashes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use travertine_engine::conformance::model::ModelStore;
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{Env, ErrorKind, Level, Name};
use travertine_engine::front::{Engine, Options};
use travertine_interfaces::{Btree, Chain, Map, chain};

fn open(store: &ModelStore) -> Engine {
    Engine::open(Arc::new(store.clone()), &Env::system(), Options::default()).unwrap()
}

fn small(name: &str) -> Chain {
    let options = chain::Options {
        block_entries: 4,
        inline_max: 64,
        linked: true,
    };
    Chain::new(Name::new(name).unwrap(), options)
}

fn push(engine: &Engine, chain: &Chain, entries: &[&str]) {
    let session = engine.session().unwrap();
    let mut turn = chain.writer(&session).unwrap();
    for entry in entries {
        turn.push(entry.as_bytes()).unwrap();
    }
    turn.commit(None).unwrap().wait().unwrap();
}

fn entries(engine: &Engine, chain: &Chain) -> Vec<String> {
    let mut cursor = chain.reader(&engine.snapshot()).wait().unwrap().cursor();
    let mut found = Vec::new();
    while let Some((_, entry)) = cursor.next().unwrap() {
        found.push(String::from_utf8(entry.to_vec()).unwrap());
    }
    found
}

#[test]
fn stack_queue_and_log_are_faces_of_the_same_entries() {
    let engine = open(&ModelStore::default());
    let chain = small("c");
    push(&engine, &chain, &["a", "b", "c", "d", "e", "f"]);

    let session = engine.session().unwrap();
    let mut stack = chain.stack(&session).unwrap();
    assert_eq!(stack.top().unwrap().unwrap(), "f");
    assert_eq!(stack.pop().unwrap().unwrap(), "f");
    assert_eq!(stack.push(b"g").unwrap(), 5);
    stack.commit(None).unwrap().wait().unwrap();

    let session = engine.session().unwrap();
    let mut queue = chain.queue(&session).unwrap();
    assert_eq!(queue.front().unwrap().unwrap(), "a");
    assert_eq!(queue.shift().unwrap().unwrap(), "a");
    assert_eq!((queue.len(), queue.is_empty()), (5, false));
    queue.commit(None).unwrap().wait().unwrap();

    let session = engine.session().unwrap();
    let mut log = chain.log(&session).unwrap();
    assert_eq!(log.push(b"h").unwrap(), 6);
    assert_eq!(log.get(5).unwrap().unwrap(), "g");
    assert_eq!(log.trim(3).unwrap(), 2);
    assert_eq!((log.first(), log.end()), (3, 7));
    log.commit(None).unwrap().wait().unwrap();
    assert_eq!(entries(&engine, &chain), ["d", "e", "g", "h"]);
}

#[test]
fn a_chain_and_a_map_are_committed_together_or_not_at_all() {
    let engine = open(&ModelStore::default());
    let (jobs, done) = (
        small("jobs"),
        Map::new(Name::new("done").unwrap(), Btree::default()),
    );
    push(&engine, &jobs, &["one", "two"]);
    let work = |lose: bool| {
        let session = engine.session().unwrap();
        let mut turn = jobs.writer(&session).unwrap();
        let mut map = done.writer(&session);
        let job = turn.shift().unwrap().unwrap();
        map.put(&job, b"done").unwrap();
        if lose {
            push(&engine, &jobs, &["three"]);
        }
        let mut changes = turn.finish().unwrap();
        changes.extend(map.finish().unwrap());
        session.commit(&changes, None).wait().map(drop)
    };
    work(false).unwrap();
    assert_eq!(work(true).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(entries(&engine, &jobs), ["two", "three"]);
    let done = done.reader(&engine.snapshot()).wait().unwrap();
    assert_eq!(done.count(), 1);
}

#[test]
fn consumers_see_each_entry_once_or_more_and_hold_the_trim() {
    let store = ModelStore::default();
    let engine = open(&store);
    let log = small("log");
    push(&engine, &log, &["a", "b", "c", "d", "e", "f"]);
    let session = engine.session().unwrap();
    let mut turn = log.writer(&session).unwrap();
    turn.add_consumer("fast", 0).unwrap();
    turn.add_consumer("slow", 2).unwrap();
    assert_eq!(
        turn.add_consumer("fast", 0).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    assert_eq!(
        turn.add_consumer("late", 7).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    turn.commit(None).unwrap().wait().unwrap();

    let fast = log.consumer("fast").unwrap();
    let mut cursor = fast.cursor(&engine.snapshot()).unwrap();
    for wanted in ["a", "b", "c"] {
        assert_eq!(cursor.next().unwrap().unwrap().1, wanted);
    }
    // Nothing was noted yet: they come again.
    let mut again = fast.cursor(&engine.snapshot()).unwrap();
    assert_eq!(again.next().unwrap().unwrap().1, "a");

    // A consumer and a pusher do not conflict; two that go on from the same place do.
    let (one, two) = (engine.session().unwrap(), engine.session().unwrap());
    push(&engine, &log, &["g"]);
    let change = fast.advance(&one, cursor.position()).unwrap();
    one.commit(&[change], None).wait().unwrap();
    let change = fast.advance(&two, 2).unwrap();
    let error = two.commit(&[change], None).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(fast.position(&engine.snapshot()).unwrap(), Some(3));
    let session = engine.session().unwrap();
    for wrong in [2, 8] {
        assert_eq!(
            fast.advance(&session, wrong).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }

    // The least position bounds the trim, and what was consumed is not popped.
    let mut turn = log.writer(&session).unwrap();
    assert_eq!(turn.trim_consumed().unwrap(), 2);
    for _ in 3..7 {
        turn.pop().unwrap().unwrap();
    }
    assert_eq!(turn.pop().unwrap_err().kind(), ErrorKind::Invalid);
    turn.commit(None).unwrap().wait().unwrap();
    assert_eq!(entries(&engine, &log), ["c"]);

    engine.close().unwrap();
    let engine = open(&store.reopen());
    let reader = log.reader(&engine.snapshot()).wait().unwrap();
    assert_eq!(reader.consumers().unwrap(), ["fast", "slow"]);
    assert!(reader.verify().is_clean());
    let session = engine.session().unwrap();
    let mut turn = log.writer(&session).unwrap();
    turn.remove_consumer("slow").unwrap();
    assert!(turn.remove_consumer("slow").is_err());
    turn.commit(None).unwrap().wait().unwrap();
    let slow = log.consumer("slow").unwrap();
    assert_eq!(slow.position(&engine.snapshot()).unwrap(), None);
    assert_eq!(
        slow.cursor(&engine.snapshot()).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    let session = engine.session().unwrap();
    assert_eq!(log.writer(&session).unwrap().trim_consumed().unwrap(), 1);
}

#[test]
fn who_pops_conflicts_with_who_consumed_it_meanwhile() {
    let engine = open(&ModelStore::default());
    let log = small("log");
    push(&engine, &log, &["a", "b"]);
    let session = engine.session().unwrap();
    let mut turn = log.writer(&session).unwrap();
    turn.add_consumer("who", 0).unwrap();
    turn.commit(None).unwrap().wait().unwrap();

    let (popping, consuming) = (engine.session().unwrap(), engine.session().unwrap());
    let mut turn = log.writer(&popping).unwrap();
    turn.pop().unwrap();
    let change = log.consumer("who").unwrap().advance(&consuming, 2).unwrap();
    consuming.commit(&[change], None).wait().unwrap();
    let error = turn.commit(None).unwrap().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[test]
fn a_renamed_chain_keeps_what_its_consumers_have_not_done_until_they_begin_again() {
    let engine = open(&ModelStore::default());
    let log = small("log");
    push(&engine, &log, &["a", "b"]);
    let session = engine.session().unwrap();
    let mut turn = log.writer(&session).unwrap();
    turn.add_consumer("who", 1).unwrap();
    turn.commit(None).unwrap().wait().unwrap();
    let renamed = small("other");
    let session = engine.session().unwrap();
    let rename = session.rename(log.name(), renamed.name());
    rename.wait().unwrap();
    let session = engine.session().unwrap();
    let mut turn = renamed.writer(&session).unwrap();
    assert_eq!(turn.trim_consumed().unwrap(), 0);
    turn.pop().unwrap().unwrap();
    turn.remove_consumer("who").unwrap();
    turn.commit(None).unwrap().wait().unwrap();
    let session = engine.session().unwrap();
    let mut turn = renamed.writer(&session).unwrap();
    turn.add_consumer("who", 1).unwrap();
    assert_eq!(turn.trim_consumed().unwrap_err().kind(), ErrorKind::Invalid);
    turn.commit(None).unwrap().wait().unwrap();
    let who = renamed.consumer("who").unwrap();
    assert_eq!(who.position(&engine.snapshot()).unwrap(), Some(1));
}

#[test]
fn a_name_that_points_to_something_else_is_no_chain() {
    let engine = open(&ModelStore::default());
    let map = Map::new(Name::new("m").unwrap(), Btree::default());
    let session = engine.session().unwrap();
    let mut writer = map.writer(&session);
    writer.put(b"k", b"v").unwrap();
    writer.commit(None).unwrap().wait().unwrap();
    let chain = small("m");
    let error = chain.reader(&engine.snapshot()).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let session = engine.session().unwrap();
    assert_eq!(
        chain.writer(&session).unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

#[test]
fn after_a_crash_the_chain_is_that_of_a_commit_and_of_no_older_one_than_was_told() {
    let mut rng = Rng::new(7);
    let chain = small("c");
    let mut store = ModelStore::default();
    let mut model: VecDeque<Vec<u8>> = VecDeque::new();
    let mut commits = BTreeMap::from([(0, model.clone())]);
    for _ in 0..60 {
        let engine = open(&store);
        let mut told = engine.snapshot().sequence();
        let mut last = told;
        for _ in 0..rng.below(20) {
            let session = engine.session().unwrap();
            let mut turn = chain.writer(&session).unwrap();
            for _ in 0..rng.below(12) {
                if rng.chance(6, 10) {
                    let length = rng.below_usize(90);
                    let entry = rng.bytes(length);
                    turn.push(&entry).unwrap();
                    model.push_back(entry);
                } else if rng.chance(1, 2) {
                    assert_eq!(turn.pop().unwrap(), model.pop_back().map(Into::into));
                } else {
                    assert_eq!(turn.shift().unwrap(), model.pop_front().map(Into::into));
                }
            }
            let level = rng.pick(&[Level::Memory, Level::Disk]).copied();
            let commit = turn.commit(level).unwrap();
            last += 1;
            commits.insert(last, model.clone());
            if rng.chance(1, 2) {
                let committed = commit.wait().unwrap();
                assert_eq!(committed.sequence, last);
                if level == Some(Level::Disk) {
                    told = last;
                }
            }
        }
        store = store.crash(Level::Disk, rng.below_usize(4));
        drop(engine);
        let engine = open(&store);
        let snapshot = engine.snapshot();
        assert!((told..=last).contains(&snapshot.sequence()));
        model = commits[&snapshot.sequence()].clone();
        let reader = chain.reader(&snapshot).wait().unwrap();
        let mut cursor = reader.cursor();
        for wanted in &model {
            assert_eq!(&cursor.next().unwrap().unwrap().1, wanted);
        }
        assert_eq!(cursor.next().unwrap(), None);
        let report = reader.verify();
        assert!(report.is_clean(), "{report}");
        commits.retain(|sequence, _| *sequence <= snapshot.sequence());
        engine.close().unwrap();
        store = store.reopen();
    }
}
