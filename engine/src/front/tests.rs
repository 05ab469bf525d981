//! Claims about the front, on the model store.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::conformance::env::SimEnv;
use crate::conformance::model::{ModelOptions, ModelStore};
use crate::conformance::rng::Rng;
use crate::contract::op::block_on;
use crate::contract::{Commit, ErrorKind, Kind, Level, Name, NewRecord, Reference, RootMarker};
use crate::forward;

mod gated;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn open(store: &ModelStore) -> Engine {
    let sim = SimEnv::new(1);
    Engine::open(Arc::new(store.clone()), sim.env(), Options::default()).unwrap()
}

fn open_threaded(store: impl Store + 'static, options: Options) -> Engine {
    Engine::open(Arc::new(store), &Env::system(), options).unwrap()
}

fn put(session: &Session, body: &[u8]) -> Reference {
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[body],
    };
    session.store(&record, Hint::default()).unwrap()
}

fn set(engine: &Engine, to: &str, body: &[u8]) -> Committed {
    let session = engine.session().unwrap();
    let reference = put(&session, body);
    let change = Change::set(name(to), reference);
    session.commit(&[change], None).wait().unwrap()
}

fn get(snapshot: &Snapshot, of: &str) -> Option<Vec<u8>> {
    let record = snapshot.read_root(&name(of)).unwrap()?;
    Some(record.body().to_vec())
}

/// Waits for something that another thread brings about: not for ever, and long enough for a machine
/// that has much else to do.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let env = Env::system();
    for _ in 0..24_000 {
        if holds() {
            return;
        }
        env.clock.sleep(Duration::from_millis(5));
    }
    panic!("never: {what}");
}

#[test]
fn a_stored_record_is_read_at_once_and_a_commit_shows_it() {
    let store = ModelStore::default();
    let engine = open(&store);
    assert_eq!(engine.snapshot().sequence(), 0);
    let session = engine.session().unwrap();
    let reference = put(&session, b"one");
    assert_eq!(session.read(&reference).wait().unwrap().body(), b"one");
    assert_eq!(engine.snapshot().root(&name("a")), None);
    let change = Change::swap(name("a"), None, reference);
    let done = session.commit(&[change], None).wait().unwrap();
    assert_eq!((done.sequence, done.level), (1, Level::Disk));
    assert_eq!(get(&engine.snapshot(), "a").unwrap(), b"one");
    assert_eq!(session.base().sequence(), 0);
    let marker = engine.read(done.marker).wait().unwrap().unwrap();
    assert_eq!(marker.kind(), Kind::MARKER);
}

#[test]
fn one_commit_is_one_batch_and_one_sync() {
    let store = ModelStore::default();
    let engine = open(&store);
    set(&engine, "a", b"first, which opens the epoch");
    let (batches, syncs) = (store.batches().len(), store.syncs());
    set(&engine, "a", b"second");
    assert_eq!(store.batches().len(), batches + 1);
    assert_eq!(store.syncs(), syncs + 1);
}

#[test]
fn a_thousand_small_stores_and_a_commit_are_one_batch() {
    let store = ModelStore::default();
    let engine = open(&store);
    set(&engine, "a", b"first, which opens the epoch");
    let batches = store.batches().len();
    let session = engine.session().unwrap();
    let stored = (0..1_000_u32).map(|number| put(&session, &number.to_le_bytes()));
    let stored: Vec<_> = stored.collect();
    assert_eq!(store.batches().len(), batches);
    // They are read as if they had been sent.
    for (number, reference) in (0_u32..).zip(&stored) {
        let record = session.read(reference).wait().unwrap();
        assert_eq!(record.body(), number.to_le_bytes());
    }
    let change = Change::set(name("a"), stored[999]);
    session.commit(&[change], None).wait().unwrap();
    assert_eq!(store.batches().len(), batches + 1);
}

