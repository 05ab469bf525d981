//! Claims about reclaim, on a store that frees truly: random graphs held against a list of what each
//! commit said.

mod log;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::*;
use crate::conformance::env::SimEnv;
use crate::conformance::model::ModelStore;
use crate::conformance::rng::Rng;
use crate::contract::{Env, Kind, Name, NewRecord, Op, Record, RootAt, Store};
use crate::forward;
use crate::front::past::DECISION;
use crate::front::{Automatic, Hint, Hold, Options, Snapshot, Write};

/// The model store, and what was freed is gone: also for recovery, and after a crash.
#[derive(Debug, Clone, Default)]
struct Freeing {
    below: ModelStore,
    freed: Arc<Mutex<Vec<Reclaim>>>,
    /// What it answers to a reclaim instead.
    refuses: Arc<Mutex<Option<Error>>>,
    /// What cannot be read.
    broken: Arc<Mutex<Option<Oid>>>,
}

impl Freeing {
    fn is_gone(&self, oid: Oid) -> bool {
        let freed = self.freed.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |one: &Reclaim| {
            one.stream == oid.stream()
                && (one.from..one.to).contains(&oid.position())
                && one.alive.binary_search(&oid.position()).is_err()
        };
        freed.iter().any(gone)
    }

    fn over(&self, below: ModelStore) -> Self {
        Self {
            below,
            ..self.clone()
        }
    }
}

impl Store for Freeing {
    forward!(below: store commit root fence adopt scan status close);

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        if *self.broken.lock().unwrap() == Some(oid) {
            return Op::err(Error::corrupt("a flipped bit"));
        }
        match self.is_gone(oid) {
            true => Op::ok(None),
            false => self.below.read(oid),
        }
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        decision.check().unwrap();
        let to = decision.to;
        if let Some(error) = self.refuses.lock().unwrap().clone() {
            return Op::err(error);
        }
        assert!(decision.to.0 <= self.below.status().streams[0].durable);
        for at in decision.alive.iter() {
            let oid = Oid::new(decision.stream, *at).unwrap();
            assert!(!self.is_gone(oid), "{oid} would be back");
            assert!(self.below.read(oid).wait().unwrap().is_some());
        }
        if decision.from < decision.to {
            self.freed.lock().unwrap().push(decision);
        }
        Op::ok(Freed::nothing(to))
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn policy(text: &str) -> Retention {
    text.parse().unwrap()
}

fn put(session: &Session, references: &[Reference], body: &[u8]) -> Reference {
    let record = NewRecord {
        kind: Kind::BLOB,
        references,
        body: &[body],
    };
    session.store(&record, Hint::default()).unwrap()
}

fn set(engine: &Engine, to: &str, references: &[Reference], body: &[u8]) -> Reference {
    let session = engine.session().unwrap();
    let reference = put(&session, references, body);
    let change = Change::set(name(to), reference);
    session.commit(&[change], None).wait().unwrap();
    reference
}

fn open(store: &Freeing, sim: &SimEnv) -> Engine {
    // Nothing that was sent is answered from memory.
    let options = Options {
        recent_max: 0,
        ..Options::default()
    };
    Engine::open(Arc::new(store.clone()), sim.env(), options).unwrap()
}

fn is_there(engine: &Engine, reference: &Reference) -> bool {
    engine.read(reference.oid).wait().unwrap().is_some()
}

fn reclaim(engine: &Engine, text: &str) -> Report {
    engine
        .reclaim(&policy(text), &Reclaiming::default())
        .unwrap()
}

/// What is known to have been stored and committed.
#[derive(Default)]
struct Known {
    records: BTreeMap<Oid, (Vec<u8>, Vec<Reference>)>,
    /// Of each commit its time and its names.
    commits: BTreeMap<u64, (u64, BTreeMap<Name, Reference>)>,
    tags: BTreeMap<String, u64>,
}

impl Known {
    /// Reads everything that these lead to, and holds it against what was stored.
    fn check<'a>(&self, engine: &Engine, roots: impl IntoIterator<Item = &'a Reference>) {
        let mut left: Vec<_> = roots.into_iter().copied().collect();
        let mut met = BTreeSet::new();
        while let Some(reference) = left.pop() {
            if !met.insert(reference.oid) {
                continue;
            }
            let record = engine.read(reference.oid).wait().unwrap();
            let record = record.unwrap_or_else(|| panic!("{} is gone", reference.oid));
            let (body, references) = &self.records[&reference.oid];
            assert_eq!(record.body(), body);
            left.extend(references.iter().filter(|reference| !reference.weak));
        }
    }

