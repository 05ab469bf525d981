//! `sequence`: one stream that goes on in the next part when one is full.
//!
//! ```text
//!   positions   0 ........... a ............ b ............ c ..... end         ceiling
//!   parts       | 1, sealed   | 2, sealed    | 3, sealed    | 4, written to | 5, ready |
//!   open        |  when read  |  when read   |  when read   |   always      |  always  |
//! ```
//!
//! Each part is a store of its own over a run of positions of the same stream, so addresses do not
//! change when the stream rolls, and whole batches stay whole. The next part is made ahead, by a
//! driver; a roll itself syncs nothing. A commit brings the parts to disk oldest first, so what a part
//! knows to be durable means that everything before it is. Once the markers of a part that has ended
//! are proven, its footer is written and nothing ever looks through it again.
//!
//! After a crash the newest part may be torn or empty while the one before it has lost its tail: the
//! parts are joined as far as each follows on the one before (the rules stand in `join.rs`), and what
//! hangs in the air is void, unless it vouches for durable bytes: then that is damage, and nothing is
//! cut.
//!
//! Over one stack the parts are directories inside its own; over several each stack is one part, and
//! the catalogue lies in the place of each. Parts end by their length, by their age, or when there is
//! no room left; where there is nothing to go on in, `Full` is told before an address is given out.
//!
//! Space is given back part by part, each by itself: of one in which nothing is alive only small files
//! stay, which say so.
//!
//! It refuses to stand on another sequence, a list in another order or with a stack taken out, and to
//! write while a part that has no footer is not there: that part may be the newest, or hold what the
//! next was promised. A part that has one is settled for good, so what lies there is unknown while it
//! is missing, and everything else goes on, writing included. Reading goes on in either case, as long
//! as the newest part tells which commit is the newest.

mod catalogue;
mod config;
mod footer;
mod join;
mod parts;
mod reclaim;
mod recover;
mod roll;
mod shared;
mod state;
mod status;
mod store;
mod table;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use travertine_engine::contract::{Error, Extent, Level, Position, Result, Store};
use travertine_engine::medium::memory::MemoryMedium;
use travertine_engine::stack::{Below, Declared, Fault, OpenContext, Plugin, PluginKind};

use crate::places::{UNIT, lasts, refuse_leftovers};
use catalogue::{Catalogue, Shelf};
use parts::{Listed, Parts, Template};
use recover::Setup;

pub use config::Sequence;

impl Plugin for Sequence {
    const KIND: PluginKind = config::KIND;

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        let mut notes = vec![match &self.segment {
            Some(segment) => format!("a part that holds {segment} is followed by the next"),
            None => "over one stack parts hold 1 GiB; over several each is used until it is full"
                .to_owned(),
        }];
        if self.weights.is_some() {
            if self.segment.is_none() {
                return Err(Fault::of("weights", "`weights` without a `segment`")
                    .help("say `segment` as well: a part is so many times as long"));
            }
            notes.push("some parts are several times as long, as `weights` says".to_owned());
        }
        if let Some(age) = &self.age {
            notes.push(format!(
                "a part that has been written to for {age} is followed by the next"
            ));
        }
        Ok(notes)
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let level = below.iter().map(|below| below.floor().gives().level).min();
        let persists = below.iter().all(lasts);
        refuse_leftovers(&below, Self::KIND.name)?;
        let shelves = shelves(&below, persists)?;
        let listed = below.len() > 1;
        let segment = self.segment.map(|segment| segment.0);
        let limit = match listed {
            true => segment,
            false => Some(segment.unwrap_or(config::SEGMENT)),
        };
        let first = below.first().cloned();
        let parts: Arc<dyn Parts> = match <[Below; 1]>::try_from(below) {
            Ok([below]) => Arc::new(Template { below, persists }),
            Err(below) => Arc::new(Listed { below, persists }),
        };
        let fresh = || match first {
            // The first part is made before anything is written about it, so it may be there already.
            Some(first) if listed && persists => identity_of(&first),
            Some(_) => Ok(context.env.identity()),
            None => Err(Error::invalid("a sequence over nothing was opened")),
        };
        let catalogue = Catalogue::open(
            &context.env,
            shelves,
            context.identity,
            fresh,
            context.stream,
            context.read_only,
        )?;
        let opened = recover::open(Setup {
            env: context.env.clone(),
            stream: context.stream,
            name: context.name.clone(),
            read_only: context.read_only,
            limit,
            weights: self.weights.clone().unwrap_or_default(),
            age: self.age.map(|age| age.0),
            listed,
            level: level.unwrap_or(Level::Memory),
            open_max: self.open as usize,
            unit_min: if listed { UNIT } else { 8 },
            parts,
            catalogue,
        })?;
        Ok(Arc::new(store::Sequence(opened)))
    }
}

/// The identity of the store that the first stack of a list belongs to, which is made if need be.
fn identity_of(first: &Below) -> Result<[u8; 16]> {
    let extent = Extent::Part {
        near: Position::START,
        make: true,
    };
    let store = first.clone().extent(extent).open()?;
    let status = store.status();
    store.close().wait()?;
    status.identity_bytes()
}

/// Where the catalogue lies: over one stack, beside its parts; over several, in the place of each.
fn shelves(below: &[Below], persists: bool) -> Result<Vec<Shelf>> {
    if !persists {
        // What is gone with the process needs no catalogue that is not.
        return Ok(vec![Shelf {
            medium: Arc::new(MemoryMedium::new()),
            part: None,
        }]);
    }
    let several = below.len() > 1;
    let mut shelves = Vec::new();
    for (number, below) in (1..).zip(below) {
        let media = below.media(UNIT);
        if media.is_empty() {
            return Err(Error::unsupported(format!(
                "`sequence` keeps a catalogue of its parts in a directory, and `{}` has none",
                below.floor().title()
            )));
        }
        let part = several.then_some(number);
        shelves.extend(media.into_iter().map(|medium| Shelf { medium, part }));
    }
    Ok(shelves)
}
