//! Reclaim on a log on a simulated disk: crashes at every call, and the space that comes back.

use std::collections::BTreeMap;

use super::*;
use crate::conformance::sim::{Plan, SimDisk};
use crate::contract::{Commit, Result};
use crate::log::{Log, LogOptions};

const COMMITS: u64 = 120;
const KEPT: u64 = 15;
const TAGGED: u64 = 30;

fn open_on(disk: &SimDisk, sim: &SimEnv) -> Result<Engine> {
    let log = log_on(disk, sim)?;
    Engine::open(Arc::new(log), sim.env(), Options::default())
}

fn log_on(disk: &SimDisk, sim: &SimEnv) -> Result<Log> {
    let options = LogOptions {
        segment: 64 << 10,
        window: 1 << 20,
        ..LogOptions::default()
    };
    Log::open("file", Arc::new(disk.medium()), sim.env(), options)
}

fn body(commit: u64) -> Vec<u8> {
    vec![commit as u8; 2_000 + 50 * commit as usize]
}

fn key(commit: u64) -> Name {
    name(&format!("name {}", commit % 7))
}

/// What each name is at a commit.
fn names_at(commit: u64) -> BTreeMap<Name, Vec<u8>> {
    (1..=commit).map(|one| (key(one), body(one))).collect()
}

fn write(engine: &Engine, commit: u64) {
    let session = engine.session().unwrap();
    let stored = put(&session, &[], &body(commit));
    let change = Change::set(key(commit), stored);
    session.commit(&[change], None).wait().unwrap();
}

/// A disk with so many commits on it, closed; the tag is one commit more.
fn filled(sim: &SimEnv) -> SimDisk {
    let disk = SimDisk::new(1, Plan::calm());
    let engine = open_on(&disk, sim).unwrap();
    for commit in 1..=COMMITS {
        write(&engine, commit);
    }
    let tagged = engine.at(RootAt::Sequence(TAGGED)).unwrap().unwrap();
    engine.tag("kept", &tagged).unwrap();
    drop(tagged);
    engine.close().unwrap();
    disk
}

fn check_names(snapshot: &Snapshot, commit: u64) {
    let expected = names_at(commit);
    assert_eq!(snapshot.names().len(), expected.len());
    for (name, body) in expected {
        let found = snapshot.read_root(&name).unwrap();
        assert_eq!(found.unwrap().body(), body, "{name} at {commit}");
    }
}

/// What has to stay is there; of the rest no commit is there by halves.
fn check(engine: &Engine, all: bool) {
    let newest = engine.snapshot();
    assert!(newest.sequence() > COMMITS);
    check_names(&newest, COMMITS);
    check_names(&engine.at_tag("kept").unwrap().unwrap(), TAGGED);
    for commit in 1..=COMMITS {
        let found = engine.at(RootAt::Sequence(commit)).unwrap();
        let stays = commit == TAGGED || commit + KEPT > COMMITS + 2;
        assert!(!stays || found.is_some(), "commit {commit} is gone");
        match found {
            Some(found) => check_names(&found, commit),
            None => assert!(!all, "commit {commit} is gone, and nothing was decided"),
        }
    }
}

#[test]
fn whatever_call_a_reclaim_is_stopped_at_nothing_that_stays_is_lost() {
    stopped_at_any_call(0);
}

#[test]
fn nor_is_anything_where_some_garbage_may_be_left() {
    stopped_at_any_call(60);
}

fn stopped_at_any_call(spare: u32) {
    let options = Reclaiming {
        spare,
        ..Reclaiming::default()
    };
    let sim = SimEnv::new(1);
    let base = filled(&sim);
    let retention = policy(&format!("last {KEPT}"));
    let (mut calls, mut decided) = (0, false);
    loop {
        calls += 1;
        assert!(calls < 5_000, "it does not end");
        let disk = base.image(calls);
        let engine = open_on(&disk, &sim).unwrap();
        disk.crash_in(calls);
        let done = engine.reclaim(&retention, &options);
        let over = !disk.is_down();
        disk.crash_never();
        match calls % 2 {
            0 => disk.kill(),
            _ => disk.power_cut(),
        }
        drop(engine);
        let engine = open_on(&disk, &sim).unwrap();
        decided |= engine.at(RootAt::Sequence(1)).unwrap().is_none();
        check(&engine, !decided);
        let again = engine.reclaim(&retention, &Reclaiming::default()).unwrap();
        check(&engine, false);
        assert!(engine.at(RootAt::Sequence(1)).unwrap().is_none());
        engine.close().unwrap();
        let engine = open_on(&disk, &sim).unwrap();
        check(&engine, false);
        assert!(
            disk.used() < base.used() / 2,
            "{} of {}",
            disk.used(),
            base.used()
        );
        assert!(disk.violations().is_empty(), "{:?}", disk.violations());
        if over {
            assert!(done.unwrap().freed.bytes > 0 && again.decided.is_some());
            break;
        }
    }
    assert!(decided && calls > 10, "{calls} calls");
}

#[test]
fn overwrites_without_end_take_room_with_an_end() {
    let sim = SimEnv::new(1);
    let disk = SimDisk::new(1, Plan::calm());
    let engine = open_on(&disk, &sim).unwrap();
    for commit in 1..=600 {
        write(&engine, 1 + commit % 60);
        if commit % 40 == 0 {
            reclaim(&engine, "newest");
        }
    }
    assert_eq!(engine.history().count(), 2);
    assert_eq!(engine.snapshot().names().len(), 7);
    // Closed, for an open log claims room ahead. Seven names of at most five thousand bytes each are
    // left, in files of 64 KiB; two megabytes were written.
    engine.close().unwrap();
    assert!(disk.used() < 400 << 10, "{}", disk.used());
}

