//! What a plug-in is: a type that is read from a config, some data about its kind, and two methods.
//!
//! ```
//! use std::sync::Arc;
//! use travertine_engine::contract::{Result, Store};
//! use travertine_engine::stack::{
//!     Arity, Below, Declared, Fault, OpenContext, OptionRow, OptionType, Plugin, PluginKind,
//! };
//!
//! /// Lets everything pass; `tries` shows how an option is declared and read.
//! #[derive(Debug, serde::Deserialize)]
//! struct Pass {
//!     tries: u32,
//! }
//!
//! impl Plugin for Pass {
//!     const KIND: PluginKind = PluginKind {
//!         summary: "lets everything pass",
//!         options: &[OptionRow::preset(
//!             "tries",
//!             OptionType::Integer { min: 1, max: 9 },
//!             "3",
//!             "how often it would try",
//!         )],
//!         declared: Declared::TRANSPARENT,
//!         ..PluginKind::new("pass", Arity::One)
//!     };
//!
//!     fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
//!         Ok(Vec::new())
//!     }
//!
//!     fn open(&self, _context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
//!         Below::only(below)?.open()
//!     }
//! }
//! ```

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::contract::{Level, Result, Store};

use super::below::{Below, OpenContext};
use super::fault::Fault;
use super::guarantee::{LevelRule, Properties};
use super::options::OptionRow;
use super::shelf::Shelf;
use super::value::Value;

/// A plug-in is its config: a type that serde reads, once every option was checked by the rows of
/// its kind and every default was filled in.
pub trait Plugin: DeserializeOwned + Debug + Send + Sync + 'static {
    /// Everything about the kind that can be said before a config is read.
    const KIND: PluginKind;

    /// What the rows cannot say: rules between options (a [`Fault`] names the option), and what this
    /// very config changes in what its kind declares. Answers the choices in force that one should
    /// know of, a sentence each. Touches nothing outside.
    fn declare(&self, declared: &mut Declared) -> std::result::Result<Vec<String>, Fault>;

    /// Opens the floor. `below` has as many entries as the stack file put below it, and none of them
    /// is open yet.
    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>>;

    /// Where notes lie beside what this floor stores: of a kind that adds
    /// [`Property::Notes`](super::Property::Notes). Opens nothing.
    fn shelf(&self, _context: &OpenContext) -> Option<Arc<dyn Shelf>> {
        None
    }
}

/// The data of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PluginKind {
    /// The word that a layer's `use` says.
    pub name: &'static str,
    /// What it does, in half a sentence.
    pub summary: &'static str,
    /// What it costs, in half a sentence.
    pub cost: &'static str,
    /// What one should know beyond that.
    pub doc: &'static str,
    /// How many lie below.
    pub arity: Arity,
    /// Its options.
    pub options: &'static [OptionRow],
    /// What it requires, adds and keeps, unless its config says otherwise.
    pub declared: Declared,
    /// Where it may not stand.
    pub rules: &'static [TreeRule],
    /// Whether the bytes on the media depend on its being there: part of the fingerprint.
    pub structural: bool,
    /// Of a kind that is not structural and yet leaves something behind: why it may be added between
    /// two openings, but not be taken away.
    pub stays: Option<&'static str>,
    /// How the list of stacks below it may change between two openings.
    pub growth: Growth,
    /// Whether it is there for tests only, and refused unless the stack file says so.
    pub test_only: bool,
    /// Whether it goes on in another process: random stacks of the kit, which has none, do without.
    pub elsewhere: bool,
}

impl PluginKind {
    /// A kind without options, docs and rules, to be completed by `..PluginKind::new(…)`.
    #[must_use]
    pub const fn new(name: &'static str, arity: Arity) -> Self {
        Self {
            name,
            summary: "",
            cost: "",
            doc: "",
            arity,
            options: &[],
            declared: Declared::NOTHING,
            rules: &[],
            structural: false,
            stays: None,
            growth: Growth::Fixed,
            test_only: false,
            elsewhere: false,
        }
    }
}

/// How many stacks lie below a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arity {
    /// None: bytes come to rest here.
    Bottom,
    /// One: the next layer.
    One,
    /// So many, as `over` lists them. Where one is enough it is the next layer, never a list of one:
    /// whether bytes lie below one stack or below several would else hang on a word.
    Many {
        /// Least.
        min: usize,
        /// Most.
        max: usize,
    },
}

/// What a floor requires from each one below, and what it makes of what they give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// Each one below must give these.
    pub requires: Properties,
    /// It gives these, whatever lies below.
    pub adds: Properties,
    /// It passes these on, where all below give them. The rest is dropped.
    pub keeps: Properties,
    /// The level it reaches.
    pub level: LevelRule,
    /// When the engine should send its tail buffer down, if this floor has a say in it.
    pub flush: Option<FlushRule>,
}

