//! What a monitor sees, and what it must not change.

mod held_back;
mod options;
mod scraped;
mod several;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::contract::{
    Error, ErrorKind, Kind, Name, NewRecord, Oid, Op, Promise, Record, Result, Status,
};
use travertine_engine::front::{Change, Engine, Expect, Hint, Options};
use travertine_engine::stack::{Layer, Opening, Plan, Spec, Stack, Table};

use super::seen::{Seen, Verb};
use super::slow::SlowLog;
use crate::standard;

fn open(layers: Vec<Layer>, base: &Path, env: &SimEnv) -> Stack {
    let plan = Plan::new(&Spec::linear(layers), &standard(), base).unwrap();
    plan.open(env.env(), Opening::default()).unwrap()
}

/// Ten commits of three records each, every record read once; answers what the stack says of itself.
fn work(stack: &Stack, env: &SimEnv) -> Status {
    let engine = Engine::open(stack.store(), env.env(), Options::default()).unwrap();
    for round in 0..10u8 {
        let session = engine.session().unwrap();
        let references: Vec<_> = (0..3u8)
            .map(|n| {
                let body = vec![round * 16 + n; 100 + usize::from(n)];
                let record = NewRecord {
                    kind: Kind::BLOB,
                    references: &[],
                    body: &[&body],
                };
                session.store(&record, Hint::default()).unwrap()
            })
            .collect();
        let change = Change {
            name: Name::new("it").unwrap(),
            expect: Expect::Any,
            to: Some(references[2]),
        };
        session.commit(&[change], None).wait().unwrap();
    }
    let status = stack.status();
    engine.close().unwrap();
    status
}

fn file(path: &str) -> Layer {
    Layer::new("file").with("path", path)
}

fn figures(status: &Status) -> BTreeMap<&'static str, u64> {
    status.figures.iter().copied().collect()
}

#[test]
fn every_boundary_below_is_counted_and_none_above() {
    let directory = tempfile::tempdir().unwrap();
    let env = SimEnv::new(3);
    let layers = vec![
        Layer::new("monitor").named("outer").with("sample", 1),
        file("log"),
    ];
    let status = work(&open(layers, directory.path(), &env), &env);
    assert_eq!(
        (status.kind, status.name.as_deref()),
        ("monitor", Some("outer"))
    );
    let own = figures(&status);
    assert!(own["records_bytes"] > 10 * 303);
    assert!(own["sent_bytes"] > own["records_bytes"]);
    assert_eq!(
        own["bottoms_bytes"], own["sent_bytes"],
        "there is one bottom"
    );
    assert!(own["media_bytes"] >= own["sent_bytes"]);
    let seen = figures(&status.below[0]);
    assert_eq!(seen["commit_calls"], 10);
    assert_eq!(seen["commit_errors"], 0);
    assert!(seen["commit_bytes"] > 10 * 303);
    assert_eq!(seen["commit_p50_ns"], 0, "simulated time stands still");
}

#[test]
fn the_bytes_on_disk_are_the_same_with_and_without() {
    let bytes = |layers: Vec<Layer>| {
        let directory = tempfile::tempdir().unwrap();
        let env = SimEnv::new(9);
        work(&open(layers, directory.path(), &env), &env);
        contents(&directory.path().join("log"))
    };
    let without = bytes(vec![file("log")]);
    assert!(without.len() > 2);
    assert_eq!(without, bytes(vec![Layer::new("monitor"), file("log")]));
    assert_eq!(
        without,
        bytes(vec![
            Layer::new("monitor"),
            Layer::new("monitor").with("sample", 1),
            file("log")
        ])
    );
    // A pause would show in the times that commits bear.
    let marks = Table::default()
        .with("slow", "9 min")
        .with("shed", "10 min");
    let moderate = Table::default().with("sync", marks);
    assert_eq!(
        without,
        bytes(vec![
            Layer::new("monitor")
                .with("moderate", moderate)
                .with("slow", "1 ms"),
            file("log")
        ])
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test looks at what lies on disk"
)]
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn seen(env: &SimEnv, sample: u32, slow: Option<Arc<SlowLog>>) -> Arc<Seen> {
    let clock = env.env().clock.clone();
    Arc::new(Seen::new("it".into(), clock, u64::from(sample) - 1, slow))
}

