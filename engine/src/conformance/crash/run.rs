//! One run: a disk, some processes one after the other, and how each of them ends.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::front::Front;
use super::line::{Ending, Line, Trust};
use super::marks::{Branch, Marks};
use super::scribe::{Scribe, mark_name};
use super::subject::{Ask, Subject};
use super::values::Values;
use super::watch::Watch;
use crate::conformance::env::SimEnv;
use crate::conformance::rng::Rng;
use crate::conformance::sim::{Class, Fault, Plan, SimDisk, Tally};
use crate::contract::{Env, Error, ErrorKind, Level, Name, Names, Oid, Reference, Result, Store};
use crate::medium::Medium;

/// How the store under test is opened on a medium.
pub trait Bottom: Send + Sync {
    /// Opens it. `seed` decides on options that a run may vary, and is the same all through a run.
    fn open(
        &self,
        medium: Arc<dyn Medium>,
        env: &Env,
        read_only: bool,
        seed: u64,
    ) -> Result<Arc<dyn Store>>;
}

/// Through what a run writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Writer {
    /// The least that follows the rules, for testing a store alone.
    Scribe,
    /// The engine.
    Front,
}

/// One run, decided by its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// What the disk may do.
    pub class: Class,
    /// Through what it writes.
    pub writer: Writer,
}

/// What a run went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Branches taken.
    pub marks: Marks,
    /// What the disk was asked, and what it did.
    pub tally: Tally,
    /// Commits acknowledged.
    pub commits: u64,
    /// A hash over every call to the disk and every answer.
    pub trace: u64,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The run.
    pub trial: Trial,
    /// What was broken.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trial {
            seed,
            class,
            writer,
        } = self.trial;
        write!(
            f,
            "{what}\n  again with: SEED={seed} CLASS={class:?} WRITER={writer:?} \
             cargo test -p travertine-engine --features conformance crash",
            what = self.what
        )
    }
}

impl Trial {
    /// Carries the run out.
    ///
    /// # Errors
    ///
    /// The promise that was broken.
    pub fn run(self, bottom: &dyn Bottom) -> Result<Outcome, Failure> {
        let mut run = Run::new(self, bottom);
        match run.all() {
            Ok(()) => Ok(run.outcome()),
            Err(what) => Err(Failure { trial: self, what }),
        }
    }

    /// Carries the run out and tells what happened, call by call.
    #[must_use]
    pub fn story(self, bottom: &dyn Bottom) -> Vec<String> {
        let mut run = Run::new(self, bottom);
        run.disk.tell();
        let plan = run.disk.plan();
        run.disk.say(|| format!("{plan:?}"));
        let end = run.all();
        run.disk.say(|| format!("{end:?}"));
        run.disk.story()
    }
}

/// A broken promise, in words.
type Broken = String;

/// How the work of a process went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    /// It can do more.
    On,
    /// It will not do any more: it died, or may not write.
    Over,
}

struct Run<'a> {
    trial: Trial,
    bottom: &'a dyn Bottom,
    rng: Rng,
    env: SimEnv,
    disk: SimDisk,
    line: Line,
    values: Values,
    marks: Arc<Mutex<Marks>>,
    commits: u64,
    /// Numbers of commits, as far as they are known, for looking at old ones.
    numbered: Vec<(u64, Names)>,
    /// What the disk is held to.
    trust: Trust,
    /// How the newest process ended, at worst, since the line was last judged.
    ending: Ending,
    /// The newest commit that a reader in another process saw.
    reader_saw: usize,
    /// As `reader_saw`, since the power went or a writer recovered: the note that a commit is proven
    /// may be lost then, though the commit is not, and readers are behind until a writer says more.
    reader_saw_since: usize,
    looked: bool,
}

