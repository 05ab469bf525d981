//! `cluster`: every batch on several stacks.
//!
//! ```text
//!              engine                     one writer, one line of batches
//!                 |
//!   store ─ commit ─ read                 answered when `ack` children have it
//!        /        |        \
//!   lane 1     lane 2     lane 3          a queue each: who stalls holds up nobody else
//!     |           |          |
//!   child       child      child          a log each, and a note of what it belongs to
//! ```
//!
//! A child that fails leaves the line, is opened again, brought what it lacks, batch by batch, while the
//! others serve, and comes back. A takeover asks so many children that one of them has whatever was
//! acknowledged (`quorum.rs`), makes one report of theirs (`join.rs`) and brings the chosen end to
//! enough of them before anything is served (`takeover.rs`).
//!
//! What is noticed: a child of another store, a wiped one, a copy, a tail that left the line, and a child
//! put back to a state older than its last clean close, or than what it reported at the last takeover.
//! What is not: a child put back to a newer state than that, if those that know better cannot be asked
//! either; that is two faults.
//!
//! A store or a commit waits for nobody but those who make up its quorum. Where too few children are left
//! for one, it waits as long as `wait` says for others to come back, which are asked it as well; what it
//! begins with lies in memory until then. Closing and a takeover wait for every child as long as it gets
//! on; one that does nothing for ten seconds is left out (`waiting.rs`).
//! Only opening, which has nobody to go on with yet, waits for every directory.
//!
//! Space is given back on each child by itself (`reclaim.rs`), never above what one that is away has.
//!
//! A damaged record is read from another child; no verb of the contract can write it again in its
//! place. So a child with damage is named, and made whole by clearing its directory and replacing it.
//! Nothing comes back by itself with nothing in it: an empty child knows nothing of what it
//! acknowledged, and would vote as if there had been nothing.

#[macro_use]
mod planted;

mod catchup;
mod child;
mod config;
mod join;
mod note;
mod open;
mod quorum;
mod read;
mod reclaim;
mod shared;
mod slot;
mod state;
mod store;
mod takeover;
mod waiting;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use travertine_engine::contract::{Result, Store};
use travertine_engine::stack::{
    Below, Declared, Fault, LevelRule, OpenContext, Plugin, PluginKind,
};

pub use config::Cluster;
use config::Reading;

impl Plugin for Cluster {
    const KIND: PluginKind = config::KIND;

    fn declare(&self, declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        if let (Some(ack), Some(write)) = (self.ack, self.write)
            && ack > write
        {
            let message = format!("`ack = {ack}` children cannot have what {write} are written to");
            return Err(Fault::of("ack", message).help("take an `ack` that is not above `write`"));
        }
        let verify = match self.read {
            Reading::Verify => self.verify,
            _ => 1,
        };
        let copies = self.ack.into_iter().chain(self.write).chain([2, verify]);
        let least = copies.chain(self.replace).max().unwrap_or(2);
        declared.level = LevelRule::Copies { least: least as u8 };
        let count =
            |said: Option<usize>, unsaid: &str| said.map_or(unsaid.to_owned(), |n| n.to_string());
        let mut notes = vec![format!(
            "acknowledged by {}, written while {} are in line",
            count(self.ack, "a majority"),
            count(self.write.or(self.ack), "a majority")
        )];
        notes.push(match self.read {
            Reading::Nearest => {
                "a read asks the first child of the list that is in line".to_owned()
            }
            Reading::Hedged => "a read that has to wait asks a second child".to_owned(),
            Reading::Verify => format!("a read is what {} children agree on", self.verify),
        });
        Ok(notes)
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(store::Cluster(open::open(self, context, below)?)))
    }
}