fn read(seen: &Arc<Seen>, call: impl FnOnce() -> Op<Option<Record>>) -> Op<Option<Record>> {
    seen.watch(Verb::Read, 0, 0, call)
}

#[test]
fn ready_stays_ready_and_pending_answers_are_counted_when_they_come() {
    let env = SimEnv::new(1);
    let seen = seen(&env, 1, None);
    assert!(read(&seen, || Op::ok(None)).is_ready());
    assert!(read(&seen, || Op::err(Error::unavailable("x"))).is_ready());
    let (promise, answer) = Promise::new();
    let op = read(&seen, move || answer);
    assert!(!op.is_ready());
    assert_eq!(seen.pending(), (1, 1));
    env.advance(Duration::from_millis(3));
    let answer: Result<Option<_>> = Err(Error::corrupt("y"));
    promise.fulfil(answer);
    op.wait().unwrap_err();
    let figures: BTreeMap<_, _> = seen.figures().into_iter().collect();
    assert_eq!((figures["read_calls"], figures["read_errors"]), (3, 2));
    assert_eq!(figures["read_max_ns"], 3_000_000);
    assert_eq!(figures["read_p99_ns"], 3_000_000);
    let errors = seen.errors(Verb::Read).filter(|(_, count)| *count > 0);
    let kinds = [(ErrorKind::Unavailable, 1), (ErrorKind::Corrupt, 1)];
    assert_eq!(errors.collect::<Vec<_>>(), kinds);
}

#[test]
fn answers_that_are_waited_for_no_longer_are_on_their_way_no_longer() {
    let env = SimEnv::new(1);
    let seen = seen(&env, 1, None);
    let places: Vec<_> = (0..3)
        .map(|_| {
            let (promise, answer) = Promise::new();
            (promise, read(&seen, move || answer))
        })
        .collect();
    assert_eq!(seen.pending(), (3, 3));
    drop(places);
    assert_eq!(seen.pending(), (0, 3));
}

#[test]
fn of_frequent_calls_some_are_timed_and_all_of_them_where_slow_ones_are_told_of() {
    let env = SimEnv::new(1);
    let sampled = seen(&env, 8, None);
    let log = Arc::new(SlowLog::new(Duration::from_millis(5)));
    let told = seen(&env, 8, Some(log.clone()));
    for n in 0..64 {
        for seen in [&sampled, &told] {
            let slept = if n % 8 == 1 { 6 } else { 0 };
            let clock = env.env().clock.clone();
            let call = || {
                clock.sleep(Duration::from_millis(slept));
                Op::ok(None)
            };
            read(seen, call).wait().unwrap();
        }
    }
    assert_eq!(sampled.times(Verb::Read).all, 8);
    assert_eq!(told.times(Verb::Read).all, 64);
    assert_eq!(log.count(), 8);
    let fence = || Op::ok(Vec::new());
    sampled.watch(Verb::Fence, 0, 0, fence).wait().unwrap();
    sampled.watch(Verb::Fence, 0, 0, fence).wait().unwrap();
    assert_eq!(sampled.times(Verb::Fence).all, 2, "rare calls all are");
}

#[test]
fn a_hit_through_a_probe_reads_the_same_record() {
    let env = SimEnv::new(5);
    let directory = tempfile::tempdir().unwrap();
    let stack = open(
        vec![Layer::new("monitor"), file("log")],
        directory.path(),
        &env,
    );
    let engine = Engine::open(stack.store(), env.env(), Options::default()).unwrap();
    let session = engine.session().unwrap();
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[b"hello"],
    };
    let reference = session.store(&record, Hint::default()).unwrap();
    let change = Change {
        name: Name::new("it").unwrap(),
        expect: Expect::Any,
        to: Some(reference),
    };
    session.commit(&[change], None).wait().unwrap();
    let store: Arc<_> = stack.store();
    let read = |oid: Oid| store.read(oid).wait().unwrap();
    assert_eq!(read(reference.oid).unwrap().body(), b"hello");
    let length = reference.length;
    let seen = figures(&stack.status().below[0]);
    assert_eq!(seen["read_bytes"], u64::from(length));
    engine.close().unwrap();
}
