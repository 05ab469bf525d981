//! Which child is which: a rule from what lies in their directories, and nothing else.
//!
//! ```text
//!   list of the stack file    b   a   d   c        in any order
//!   cards                     1   0   -   2        next 3: nobody is missing
//!   d holds nothing           1   0   3   2        so it is new, and is given the next number
//! ```
//!
//! Invariant: a number is given out only while every child that has one is here. An empty directory
//! may else be what is left of the one that is missing.

use travertine_engine::contract::limits::STREAMS_MAX;
use travertine_engine::contract::{Error, ErrorKind, Result, Stream};

use super::card::Card;

/// What was seen of a child before it is opened.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Where it is, for people.
    pub(super) place: String,
    /// Its card, if it has one, or why that is not known.
    pub(super) card: Result<Option<Card>>,
}

impl Seen {
    /// Whether both saw the same card, or none.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        matches!((&self.card, &other.card), (Ok(one), Ok(other)) if one == other)
    }
}

/// Who is who.
#[derive(Debug)]
pub(super) struct Members {
    /// The store's identity, unless nobody has been given a number yet.
    pub(super) store: Option<[u8; 16]>,
    /// For each child of the list its stream; `None`: it does not take part.
    pub(super) streams: Vec<Option<Stream>>,
    /// Streams of children that are not here, each with the reason.
    pub(super) lost: Vec<(Stream, Error)>,
    /// No child has this number, nor any above it.
    pub(super) next: u16,
}

/// Tells who is who. To write, all must be here; to read, the one with the markers need be.
///
/// Errors: `Invalid` (children of two stores, one child twice, nothing to read), `Unavailable` (one is
/// lost, or cannot be looked at), `Corrupt` (a card is damaged).
pub(super) fn identify(seen: &[Seen], read_only: bool) -> Result<Members> {
    let mut known: Vec<(&Card, &str)> = Vec::new();
    for seen in seen {
        let card = match &seen.card {
            Ok(Some(card)) => card,
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(error.clone()),
            _ => continue,
        };
        if let Some((first, place)) = known.first()
            && first.store != card.store
        {
            return Err(Error::invalid(format!(
                "{} belongs to another store than {place}",
                seen.place
            )));
        }
        if let Some((_, place)) = known.iter().find(|(of, _)| of.stream == card.stream) {
            return Err(Error::invalid(format!(
                "{} and {place} both say that they hold stream {}: one is a copy of the other",
                seen.place, card.stream
            )));
        }
        known.push((card, &seen.place));
    }
    let store = known.first().map(|(card, _)| card.store);
    if store.is_none() && read_only {
        return Err(blocked(seen).unwrap_or_else(|| {
            Error::invalid("there is no partition here to read: no stack of the list has a number")
        }));
    }
    let mut next = known.iter().map(|(card, _)| card.next).max().unwrap_or(0);
    let is_here = |stream: u16| known.iter().any(|(card, _)| card.stream.0 == stream);
    let lost: Vec<_> = (0..next)
        .filter(|stream| !is_here(*stream))
        .map(|stream| (Stream(stream), why_lost(Stream(stream), seen)))
        .collect();
    let blocked = if lost.is_empty() { blocked(seen) } else { None };
    if let Some(error) = lost.first().map(|(_, error)| error.clone()).or(blocked)
        && !read_only
    {
        return Err(error);
    }
    let mut streams = Vec::new();
    for seen in seen {
        streams.push(match &seen.card {
            Ok(Some(card)) => Some(card.stream),
            // A reader needs nobody who holds nothing.
            _ if read_only => None,
            _ if usize::from(next) == STREAMS_MAX => {
                return Err(Error::invalid(format!(
                    "all {STREAMS_MAX} numbers of streams are given out"
                )));
            }
            _ => {
                next += 1;
                Some(Stream(next - 1))
            }
        });
    }
    Ok(Members {
        store,
        streams,
        lost,
        next,
    })
}

/// Why a child could not be looked at, if one could not.
fn blocked(seen: &[Seen]) -> Option<Error> {
    seen.iter().find_map(|seen| {
        let error = seen.card.as_ref().err()?;
        Some(error.clone().at(seen.place.clone()))
    })
}

fn why_lost(stream: Stream, seen: &[Seen]) -> Error {
    let mut text = format!("the stack that holds stream {stream} is lost; nothing was changed");
    for seen in seen {
        match &seen.card {
            Ok(Some(_)) => {}
            Ok(None) => {
                text += &format!(
                    "; {} has no number: it may be what is left of that one, or wait until it is back",
                    seen.place
                );
            }
            Err(error) => text += &format!("; {}: {error}", seen.place),
        }
    }
    Error::unavailable(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(store: u8, stream: u16, next: u16) -> Result<Option<Card>> {
        Ok(Some(Card {
            store: [store; 16],
            stream: Stream(stream),
            next,
        }))
    }

    fn identified(cards: &[Result<Option<Card>>], read_only: bool) -> Result<Members> {
        let seen: Vec<_> = (0..)
            .zip(cards)
            .map(|(number, card)| Seen {
                place: format!("place {number}"),
                card: card.clone(),
            })
            .collect();
        identify(&seen, read_only)
    }

    fn numbers(members: &Members) -> Vec<Option<u16>> {
        let streams = members.streams.iter();
        streams
            .map(|stream| stream.map(|stream| stream.0))
            .collect()
    }

    #[test]
    fn where_nobody_has_a_number_each_is_given_its_place_in_the_list() {
        let members = identified(&[Ok(None), Ok(None)], false).unwrap();
        assert_eq!(
            (numbers(&members), members.next),
            (vec![Some(0), Some(1)], 2)
        );
        let error = identified(&[Ok(None), Ok(None)], true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn the_order_of_the_list_changes_nothing_and_a_new_one_is_given_the_next_number() {
        let cards = [card(1, 1, 3), card(1, 0, 2), Ok(None), card(1, 2, 3)];
        let members = identified(&cards, false).unwrap();
        let expected = vec![Some(1), Some(0), Some(3), Some(2)];
        assert_eq!((numbers(&members), members.next), (expected, 4));
        let reading = identified(&cards, true).unwrap();
        assert_eq!(numbers(&reading), vec![Some(1), Some(0), None, Some(2)]);
        assert_eq!(reading.next, 3);
    }

    #[test]
    fn while_one_is_missing_no_number_is_given_out_and_the_others_can_be_read() {
        for other in [Ok(None), Err(Error::unavailable("no such device"))] {
            let cards = [card(1, 0, 2), other];
            let error = identified(&cards, false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("stream b1"), "{error}");
            let reading = identified(&cards, true).unwrap();
            assert_eq!(reading.lost.len(), 1);
            assert_eq!(numbers(&reading), vec![Some(0), None]);
        }
    }

    #[test]
    fn a_copy_and_a_child_of_another_store_are_named() {
        for (cards, word) in [
            ([card(1, 0, 2), card(1, 0, 2)], "copy"),
            ([card(1, 0, 2), card(2, 1, 2)], "another store"),
        ] {
            for read_only in [false, true] {
                let error = identified(&cards, read_only).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert!(error.to_string().contains(word), "{error}");
            }
        }
    }

    #[test]
    fn a_new_child_that_cannot_be_looked_at_hinders_the_writer_only() {
        let cards = [card(1, 0, 2), card(1, 1, 2), Err(Error::corrupt("torn"))];
        assert_eq!(
            identified(&cards, false).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        let reading = identified(&cards, true).unwrap();
        assert!(reading.lost.is_empty());
    }
}
