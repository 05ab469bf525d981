//! What was found damaged: the first places, and how many there are.

use std::fmt::Display;

use serde::Serialize;

use super::super::{Failure, Terminal};

/// Most places that are kept; further ones are only counted.
const PLACES_MAX: usize = 100;

/// Damage.
#[derive(Debug, Default, Clone, Serialize)]
pub(in super::super) struct Findings {
    pub(in super::super) damaged: u64,
    places: Vec<Place>,
}

#[derive(Debug, Clone, Serialize)]
struct Place {
    place: String,
    what: String,
}

impl Findings {
    /// Notes damage, once: several looks at one place find the same.
    pub(in super::super) fn add(&mut self, place: impl Display, what: impl Display) {
        let (place, what) = (place.to_string(), what.to_string());
        let same = |known: &&mut Place| {
            known.place == place && (what.starts_with(&known.what) || known.what.starts_with(&what))
        };
        if let Some(known) = self.places.iter_mut().find(same) {
            // One of them may know the file.
            if known.what.len() < what.len() {
                known.what = what;
            }
            return;
        }
        self.damaged += 1;
        if self.places.len() < PLACES_MAX {
            self.places.push(Place { place, what });
        }
    }

    pub(in super::super) fn tell(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        for Place { place, what } in &self.places {
            terminal.say(format_args!("DAMAGED     {place}: {what}"))?;
        }
        let more = self.damaged - self.places.len() as u64;
        if more > 0 {
            terminal.say(format_args!("DAMAGED     and {more} more"))?;
        }
        match self.damaged {
            0 => terminal.say("all is well"),
            _ => Ok(()),
        }
    }
}
