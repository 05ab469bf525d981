//! Maps on an engine: commits of several, conflicts, snapshots, reopening, readers beside a writer.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use travertine_engine::conformance::model::ModelStore;
use travertine_engine::contract::{Env, ErrorKind, Kind, Level, Name, NewRecord, RootAt};
use travertine_engine::front::{Change, Engine, Hint, Options};
use travertine_interfaces::{Btree, CursorExt, Map, View};

fn open(store: &ModelStore) -> Engine {
    Engine::open(Arc::new(store.clone()), &Env::system(), Options::default()).unwrap()
}

fn map(name: &str) -> Map<Btree> {
    let small = Btree {
        leaf_bytes: 256,
        inner_bytes: 256,
        inline_max: 64,
    };
    Map::new(Name::new(name).unwrap(), small)
}

fn put(engine: &Engine, map: &Map<Btree>, pairs: &[(&str, &str)]) {
    let session = engine.session().unwrap();
    let mut writer = map.writer(&session);
    for (key, value) in pairs {
        writer.put(key.as_bytes(), value.as_bytes()).unwrap();
    }
    writer.commit(None).unwrap().wait().unwrap();
}

fn get(engine: &Engine, map: &Map<Btree>, key: &str) -> Option<String> {
    let reader = map.reader(&engine.snapshot()).wait().unwrap();
    let value = reader.get(key.as_bytes()).wait().unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

#[test]
fn several_maps_are_committed_together_or_not_at_all() {
    let engine = open(&ModelStore::default());
    let (users, ages) = (map("users"), map("ages"));
    let session = engine.session().unwrap();
    let (mut user, mut age) = (users.writer(&session), ages.writer(&session));
    user.put(b"1", b"ada").unwrap();
    age.put(b"1", b"36").unwrap();
    let changes = [
        user.finish().unwrap().unwrap(),
        age.finish().unwrap().unwrap(),
    ];
    session.commit(&changes, None).wait().unwrap();
    assert_eq!(get(&engine, &users, "1").unwrap(), "ada");
    assert_eq!(get(&engine, &ages, "1").unwrap(), "36");

    let session = engine.session().unwrap();
    let (mut user, mut age) = (users.writer(&session), ages.writer(&session));
    user.put(b"2", b"alan").unwrap();
    age.put(b"2", b"41").unwrap();
    put(&engine, &ages, &[("2", "somebody was first")]);
    let changes = [
        user.finish().unwrap().unwrap(),
        age.finish().unwrap().unwrap(),
    ];
    let error = session.commit(&changes, None).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(get(&engine, &users, "2"), None);
}

#[test]
fn of_two_writers_that_began_alike_the_second_conflicts() {
    let engine = open(&ModelStore::default());
    let map = map("m");
    let (one, two) = (engine.session().unwrap(), engine.session().unwrap());
    let (mut first, mut second) = (map.writer(&one), map.writer(&two));
    first.put(b"k", b"first").unwrap();
    second.put(b"k", b"second").unwrap();
    first.commit(None).unwrap().wait().unwrap();
    let error = second.commit(None).unwrap().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(get(&engine, &map, "k").unwrap(), "first");
}

#[test]
fn a_turn_that_changes_nothing_commits_without_a_change() {
    let engine = open(&ModelStore::default());
    let map = map("m");
    put(&engine, &map, &[("k", "v")]);
    let before = engine.snapshot().root(map.name());
    put(&engine, &map, &[("k", "v")]);
    assert_eq!(engine.snapshot().root(map.name()), before);
}

#[test]
fn what_was_committed_is_there_after_reopening_and_every_commit_can_be_found() {
    let store = ModelStore::default();
    let map = map("m");
    let engine = open(&store);
    let long = "x".repeat(3 << 20);
    for round in 0..20 {
        let rows: Vec<_> = (0..50)
            .map(|row| format!("{:03}", row * 20 + round))
            .collect();
        let pairs: Vec<_> = rows.iter().map(|row| (&row[..], &row[..])).collect();
        put(&engine, &map, &pairs);
    }
    put(&engine, &map, &[("long", &long)]);
    let fifth = engine.at(RootAt::Sequence(5)).unwrap().unwrap();
    assert_eq!(map.reader(&fifth).wait().unwrap().count(), 250);
    engine.close().unwrap();
    drop(engine);

    let engine = open(&store.reopen());
    let reader = map.reader(&engine.snapshot()).wait().unwrap();
    assert_eq!(reader.count(), 1_001);
    assert_eq!(
        reader.get(b"long").wait().unwrap().unwrap(),
        long.as_bytes()
    );
    let report = reader.verify();
    assert!(report.is_clean() && report.apart == 1, "{report}");
    let mut cursor = reader.cursor();
    for row in 0..1_000 {
        let key = format!("{row:03}");
        assert_eq!(cursor.next().unwrap().unwrap().key, key.as_bytes());
    }
    assert_eq!(reader.view().rank(b"500").wait().unwrap(), 500);
}

#[test]
fn readers_beside_a_writer_see_whole_commits_and_never_wait() {
    let engine = open(&ModelStore::default());
    let map = map("m");
    let done = AtomicBool::new(false);
    put(&engine, &map, &[("sum", "0")]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let reader = map.reader(&engine.snapshot()).wait().unwrap();
                    let sum = reader.get(b"sum").wait().unwrap().unwrap();
                    let rows: u64 = std::str::from_utf8(&sum).unwrap().parse().unwrap();
                    assert_eq!(reader.count(), rows + 1, "a commit is seen whole");
                    assert!(reader.verify().is_clean());
                }
            });
        }
        for round in 1..=60u64 {
            let rows: Vec<_> = (0..7).map(|row| format!("{row}-{round}")).collect();
            let sum = (round * 7).to_string();
            let mut pairs: Vec<_> = rows.iter().map(|row| (&row[..], "v")).collect();
            pairs.push(("sum", &sum));
            put(&engine, &map, &pairs);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(map.reader(&engine.snapshot()).wait().unwrap().count(), 421);
}

#[test]
fn sorted_rows_are_loaded_into_an_empty_map_only() {
    let engine = open(&ModelStore::default());
    let map = map("m");
    let session = engine.session().unwrap();
    let mut load = map.loader(&session).unwrap();
    for row in 0..5_000u32 {
        load.push(&row.to_be_bytes(), &[1; 100][..(row % 100) as usize])
            .unwrap();
    }
    assert!(
        load.push(b"", b"")
            .unwrap_err()
            .message()
            .contains("row 5001")
    );
    load.commit(Some(Level::Disk)).unwrap().wait().unwrap();
    let reader = map.reader(&engine.snapshot()).wait().unwrap();
    assert_eq!(reader.count(), 5_000);
    let report = reader.verify();
    assert!(report.is_clean() && report.sparse == 0, "{report}");
    let session = engine.session().unwrap();
    assert_eq!(map.loader(&session).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_name_that_points_to_something_else_is_no_map() {
    let engine = open(&ModelStore::default());
    let map = map("m");
    let session = engine.session().unwrap();
    let blob = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[b"hello"],
    };
    let reference = session.store(&blob, Hint::default()).unwrap();
    let change = Change::set(map.name().clone(), reference);
    session.commit(&[change], None).wait().unwrap();
    let error = map.reader(&engine.snapshot()).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let session = engine.session().unwrap();
    let mut writer = map.writer(&session);
    writer.put(b"k", b"v").unwrap();
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::Invalid);
}