#[test]
fn while_memory_is_short_little_waits_and_nothing_that_was_sent_stays() {
    let store = ModelStore::default();
    let sim = SimEnv::new(1);
    let options = Options {
        flush_pressure: Some(90),
        ..Options::default()
    };
    let engine = Engine::open(Arc::new(store.clone()), sim.env(), options).unwrap();
    set(&engine, "a", b"first, which opens the epoch");
    let session = engine.session().unwrap();
    // Half a buffer, while so much is in use: how many batches it becomes.
    let half_a_buffer = |percent: u8| {
        sim.use_memory(percent);
        sim.advance(Duration::from_secs(1));
        let before = store.batches().len();
        let stored: Vec<_> = (0..128).map(|_| put(&session, &[7; 4096])).collect();
        for reference in stored {
            assert_eq!(session.read(&reference).wait().unwrap().body(), [7; 4096]);
        }
        let sent = store.batches().len() - before;
        session.commit(&[], None).wait().unwrap();
        sent
    };
    assert_eq!(half_a_buffer(89), 0);
    assert!(half_a_buffer(90) >= 7);
    assert!(half_a_buffer(86) >= 7);
    assert_eq!(half_a_buffer(85), 0);
    assert_eq!(half_a_buffer(89), 0);
    assert!(half_a_buffer(100) >= 7);
    let figures = engine.status().figures;
    assert!(figures.contains(&("pressed", 2)), "{figures:?}");
}

fn set_at(engine: &Engine, to: &str, body: &[u8], level: Level) -> Committed {
    let session = engine.session().unwrap();
    let change = Change::set(name(to), put(&session, body));
    session.commit(&[change], Some(level)).wait().unwrap()
}

#[test]
fn a_commit_in_memory_is_shown_at_once_and_nothing_is_written_for_it() {
    let store = ModelStore::default();
    let engine = open(&store);
    set(&engine, "a", b"first, which opens the epoch");
    let (batches, syncs) = (store.batches().len(), store.syncs());
    for n in 0..50_u8 {
        let done = set_at(&engine, "b", &[n], Level::Memory);
        assert_eq!(
            (done.sequence, done.level),
            (u64::from(n) + 2, Level::Memory)
        );
        assert_eq!(get(&engine.snapshot(), "b").unwrap(), [n]);
        let before = engine.at(RootAt::Sequence(done.sequence - 1)).unwrap();
        assert_eq!(before.unwrap().sequence(), done.sequence - 1);
    }
    assert_eq!((store.batches().len(), store.syncs()), (batches, syncs));
    // The next one at a level takes them all along, with one write and one sync.
    let done = set(&engine, "c", b"last");
    assert_eq!(done.sequence, 52);
    assert_eq!(
        (store.batches().len(), store.syncs()),
        (batches + 1, syncs + 1)
    );
    let engine = open(&store.crash(Level::Disk, 0));
    assert_eq!(engine.snapshot().sequence(), 52);
    assert_eq!(get(&engine.snapshot(), "b").unwrap(), [49]);
    let back = engine.at(RootAt::Sequence(7)).unwrap().unwrap();
    assert_eq!(get(&back, "b").unwrap(), [5]);
}

#[test]
fn a_clean_close_keeps_what_was_committed_in_memory() {
    let store = ModelStore::default();
    let engine = open(&store);
    for n in 0..9_u8 {
        set_at(&engine, "a", &[n], Level::Memory);
    }
    engine.close().unwrap();
    let store = store.reopen();
    let (batches, syncs) = (store.batches().len(), store.syncs());
    let engine = open(&store);
    assert_eq!(engine.snapshot().sequence(), 9);
    assert_eq!(get(&engine.snapshot(), "a").unwrap(), [8]);
    let nothing = (store.batches().len(), store.syncs());
    assert_eq!(nothing, (batches, syncs), "a clean end is not recovered");
}

#[test]
fn a_stale_commit_conflicts_and_tells_what_it_found() {
    let store = ModelStore::default();
    let engine = open(&store);
    set(&engine, "a", b"one");
    let (first, second) = (engine.session().unwrap(), engine.session().unwrap());
    let seen = first.base().root(&name("a")).unwrap();
    let swap = |session: &Session| {
        let change = Change::swap(name("a"), Some(seen.oid), put(session, b"two"));
        session.commit(&[change], None).wait()
    };
    let won = swap(&first).unwrap();
    let error = swap(&second).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains(&seen.oid.to_string()), "{error}");
    assert_eq!(engine.snapshot().sequence(), won.sequence);
}