impl Declared {
    /// Requires, adds and keeps nothing.
    pub const NOTHING: Self = Self {
        requires: Properties::NONE,
        adds: Properties::NONE,
        keeps: Properties::NONE,
        level: LevelRule::Below,
        flush: None,
    };
    /// Passes on everything that lies below.
    pub const TRANSPARENT: Self = Self {
        keeps: Properties::ALL,
        ..Self::NOTHING
    };

    /// What a bottom gives.
    #[must_use]
    pub const fn bottom(level: Level, adds: Properties) -> Self {
        Self {
            adds,
            level: LevelRule::At(level),
            ..Self::NOTHING
        }
    }
}

/// When the engine's tail buffer goes down without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct FlushRule {
    /// When it holds so many bytes.
    pub bytes: Option<u64>,
    /// When its oldest record is this old.
    pub age: Option<Duration>,
    /// Early, while so many percent of the memory that the process may use are in use.
    pub pressure: Option<u8>,
}

/// Where a kind may not stand; each says why, in half a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeRule {
    /// Not right above a layer of this kind.
    NotDirectlyOver {
        /// The kind.
        kind: &'static str,
        /// Why not.
        why: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// Below layers of these kinds and no others, wherever in the tree.
    OnlyUnder {
        /// The kinds; none: it is the topmost layer.
        kinds: &'static [&'static str],
        /// Why.
        why: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// Not above a layer of this kind, however far below.
    NotOver {
        /// The kind.
        kind: &'static str,
        /// Why not.
        why: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
}

/// What a rule finds wrong between two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offence {
    /// Why not, in half a sentence.
    pub why: &'static str,
    /// What to do instead.
    pub instead: &'static str,
    /// However many floors lie between them; else only right above.
    pub however_far: bool,
}

impl TreeRule {
    /// What this rule of a kind has against a floor of kind `below` somewhere under it.
    #[must_use]
    pub fn against_below(&self, below: &str) -> Option<Offence> {
        let (wanted, why, instead, however_far) = match *self {
            Self::NotDirectlyOver { kind, why, instead } => (kind, why, instead, false),
            Self::NotOver { kind, why, instead } => (kind, why, instead, true),
            Self::OnlyUnder { .. } => return None,
        };
        (wanted == below).then_some(Offence {
            why,
            instead,
            however_far,
        })
    }

    /// What this rule of a kind has against a floor of kind `above` somewhere over it.
    #[must_use]
    pub fn against_above(&self, above: &str) -> Option<Offence> {
        match *self {
            Self::OnlyUnder {
                kinds,
                why,
                instead,
            } => (!kinds.contains(&above)).then_some(Offence {
                why,
                instead,
                however_far: true,
            }),
            Self::NotDirectlyOver { .. } | Self::NotOver { .. } => None,
        }
    }
}

/// How the list of stacks below a floor may change between two openings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// Not at all.
    Fixed,
    /// One may be added at the end of a list of several.
    AtEnd,
    /// Neither more nor fewer, in whatever order.
    AnyOrder,
    /// One may be added anywhere in a list of several, and the order does not matter.
    Anywhere,
}

/// A plug-in without its type, for the registry.
pub(super) trait AnyPlugin: Debug + Send + Sync {
    fn kind(&self) -> &PluginKind;
    fn read(&self, options: &Value) -> std::result::Result<Arc<dyn AnyFloor>, Fault>;
}

/// A config without its type, for the plan.
pub(super) trait AnyFloor: Debug + Send + Sync {
    fn declare(&self, declared: &mut Declared) -> std::result::Result<Vec<String>, Fault>;
    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>>;
    fn shelf(&self, context: &OpenContext) -> Option<Arc<dyn Shelf>>;
}

/// The one adapter between the typed and the untyped side.
#[derive(Debug)]
pub(super) struct Erased<P> {
    kind: PluginKind,
    of: std::marker::PhantomData<fn() -> P>,
}

impl<P: Plugin> Erased<P> {
    pub(super) fn new() -> Self {
        Self {
            kind: P::KIND,
            of: std::marker::PhantomData,
        }
    }
}

impl<P: Plugin> AnyPlugin for Erased<P> {
    fn kind(&self) -> &PluginKind {
        &self.kind
    }

    fn read(&self, options: &Value) -> std::result::Result<Arc<dyn AnyFloor>, Fault> {
        let config = P::deserialize(options)?;
        Ok(Arc::new(config))
    }
}

impl<P: Plugin> AnyFloor for P {
    fn declare(&self, declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Plugin::declare(self, declared)
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        Plugin::open(self, context, below)
    }

    fn shelf(&self, context: &OpenContext) -> Option<Arc<dyn Shelf>> {
        Plugin::shelf(self, context)
    }
}
