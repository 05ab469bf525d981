//! `fault`: errors by seed, for tests.
//!
//! ```text
//!   call ── spared (the first `after`)? ── fails? ──no──> below ──> the answer
//!                                            │
//!               a question: not asked below <┤
//!               a change: not carried out  <─┤ one or the other, by chance, and the
//!                         or carried out   <─┘ error does not say which
//! ```
//!
//! So large a share of the calls of a verb fails as its option says, and every answer stays one that a
//! real floor could give: a question is *unknown* or *damaged*, never absent; a batch that finds no
//! room was not taken; a change that failed did happen or did not. After a failed write this floor
//! refuses to write until it is opened again, as a log does that cannot know what its device kept;
//! with `poison = false` it goes on, as a network does that lost one answer.
//!
//! It refuses nothing else. Its status tells how many calls were failed, by all such floors of the
//! opened stack together, so that a test can ask whether an error has its explanation here.

mod config;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use travertine_engine::contract::{Result, Store};
use travertine_engine::stack::{self, Below, Declared, OpenContext, Plugin, PluginKind};

use store::FaultStore;

pub use config::Fault;

/// Calls that were failed in one opened stack.
#[derive(Debug, Default)]
struct Failed(AtomicU64);

impl Plugin for Fault {
    const KIND: PluginKind = config::KIND;

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, stack::Fault> {
        Ok(Vec::new())
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let below = Below::only(below)?.open()?;
        let failed = context.common(|_| Failed::default());
        Ok(Arc::new(FaultStore::new(self, context, below, failed)))
    }
}
