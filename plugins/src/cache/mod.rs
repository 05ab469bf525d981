//! `cache`: records that were read stay in memory, within a budget of bytes.
//!
//! ```text
//!   read ──> kept? ──yes──> ready, without an allocation
//!              │ no
//!              ├──> somebody asks below for it already: wait for that answer
//!              └──> ask below, once for all who come meanwhile ──> keep what is final ──> answer all
//! ```
//!
//! It promises never to answer otherwise than what lies below would. An address never means two
//! things, so a record once read stays right until its batch is made void or its range given back.
//! Hence three rules:
//!
//! - **Only what is final is kept** (`frontier.rs`). A record, from below what was durable when the
//!   stack was opened, or from anywhere once this opening has adopted: from then on every cut goes
//!   through here. An absence, only below the end of the stream as it was known before the question:
//!   there, nothing comes any more. Above the end the next store may fill the place. An error is
//!   unknown, and never kept.
//! - **A cut is heard.** What an adoption makes void and a reclaim gives back is forgotten before
//!   either is answered; a read that was under way meanwhile answers its callers and is not kept. A
//!   writer that learns that it was fenced forgets everything.
//! - **One read below for all who miss at once** (`flight.rs`), whoever of them gives up waiting.
//!
//! What is kept belongs to one opening of one store, so another store under the same path never meets
//! it. Records are copied to be kept: a small one does not hold the batch or the map that it was read
//! from, and the budget counts what is really there, the tables of the keeping included. Answers on
//! their way to callers are not counted, nor reads under way. Records are kept when they are read, not
//! when they are written: what was written last is readable in the engine, and a load would push out
//! what is read. A scan passes by.
//!
//! The topmost cache of a stack is also where its write-behind is tuned: `flush` says when the engine
//! sends its tail buffer. It changes no promise: a commit sends the buffer whatever is said there.
//!
//! It refuses to be opened as numbered parts, each of which would have the whole budget: a `sequence`
//! goes below it. There is no tier on disk in this version.

mod config;
mod flight;
mod frontier;
mod kept;
mod shared;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use travertine_engine::contract::{Result, Store};
use travertine_engine::stack::{
    Below, ByteSize, Declared, Fault, FlushRule, OpenContext, Plugin, PluginKind,
};

use kept::{Kept, RECORD_MAX};
use shared::Shared;
use store::CacheStore;

pub use config::Cache;

impl Plugin for Cache {
    const KIND: PluginKind = config::KIND;

    fn declare(&self, declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        let rule = FlushRule {
            bytes: self.flush.bytes.map(|size| size.0),
            age: self.flush.age.map(|age| age.0),
            pressure: self.flush.pressure,
        };
        declared.flush = (rule != FlushRule::default()).then_some(rule);
        let longest = kept::longest(self.memory.0);
        let mut notes = Vec::new();
        if longest < RECORD_MAX {
            let longest = ByteSize(longest >> 10 << 10);
            notes.push(format!("records over {longest} are not kept"));
        }
        Ok(notes)
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let below = Below::only(below)?.open()?;
        let shared = Shared::new(below, &context.env, Kept::new(self.memory.0));
        Ok(Arc::new(CacheStore::new(shared, context.name.clone())))
    }
}
