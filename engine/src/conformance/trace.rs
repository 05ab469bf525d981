//! Random traces: what a caller does and what must be true, drawn from a seed.
//!
//! A trace drives an [`Engine`] on whatever store a [`Fixture`] opens: it stores, reads, commits with
//! right and wrong expectations, looks back in time, closes, crashes, opens again. Beside it runs a
//! plain model: for each commit the names and the bytes they lead to. After every opening
//!
//! - the newest commit is one that was submitted, no older than the newest acknowledged at a level
//!   that the crash leaves intact, and no older than any that was ever served;
//! - every commit up to it reads back as it was;
//! - no address was ever handed out twice, and none ever reads as other bytes.
//!
//! Same seed, same fixture: same trace. A failure is a text that begins with the seed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::{
    Env, Error, ErrorKind, Kind, Level, Name, NewRecord, Oid, Reference, Result, RootAt, Store,
};
use crate::front::{Change, Engine, Expect, Hint, Options, Read, Session, Snapshot};

use super::env::SimEnv;
use super::rng::Rng;

/// Where a trace runs.
pub trait Fixture {
    /// Opens the store: at first an empty one, later what was left.
    fn open(&mut self, env: &Env) -> Result<Arc<dyn Store>>;

    /// Sets up a trouble to come, if this fixture knows any: a crash after so many calls, a fault.
    fn arm(&mut self, rng: &mut Rng);

    /// Takes back what [`Fixture::arm`] set up.
    fn disarm(&mut self);

    /// Ends the process or pulls the plug. Commits that reached the level returned must survive.
    fn crash(&mut self, rng: &mut Rng) -> Level;
}

/// What a trace is like.
#[derive(Debug, Clone)]
pub struct TracePlan {
    /// How many steps.
    pub steps: usize,
    /// How the engine is opened.
    pub options: Options,
    /// The longest body.
    pub body_max: usize,
    /// How many names there are.
    pub names: u64,
}

impl Default for TracePlan {
    fn default() -> Self {
        Self {
            steps: 200,
            options: Options {
                flush_bytes: 16 << 10,
                tail_max: 64 << 10,
                recent_max: 32 << 10,
                ..Options::default()
            },
            body_max: 4_000,
            names: 6,
        }
    }
}

/// What a trace did: a run set in which something never happened has not tested it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records stored.
    pub stores: u64,
    /// Commits acknowledged.
    pub commits: u64,
    /// Commits refused because a name was not as expected.
    pub conflicts: u64,
    /// Calls refused for want of space.
    pub full: u64,
    /// Clean closes.
    pub closes: u64,
    /// Crashes.
    pub crashes: u64,
    /// Openings that failed and were tried again.
    pub failed_opens: u64,
    /// Commits found after a crash that nobody had acknowledged.
    pub lucky: u64,
    /// Commits submitted and lost, rightly.
    pub lost: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.stores += other.stores;
        self.commits += other.commits;
        self.conflicts += other.conflicts;
        self.full += other.full;
        self.closes += other.closes;
        self.crashes += other.crashes;
        self.failed_opens += other.failed_opens;
        self.lucky += other.lucky;
        self.lost += other.lost;
    }
}

/// What went wrong, with the seed that shows it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// At which step.
    pub step: usize,
    /// What was expected and what was found.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SEED={} step {}: {}", self.seed, self.step, self.what)
    }
}

impl std::error::Error for Failure {}

/// The bytes that a name leads to: its record's and those of the records it refers to.
type Value = Vec<u8>;
type State = BTreeMap<Name, (Reference, Value)>;

/// How a step ended.
enum Step {
    Done,
    /// The store failed: this process is over.
    Over,
}

struct Trace<'a> {
    rng: Rng,
    sim: SimEnv,
    plan: &'a TracePlan,
    level: Level,
    tally: Tally,
    /// Number n is the commit of sequence n; number 0 the empty beginning.
    history: Vec<(u64, State)>,
    /// Newest sequence that must survive a kill, and a power cut.
    safe: [u64; 2],
    /// Everything ever handed out.
    handed_out: BTreeMap<Oid, Value>,
    /// Stored in this process's life and readable in it.
    fresh: Vec<(Reference, Value)>,
}

