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
//! It refuses to stand on another sequence, and to go on where its catalogue names a part that is not
//! there. A part missing in the middle is unknown for its own range only.

mod catalogue;
mod config;
mod footer;
mod join;
mod parts;
mod recover;
mod roll;
mod shared;
mod state;
mod store;
mod table;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use travertine_engine::contract::{Error, Result, Store};
use travertine_engine::medium::memory::MemoryMedium;
use travertine_engine::stack::{Below, Declared, Fault, OpenContext, Plugin, PluginKind, Property};

use catalogue::{Catalogue, Shelf};
use parts::{Listed, Parts, Template};
use recover::Setup;

pub use config::Sequence;

/// Bytes that may be torn together where a medium does not know better.
const UNIT: u64 = 4096;

impl Plugin for Sequence {
    const KIND: PluginKind = config::KIND;

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Ok(vec![match &self.segment {
            Some(segment) => format!("a part that holds {segment} is followed by the next"),
            None => "over one stack parts hold 1 GiB; over several each is used until it is full"
                .to_owned(),
        }])
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let segment = self.segment.map(|segment| segment.0);
        let persists = below
            .iter()
            .all(|below| below.floor().gives().properties.has(Property::Persists));
        let shelves = shelves(&below, persists)?;
        let several = below.len() > 1;
        let (parts, limit): (Arc<dyn Parts>, _) = match <[Below; 1]>::try_from(below) {
            Ok([below]) => (
                Arc::new(Template { below, persists }),
                Some(segment.unwrap_or(config::SEGMENT)),
            ),
            Err(below) if below.is_empty() => {
                return Err(Error::invalid("a sequence over nothing was opened"));
            }
            Err(below) => (Arc::new(Listed { below, persists }), segment),
        };
        let catalogue = Catalogue::open(
            shelves,
            context.identity,
            || context.env.identity(),
            context.stream,
            context.read_only,
        )?;
        let opened = recover::open(Setup {
            env: context.env.clone(),
            stream: context.stream,
            name: context.name.clone(),
            read_only: context.read_only,
            limit,
            open_max: self.open as usize,
            unit_min: if several { UNIT } else { 8 },
            parts,
            catalogue,
        })?;
        Ok(Arc::new(store::Sequence(opened)))
    }
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
