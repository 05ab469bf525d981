//! Claims about backups, on simulated disks: what comes back, what a crash leaves, what damage says.

use std::collections::BTreeMap;

use super::restore::restore;
use super::*;
use crate::conformance::env::SimEnv;
use crate::conformance::model::ModelStore;
use crate::conformance::rng::Rng;
use crate::conformance::sim::{Plan, SimDisk};
use crate::contract::{ErrorKind, Name};
use crate::front::{Change, Options, Reclaiming, Retention};
use crate::interfaces::{Btree, CursorExt, Map, Value};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
/// What every name had at a commit.
type State = BTreeMap<String, Rows>;

/// Small, so that a backup has many chunks.
const SMALL: u64 = 4 << 10;

fn store(seed: u64) -> Engine {
    let env = SimEnv::new(seed);
    Engine::open(
        Arc::new(ModelStore::default()),
        env.env(),
        Options::default(),
    )
    .unwrap()
}

fn map(name: &str) -> Map<Btree> {
    Map::new(Name::new(name).unwrap(), Btree::default())
}

/// A store under churn, and what it had at each commit.
struct Churn {
    engine: Engine,
    rng: Rng,
    states: Vec<State>,
}

impl Churn {
    fn new(seed: u64) -> Self {
        Self {
            engine: store(seed),
            rng: Rng::new(seed),
            states: vec![State::new()],
        }
    }

    fn commits(&mut self, number: usize) {
        for _ in 0..number {
            let mut state = self.states.last().unwrap().clone();
            let name = format!("t{}", self.rng.below(3));
            let session = self.engine.session().unwrap();
            if self.rng.below(12) == 0 && state.remove(&name).is_some() {
                let name = Name::new(name).unwrap();
                let root = session.base().root(&name).unwrap();
                let change = Change::drop(name, root.oid);
                session.commit(&[change], None).wait().unwrap();
            } else {
                let rows = state.entry(name.clone()).or_default();
                let map = map(&name);
                let mut writer = map.writer(&session);
                for _ in 0..=self.rng.below(20) {
                    let key = self.rng.below(300).to_be_bytes().to_vec();
                    let value = vec![self.rng.below(256) as u8; self.rng.below(60) as usize];
                    if self.rng.below(4) == 0 && rows.len() > 1 {
                        writer.delete(&key).unwrap();
                        rows.remove(&key);
                    } else {
                        writer.put(&key, &value).unwrap();
                        rows.insert(key, value);
                    }
                }
                if self.rng.below(5) == 0 {
                    let long = vec![self.rng.below(256) as u8; 9_000];
                    writer.put(b"long", &long).unwrap();
                    rows.insert(b"long".to_vec(), long);
                }
                writer.commit(None).unwrap().wait().unwrap();
            }
            self.states.push(state);
        }
    }
}

fn state(engine: &Engine) -> State {
    let snapshot = engine.snapshot();
    let rows = |name: &Name| -> Rows {
        let reader = map(name.as_str()).reader(&snapshot).wait().unwrap();
        let report = reader.verify();
        assert!(report.is_clean(), "{report}");
        let mut cursor = reader.cursor();
        let mut rows = Rows::new();
        while let Some(entry) = cursor.next().unwrap() {
            let value = match entry.value {
                Value::Inline(bytes) => bytes.to_vec(),
                apart => reader.value(apart).wait().unwrap().to_vec(),
            };
            rows.insert(entry.key.to_vec(), value);
        }
        rows
    };
    let names = snapshot.names().keys();
    names.map(|name| (name.to_string(), rows(name))).collect()
}

fn restored(medium: &Arc<dyn Medium>, at: RootAt) -> Result<State, Failure> {
    let book = Book::open(medium.clone())?;
    let engine = store(99);
    restore(&book, &engine, at, false, || ())?;
    Ok(state(&engine))
}

fn disk(seed: u64) -> (SimDisk, Arc<dyn Medium>) {
    let disk = SimDisk::new(seed, Plan::calm());
    let medium: Arc<dyn Medium> = Arc::new(disk.medium());
    (disk, medium)
}

/// What a backup consists of: the lock is none of it.
fn files(disk: &SimDisk) -> Vec<(String, bytes::Bytes)> {
    let files = disk.files().into_iter();
    files.filter(|(name, _)| !name.ends_with("lock")).collect()
}

fn run(engine: &Engine, medium: &Arc<dyn Medium>) -> Option<RunFacts> {
    add(engine, medium, SMALL, |_| ()).unwrap()
}