/// Runs the trace of a seed.
pub fn run(seed: u64, fixture: &mut impl Fixture, plan: &TracePlan) -> Result<Tally, Failure> {
    let mut rng = Rng::new(seed);
    let sim = SimEnv::new(rng.next_u64());
    let mut trace = Trace {
        rng,
        sim,
        plan,
        level: plan.options.level,
        tally: Tally::default(),
        history: vec![(0, State::new())],
        safe: [0; 2],
        handed_out: BTreeMap::new(),
        fresh: Vec::new(),
    };
    let mut step = 0;
    let done = trace.all(fixture, &mut step);
    done.map_err(|what| Failure { seed, step, what })?;
    Ok(trace.tally)
}

impl Trace<'_> {
    fn all(&mut self, fixture: &mut impl Fixture, step: &mut usize) -> Result<(), String> {
        let mut engine = self.open(fixture)?;
        for at in 0..self.plan.steps {
            *step = at;
            let micros = self.rng.below(3_000);
            self.sim.advance(Duration::from_micros(micros));
            if self.rng.chance(1, 20) {
                fixture.arm(&mut self.rng);
            }
            let ended = match self.rng.below(100) {
                0..4 => self.close(&engine)?,
                4..8 => Step::Over,
                8..10 => told(engine.prove())?,
                10..20 => self.look_back(&engine)?,
                20..30 => self.race(&engine)?,
                _ => self.write(&engine)?,
            };
            if matches!(ended, Step::Over) {
                self.tally.crashes += 1;
                drop(engine);
                let level = fixture.crash(&mut self.rng);
                fixture.disarm();
                if level > Level::Os {
                    self.safe[0] = self.safe[1];
                }
                self.fresh.clear();
                if self.rng.chance(1, 3) {
                    fixture.arm(&mut self.rng);
                }
                engine = self.open(fixture)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, fixture: &mut impl Fixture) -> Result<Engine, String> {
        for attempt in 0.. {
            let opened = fixture
                .open(self.sim.env())
                .and_then(|store| Engine::open(store, self.sim.env(), self.plan.options.clone()));
            let engine = match opened {
                Ok(engine) => engine,
                Err(error) if attempt < 3 && is_trouble(&error) => {
                    self.tally.failed_opens += 1;
                    let level = fixture.crash(&mut self.rng);
                    if level > Level::Os {
                        self.safe[0] = self.safe[1];
                    }
                    fixture.disarm();
                    continue;
                }
                Err(error) => return Err(format!("the store does not open: {error}")),
            };
            let found = engine.snapshot().sequence();
            let submitted = self.history.len() as u64 - 1;
            if found < self.safe[0] || found > submitted {
                return Err(format!(
                    "opening finds commit {found}, at least {} are safe and {submitted} were \
                     submitted",
                    self.safe[0]
                ));
            }
            self.tally.lucky += found - self.safe[0];
            self.tally.lost += submitted - found;
            self.history.truncate(found as usize + 1);
            // Served once, so never again below.
            self.safe = [found; 2];
            match self.check_all(&engine)? {
                Step::Done => return Ok(engine),
                Step::Over => {
                    drop(engine);
                    fixture.crash(&mut self.rng);
                    fixture.disarm();
                }
            }
        }
        Err("the store never opened".into())
    }

    /// Every commit reads back, and every address gives its own bytes or none.
    fn check_all(&mut self, engine: &Engine) -> Result<Step, String> {
        for sequence in 1..self.history.len() {
            let snapshot = match engine.at(RootAt::Sequence(sequence as u64)) {
                Ok(Some(snapshot)) => snapshot,
                Ok(None) => return Err(format!("commit {sequence} is gone")),
                Err(error) if is_trouble(&error) => return Ok(Step::Over),
                Err(error) => return Err(format!("commit {sequence}: {error}")),
            };
            if let Step::Over = self.check(&snapshot, sequence)? {
                return Ok(Step::Over);
            }
        }
        for (oid, value) in &self.handed_out {
            match engine.read(*oid).wait() {
                // Records of a lost tail: absent, unknown, or whole.
                Ok(None) | Err(_) => {}
                Ok(Some(record)) if record.body() == value.as_slice() => {}
                Ok(Some(record)) => {
                    return Err(format!(
                        "{oid} was handed out for other bytes than {record:?}"
                    ));
                }
            }
        }
        Ok(Step::Done)
    }

    fn check(&self, snapshot: &Snapshot, sequence: usize) -> Result<Step, String> {
        let (time, state) = &self.history[sequence];
        if snapshot.sequence() != sequence as u64 || (sequence > 0 && snapshot.time() != *time) {
            return Err(format!("{snapshot:?} is not commit {sequence} of {time}"));
        }
        let names: Vec<_> = snapshot.names().iter().collect();
        let known: Vec<_> = state.iter().map(|(name, (to, _))| (name, to)).collect();
        if names != known {
            return Err(format!("commit {sequence} has {names:?}, not {known:?}"));
        }
        for (name, (reference, value)) in state {
            match value_of(snapshot, reference) {
                Ok(found) if found == *value => {}
                Ok(_) => return Err(format!("commit {sequence}: {name} has other bytes")),
                Err(error) if is_trouble(&error) => return Ok(Step::Over),
                Err(error) => return Err(format!("commit {sequence}, {name}: {error}")),
            }
        }
        Ok(Step::Done)
    }

    fn close(&mut self, engine: &Engine) -> Result<Step, String> {
        match engine.close() {
            Ok(()) => {
                self.tally.closes += 1;
                self.safe = [self.history.len() as u64 - 1; 2];
            }
            Err(error) if is_trouble(&error) => {}
            Err(error) => return Err(format!("closing: {error}")),
        }
        Ok(Step::Over)
    }

    fn look_back(&mut self, engine: &Engine) -> Result<Step, String> {
        let newest = self.history.len() as u64 - 1;
        let sequence = self.rng.below(newest + 3);
        let known = (1..=newest).contains(&sequence);
        let snapshot = match engine.at(RootAt::Sequence(sequence)) {
            Ok(snapshot) => snapshot,
            Err(error) if is_trouble(&error) => return Ok(Step::Over),
            Err(error) => return Err(format!("looking for commit {sequence}: {error}")),
        };
        match snapshot {
            Some(snapshot) if known => {
                if let Step::Over = self.check(&snapshot, sequence as usize)? {
                    return Ok(Step::Over);
                }
            }
            None if !known => return Ok(Step::Done),
            other => {
                return Err(format!(
                    "looking for commit {sequence} of {newest}: {other:?}"
                ));
            }
        }
        let time = self.history[sequence as usize].0 + self.rng.below(2_000);
        let expected = self.history.iter().rposition(|(other, _)| *other <= time);
        match engine.at(RootAt::Time(time)) {
            Ok(Some(found)) if Some(found.sequence() as usize) == expected => Ok(Step::Done),
            Err(error) if is_trouble(&error) => Ok(Step::Over),
            other => Err(format!("time {time}: {other:?}, not commit {expected:?}")),
        }
    }

    /// Two sessions that saw the same names: the second loses.
    fn race(&mut self, engine: &Engine) -> Result<Step, String> {
        let sessions = [engine.session(), engine.session()];
        let [Ok(first), Ok(second)] = sessions else {
            return Ok(Step::Over);
        };
        let name = self.name();
        for (session, wins) in [(&first, true), (&second, false)] {
            let Some((reference, value)) = self.store(session)? else {
                return Ok(Step::Over);
            };
            let seen = session.base().root(&name).map(|reference| reference.oid);
            let change = Change::swap(name.clone(), seen, reference);
            let mut after = self.newest();
            after.insert(name.clone(), (reference, value));
            if let Step::Over = self.commit(session, &[change], after, wins)? {
                return Ok(Step::Over);
            }
        }
        Ok(Step::Done)
    }

    /// A session of a few records and perhaps a commit.
    fn write(&mut self, engine: &Engine) -> Result<Step, String> {
        let session = match engine.session() {
            Ok(session) => session,
            Err(error) if is_trouble(&error) => return Ok(Step::Over),
            Err(error) => return Err(format!("a session: {error}")),
        };
        let mut mine = Vec::new();
        for _ in 0..self.rng.below(4) {
            match self.store(&session)? {
                Some(stored) => mine.push(stored),
                None => return Ok(Step::Over),
            }
        }
        let index = self.rng.below_usize(self.fresh.len().max(1));
        if let Some((reference, value)) = self.fresh.get(index) {
            match value_of(&session, reference) {
                Ok(found) if found == *value => {}
                Ok(_) => return Err(format!("{reference:?} has other bytes")),
                Err(error) if is_trouble(&error) => return Ok(Step::Over),
                Err(error) => return Err(format!("{reference:?}: {error}")),
            }
        }
        if self.rng.chance(1, 4) {
            return Ok(Step::Done);
        }
        let mut after = self.newest();
        let mut changes: Vec<Change> = Vec::new();
        let mut right = true;
        for (reference, value) in mine {
            let name = self.name();
            if changes.iter().any(|change| change.name == name) {
                continue;
            }
            let before = after.get(&name).map(|(reference, _)| reference.oid);
            let (expect, to) = match self.rng.below(10) {
                0..5 => (Expect::Any, Some(reference)),
                5..8 => (Expect::Is(before), Some(reference)),
                8 => {
                    right &= before == Some(reference.oid);
                    (Expect::Is(Some(reference.oid)), Some(reference))
                }
                _ => (Expect::Is(before), None),
            };
            match to {
                Some(_) => after.insert(name.clone(), (reference, value)),
                None => after.remove(&name),
            };
            changes.push(Change { name, expect, to });
        }
        self.commit(&session, &changes, after, right)
    }

    fn store(&mut self, session: &Session) -> Result<Option<(Reference, Value)>, String> {
        let length = self.rng.below_usize(self.plan.body_max + 1);
        let body = self.rng.bytes(length);
        // Now and then it refers to what was stored before, also below the tail.
        let mut child = None;
        if self.rng.chance(1, 3) {
            let index = self.rng.below_usize(self.fresh.len().max(1));
            child = self.fresh.get(index).cloned();
        } else if self.rng.chance(1, 3) {
            let name = self.name();
            child = self.newest().get(&name).cloned();
        }
        let child = child.filter(|(_, value)| value.len() < 4 * self.plan.body_max);
        let references: Vec<_> = child.iter().map(|(reference, _)| *reference).collect();
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &references,
            body: &[&body],
        };
        let hint = Hint {
            tag: self.rng.below(5),
        };
        let reference = match session.store(&record, hint) {
            Ok(reference) => reference,
            Err(error) if error.kind() == ErrorKind::Full => {
                self.tally.full += 1;
                return Ok(None);
            }
            Err(error) if is_trouble(&error) => return Ok(None),
            Err(error) => return Err(format!("storing {length} bytes: {error}")),
        };
        self.tally.stores += 1;
        if self
            .handed_out
            .insert(reference.oid, body.clone())
            .is_some()
        {
            return Err(format!("{} was handed out twice", reference.oid));
        }
        let mut value = body;
        value.extend(child.into_iter().flat_map(|(_, value)| value));
        self.fresh.push((reference, value.clone()));
        Ok(Some((reference, value)))
    }

    fn commit(
        &mut self,
        session: &Session,
        changes: &[Change],
        after: State,
        right: bool,
    ) -> Result<Step, String> {
        let low = Level::Os.min(self.level);
        let level = if self.rng.chance(1, 3) {
            low
        } else {
            self.level
        };
        let sequence = self.history.len() as u64;
        match session.commit(changes, Some(level)).wait() {
            Ok(done) if right && done.sequence == sequence && done.level >= level => {
                self.tally.commits += 1;
                self.push(after);
                self.safe[0] = sequence;
                if done.level >= Level::Disk {
                    self.safe[1] = sequence;
                }
                Ok(Step::Done)
            }
            Ok(done) => Err(format!(
                "commit {sequence} at {level} was answered {done:?}; its expectations were {}",
                if right { "right" } else { "wrong" }
            )),
            Err(error) if error.kind() == ErrorKind::Conflict && !right => {
                self.tally.conflicts += 1;
                Ok(Step::Done)
            }
            Err(error) if error.kind() == ErrorKind::Full => {
                self.tally.full += 1;
                Ok(Step::Done)
            }
            Err(error) if is_trouble(&error) => {
                if right {
                    // Unknown: it may be found again.
                    self.push(after);
                }
                Ok(Step::Over)
            }
            Err(error) => Err(format!("commit {sequence}: {error}")),
        }
    }

    fn push(&mut self, after: State) {
        let before = self.history.last().map_or(0, |(time, _)| *time);
        let time = self.sim.env().clock.unix_us().max(before);
        self.history.push((time, after));
    }

    fn newest(&self) -> State {
        self.history
            .last()
            .map(|(_, state)| state.clone())
            .unwrap_or_default()
    }

    fn name(&mut self) -> Name {
        let n = self.rng.below(self.plan.names);
        // Digits only: always a name.
        Name::new(format!("name {n}")).unwrap_or_else(|_| unreachable!("a plain name"))
    }
}

