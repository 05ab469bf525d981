//! What an index is: a specification that a stranger can implement.
//!
//! An index is an ordered map from byte keys to byte values, kept in immutable records. It is a
//! *function*: from a root and a batch of edits to a new root. It holds no state, takes no lock,
//! knows no name and no commit; whoever calls it ([`crate::map`]) buffers edits, shows a
//! transaction its own writes, stores large values apart, and commits the new root under a name. So
//! an implementer writes what is different about an index and nothing else, and any number of
//! indexes of any kinds are committed together.
//!
//! ```text
//!                 edits (sorted, each key once)
//!                   │
//!   root ──────> apply ──────> root'          records of the old root stay as they are:
//!     │                          │            whoever reads them never waits
//!     └─> view: find, cursor     └─> view
//! ```
//!
//! # The specification
//!
//! 1. **Order.** Keys are compared as unsigned bytes; a proper prefix comes first. Any key of 0 to
//!    [`KEY_MAX`] bytes is legal, and so is an empty value.
//! 2. **Function.** `apply` answers for the map that `root` stands for with `edits` done to it. A
//!    put replaces, a delete of an absent key changes nothing. The old root still answers as before.
//! 3. **Once.** Records that `apply` stores are reachable from the root it returns; a record a level
//!    may be stored in vain. Edits that change nothing return the root that was given.
//! 4. **References are visible.** A record is named in reference tables only, never in a body: so
//!    floors below can walk, copy and reclaim without knowing the index. This holds for the
//!    [`Apart`] of a value too: the record that holds the entry must name it.
//! 5. **No root, empty root.** `None` is the empty map, and so is what `apply` returns when the last
//!    entry goes; both can be filled.
//! 6. **Damage is an error.** Bytes from below may be anything. An implementation answers
//!    [`Corrupt`](travertine_engine::contract::ErrorKind::Corrupt) and never panics, never loops and
//!    never allocates by a length it was told. After an error a sink may hold records that nobody
//!    names; the old root is untouched.
//! 7. **Snapshots.** A view and its cursors answer for their root for ever, whatever is written.
//!
//! [`crate::conformance`] checks all of it, for any implementation.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Op, Reference, Result};

use crate::diff::{Diff, Merge};
use crate::edits::Edits;
use crate::gather::gather;
use crate::records::{Sink, Source};
use crate::report::Report;

/// Longest key, in bytes.
pub const KEY_MAX: usize = 64 << 10;

/// An ordered map in records. See the [module](self) for what an implementation promises.
pub trait Index: Clone + Send + Sync + Debug + 'static {
    /// The map as one root has it.
    type View: View;
    /// A bulk load under way. [`crate::load::Batches`] serves those who have no better way.
    type Loader<'s>: Loader;

    /// The map whose root record `root` names; `None` is the empty map.
    fn view(&self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<Self::View>;

    /// Does `edits` to the map at `root` and returns the new root. Reads with `sink`, and waits
    /// where it must.
    fn apply(
        &self,
        sink: &dyn Sink,
        root: Option<Reference>,
        edits: &Edits,
    ) -> Result<Option<Reference>>;

    /// Begins to build a map from rows in order.
    fn loader<'s>(&self, sink: &'s dyn Sink) -> Self::Loader<'s>;

    /// Longest value that is handed to this index whole, in bytes; longer ones come as [`Apart`].
    fn inline_max(&self) -> usize;
}

/// A map at one root. Clones are cheap.
pub trait View: Clone + Send + Sync + Debug + 'static {
    /// See [`Cursor`].
    type Cursor: Cursor;

    /// How many entries there are, without looking for them.
    fn count(&self) -> u64;

    /// The value at `key`.
    fn find(&self, key: &[u8]) -> Op<Option<Found>>;

    /// The values at several keys, in the order of the keys. An index that can look for several side
    /// by side does so.
    fn find_many(&self, keys: &[&[u8]]) -> Op<Vec<Option<Found>>> {
        gather(keys.iter().map(|key| self.find(key)).collect())
    }

    /// How many keys are less than `key`. An index that does not count them walks over them, and
    /// blocks where a record must be fetched.
    fn rank(&self, key: &[u8]) -> Op<u64> {
        Op::ready(walked_rank(self.cursor(), key))
    }

    /// The keys at which this map and a newer one differ. An index whose maps share records passes
    /// over what they share.
    fn diff(&self, newer: &Self) -> Box<dyn Diff> {
        Box::new(Merge::new(self.cursor(), newer.cursor()))
    }

    /// A cursor in the gap before the first entry.
    fn cursor(&self) -> Self::Cursor;

    /// Bytes of memory in which it keeps what it met, so as not to read it again; its clones share them.
    fn held(&self) -> u64 {
        0
    }

    /// Looks at everything: order, counts, bounds, edges. Damage goes into the report, with its
    /// place, and the walk goes on round it; memory stays bounded.
    fn verify(&self, report: &mut Report);
}

