//! Runs one trace on both sides, and finds the model's way to wherever a crash left the stack.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::generate::random_stack;
use super::side::{Answer, Side};
use super::step::{Scene, Step, draw};
use crate::conformance::env::SimEnv;
use crate::conformance::kit::{
    Between, Crash, Fixture, Jitter, Machine, Nothing, Promises, StackFixture,
};
use crate::conformance::model::{ModelOptions, ModelStore};
use crate::conformance::rng::Rng;
use crate::conformance::sim::{Class, Plan as DiskPlan};
use crate::contract::{ErrorKind, Level, Store};
use crate::front::{Engine, Options};
use crate::stack::{Property, Registry};

/// When the stack's engine sends its tail buffer, in bytes.
const FLUSH: usize = 8 << 10;
/// The model's sends each record as it comes. When a tail is sent is a matter of time, and of which
/// stream holds how much, so after a crash the model may stand wherever some flush would have left it.
const AT_ONCE: usize = 1;
/// How often opening may be cut off by another crash.
const CRASHES_IN_A_ROW: usize = 3;
/// How often opening, or reading one record, may fail where floors fail calls on purpose.
const FAULTS_IN_A_ROW: usize = 60;

/// What runs did: a set in which something never happened has not tested it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Runs.
    pub traces: u64,
    /// Steps with the same answer on both sides.
    pub steps: u64,
    /// Commits, on both sides.
    pub commits: u64,
    /// Steps refused, on both sides alike.
    pub refused: u64,
    /// Clean reopenings.
    pub reopened: u64,
    /// Looks at what a writer had proven, by a stack that others opened for reading.
    pub looks: u64,
    /// Crashes, inside a call or between two.
    pub crashes: u64,
    /// Those of them that cut off an opening.
    pub in_recovery: u64,
    /// Commits that a crash took, rightly.
    pub lost: u64,
    /// Steps that failed on one side, where a floor had failed a call on purpose.
    pub unknown: u64,
    /// Decisions that were carried out, and those of them that freed something.
    pub reclaims: [u64; 2],
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.traces += other.traces;
        self.steps += other.steps;
        self.commits += other.commits;
        self.refused += other.refused;
        self.reopened += other.reopened;
        self.looks += other.looks;
        self.crashes += other.crashes;
        self.in_recovery += other.in_recovery;
        self.lost += other.lost;
        self.unknown += other.unknown;
        self.reclaims[0] += other.reclaims[0];
        self.reclaims[1] += other.reclaims[1];
    }
}

/// Where a stack and the model differ, with the seed that shows it again.
#[derive(Debug, Clone)]
pub struct Wrong {
    /// The seed.
    pub seed: u64,
    /// At which step.
    pub step: usize,
    /// What differs.
    pub what: String,
    /// The stack.
    pub stack: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            step,
            what,
            stack,
        } = self;
        write!(f, "SEED={seed} step {step}: {what}\non {stack}")
    }
}

/// The run of a seed: a random legal stack of this registry, on a simulated machine, with jitter at
/// its boundaries every other time.
pub fn run(seed: u64, registry: &Registry, steps: usize) -> Result<Tally, Wrong> {
    let mut rng = Rng::new(seed);
    let none = |what: &str| Wrong {
        seed,
        step: 0,
        what: what.to_owned(),
        stack: "nothing".to_owned(),
    };
    let spec = random_stack(&mut rng, registry).ok_or_else(|| none("no legal stack was found"))?;
    let disk = DiskPlan::draw(rng.next_u64(), Class::Crash);
    let fixture = StackFixture::simulated(&spec, registry, rng.next_u64(), disk);
    let fixture =
        fixture.map_err(|errors| none(&format!("a legal stack is refused: {errors:?}")))?;
    let between: Arc<dyn Between> = match rng.chance(1, 2) {
        true => Arc::new(Jitter::new(rng.next_u64())),
        false => Arc::new(Nothing),
    };
    run_on(seed, &fixture, &between, steps)
}