    fn note(&mut self, snapshot: &Snapshot) {
        let names = snapshot.names().clone();
        self.commits
            .insert(snapshot.sequence(), (snapshot.time(), names));
    }

    fn moments(&self) -> Vec<Moment> {
        let moment = |(sequence, (time, _)): (&u64, &(u64, _))| Moment {
            sequence: *sequence,
            time: *time,
        };
        self.commits.iter().map(moment).collect()
    }

    /// Holds everything that time travel tells against what was committed and is left.
    fn check_history(&self, engine: &Engine, rng: &mut Rng) {
        let told: Vec<_> = engine
            .history()
            .map(|found| found.unwrap().1.sequence)
            .collect();
        let left: Vec<_> = self.commits.keys().rev().copied().collect();
        assert_eq!(told, left);
        for sequence in 0..=left.first().copied().unwrap_or(0) + 1 {
            let found = engine.at(RootAt::Sequence(sequence)).unwrap();
            let Some((time, names)) = self.commits.get(&sequence) else {
                assert!(found.is_none(), "commit {sequence} is back");
                continue;
            };
            let found = found.unwrap_or_else(|| panic!("commit {sequence} is gone"));
            assert_eq!((found.time(), found.names()), (*time, names));
            self.check(engine, names.values());
        }
        let moments = self.moments();
        let (first, last) = (moments[0].time, moments[moments.len() - 1].time);
        for _ in 0..20 {
            let time = first.saturating_sub(5) + rng.below(last - first + 10);
            let expected = Timeline::at(moments.as_slice(), time).unwrap();
            let found = engine.at(RootAt::Time(time)).unwrap();
            assert_eq!(
                found.map(|found| found.sequence()),
                expected.map(|expected| expected.sequence)
            );
        }
        let tags = engine.tags().unwrap();
        let tags: BTreeMap<_, _> = tags
            .into_iter()
            .map(|tag| (tag.name, tag.sequence))
            .collect();
        assert_eq!(tags, self.tags);
        for (tag, sequence) in &self.tags {
            let found = engine.at_tag(tag).unwrap().unwrap();
            let (_, names) = &self.commits[sequence];
            assert_eq!(found.names(), names);
        }
    }

    /// What a policy leaves of the commits.
    fn reclaimed(&mut self, policy: &Retention, now: u64, held: &[u64]) {
        let ranges = policy.retained(self.moments().as_slice(), now).unwrap();
        let tagged: BTreeSet<u64> = self.tags.values().copied().collect();
        self.commits.retain(|sequence, _| {
            ranges.iter().any(|range| range.contains(sequence))
                || tagged.contains(sequence)
                || held.contains(sequence)
        });
    }
}

/// A record that refers to some of what a commit leads to, and to some that were stored with it.
fn grow(rng: &mut Rng, session: &Session, known: &mut Known) -> Reference {
    let mut near: Vec<Reference> = session.base().names().values().copied().collect();
    for _ in 0..3 {
        let Some(root) = rng.pick(&near) else { break };
        let below = known.records[&root.oid].1.clone();
        near.extend(below.into_iter().filter(|reference| !reference.weak));
    }
    let mut last = None;
    for _ in 0..1 + rng.below(6) {
        let mut references = Vec::new();
        for _ in 0..rng.below(5) {
            references.extend(rng.pick(&near).copied());
        }
        for reference in &mut references {
            reference.weak = rng.chance(1, 5);
        }
        let length = 1 + rng.below_usize(300);
        let body = rng.bytes(length);
        let reference = put(session, &references, &body);
        known.records.insert(reference.oid, (body, references));
        near.push(reference);
        last = Some(reference);
    }
    last.unwrap()
}

