//! The stacks of the list, each with the places where its bytes and its card lie: what is seen of them
//! before they are opened, how they are opened, and how a new one is given its number.

use std::sync::Arc;

use travertine_engine::contract::{Error, ErrorKind, Result, Stream};
use travertine_engine::stack::{Below, OpenContext, Shelf};

use super::card::{self, Card};
use super::child::Child;
use super::members::{Members, Seen};
use super::store::ROOT;
use crate::places::lasts;

/// All stacks of the list, none of them open.
pub(super) struct Seats<'a> {
    seats: Vec<Seat>,
    /// Whether what they hold outlives the process.
    persist: bool,
    context: &'a OpenContext,
}

impl<'a> Seats<'a> {
    pub(super) fn new(context: &'a OpenContext, below: Vec<Below>) -> Self {
        Self {
            persist: below.iter().all(lasts),
            seats: below.into_iter().map(Seat::new).collect(),
            context,
        }
    }

    /// Whether what they hold outlives the process.
    pub(super) fn persist(&self) -> bool {
        self.persist
    }

    /// Refuses what no card can be kept for.
    pub(super) fn check(&self) -> Result<()> {
        for seat in &self.seats {
            if self.persist && seat.shelves.is_empty() {
                return Err(Error::unsupported(format!(
                    "`partition` keeps the number of each stack in a directory of it, and {} has none",
                    seat.place
                )));
            }
        }
        Ok(())
    }

    pub(super) fn look(&self) -> Vec<Seen> {
        let seen = |seat: &Seat| Seen {
            place: seat.place.clone(),
            card: match self.persist {
                true => seat.card(),
                false => Ok(None),
            },
        };
        self.seats.iter().map(seen).collect()
    }

    /// Opens every child that is there, by stream, and tells the store's identity.
    pub(super) fn open(&self, members: &Members) -> Result<([u8; 16], Vec<Result<Child>>)> {
        let mut store = members.store.or(self.context.identity);
        if let (Some(wanted), Some(found)) = (self.context.identity, members.store)
            && wanted != found
        {
            return Err(Error::invalid("this partition belongs to another store"));
        }
        let lost = |stream: Stream| {
            let mut lost = members.lost.iter();
            lost.find(|(of, _)| *of == stream)
                .map(|(_, why)| why.clone())
        };
        let mut opened: Vec<Result<Child>> = Vec::new();
        for stream in (0..members.next).map(Stream) {
            let mut seats = self.seats.iter().zip(&members.streams);
            let seat = seats.find(|(_, of)| **of == Some(stream));
            let child = match (seat, lost(stream)) {
                (Some((seat, _)), _) => self.open_one(seat, stream, &mut store),
                (None, Some(why)) => Err(why),
                (None, None) => Err(Error::unavailable(format!("stream {stream} is lost"))),
            };
            let child = match child {
                // What stands in the way of one child only leaves the others to a reader.
                Err(error) if stream == ROOT || !self.may_lack(&error) => {
                    give_up(&opened);
                    return Err(error);
                }
                child => child,
            };
            opened.push(child);
        }
        match store {
            Some(store) => Ok((store, opened)),
            None => Err(Error::invalid("a partition over nothing was opened")),
        }
    }

    /// Whether a child may be left out for this error. A wrong config is never passed over.
    fn may_lack(&self, error: &Error) -> bool {
        self.context.read_only && error.kind() != ErrorKind::Invalid
    }

    fn open_one(&self, seat: &Seat, stream: Stream, store: &mut Option<[u8; 16]>) -> Result<Child> {
        let mut below = seat.below.clone().stream(stream);
        if let Some(store) = store {
            below = below.identity(*store);
        }
        let child = below.open().map_err(|error| {
            let text = format!("stream {stream} cannot be opened: {}", error.message());
            let trail = error.trail().iter();
            let told = Error::new(error.kind(), text).caused_by(error.clone());
            trail.fold(told, |told, place| told.at(place.clone()))
        })?;
        if store.is_none() {
            // The first child is the first to be made: the store is what it says.
            *store = Some(child.status().identity_bytes()?);
        }
        Ok(Child::new(stream, child))
    }