/// The trace of a seed on a stack of one's own. Its environment must be a simulated one for the run
/// to be replayed.
pub fn run_on(
    seed: u64,
    fixture: &dyn Fixture,
    between: &Arc<dyn Between>,
    steps: usize,
) -> Result<Tally, Wrong> {
    trace(seed, fixture, between, steps, false)
}

/// As [`run_on`], on a stack with floors that fail calls on purpose.
pub fn run_with_faults_on(
    seed: u64,
    fixture: &dyn Fixture,
    between: &Arc<dyn Between>,
    steps: usize,
) -> Result<Tally, Wrong> {
    trace(seed, fixture, between, steps, true)
}

fn trace(
    seed: u64,
    fixture: &dyn Fixture,
    between: &Arc<dyn Between>,
    steps: usize,
    faulty: bool,
) -> Result<Tally, Wrong> {
    let mut step = 0;
    let answer = Trace::begin(seed, fixture, between, faulty).and_then(|mut trace| {
        while step < steps && !trace.over {
            trace.step()?;
            step += 1;
        }
        Ok(trace.tally)
    });
    answer.map_err(|what| Wrong {
        seed,
        step,
        what,
        stack: format!("{fixture:?}"),
    })
}

struct Trace<'a> {
    rng: Rng,
    fixture: &'a dyn Fixture,
    between: &'a Arc<dyn Between>,
    promises: Promises,
    subject: Side,
    sim: SimEnv,
    store: ModelStore,
    model: Side,
    /// For each record the number of the first commit that came after it, once there is one.
    covered: Vec<Option<u64>>,
    /// For each record whether a name or another record leads to it.
    wanted: Vec<bool>,
    /// When space is given back, and of what: drawn apart, so that a seed means the same trace.
    giving: Rng,
    /// Nothing crashes, and each clean end is followed by others soon: one short reign after another, of
    /// which each begins with what the one before noted at its end.
    calm: bool,
    /// Steps that come before any that is drawn.
    due: VecDeque<Step>,
    /// Whether floors of the stack fail calls on purpose.
    faulty: bool,
    /// How many they had failed when all was well last.
    faults: u64,
    /// Writing has ended, and there is no way to go on from there.
    over: bool,
    tally: Tally,
}

impl<'a> Trace<'a> {
    fn begin(
        seed: u64,
        fixture: &'a dyn Fixture,
        between: &'a Arc<dyn Between>,
        faulty: bool,
    ) -> Result<Self, String> {
        let promises = fixture.promises();
        let store = ModelStore::new(ModelOptions {
            level: promises.level,
            ..ModelOptions::default()
        });
        let sim = SimEnv::new(seed);
        let told = |error: crate::contract::Error| format!("opening a new stack: {error}");
        let model = Side::open(
            Arc::new(store.clone()),
            sim.env(),
            promises.level,
            AT_ONCE,
            None,
        );
        let open = || {
            let store = fixture.open(between)?;
            Side::open(store, fixture.env(), promises.level, FLUSH, None)
        };
        let mut subject = open();
        for _ in 0..FAULTS_IN_A_ROW {
            if subject.is_ok() || !faulty {
                break;
            }
            if let Some(machine) = fixture.machine() {
                machine.crash(Crash::Kill);
            }
            subject = open();
        }
        Ok(Self {
            rng: Rng::new(seed ^ 0x004C_4157),
            fixture,
            between,
            promises,
            subject: subject.map_err(told)?,
            sim,
            store,
            model: model.map_err(told)?,
            covered: Vec::new(),
            wanted: Vec::new(),
            giving: Rng::new(seed ^ 0x5245_434C),
            calm: Rng::new(seed ^ 0x4341_4C4D).chance(1, 3),
            due: VecDeque::new(),
            faulty,
            faults: 0,
            over: false,
            tally: Tally {
                traces: 1,
                ..Tally::default()
            },
        })
    }