#[test]
fn what_may_lie_there_beside_what_stays_saves_writing() {
    let sim = SimEnv::new(1);
    // Bytes that are written for random overwrites of 200 names.
    let run = |spare| {
        let disk = SimDisk::new(1, Plan::calm());
        let engine = open_on(&disk, &sim).unwrap();
        let options = Reclaiming {
            spare,
            ..Reclaiming::default()
        };
        let mut rng = Rng::new(1);
        for commit in 1..=2_000 {
            let session = engine.session().unwrap();
            let stored = put(&session, &[], &[7; 4_000]);
            let change = Change::set(name(&rng.below(200).to_string()), stored);
            session.commit(&[change], None).wait().unwrap();
            drop(session);
            if commit % 50 == 0 {
                engine.reclaim(&Retention::newest(), &options).unwrap();
            }
        }
        assert_eq!(engine.snapshot().names().len(), 200);
        disk.tally().bytes
    };
    let (all, some) = (run(0), run(50));
    assert!(some < all / 5 * 4, "{some} {all}");
}

#[test]
fn a_full_disk_is_no_hindrance_to_making_room() {
    let sim = SimEnv::new(1);
    let disk = SimDisk::new(1, Plan::calm());
    disk.set_capacity(Some(3 << 20));
    let engine = open_on(&disk, &sim).unwrap();
    let mut commit = 0;
    let full = loop {
        commit += 1;
        let session = engine.session().unwrap();
        let body = vec![7; 20_000];
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        let stored = session.store(&record, Hint::default());
        let done = stored.and_then(|stored| {
            let change = Change::set(key(commit), stored);
            session.commit(&[change], None).wait()
        });
        if let Err(error) = done {
            break error;
        }
        assert!(commit < 1_000, "it is never full");
    };
    assert_eq!(full.kind(), ErrorKind::Full);
    let report = reclaim(&engine, "newest");
    assert!(report.freed.bytes > 1 << 20, "{report:?}");
    write(&engine, 1);
    assert_eq!(engine.snapshot().names().len(), 7);
}

/// Something that happens while the next commit goes below.
type Hook = Option<Box<dyn FnOnce() + Send>>;

struct Meanwhile {
    below: Log,
    hook: Arc<Mutex<Hook>>,
}

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl Store for Meanwhile {
    forward!(below: store read root fence adopt scan reclaim status close);

    fn commit(&self, commit: Commit) -> Op<Level> {
        let hook = self.hook.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.below.commit(commit)
    }
}

#[test]
fn what_is_committed_in_memory_while_a_proof_is_made_does_not_free_what_is_proven() {
    let sim = SimEnv::new(1);
    let base = filled(&sim);
    let in_memory = |engine: &Engine, to: &str| {
        let session = engine.session().unwrap();
        let stored = put(&session, &[], &[9; 60_000]);
        let change = Change::set(name(to), stored);
        session
            .commit(&[change], Some(Level::Memory))
            .wait()
            .unwrap();
    };
    for calls in 1.. {
        assert!(calls < 5_000, "it does not end");
        let disk = base.image(calls);
        let hook = Arc::new(Mutex::new(None));
        let store = Meanwhile {
            below: log_on(&disk, &sim).unwrap(),
            hook: hook.clone(),
        };
        let engine = Engine::open(Arc::new(store), sim.env(), Options::default()).unwrap();
        in_memory(&engine, "before");
        let other = Engine(engine.0.clone());
        *hook.lock().unwrap() = Some(Box::new(move || in_memory(&other, "meanwhile")));
        disk.crash_in(calls);
        let done = engine.reclaim(&Retention::newest(), &Reclaiming::default());
        let over = !disk.is_down();
        disk.crash_never();
        disk.power_cut();
        drop(engine);
        let engine = open_on(&disk, &sim).unwrap();
        check_names_but_new(&engine.snapshot());
        engine.close().unwrap();
        if over {
            assert!(done.unwrap().freed.bytes > 0);
            break;
        }
    }
}

fn check_names_but_new(snapshot: &Snapshot) {
    for (name, body) in names_at(COMMITS) {
        let found = snapshot.read_root(&name).unwrap();
        assert_eq!(found.unwrap().body(), body, "{name}");
    }
}

#[test]
fn small_steps_give_back_what_one_gives_back() {
    let sim = SimEnv::new(1);
    let freed = |step| {
        let disk = filled(&sim);
        let engine = open_on(&disk, &sim).unwrap();
        let options = Reclaiming {
            step,
            ..Reclaiming::default()
        };
        let report = engine.reclaim(&policy(&format!("last {KEPT}")), &options);
        let report = report.unwrap();
        check(&engine, false);
        engine.close().unwrap();
        report.freed
    };
    let whole = freed(1_000_000);
    assert!(whole.bytes > 0 && whole.kept > 0);
    for step in [1, 3, 10] {
        let steps = freed(step);
        // Where a step ends no two parts are made one.
        assert!(
            steps.bytes >= whole.bytes - whole.bytes / 4,
            "{steps:?} {whole:?}"
        );
        assert_eq!(steps.to, whole.to);
    }
}