fn damage(medium: &Arc<dyn Medium>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    match Book::open(medium.clone()) {
        Ok(book) => book
            .verify(|_| (), |place, what| found.push((place, what)))
            .unwrap(),
        Err(error) => found.push((String::new(), error.to_string())),
    }
    found
}

#[test]
fn every_commit_comes_back_row_by_row_whichever_run_added_it() {
    let mut churn = Churn::new(11);
    let (disk, medium) = disk(1);
    let mut records = 0;
    for number in [40, 1, 25, 60] {
        churn.commits(number);
        let before = files(&disk);
        let run = run(&churn.engine, &medium).unwrap();
        assert_eq!(run.commits, number as u64);
        records += run.records;
        for (name, bytes) in before {
            let now = disk
                .files()
                .into_iter()
                .find(|file| file.0 == name)
                .unwrap();
            assert!(now.1 == bytes, "{name} was written to again");
        }
    }
    assert!(run(&churn.engine, &medium).is_none(), "nothing is new");
    assert_eq!(damage(&medium), []);
    let book = Book::open(medium.clone()).unwrap();
    assert_eq!(book.commits(), churn.states.len() - 1);
    let chunks = book.runs.last().unwrap().chunks;
    assert!(records > 200 && chunks > 8, "{records} in {chunks}");
    for (sequence, wanted) in churn.states.iter().enumerate().skip(1) {
        let found = restored(&medium, RootAt::Sequence(sequence as u64)).unwrap();
        assert!(found == *wanted, "commit {sequence} came back as another");
    }
    assert!(restored(&medium, RootAt::Newest).unwrap() == *churn.states.last().unwrap());
    assert!(restored(&medium, RootAt::Sequence(999)).is_err());
}

#[test]
fn a_history_comes_back_commit_by_commit() {
    let mut churn = Churn::new(5);
    let (_, medium) = disk(1);
    for _ in 0..3 {
        churn.commits(12);
        run(&churn.engine, &medium).unwrap();
    }
    let book = Book::open(medium).unwrap();
    let engine = store(99);
    let at = RootAt::Sequence(30);
    restore(&book, &engine, at, true, || ()).unwrap();
    assert_eq!(engine.snapshot().sequence(), 30);
    assert!(state(&engine) == churn.states[30]);
    let tenth = engine.at(RootAt::Sequence(10)).unwrap().unwrap();
    let names: Vec<_> = tenth.names().keys().map(Name::to_string).collect();
    assert!(names.iter().eq(churn.states[10].keys()));
    let again = restore(&book, &engine, at, false, || ());
    assert!(again.is_err(), "it holds something");
}

#[test]
fn tags_come_back_on_the_commits_that_they_named() {
    let mut churn = Churn::new(6);
    let (_, medium) = disk(1);
    churn.commits(10);
    let tag = |churn: &mut Churn, name: &str, at: u64| {
        let there = churn.engine.at(RootAt::Sequence(at)).unwrap().unwrap();
        churn.engine.tag(name, &there).unwrap();
        let same = churn.states.last().unwrap().clone();
        churn.states.push(same);
    };
    tag(&mut churn, "third", 3);
    tag(&mut churn, "gone", 5);
    assert_eq!(run(&churn.engine, &medium).unwrap().tags.len(), 2);
    churn.engine.untag("gone").unwrap();
    churn.states.push(churn.states.last().unwrap().clone());
    churn.commits(10);
    let newest = churn.engine.snapshot().sequence();
    tag(&mut churn, "last", newest);
    assert_eq!(run(&churn.engine, &medium).unwrap().tags.len(), 2);
    let book = Book::open(medium).unwrap();
    let engine = store(99);
    let facts = restore(&book, &engine, RootAt::Newest, true, || ()).unwrap();
    assert_eq!(facts.tags, 2);
    let at = |engine: &Engine, tag: &str| {
        let there = engine.at_tag(tag).unwrap().unwrap();
        (there.sequence(), there.names().len())
    };
    assert_eq!(at(&engine, "third"), (3, churn.states[3].len()));
    assert_eq!(at(&engine, "last").0, newest);
    assert!(engine.at_tag("gone").unwrap().is_none());
    // Without a history there is only what the newest commit has.
    let engine = store(99);
    restore(&book, &engine, RootAt::Newest, false, || ()).unwrap();
    let tags = engine.tags().unwrap();
    let names: Vec<_> = tags.iter().map(|tag| tag.name.as_str()).collect();
    assert_eq!(names, ["last"]);
    assert!(state(&engine) == *churn.states.last().unwrap());
}