    fn step(&mut self) -> Result<(), String> {
        let moment = Duration::from_micros(500 + self.rng.below(2_000));
        self.fixture.env().clock.sleep(moment);
        self.sim.advance(moment);
        let scene = Scene {
            records: self.model.records.len(),
            newest: self.model.newest(),
            level: self.promises.level,
            reopens: self.promises.properties.has(Property::Persists),
        };
        let due = self.due.pop_front();
        let step = due.unwrap_or_else(|| draw(&mut self.rng, &scene));
        self.wanted.resize(self.model.records.len(), false);
        for at in step.leads_to() {
            self.wanted[at] = true;
        }
        let crash = self.machine().is_some() && self.rng.chance(1, 25) && !self.calm;
        if crash && let Some(machine) = self.machine() {
            machine.disk().crash_in(1 + self.rng.below(20));
        }
        let before = (crash || self.faulty).then(|| self.store.image());
        let told = self.subject.apply(&step);
        // Whether or not the countdown ran out in this step: then it is a crash after it.
        let down = crash
            && self
                .machine()
                .is_some_and(|machine| machine.disk().is_down());
        let unknown = !down && told.is_err() && self.has_failed();
        if unknown {
            self.tally.unknown += 1;
            if told == Err(ErrorKind::Full) && step.needs_room() && !crash {
                return Ok(());
            }
        }
        if down || unknown {
            let _ = self.model.apply(&step);
        } else {
            self.compare(&step, &told)?;
        }
        if crash || unknown && step.changes() {
            let before = before.filter(|_| down || unknown);
            let candidates = [Some(self.store.image()), before];
            return self.crash(candidates.into_iter().flatten().collect());
        }
        if matches!(step, Step::Prove | Step::Reopen) && told.is_ok() {
            self.look(&step)?;
        }
        if matches!(step, Step::Reopen) && told.is_ok() {
            self.reopen()?;
            if self.calm && self.due.is_empty() {
                self.reign_again();
            }
        }
        if !self.subject.refuses() {
            self.faults = self.subject.faults().unwrap_or(0);
        }
        if self.giving.chance(1, 20) {
            return self.reclaim();
        }
        Ok(())
    }

    /// Has some short reigns come next: each writes a little, mostly, and ends cleanly.
    fn reign_again(&mut self) {
        for _ in 0..self.rng.below(4) {
            if self.rng.chance(4, 5) {
                let length = self.rng.below_usize(100) + 1;
                let body = self.rng.bytes(length);
                self.due.push_back(Step::Store { body, child: None });
                self.due.push_back(Step::Commit {
                    asks: Vec::new(),
                    level: self.promises.level,
                });
            }
            self.due.push_back(Step::Reopen);
        }
    }

    /// Gives back, on the stack alone, some of the records that nothing leads to: nobody asks for them
    /// any more, so the model needs no reclaim to go on as if nothing were.
    fn reclaim(&mut self) -> Result<(), String> {
        if self.subject.refuses() {
            return Ok(());
        }
        let mostly = self.giving.chance(1, 2);
        let mut dead = Vec::new();
        for at in 0..self.covered.len() {
            let free = self.covered[at].is_some() && self.wanted.get(at) == Some(&false);
            if free && (mostly || self.giving.chance(1, 3)) {
                dead.push(at);
            }
        }
        let crash = self.machine().is_some() && self.giving.chance(1, 4) && !self.calm;
        if crash && let Some(machine) = self.machine() {
            machine.disk().crash_in(1 + self.giving.below(40));
        }
        let told = self.subject.reclaim(&dead);
        let down = crash
            && self
                .machine()
                .is_some_and(|machine| machine.disk().is_down());
        match &told {
            Ok(bytes) => {
                self.tally.reclaims[0] += 1;
                self.tally.reclaims[1] += u64::from(*bytes > 0);
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            Err(_) if down || self.has_failed() => {}
            Err(error) => return Err(format!("giving back {dead:?} fails: {error}")),
        }
        if !down {
            for &at in &dead {
                let found = self.read_again(at);
                let expected = self.model.read(at).map_err(|error| error.kind());
                if found != expected && found != Ok("absent".to_owned()) {
                    return Err(format!(
                        "record {at} was given back: it is absent or as it was, and reads {}",
                        short(&found)
                    ));
                }
            }
        }
        // Before a crash as well: what was given back may be gone after it, or not.
        self.drop_records(|at| !dead.contains(&at));
        match crash {
            true => self.crash(vec![self.store.image()]),
            false => Ok(()),
        }
    }

    /// Whether a floor failed a call on purpose since all was well. A floor that others keep open
    /// only while they need it may not be there to say so.
    fn has_failed(&self) -> bool {
        let failed = self.subject.faults();
        self.faulty && failed.is_none_or(|failed| failed > self.faults)
    }

    fn machine(&self) -> Option<&'a Machine> {
        let machine = self.fixture.machine();
        machine.filter(|_| self.promises.kill && self.promises.power_cut)
    }

