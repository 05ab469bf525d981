//! `partition`: records spread over several stacks, each with a stream of its own.
//!
//! ```text
//!   engine      places each record by the rule that `status` tells, markers in stream 0
//!   partition   stream ──> child; a commit asks all that were written to, side by side
//!   children    0: markers, records      1: records      2: records
//!               card: I am 0             card: I am 1    card: I am 2, there are 3
//! ```
//!
//! An address tells the stream, so a read asks one child and nobody else. A commit is one round: every
//! child that holds something new is asked at once, and the one that holds the marker with them. Should
//! the marker become durable and something it depends on not, its vector tells, and it never was.
//!
//! Each child keeps its number for good, on a card beside its bytes. So the list of the stack file may
//! be put in any order; a child that is new and empty is given the next number, its card first and the
//! news on all other cards then, before anything is stored; no number is given twice. Objects stay
//! where they are, and new ones spread over the new child as well.
//!
//! A child that is not there, or does not open, is lost. Then the partition opens for reading: what the
//! others hold is served, the lost one's objects are unknown, and nothing is cut anywhere. Writing
//! waits until it is back; so does reading if it is the one that holds the markers. An empty directory
//! is never taken for a new child while another one is missing. An old copy of a child is noticed when
//! a writer opens: every marker names where every stream ended. An old copy of the child that holds the
//! markers is noticed if any other child was written to since; each is, when a writer closes or pauses.
//!
//! It refuses children of two stores, and the same one twice. Children that keep nothing beyond the
//! process have the numbers of their places in the list.

mod card;
mod child;
mod config;
mod join;
mod members;
mod seats;
mod store;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use travertine_engine::contract::{Error, Extent, Level, Result, Store};
use travertine_engine::stack::{Below, Declared, Fault, OpenContext, Plugin, PluginKind};

use members::identify;
use seats::{Seats, give_up};
use store::{Parted, ROOT};

use crate::places::refuse_leftovers;

pub use config::Partition;

impl Plugin for Partition {
    const KIND: PluginKind = config::KIND;

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        self.bounds()?;
        Ok(vec![self.placing()])
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        if context.stream != ROOT || context.extent != Extent::Whole {
            return Err(Error::unsupported(
                "`partition` holds streams of its own, and was opened for one of another",
            ));
        }
        let bounds = self
            .bounds()
            .map_err(|fault| Error::invalid(fault.to_string()))?;
        refuse_leftovers(&below, Self::KIND.name)?;
        let seats = Seats::new(context, below);
        seats.check()?;
        let seen = seats.look();
        let members = identify(&seen, context.read_only && seats.persist())?;
        let (store, opened) = seats.open(&members)?;
        let signed = seats.sign(&members, &seen, store);
        signed.inspect_err(|_| give_up(&opened))?;
        // In the order of the list, so that the first size class is the first stack's.
        let here = members.streams.iter().flatten();
        let here = here.filter(|stream| opened[usize::from(stream.0)].is_ok());
        let placement = self.placement(&bounds, here.map(|stream| stream.0).collect());
        let levels = opened.iter().flatten().map(|child| child.level);
        Ok(Arc::new(Parted {
            name: context.name.clone(),
            identity: store,
            level: levels.min().unwrap_or(Level::Memory),
            placement,
            read_only: context.read_only,
            children: opened,
        }))
    }
}
