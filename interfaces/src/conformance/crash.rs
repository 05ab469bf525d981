//! Maps through an engine on a stack that crashes: a harness for any index, on any stack.
//!
//! ```text
//!   transaction ──> commit, acknowledged at a level        model: what every commit made of the maps
//!   transaction ──> commit, not yet answered ── crash ──> open again
//!                                                           │ is it the last commit that was
//!                                                           └ acknowledged, or a later one, whole?
//! ```
//!
//! [`run`] does random transactions to two maps that are committed together, reads in the midst of
//! them, looks at old commits, closes and opens, and ends the process where the [`Fixture`] can do
//! that: between calls, at any call that changes the simulated disk, and while opening. After each end
//! both maps are compared with the model, whole, and verified. What is lost must not have been
//! acknowledged at a level that survives the crash.
//!
//! A stack is any [`Fixture`] of the engine's kit; [`index_suite!`](crate::index_suite) takes a log on
//! a simulated disk.

use std::sync::Arc;

use travertine_engine::conformance::kit::{
    Between, Crash, Fixture, LogFixture, Machine, Nothing, Promises,
};
use travertine_engine::conformance::sim::{Class, Plan};
use travertine_engine::contract::{Level, Name, Result, RootAt};
use travertine_engine::front::{Change, Engine, Options, Session, Snapshot};
use travertine_engine::log::LogOptions;
use travertine_engine::stack::Property;

use super::model::{Chance, Map as Model, same};
use crate::index::{CursorExt, Index};
use crate::map::{Map, Turn};

/// Crashes while opening, one after the other.
const CRASHES_IN_A_ROW: usize = 3;
/// Commits that can be looked back at.
const KEPT: usize = 32;

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Puts, deletes, reads and compared writes, each held against the model.
    pub operations: u64,
    /// Commits that were acknowledged.
    pub commits: u64,
    /// Entries that were compared with the model after an opening or in an old commit.
    pub compared: u64,
    /// Old commits that were read.
    pub looked_back: u64,
    /// Clean closings, each with an opening.
    pub reopened: u64,
    /// Ends of a process, between calls or in one.
    pub crashes: u64,
    /// Those of them in the midst of a transaction or of its commit.
    pub in_calls: u64,
    /// Those of them while the stack was opened.
    pub in_recovery: u64,
    /// Commits that nobody had acknowledged, and that were there after the crash.
    pub survived: u64,
    /// Commits that were not there after a crash, as was their right.
    pub lost: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.commits += other.commits;
        self.compared += other.compared;
        self.looked_back += other.looked_back;
        self.reopened += other.reopened;
        self.crashes += other.crashes;
        self.in_calls += other.in_calls;
        self.in_recovery += other.in_recovery;
        self.survived += other.survived;
        self.lost += other.lost;
    }
}

/// Does so many transactions to maps of this index. The same seed on the same fixture does the same.
///
/// # Panics
///
/// If a map is not what the model says.
pub fn run<I: Index>(index: &I, fixture: &dyn Fixture, seed: u64, transactions: usize) -> Tally {
    let name = |text: &str| Name::new(text).expect("a legal name");
    let mut run = Run {
        maps: ["one", "two"].map(|text| Map::new(name(text), index.clone())),
        fixture,
        promises: fixture.promises(),
        chance: Chance::new(seed),
        commits: vec![Commit::default()],
        tally: Tally::default(),
        story: String::new(),
    };
    let mut engine = run.open().expect("a new stack opens");
    for nth in 0..transactions {
        run.story = format!("seed {seed}, transaction {nth}, on {fixture:?}");
        engine = run.transaction(engine);
    }
    run.judge(&engine, 0);
    engine.close().expect("an engine closes");
    run.tally
}

pub(super) fn what_was_acknowledged_survives_crashes<I: Index>(index: &I, seed: u64) {
    let mut tally = Tally::default();
    for seed in seed..seed + 4 {
        let options = LogOptions {
            segment: 256 << 10,
            ..LogOptions::default()
        };
        let fixture = LogFixture::simulated(seed, Plan::draw(seed, Class::Crash), options);
        tally += run(index, &fixture, seed, 60);
    }
    println!("{tally:?}");
    assert!(
        tally.crashes > 0 && tally.in_calls > 0,
        "{tally:?}, seed {seed}"
    );
}

/// What a commit made of both maps.
#[derive(Debug, Clone, Default)]
struct Commit {
    /// Its number and what was said to be reached; `None` if nothing was said.
    told: Option<(u64, Level)>,
    maps: [Model; 2],
}

struct Run<'f, I> {
    maps: [Map<I>; 2],
    fixture: &'f dyn Fixture,
    promises: Promises,
    chance: Chance,
    /// The newest last. The first is none, or one that everything survives.
    commits: Vec<Commit>,
    tally: Tally,
    story: String,
}

