//! Journaled maps on an engine: every commit stays what it was, and what is remembered keeps nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use travertine_engine::conformance::model::ModelStore;
use travertine_engine::contract::{Env, Name, RootAt};
use travertine_engine::front::{Engine, Options, Reclaiming, Retention, Snapshot};
use travertine_interfaces::{Btree, CursorExt, Journal, Map, Tree, Value};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn map() -> Map<Tree> {
    let small = Btree {
        leaf_bytes: 256,
        inner_bytes: 256,
        inline_max: 64,
    };
    // Bounds so small that merges and flips go on all the time.
    let tiny = Journal {
        bytes_max: 8192,
        merge_min: 1,
        ..Journal::over(small)
    };
    Map::new(Name::new("rows").unwrap(), tiny)
}

fn open(store: &Arc<ModelStore>) -> Engine {
    Engine::open(store.clone(), &Env::system(), Options::default()).unwrap()
}

fn same(map: &Map<Tree>, snapshot: &Snapshot, model: &Model) {
    let reader = map.reader(snapshot).wait().unwrap();
    assert_eq!(reader.count(), model.len() as u64);
    let mut cursor = reader.cursor();
    for (key, value) in model {
        let entry = cursor.next().unwrap().unwrap();
        assert_eq!((entry.key, entry.value), (&key[..], Value::Inline(value)));
    }
    assert!(cursor.next().unwrap().is_none());
    let report = reader.verify();
    assert!(report.is_clean(), "{report}");
}

/// Small commits, and what the map is after each.
fn churn(engine: &Engine, map: &Map<Tree>, commits: u64) -> Vec<(u64, Model)> {
    churn_and(engine, map, commits, |_, _| ())
}

/// As [`churn`], with something done after every commit.
fn churn_and(
    engine: &Engine,
    map: &Map<Tree>,
    commits: u64,
    mut then: impl FnMut(u64, &Model),
) -> Vec<(u64, Model)> {
    let mut history: Vec<(u64, Model)> = Vec::new();
    let (mut model, mut state) = (Model::new(), 7_u64);
    let mut pick = |most: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % most
    };
    for commit in 0..commits {
        let session = engine.session().unwrap();
        let mut writer = map.writer(&session);
        let edits = if commit == 0 { 300 } else { 1 + pick(4) };
        for _ in 0..edits {
            let key = format!("key-{:03}", pick(400)).into_bytes();
            if commit > 0 && pick(3) == 0 {
                writer.delete(&key).unwrap();
                model.remove(&key);
            } else {
                let value = commit.to_string().repeat(1 + pick(9) as usize).into_bytes();
                writer.put(&key, &value).unwrap();
                model.insert(key, value);
            }
        }
        let committed = writer.commit(None).unwrap().wait().unwrap();
        history.push((committed.sequence, model.clone()));
        then(commit, &model);
    }
    history
}

#[test]
fn every_commit_reads_back_exactly_before_reopening_and_after() {
    let store = Arc::new(ModelStore::default());
    let map = map();
    let engine = open(&store);
    let history = churn(&engine, &map, 400);
    // What is remembered serves the newest; the older ones are read back.
    for (sequence, model) in history.iter().rev().step_by(3) {
        let snapshot = engine.at(RootAt::Sequence(*sequence)).unwrap().unwrap();
        same(&map, &snapshot, model);
    }
    let Some((_, newest)) = history.last() else {
        unreachable!("there were commits");
    };
    let session = engine.session().unwrap();
    let change = map.checkpoint(&session).unwrap().unwrap();
    session.commit(&[change], None).wait().unwrap();
    let session = engine.session().unwrap();
    assert!(
        map.checkpoint(&session).unwrap().is_none(),
        "nothing is left"
    );
    same(&map, &engine.snapshot(), newest);
    drop(session);
    engine.close().unwrap();
    drop(engine);

    let store = Arc::new(store.reopen());
    let engine = open(&store);
    for (sequence, model) in history.iter().step_by(7) {
        let snapshot = engine.at(RootAt::Sequence(*sequence)).unwrap().unwrap();
        same(&map, &snapshot, model);
    }
    same(&map, &engine.snapshot(), newest);
}

#[test]
fn what_is_remembered_keeps_no_engine_alive() {
    let store = Arc::new(ModelStore::default());
    let engine = open(&store);
    churn(&engine, &map(), 50);
    assert!(Arc::strong_count(&store) > 1);
    engine.close().unwrap();
    drop(engine);
    // A driver may have it in its hands for a moment.
    let let_go = (0..100_000_000).any(|_| {
        std::thread::yield_now();
        Arc::strong_count(&store) == 1
    });
    assert!(let_go, "somebody holds the store for ever");
}

#[test]
fn a_reclaim_takes_nothing_of_a_merge_that_is_taken_over_later() {
    let store = Arc::new(ModelStore::default());
    let (map, engine) = (map(), open(&store));
    // A reclaim comes before a merge, within it, after it, and just before it is taken over.
    let history = churn_and(&engine, &map, 600, |commit, model| {
        if commit % 5 == 0 {
            let newest = Retention::newest();
            engine.reclaim(&newest, &Reclaiming::default()).unwrap();
        }
        if commit % 20 == 0 {
            same(&map, &engine.snapshot(), model);
        }
    });
    let Some((_, newest)) = history.last() else {
        unreachable!("there were commits");
    };
    same(&map, &engine.snapshot(), newest);
    engine.close().unwrap();
    drop(engine);
    let store = Arc::new(store.reopen());
    same(&map, &open(&store).snapshot(), newest);
}

#[test]
fn an_engine_that_is_dropped_while_a_merge_goes_on_leaves_every_commit() {
    for commits in [200, 230, 260, 290] {
        let store = Arc::new(ModelStore::default());
        let map = map();
        let engine = open(&store);
        let history = churn(&engine, &map, commits);
        drop(engine);
        let engine = open(&Arc::new(store.reopen()));
        for (sequence, model) in history.iter().step_by(37) {
            let snapshot = engine.at(RootAt::Sequence(*sequence)).unwrap().unwrap();
            same(&map, &snapshot, model);
        }
        let newest = history.last().map(|(_, model)| model);
        newest
            .into_iter()
            .for_each(|model| same(&map, &engine.snapshot(), model));
    }
}