    /// Gives each child its card: first those that have none, then, with the news of them, the others.
    /// All are open, so nobody else does. A reader writes nothing, and what does not last needs none.
    pub(super) fn sign(&self, members: &Members, seen: &[Seen], store: [u8; 16]) -> Result<()> {
        if self.context.read_only || !self.persist {
            return Ok(());
        }
        let now = self.look();
        if !now.iter().zip(seen).all(|(now, seen)| now.is_as(seen)) {
            return Err(Error::unavailable(
                "somebody else has opened this partition since this began; open it again",
            ));
        }
        let seats = || self.seats.iter().zip(&members.streams).zip(seen);
        let is_new = |seen: &Seen| !matches!(seen.card, Ok(Some(_)));
        let card = |stream: Stream, next| Card {
            store,
            stream,
            next,
        };
        // Each by itself: what is told of one that did not come to have its card would be a loss.
        for ((seat, stream), _) in seats().filter(|(_, seen)| is_new(seen)) {
            if let Some(stream) = *stream {
                seat.sign(&card(stream, stream.0 + 1))?;
            }
        }
        for ((seat, stream), _) in seats() {
            if let Some(stream) = *stream {
                seat.sign(&card(stream, members.next))?;
            }
        }
        Ok(())
    }
}

/// Closes what was opened for nothing.
pub(super) fn give_up(opened: &[Result<Child>]) {
    for child in opened.iter().flatten() {
        if let Err(error) = child.store.close().wait() {
            tracing::warn!(%error, stream = %child.stream, "a child was not closed");
        }
    }
}

/// A stack of the list.
struct Seat {
    below: Below,
    /// Where its bytes rest, and its card with them.
    shelves: Vec<Arc<dyn Shelf>>,
    place: String,
}

impl Seat {
    fn new(below: Below) -> Self {
        let shelves = below.shelves();
        let place = match shelves.first() {
            Some(shelf) => shelf.place(),
            None => format!("`{}`", below.floor().title()),
        };
        Self {
            below,
            shelves,
            place,
        }
    }

    /// The card of this child. All its places must agree; one that cannot be read is no loss where
    /// another can.
    fn card(&self) -> Result<Option<Card>> {
        let mut found: Option<Card> = None;
        let mut failed = None;
        for shelf in &self.shelves {
            match card_in(&**shelf) {
                Ok(Some(card)) => {
                    if let Some(found) = &found
                        && (found.store, found.stream) != (card.store, card.stream)
                    {
                        return Err(Error::invalid(format!(
                            "{} belongs to another stack of the list than the places beside it",
                            shelf.place()
                        )));
                    }
                    let next = found.map_or(card.next, |found| found.next.max(card.next));
                    found = Some(Card { next, ..card });
                }
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        match (found, failed) {
            (Some(card), _) => Ok(Some(card)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// Leaves the card in every place where something of the child lies: one that is empty yet is not
    /// ours to begin. One place at least must take it.
    fn sign(&self, card: &Card) -> Result<()> {
        let mut signed = Err(Error::unavailable(format!(
            "nothing lies in {}",
            self.place
        )));
        for shelf in &self.shelves {
            match sign_in(&**shelf, card) {
                Ok(true) => signed = Ok(()),
                Ok(false) => {}
                Err(error) => signed = signed.map_err(|_| error.at(shelf.place())),
            }
        }
        signed
    }
}

/// Leaves the card in one place. `false`: the place is empty.
fn sign_in(shelf: &dyn Shelf, card: &Card) -> Result<bool> {
    if shelf.is_bare()? {
        return Ok(false);
    }
    let (before, now) = (shelf.read(card::NAME)?, card.encode());
    if before.as_deref() == Some(&now[..]) {
        return Ok(true);
    }
    let signed = shelf.replace(card::NAME, before.as_deref(), &now);
    signed.map(|()| true)
}

/// The card in one place.
fn card_in(shelf: &dyn Shelf) -> Result<Option<Card>> {
    let text = shelf.read(card::NAME)?;
    text.map(|text| Card::decode(&text)).transpose()
}
