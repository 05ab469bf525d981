//! Fixtures: a stack in one place, which a check opens, crashes and opens again.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::between::{Between, over};
use super::machine::Machine;
use crate::conformance::env::SimEnv;
use crate::conformance::model::{ModelOptions, ModelStore};
use crate::conformance::sim::Plan as DiskPlan;
use crate::contract::{Env, Level, Result, Store};
use crate::log::{Log, LogOptions};
use crate::medium::Medium;
use crate::medium::file::FileMedium;
use crate::medium::memory::MemoryMedium;
use crate::stack::{Media, Properties, Property};

/// A stack in one place.
pub trait Fixture: fmt::Debug + Send + Sync {
    /// Time, randomness and drivers, of the stack and of engines on it.
    fn env(&self) -> &Env;

    /// What the stack promises, and what can be done to it.
    fn promises(&self) -> Promises;

    /// Opens the stack, new or as it was left, with `between` at every boundary. Whoever had it open
    /// before has closed it, or was ended by [`Fixture::crash`].
    fn open(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>>;

    /// Opens the stack as another process would that only reads, whether somebody writes or not. Only
    /// called if it was promised.
    fn read(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>>;

    /// Ends the process that has the stack open. Its handles may still answer, but nothing that they
    /// do is seen by who opens the stack next. Only called if it was promised.
    fn crash(&self, crash: Crash);

    /// The simulated machine that the stack runs on, if it does: it can crash inside a call.
    fn machine(&self) -> Option<&Machine>;
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// By a signal: what the operating system had is there.
    Kill,
    /// By the plug: what devices had flushed is there.
    PowerCut,
}

/// What a stack promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promises {
    /// The highest level that a commit reaches.
    pub level: Level,
    /// What holds.
    pub properties: Properties,
    /// The fixture can kill.
    pub kill: bool,
    /// The fixture can cut the power.
    pub power_cut: bool,
    /// Nothing of the fixture's own lets callers wait.
    pub prompt: bool,
    /// The fixture can open for reading beside a writer.
    pub readers: bool,
}

impl Promises {
    /// The level of a commit that survives `crash`.
    #[must_use]
    pub fn surviving(crash: Crash) -> Level {
        match crash {
            Crash::Kill => Level::Os,
            Crash::PowerCut => Level::Disk,
        }
    }
}

/// The model: what everything else is held against.
#[derive(Debug)]
pub struct ModelFixture {
    sim: SimEnv,
    options: ModelOptions,
    model: Mutex<ModelStore>,
}

impl ModelFixture {
    /// A new model of this sort.
    #[must_use]
    pub fn new(options: ModelOptions) -> Self {
        Self {
            sim: SimEnv::new(1),
            options,
            model: Mutex::new(ModelStore::new(options)),
        }
    }
}

impl Default for ModelFixture {
    fn default() -> Self {
        Self::new(ModelOptions::default())
    }
}

impl Fixture for ModelFixture {
    fn env(&self) -> &Env {
        self.sim.env()
    }

    fn promises(&self) -> Promises {
        Promises {
            level: self.options.level,
            properties: Properties::all_but(&[Property::Parts]),
            kill: true,
            power_cut: true,
            prompt: true,
            readers: true,
        }
    }

    fn open(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        *model = model.reopen();
        over(&**between, Ok(model.clone()))
    }

    fn read(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        over(&**between, Ok(model.reader()))
    }

    fn crash(&self, crash: Crash) {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        *model = model.crash(Promises::surviving(crash), 0);
    }

    fn machine(&self) -> Option<&Machine> {
        None
    }
}

/// A log on a medium, with nothing above it.
pub struct LogFixture {
    kind: &'static str,
    env: Env,
    options: LogOptions,
    properties: Properties,
    ground: Ground,
}

enum Ground {
    Memory(MemoryMedium),
    Directory(Box<dyn AsRef<Path> + Send + Sync>),
    Machine(Machine),
}

impl LogFixture {
    /// On the memory of this process. It is all gone when the fixture is.
    #[must_use]
    pub fn memory(options: LogOptions) -> Self {
        let ground = Ground::Memory(MemoryMedium::new());
        Self::new("memory", Env::system(), options, ground)
    }

    /// In a directory, which the fixture holds on to: a temporary one lives as long.
    #[must_use]
    pub fn directory(
        directory: impl AsRef<Path> + Send + Sync + 'static,
        options: LogOptions,
    ) -> Self {
        let ground = Ground::Directory(Box::new(directory));
        Self::new("file", Env::system(), options, ground)
    }

    /// On a simulated disk, decided by the seed.
    #[must_use]
    pub fn simulated(seed: u64, disk: DiskPlan, options: LogOptions) -> Self {
        let ground = Ground::Machine(Machine::new(seed, disk));
        Self::new("sim", SimEnv::new(seed).env().clone(), options, ground)
    }

    fn new(kind: &'static str, env: Env, options: LogOptions, ground: Ground) -> Self {
        Self {
            kind,
            env,
            options,
            properties: Properties::all_but(&[Property::Parts]),
            ground,
        }
    }
}

impl Fixture for LogFixture {
    fn env(&self) -> &Env {
        &self.env
    }

    fn promises(&self) -> Promises {
        let simulated = matches!(self.ground, Ground::Machine(_));
        Promises {
            level: match self.ground {
                Ground::Memory(_) => Level::Memory,
                _ => Level::Disk,
            },
            properties: self.properties,
            kill: simulated,
            power_cut: simulated,
            prompt: true,
            readers: !matches!(self.ground, Ground::Memory(_)),
        }
    }

    fn open(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        over(&**between, self.log(self.options.clone()))
    }

    fn read(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        let options = LogOptions {
            read_only: true,
            ..self.options.clone()
        };
        over(&**between, self.log(options))
    }

    fn crash(&self, crash: Crash) {
        if let Ground::Machine(machine) = &self.ground {
            machine.crash(crash);
        }
    }

    fn machine(&self) -> Option<&Machine> {
        match &self.ground {
            Ground::Machine(machine) => Some(machine),
            _ => None,
        }
    }
}

impl LogFixture {
    fn log(&self, options: LogOptions) -> Result<Log> {
        let medium: Arc<dyn Medium> = match &self.ground {
            Ground::Memory(medium) => Arc::new(medium.clone()),
            Ground::Directory(directory) => {
                let directory = (**directory).as_ref();
                Arc::new(FileMedium::new(directory.join("log"), 4096))
            }
            Ground::Machine(machine) => machine.medium(Path::new("log"), 4096),
        };
        Log::open(self.kind, medium, &self.env, options)
    }
}

impl fmt::Debug for LogFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a log in {} with {:?}", self.kind, self.options)?;
        match self.machine() {
            Some(machine) => write!(f, " on {machine:?}"),
            None => Ok(()),
        }
    }
}