#[test]
fn several_names_change_together_or_not_at_all() {
    let store = ModelStore::default();
    let engine = open(&store);
    set(&engine, "a", b"one");
    let session = engine.session().unwrap();
    let new = put(&session, b"new");
    let wrong = [
        Change::set(name("b"), new),
        Change::swap(name("a"), None, new),
    ];
    let error = session.commit(&wrong, None).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(engine.snapshot().names().len(), 1);
    let right = [Change::set(name("b"), new), Change::set(name("c"), new)];
    session.commit(&right, None).wait().unwrap();
    assert_eq!(engine.snapshot().names().len(), 3);
}

#[test]
fn a_name_is_renamed_and_dropped() {
    let store = ModelStore::default();
    let engine = open(&store);
    set(&engine, "a", b"one");
    let session = engine.session().unwrap();
    session.rename(&name("a"), &name("b")).wait().unwrap();
    let snapshot = engine.snapshot();
    assert_eq!(get(&snapshot, "a"), None);
    assert_eq!(get(&snapshot, "b").unwrap(), b"one");
    let error = session.rename(&name("a"), &name("c")).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let root = snapshot.root(&name("b")).unwrap();
    let drop = Change::drop(name("b"), root.oid);
    engine
        .session()
        .unwrap()
        .commit(&[drop], None)
        .wait()
        .unwrap();
    assert!(engine.snapshot().names().is_empty());
    assert_eq!(get(&snapshot, "b").unwrap(), b"one");
    let engine = open(&store.crash(Level::Disk, 0));
    assert!(engine.snapshot().names().is_empty());
}

