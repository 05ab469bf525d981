//! How a floor opens what lies below it.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::contract::{Env, Error, Extent, Result, Store, Stream};
use crate::medium::file::FileMedium;
use crate::medium::{Handles, Medium};

use super::fingerprint::Fingerprint;
use super::options::OptionType;
use super::plan::{Floor, Opening};
use super::plugin::Arity;
use super::secret::Secret;
use super::shelf::Shelf;
use super::traced;

/// Stands at a boundary between two floors and sees every call.
pub trait Probe: Send + Sync + Debug {
    /// Called once for each floor that is opened: answers a store that passes everything on to
    /// `store`, which is that floor.
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store>;
}

/// Where the places of a stack really lie: directories of the file system, unless whoever opens the
/// stack brings something else. A test brings simulated disks, and runs the very floors that a
/// program runs.
pub trait Media: Send + Sync + Debug {
    /// The medium at a resolved path. `unit` is how many bytes may be torn together there, as far as
    /// the config knows; a medium that knows better says so itself.
    fn medium(&self, place: &Path, unit: u64) -> Arc<dyn Medium>;

    /// What a secret reads as there; `None`: what it reads as anywhere.
    fn secret(&self, _secret: &Secret) -> Option<Vec<u8>> {
        None
    }
}

/// What a floor may know when it is opened.
#[derive(Debug, Clone)]
pub struct OpenContext {
    /// Time, randomness and drivers.
    pub env: Env,
    /// Nothing may be written.
    pub read_only: bool,
    /// Whoever writes already goes on writing: then this opening is refused.
    pub yields: bool,
    /// The stream whose batches come here.
    pub stream: Stream,
    /// Which part of that stream.
    pub extent: Extent,
    /// The identity that the store must have. `None`: whichever is there, or a new one for a new
    /// store.
    pub identity: Option<[u8; 16]>,
    /// What of the stack the bytes that lie below here depend on: a bottom keeps it, and names a
    /// mismatch.
    pub fingerprint: Arc<Fingerprint>,
    /// The name that the spec gave the floor, if any.
    pub name: Option<String>,
    /// How many files stay open to be read in the whole stack.
    pub handles: Arc<Handles>,
    base: PathBuf,
    home: PathBuf,
    top: Arc<Floor>,
    /// For each floor over several above this one, which of them this is.
    choices: Vec<usize>,
    parts: Vec<u32>,
    probes: Vec<Arc<dyn Probe>>,
    media: Option<Arc<dyn Media>>,
    commons: Commons,
}

/// One value of each type.
#[derive(Clone, Default)]
struct Commons(Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>);

impl Debug for Commons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commons")
    }
}

impl OpenContext {
    pub(super) fn new(
        env: &Env,
        (base, home): (&Path, &Path),
        top: &Arc<Floor>,
        opening: &Opening,
    ) -> Self {
        Self {
            env: env.clone(),
            read_only: opening.read_only,
            yields: opening.yields,
            stream: opening.stream,
            extent: Extent::Whole,
            identity: opening.identity,
            fingerprint: Arc::new(Fingerprint::of(top)),
            name: None,
            handles: Arc::default(),
            base: base.to_owned(),
            home: home.to_owned(),
            top: top.clone(),
            choices: Vec::new(),
            parts: Vec::new(),
            probes: opening
                .probes
                .iter()
                .cloned()
                .chain(traced::wanted())
                .collect(),
            media: opening.media.clone(),
            commons: Commons::default(),
        }
    }

    /// The one value of its type that all floors of this opening share: `make` makes it, given the
    /// topmost floor, for whoever asks first. It opens nothing.
    pub fn common<T: Any + Send + Sync>(&self, make: impl FnOnce(&Floor) -> T) -> Arc<T> {
        let mut commons = self
            .commons
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let there = commons.get(&TypeId::of::<T>()).cloned();
        if let Some(Ok(there)) = there.map(Arc::downcast) {
            return there;
        }
        let made = Arc::new(make(&self.top));
        commons.insert(TypeId::of::<T>(), made.clone());
        made
    }

