//! Which parts there are, by the names of a few small files.
//!
//! ```text
//!   sequence                      whose this is: written once
//!   begun-000004                  part 4 exists; whether it holds something is told by itself
//!   sealed-000003-00000000a800    part 3 begins at that position and has ended: its footer
//! ```
//!
//! One listing tells every part and, of those that have ended, where they begin. Invariant: a part is
//! entered, durably, after it was made and before it holds a batch; a footer is written after every
//! byte of its part is durable.
//!
//! The catalogue lies on every medium it is given, and is read as the union of what they hold: over a
//! list of stacks the loss of one does not lose what is known of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use travertine_engine::contract::{Env, Error, ErrorKind, Position, Result, Stream};
use travertine_engine::medium::{Medium, read_small, replace_small};

use super::footer::{Card, Footer};

const CARD: &str = "sequence";

/// A place for a copy of the catalogue.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub(super) medium: Arc<dyn Medium>,
    /// The place belongs to this part, and nothing is written there before the part exists. `None`:
    /// it belongs to the sequence.
    pub(super) part: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Catalogue {
    env: Env,
    shelves: Vec<Shelf>,
    store: [u8; 16],
    stream: Stream,
    made: u64,
}

/// What a listing tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Listing {
    /// Parts that have not ended.
    pub(super) begun: BTreeSet<u32>,
    /// Parts that have, and where they begin.
    pub(super) sealed: BTreeMap<u32, Position>,
}