fn drawn(rng: &mut Rng) -> Retention {
    let clauses = [
        "newest",
        "last 5",
        "all 2min",
        "all 1h",
        "hourly 4h",
        "daily 30d",
        "hourly forever",
        "tagged forever",
    ];
    let some = (0..1 + rng.below(3)).filter_map(|_| rng.pick(&clauses).copied());
    policy(&some.collect::<Vec<_>>().join(", "))
}

#[test]
fn what_is_kept_reads_back_and_time_travel_finds_just_that() {
    let (mut stored, mut freed) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let sim = SimEnv::new(seed);
        let mut store = Freeing::default();
        let mut engine = open(&store, &sim);
        let mut known = Known::default();
        let (mut snapshots, mut sessions) = (Vec::<Snapshot>::new(), Vec::new());
        let mut tag = 0;
        for _ in 0..120 {
            sim.advance(Duration::from_secs(rng.below(1_000)));
            match rng.below(20) {
                0..=9 => {
                    let session = engine.session().unwrap();
                    let reference = grow(&mut rng, &session, &mut known);
                    let to = name(&format!("name {}", rng.below(4)));
                    let change = Change::set(to, reference);
                    session.commit(&[change], None).wait().unwrap();
                    known.note(&engine.snapshot());
                }
                10 => sessions.push(engine.session().unwrap()),
                11 | 12 if !sessions.is_empty() => {
                    // A session of long ago commits, or goes.
                    let session = sessions.swap_remove(rng.below_usize(sessions.len()));
                    let reference = grow(&mut rng, &session, &mut known);
                    if rng.chance(1, 2) {
                        let change = Change::set(name("late"), reference);
                        session.commit(&[change], None).wait().unwrap();
                        known.note(&engine.snapshot());
                    } else {
                        sessions.push(session);
                    }
                }
                13 => {
                    let sequences: Vec<_> = known.commits.keys().copied().collect();
                    if let Some(sequence) = rng.pick(&sequences) {
                        let at = RootAt::Sequence(*sequence);
                        snapshots.push(engine.at(at).unwrap().unwrap());
                    }
                }
                14 if !snapshots.is_empty() => {
                    snapshots.swap_remove(rng.below_usize(snapshots.len()));
                }
                15 => {
                    let sequences: Vec<_> = known.commits.keys().copied().collect();
                    if let Some(sequence) = rng.pick(&sequences) {
                        let snapshot = engine.at(RootAt::Sequence(*sequence)).unwrap().unwrap();
                        tag += 1;
                        engine.tag(&format!("t{tag}"), &snapshot).unwrap();
                        known.tags.insert(format!("t{tag}"), *sequence);
                        known.note(&engine.snapshot());
                    }
                }
                16 if !known.tags.is_empty() => {
                    let tags: Vec<_> = known.tags.keys().cloned().collect();
                    let tag = rng.pick(&tags).unwrap();
                    engine.untag(tag).unwrap();
                    known.tags.remove(tag);
                    known.note(&engine.snapshot());
                }
                17 | 18 if !known.commits.is_empty() => {
                    let policy = drawn(&mut rng);
                    let held: Vec<_> = engine.pins().iter().map(|pin| pin.sequence).collect();
                    let now = sim.env().clock.unix_us();
                    engine.reclaim(&policy, &Reclaiming::default()).unwrap();
                    known.reclaimed(&policy, now, &held);
                    known.note(&engine.snapshot());
                    known.check_history(&engine, &mut rng);
                }
                19 => {
                    snapshots.clear();
                    sessions.clear();
                    if rng.chance(1, 2) {
                        engine.close().unwrap();
                        store = store.over(store.below.reopen());
                    } else {
                        store = store.over(store.below.crash(Level::Disk, 0));
                    }
                    engine = open(&store, &sim);
                }
                _ => {}
            }
            for snapshot in &snapshots {
                known.check(&engine, snapshot.names().values());
            }
        }
        stored += known.records.len();
        let gone = known.records.keys().filter(|oid| store.is_gone(**oid));
        freed += gone.count();
    }
    // Or else all this says little.
    assert!((stored / 5..stored).contains(&freed), "{freed} of {stored}");
}