    /// Carries the step out on the model as well, and compares.
    fn compare(&mut self, step: &Step, told: &Answer) -> Result<(), String> {
        let newest = self.model.newest();
        let expected = self.model.apply(step);
        if *told != expected {
            return Err(format!(
                "{}: the stack answers {}, the one-file stack {}; the last error said: {}",
                short(step),
                short(told),
                short(&expected),
                self.subject.said
            ));
        }
        self.tally.steps += 1;
        self.tally.refused += u64::from(told.is_err());
        self.covered.resize(self.model.records.len(), None);
        if self.model.newest() > newest {
            self.tally.commits += 1;
            for covered in &mut self.covered {
                covered.get_or_insert(newest + 1);
            }
        }
        Ok(())
    }

    /// Another process looks: it is shown what the writer has proven, which is what the model has, but
    /// where the last room is kept for commits. Before it wrote anything, how the batches of the one
    /// before were cut decides what is named there.
    fn look(&mut self, step: &Step) -> Result<(), String> {
        if !self.promises.readers || self.faulty || !self.subject.began() {
            return Ok(());
        }
        let told = |error| format!("who opens it to read: {error}");
        let shown = |store, env| {
            let reader = Engine::open(store, env, Options::reading())?;
            let newest = reader.snapshot().sequence();
            reader.close().map(|()| newest)
        };
        let read = self.fixture.read(self.between).map_err(told)?;
        let found = shown(read, self.fixture.env()).map_err(told)?;
        let model = self.store.reader();
        let expected = shown(Arc::new(model), self.sim.env()).map_err(told)?;
        self.tally.looks += 1;
        let named = match step {
            Step::Prove => self.subject.proven().map_err(told)?,
            _ => expected,
        };
        if found == named && named <= expected {
            return Ok(());
        }
        Err(format!(
            "who opens it to read is shown commit {found} of {named}, of the one-file stack {expected}"
        ))
    }

    fn reopen(&mut self) -> Result<(), String> {
        let told = |error| format!("opening after a clean close: {error}");
        self.store = self.store.reopen();
        self.model = self.open_model(&self.store, &self.model).map_err(told)?;
        match self.open_subject() {
            Ok(subject) => self.subject = subject,
            Err(_) if self.faulty => return self.crash(vec![self.store.image()]),
            Err(error) => return Err(told(error)),
        }
        self.faults = 0;
        let (found, expected) = (self.subject.newest(), self.model.newest());
        if found != expected {
            return Err(format!("commit {expected} was the last, {found} is found"));
        }
        self.tally.reopened += 1;
        self.forget(expected)
    }

    fn open_subject(&self) -> crate::contract::Result<Side> {
        let store = self.fixture.open(self.between)?;
        let level = self.promises.level;
        Side::open(store, self.fixture.env(), level, FLUSH, Some(&self.subject))
    }

    fn open_model(&self, store: &ModelStore, before: &Side) -> crate::contract::Result<Side> {
        let store: Arc<dyn Store> = Arc::new(store.clone());
        Side::open(
            store,
            self.sim.env(),
            self.promises.level,
            AT_ONCE,
            Some(before),
        )
    }