impl<I: Index> Run<'_, I> {
    fn open(&self) -> Result<Engine> {
        let nothing: Arc<dyn Between> = Arc::new(Nothing);
        let options = Options {
            level: self.promises.level,
            flush_bytes: 16 << 10,
            recent_max: 0,
            ..Options::default()
        };
        let store = self.fixture.open(&nothing)?;
        Engine::open(store, self.fixture.env(), options)
    }

    fn machine(&self) -> Option<&Machine> {
        self.fixture.machine().filter(|_| self.promises.kill)
    }

    /// One transaction, and what may come before it and after it.
    fn transaction(&mut self, engine: Engine) -> Engine {
        let lasts = self.promises.properties.has(Property::Persists);
        match self.chance.below(30) {
            0 if lasts => return self.reopen(&engine),
            1 if self.machine().is_some() => return self.crash(engine),
            2..6 => self.look_back(&engine),
            _ => {}
        }
        let armed = self.chance.below(5) == 0;
        if armed {
            let calls = 1 + self.chance.below(5) as u64;
            if let Some(machine) = self.machine() {
                machine.disk().crash_in(calls);
            }
        }
        let done = self.work(&engine);
        let Some(machine) = self.machine().filter(|_| armed) else {
            done.unwrap_or_else(|error| panic!("{error}; {}", self.story));
            return engine;
        };
        let down = machine.disk().is_down();
        if let Err(error) = done {
            assert!(down, "{error}; {}", self.story);
        }
        self.tally.in_calls += u64::from(down);
        self.crash(engine)
    }

    /// Edits and reads, and a commit if they changed anything.
    fn work(&mut self, engine: &Engine) -> Result<()> {
        let session = engine.session()?;
        let last = self.commits.last().expect("there is one at least");
        let mut models = last.maps.clone();
        let mut changes = Vec::new();
        for (nth, model) in models.iter_mut().enumerate() {
            if self.chance.below(3) == nth {
                continue;
            }
            let mut turn = self.maps[nth].writer(&session);
            let size = [1, 3, 30, 200][self.chance.below(4)];
            // Tides of growth and of decay.
            let deletes = if (self.commits.len() / 8).is_multiple_of(2) {
                2
            } else {
                7
            };
            for _ in 0..size {
                edit(&mut self.chance, &mut turn, model, deletes)?;
                self.tally.operations += 1;
            }
            changes.extend(turn.finish()?);
        }
        match changes.is_empty() {
            true => Ok(()),
            false => self.commit(&session, &changes, models),
        }
    }

    fn commit(&mut self, session: &Session, changes: &[Change], maps: [Model; 2]) -> Result<()> {
        let level = [Level::Memory, Level::Os, Level::Disk, self.promises.level];
        let level = level[self.chance.below(4)].min(self.promises.level);
        let told = session.commit(changes, Some(level)).wait();
        let commit = Commit {
            told: told.as_ref().ok().map(|told| (told.sequence, told.level)),
            maps,
        };
        self.commits.push(commit);
        let told = told?;
        assert!(told.level >= level, "asked for {level}; {}", self.story);
        self.tally.commits += 1;
        if self.commits.len() > KEPT {
            self.commits.remove(0);
        }
        Ok(())
    }

    /// Reads an old commit.
    fn look_back(&mut self, engine: &Engine) {
        let at = self.chance.below(self.commits.len());
        let Some((sequence, _)) = self.commits[at].told else {
            return;
        };
        let snapshot = engine.at(RootAt::Sequence(sequence));
        let snapshot = snapshot.unwrap_or_else(|error| panic!("{error}; {}", self.story));
        let snapshot = snapshot.unwrap_or_else(|| panic!("no {sequence}; {}", self.story));
        let found = self.is(&snapshot, at);
        assert!(found, "commit {sequence} changed; {}", self.story);
        self.tally.looked_back += 1;
    }

    fn reopen(&mut self, engine: &Engine) -> Engine {
        let story = &self.story;
        let closed = engine.close();
        closed.unwrap_or_else(|error| panic!("closing: {error}; {story}"));
        let engine = self.open();
        let engine = engine.unwrap_or_else(|error| panic!("opening: {error}; {story}"));
        self.tally.reopened += 1;
        self.judge(&engine, self.commits.len() - 1);
        engine
    }

    fn crash(&mut self, engine: Engine) -> Engine {
        let mut chance = self.chance.clone();
        let ended = end(self.fixture, &mut chance, &self.story, || self.open());
        self.chance = chance;
        self.tally.crashes += ended.crashes;
        self.tally.in_recovery += ended.crashes - 1;
        drop(engine);
        let survives = |commit: &Commit| {
            commit.told.is_none_or(|(_, level)| level >= ended.worst) && commit.told.is_some()
        };
        let least = self.commits.iter().rposition(survives).unwrap_or(0);
        self.judge(&ended.next, least);
        ended.next
    }

    /// The newest commit must be that at `least`, or a later one. Goes on from it.
    fn judge(&mut self, engine: &Engine, least: usize) {
        let snapshot = engine.snapshot();
        let number = snapshot.sequence();
        // The last one may have died before its answer came. Else it is the newest that has come so far
        // by number: an index may commit on its own, too.
        let told = |at: &usize| {
            let told = self.commits[*at].told;
            told.is_some_and(|(sequence, _)| sequence <= number)
        };
        let commits = least..self.commits.len();
        let unheard = commits
            .clone()
            .last()
            .filter(|at| self.commits[*at].told.is_none());
        let unheard = unheard.filter(|at| self.looks_like(&snapshot, *at));
        let found = unheard.or_else(|| commits.clone().rev().find(told));
        let found = found.or_else(|| (number == 0 && least == 0).then_some(0));
        let Some(found) = found.filter(|at| self.is(&snapshot, *at)) else {
            let told: Vec<_> = self.commits[commits]
                .iter()
                .map(|commit| commit.told)
                .collect();
            panic!(
                "commit {number} is none of {told:?}, or is not as it was; {}",
                self.story
            );
        };
        let lost = self.commits.len() - 1 - found;
        self.tally.lost += lost as u64;
        self.commits.truncate(found + 1);
        if let Some(commit) = self.commits.last_mut().filter(|_| number > 0) {
            self.tally.survived += u64::from(commit.told.is_none());
            commit.told = Some((number, self.promises.level));
        }
    }

    /// Whether a scan of a snapshot shows what this commit made of the maps.
    fn looks_like(&self, snapshot: &Snapshot, at: usize) -> bool {
        self.maps
            .iter()
            .zip(&self.commits[at].maps)
            .all(|(map, model)| {
                let reader = map.reader(snapshot).wait();
                let reader = reader.unwrap_or_else(|error| panic!("{error}; {}", self.story));
                let mut cursor = reader.cursor();
                let alike = model.iter().all(|(key, value)| {
                    let entry = cursor
                        .next()
                        .unwrap_or_else(|error| panic!("{error}; {}", self.story));
                    entry.is_some_and(|entry| {
                        let found = || reader.value(entry.value).wait().ok();
                        entry.key == key && found().as_deref() == Some(value)
                    })
                });
                alike && reader.count() == model.len() as u64
            })
    }

    /// Whether a snapshot has the maps as this commit made them. Compares everything.
    fn is(&mut self, snapshot: &Snapshot, at: usize) -> bool {
        for (map, model) in self.maps.iter().zip(&self.commits[at].maps) {
            let reader = map.reader(snapshot).wait();
            let reader = reader.unwrap_or_else(|error| panic!("{error}; {}", self.story));
            if reader.count() != model.len() as u64 {
                return false;
            }
            same(&reader, model, &self.story);
            self.tally.compared += model.len() as u64;
        }
        true
    }
}