#[test]
fn calls_that_ask_the_impossible_are_refused_before_anything_is_written() {
    let options = ModelOptions {
        level: Level::Os,
        ..ModelOptions::default()
    };
    let store = ModelStore::new(options);
    let sim = SimEnv::new(1);
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let error = Engine::open(shared.clone(), sim.env(), Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let os = Options {
        level: Level::Os,
        ..Options::default()
    };
    let engine = Engine::open(shared, sim.env(), os).unwrap();
    let session = engine.session().unwrap();
    let reference = put(&session, b"one");
    let batches = store.batches().len();
    let set = Change::set(name("a"), reference);
    let never = Reference {
        oid: Oid::from_raw(reference.oid.raw() + 1_000).unwrap(),
        ..reference
    };
    let refused = [
        session.commit(std::slice::from_ref(&set), Some(Level::Disk)),
        session.commit(&[set.clone(), set.clone()], None),
        session.commit(&[Change::set(name("b"), never)], None),
    ];
    for answer in refused {
        assert_eq!(answer.wait().unwrap_err().kind(), ErrorKind::Invalid);
    }
    let marker = NewRecord {
        kind: Kind::MARKER,
        references: &[],
        body: &[],
    };
    let forward = NewRecord {
        kind: Kind::BLOB,
        references: &[never],
        body: &[],
    };
    for record in [marker, forward] {
        let error = session.store(&record, Hint::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(store.batches().len(), batches);
    let done = session.commit(&[set], None).wait().unwrap();
    assert_eq!(done.level, Level::Os);
}

#[test]
fn a_clean_close_reopens_with_nothing_rewritten() {
    let store = ModelStore::default();
    let engine = open(&store);
    set(&engine, "a", b"one");
    put(&engine.session().unwrap(), b"never committed");
    engine.close().unwrap();
    engine.close().unwrap();
    assert_eq!(
        engine.session().unwrap_err().kind(),
        ErrorKind::Closed,
        "a closed engine takes no session"
    );
    let store = store.reopen();
    let (batches, syncs) = (store.batches(), store.syncs());
    let engine = open(&store);
    assert_eq!(get(&engine.snapshot(), "a").unwrap(), b"one");
    assert_eq!((store.batches(), store.syncs()), (batches, syncs));
    let done = set(&engine, "a", b"two");
    assert_eq!((done.sequence, done.epoch.number), (2, 2));
    assert_eq!(get(&engine.snapshot(), "a").unwrap(), b"two");
}

#[test]
fn a_closed_engine_says_so() {
    let store = ModelStore::default();
    let engine = open(&store);
    let session = engine.session().unwrap();
    put(&session, b"one");
    engine.close().unwrap();
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[],
    };
    let error = session.store(&record, Hint::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    let error = session.commit(&[], None).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn what_was_acknowledged_survives_and_addresses_are_never_used_again() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut store = ModelStore::default();
        let (mut acknowledged, mut submitted) = (0u64, 0u64);
        let mut handed_out = std::collections::BTreeMap::new();
        for _ in 0..6 {
            let engine = open(&store);
            let found = engine.snapshot().sequence();
            assert!(found >= acknowledged, "seed {seed}");
            assert!(found <= submitted, "seed {seed}");
            for back in 1..=found {
                let snapshot = engine.at(RootAt::Sequence(back)).unwrap().unwrap();
                assert_eq!(snapshot.sequence(), back);
                let n: u64 = String::from_utf8(get(&snapshot, "n").unwrap())
                    .unwrap()
                    .parse()
                    .unwrap();
                assert_eq!(n, back, "seed {seed}");
            }
            (acknowledged, submitted) = (found, found);
            for _ in 0..rng.below(12) {
                let session = engine.session().unwrap();
                let next = submitted + 1;
                let reference = put(&session, next.to_string().as_bytes());
                let epoch = engine.0.lock().writer.as_ref().unwrap().epoch;
                let other = handed_out.insert(reference.oid, epoch);
                assert_eq!(other, None, "seed {seed}: {reference:?} handed out twice");
                if rng.chance(1, 4) {
                    continue;
                }
                let level = if rng.chance(1, 2) {
                    Level::Os
                } else {
                    Level::Disk
                };
                let change = Change::set(name("n"), reference);
                session.commit(&[change], Some(level)).wait().unwrap();
                submitted = next;
                if level == Level::Disk {
                    acknowledged = next;
                }
            }
            store = if rng.chance(1, 4) {
                engine.close().unwrap();
                acknowledged = submitted;
                store.reopen()
            } else {
                store.crash(Level::Disk, rng.below_usize(4))
            };
        }
    }
}

#[test]
fn a_clean_engine_that_was_overtaken_is_fenced_at_its_first_write() {
    let store = ModelStore::default();
    let (first, second) = (open(&store), open(&store));
    set(&first, "a", b"one");
    let session = second.session().unwrap();
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[],
    };
    let error = session.store(&record, Hint::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
}

#[test]
fn a_full_store_says_so_before_an_address_exists_and_goes_on_after() {
    let store = ModelStore::new(ModelOptions {
        capacity: 1 << 20,
        ..ModelOptions::default()
    });
    let engine = open(&store);
    let session = engine.session().unwrap();
    let body = vec![7; 10_000];
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[&body],
    };
    let mut stored = Vec::new();
    let error = loop {
        match session.store(&record, Hint::default()) {
            Ok(reference) => stored.push(reference),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(stored.len() > 90, "{} records fit", stored.len());
    let last = *stored.last().unwrap();
    let change = Change::set(name("a"), last);
    session.commit(&[change], None).wait().unwrap();
    assert_eq!(session.read(&stored[0]).wait().unwrap().body(), body);
    let error = session.store(&record, Hint::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    store.set_capacity(2 << 20);
    let reference = session.store(&record, Hint::default()).unwrap();
    let change = Change::set(name("a"), reference);
    session.commit(&[change], None).wait().unwrap();
    let engine = open(&store.crash(Level::Disk, 0));
    assert_eq!(get(&engine.snapshot(), "a").unwrap(), body);
}

#[test]
fn commits_fill_the_reserve_and_then_are_refused_without_harm() {
    let store = ModelStore::new(ModelOptions {
        capacity: 256 << 10,
        ..ModelOptions::default()
    });
    let engine = open(&store);
    let session = engine.session().unwrap();
    let reference = put(&session, b"one");
    let mut commits = 0;
    let error = loop {
        let change = Change::set(name("a"), reference);
        match session.commit(&[change], None).wait() {
            Ok(done) => commits = done.sequence,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(commits > 300, "{commits}");
    assert_eq!(engine.snapshot().sequence(), commits);
    store.set_capacity(1 << 20);
    assert_eq!(set(&engine, "a", b"two").sequence, commits + 1);
}

#[test]
fn any_commit_is_found_by_sequence_and_by_time() {
    let store = ModelStore::default();
    let sim = SimEnv::new(1);
    let engine = Engine::open(Arc::new(store.clone()), sim.env(), Options::default()).unwrap();
    let mut times = Vec::new();
    for n in 1..=300u64 {
        sim.advance(Duration::from_micros(n % 3));
        let done = set(&engine, "n", n.to_string().as_bytes());
        assert_eq!(done.sequence, n);
        times.push(engine.snapshot().time());
    }
    let check = |engine: &Engine| {
        for n in 1..=300u64 {
            let snapshot = engine.at(RootAt::Sequence(n)).unwrap().unwrap();
            assert_eq!(get(&snapshot, "n").unwrap(), n.to_string().as_bytes());
            let time = times[n as usize - 1];
            let newest = times.iter().rposition(|&other| other <= time).unwrap() as u64 + 1;
            let snapshot = engine.at(RootAt::Time(time)).unwrap().unwrap();
            assert_eq!(snapshot.sequence(), newest, "time of {n}");
        }
        assert!(engine.at(RootAt::Sequence(0)).unwrap().is_none());
        assert!(engine.at(RootAt::Sequence(301)).unwrap().is_none());
        assert!(engine.at(RootAt::Time(times[0] - 1)).unwrap().is_none());
    };
    check(&engine);
    let sequences: Vec<_> = engine
        .history()
        .map(|commit| commit.unwrap().1.sequence)
        .collect();
    assert_eq!(sequences, (1..=300).rev().collect::<Vec<_>>());
    engine.close().unwrap();
    check(&open(&store.reopen()));
}

#[test]
fn time_never_falls_back_even_if_the_clock_does() {
    let store = ModelStore::default();
    let sim = SimEnv::new(1);
    sim.advance(Duration::from_secs(100));
    let engine = Engine::open(Arc::new(store.clone()), sim.env(), Options::default()).unwrap();
    set(&engine, "a", b"one");
    let time = engine.snapshot().time();
    engine.close().unwrap();
    let engine = open(&store.reopen());
    set(&engine, "a", b"two");
    assert_eq!(engine.snapshot().time(), time);
}

#[test]
fn hundreds_of_names_come_back_from_their_directory() {
    let store = ModelStore::default();
    let engine = open(&store);
    for n in 0..300 {
        set(&engine, &format!("name {n}"), n.to_string().as_bytes());
    }
    let markers: Vec<RootMarker> = engine.history().map(|found| found.unwrap().1).collect();
    assert!(markers.iter().all(|marker| marker.changes.len() <= 33));
    for engine in [&engine, &open(&store.crash(Level::Disk, 0))] {
        assert_eq!(engine.snapshot().names().len(), 300);
        let early = engine.at(RootAt::Sequence(77)).unwrap().unwrap();
        assert_eq!(early.names().len(), 77);
        assert_eq!(get(&early, "name 76").unwrap(), b"76");
    }
}

#[test]
fn records_as_large_as_the_limit_are_stored_and_larger_ones_refused() {
    let store = ModelStore::default();
    let engine = open(&store);
    let session = engine.session().unwrap();
    let body = vec![3; 16 << 20];
    let references: Vec<_> = (0..5).map(|_| put(&session, &body)).collect();
    let change = Change::set(name("a"), references[4]);
    session.commit(&[change], None).wait().unwrap();
    for reference in &references {
        assert_eq!(session.read(reference).wait().unwrap().body(), body);
    }
    let body = vec![3; (16 << 20) + 1];
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[&body],
    };
    let error = session.store(&record, Hint::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_reader_elsewhere_sees_what_was_acknowledged_before_it_and_then_what_is_proven() {
    let store = ModelStore::default();
    let engine = open(&store);
    let early = Engine::open(
        Arc::new(store.reader()),
        SimEnv::new(2).env(),
        Options::reading(),
    )
    .unwrap();
    set(&engine, "a", b"one");
    assert_eq!(early.refresh().unwrap().sequence(), 0, "not named yet");
    let reader = Engine::open(
        Arc::new(store.reader()),
        SimEnv::new(2).env(),
        Options::reading(),
    )
    .unwrap();
    assert_eq!(get(&reader.snapshot(), "a").unwrap(), b"one");
    assert_eq!(reader.refresh().unwrap().sequence(), 1, "never back");
    engine.prove().unwrap();
    let batches = store.batches().len();
    assert_eq!(get(&early.refresh().unwrap(), "a").unwrap(), b"one");
    set(&engine, "a", b"two");
    assert_eq!(reader.refresh().unwrap().sequence(), 1);
    set(&engine, "a", b"three");
    assert_eq!(get(&reader.refresh().unwrap(), "a").unwrap(), b"two");
    assert_eq!(reader.session().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(store.batches().len(), batches + 2);
}

#[test]
fn what_recovery_chose_is_proven_without_a_write_of_its_own() {
    let store = ModelStore::default();
    set(&open(&store), "a", b"one");
    let store = store.crash(Level::Disk, 0);
    let engine = open(&store);
    let named = || {
        let newest = store.reader().root(RootAt::Proven).wait().unwrap();
        newest.map(|(_, marker)| marker.sequence)
    };
    assert_eq!(named(), None);
    engine.prove().unwrap();
    assert_eq!(named(), Some(1));
    engine.close().unwrap();
    let store = store.reopen();
    let batches = store.batches().len();
    let again = open(&store);
    again.prove().unwrap();
    again.close().unwrap();
    assert_eq!(store.batches().len(), batches, "a clean end needs no proof");
}

fn commit_empty(engine: &Engine) -> Op<Committed> {
    engine.session().unwrap().commit(&[], None)
}

#[test]
fn a_fenced_engine_says_fenced() {
    let store = ModelStore::default();
    let engine = open(&store);
    set(&engine, "a", b"one");
    let other = open(&store);
    set(&other, "b", b"two");
    let error = commit_empty(&engine).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(engine.session().unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(get(&engine.snapshot(), "a").unwrap(), b"one");
}

#[test]
fn a_dropped_ticket_is_carried_out_all_the_same() {
    let store = ModelStore::default();
    let engine = open_threaded(store.clone(), Options::default());
    drop(commit_empty(&engine));
    eventually("the commit is done", || engine.snapshot().sequence() == 1);
}

#[test]
fn a_ticket_is_carried_out_even_if_every_handle_is_dropped_with_it() {
    let store = ModelStore::default();
    let engine = open_threaded(store.clone(), Options::default());
    drop(commit_empty(&engine));
    drop(engine);
    let store = store.clone();
    eventually("the commit is done", || {
        let batches = store.batches();
        batches.iter().any(|batch| batch.header().marker.is_some())
    });
}

#[test]
fn an_old_tail_is_sent_and_a_pause_is_proved() {
    let store = ModelStore::default();
    let options = Options {
        flush_age: Duration::from_millis(5),
        proof_after: Duration::from_millis(5),
        ..Options::default()
    };
    let engine = open_threaded(store.clone(), options);
    let done = set(&engine, "a", b"one");
    let named = || store.batches().last().unwrap().header().proven;
    eventually("a batch names the commit as proven", || {
        named().is_some_and(|proven| proven.oid == done.marker)
    });
    let batches = store.batches().len();
    put(&engine.session().unwrap(), b"never committed");
    eventually("the record is sent", || store.batches().len() > batches);
}

#[test]
fn threads_that_race_for_one_name_win_one_at_a_time() {
    let store = ModelStore::default();
    let engine = open_threaded(store.clone(), Options::default());
    set(&engine, "n", b"0");
    let wins: u64 = std::thread::scope(|scope| {
        let racer = || {
            let mut wins = 0;
            while wins < 100 {
                let session = engine.session().unwrap();
                let seen = session.base().root(&name("n")).unwrap();
                let old = session.read(&seen).wait().unwrap();
                let old: u64 = std::str::from_utf8(old.body()).unwrap().parse().unwrap();
                let new = put(&session, (old + 1).to_string().as_bytes());
                let change = Change::swap(name("n"), Some(seen.oid), new);
                match session.commit(&[change], None).wait() {
                    Ok(_) => wins += 1,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                }
            }
            wins
        };
        let racers: Vec<_> = (0..4).map(|_| scope.spawn(racer)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(wins, 400);
    assert_eq!(get(&engine.snapshot(), "n").unwrap(), b"400");
    assert_eq!(engine.snapshot().sequence(), 401);
}

#[test]
fn many_threads_store_more_than_the_tail_holds() {
    let store = ModelStore::default();
    let options = Options {
        flush_bytes: 4 << 10,
        tail_max: 16 << 10,
        recent_max: 16 << 10,
        ..Options::default()
    };
    let engine = open_threaded(store.clone(), options);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let engine = &engine;
            scope.spawn(move || {
                let session = engine.session().unwrap();
                let body = [thread; 1_000];
                let mine: Vec<_> = (0..500).map(|_| put(&session, &body)).collect();
                let change = Change::set(name(&thread.to_string()), mine[499]);
                session.commit(&[change], None).wait().unwrap();
                for reference in &mine {
                    assert_eq!(session.read(reference).wait().unwrap().body(), body);
                }
            });
        }
    });
    assert_eq!(engine.snapshot().names().len(), 4);
    engine.close().unwrap();
    let engine = open(&store.reopen());
    assert_eq!(get(&engine.snapshot(), "3").unwrap(), [3; 1_000]);
}

#[test]
fn commits_are_awaited_on_one_tokio_thread_and_on_several() {
    let current = tokio::runtime::Builder::new_current_thread().build();
    let several = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build();
    for runtime in [current.unwrap(), several.unwrap()] {
        let store = ModelStore::default();
        let engine = open_threaded(store.clone(), Options::default());
        runtime.block_on(async {
            let tasks: Vec<_> = (0..32)
                .map(|task: u32| {
                    let engine = engine.clone();
                    tokio::spawn(async move {
                        for n in 0..20 {
                            let session = engine.session().unwrap();
                            let body = format!("{task} {n}");
                            let reference = put(&session, body.as_bytes());
                            let change = Change::set(name(&task.to_string()), reference);
                            session.commit(&[change], None).await.unwrap();
                            let read = session.read(&reference).await.unwrap();
                            assert_eq!(read.body(), body.as_bytes());
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert_eq!(engine.snapshot().sequence(), 640);
    }
}

#[test]
fn an_op_is_awaited_without_any_runtime() {
    let engine = open_threaded(ModelStore::default(), Options::default());
    let tickets: Vec<_> = (0..100).map(|_| commit_empty(&engine)).collect();
    for (n, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(block_on(ticket).unwrap().sequence, n as u64 + 1);
    }
}

fn log_in_memory() -> crate::log::Log {
    let medium = Arc::new(crate::medium::memory::MemoryMedium::new());
    let options = crate::log::LogOptions::default();
    crate::log::Log::open("memory", medium, SimEnv::new(1).env(), options).unwrap()
}

fn on_log(log: &crate::log::Log) -> Result<Engine> {
    let options = Options {
        level: Level::Memory,
        ..Options::default()
    };
    Engine::open(Arc::new(log.clone()), SimEnv::new(2).env(), options)
}

#[test]
fn an_engine_that_was_fenced_does_not_call_absent_what_it_cannot_know() {
    let log = log_in_memory();
    let old = on_log(&log).unwrap();
    set(&old, "a", b"old");
    let new = on_log(&log).unwrap();
    set(&new, "a", b"new");
    let session = old.session().unwrap();
    let error = session.commit(&[], None).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let oid = new.snapshot().root(&name("a")).unwrap().oid;
    assert!(old.read(oid).wait().unwrap().is_some());
}

#[test]
fn the_last_epoch_there_is_has_no_successor_and_nothing_panics() {
    let log = log_in_memory();
    let last = crate::contract::Epoch {
        number: u32::MAX,
        tag: 1,
    };
    log.fence(last).wait().unwrap();
    log.adopt(last, crate::contract::Vector::new())
        .wait()
        .unwrap();
    let error = match on_log(&log) {
        Ok(engine) => engine
            .session()
            .unwrap()
            .commit(&[], None)
            .wait()
            .unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}
