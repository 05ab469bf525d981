//! A simulated environment: a clock that only moves when told, chance from a seed, and drivers that
//! run every job on the caller's own thread. What happens in it is decided by its seed alone.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::rng::SeededRandom;
use crate::contract::env::Job;
use crate::contract::{Clock, Drivers, Env, Error, Memory, Result};

/// When simulated time begins: 2001-09-09, in microseconds since 1970.
const BEGINNING_US: u64 = 1_000_000_000_000_000;

/// An [`Env`] and the hand on its clock.
#[derive(Debug, Clone)]
pub struct SimEnv {
    clock: Arc<SimClock>,
    memory: Arc<SimMemory>,
    env: Env,
}

impl SimEnv {
    /// The environment of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let clock = Arc::new(SimClock::default());
        let memory = Arc::new(SimMemory::default());
        let env = Env {
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(seed)),
            drivers: Arc::new(Inline),
            memory: memory.clone(),
        };
        Self { clock, memory, env }
    }

    /// What a store or an engine is opened with.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.clock.sleep(time);
    }

    /// Says how much memory is in use, in percent.
    pub fn use_memory(&self, percent: u8) {
        self.memory.0.store(percent, Ordering::Relaxed);
    }
}

/// Memory of which so much is in use as was said.
#[derive(Debug, Default)]
pub struct SimMemory(AtomicU8);

impl Memory for SimMemory {
    fn used_percent(&self) -> Option<u8> {
        Some(self.0.load(Ordering::Relaxed))
    }
}

/// A clock that moves when somebody sleeps, and at no other time.
#[derive(Debug, Default)]
pub struct SimClock(AtomicU64);

impl Clock for SimClock {
    fn monotonic_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn unix_us(&self) -> u64 {
        BEGINNING_US + self.monotonic_ns() / 1_000
    }

    fn sleep(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// Drivers without threads.
#[derive(Debug)]
pub struct Inline;

impl Drivers for Inline {
    fn run(&self, job: Job) {
        job();
    }

    fn inline(&self) -> bool {
        true
    }

    fn thread(&self, name: &str, _body: Job) -> Result<()> {
        Err(Error::unsupported(format!(
            "a simulated environment starts no thread, {name} neither"
        )))
    }
}

/// Drivers that do a job when they are told to, and never by themselves: what is waited for is done by who waits.
#[derive(Default)]
pub struct OnCall(Mutex<Vec<Job>>);

impl OnCall {
    /// The jobs that were brought since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Job> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for OnCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnCall")
    }
}

impl Drivers for OnCall {
    fn run(&self, job: Job) {
        let jobs = self.0.lock();
        jobs.unwrap_or_else(PoisonError::into_inner).push(job);
    }

    fn inline(&self) -> bool {
        false
    }

    fn thread(&self, name: &str, _body: Job) -> Result<()> {
        Err(Error::unavailable(format!("nobody is there to be {name}")))
    }
}
