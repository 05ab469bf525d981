//! The stack that a command works on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;

use super::cluster::CLUSTER;
use super::{Failure, Terminal};
use crate::config::{Overrides, StackFile};
use crate::contract::{Env, Epoch, Error, ErrorKind, Status};
use crate::front::Engine;
use crate::medium::Medium;
use crate::medium::memory::MemoryMedium;
use crate::stack::{Layer, Media, Opening, Plan, Probe, Registry, Shelf, Spec, Stack};

/// A stack file, and what to change in it.
#[derive(Debug, Args)]
pub struct StackArg {
    /// The stack file
    #[arg(value_name = "STACK")]
    pub path: PathBuf,
    /// What to change in it.
    #[command(flatten)]
    pub set: SetArg,
}

/// Overrides.
#[derive(Debug, Args)]
pub struct SetArg {
    /// Change an option, like --set cache.memory=1GiB; the part before the dot is the name or the kind
    /// of a layer. May be given again. The variable TRAVERTINE_SET holds such settings too, with `;`
    /// between them
    #[arg(long = "set", value_name = "LAYER.OPTION=VALUE")]
    pub set: Vec<String>,
}

impl SetArg {
    /// These over those of the environment.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides::with_environment(&self.set)
    }
}

/// A stack that a command works on, open.
#[derive(Debug)]
pub struct Opened {
    /// What it was read from.
    pub file: StackFile,
    /// Its floors.
    pub stack: Stack,
    /// What stands on them. Close it when the work is done.
    pub engine: Engine,
}

impl Opened {
    /// Does `work` and closes it, whatever came of the work.
    fn closing<T>(self, work: impl FnOnce(&Engine) -> Result<T, Failure>) -> Result<T, Failure> {
        let done = work(&self.engine);
        let closed = self.engine.close();
        let value = done?;
        closed?;
        Ok(value)
    }
}

impl StackArg {
    /// Opens the stack for writing, with an engine on it.
    pub fn open(&self, registry: &Registry) -> Result<Opened, Failure> {
        let file = self.load(registry)?;
        let (stack, engine) = file.engine(&Env::system(), false)?;
        warn(&stack.store().status());
        Ok(Opened {
            file,
            stack,
            engine,
        })
    }

    /// Opens the stack for writing, does `work` and closes it, whatever came of the work.
    pub fn write<T>(
        &self,
        registry: &Registry,
        work: impl FnOnce(&Engine) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.open(registry)?.closing(work)
    }

    /// The same, in the place of whoever writes already.
    pub fn take_over<T>(
        &self,
        registry: &Registry,
        work: impl FnOnce(&Engine) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let file = self.load(registry)?;
        let (stack, engine) = file.takeover(&Env::system())?;
        let opened = Opened {
            file,
            stack,
            engine,
        };
        opened.closing(work)
    }

    /// Opens the stack for reading, with an engine on it.
    ///
    /// A reader sees what a writer has proven, and writes nothing. A writer that was killed left its
    /// last commits unproven: then, and only if nobody writes now, the stack is first recovered as a
    /// writer would do it. Where the stack goes on in a server, to recover would be to take over from a
    /// writer that may live; but the server knows what it made durable, and readers go by that.
    pub fn open_to_read(
        &self,
        registry: &Registry,
        terminal: &mut Terminal<'_>,
    ) -> Result<Opened, Failure> {
        self.recover(registry, terminal)?;
        let file = self.load(registry)?;
        let stack = open_floors(&file, terminal)?;
        let engine = file.engine_on(&stack, &Env::system(), true)?;
        warn(&stack.store().status());
        Ok(Opened {
            file,
            stack,
            engine,
        })
    }

    /// Whether nobody wrote to the stack yet.
    pub(super) fn is_unwritten(&self, registry: &Registry) -> Result<bool, Failure> {
        let file = self.load(registry)?;
        Ok(unwritten(file.plan()) || is_bare(file.plan()))
    }

