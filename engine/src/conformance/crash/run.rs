//! One run: a disk, and some processes one after the other.

use std::sync::{Arc, Mutex, PoisonError};

use super::line::{Ending, Line, Trust};
use super::marks::{Branch, Marks};
use super::subject::Subject;
use super::trial::{Bottom, Outcome, Trial};
use super::values::Values;
use crate::conformance::env::SimEnv;
use crate::conformance::rng::Rng;
use crate::conformance::sim::{Class, Plan, SimDisk};
use crate::contract::{Names, Store};

/// A broken promise, in words.
pub(super) type Broken = String;

/// How the work of a process went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    /// It can do more.
    On,
    /// It will not do any more: it died, or may not write.
    Over,
}

pub(super) struct Run<'a> {
    pub(super) trial: Trial,
    pub(super) bottom: &'a dyn Bottom,
    pub(super) rng: Rng,
    pub(super) env: SimEnv,
    pub(super) disk: SimDisk,
    pub(super) line: Line,
    pub(super) values: Values,
    pub(super) marks: Arc<Mutex<Marks>>,
    pub(super) commits: u64,
    /// Numbers of commits, as far as they are known, for looking at old ones.
    pub(super) numbered: Vec<(u64, Names)>,
    /// What the disk is held to.
    pub(super) trust: Trust,
    /// How the newest process ended, at worst, since the line was last judged.
    pub(super) ending: Ending,
    /// The newest commit that a reader in another process saw.
    pub(super) reader_saw: usize,
    /// As `reader_saw`, since the power went, pages that a failed sync had dropped were evicted, or a
    /// writer recovered: the note that a commit is proven
    /// may be lost then, though the commit is not, and readers are behind until a writer says more.
    pub(super) reader_saw_since: usize,
    /// How often pages had been evicted when a reader looked last.
    pub(super) evicted: u64,
    pub(super) looked: bool,
    /// Whether nothing is damaged while a process opens, so that it comes to reading.
    pub(super) spared: bool,
    /// The store of the process that runs.
    pub(super) store: Option<Arc<dyn Store>>,
    /// Writers that another one took over from.
    pub(super) stale: Vec<Box<dyn Subject>>,
    /// A promise that a floor between saw broken.
    pub(super) broken: Arc<Mutex<Option<Broken>>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(trial: Trial, bottom: &'a dyn Bottom) -> Self {
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
            evicted: 0,
            looked: false,
            spared: trial.class == Class::Corruption && seed % 2 == 1,
            store: None,
            stale: Vec::new(),
            broken: Arc::default(),
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome {
            marks: *self.marks.lock().unwrap_or_else(PoisonError::into_inner),
            tally: self.disk.tally(),
            commits: self.commits,
            trace: self.disk.trace(),
        }
    }

    pub(super) fn note(&self, branch: Branch) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.note(branch);
    }

    pub(super) fn all(&mut self) -> Result<(), Broken> {
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
            // Some processes meet no trouble before their end.
            let plan = self.disk.plan();
            let calm = self.trial.class == Class::Errors && self.rng.chance(1, 3);
            if calm {
                self.disk.quiet();
            }
            let Some(mut subject) = self.open(true)? else {
                return self.stop();
            };
            self.work(&mut subject)?;
            if calm {
                self.disk.set_plan(plan);
            }
            self.end(subject)?;
            self.check_floors()?;
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
            let Some(mut subject) = self.open(false)? else {
                return self.stop();
            };
            if self.commit(&mut *subject)? == Went::On {
                self.check_leftovers()?;
            }
        }
        self.stop()
    }

    fn stop(&mut self) -> Result<(), Broken> {
        self.check_floors()?;
        match self.disk.violations().first() {
            Some(what) => Err(format!("the medium was misused: {what}")),
            None => Ok(()),
        }
    }

    /// What crashes left half made is gone once somebody writes again.
    fn check_leftovers(&self) -> Result<(), Broken> {
        let files = self.disk.files();
        match files.iter().find(|(name, _)| name.ends_with(".new")) {
            Some((name, _)) => Err(format!("{name} was left behind")),
            None => Ok(()),
        }
    }

    fn check_floors(&self) -> Result<(), Broken> {
        // Damage may make two batches of one.
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        match broken.take().filter(|_| self.is_honest()) {
            Some(what) => Err(what),
            None => Ok(()),
        }
    }

    /// Whether no byte is changed behind the log's back.
    pub(super) fn is_honest(&self) -> bool {
        !matches!(self.trial.class, Class::Corruption | Class::Lying)
    }

    pub(super) fn faults_are_on(&self) -> bool {
        let plan = self.disk.plan();
        plan != plan.quiet()
    }
}