impl Catalogue {
    /// Opens the catalogue on these shelves. One that is not there yet is made, unless `read_only`.
    ///
    /// Errors: `Invalid` (somebody else's directory, another store or stream, shelves in another order
    /// than before, or nothing to read).
    pub(super) fn open(
        env: &Env,
        shelves: Vec<Shelf>,
        wanted: Option<[u8; 16]>,
        fresh: impl FnOnce() -> Result<[u8; 16]>,
        stream: Stream,
        read_only: bool,
    ) -> Result<Self> {
        let mut found: Option<Card> = None;
        let mut last_error = None;
        for shelf in &shelves {
            match read_card(shelf) {
                Ok(Some(card)) => {
                    check_place(shelf, &card)?;
                    if found.is_some_and(|found| found.store != card.store) {
                        return Err(Error::invalid(format!(
                            "{} belongs to another store than the places before it",
                            shelf.medium.place()
                        )));
                    }
                    let made = found.map_or(card.made, |found| found.made.min(card.made));
                    found = Some(Card { made, ..card });
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                Err(error) => last_error = Some(error),
            }
        }
        let card = match (found, last_error) {
            (Some(card), _) => card,
            (None, Some(error)) => return Err(error),
            (None, None) if read_only => {
                return Err(Error::invalid("there is no sequence here to read"));
            }
            (None, None) => Card {
                store: wanted.map_or_else(fresh, Ok)?,
                stream,
                part: 0,
                made: env.clock.unix_us(),
            },
        };
        if card.stream != stream {
            return Err(Error::invalid(format!(
                "this sequence holds stream {}, the stack wants {stream} here",
                card.stream
            )));
        }
        if wanted.is_some_and(|wanted| wanted != card.store) {
            return Err(Error::invalid("this sequence belongs to another store"));
        }
        let catalogue = Self {
            env: env.clone(),
            shelves,
            store: card.store,
            stream,
            made: card.made,
        };
        if !read_only {
            catalogue.take()?;
        }
        Ok(catalogue)
    }

    /// Takes the lock of every place that belongs to the sequence, and signs it.
    fn take(&self) -> Result<()> {
        let own = self.shelves.iter().filter(|shelf| shelf.part.is_none());
        for (taken, shelf) in own.enumerate() {
            let signed = shelf.medium.lock().and_then(|()| self.write_card(shelf));
            if let Err(error) = signed {
                for shelf in &self.shelves[..taken] {
                    shelf.medium.unlock();
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives the locks back.
    pub(super) fn release(&self) {
        for shelf in self.shelves.iter().filter(|shelf| shelf.part.is_none()) {
            shelf.medium.unlock();
        }
    }

    pub(super) fn store(&self) -> [u8; 16] {
        self.store
    }

    /// When the sequence was made, in microseconds since 1970.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// The time, in microseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.env.clock.unix_us()
    }

    fn card(&self, part: u32) -> Card {
        Card {
            store: self.store,
            stream: self.stream,
            part,
            made: self.now(),
        }
    }

    /// Every part there is.
    pub(super) fn list(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        let mut failed = None;
        for shelf in &self.shelves {
            match shelf.medium.list() {
                Ok(names) => {
                    for name in names {
                        match parse(&name) {
                            Some((part, None)) => {
                                listing.begun.insert(part);
                            }
                            Some((part, Some(start))) => {
                                listing.sealed.insert(part, start);
                            }
                            None => {}
                        }
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        // A shelf that cannot be read is no loss as long as another can: each holds everything.
        if let Some(error) = failed.filter(|_| listing == Listing::default()) {
            return Err(error);
        }
        let Listing { begun, sealed } = &mut listing;
        begun.retain(|part| !sealed.contains_key(part));
        Ok(listing)
    }

    /// Enters a part that was just made.
    pub(super) fn enter(&self, part: u32) -> Result<()> {
        let its = |shelf: &&Shelf| shelf.part == Some(part);
        for shelf in self.shelves.iter().filter(its) {
            self.bring_up(shelf)?;
        }
        self.write(&begun_name(part), &self.card(part).encode())
    }

    /// Writes the footer of a part that has ended.
    pub(super) fn seal(&self, footer: &Footer) -> Result<()> {
        let name = sealed_name(footer.part, footer.start.position);
        self.write(&name, &footer.encode(&self.store, self.stream))?;
        for shelf in self.written() {
            // The footer counts, whether or not the other name is there.
            let _ = shelf.medium.remove(&begun_name(footer.part));
        }
        Ok(())
    }

    /// The footer of a part.
    pub(super) fn footer(&self, part: u32, start: Position) -> Result<Footer> {
        let name = sealed_name(part, start);
        let mut answer = Err(Error::unavailable(format!("there is no {name}")));
        for shelf in &self.shelves {
            let read = read_small(&*shelf.medium, &name)
                .and_then(|bytes| Footer::decode(&bytes, &self.store, self.stream))
                .map_err(|error| error.at(format!("{name} in {}", shelf.medium.place())));
            match read {
                Ok(footer) if footer.part == part && footer.start.position == start => {
                    return Ok(footer);
                }
                Ok(_) => {
                    answer = Err(Error::corrupt(format!("{name} is of another part")));
                }
                Err(error) => answer = Err(error),
            }
        }
        answer
    }

    /// Shelves that may be written to: places of parts that do not exist are not.
    fn written(&self) -> impl Iterator<Item = &Shelf> {
        let has_card =
            |shelf: &&Shelf| shelf.part.is_none() || matches!(read_card(shelf), Ok(Some(_)));
        self.shelves.iter().filter(has_card)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut done = 0;
        for shelf in self.written() {
            match replace_small(&*shelf.medium, name, bytes) {
                Ok(()) => done += 1,
                // The place of a part may be gone; the others keep the catalogue.
                Err(error) if shelf.part.is_some() => {
                    tracing::warn!(%error, name, "a copy of the catalogue was not written");
                }
                Err(error) => return Err(error),
            }
        }
        if done == 0 {
            return Err(Error::unavailable(format!("no place to write {name} to")));
        }
        Ok(())
    }

    fn write_card(&self, shelf: &Shelf) -> Result<()> {
        if matches!(read_card(shelf), Ok(Some(_))) {
            return Ok(());
        }
        let card = self.card(shelf.part.unwrap_or_default());
        replace_small(&*shelf.medium, CARD, &card.encode())
    }

    /// Copies everything to the place of a part that was just made.
    fn bring_up(&self, shelf: &Shelf) -> Result<()> {
        let listing = self.list()?;
        for part in listing.begun {
            let card = self.card(part);
            replace_small(&*shelf.medium, &begun_name(part), &card.encode())?;
        }
        for (part, start) in listing.sealed {
            match self.footer(part, start) {
                Ok(footer) => {
                    let bytes = footer.encode(&self.store, self.stream);
                    replace_small(&*shelf.medium, &sealed_name(part, start), &bytes)?;
                }
                Err(error) => tracing::warn!(%error, part, "a footer cannot be copied"),
            }
        }
        self.write_card(shelf)
    }
}

/// The card of a shelf; `None` where there is none. A directory that holds something else is refused.
fn read_card(shelf: &Shelf) -> Result<Option<Card>> {
    let names = shelf.medium.list()?;
    if names.iter().any(|name| name == CARD) {
        let bytes = read_small(&*shelf.medium, CARD)?;
        let card = Card::decode(&bytes).map_err(|error| error.at(shelf.medium.place()))?;
        return Ok(Some(card));
    }
    let place = shelf.medium.place();
    match (
        names.iter().find(|name| !may_be_ours(shelf, name)),
        shelf.part,
    ) {
        (None, _) => Ok(None),
        (Some(name), None) => Err(Error::invalid(format!(
            "{place} holds {name:?} and no sequence: give the sequence a directory of its own, or \
             take the `sequence` layer out to open what lies there"
        ))),
        (Some(name), Some(part)) => Err(Error::invalid(format!(
            "{place} holds {name:?} and is not part {part} of this sequence: give each stack of the \
             list a directory of its own"
        ))),
    }
}

/// Whether a name may lie where there is no card yet: what was being made when somebody died.
fn may_be_ours(shelf: &Shelf, name: &str) -> bool {
    let settled = name.strip_suffix(".new").unwrap_or(name);
    let own = settled == CARD || parse(settled).is_some();
    // A part's log is made before its card is written; nothing is stored in it until then.
    let log = ["identity", "writer", "spare", "reserve"].contains(&settled);
    name == "lock" || own || (shelf.part.is_some() && log)
}

/// Checks that a card lies where it was written.
fn check_place(shelf: &Shelf, card: &Card) -> Result<()> {
    let place = shelf.medium.place();
    match (card.part, shelf.part) {
        (written, here) if written == here.unwrap_or_default() => Ok(()),
        (0, _) => Err(Error::invalid(format!(
            "{place} holds all parts of a sequence over one stack, and here it stands in a list; \
             nothing was changed"
        ))),
        (written, None) => Err(Error::invalid(format!(
            "{place} holds part {written} of a sequence over a list, and here it stands alone; \
             nothing was changed"
        ))),
        (written, Some(here)) => Err(Error::invalid(format!(
            "{place} holds part {written} of the sequence and stands in place {here} of the list: \
             put the list back in its order (only behind the last may one be added); nothing was \
             changed"
        ))),
    }
}

fn begun_name(part: u32) -> String {
    format!("begun-{part:06}")
}

fn sealed_name(part: u32, start: Position) -> String {
    format!("sealed-{part:06}-{:012x}", start.0)
}

/// The part that a name stands for, and where it begins if it has ended.
fn parse(name: &str) -> Option<(u32, Option<Position>)> {
    let number = |digits: &str| {
        let plain = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    if let Some(digits) = name.strip_prefix("begun-") {
        return Some((number(digits)?, None));
    }
    let (digits, start) = name.strip_prefix("sealed-")?.split_once('-')?;
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let start = (start.len() == 12 && start.bytes().all(hex))
        .then(|| u64::from_str_radix(start, 16).ok())??;
    Some((number(digits)?, Some(Position(start))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_parts() {
        assert_eq!(parse(&begun_name(12)), Some((12, None)));
        let start = Position(0xa800);
        assert_eq!(parse(&sealed_name(3, start)), Some((3, Some(start))));
        for name in [
            "begun-1",
            "begun-00000a",
            "begun-000001.new",
            "sealed-000003",
            "sealed-000003-00000000A800",
            "sealed-000003-+0000000a800",
            "part-000001",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