impl<'a> Run<'a> {
    fn new(trial: Trial, bottom: &'a dyn Bottom) -> Self {
        let seed = trial.seed;
        let trust = match trial.class {
            Class::Crash => Trust::All,
            Class::Errors | Class::Full => Trust::SyncedOnly,
            Class::Corruption => Trust::SyncedOnly,
            Class::Lying => Trust::Any,
        };
        let mut values = Values::new(seed);
        values.twice = trust == Trust::Any;
        Self {
            trial,
            bottom,
            rng: Rng::new(seed ^ 0x52_554E),
            env: SimEnv::new(seed),
            disk: SimDisk::new(seed, Plan::draw(seed, trial.class)),
            line: Line::new(),
            values,
            marks: Arc::default(),
            commits: 0,
            numbered: Vec::new(),
            trust,
            ending: Ending::Closed,
            reader_saw: 0,
            reader_saw_since: 0,
            looked: false,
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            marks: *self.marks.lock().unwrap_or_else(PoisonError::into_inner),
            tally: self.disk.tally(),
            commits: self.commits,
            trace: self.disk.trace(),
        }
    }

    fn note(&self, branch: Branch) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.note(branch);
    }

    fn all(&mut self) -> Result<(), Broken> {
        let processes = 2 + self.rng.below(4);
        for _ in 0..processes {
            if self.rng.chance(1, 5) {
                // The clock of the next process may be behind.
                let seed = self.rng.next_u64();
                self.env = SimEnv::new(seed);
            }
            if self.rng.chance(1, 4) {
                self.look_from_outside()?;
            }
            let Some(mut subject) = self.open(true)? else {
                return self.stop();
            };
            self.work(&mut *subject)?;
            self.end(subject)?;
            if self.trial.class == Class::Corruption && self.rng.chance(1, 2) {
                self.damage();
            }
        }
        // Faults stop: now everything must work.
        self.disk.quiet();
        let Some(mut subject) = self.open(false)? else {
            return self.stop();
        };
        let went = self.commit(&mut *subject)?;
        if went == Went::Over && self.is_honest() {
            return Err("an honest disk, and still no commit".to_owned());
        }
        if went == Went::On {
            self.close(subject)?;
            if self.open(false)?.is_none() {
                return self.stop();
            }
        }
        self.stop()
    }

    fn stop(&mut self) -> Result<(), Broken> {
        match self.disk.violations().first() {
            Some(what) => Err(format!("the medium was misused: {what}")),
            None => Ok(()),
        }
    }

    /// Whether no byte is changed behind the log's back.
    fn is_honest(&self) -> bool {
        !matches!(self.trial.class, Class::Corruption | Class::Lying)
    }

    // ---- opening and judging -------------------------------------------------------------------

    fn open_subject(&mut self, read_only: bool) -> Result<Box<dyn Subject>> {
        let medium = Arc::new(self.disk.medium());
        let seed = self.trial.seed;
        let store = self.bottom.open(medium, self.env.env(), read_only, seed)?;
        let store = Arc::new(Watch::new(store, self.marks.clone()));
        let flush = [1 << 10, 16 << 10, 256 << 10][(seed % 3) as usize];
        match self.trial.writer {
            Writer::Scribe => {
                let scribe = Scribe::open(store, self.env.env(), flush, read_only)?;
                Ok(Box::new(scribe))
            }
            Writer::Front => {
                let front = Front::open(store, self.env.env(), flush, read_only)?;
                Ok(Box::new(front))
            }
        }
    }

    /// Opens a process that writes, through crashes and errors, and judges what it finds. `None`:
    /// the disk is damaged, and the log said so.
    fn open(&mut self, crashes: bool) -> Result<Option<Box<dyn Subject>>, Broken> {
        let mut died = 0;
        for attempt in 0.. {
            self.note_leftovers();
            if crashes && died < 3 && self.rng.chance(2, 5) {
                let most = if self.rng.chance(1, 2) { 8 } else { 40 };
                let calls = self.rng.below(most);
                self.disk.crash_in(calls + 1);
            }
            let bytes = self.disk.tally().bytes;
            self.disk.say(|| "> opening".to_owned());
            let opened = self.open_subject(false);
            if self.disk.is_down() {
                self.note(
                    [
                        Branch::CrashInRecovery,
                        Branch::CrashInRecoveryAgain,
                        Branch::CrashInRecoveryThrice,
                    ][died],
                );
                died += 1;
                drop(opened);
                self.die();
                continue;
            }
            self.disk.crash_never();
            if self.disk.tally().bytes > bytes + 200 {
                self.note(Branch::Rewrote);
            }
            match opened {
                Ok(mut subject) => {
                    if attempt > died as u32 {
                        self.note(Branch::OpenedLater);
                    }
                    return match self.judge(&mut *subject)? {
                        Went::On => Ok(Some(subject)),
                        Went::Over => Ok(None),
                    };
                }
                Err(error) => {
                    self.die();
                    if !self.may_refuse(&error)? {
                        return Ok(None);
                    }
                    if attempt > 6 {
                        self.disk.quiet();
                    }
                    if attempt > 12 {
                        return Err(format!("the log never opens again: {error}"));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether an error at opening is allowed. `Ok(false)`: allowed, and final.
    fn may_refuse(&self, error: &Error) -> Result<bool, Broken> {
        let kind = error.kind();
        match self.trial.class {
            Class::Errors if self.faults_are_on() && kind == ErrorKind::Unavailable => Ok(true),
            Class::Errors if self.faults_are_on() && kind == ErrorKind::Closed => Ok(true),
            Class::Full if self.faults_are_on() && is_of_full(kind) => Ok(true),
            Class::Corruption => {
                self.note(Branch::DamageAtOpen);
                Ok(false)
            }
            Class::Lying => {
                self.note(Branch::LieCaught);
                Ok(false)
            }
            _ => Err(format!("opening failed: {error}")),
        }
    }

    fn faults_are_on(&self) -> bool {
        let plan = self.disk.plan();
        plan != plan.quiet()
    }

    /// One damage can pass for a torn write in the newest bytes, several can hide any of them.
    fn weigh_damage(&mut self) {
        if self.trial.class == Class::Corruption {
            let tally = self.disk.tally();
            let damages = Class::Corruption.faults().iter();
            self.trust = match damages.map(|&fault| tally.fired(fault)).sum() {
                0 => Trust::SyncedOnly,
                1 => Trust::ButTheLastSync,
                _ => Trust::Any,
            };
        }
    }

    /// Holds what was recovered against what was promised, and reads all of it.
    fn judge(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        let names = subject
            .shown()
            .map_err(|error| format!("an open log does not tell its names: {error}"))?;
        self.weigh_damage();
        let floor = self
            .line
            .floor(self.ending, self.trust)
            .max(if self.trust == Trust::All {
                self.reader_saw
            } else {
                0
            });
        self.disk.say(|| {
            let number = self.line.find(&names);
            format!(
                "> after {:?} recovered {number:?}, floor {floor}",
                self.ending
            )
        });
        let standing = self.line.recovered(&names, self.ending, self.trust)?;
        if standing.number < floor {
            return Err(format!(
                "a reader saw commit {}, and commit {} was recovered",
                self.reader_saw, standing.number
            ));
        }
        if standing.kept_unknown {
            self.note(Branch::KeptUnknown);
        }
        if standing.lost_unknown > 0 {
            self.note(Branch::LostUnknown);
        }
        if standing.lost_acked {
            self.note(match self.trial.class {
                Class::Lying => Branch::OlderState,
                _ => Branch::DamageMissed,
            });
        }
        if self.looked && self.ending == Ending::PowerCut {
            self.note(Branch::PowerCutAfterLook);
        }
        self.reader_saw = self.reader_saw.min(standing.number);
        self.reader_saw_since = 0;
        self.numbered
            .retain(|(_, names)| self.line.find(names).is_some());
        self.ending = Ending::Closed;
        self.looked = false;
        self.read_all(subject, &names)?;
        // A look and nothing more, sometimes: what was seen must stay.
        if self.rng.chance(1, 6) {
            self.looked = true;
        }
        Ok(Went::On)
    }

    /// Reads everything that names reach. Never wrong bytes, never absent.
    fn read_all(&mut self, subject: &dyn Subject, names: &Names) -> Result<(), Broken> {
        let mut damaged = false;
        for reference in self.values.reached(names.values()) {
            match subject.read(&reference) {
                Ok(record) => self.values.check(&reference, &record)?,
                Err(error) => {
                    self.may_not_read(&reference, &error)?;
                    damaged = true;
                }
            }
            if self.disk.is_down() {
                return Ok(());
            }
        }
        if damaged {
            self.note(Branch::DamageAtRead);
        }
        Ok(())
    }

    fn may_not_read(&self, reference: &Reference, error: &Error) -> Result<(), Broken> {
        let kind = error.kind();
        let allowed = match self.trial.class {
            _ if self.disk.is_down() => true,
            Class::Errors => self.faults_are_on() && kind == ErrorKind::Unavailable,
            Class::Corruption | Class::Lying => {
                matches!(kind, ErrorKind::Corrupt | ErrorKind::Unavailable)
            }
            Class::Crash | Class::Full => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(format!("{} cannot be read: {error}", reference.oid))
        }
    }

    /// A second process looks, without writing.
    fn look_from_outside(&mut self) -> Result<(), Broken> {
        let before = self.disk.tally();
        let looked = self
            .open_subject(true)
            .and_then(|subject| Ok((subject.shown()?, subject)));
        let after = self.disk.tally();
        if (before.writes, before.changes) != (after.writes, after.changes) {
            return Err("a process that only reads changed something".to_owned());
        }
        match looked {
            Ok((names, subject)) => {
                self.disk
                    .say(|| format!("> a reader saw {:?}", self.line.find(&names)));
                let Some(number) = self.line.find(&names) else {
                    return Err(format!("a reader saw a state that never was: {names:?}"));
                };
                if number < self.reader_saw_since && self.is_honest() {
                    return Err(format!(
                        "a reader saw commit {number} after commit {}",
                        self.reader_saw_since
                    ));
                }
                self.reader_saw = self.reader_saw.max(number);
                self.reader_saw_since = number;
                self.note(Branch::ReaderLooked);
                self.read_all(&*subject, &names)
            }
            // There may be nothing to look at yet.
            Err(error) if error.kind() == ErrorKind::Invalid && self.line.newest() == 0 => Ok(()),
            Err(_) if !self.is_honest() || self.faults_are_on() => Ok(()),
            Err(error) => Err(format!("a reader cannot open: {error}")),
        }
    }

    fn note_leftovers(&self) {
        let files = self.disk.files();
        let segments: Vec<_> = files
            .iter()
            .filter(|(name, _)| name.starts_with("seg-"))
            .collect();
        if segments.len() > 1 {
            self.note(Branch::ManySegments);
        }
        if segments
            .last()
            .is_some_and(|(_, bytes)| !bytes.starts_with(b"TRAVSEG"))
        {
            self.note(Branch::HeadlessSegment);
        }
        if files.iter().any(|(name, _)| name.ends_with(".new")) {
            self.note(Branch::HalfReplaced);
        }
        if files.iter().any(|(name, _)| name == "spare") {
            self.note(Branch::SpareLeft);
        }
    }

    // ---- work ----------------------------------------------------------------------------------

    fn work(&mut self, subject: &mut dyn Subject) -> Result<(), Broken> {
        if self.looked {
            return Ok(());
        }
        if self.rng.chance(3, 4) {
            let most = if self.rng.chance(1, 2) { 30 } else { 250 };
            let calls = 1 + self.rng.below(most);
            self.disk.crash_in(calls);
        }
        if self.trial.class == Class::Full && self.rng.chance(2, 3) {
            let room = self.rng.below(600 << 10);
            self.disk.set_capacity(Some(self.disk.used() + room));
        }
        for _ in 0..self.rng.below(40) {
            if self.step(subject)? == Went::Over {
                break;
            }
        }
        Ok(())
    }

    fn step(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        match self.rng.below(20) {
            0 => self.store_only(subject),
            1 => self.conflict(subject),
            2 => {
                let names = subject.shown().map_err(|error| error.to_string())?;
                self.read_all(subject, &names)?;
                Ok(Went::On)
            }
            3 => self.travel(subject),
            4 => {
                self.env
                    .advance(Duration::from_millis(self.rng.below(5_000)));
                Ok(Went::On)
            }
            5 => match subject.prove() {
                Ok(()) => Ok(Went::On),
                Err(error) => self.failed(subject, &error, "a proof"),
            },
            6 => {
                self.look_from_outside_while_writing()?;
                Ok(Went::On)
            }
            _ => self.commit(subject),
        }
    }

    fn look_from_outside_while_writing(&mut self) -> Result<(), Broken> {
        if self.disk.is_down() {
            return Ok(());
        }
        self.look_from_outside()
    }

    /// Stores some records that name each other and older ones.
    fn store_some(
        &mut self,
        subject: &mut dyn Subject,
        names: &Names,
    ) -> Result<Result<Vec<Reference>>, Broken> {
        let mut stored: Vec<Reference> = Vec::new();
        let older: Vec<Reference> = names.values().copied().collect();
        for _ in 0..=self.rng.below(4) {
            let mut references = Vec::new();
            for _ in 0..self.rng.below(4) {
                let among = if self.rng.chance(1, 2) {
                    &stored
                } else {
                    &older
                };
                references.extend(self.rng.pick(among).copied());
            }
            let draft = self.values.draft(&mut self.rng, references);
            match draft.with_record(|record| subject.store(record)) {
                Ok(reference) => {
                    self.values.stored(draft, reference)?;
                    stored.push(reference);
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(stored))
    }

    fn store_only(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        let names = Names::new();
        match self.store_some(subject, &names)? {
            Ok(stored) => {
                for reference in stored {
                    match subject.read(&reference) {
                        Ok(record) => self.values.check(&reference, &record)?,
                        Err(error) => self.may_not_read(&reference, &error)?,
                    }
                }
                Ok(Went::On)
            }
            Err(error) => self.failed(subject, &error, "a store"),
        }
    }

    fn conflict(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        let names = match subject.submitted() {
            Ok(names) => names,
            Err(error) => return self.failed(subject, &error, "looking"),
        };
        let Some((name, to)) = names.iter().next() else {
            return Ok(Went::On);
        };
        let ask = Ask {
            name: name.clone(),
            expect: Some(Oid::from_raw(to.oid.raw() ^ 1)),
            to: Some(*to),
        };
        match subject.commit(&[ask], Level::Disk).wait() {
            Ok(_) => Err(format!("a commit took {name}, which pointed elsewhere")),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.note(Branch::Conflict);
                Ok(Went::On)
            }
            Err(error) => self.failed(subject, &error, "a commit"),
        }
    }

    fn travel(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        let Some((sequence, names)) = self.rng.pick(&self.numbered).cloned() else {
            return Ok(Went::On);
        };
        match subject.at(sequence) {
            Ok(Some(then)) if then == names => {
                self.note(Branch::TimeTravel);
                Ok(Went::On)
            }
            Ok(then) => Err(format!(
                "commit {sequence} had names {names:?}, and is shown with {then:?}"
            )),
            Err(error) => {
                self.may_fail_to_look(&error)?;
                Ok(Went::On)
            }
        }
    }

    fn may_fail_to_look(&self, error: &Error) -> Result<(), Broken> {
        if self.disk.is_down() || !self.is_honest() || self.faults_are_on() {
            return Ok(());
        }
        Err(format!("an old commit cannot be looked at: {error}"))
    }

    /// One commit, or several in flight together.
    fn commit(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        let together = if self.rng.chance(1, 6) {
            1 + self.rng.below(5)
        } else {
            1
        };
        let mut flight = Vec::new();
        for _ in 0..together {
            let names = match subject.submitted() {
                Ok(names) => names,
                Err(error) => return self.failed(subject, &error, "looking"),
            };
            let stored = match self.store_some(subject, &names)? {
                Ok(stored) => stored,
                Err(error) => return self.failed(subject, &error, "a store"),
            };
            let asks = self.asks(&names, &stored)?;
            let mut after = names;
            for ask in &asks {
                match ask.to {
                    Some(to) => after.insert(ask.name.clone(), to),
                    None => after.remove(&ask.name),
                };
            }
            let level = if self.rng.chance(1, 8) {
                self.note(Branch::LowLevel);
                [Level::Memory, Level::Os][self.rng.below_usize(2)]
            } else {
                Level::Disk
            };
            let number = self.line.submit(after.clone());
            let ticket = subject.commit(&asks, level);
            flight.push((number, level, after, ticket));
        }
        if flight.len() > 1 {
            self.note(Branch::InFlight);
        }
        if self.rng.chance(1, 30) {
            // Whoever does not wait is told nothing; the commit goes its way.
            self.note(Branch::Forgotten);
            return Ok(Went::On);
        }
        let mut over = Went::On;
        for (number, level, after, ticket) in flight {
            match ticket.wait() {
                Ok(sequence) => {
                    self.disk
                        .say(|| format!("> commit {number} at {level}: {sequence}"));
                    if over == Went::Over && self.disk.is_down() {
                        return Err("a commit was acknowledged after one that failed".to_owned());
                    }
                    self.commits += 1;
                    self.line.ack(number, level);
                    self.numbered.push((sequence, after));
                }
                Err(error) => {
                    self.disk
                        .say(|| format!("> commit {number} at {level}: {error}"));
                    if error.kind() == ErrorKind::Conflict {
                        return Err(format!("a commit that fits was refused: {error}"));
                    }
                    over = self.failed(subject, &error, "a commit")?;
                }
            }
        }
        Ok(over)
    }

    fn asks(&mut self, names: &Names, stored: &[Reference]) -> Result<Vec<Ask>, Broken> {
        let text = |error: Error| error.to_string();
        let mark = mark_name().map_err(text)?;
        let now = |name: &Name| names.get(name).map(|reference| reference.oid);
        let mut asks = vec![Ask {
            expect: self.rng.chance(1, 2).then(|| now(&mark)),
            name: mark,
            to: stored.last().copied(),
        }];
        for letter in ["a", "b", "c", "d", "e"] {
            if self.rng.chance(1, 5) {
                let name = Name::new(letter).map_err(text)?;
                let drop = names.contains_key(&name) && self.rng.chance(1, 3);
                asks.push(Ask {
                    expect: self.rng.chance(1, 2).then(|| now(&name)),
                    name,
                    to: if drop {
                        None
                    } else {
                        self.rng.pick(stored).copied()
                    },
                });
            }
        }
        Ok(asks)
    }

    /// A call failed: is that allowed, and does the log behave from here on?
    fn failed(
        &mut self,
        subject: &mut dyn Subject,
        error: &Error,
        what: &str,
    ) -> Result<Went, Broken> {
        if self.disk.is_down() {
            return Ok(Went::Over);
        }
        let kind = error.kind();
        match self.trial.class {
            Class::Errors if self.faults_are_on() => {
                if !matches!(kind, ErrorKind::Unavailable | ErrorKind::Closed) {
                    return Err(format!("{what} failed with the wrong kind: {error}"));
                }
                if kind == ErrorKind::Unavailable {
                    // Nothing was written yet: it was refused, and may be tried again.
                    return self.resubmit(subject).map(|()| Went::On);
                }
                self.stays_poisoned(subject)?;
            }
            Class::Full if kind == ErrorKind::Full && self.faults_are_on() => {
                return self.is_full(subject);
            }
            Class::Full if self.disk.tally().fired(Fault::FullSync) > 0 => {
                self.stays_poisoned(subject)?;
            }
            Class::Corruption => {}
            Class::Lying if matches!(kind, ErrorKind::Corrupt | ErrorKind::Closed) => {}
            _ => return Err(format!("{what} failed for no reason: {error}")),
        }
        Ok(Went::Over)
    }

    /// After a failed call nothing may be acknowledged, and old roots stay readable.
    fn stays_poisoned(&mut self, subject: &mut dyn Subject) -> Result<(), Broken> {
        self.note(Branch::Poisoned);
        for _ in 0..2 {
            let names = subject.submitted().unwrap_or_default();
            let Ok(stored) = self.store_some(subject, &names)? else {
                continue;
            };
            let asks = self.asks(&names, &stored)?;
            if subject.commit(&asks, Level::Disk).wait().is_ok() {
                return Err("a commit was acknowledged after a failed call".to_owned());
            }
        }
        let names = subject.shown().map_err(|error| error.to_string())?;
        self.read_all(subject, &names)
    }

    /// No room: everything stays readable, and goes on once there is room again.
    fn is_full(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        self.note(Branch::Full);
        let names = subject.shown().map_err(|error| error.to_string())?;
        self.read_all(subject, &names)?;
        self.resubmit(subject)?;
        if self.rng.chance(1, 2) {
            return Ok(Went::Over);
        }
        self.disk.quiet();
        self.disk.crash_never();
        if self.commit(subject)? == Went::On {
            self.note(Branch::WentOn);
            Ok(Went::On)
        } else {
            Err("there is room again, and still no commit".to_owned())
        }
    }

    /// A commit that was refused may not have been made: looks whether it was.
    fn resubmit(&mut self, subject: &mut dyn Subject) -> Result<(), Broken> {
        let names = subject.submitted().map_err(|error| error.to_string())?;
        while self.line.newest() > 0 && *self.line.names(self.line.newest()) != names {
            self.line.withdraw();
        }
        if *self.line.names(self.line.newest()) == names {
            Ok(())
        } else {
            Err("after a refusal the names are none that were asked".to_owned())
        }
    }

    // ---- endings -------------------------------------------------------------------------------

    fn end(&mut self, subject: Box<dyn Subject>) -> Result<(), Broken> {
        if !self.disk.is_down() && !self.looked && self.rng.chance(1, 4) {
            return self.close(subject);
        }
        self.die();
        drop(subject);
        Ok(())
    }

    fn close(&mut self, mut subject: Box<dyn Subject>) -> Result<(), Broken> {
        // One that may not write any more closes without a promise.
        let names = subject.submitted();
        match subject.close() {
            Ok(()) => {
                self.disk.say(|| "> closed".to_owned());
                let newest = self.line.newest();
                // A close that succeeds made everything durable that was submitted.
                if names.is_ok_and(|names| names == *self.line.names(newest)) {
                    self.line.ack(newest, Level::Disk);
                }
                drop(subject);
                self.ending = self.ending.max(Ending::Closed);
                if self.rng.chance(1, 3) {
                    self.disk.power_cut();
                    self.reader_saw_since = 0;
                    self.ending = Ending::PowerCut;
                }
            }
            Err(error) => {
                if !self.disk.is_down() && self.is_honest() && !self.faults_are_on() {
                    return Err(format!("closing failed: {error}"));
                }
                self.die();
            }
        }
        Ok(())
    }

    /// The process dies, and what it still does has no effect.
    fn die(&mut self) {
        let how = if self.rng.chance(1, 3) {
            self.disk.kill();
            Ending::Killed
        } else {
            self.disk.power_cut();
            self.reader_saw_since = 0;
            Ending::PowerCut
        };
        self.ending = self.ending.max(how);
    }

    /// Something on the disk is damaged while nobody looks.
    fn damage(&mut self) {
        let files = self.disk.files();
        let files: Vec<_> = files
            .iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .collect();
        if let Some((name, bytes)) = self.rng.pick(&files) {
            // Zeros written ahead are most of some files: look for a byte that means something.
            for _ in 0..64 {
                let at = self.rng.below(bytes.len() as u64);
                if bytes[at as usize] != 0 {
                    self.disk.flip(name, at * 8 + self.rng.below(8));
                    break;
                }
            }
        }
    }
}

fn is_of_full(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Full | ErrorKind::Closed | ErrorKind::Unavailable
    )
}