    /// Where a path of the config really lies: relative paths count from the stack file, and each
    /// part has a directory of its own inside.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        let mut resolved = self.base.join(path);
        resolved.extend(self.parts.iter().map(|part| format!("part-{part:06}")));
        resolved
    }

    /// The medium at a path of the config: the directory that [`OpenContext::resolve`] names, unless
    /// the stack was opened on media of another sort.
    #[must_use]
    pub fn medium(&self, path: impl AsRef<Path>, unit: u64) -> Arc<dyn Medium> {
        let place = self.resolve(path);
        match &self.media {
            Some(media) => media.medium(&place, unit),
            None => Arc::new(FileMedium::new(place, unit)),
        }
    }

    /// Where a file lies that no floor keeps: beside the stack file, if its path is relative, also when
    /// the stack is opened in another place.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.home.join(path)
    }

    pub(super) fn simulated_secret(&self, secret: &Secret) -> Option<Vec<u8>> {
        self.media.as_ref()?.secret(secret)
    }

    /// The context of one of the floors below `floor`.
    fn within(&self, floor: &Floor, index: usize) -> Self {
        let mut context = self.clone();
        if floor.below().len() > 1 {
            context.choices.push(index);
            let branch = Fingerprint::of_branch(&self.top, &context.choices);
            context.fingerprint = Arc::new(branch);
        }
        context
    }

    /// Which part of a part this is, outermost first; empty for a floor that is opened once.
    #[must_use]
    pub fn parts(&self) -> &[u32] {
        &self.parts
    }
}

/// One of the stacks below a floor, not open yet. It may be opened more than once; clones are free.
#[derive(Debug, Clone)]
pub struct Below {
    floor: Arc<Floor>,
    context: OpenContext,
}

impl Below {
    pub(super) fn new(floor: Arc<Floor>, context: OpenContext) -> Self {
        Self { floor, context }
    }

    /// The one below, for a floor of arity one.
    pub fn only(below: Vec<Self>) -> Result<Self> {
        match <[Self; 1]>::try_from(below) {
            Ok([below]) => Ok(below),
            Err(below) => Err(Error::invalid(format!(
                "a floor over exactly one stack was opened over {}",
                below.len()
            ))),
        }
    }

    /// Its topmost floor.
    #[must_use]
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// The same, as part number `part`: what it keeps lies apart from every other part.
    #[must_use]
    pub fn part(mut self, part: u32) -> Self {
        self.context.parts.push(part);
        self
    }

    /// The same, for the batches of this stream.
    #[must_use]
    pub fn stream(mut self, stream: Stream) -> Self {
        self.context.stream = stream;
        self
    }

    /// The same, for this part of the stream.
    #[must_use]
    pub fn extent(mut self, extent: Extent) -> Self {
        self.context.extent = extent;
        self
    }

    /// The same, for reading only.
    #[must_use]
    pub fn reading(mut self) -> Self {
        self.context.read_only = true;
        self
    }

    /// A medium for every directory that bytes come to rest in below, in order. `unit` is how many
    /// bytes may be torn together there.
    #[must_use]
    pub fn media(&self, unit: u64) -> Vec<Arc<dyn Medium>> {
        let floors = self.floor.walk().map(|(_, floor)| floor);
        let bottoms = floors.filter(|floor| floor.kind().arity == Arity::Bottom);
        bottoms
            .flat_map(Floor::settings)
            .filter(|setting| setting.row.kind == OptionType::Place)
            .filter_map(|setting| setting.value.as_ref()?.as_text())
            .map(|place| self.context.medium(place, unit))
            .collect()
    }

    /// The places for notes below, in order: one for each floor that bytes come to rest in.
    #[must_use]
    pub fn shelves(&self) -> Vec<Arc<dyn Shelf>> {
        let floors = self.floor.walk().map(|(_, floor)| floor);
        let bottoms = floors.filter(|floor| floor.kind().arity == Arity::Bottom);
        bottoms
            .filter_map(|floor| floor.config.shelf(&self.context))
            .collect()
    }

    /// The same, and it must have this identity.
    #[must_use]
    pub fn identity(mut self, identity: [u8; 16]) -> Self {
        self.context.identity = Some(identity);
        self
    }

    /// The same, with a probe at every boundary from here down. Probes that were there stay, further
    /// out.
    #[must_use]
    pub fn probed(mut self, probe: Arc<dyn Probe>) -> Self {
        self.context.probes.push(probe);
        self
    }

    /// Where a path of a config below would lie.
    #[must_use]
    pub fn context(&self) -> &OpenContext {
        &self.context
    }

    /// Opens it, and through it all that lies below.
    pub fn open(&self) -> Result<Arc<dyn Store>> {
        let mut context = self.context.clone();
        context.name = self.floor.name().map(str::to_owned);
        let below = self
            .floor
            .below()
            .iter()
            .enumerate()
            .map(|(index, floor)| Self::new(floor.clone(), self.context.within(&self.floor, index)))
            .collect();
        let store = self
            .floor
            .config
            .open(&context, below)
            .map_err(|error| error.at(format!("layer {}", self.floor.title())))?;
        let probes = self.context.probes.iter().rev();
        Ok(probes.fold(store, |store, probe| probe.wrap(&self.floor, store)))
    }
}