#[test]
fn a_crash_at_any_step_leaves_the_backup_that_was_there_before() {
    let mut finished = 0;
    for step in 0..10_000 {
        let mut churn = Churn::new(7);
        let (disk, medium) = disk(step);
        churn.commits(10);
        run(&churn.engine, &medium).unwrap();
        churn.commits(10);
        disk.crash_in(step);
        let done = add(&churn.engine, &medium, SMALL, |_| ()).is_ok();
        disk.power_cut();
        disk.crash_never();
        let medium: Arc<dyn Medium> = Arc::new(disk.medium());
        let book = Book::open(medium.clone()).unwrap();
        let commits = book.commits();
        assert!(
            commits == 20 || (commits == 10 && !done),
            "{step}: {commits}"
        );
        assert_eq!(damage(&medium), [], "after step {step}");
        for at in [5, commits] {
            let found = restored(&medium, RootAt::Sequence(at as u64)).unwrap();
            assert!(found == churn.states[at], "step {step}, commit {at}");
        }
        // And it goes on from there.
        run(&churn.engine, &medium);
        let newest = restored(&medium, RootAt::Newest).unwrap();
        assert!(newest == churn.states[20], "after step {step}");
        finished += u32::from(done);
        if finished > 2 {
            assert!(step > 20, "only {step} steps");
            return;
        }
    }
    panic!("it never came to its end");
}

#[test]
fn a_flipped_bit_is_told_with_its_place_and_never_restored() {
    let mut churn = Churn::new(9);
    let (disk, medium) = disk(1);
    for _ in 0..2 {
        churn.commits(8);
        run(&churn.engine, &medium).unwrap();
    }
    let newest = churn.states.last().unwrap();
    let mut rng = Rng::new(4);
    for (name, bytes) in files(&disk) {
        let length = bytes.len() as u64 * 8;
        let some = (0..40).map(|_| rng.below(length));
        for bit in some.chain([0, length - 1]) {
            let image = disk.image(1);
            assert!(image.flip(&name, bit), "{name} has no bit {bit}");
            let medium: Arc<dyn Medium> = Arc::new(image.medium());
            let found = damage(&medium);
            let file = name.rsplit('/').next().unwrap();
            let named =
                |(place, what): &(String, String)| place.contains(file) || what.contains(file);
            assert!(found.iter().any(named), "bit {bit} of {name}: {found:?}");
            match restored(&medium, RootAt::Newest) {
                Ok(state) => assert!(state == *newest, "bit {bit} of {name}"),
                Err(Failure::Error(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                }
                Err(failure) => panic!("{failure:?}"),
            }
        }
    }
}

#[test]
fn the_backup_of_another_stack_is_left_alone() {
    let (mut one, mut other) = (Churn::new(1), Churn::new(2));
    let (disk, medium) = disk(1);
    one.commits(5);
    other.commits(3);
    run(&one.engine, &medium).unwrap();
    let before = files(&disk);
    assert!(add(&other.engine, &medium, SMALL, |_| ()).is_err());
    other.commits(9);
    assert!(add(&other.engine, &medium, SMALL, |_| ()).is_err());
    assert!(files(&disk) == before, "something was written");
}

#[test]
fn what_was_reclaimed_between_two_runs_is_told_and_the_rest_is_there() {
    let mut churn = Churn::new(8);
    let (_, medium) = disk(1);
    churn.commits(10);
    run(&churn.engine, &medium).unwrap();
    churn.commits(20);
    let retain: Retention = "last 5".parse().unwrap();
    churn
        .engine
        .reclaim(&retain, &Reclaiming::default())
        .unwrap();
    let mut freed = Vec::new();
    let tell = |event| {
        if let Event::Freed(first, last) = event {
            freed.push((first, last));
        }
    };
    add(&churn.engine, &medium, SMALL, tell).unwrap().unwrap();
    assert_eq!(freed.first().map(|freed| freed.0), Some(11), "{freed:?}");
    assert_eq!(damage(&medium), []);
    for at in [4, 10, 30] {
        let found = restored(&medium, RootAt::Sequence(at as u64)).unwrap();
        assert!(found == churn.states[at], "commit {at}");
    }
    assert!(
        restored(&medium, RootAt::Sequence(15)).is_err(),
        "it was freed"
    );
}
