//! What differs between two maps, key by key.
//!
//! ```text
//!   old   a=1  b=2        d=4          (a alike)   b: 2 -> nothing   c: nothing -> 3   d: 4 -> 5
//!   new   a=1       c=3   d=5
//! ```
//!
//! [`Merge`] walks both maps whole, and serves every index; an index whose maps share records passes
//! over what they share ([`View::diff`](crate::index::View::diff)).

use std::cmp::Ordering;
use std::fmt::Debug;

use travertine_engine::contract::Result;

use crate::index::{Cursor, Direction, Entry, Step, Value};

/// A key at which two maps differ. Long values are told apart by where they lie: one that was stored
/// anew differs, whatever its bytes, unless the index has digests of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Differs<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value in the old map, if it has one.
    pub old: Option<Value<'a>>,
    /// Its value in the new map, if it has one.
    pub new: Option<Value<'a>>,
}

/// The keys at which two maps differ, in order.
pub trait Diff: Send + Debug {
    /// Goes to the next key. After [`Step::Wait`] or an error, call again.
    fn step(&mut self) -> Result<Step>;

    /// The key that the last step came to.
    fn differs(&self) -> Option<Differs<'_>>;

    /// Goes to the next key and shows it; blocks where a record must be fetched.
    fn next(&mut self) -> Result<Option<Differs<'_>>> {
        loop {
            match self.step()? {
                Step::Entry => return Ok(self.differs()),
                Step::End => return Ok(None),
                Step::Wait(op) => op.wait()?,
            }
        }
    }
}

/// Which maps have the key that a diff came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Old,
    New,
    Both,
}

/// Two maps, walked side by side.
#[derive(Debug)]
pub struct Merge<C> {
    old: Walk<C>,
    new: Walk<C>,
    shown: Option<Side>,
}

#[derive(Debug)]
struct Walk<C> {
    cursor: C,
    /// The entry under the cursor is still to be looked at.
    held: bool,
    ended: bool,
}

impl<C: Cursor> Merge<C> {
    /// The difference of the maps of two cursors, from their first entries on.
    pub fn new(old: C, new: C) -> Self {
        let walk = |mut cursor: C| {
            cursor.seek(&[]);
            Walk {
                cursor,
                held: false,
                ended: false,
            }
        };
        Self {
            old: walk(old),
            new: walk(new),
            shown: None,
        }
    }
}

impl<C: Cursor> Walk<C> {
    /// The entry that is still to be looked at.
    fn entry(&self) -> Option<Entry<'_>> {
        self.cursor.entry().filter(|_| self.held)
    }

    /// Moves on, if what is under the cursor was used up.
    fn fill(&mut self) -> Result<Step> {
        if !self.held && !self.ended {
            match self.cursor.step(Direction::Forward)? {
                Step::Entry => self.held = true,
                Step::End => self.ended = true,
                Step::Wait(op) => return Ok(Step::Wait(op)),
            }
        }
        Ok(Step::Entry)
    }
}

impl<C: Cursor> Diff for Merge<C> {
    fn step(&mut self) -> Result<Step> {
        self.shown = None;
        loop {
            for walk in [&mut self.old, &mut self.new] {
                if let Step::Wait(op) = walk.fill()? {
                    return Ok(Step::Wait(op));
                }
            }
            let (order, alike) = match (self.old.entry(), self.new.entry()) {
                (None, None) => return Ok(Step::End),
                (Some(_), None) => (Ordering::Less, false),
                (None, Some(_)) => (Ordering::Greater, false),
                (Some(old), Some(new)) => (old.key.cmp(new.key), old.value == new.value),
            };
            let side = match order {
                Ordering::Less => Side::Old,
                Ordering::Greater => Side::New,
                Ordering::Equal => Side::Both,
            };
            self.old.held &= side == Side::New;
            self.new.held &= side == Side::Old;
            if side != Side::Both || !alike {
                self.shown = Some(side);
                return Ok(Step::Entry);
            }
        }
    }

    fn differs(&self) -> Option<Differs<'_>> {
        let side = self.shown?;
        let old = self.old.cursor.entry().filter(|_| side != Side::New);
        let new = self.new.cursor.entry().filter(|_| side != Side::Old);
        Some(Differs {
            key: old.or(new)?.key,
            old: old.map(|entry| entry.value),
            new: new.map(|entry| entry.value),
        })
    }
}