#[test]
fn a_snapshot_that_is_held_reads_on_and_the_report_says_who_holds_what() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    let old = set(&engine, "a", &[], &[1; 4_000]);
    let held = engine.snapshot().held_by("the nightly copy");
    let middle = set(&engine, "a", &[], &[2; 1_000]);
    sim.advance(Duration::from_secs(60));
    set(&engine, "a", &[], &[3; 100]);
    let pins = engine.pins();
    assert_eq!(pins.len(), 1);
    assert_eq!(pins[0].owner, "the nightly copy");
    assert!(!pins[0].session && pins[0].sequence == 1);
    assert!(sim.env().clock.unix_us() - pins[0].since >= 60_000_000);

    let report = reclaim(&engine, "newest");
    assert!(is_there(&engine, &old) && !is_there(&engine, &middle));
    assert_eq!(
        held.read_root(&name("a")).unwrap().unwrap().body(),
        [1; 4_000]
    );
    let bytes = |of: &dyn Fn(&Who) -> bool| {
        let mine = report.holders.iter().filter(|holder| of(&holder.who));
        mine.map(|holder| holder.bytes).sum::<u64>()
    };
    let pinned = bytes(&|who| matches!(who, Who::Pin(pin) if pin.owner == "the nightly copy"));
    assert_eq!(pinned, u64::from(old.length));
    assert!((100..1_000).contains(&bytes(&|who| *who == Who::Newest)));
    // The commit itself is found for as long as it is held, and once more.
    assert_eq!(
        engine
            .at(RootAt::Sequence(1))
            .unwrap()
            .unwrap()
            .root(&name("a")),
        Some(old)
    );
    assert!(engine.at(RootAt::Sequence(2)).unwrap().is_none());
    drop(held);
    reclaim(&engine, "newest");
    assert!(!is_there(&engine, &old));
    assert!(engine.at(RootAt::Sequence(1)).unwrap().is_none());
    assert!(engine.pins().is_empty());
}

#[test]
fn what_a_session_stored_and_has_not_committed_stays_and_what_it_began_from() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    let base = set(&engine, "a", &[], b"what the session began from");
    let session = engine.session().unwrap();
    let stored = put(&session, &[base], b"stored, and not committed");
    for body in [b"one", b"two"] {
        set(&engine, "a", &[], body);
        let report = reclaim(&engine, "newest");
        assert!(report.young > 0);
        assert!(report.holders.iter().any(|holder| {
            matches!(&holder.who, Who::Pin(pin) if pin.session && pin.sequence == 1)
        }));
    }
    let change = Change::set(name("b"), stored);
    session.commit(&[change], None).wait().unwrap();
    drop(session);
    reclaim(&engine, "newest");
    assert!(is_there(&engine, &base) && is_there(&engine, &stored));
    let drop = Change::drop(name("b"), stored.oid);
    engine
        .session()
        .unwrap()
        .commit(&[drop], None)
        .wait()
        .unwrap();
    reclaim(&engine, "newest");
    assert!(!is_there(&engine, &base) && !is_there(&engine, &stored));
}

#[test]
fn a_snapshot_that_is_taken_while_it_marks_is_marked_and_so_is_a_branch_from_it() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    let first = set(&engine, "a", &[], b"of the first commit");
    let second = set(&engine, "a", &[], b"of the second commit");
    set(&engine, "a", &[], b"of the third");
    let (mut held, mut asked) = (None, 0);
    let mut watch = |progress: Progress| {
        asked += u32::from(!progress.freeing);
        if asked == 1 {
            let snapshot = engine.at(RootAt::Sequence(1)).unwrap().unwrap();
            let branch = Change::set(name("branch"), snapshot.root(&name("a")).unwrap());
            engine
                .session()
                .unwrap()
                .commit(&[branch], None)
                .wait()
                .unwrap();
            held = Some(engine.at(RootAt::Sequence(2)).unwrap().unwrap());
        }
        ControlFlow::Continue(())
    };
    engine
        .reclaim_watched(&Retention::newest(), &Reclaiming::default(), &mut watch)
        .unwrap();
    assert!(is_there(&engine, &first) && is_there(&engine, &second));
    assert!(held.unwrap().read_root(&name("a")).unwrap().is_some());
    reclaim(&engine, "newest");
    assert!(is_there(&engine, &first) && !is_there(&engine, &second));
}

