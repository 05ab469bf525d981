//! The stack: kinds of floors, a stack as data, its legality, and the opened stack.
//!
//! ```text
//!   Value  ──read──> Spec ──plan, with a Registry──> Plan ──open, with an Env──> Stack
//!   (spans)          layers, sub-stacks              every option typed,         an open Store
//!                                                    every rule checked          that prints itself
//! ```
//!
//! It promises that [`Plan::new`] is the only judge: what checks a stack and what opens one run the
//! same code, and planning touches no device. Every fault of a spec is told at once, each with the
//! place in the text that it came from.
//!
//! It refuses to know any file format (a [`Value`] may come from TOML, JSON or code) and any plug-in
//! by name: kinds are told apart by what they declare.
//!
//! Invariant: a floor is opened by the floor above it, through [`Below`]. So whoever sits above may
//! open what lies below it once, several times as numbered parts, or with a probe at every boundary.

mod again;
mod below;
mod change;
mod fault;
mod fingerprint;
mod guarantee;
mod legality;
mod matrix;
mod opened;
mod options;
mod plan;
mod plugin;
mod registry;
mod secret;
mod shelf;
mod spec;
mod traced;
mod tree;
mod units;
mod value;

#[cfg(test)]
mod tests;

pub use below::{Below, Media, OpenContext, Probe};
pub use change::{Change, Verdict};
pub use fault::{Fault, SpecError};
pub use fingerprint::Fingerprint;
pub use guarantee::{Gives, LevelRule, Properties, Property};
pub use matrix::{Cell, Matrix};
pub use opened::Stack;
pub use options::{OptionRow, OptionType, Preset, Setting};
pub use plan::{Floor, Opening, Plan};
pub use plugin::{Arity, Declared, FlushRule, Growth, Offence, Plugin, PluginKind, TreeRule};
pub use registry::Registry;
pub use secret::{SECRET_MAX, Secret};
pub use shelf::{Beside, Shelf};
pub use spec::{DEPTH_MAX, LAYERS_MAX, Layer, Over, Spec, SubStack};
pub use traced::CALLS;
pub use units::{ByteSize, Time, level_from_text};
pub use value::{Data, Entry, SourceId, Span, Spanned, Table, Value};
