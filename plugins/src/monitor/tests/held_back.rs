//! Moderation, with time and devices simulated: when writes are slowed, shed and let through again, and
//! what a caller sees of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use travertine_engine::conformance::env::SimEnv;
use travertine_engine::conformance::sim::{Plan as Faults, SimDisk};
use travertine_engine::contract::op::block_on;
use travertine_engine::contract::{
    Commit, Env, Error, ErrorKind, Kind, Level, Name, NewRecord, Oid, Op, Record, Reference,
    Result, Status, Store,
};
use travertine_engine::forward;
use travertine_engine::front::{Change, Engine, Hint, Options, Session};
use travertine_engine::medium::Medium;
use travertine_engine::stack::{
    Arity, Below, Declared, Fault, Layer, Media, OpenContext, Opening, Plan, Plugin, PluginKind,
    Spec, Stack, Table, Value,
};

use crate::standard;

/// What a simulated device does to those who ask it.
#[derive(Debug, Default)]
struct Mood {
    commit_ns: AtomicU64,
    fails: AtomicBool,
}

static MOODS: std::sync::Mutex<BTreeMap<String, Arc<Mood>>> =
    std::sync::Mutex::new(BTreeMap::new());

/// A device with moods: what it does is said by the mood of its name.
#[derive(Debug, Deserialize)]
struct Moody {}

#[derive(Debug)]
struct MoodyStore {
    below: Arc<dyn Store>,
    env: Env,
    mood: Arc<Mood>,
}

impl Plugin for Moody {
    const KIND: PluginKind = PluginKind {
        summary: "has moods",
        cost: "time",
        declared: Declared::TRANSPARENT,
        ..PluginKind::new("moody", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let name = context.name.clone().unwrap_or_default();
        let mood = MOODS.lock().unwrap().entry(name).or_default().clone();
        Ok(Arc::new(MoodyStore {
            below: Below::only(below)?.open()?,
            env: context.env.clone(),
            mood,
        }))
    }
}

impl Store for MoodyStore {
    forward!(below: store root fence adopt scan reclaim close);

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        if self.mood.fails.load(Ordering::Relaxed) {
            return Op::err(Error::unavailable("the device does not answer"));
        }
        self.below.read(oid)
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        let took = self.mood.commit_ns.load(Ordering::Relaxed);
        self.env.clock.sleep(Duration::from_nanos(took));
        self.below.commit(commit)
    }

    fn status(&self) -> Status {
        Status::over(self.below.status(), Moody::KIND.name, None)
    }
}

#[derive(Debug)]
struct OneDisk(SimDisk);

impl Media for OneDisk {
    fn medium(&self, _place: &Path, _unit: u64) -> Arc<dyn Medium> {
        Arc::new(self.0.medium())
    }
}

/// An engine on a moderating monitor, on a device with moods.
struct House {
    env: SimEnv,
    disk: SimDisk,
    mood: Arc<Mood>,
    stack: Stack,
    engine: Engine,
    stored: u64,
}

/// A table of marks, as a config has it.
fn table(entries: &[(&str, Value)]) -> Value {
    let rows = entries.iter().cloned();
    rows.fold(Table::default(), |table, (key, value)| {
        table.with(key, value)
    })
    .into()
}

impl House {
    fn new(name: &str, moderate: Value) -> Self {
        let env = SimEnv::new(7);
        let disk = SimDisk::new(11, Faults::calm());
        let mood = Arc::new(Mood::default());
        MOODS.lock().unwrap().insert(name.to_owned(), mood.clone());
        let layers = vec![
            Layer::new("monitor").with("moderate", moderate),
            Layer::new("moody").named(name),
            Layer::new("file")
                .with("path", "log")
                .with("segment", "1 MiB"),
        ];
        let registry = standard().with::<Moody>();
        let plan = Plan::new(&Spec::linear(layers), &registry, Path::new("/")).unwrap();
        let opening = Opening {
            media: Some(Arc::new(OneDisk(disk.clone()))),
            ..Opening::default()
        };
        let stack = plan.open(env.env(), opening).unwrap();
        let options = Options {
            recent_max: 0,
            ..Options::default()
        };
        let engine = Engine::open(stack.store(), env.env(), options).unwrap();
        Self {
            env,
            disk,
            mood,
            stack,
            engine,
            stored: 0,
        }
    }

    fn session(&self) -> Session {
        self.engine.session().unwrap()
    }

    /// Stores a record and commits a name for it.
    fn write(&mut self) -> Result<Reference> {
        let session = self.session();
        let body = [self.stored as u8; 64];
        let reference = store(&session, &body)?;
        let name = Name::new(format!("n{}", self.stored)).unwrap();
        let change = Change::set(name, reference);
        session.commit(&[change], None).wait()?;
        self.stored += 1;
        Ok(reference)
    }