    /// Ends the process, perhaps in the midst of recovery as well, and finds the model's way there.
    fn crash(&mut self, candidates: Vec<ModelStore>) -> Result<(), String> {
        let Some(machine) = self.machine() else {
            self.over = true;
            return Ok(());
        };
        let mut worst = Level::Os;
        let mut opened = None;
        let faults = if self.faulty { FAULTS_IN_A_ROW } else { 0 };
        for again in 0..=CRASHES_IN_A_ROW + faults {
            let crash = match self.rng.chance(1, 2) {
                true => Crash::Kill,
                false => Crash::PowerCut,
            };
            worst = worst.max(Promises::surviving(crash));
            self.fixture.crash(crash);
            self.tally.crashes += 1;
            if again < CRASHES_IN_A_ROW && self.rng.chance(1, 3) {
                machine.disk().crash_in(1 + self.rng.below(12));
            }
            let tried = self.open_subject();
            let down = machine.disk().is_down();
            machine.disk().crash_never();
            match tried {
                Ok(side) if !down => {
                    opened = Some(side);
                    break;
                }
                Err(_) if !down && self.faulty => self.tally.unknown += 1,
                Err(error) if !down => {
                    return Err(format!("after a crash the stack does not open: {error}"));
                }
                _ => self.tally.in_recovery += 1,
            }
        }
        self.subject = opened.ok_or("after a crash the stack was never opened")?;
        self.faults = 0;
        self.follow(&candidates, worst)
    }

    /// Finds what the model would have had to lose to stand where the stack stands.
    fn follow(&mut self, candidates: &[ModelStore], worst: Level) -> Result<(), String> {
        let found = self.subject.newest();
        let before = self.model.newest();
        let mut reached = Vec::new();
        for candidate in candidates {
            for lucky in 0..=candidate.batches().len() {
                let left = candidate.image().crash(worst, lucky);
                let kept = left.batches().len();
                let Ok(model) = self.open_model(&left, &self.model) else {
                    return Err("the model does not open after a crash".to_owned());
                };
                if model.newest() == found {
                    self.store = left;
                    self.model = model;
                    self.tally.lost += before.saturating_sub(found);
                    return self.forget(found);
                }
                reached.push(model.newest());
                if kept == candidate.batches().len() {
                    break;
                }
            }
        }
        reached.dedup();
        Err(format!(
            "after a crash that spares {worst} the newest commit is {found}; the one-file stack may \
             stand at {reached:?}"
        ))
    }

    /// Records that no commit covers may be there or not after an opening, but never as others; they
    /// lose their numbers. Those that are covered must read alike.
    fn forget(&mut self, newest: u64) -> Result<(), String> {
        let mut kept = Vec::new();
        for at in 0..self.covered.len() {
            let covered = self.covered[at].is_some_and(|by| by <= newest);
            let found = self.read_again(at);
            if covered {
                let expected = self.model.read(at).map_err(|error| error.kind());
                if found != expected {
                    return Err(format!(
                        "record {at} lies below commit {newest}: the stack reads {}, the one-file \
                         stack {}",
                        short(&found),
                        short(&expected)
                    ));
                }
                kept.push(at);
            } else if let Err(kind) = found {
                return Err(format!(
                    "record {at} was not committed; it may be there or not, and reading it is {kind}"
                ));
            }
        }
        self.faults = self.subject.faults().unwrap_or(0);
        self.drop_records(|at| kept.contains(&at));
        Ok(())
    }

    /// Takes the numbers of all other records away.
    fn drop_records(&mut self, stays: impl Fn(usize) -> bool) {
        fn keep<T>(all: &mut Vec<T>, stays: &impl Fn(usize) -> bool) {
            let mut at = 0..;
            all.retain(|_| at.next().is_some_and(stays));
        }
        keep(&mut self.subject.records, &stays);
        keep(&mut self.model.records, &stays);
        keep(&mut self.covered, &stays);
        keep(&mut self.wanted, &stays);
    }

    /// Reads a record, again and again where floors fail calls on purpose.
    fn read_again(&mut self, at: usize) -> Answer {
        let mut found = self.subject.read(at);
        for _ in 0..FAULTS_IN_A_ROW {
            if found.is_ok() || !self.has_failed() {
                break;
            }
            self.tally.unknown += 1;
            self.faults = self.subject.faults().unwrap_or(0);
            found = self.subject.read(at);
        }
        found.map_err(|error| error.kind())
    }
}

fn short(what: &impl fmt::Debug) -> String {
    let text = format!("{what:?}");
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
