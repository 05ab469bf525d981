//! A stack that was found legal: every option typed, every guarantee derived, nothing open yet.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::contract::{Env, Level, Result, Store, Stream};

use super::again::Again;
use super::below::{Below, Media, OpenContext, Probe};
use super::fault::SpecError;
use super::fingerprint::Fingerprint;
use super::guarantee::{Gives, Properties, Property};
use super::legality::{derive, judge};
use super::opened::Stack;
use super::options::{OptionType, Setting};
use super::plugin::{AnyFloor, Declared, FlushRule, PluginKind};
use super::registry::Registry;
use super::shelf::Shelf;
use super::spec::{LAYERS_MAX, Spec};
use super::tree::{Builder, Draft, lexical};
use super::units::level_from_text;
use super::value::{Data, Span};

/// A legal stack. Making one touches nothing; opening it runs on what was judged here.
#[derive(Debug, Clone)]
pub struct Plan {
    top: Arc<Floor>,
    base: PathBuf,
    /// Where the spec stands, wherever what it describes lies.
    home: PathBuf,
    level: Level,
    fingerprint: Arc<Fingerprint>,
}

/// How a plan is to be opened.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// Nothing will be written.
    pub read_only: bool,
    /// Whoever writes already goes on writing: opening for writing is refused then, as `Unavailable`.
    /// Else who opens takes over. On directories of this machine a lock refuses either way.
    pub yields: bool,
    /// The identity that the store must have.
    pub identity: Option<[u8; 16]>,
    /// The stream whose batches come there, if the stack is a part of a larger one.
    pub stream: Stream,
    /// Probes at every boundary, outermost first.
    pub probes: Vec<Arc<dyn Probe>>,
    /// What the paths of the configs lead to, if not to directories of the file system.
    pub media: Option<Arc<dyn Media>>,
}

/// One floor of a plan.
#[derive(Debug)]
pub struct Floor {
    kind: PluginKind,
    name: Option<String>,
    span: Span,
    settings: Vec<Setting>,
    declared: Declared,
    notes: Vec<String>,
    gives: Gives,
    pub(super) config: Arc<dyn AnyFloor>,
    below: Vec<Arc<Floor>>,
}

impl Floor {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &PluginKind {
        &self.kind
    }

    /// The name that the spec gave it, if any.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where the spec says what it uses.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// Its options as they are in force.
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// What it requires, adds and keeps, with its config taken into account.
    #[must_use]
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// Choices in force that one should know of.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What it gives to whoever stands on it.
    #[must_use]
    pub fn gives(&self) -> &Gives {
        &self.gives
    }

    /// The floor, this one or one below, that a property which holds here comes from.
    #[must_use]
    pub fn source(&self, property: Property) -> Option<&Self> {
        if !self.gives.properties.has(property) {
            return None;
        }
        if self.declared.adds.has(property) {
            return Some(self);
        }
        self.below.first()?.source(property)
    }

    /// What all those below give and this floor does not pass on.
    #[must_use]
    pub fn drops(&self) -> Properties {
        let given = self.below.iter().map(|below| below.gives.properties);
        let given = given.reduce(Properties::and).unwrap_or(Properties::NONE);
        given.without(self.gives.properties)
    }

    /// What lies below it.
    #[must_use]
    pub fn below(&self) -> &[Arc<Floor>] {
        &self.below
    }

    /// Its name, or else its kind.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name().unwrap_or(self.kind.name)
    }

    /// This floor and all below, top first, each with how deep it lies.
    pub fn walk(&self) -> impl Iterator<Item = (usize, &Self)> {
        let mut queue = vec![(0, self)];
        std::iter::from_fn(move || {
            let (depth, floor) = queue.pop()?;
            queue.extend(floor.below.iter().rev().map(|below| (depth + 1, &**below)));
            Some((depth, floor))
        })
    }

    /// The name after its kind where it has one: `cache "front"`.
    fn heading(&self) -> String {
        match self.name() {
            Some(name) => format!("{} {name:?}", self.kind.name),
            None => self.kind.name.to_owned(),
        }
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>, lead: &str, below_lead: &str) -> fmt::Result {
        let Gives { level, properties } = self.gives;
        writeln!(f, "{lead}{}: {level}; {properties}", self.heading())?;
        let last = self.below.len().saturating_sub(1);
        for (index, below) in self.below.iter().enumerate() {
            let (branch, space) = if index < last {
                ("├─ ", "│  ")
            } else {
                ("└─ ", "   ")
            };
            below.draw(
                f,
                &format!("{below_lead}{branch}"),
                &format!("{below_lead}{space}"),
            )?;
        }
        Ok(())
    }
}