    fn commits_take(&self, time: Duration) {
        let ns = time.as_nanos() as u64;
        self.mood.commit_ns.store(ns, Ordering::Relaxed);
    }

    fn figure(&self, name: &str) -> u64 {
        let figures = self.stack.status().figures;
        let found = figures.iter().find(|(of, _)| *of == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {figures:?}"))
            .1
    }

    /// How long a write takes, in milliseconds of simulated time.
    fn timed_write(&mut self) -> u64 {
        let clock = self.env.env().clock.clone();
        let began = clock.monotonic_ns();
        self.write().unwrap();
        (clock.monotonic_ns() - began) / 1_000_000
    }

    /// Everything that was acknowledged is there, also after closing and opening anew.
    fn ends_well(self) {
        let names = self.engine.snapshot().names().len() as u64;
        assert_eq!(names, self.stored, "what was acknowledged stays");
        self.engine.close().unwrap();
        drop(self.stack);
        let stack = Plan::new(
            &Spec::linear(vec![
                Layer::new("file")
                    .with("path", "log")
                    .with("segment", "1 MiB"),
            ]),
            &standard(),
            Path::new("/"),
        );
        let opening = Opening {
            media: Some(Arc::new(OneDisk(self.disk.clone()))),
            ..Opening::default()
        };
        let stack = stack.unwrap().open(self.env.env(), opening).unwrap();
        let engine = Engine::open(stack.store(), self.env.env(), Options::default()).unwrap();
        assert_eq!(engine.snapshot().names().len() as u64, self.stored);
        engine.close().unwrap();
    }
}

fn store(session: &Session, body: &[u8]) -> Result<Reference> {
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[body],
    };
    session.store(&record, Hint::default())
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

#[test]
fn slow_syncs_slow_writers_then_shed_them_and_let_them_through_again() {
    let sync = table(&[("slow", "20 ms".into()), ("shed", "200 ms".into())]);
    let mut house = House::new("sync", table(&[("sync", sync), ("pause", "30 ms".into())]));
    assert_eq!(house.timed_write(), 0);
    assert_eq!(house.figure("stage"), 0);
    // The window still holds the quick ones: their mean is what counts.
    house.env.advance(ms(6_000));
    house.commits_take(ms(50));
    assert_eq!(
        house.timed_write(),
        80,
        "paused by 30 ms as soon as it is known"
    );
    house.env.advance(ms(10));
    assert_eq!(house.timed_write(), 80);
    assert_eq!(house.figure("stage"), 1);
    // The device gets worse.
    house.env.advance(ms(6_000));
    house.commits_take(ms(900));
    house.write().unwrap();
    house.env.advance(ms(10));
    let error = house.write().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.retry_after(), Some(ms(1_000)));
    assert!(error.message().contains("a commit takes"), "{error}");
    assert_eq!((house.figure("stage"), house.figure("refused")), (2, 1));
    // Nothing was begun, so the window runs empty; then it is tried again.
    house.commits_take(ms(0));
    let mut refused = 0;
    while let Err(error) = house.write() {
        refused += 1;
        assert!(refused < 20, "it never recovers");
        house.env.advance(error.retry_after().unwrap());
    }
    assert!(refused >= 4, "the window of five seconds had to pass");
    house.env.advance(ms(6_000));
    assert_eq!(house.timed_write(), 0);
    assert_eq!(house.figure("stage"), 0);
    house.ends_well();
}

#[test]
fn what_was_begun_ends_while_new_work_is_refused() {
    let sync = table(&[("shed", "100 ms".into())]);
    let mut house = House::new("begun", table(&[("sync", sync)]));
    house.write().unwrap();
    let session = house.session();
    let early = store(&session, b"stored before the trouble").unwrap();
    house.env.advance(ms(6_000));
    house.commits_take(ms(500));
    house.write().unwrap();
    house.env.advance(ms(10));
    let change = Change::set(Name::new("early").unwrap(), early);
    // Neither may begin, and neither ends the writer.
    for _ in 0..3 {
        let error = store(&session, b"new").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let commit = session.commit(std::slice::from_ref(&change), None);
        assert!(commit.is_ready());
        let error = commit.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some());
    }
    // The record that was stored is still read, and committed once the trouble is over.
    let record = session.read(&early).wait().unwrap();
    assert_eq!(record.body(), b"stored before the trouble");
    house.commits_take(ms(0));
    house.env.advance(ms(7_000));
    // The first look finds an empty window, and the stage is left after its dwell.
    let _ = store(&session, b"new");
    house.env.advance(ms(1_000));
    session.commit(&[change], None).wait().unwrap();
    house.stored += 1;
    house.ends_well();
}