#[test]
fn a_reclaim_that_is_called_off_or_meets_damage_is_as_if_it_had_never_begun() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    let leaf = set(&engine, "a", &[], b"below");
    let inner = set(&engine, "b", &[leaf], b"above");
    set(&engine, "c", &[], b"newest");
    let as_before = || {
        let told: Vec<_> = engine
            .history()
            .map(|found| found.unwrap().1.sequence)
            .collect();
        assert_eq!(told, [3, 2, 1]);
        assert!(store.freed.lock().unwrap().is_empty());
        assert!(engine.at(RootAt::Sequence(1)).unwrap().is_some());
    };
    let mut stop = |_| ControlFlow::Break(());
    let options = Reclaiming::default();
    let stopped = engine.reclaim_watched(&Retention::newest(), &options, &mut stop);
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Unavailable);
    as_before();
    *store.broken.lock().unwrap() = Some(inner.oid);
    let damaged = engine.reclaim(&Retention::newest(), &options);
    assert_eq!(damaged.unwrap_err().kind(), ErrorKind::Corrupt);
    as_before();
    *store.broken.lock().unwrap() = None;
    let little = Reclaiming {
        memory: 10,
        ..Reclaiming::default()
    };
    let short = engine.reclaim(&Retention::newest(), &little);
    assert_eq!(short.unwrap_err().kind(), ErrorKind::Full);
    as_before();
    *store.refuses.lock().unwrap() = Some(Error::unsupported("it frees nothing"));
    let deaf = engine.reclaim(&Retention::newest(), &options);
    assert_eq!(deaf.unwrap_err().kind(), ErrorKind::Unsupported);
    as_before();
    let dry = Reclaiming {
        dry_run: true,
        ..Reclaiming::default()
    };
    let report = engine.reclaim(&Retention::newest(), &dry).unwrap();
    assert!(report.decided.is_none() && report.records > 0);
    as_before();
}

#[test]
fn a_decision_that_was_not_carried_out_holds_and_the_next_reclaim_decides_anew() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    let old = set(&engine, "a", &[], b"old");
    set(&engine, "a", &[], b"new");
    let gone = Error::unavailable("the device is gone");
    let mut watch = |progress: Progress| {
        if progress.freeing {
            *store.refuses.lock().unwrap() = Some(gone.clone());
        }
        ControlFlow::Continue(())
    };
    let failed = engine
        .reclaim_watched(&Retention::newest(), &Reclaiming::default(), &mut watch)
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    *store.refuses.lock().unwrap() = None;
    drop(engine);
    let store = store.over(store.below.crash(Level::Disk, 0));
    let engine = open(&store, &sim);
    assert!(engine.at(RootAt::Sequence(1)).unwrap().is_none());
    assert!(is_there(&engine, &old));
    let told: Vec<_> = engine
        .history()
        .map(|found| found.unwrap().1.sequence)
        .collect();
    assert_eq!(told, [3, 2]);
    reclaim(&engine, "last 10");
    assert!(!is_there(&engine, &old));
    assert!(engine.at(RootAt::Sequence(2)).unwrap().is_some());
}

#[test]
fn floors_are_told_step_by_step_and_it_may_be_called_off_in_between() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    for number in 0..20 {
        set(&engine, &format!("kept {number}"), &[], b"kept");
        set(&engine, "gone", &[], b"gone");
    }
    let options = Reclaiming {
        step: 4,
        ..Reclaiming::default()
    };
    let mut steps = 0;
    let mut watch = |progress: Progress| {
        steps += usize::from(progress.freeing);
        match steps > 3 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let newest = Retention::newest();
    let stopped = engine.reclaim_watched(&newest, &options, &mut watch);
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Unavailable);
    let told = std::mem::take(&mut *store.freed.lock().unwrap());
    assert_eq!(told.len(), 3);
    assert!(told.windows(2).all(|pair| pair[0].to == pair[1].from));
    assert!(told.iter().all(|step| step.alive.len() == 4));
    // Whoever opens it next knows how far it came, and that the commits are gone.
    let came = engine.0.decided().unwrap();
    assert_eq!((came.len(), came[0].to, came[0].alive), (1, told[2].to, 12));
    assert!(engine.at(RootAt::Sequence(20)).unwrap().is_none());
    store.freed.lock().unwrap().extend(told);
    let report = engine.reclaim(&newest, &options).unwrap();
    let told = store.freed.lock().unwrap().split_off(3);
    assert!(told.len() as u64 >= report.records / 4, "{}", told.len());
    assert_eq!(told[0].from, Position::START);
    assert!(told.windows(2).all(|pair| pair[0].to == pair[1].from));
    let alive: usize = told.iter().map(|step| step.alive.len()).sum();
    let decided = engine.0.decided().unwrap();
    assert_eq!(
        (alive as u64, told[told.len() - 1].to),
        (decided[0].alive, decided[0].to)
    );
}

