//! Stack files: a stack as TOML, with overrides from outside, judged as a whole.
//!
//! ```text
//!   stack file ──┐
//!   TRAVERTINE_SET ──> Spec, each value knowing its text ──> Plan
//!   --set ───────┘     the later wins
//! ```
//!
//! It promises that every error says file, line and column, or which override it stands in. It
//! refuses files over one MiB, and reads nothing but that file. Of directories it asks where they lie: two
//! that are one by a link have two owners.

#[cfg(feature = "conformance")]
pub mod hostile;
mod overrides;
mod parse;
pub(crate) mod reclaim;
#[cfg(feature = "net")]
mod rights;
mod source;

use std::path::{Path, PathBuf};

use travertine_engine::contract::{Env, Error, Result};
use travertine_engine::front::{Automatic, Engine, Options};
use travertine_engine::stack::{Opening, OptionType, Plan, Registry, Span, Spec, SpecError, Stack};

pub use overrides::Overrides;
#[cfg(feature = "net")]
pub use rights::rights;
pub use source::{Origin, Refusal, Source};

const INIT: &str = "`travertine init FILE` writes a stack file to begin with";

/// Longest stack file, in bytes.
pub const FILE_MAX: u64 = 1 << 20;

/// A legal stack that was read from a file.
#[derive(Debug, Clone)]
pub struct StackFile {
    spec: Spec,
    plan: Plan,
    reclaim: Option<Automatic>,
    sources: Vec<Source>,
    path: PathBuf,
}

impl StackFile {
    /// Reads and judges a stack file. Opens nothing.
    pub fn load(
        path: impl AsRef<Path>,
        registry: &Registry,
        overrides: &Overrides,
    ) -> std::result::Result<Self, Box<Refusal>> {
        let path = path.as_ref();
        let source = Source::of_file(path, source::read_file(path, INIT)?);
        // Relative paths count from the file, wherever the program was started.
        let base = std::path::absolute(path)
            .ok()
            .and_then(|path| path.parent().map(Path::to_owned))
            .unwrap_or_default();
        Self::judge(path, source, &base, registry, overrides)
    }

    /// Judges a text as if it stood in a file called `name` in the directory `base`.
    pub fn parse(
        name: &str,
        text: &str,
        base: &Path,
        registry: &Registry,
        overrides: &Overrides,
    ) -> std::result::Result<Self, Box<Refusal>> {
        let path = Path::new(name);
        let source = Source::of_file(path, text.to_owned());
        Self::judge(path, source, base, registry, overrides)
    }

    fn judge(
        path: &Path,
        source: Source,
        base: &Path,
        registry: &Registry,
        overrides: &Overrides,
    ) -> std::result::Result<Self, Box<Refusal>> {
        let mut sources = vec![source];
        let (root, mut errors) = parse::parse(&sources[0].text);
        let judged = root.and_then(|root| {
            let (mut spec, shape) = Spec::read(&root);
            errors.extend(shape);
            overrides.apply(&mut spec, &mut sources, &mut errors);
            // A spec without layers was told already.
            if spec.layers.is_empty() && !errors.is_empty() {
                return None;
            }
            let reclaim = reclaim::read(&spec, &mut errors);
            match Plan::new(&spec, registry, base) {
                Ok(plan) => {
                    links(&plan, &mut errors);
                    Some((spec, plan, reclaim))
                }
                Err(more) => {
                    errors.extend(more);
                    None
                }
            }
        });
        match judged.filter(|_| errors.is_empty()) {
            Some((spec, plan, reclaim)) => Ok(Self {
                spec,
                plan,
                reclaim,
                sources,
                path: path.to_owned(),
            }),
            None => Err(Box::new(Refusal::new(sources, errors))),
        }
    }

    /// The plan, legal as it stands.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// When the engine gives space back without being asked to, if it does.
    #[must_use]
    pub fn reclaim(&self) -> Option<&Automatic> {
        self.reclaim.as_ref()
    }

    /// The stack as data, with what was set from outside.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The same stack in another place: relative paths count from `base`.
    #[must_use]
    pub fn at(&self, base: &Path) -> Self {
        Self {
            plan: self.plan.clone().at(base),
            ..self.clone()
        }
    }