impl Plan {
    /// Judges a spec. `base` is the directory that relative paths count from. All errors come at
    /// once, in the order of the text.
    pub fn new(spec: &Spec, registry: &Registry, base: &Path) -> Result<Self, Vec<SpecError>> {
        let mut errors = Vec::new();
        let level = read_level(spec, &mut errors);
        let test = read_test(spec, &mut errors);
        if spec.layers.is_empty() {
            let message = "this stack has no layers";
            errors.push(SpecError::new(message, Span::default(), "no layers"));
        }
        if let Some(one_more) = spec.all_layers().nth(LAYERS_MAX) {
            let message = format!("this stack has more than {LAYERS_MAX} layers");
            errors.push(
                SpecError::new(message, one_more.uses.span, "one of them")
                    .help("take some out: those of all sub-stacks count"),
            );
            return Err(in_order(errors));
        }
        let mut builder = Builder::new(spec, registry, base, test);
        let draft = builder.build();
        errors.append(&mut builder.errors);
        let top = draft.filter(|_| errors.is_empty()).and_then(finish);
        if let Some(top) = &top {
            let written = spec.level.as_ref().map(|value| value.span);
            judge(top, (level, written), registry, &mut errors);
        }
        match top.filter(|_| errors.is_empty()) {
            Some(top) => Ok(Self {
                fingerprint: Arc::new(Fingerprint::of(&top)),
                top: Arc::new(top),
                base: base.to_owned(),
                home: base.to_owned(),
                level,
            }),
            None => Err(in_order(errors)),
        }
    }

    /// The topmost floor.
    #[must_use]
    pub fn top(&self) -> &Floor {
        &self.top
    }

    /// The level of a commit that names none.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// When the engine's tail buffer goes down without being asked to.
    #[must_use]
    pub fn flush(&self) -> FlushRule {
        let mut rules = self
            .top
            .walk()
            .filter_map(|(_, floor)| floor.declared.flush);
        rules.next().unwrap_or_default()
    }

    /// The same plan, with relative paths counted from `base`: the same stack in another place, with
    /// the same secrets.
    #[must_use]
    pub fn at(mut self, base: &Path) -> Self {
        self.base = base.to_owned();
        self
    }

    /// The directory that relative paths count from.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The directories that its floors own, as paths that do not depend on where they are read.
    pub fn places(&self) -> impl Iterator<Item = PathBuf> {
        let settings = self.top.walk().flat_map(|(_, floor)| floor.settings());
        let places = settings.filter(|setting| setting.row.kind == OptionType::Place);
        let texts = places.filter_map(|setting| setting.value.as_ref()?.as_text());
        texts.map(|place| self.base.join(place))
    }

    /// The bottoms, each with the directory that it owns, if any, and what a log there keeps of the
    /// stack that wrote it.
    pub fn bottoms(&self) -> Vec<(&Floor, Option<PathBuf>, Fingerprint)> {
        let mut found = Vec::new();
        self.collect_bottoms(&self.top, &mut Vec::new(), &mut found);
        found
    }

    fn collect_bottoms<'a>(
        &'a self,
        floor: &'a Floor,
        choices: &mut Vec<usize>,
        found: &mut Vec<(&'a Floor, Option<PathBuf>, Fingerprint)>,
    ) {
        if floor.below.is_empty() {
            let print = Fingerprint::of_branch(&self.top, choices);
            found.push((floor, self.place_of(floor), print));
        }
        let several = floor.below.len() > 1;
        for (index, below) in floor.below.iter().enumerate() {
            choices.extend(several.then_some(index));
            self.collect_bottoms(below, choices, found);
            choices.truncate(choices.len() - usize::from(several));
        }
    }