/// Holds up whoever reads, once it is shut.
#[derive(Debug, Clone, Default)]
struct Held {
    below: Freeing,
    /// Whether it is shut, and whether somebody waits.
    gate: Arc<(Mutex<(bool, bool)>, std::sync::Condvar)>,
}

impl Store for Held {
    forward!(below: store commit root fence adopt scan reclaim status close);

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        let (gate, changed) = &*self.gate;
        let mut state = gate.lock().unwrap();
        while state.0 {
            state.1 = true;
            changed.notify_all();
            state = changed.wait(state).unwrap();
        }
        drop(state);
        self.below.read(oid)
    }
}

#[test]
fn a_reclaim_that_nobody_asked_for_ends_with_the_last_handle() {
    let store = Arc::new(Held::default());
    let automatic = Automatic {
        every: Duration::from_millis(1),
        garbage: 0.0,
        ..Automatic::new(Retention::newest())
    };
    let options = Options {
        recent_max: 0,
        reclaim: Some(automatic),
        ..Options::default()
    };
    let engine = Engine::open(store.clone(), &Env::system(), options).unwrap();
    let leaf = set(&engine, "a", &[], b"below");
    let (gate, changed) = &*store.gate;
    gate.lock().unwrap().0 = true;
    set(&engine, "b", &[leaf], b"above");
    let waits = changed.wait_while(gate.lock().unwrap(), |state| !state.1);
    drop(waits.unwrap());
    let before = store.below.freed.lock().unwrap().len();
    drop(engine);
    gate.lock().unwrap().0 = false;
    changed.notify_all();
    for _ in 0..100_000 {
        if Arc::strong_count(&store) == 1 {
            break;
        }
        Env::system().clock.sleep(Duration::from_millis(1));
    }
    assert_eq!(Arc::strong_count(&store), 1, "nobody holds it any more");
    assert_eq!(store.below.freed.lock().unwrap().len(), before);
}

#[test]
fn a_reader_beside_the_writer_is_told_what_is_gone_and_that_it_is_no_damage() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    let old = set(&engine, "a", &[], b"old");
    set(&engine, "b", &[], b"other");
    let reader = Engine::open(Arc::new(store.clone()), sim.env(), Options::reading()).unwrap();
    let seen = reader.snapshot();
    let beside = Write::reader(&engine.session().unwrap());
    set(&engine, "a", &[], b"new");
    reclaim(&engine, "newest");
    assert!(!is_there(&engine, &old));
    let told = |read: Result<Record>| assert_eq!(read.unwrap_err().kind(), ErrorKind::Unavailable);
    told(seen.read(&old).wait());
    told(beside.read(&old).wait());
}

#[test]
fn a_name_holds_what_it_points_to() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    let session = engine.session().unwrap();
    let weak = put(&session, &[], b"one").weakened();
    let named = session.commit(&[Change::set(name("a"), weak)], None).wait();
    assert_eq!(named.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn what_only_an_old_directory_names_goes_with_it() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    let old = set(&engine, "hot", &[], b"named by the first directory");
    for number in 0..40 {
        set(&engine, &format!("name {number}"), &[], b"cold");
    }
    set(&engine, "hot", &[], b"named since");
    // The first finds the directory in force, and renews it; so the second may let it go.
    reclaim(&engine, "newest");
    reclaim(&engine, "newest");
    assert!(!is_there(&engine, &old));
    assert_eq!(engine.snapshot().names().len(), 41);
}