    /// The same stack without one of its layers, for each that another follows: what it is called, and
    /// the stack, or why there is none.
    #[must_use]
    pub fn thinner(&self, registry: &Registry) -> Vec<(String, std::result::Result<Self, String>)> {
        let thinner = self.spec.thinner().into_iter().map(|(layer, spec)| {
            let title = layer.name.map_or(layer.uses.value, |name| name.value);
            let plan = Plan::new(&spec, registry, self.plan.base()).map_err(|errors| {
                let messages = errors.into_iter().map(|error| error.message);
                messages.collect::<Vec<_>>().join("; ")
            });
            let file = plan.map(|plan| Self {
                spec,
                plan,
                ..self.clone()
            });
            (title, file)
        });
        thinner.collect()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The texts that its values came from; spans tell which.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Opens the stack and an engine on it, as the file says.
    ///
    /// Errors: `Unavailable`, if it is to write and another one writes already.
    pub fn engine(&self, env: &Env, read_only: bool) -> Result<(Stack, Engine)> {
        let stack = self.open(env, read_only)?;
        let engine = self.engine_on(&stack, env, read_only)?;
        Ok((stack, engine))
    }

    /// The same, for writing, and in the place of whoever writes already: that one is fenced. Only a lock
    /// in a directory of this machine keeps it.
    pub fn takeover(&self, env: &Env) -> Result<(Stack, Engine)> {
        let stack = self.open_as(env, Opening::default())?;
        let engine = self.engine_on(&stack, env, false)?;
        Ok((stack, engine))
    }

    /// Opens an engine on the opened stack, as the file says.
    pub fn engine_on(&self, stack: &Stack, env: &Env, read_only: bool) -> Result<Engine> {
        let defaults = Options::default();
        let flush = self.plan.flush();
        let options = Options {
            level: self.plan.level(),
            flush_bytes: flush.bytes.map_or(defaults.flush_bytes, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }),
            flush_age: flush.age.unwrap_or(defaults.flush_age),
            flush_pressure: flush.pressure,
            reclaim: self.reclaim.clone(),
            read_only,
            ..defaults
        };
        Engine::open(stack.store(), env, options)
            .map_err(|error| error.at(self.path.display().to_string()))
    }

    /// Opens the stack.
    ///
    /// Errors: `Unavailable`, if it is to be written and another one writes already.
    pub fn open(&self, env: &Env, read_only: bool) -> Result<Stack> {
        let opening = Opening {
            read_only,
            yields: true,
            ..Opening::default()
        };
        self.open_as(env, opening)
    }

    fn open_as(&self, env: &Env, opening: Opening) -> Result<Stack> {
        self.plan
            .open(env, opening)
            .map_err(|error| error.at(self.path.display().to_string()))
    }
}

/// Refuses two places of a stack that are one by a link, or one inside the other. What their words say was
/// judged before.
fn links(plan: &Plan, errors: &mut Vec<SpecError>) {
    let mut owners: Vec<(PathBuf, Span, &str)> = Vec::new();
    let settings = plan.top().walk().flat_map(|(_, floor)| floor.settings());
    for setting in settings.filter(|setting| setting.row.kind == OptionType::Place) {
        let Some(value) = &setting.value else {
            continue;
        };
        let Some(text) = value.as_text() else {
            continue;
        };
        // What is not there yet is no link.
        let Ok(place) = plan.base().join(text).canonicalize() else {
            continue;
        };
        let other = owners
            .iter()
            .find(|(other, ..)| place.starts_with(other) || other.starts_with(&place));
        if let Some((_, other, words)) = other {
            let message =
                format!("by a link {text:?} and {words:?} are one, or one lies in the other");
            errors.push(
                SpecError::new(message, value.span, "the second owner")
                    .with(*other, "the first")
                    .help("give each layer a directory of its own, side by side"),
            );
        }
        owners.push((place, value.span, text));
    }
}

impl From<Box<Refusal>> for Error {
    fn from(refusal: Box<Refusal>) -> Self {
        Self::invalid(refusal.to_string())
    }
}

fn error_at(message: impl Into<String>, label: &str, span: Span) -> SpecError {
    SpecError::new(message, span, label)
}
