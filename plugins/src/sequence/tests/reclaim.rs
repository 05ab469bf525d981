//! Space given back part by part.

use std::collections::BTreeMap;

use travertine_engine::contract::{Epoch, Oid, Reclaim, Record};

use super::*;

/// Every record that a scan tells of.
fn scan_all(store: &dyn Store) -> BTreeMap<Oid, Record> {
    let (mut all, mut from) = (BTreeMap::new(), Position::START);
    loop {
        let some = store.scan(Stream(0), from).wait().unwrap();
        for batch in &some.batches {
            all.extend(batch.records());
        }
        all.extend(some.sparse.into_iter().flat_map(|left| left.records));
        match some.next {
            Some(next) => from = next,
            None => return all,
        }
    }
}

/// Keeps what an engine needs to go on, and of the rest what chance says.
fn decision(store: &dyn Store, all: &BTreeMap<Oid, Record>, every: usize) -> Reclaim {
    let state = store.fence(Epoch::default()).wait().unwrap().remove(0);
    let to = Position(store.status().streams[0].durable);
    let stays = |(at, (oid, record)): &(usize, (&Oid, &Record))| {
        oid.position() < to && (record.kind() != Kind::BLOB || at % every == 0)
    };
    let alive = all.iter().enumerate().filter(stays);
    Reclaim {
        sender: state.epoch,
        stream: Stream(0),
        from: Position::START,
        to,
        alive: alive.map(|(_, (oid, _))| oid.position()).collect(),
        left: None,
    }
}

/// What stays reads as it was, all else does or is absent. Answers how much is absent.
fn check(store: &dyn Store, all: &BTreeMap<Oid, Record>, decision: &Reclaim) -> usize {
    let absent = |(oid, record): &(&Oid, &Record)| match store.read(**oid).wait().unwrap() {
        Some(found) => {
            assert!(found.encoded() == record.encoded(), "{oid}");
            false
        }
        None => {
            assert!(!decision.alive.contains(&oid.position()), "{oid}");
            true
        }
    };
    all.iter().filter(absent).count()
}

/// An engine that has written since it was opened: before that it may not decide.
fn begun(store: &Arc<dyn Store>, env: &SimEnv, number: u64) -> Engine {
    let engine = Engine::open(store.clone(), env.env(), Options::default()).unwrap();
    commit(&engine, number, 100).unwrap();
    engine
}

#[test]
fn parts_give_back_what_nobody_keeps_and_open_as_before() {
    let lists = over_these(sequence("64 KiB"), &["one", "two", "three", "four", "five"]);
    for spec in [over_one(), lists] {
        let (on, env) = OnDisk::calm(&spec);
        let engine = on.write(&env).unwrap();
        fill(&engine, 0..80);
        engine.close().unwrap();

        let store = on.open_as(env.env(), false).unwrap();
        let engine = begun(&store, &env, 80);
        let all = scan_all(&*store);
        let reader = on.open_as(env.env(), true).unwrap();
        check(&*reader, &all, &decision(&*store, &all, 1));
        let used = on.disk.used();
        let half = decision(&*store, &all, 5);
        let freed = store.reclaim(half.clone()).wait().unwrap();
        assert!(freed.bytes > 100 << 10, "{freed:?}");
        assert!(on.disk.used() < used - freed.bytes / 2);
        let absent = check(&*store, &all, &half);
        assert!(absent > 20, "{absent}");
        // What it has open it goes on reading.
        check(&*reader, &all, &half);
        assert_eq!(store.reclaim(half.clone()).wait().unwrap().bytes, 0);

        // Nothing alive but what the engine needs, then on with it.
        let few = decision(&*store, &all, usize::MAX);
        store.reclaim(few.clone()).wait().unwrap();
        let absent = check(&*store, &all, &few);
        let newest = fill(&engine, 90..100);
        all_read_from(&engine, 90, &newest);
        engine.close().unwrap();
        for read_only in [true, false] {
            let store = on.open_as(env.env(), read_only).unwrap();
            assert_eq!(check(&*store, &all, &few), absent);
            assert_eq!(
                scan_all(&*store)
                    .keys()
                    .filter(|oid| all.contains_key(oid))
                    .count(),
                all.len() - absent
            );
        }
        let engine = on.write(&env).unwrap();
        all_read_from(&engine, 90, &newest);
        fill(&engine, 100..105);
    }
}

fn all_read_from(engine: &Engine, first: u64, references: &[Reference]) {
    for (number, reference) in (first..).zip(references) {
        reads(engine, number, reference).unwrap();
    }
}

#[test]
fn a_crash_in_a_reclaim_of_parts_loses_nothing_that_stays() {
    for call in 1..60 {
        let (on, env) = OnDisk::calm(&over_one());
        let engine = on.write(&env).unwrap();
        fill(&engine, 0..60);
        engine.close().unwrap();
        let store = on.open_as(env.env(), false).unwrap();
        let engine = begun(&store, &env, 60);
        let all = scan_all(&*store);
        let decision = decision(&*store, &all, 4);
        on.disk.crash_in(call);
        let told = store.reclaim(decision.clone()).wait();
        let done = !on.disk.is_down();
        assert!(told.is_ok() || !done, "call {call}: {told:?}");
        drop((engine, store));
        if call % 2 == 0 {
            on.disk.power_cut();
        } else {
            on.disk.kill();
        }
        let store = on.open_as(env.env(), false).unwrap();
        check(&*store, &all, &decision);
        let engine = Engine::open(store.clone(), env.env(), Options::default()).unwrap();
        check(&*store, &all, &decision);
        fill(&engine, 70..72);
        if done {
            return;
        }
    }
}

#[test]
fn a_part_that_is_missing_gives_nothing_back_and_hinders_no_other() {
    let (on, env) = OnDisk::calm(&over_one());
    let engine = on.write(&env).unwrap();
    fill(&engine, 0..80);
    engine.close().unwrap();
    let store = on.open_as(env.env(), false).unwrap();
    let all = scan_all(&*store);
    drop(store);
    on.disk.rename_within("data/part-000002", Some("elsewhere"));
    let store = on.open_as(env.env(), false).unwrap();
    let _engine = begun(&store, &env, 80);
    let decision = decision(&*store, &all, 5);
    assert!(store.reclaim(decision).wait().unwrap().bytes > 50 << 10);
}