/// How many keys are less than `key`, by walking over them.
pub(crate) fn walked_rank(mut cursor: impl Cursor, key: &[u8]) -> Result<u64> {
    let mut rank = 0;
    while cursor.next()?.is_some_and(|entry| entry.key < key) {
        rank += 1;
    }
    Ok(rank)
}

/// A place *between* two entries of a view. [`Cursor::step`] moves it over the next entry in either
/// direction, and [`Cursor::entry`] shows the entry it moved over last.
///
/// ```text
///    │ a │ b │ c │      ^ seek(b) stands before b: forward yields b, back yields a
///        ^
/// ```
pub trait Cursor: Send + Debug {
    /// Goes to the gap before the first entry whose key is `key` or more. Costs nothing yet.
    fn seek(&mut self, key: &[u8]);

    /// Goes to the gap after the last entry. Costs nothing yet.
    fn seek_end(&mut self);

    /// Moves over one entry. After [`Step::Wait`] or an error the cursor has not moved: wait, then
    /// call again. At an end it stays where it is.
    fn step(&mut self, direction: Direction) -> Result<Step>;

    /// The entry that the last step moved over; `None` if it moved over none.
    fn entry(&self) -> Option<Entry<'_>>;
}

/// Which way a cursor moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To larger keys.
    Forward,
    /// To smaller keys.
    Back,
}

/// What came of one step of a cursor.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// It moved over an entry.
    Entry,
    /// There is none in this direction.
    End,
    /// A record is on its way. Wait for the op, or await it, then step again.
    Wait(Op<()>),
}

/// Comfort on top of [`Cursor`].
pub trait CursorExt: Cursor {
    /// Moves forward over one entry and shows it; blocks where a record must be fetched.
    fn next(&mut self) -> Result<Option<Entry<'_>>> {
        self.move_on(Direction::Forward)
    }

    /// Moves back over one entry and shows it; blocks where a record must be fetched.
    fn prev(&mut self) -> Result<Option<Entry<'_>>> {
        self.move_on(Direction::Back)
    }

    /// Moves over one entry and shows it; blocks where a record must be fetched.
    fn move_on(&mut self, direction: Direction) -> Result<Option<Entry<'_>>> {
        loop {
            match self.step(direction)? {
                Step::Entry => return Ok(self.entry()),
                Step::End => return Ok(None),
                Step::Wait(op) => op.wait()?,
            }
        }
    }

    /// As [`CursorExt::move_on`], awaiting instead of blocking.
    fn move_on_async(
        &mut self,
        direction: Direction,
    ) -> impl Future<Output = Result<Option<Entry<'_>>>> + Send {
        async move {
            loop {
                match self.step(direction)? {
                    Step::Entry => return Ok(self.entry()),
                    Step::End => return Ok(None),
                    Step::Wait(op) => op.await?,
                }
            }
        }
    }
}

impl<C: Cursor + ?Sized> CursorExt for C {}

/// An entry under a cursor: slices of the bytes that the cursor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: Value<'a>,
}

/// A value as an index holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// The bytes.
    Inline(&'a [u8]),
    /// Too long for an entry: records of its own.
    Apart(Apart),
}

/// A value that lies in records of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apart {
    /// The record that it begins with. The record that holds the entry must name it.
    pub reference: Reference,
    /// Its bytes.
    pub length: u64,
}

/// A value that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The bytes, shared with the record they lie in.
    Inline(Bytes),
    /// Too long for an entry: records of its own.
    Apart(Apart),
}

/// A bulk load under way: rows in order, in memory that does not grow with their number.
pub trait Loader: Send + Debug {
    /// Adds an entry. Its key must be greater than the one before; else `Invalid`, naming the row,
    /// and the load goes on as if the row had not been offered.
    fn push(&mut self, key: &[u8], value: Value<'_>) -> Result<()>;

    /// Ends the load and returns the root.
    fn finish(self) -> Result<Option<Reference>>;
}