/// A record's body and those of the records it refers to.
fn value_of(from: &impl Read, reference: &Reference) -> Result<Value> {
    let record = from.read(reference).wait()?;
    let mut value = record.body().to_vec();
    for child in record.references() {
        value.extend(value_of(from, &child)?);
    }
    Ok(value)
}

fn told(answer: Result<()>) -> Result<Step, String> {
    match answer {
        Ok(()) => Ok(Step::Done),
        Err(error) if is_trouble(&error) => Ok(Step::Over),
        Err(error) => Err(error.to_string()),
    }
}

/// What a store that is in trouble may answer.
fn is_trouble(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::Closed | ErrorKind::Full
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{OnLog, OnModel};
    use super::super::model::ModelOptions;
    use super::super::sim::{Class, Plan};
    use super::*;
    use crate::log::LogOptions;

    /// `SEED=n` runs one, `SEEDS=n` so many.
    fn seeds(count: u64) -> std::ops::Range<u64> {
        let number = |name: &str| std::env::var(name).ok()?.parse().ok();
        match (number("SEED"), number("SEEDS")) {
            (Some(seed), _) => seed..seed + 1,
            (None, count_given) => 0..count_given.unwrap_or(count),
        }
    }

    #[test]
    fn traces_on_the_model_hold() {
        let mut tally = Tally::default();
        for seed in seeds(100) {
            let mut fixture = OnModel::new(ModelOptions::default());
            match run(seed, &mut fixture, &TracePlan::default()) {
                Ok(one) => tally += one,
                Err(failure) => panic!("{failure}"),
            }
        }
        println!("{tally:?}");
        assert!(
            tally.conflicts > 0 && tally.lucky > 0 && tally.lost > 0,
            "{tally:?}"
        );
    }

    /// Runs seeds of one class of troubles on a log.
    fn on_a_log(class: Class, count: u64) -> Tally {
        let mut tally = Tally::default();
        for seed in seeds(count) {
            let options = LogOptions {
                segment: 128 << 10,
                window: 256 << 10,
                ..LogOptions::default()
            };
            let mut fixture = OnLog::new(seed, Plan::draw(seed, class), options);
            match run(seed, &mut fixture, &TracePlan::default()) {
                Ok(one) => tally += one,
                Err(failure) => panic!("{class:?} {failure}"),
            }
        }
        println!("{class:?} {tally:?}");
        tally
    }

    #[test]
    fn traces_on_a_log_hold_through_kills_and_power_cuts() {
        let tally = on_a_log(Class::Crash, 60);
        assert!(tally.lost > 0 && tally.failed_opens > 0, "{tally:?}");
    }

    #[test]
    fn traces_on_a_log_hold_when_calls_fail() {
        let tally = on_a_log(Class::Errors, 60);
        assert!(tally.failed_opens > 0, "{tally:?}");
    }
}