#[test]
fn a_medium_that_fills_up_is_told_of_as_full_before_it_is() {
    let fill = table(&[("shed", 0.5.into())]);
    let mut house = House::new("fill", table(&[("fill", fill)]));
    house.write().unwrap();
    // What a log claims ahead counts as taken.
    let capacity = 2 * house.disk.used() + (16 << 20);
    house.disk.set_capacity(Some(capacity));
    let body = vec![3; 60_000];
    let mut stored = 0;
    let error = loop {
        let session = house.session();
        let stored_now = (|| {
            let reference = store(&session, &body)?;
            let name = Name::new("same").unwrap();
            session.commit(&[Change::set(name, reference)], None).wait()
        })();
        house.env.advance(ms(60));
        match stored_now {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1_000, "it was never full");
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.message().contains("% full"), "{error}");
    let used = house.disk.used();
    assert!(
        stored > 50 && used < capacity * 3 / 4,
        "{stored}, {used} of {capacity}"
    );
    house.stored += 1;
    // Space comes back, and so do writers, without reopening.
    house.disk.set_capacity(Some(1 << 30));
    house.env.advance(ms(100));
    let _ = house.write();
    house.env.advance(ms(2_000));
    house.write().unwrap();
    house.ends_well();
}

#[test]
fn bytes_that_no_commit_covers_are_bounded() {
    let dirty = table(&[("shed", "4 MiB".into())]);
    let mut house = House::new("dirty", table(&[("dirty", dirty)]));
    house.write().unwrap();
    let session = house.session();
    let body = vec![1; 100_000];
    let mut bytes = 0;
    let error = loop {
        match store(&session, &body) {
            Ok(_) => bytes += body.len(),
            Err(error) => break error,
        }
        house.env.advance(ms(3));
        assert!(bytes < 64 << 20, "nobody held it back");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!((4 << 20..8 << 20).contains(&bytes), "{bytes}");
    assert!(house.figure("dirty_bytes") >= 4 << 20);
    // A commit is the way out, so that is let through.
    let newest = store(&house.session(), b"new");
    assert!(newest.unwrap_err().retry_after().is_some());
    session.commit(&[], None).wait().unwrap();
    assert_eq!(house.figure("dirty_bytes"), 0);
    house.env.advance(ms(1_000));
    house.write().unwrap();
    house.ends_well();
}

#[test]
fn a_failing_floor_makes_the_stack_read_only_until_all_is_well() {
    let errors = table(&[("slow", 0.1.into()), ("read_only", 0.5.into())]);
    let mut house = House::new("errors", table(&[("errors", errors)]));
    let reference = house.write().unwrap();
    for _ in 0..4 {
        house.env.advance(ms(1_000));
        house.write().unwrap();
    }
    house.mood.fails.store(true, Ordering::Relaxed);
    let store_below = house.stack.store();
    for _ in 0..20 {
        store_below.read(reference.oid).wait().unwrap_err();
    }
    house.env.advance(ms(10));
    let error = house.write().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("until all is well"), "{error}");
    let refusing = house.engine.status().refusing.unwrap();
    assert!(
        refusing.contains("of the calls of a floor fail"),
        "{refusing}"
    );
    house.mood.fails.store(false, Ordering::Relaxed);
    house.env.advance(ms(6_000));
    let _ = house.write();
    house.env.advance(ms(1_000));
    house.write().unwrap();
    assert_eq!(house.engine.status().refusing, None);
    house.ends_well();
}

#[test]
fn a_measure_around_its_mark_does_not_make_writers_flap() {
    let sync = table(&[("slow", "50 ms".into())]);
    let mut house = House::new(
        "flap",
        table(&[
            ("sync", sync),
            ("pause", "10 us".into()),
            ("window", "400 ms".into()),
        ]),
    );
    house.env.advance(ms(10_000));
    for round in 0..300 {
        house.commits_take(ms(if round % 2 == 0 { 56 } else { 45 }));
        house.write().unwrap();
    }
    assert_eq!(house.figure("stage"), 1);
    assert_eq!(house.figure("stage_changes"), 1);
    house.ends_well();
}

#[test]
fn a_paced_answer_comes_to_tasks_and_threads_alike() {
    let sync = table(&[("slow", "10 ms".into())]);
    let mut house = House::new("paced", table(&[("sync", sync), ("pause", "40 ms".into())]));
    house.commits_take(ms(20));
    let clock = house.env.env().clock.clone();
    for by in [Op::wait as fn(Op<_>) -> _, block_on] {
        let session = house.session();
        let reference = store(&session, b"it").unwrap();
        let name = Name::new("same").unwrap();
        let began = clock.monotonic_ns();
        by(session.commit(&[Change::set(name, reference)], None)).unwrap();
        assert_eq!((clock.monotonic_ns() - began) / 1_000_000, 60);
    }
    assert!(house.figure("paused") >= 2);
    house.stored = 1;
    house.ends_well();
}