    /// Does what the next writer would have to do first, if the last one ended without closing.
    pub(super) fn recover(
        &self,
        registry: &Registry,
        terminal: &mut Terminal<'_>,
    ) -> Result<(), Failure> {
        let file = self.load(registry)?;
        let mut floors = file.plan().top().walk();
        if unwritten(file.plan()) || floors.any(|(_, floor)| floor.kind().elsewhere) {
            return Ok(());
        }
        let stack = file.open(&Env::system(), true)?;
        let clean = match stack.store().fence(Epoch::default()).wait() {
            Ok(streams) => streams.iter().all(|stream| stream.clean),
            // Damage: whoever goes on meets it too, and says where.
            Err(_) => true,
        };
        stack.close()?;
        if clean {
            return Ok(());
        }
        match file.engine(&Env::system(), false) {
            Ok((_, engine)) => {
                let proven = engine.prove();
                engine.close()?;
                proven?;
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                // Somebody writes now, or nobody may: what is proven is what there is to read.
                let _ = error;
            }
            Err(error) => {
                terminal.note(format_args!(
                    "the last writer did not close, and recovery failed; what it had not proven is \
                     not shown: {error}"
                ))?;
            }
        }
        Ok(())
    }

    /// Reads and judges the stack file. Opens nothing.
    pub fn load(&self, registry: &Registry) -> Result<StackFile, Failure> {
        Ok(StackFile::load(
            &self.path,
            registry,
            &self.set.overrides(),
        )?)
    }
}

/// Says where a cluster goes on without some of its children.
fn warn(status: &Status) {
    // One that could not be opened has told nothing of itself.
    let away = status
        .below
        .iter()
        .filter(|child| child.identity.is_empty());
    let away = away.count();
    if status.kind == CLUSTER && away > 0 {
        let children = status.below.len();
        let cluster = status.name.as_deref().unwrap_or(CLUSTER);
        tracing::warn!(
            cluster,
            "{away} of {children} children are not there; `cluster check` says which"
        );
    }
    status.below.iter().for_each(warn);
}

/// Opens the floors for reading. A stack that nobody wrote to yet is shown as what it is, an empty one;
/// nothing is made on disk for it.
pub(super) fn open_floors(file: &StackFile, terminal: &mut Terminal<'_>) -> Result<Stack, Failure> {
    open_probed(file, Vec::new(), terminal)
}

/// As [`open_floors`], with probes at every boundary.
pub(super) fn open_probed(
    file: &StackFile,
    probes: Vec<Arc<dyn Probe>>,
    terminal: &mut Terminal<'_>,
) -> Result<Stack, Failure> {
    const NOTHING: &str = "nothing was written to this stack yet";
    let env = Env::system();
    if !unwritten(file.plan()) {
        let opening = Opening {
            read_only: true,
            probes,
            ..Opening::default()
        };
        return match file.plan().open(&env, opening) {
            Err(error) if is_nothing(&error, file) => {
                terminal.note(NOTHING)?;
                Ok(empty(&env)?)
            }
            opened => Ok(opened.map_err(|error| error.at(file.path().display().to_string()))?),
        };
    }
    terminal.note(NOTHING)?;
    let opening = Opening {
        media: Some(Arc::new(Blank::default())),
        probes,
        ..Opening::default()
    };
    Ok(file.plan().open(&env, opening)?)
}

/// Whether all that a stack lies in is directories of this machine, and none of them holds anything.
fn unwritten(plan: &Plan) -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "whether there is something to open is asked before anything is opened"
    )]
    let empty = |place: PathBuf| match std::fs::read_dir(place) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    let here = plan.top().walk().all(|(_, floor)| !floor.kind().elsewhere);
    let mut places = plan.places().peekable();
    here && places.peek().is_some() && places.all(empty)
}

/// Whether an opening failed for want of anything to open.
fn is_nothing(error: &Error, file: &StackFile) -> bool {
    error.kind() == ErrorKind::Invalid && is_bare(file.plan())
}

/// Whether nothing lies in any of the places of a stack, here and elsewhere. Where that cannot be asked,
/// something may.
fn is_bare(plan: &Plan) -> bool {
    let shelves = plan.shelves(&Env::system(), &Opening::default());
    let bare = |shelf: &Arc<dyn Shelf>| shelf.is_bare().unwrap_or(false);
    !shelves.is_empty() && shelves.iter().all(bare)
}

/// A stack in which nothing lies.
fn empty(env: &Env) -> Result<Stack, Error> {
    let spec = Spec::linear([Layer::new("memory")]).level("memory");
    let plan = Plan::new(&spec, &crate::standard(), Path::new("/"));
    let plan = plan.map_err(|_| Error::unsupported("there is no memory to show as empty"))?;
    plan.open(env, Opening::default())
}

/// Memory for every place of a stack, empty to begin with.
#[derive(Debug, Default)]
struct Blank(Mutex<BTreeMap<PathBuf, MemoryMedium>>);

impl Media for Blank {
    fn medium(&self, place: &Path, _unit: u64) -> Arc<dyn Medium> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(places.entry(place.to_owned()).or_default().clone())
    }
}