    /// The first directory that a floor owns.
    pub(super) fn place_of(&self, floor: &Floor) -> Option<PathBuf> {
        let mut places = floor
            .settings
            .iter()
            .filter(|setting| setting.row.kind == OptionType::Place);
        let place = places.find_map(|setting| setting.value.as_ref()?.as_text())?;
        Some(self.resolve(place))
    }

    /// Where a path of a config lies, by its words alone.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        lexical(&self.base.join(path))
    }

    /// What of it the bytes on the media depend on.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The places for notes beside what the stack stores. Touches nothing.
    #[must_use]
    pub fn shelves(&self, env: &Env, opening: &Opening) -> Vec<Arc<dyn Shelf>> {
        self.below(env, opening).shelves()
    }

    fn below(&self, env: &Env, opening: &Opening) -> Below {
        let context = OpenContext::new(env, (&self.base, &self.home), &self.top, opening);
        Below::new(self.top.clone(), context)
    }

    /// Opens the stack, top down. For reading only, it is opened again whenever it is asked for the
    /// newest root: a writer elsewhere may have gone on.
    pub fn open(&self, env: &Env, opening: Opening) -> Result<Stack> {
        let below = self.below(env, &opening);
        // What does not persist cannot be found again by opening it again.
        let store: Arc<dyn Store> =
            if opening.read_only && self.top.gives().properties.has(Property::Persists) {
                Arc::new(Again::open(below)?)
            } else {
                below.open()?
            };
        Ok(Stack::new(self.clone(), store))
    }
}

/// The tree of floors, each with its level and what it gives.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.top.draw(f, "", "")
    }
}

/// Puts errors in the order of the text, each once: a sub-stack that is put in two places is wrong
/// only once.
fn in_order(mut errors: Vec<SpecError>) -> Vec<SpecError> {
    errors.sort_by(|a, b| (a.span, &a.message).cmp(&(b.span, &b.message)));
    errors.dedup();
    errors
}

fn finish(draft: Draft) -> Option<Floor> {
    let known = draft.known?;
    let below = draft
        .below
        .into_iter()
        .map(|below| finish(below).map(Arc::new))
        .collect::<Option<Vec<_>>>()?;
    let gives: Vec<&Gives> = below.iter().map(|below| below.gives()).collect();
    let Declared {
        adds, keeps, level, ..
    } = known.declared;
    Some(Floor {
        gives: derive(adds, keeps, level, &gives),
        kind: known.kind,
        name: draft.name,
        span: draft.uses.span,
        settings: known.settings,
        declared: known.declared,
        notes: known.notes,
        config: known.floor,
        below,
    })
}

fn read_level(spec: &Spec, errors: &mut Vec<SpecError>) -> Level {
    let Some(value) = &spec.level else {
        return Level::Disk;
    };
    let read = match value.as_text() {
        Some(text) => level_from_text(text),
        None => Err(
            super::Fault::new(format!("{} stands here", value.type_name()))
                .help("it takes a level in quotes, like \"disk\""),
        ),
    };
    read.unwrap_or_else(|fault| {
        let message = format!("`level`: {fault}");
        let mut error = SpecError::new(message, value.span, "this value");
        error.help = fault.help;
        errors.push(error);
        Level::Memory
    })
}

fn read_test(spec: &Spec, errors: &mut Vec<SpecError>) -> bool {
    match spec.test.as_ref().map(|value| (&value.data, value)) {
        None => false,
        Some((Data::Flag(test), _)) => *test,
        Some((_, value)) => {
            let message = format!("`test`: {} stands here", value.type_name());
            errors.push(
                SpecError::new(message, value.span, "this value")
                    .help("it takes `true` or `false` without quotes"),
            );
            true
        }
    }
}
