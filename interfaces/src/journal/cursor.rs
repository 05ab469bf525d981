//! A cursor over a journaled map: one over the base, and a gap among the edits that lie over it.
//!
//! ```text
//!   base    a     c     e          the cursor of the index below, moved over its next entry already
//!   over       b  c̶  d             the next edit, looked for once and kept until it is passed
//!   shown   a  b     d  e
//! ```
//!
//! Who turns round moves the base back over the entry that was not used, so that both stand in the
//! same gap again. Where nothing lies over the base, its own cursor does all.

use std::sync::Arc;

use travertine_engine::contract::Result;

use super::overlay::Lay;
use super::tree::{Item, Place};
use super::view::Over;
use crate::edits::Edit;
use crate::index::{Cursor, Direction, Entry, Step};

/// A cursor over a [`JournalView`](super::JournalView).
#[derive(Debug)]
pub struct JournalCursor<C> {
    base: C,
    over: Option<Edge>,
    /// The direction in which the base has moved over an entry that is not used yet.
    held: Option<Direction>,
    shown: Shown,
}

/// A gap among the edits.
#[derive(Debug)]
struct Edge {
    over: Arc<Over>,
    gap: Gap,
    /// What was found next to the gap.
    next: Option<(Direction, Option<Found>)>,
}

/// An edit: the lay, and where in it.
#[derive(Debug, Clone, Copy)]
struct Found {
    lay: usize,
    item: Item,
}

#[derive(Debug)]
enum Gap {
    Before(Vec<u8>),
    Beside(Direction, Found),
    End,
}

#[derive(Debug, Clone, Copy)]
enum Shown {
    Nothing,
    Base,
    Edit(Found),
}

impl Edge {
    fn go(&mut self, gap: Gap) {
        self.gap = gap;
        self.next = None;
    }

    fn lay(&self, found: Found) -> Option<&Lay> {
        self.over.lays.get(found.lay)?.as_ref()
    }

    fn key(&self, found: Found) -> &[u8] {
        self.lay(found).map_or(&[], |lay| lay.key(found.item))
    }

    /// The edit next to the gap.
    fn next(&mut self, direction: Direction) -> Option<Found> {
        match self.next {
            Some((way, next)) if way == direction => next,
            _ => {
                let next = self.look(direction);
                self.next = Some((direction, next));
                next
            }
        }
    }

    fn look(&self, direction: Direction) -> Option<Found> {
        let place = match &self.gap {
            Gap::End if direction == Direction::Forward => return None,
            Gap::End => None,
            Gap::Before(key) => Some(Place::start(key)),
            // Behind the edit, or in front of it.
            Gap::Beside(Direction::Forward, passed) => Some(Place::end(self.key(*passed))),
            Gap::Beside(Direction::Back, passed) => Some(Place::start(self.key(*passed))),
        };
        let mut best: Option<Found> = None;
        for (lay, edits) in self.over.lays.iter().enumerate() {
            let Some(edits) = edits else {
                continue;
            };
            let item = match (direction, place) {
                (Direction::Forward, Some(place)) => edits.after(place),
                (Direction::Forward, None) => None,
                (Direction::Back, place) => edits.before(place),
            };
            let Some(found) = item.map(|item| Found { lay, item }) else {
                continue;
            };
            // Of equal keys the upper lay's counts.
            let nearer = best.is_none_or(|best| match direction {
                Direction::Forward => self.key(found) < self.key(best),
                Direction::Back => self.key(found) > self.key(best),
            });
            if nearer {
                best = Some(found);
            }
        }
        best
    }

    fn edit(&self, found: Found) -> Edit<'_> {
        self.lay(found)
            .map_or(Edit::Delete, |lay| lay.edit(found.item))
    }
}

impl<C: Cursor> JournalCursor<C> {
    pub(super) fn new(base: C, over: Option<Arc<Over>>) -> Self {
        Self {
            base,
            over: over.map(|over| Edge {
                over,
                gap: Gap::Before(Vec::new()),
                next: None,
            }),
            held: None,
            shown: Shown::Nothing,
        }
    }

    fn go(&mut self, gap: Gap) {
        self.held = None;
        self.shown = Shown::Nothing;
        if let Some(edge) = &mut self.over {
            edge.go(gap);
        }
    }
}

impl<C: Cursor> Cursor for JournalCursor<C> {
    fn seek(&mut self, key: &[u8]) {
        self.base.seek(key);
        self.go(Gap::Before(match self.over {
            Some(_) => key.to_vec(),
            None => Vec::new(),
        }));
    }

    fn seek_end(&mut self) {
        self.base.seek_end();
        self.go(Gap::End);
    }

    fn step(&mut self, direction: Direction) -> Result<Step> {
        let Some(edge) = &mut self.over else {
            return self.base.step(direction);
        };
        self.shown = Shown::Nothing;
        if let Some(held) = self.held.filter(|held| *held != direction) {
            let _ = held;
            if let Step::Wait(op) = self.base.step(direction)? {
                return Ok(Step::Wait(op));
            }
            self.held = None;
        }
        loop {
            if self.held.is_none() {
                match self.base.step(direction)? {
                    Step::Wait(op) => return Ok(Step::Wait(op)),
                    Step::Entry => self.held = Some(direction),
                    Step::End => {}
                }
            }
            let below = match self.held {
                Some(_) => self.base.entry().map(|entry| entry.key),
                None => None,
            };
            let Some(next) = edge.next(direction) else {
                self.held = None;
                return Ok(match below {
                    Some(_) => {
                        self.shown = Shown::Base;
                        Step::Entry
                    }
                    None => Step::End,
                });
            };
            let order = below.map(|below| match direction {
                Direction::Forward => below.cmp(edge.key(next)),
                Direction::Back => edge.key(next).cmp(below),
            });
            if order.is_some_and(std::cmp::Ordering::is_lt) {
                self.held = None;
                self.shown = Shown::Base;
                return Ok(Step::Entry);
            }
            if order.is_some_and(std::cmp::Ordering::is_eq) {
                self.held = None;
            }
            edge.go(Gap::Beside(direction, next));
            if edge.edit(next) != Edit::Delete {
                self.shown = Shown::Edit(next);
                return Ok(Step::Entry);
            }
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        let Some(edge) = &self.over else {
            return self.base.entry();
        };
        match self.shown {
            Shown::Nothing => None,
            Shown::Base => self.base.entry(),
            Shown::Edit(found) => match edge.edit(found) {
                Edit::Delete => None,
                Edit::Put(value) => Some(Entry {
                    key: edge.key(found),
                    value,
                }),
            },
        }
    }
}