/// What came of an end.
pub(super) struct Ended<T> {
    /// What was opened after it.
    pub(super) next: T,
    /// What is acknowledged at less may be gone.
    pub(super) worst: Level,
    /// How often it ended: all but the first time while it was opened.
    pub(super) crashes: u64,
}

/// Ends the process, perhaps once more while the next one opens.
pub(super) fn end<T>(
    fixture: &dyn Fixture,
    chance: &mut Chance,
    story: &str,
    open: impl Fn() -> Result<T>,
) -> Ended<T> {
    let mut worst = Level::Memory;
    for again in 0..=CRASHES_IN_A_ROW {
        let crash = [Crash::Kill, Crash::PowerCut][chance.below(2)];
        worst = worst.max(Promises::surviving(crash));
        fixture.crash(crash);
        let armed = again < CRASHES_IN_A_ROW && chance.below(3) == 0;
        let calls = 1 + chance.below(12) as u64;
        let machine = fixture.machine().expect("only a machine crashes");
        if armed {
            machine.disk().crash_in(calls);
        }
        let opened = open();
        let down = machine.disk().is_down();
        machine.disk().crash_never();
        match opened {
            _ if down => {}
            Ok(next) => {
                return Ended {
                    next,
                    worst,
                    crashes: again as u64 + 1,
                };
            }
            Err(error) => panic!("after a crash: {error}; {story}"),
        }
    }
    panic!("after a crash the stack was never opened; {story}")
}

/// One operation of a transaction, on a map and on its model.
fn edit<I: Index>(
    chance: &mut Chance,
    turn: &mut Turn<'_, I>,
    model: &mut Model,
    deletes: usize,
) -> Result<()> {
    let mut key = chance.key();
    let near = model
        .range(key.clone()..)
        .next()
        .map(|(key, _)| key.clone());
    if let Some(near) = near.filter(|_| chance.below(2) == 0) {
        key = near;
    }
    match chance.below(20) {
        0 => {
            let found = turn.get(&key)?;
            assert_eq!(found.as_deref(), model.get(&key).map(Vec::as_slice));
        }
        1 => {
            let (value, before) = (chance.value(), model.get(&key).cloned());
            let expected = before.filter(|_| chance.below(4) > 0);
            let meant = model.get(&key) == expected.as_ref();
            let set = turn.compare_and_set(&key, expected.as_deref(), Some(&value))?;
            assert_eq!(set, meant);
            if set {
                model.insert(key, value);
            }
        }
        way if (way - 2) * 10 < 18 * deletes => {
            turn.delete(&key)?;
            model.remove(&key);
        }
        _ => {
            let value = chance.value();
            turn.put(&key, &value)?;
            model.insert(key, value);
        }
    }
    Ok(())
}