#[test]
fn the_names_of_the_engine_are_changed_by_its_own_verbs_only() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    assert!(engine.tag("none", &engine.snapshot()).is_err());
    let reference = set(&engine, "a", &[], b"a");
    let session = engine.session().unwrap();
    for text in [DECISION, "travertine/tag/mine", "travertine/other"] {
        let change = Change::set(name(text), reference);
        let refused = session.commit(&[change], None).wait().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
    for kind in [Kind::TAG, Kind::RECLAIM] {
        let record = NewRecord {
            kind,
            references: &[],
            body: &[],
        };
        assert!(session.store(&record, Hint::default()).is_err());
    }
    engine.tag("one", &engine.snapshot()).unwrap();
    let again = engine.tag("one", &engine.snapshot()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    assert_eq!(engine.untag("two").unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(engine.snapshot().names().len(), 1);
    assert!(engine.tag("", &engine.snapshot()).is_err());
    assert!(engine.at_tag("two").unwrap().is_none());
    let other = open(&Freeing::default(), &sim);
    assert!(other.tag("one", &engine.snapshot()).is_err());
}

#[test]
fn a_mark_keeps_to_its_rate_on_the_clock_that_it_was_given() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    let leaf = set(&engine, "leaf", &[], b"below");
    let mut above = leaf;
    for number in 0..100 {
        above = set(
            &engine,
            &format!("inner {}", number % 3),
            &[above],
            &[7; 984],
        );
    }
    let options = Reclaiming {
        rate: Some(1_000),
        ..Reclaiming::default()
    };
    let before = sim.env().clock.monotonic_ns();
    engine.reclaim(&Retention::newest(), &options).unwrap();
    let took = sim.env().clock.monotonic_ns() - before;
    assert!(took >= 100_000_000_000, "{took}");
}

#[test]
fn two_reclaims_at_once_are_one_and_a_refusal() {
    let (sim, store) = (SimEnv::new(1), Freeing::default());
    let engine = open(&store, &sim);
    set(&engine, "a", &[], b"a");
    let mut second = None;
    let mut watch = |_| {
        second = Some(engine.reclaim(&Retention::newest(), &Reclaiming::default()));
        ControlFlow::Continue(())
    };
    engine
        .reclaim_watched(&Retention::newest(), &Reclaiming::default(), &mut watch)
        .unwrap();
    assert_eq!(second.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    reclaim(&engine, "newest");
}

#[test]
fn an_engine_that_is_told_to_reclaims_by_itself() {
    let automatic = Automatic {
        every: Duration::from_millis(1),
        garbage: 0.0,
        ..Automatic::new(Retention::newest())
    };
    let options = Options {
        reclaim: Some(automatic),
        ..Options::default()
    };
    let env = Env::system();
    let store = Arc::new(Freeing::default());
    let engine = Engine::open(store.clone(), &env, options).unwrap();
    let old = set(&engine, "a", &[], b"old");
    let mut tries = 0;
    while !store.is_gone(old.oid) {
        set(&engine, "a", &[], b"new");
        env.clock.sleep(Duration::from_millis(5));
        tries += 1;
        assert!(tries < 24_000, "it never does");
    }
    let newest = engine.snapshot();
    assert_eq!(
        newest.read_root(&name("a")).unwrap().unwrap().body(),
        b"new"
    );
    engine.close().unwrap();
}

/// Has a record stored aside, and waits for it.
fn aside(session: &Session, body: &'static [u8]) -> (Hold, Reference) {
    let (tell, told) = std::sync::mpsc::channel();
    let work = session.aside(Box::new(move |helper| {
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[body],
        };
        tell.send(helper.store(&record, Hint::default()).unwrap())
            .unwrap();
    }));
    let Ok(hold) = work else {
        panic!("there is a thread to spare");
    };
    (hold, told.recv().unwrap())
}

#[test]
fn what_was_stored_aside_stays_for_who_covers_it_before_a_reclaim_and_for_nobody_else() {
    let store = Freeing::default();
    let options = Options {
        recent_max: 0,
        ..Options::default()
    };
    let engine = Engine::open(Arc::new(store), &Env::system(), options).unwrap();
    set(&engine, "a", &[], b"first");
    let session = engine.session().unwrap();
    let (covered, lost) = (aside(&session, b"covered"), aside(&session, b"lost"));
    drop(session);
    let later = set(&engine, "a", &[], b"second");
    let session = engine.session().unwrap();
    assert!(session.cover(&covered.0));
    assert_eq!(engine.pins().len(), 1, "only the session holds anything");
    reclaim(&engine, "newest");
    assert!(is_there(&engine, &covered.1) && is_there(&engine, &later));
    assert!(!session.cover(&lost.0), "the reclaim took it");
    let change = Change::set(name("b"), covered.1);
    session.commit(&[change], None).wait().unwrap();
    drop(session);
    set(&engine, "a", &[], b"third");
    reclaim(&engine, "newest");
    assert!(is_there(&engine, &covered.1));
    assert!(!is_there(&engine, &lost.1) && !is_there(&engine, &later));
}

#[test]
fn a_reclaim_that_nobody_asked_for_spares_work_until_somebody_had_time_to_take_it_over() {
    let options = Options {
        recent_max: 0,
        ..Options::default()
    };
    let engine = Engine::open(Arc::new(Freeing::default()), &Env::system(), options).unwrap();
    let unasked = || {
        let newest = "newest".parse().unwrap();
        let mut go_on = |_| ControlFlow::Continue(());
        let done = engine.reclaim_unasked(&newest, &Reclaiming::default(), &mut go_on);
        done.unwrap()
    };
    let old = set(&engine, "a", &[], b"first");
    let session = engine.session().unwrap();
    let (made, never) = (aside(&session, b"made"), aside(&session, b"never taken"));
    drop(session);
    set(&engine, "a", &[], b"second");
    unasked();
    assert!(is_there(&engine, &made.1), "whether it has ended or not");
    assert!(!is_there(&engine, &old), "it holds no commit");
    let session = engine.session().unwrap();
    assert!(session.cover(&made.0));
    let change = Change::set(name("b"), made.1);
    session.commit(&[change], None).wait().unwrap();
    drop(session);
    // Its thread may be about to end yet.
    while is_there(&engine, &never.1) {
        set(&engine, "a", &[], b"more");
        unasked();
    }
    assert!(is_there(&engine, &made.1));
    assert!(!engine.session().unwrap().cover(&never.0));
}

#[test]
fn work_aside_stores_no_more_once_a_reclaim_has_given_its_hold_up() {
    for dropped in [false, true] {
        let store = Arc::new(Freeing::default());
        let engine = Engine::open(store, &Env::system(), Options::default()).unwrap();
        set(&engine, "a", &[], b"first");
        let session = engine.session().unwrap();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let work = session.aside(Box::new(move |helper| {
            goes_on.recv().unwrap();
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[b"late"],
            };
            tell.send(helper.store(&record, Hint::default())).unwrap();
        }));
        let Ok(hold) = work else {
            panic!("there is a thread to spare");
        };
        assert!(hold.is_held());
        let mut hold = Some(hold);
        match dropped {
            true => drop(hold.take()),
            false => drop(reclaim(&engine, "newest")),
        }
        assert!(!hold.is_some_and(|hold| hold.is_held()));
        go_on.send(()).unwrap();
        let error = told.recv().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}

#[test]
fn work_aside_needs_no_driver() {
    let env = Env {
        drivers: Arc::new(crate::contract::pool::Pool::new(1)),
        ..Env::system()
    };
    let (leave, left) = std::sync::mpsc::channel::<()>();
    env.drivers.run(Box::new(move || {
        let _ = left.recv();
    }));
    let engine = Engine::open(Arc::new(Freeing::default()), &env, Options::default()).unwrap();
    set(&engine, "a", &[], b"first");
    let session = engine.session().unwrap();
    let (_hold, stored) = aside(&session, b"beside");
    assert!(is_there(&engine, &stored));
    drop(leave);
}

#[test]
fn a_simulated_environment_has_no_thread_to_spare() {
    let engine = open(&Freeing::default(), &SimEnv::new(1));
    set(&engine, "a", &[], b"first");
    let session = engine.session().unwrap();
    assert!(session.aside(Box::new(|_| ())).is_err());
}
