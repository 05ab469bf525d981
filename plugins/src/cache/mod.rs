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
//! what is read.
//!
//! **One budget for a stack** (`pool.rs`). What its caches may take together is the sum of what each one
//! says, and it is never exceeded. Within it, what is wanted most stays, whichever cache it was asked
//! of: a cache that needs little leaves the rest to the others.
//!
//! **What a record is** decides how long it stays: one that has references leads to others, and begins
//! as if it had been wanted before; one without begins as what was seen once, and an absence too.
//! `scan` passes by, and so does a read made [in passing](travertine_engine::contract::env::in_passing):
//! it is answered from what is kept, keeps nothing, and says nothing about what is wanted. Cursors that
//! walk over many leaves read so.
//!
//! The topmost cache of a stack is also where its write-behind is tuned: `flush` says when the engine
//! sends its tail buffer: at so many bytes, at an age, and early while memory is short. It changes no
//! promise. Every commit sends the buffer whatever is said there; what waits in it is read as if it
//! had been sent; and where sending it fails, the commits that it belongs to fail, and writing ends.
//!
//! It refuses to be opened as numbered parts: a `sequence` goes below it, or what is kept of a part
//! would go whenever that part is closed. There is no tier on disk.

mod config;
mod flight;
mod frontier;
mod pool;
mod shared;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use travertine_engine::contract::{Result, Store};
use travertine_engine::stack::{
    Below, ByteSize, Declared, Fault, Floor, FlushRule, OpenContext, Plugin, PluginKind,
};

use pool::{Pool, RECORD_MAX};
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
        let longest = pool::longest(self.memory.0);
        let mut notes = Vec::new();
        if longest < RECORD_MAX {
            let longest = ByteSize(longest >> 10 << 10);
            notes.push(format!(
                "records over {longest} are kept only if other caches of the stack bring room"
            ));
        }
        Ok(notes)
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let below = Below::only(below)?.open()?;
        let pool = context.common(|top| Pool::new(memory_of_all(top)));
        let shared = Shared::new(below, &context.env, pool.share()?);
        Ok(Arc::new(CacheStore::new(shared, context.name.clone())))
    }
}

/// What all caches of a stack may take together: the sum of what each one says.
fn memory_of_all(top: &Floor) -> u64 {
    let caches = top.walk().map(|(_, floor)| floor);
    let settings = caches
        .filter(|floor| floor.kind().name == Cache::KIND.name)
        .flat_map(Floor::settings)
        .filter(|setting| setting.name == "memory");
    let sizes = settings.filter_map(|setting| setting.value.as_ref()?.as_text()?.parse().ok());
    sizes.fold(0, |sum: u64, ByteSize(size)| sum.saturating_add(size))
}
