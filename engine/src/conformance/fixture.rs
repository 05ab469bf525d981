//! Stores for traces to run on: the model, and a log on a simulated disk.

use std::sync::Arc;

use crate::contract::{Env, Level, Result, Store};
use crate::log::{Log, LogOptions};

use super::model::{ModelOptions, ModelStore};
use super::rng::Rng;
use super::sim::{Plan, SimDisk};
use super::trace::Fixture;

/// The model store. Its crashes keep what they must, and a few batches by luck.
#[derive(Debug)]
pub struct OnModel(ModelStore);

impl OnModel {
    /// A fresh one.
    #[must_use]
    pub fn new(options: ModelOptions) -> Self {
        Self(ModelStore::new(options))
    }
}

impl Fixture for OnModel {
    fn open(&mut self, _env: &Env) -> Result<Arc<dyn Store>> {
        self.0 = self.0.reopen();
        Ok(Arc::new(self.0.clone()))
    }

    fn arm(&mut self, _rng: &mut Rng) {}

    fn disarm(&mut self) {}

    fn crash(&mut self, rng: &mut Rng) -> Level {
        let level = if rng.chance(1, 2) {
            Level::Os
        } else {
            Level::Disk
        };
        self.0 = self.0.crash(level, rng.below_usize(4));
        level
    }
}

/// A log on a simulated disk. Armed, it dies at any call that changes the disk, or the disk has the
/// faults of its plan.
#[derive(Debug)]
pub struct OnLog {
    /// The disk, for setting its habits and for looking at what fired.
    pub disk: SimDisk,
    plan: Plan,
    options: LogOptions,
    faulty: bool,
}

impl OnLog {
    /// A fresh disk of this plan, and how a log lies on it.
    #[must_use]
    pub fn new(seed: u64, plan: Plan, options: LogOptions) -> Self {
        Self {
            disk: SimDisk::new(seed, plan.quiet()),
            plan,
            options,
            faulty: false,
        }
    }
}

impl Fixture for OnLog {
    fn open(&mut self, env: &Env) -> Result<Arc<dyn Store>> {
        let medium = Arc::new(self.disk.medium());
        let log = Log::open("file", medium, env, self.options.clone())?;
        Ok(Arc::new(log))
    }

    fn arm(&mut self, rng: &mut Rng) {
        if rng.chance(1, 2) {
            self.disk.crash_in(1 + rng.below(40));
        } else {
            self.disk.set_plan(self.plan.clone());
            self.faulty = true;
        }
    }

    fn disarm(&mut self) {
        self.disk.crash_never();
        self.disk.quiet();
    }

    fn crash(&mut self, rng: &mut Rng) -> Level {
        // A sync that fails takes along what only the page cache held, also for a kill.
        let faulty = std::mem::take(&mut self.faulty);
        if rng.chance(1, 2) {
            self.disk.kill();
            if faulty { Level::Disk } else { Level::Os }
        } else {
            self.disk.power_cut();
            Level::Disk
        }
    }
}
