//! Indexes on the Travertine engine: the B-tree, the skip list, journaled commits for any index, the
//! chain, typed faces, and the kit for one's own.
//!
//! ```text
//!   typed      keys and values of your types         over any index
//!   ─────────────────────────────────────────
//!   map        names, transactions, snapshots        one for all kinds of index
//!   ─────────────────────────────────────────
//!   index      a function: root, edits -> root       the trait: btree, skiplist, yours;
//!                                                    journal: over any of them
//!   ─────────────────────────────────────────
//!   records    read a record, store a record         the seam: engine, or a heap
//! ```
//!
//! A [`chain`] stands beside the indexes: entries one behind the other, under numbers instead of keys.
//!
//! A [`collection`] is another matter: [blocks](block) with names of their own in a map, changed in place by many
//! clients that see them through a [`transactor`], in [transactions](transaction) if need be.
//!
//! An index of one's own is a [rule](nodes::Rule) that says how rows are gathered in [`nodes`]; cursors, verification
//! and bulk loads come along, and [`index_suite!`](crate::index_suite) checks it all (feature
//! `conformance`).
//!
//! What this crate is not: it names no plug-in and opens no store; below [`typed`] it knows no types but
//! bytes.
//!
//! Invariant: an index is a function of records. What is kept between calls can be made again from them,
//! so any number of readers read while a writer writes, and none waits.

pub mod any;
pub mod apart;
pub mod block;
pub mod btree;
pub mod chain;
pub mod collection;
mod compact;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod diff;
pub mod edits;
mod gather;
pub mod index;
pub mod journal;
pub mod load;
pub mod map;
pub mod nodes;
pub mod reader;
pub mod records;
pub mod report;
pub mod skiplist;
pub mod structure;
#[cfg(test)]
mod testing;
pub mod transaction;
pub mod transactor;
pub mod typed;
pub mod update;
pub mod writer;

pub use any::Any;
pub use btree::Btree;
pub use chain::Chain;
pub use index::{Cursor, CursorExt, Direction, Entry, Index, KEY_MAX, Loader, Step, Value, View};
pub use journal::Journal;
pub use map::Map;
pub use skiplist::Skiplist;

/// The usual choice: a B-tree with journaled commits.
pub type Tree = Journal<Btree>;
