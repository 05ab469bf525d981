//! An index of whichever kind a map already is: its root tells.
//!
//! ```text
//!   root record ──> kind 16: a B-tree     kind 20: a skip list     no root: what the value says
//! ```
//!
//! For whoever opens maps that others made, as a command line does. It keeps the kind of every map: a
//! map that was a skip list stays one, until its last entry goes: an empty skip list has no root that
//! could tell. What it costs is one look at the root record a commit.
//!
//! Here is the one list of the kinds of indexes; whoever asks for one by its name, or tells it to
//! people, asks [`Any::all`].

use std::fmt;
use std::sync::Arc;

use travertine_engine::contract::{Error, Kind, Op, Reference, Result};

use crate::btree::{Btree, BtreeCursor, BtreeLoader, BtreeView};
use crate::diff::{Diff, Merge};
use crate::edits::Edits;
use crate::index::{Cursor, Direction, Entry, Found, Index, Loader, Step, Value, View};
use crate::nodes::{NodesCursor, NodesView};
use crate::records::{BTREE_ROOT, SKIPLIST_NODE, Sink, Source};
use crate::report::Report;
use crate::skiplist::{Skiplist, SkiplistLoader};

/// An index of any kind that this crate has. The value says what a new map becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Any {
    /// A B-tree.
    Btree(Btree),
    /// A skip list.
    Skiplist(Skiplist),
}

impl Default for Any {
    fn default() -> Self {
        Self::Btree(Btree::default())
    }
}

impl Any {
    /// One of each kind, with the usual options.
    #[must_use]
    pub fn all() -> [Self; 2] {
        [
            Self::Btree(Btree::default()),
            Self::Skiplist(Skiplist::default()),
        ]
    }

    /// What options and files call it. For people it says [what it is](fmt::Display).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Btree(_) => "btree",
            Self::Skiplist(_) => "skiplist",
        }
    }

    /// The kind of its root records.
    #[must_use]
    pub fn root(self) -> Kind {
        match self {
            Self::Btree(_) => BTREE_ROOT,
            Self::Skiplist(_) => SKIPLIST_NODE,
        }
    }

    /// The index of a map whose root record is of this kind, with the options of this one if it is the
    /// same; `None` if that is no root known here.
    #[must_use]
    pub fn of(self, root: Kind) -> Option<Self> {
        let mut known = [self].into_iter().chain(Self::all());
        known.find(|index| index.root() == root)
    }

    fn at(self, root: Kind) -> Result<Self> {
        self.of(root).ok_or_else(|| {
            Error::invalid(format!(
                "the name points to a record of kind {}, which is the root of no index known here",
                root.0
            ))
        })
    }

    fn open(self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<AnyView> {
        match self {
            Self::Btree(index) => index.view(source, root).map(AnyView::Btree),
            Self::Skiplist(index) => index.view(source, root).map(AnyView::Skiplist),
        }
    }
}

impl fmt::Display for Any {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Btree(_) => "B-tree",
            Self::Skiplist(_) => "skip list",
        })
    }
}

impl Index for Any {
    type View = AnyView;
    type Loader<'s> = AnyLoader<'s>;

    fn view(&self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<AnyView> {
        let index = *self;
        match root {
            None => index.open(source, None),
            Some(named) => source
                .read(&named)
                .then(move |record| match index.at(record.kind()) {
                    Ok(index) => index.open(source, root),
                    Err(error) => Op::err(error),
                }),
        }
    }

    fn apply(
        &self,
        sink: &dyn Sink,
        root: Option<Reference>,
        edits: &Edits,
    ) -> Result<Option<Reference>> {
        let index = match &root {
            Some(root) => self.at(sink.read(root).wait()?.kind())?,
            None => *self,
        };
        match index {
            Self::Btree(index) => index.apply(sink, root, edits),
            Self::Skiplist(index) => index.apply(sink, root, edits),
        }
    }

    fn loader<'s>(&self, sink: &'s dyn Sink) -> AnyLoader<'s> {
        match self {
            Self::Btree(index) => AnyLoader::Btree(index.loader(sink)),
            Self::Skiplist(index) => AnyLoader::Skiplist(index.loader(sink)),
        }
    }

    fn inline_max(&self) -> usize {
        match self {
            Self::Btree(index) => index.inline_max(),
            Self::Skiplist(index) => index.inline_max(),
        }
    }
}

/// The view of an [`Any`].
#[derive(Debug, Clone)]
pub enum AnyView {
    /// That of a B-tree.
    Btree(BtreeView),
    /// That of a skip list.
    Skiplist(NodesView),
}

impl View for AnyView {
    type Cursor = AnyCursor;

    fn count(&self) -> u64 {
        match self {
            Self::Btree(view) => view.count(),
            Self::Skiplist(view) => view.count(),
        }
    }

    fn find(&self, key: &[u8]) -> Op<Option<Found>> {
        match self {
            Self::Btree(view) => view.find(key),
            Self::Skiplist(view) => view.find(key),
        }
    }

    fn find_many(&self, keys: &[&[u8]]) -> Op<Vec<Option<Found>>> {
        match self {
            Self::Btree(view) => view.find_many(keys),
            Self::Skiplist(view) => view.find_many(keys),
        }
    }

    fn rank(&self, key: &[u8]) -> Op<u64> {
        match self {
            Self::Btree(view) => view.rank(key),
            Self::Skiplist(view) => view.rank(key),
        }
    }

    fn diff(&self, newer: &Self) -> Box<dyn Diff> {
        match (self, newer) {
            (Self::Btree(old), Self::Btree(new)) => old.diff(new),
            (Self::Skiplist(old), Self::Skiplist(new)) => old.diff(new),
            // A name may be dropped and come again as a map of another kind.
            (old, new) => Box::new(Merge::new(old.cursor(), new.cursor())),
        }
    }

    fn cursor(&self) -> AnyCursor {
        match self {
            Self::Btree(view) => AnyCursor::Btree(view.cursor()),
            Self::Skiplist(view) => AnyCursor::Skiplist(view.cursor()),
        }
    }

    fn held(&self) -> u64 {
        match self {
            Self::Btree(view) => view.held(),
            Self::Skiplist(view) => view.held(),
        }
    }

    fn verify(&self, report: &mut Report) {
        match self {
            Self::Btree(view) => view.verify(report),
            Self::Skiplist(view) => view.verify(report),
        }
    }
}

/// The cursor of an [`AnyView`].
#[derive(Debug)]
pub enum AnyCursor {
    /// That of a B-tree.
    Btree(BtreeCursor),
    /// That of a skip list.
    Skiplist(NodesCursor),
}

impl Cursor for AnyCursor {
    fn seek(&mut self, key: &[u8]) {
        match self {
            Self::Btree(cursor) => cursor.seek(key),
            Self::Skiplist(cursor) => cursor.seek(key),
        }
    }

    fn seek_end(&mut self) {
        match self {
            Self::Btree(cursor) => cursor.seek_end(),
            Self::Skiplist(cursor) => cursor.seek_end(),
        }
    }

    fn step(&mut self, direction: Direction) -> Result<Step> {
        match self {
            Self::Btree(cursor) => cursor.step(direction),
            Self::Skiplist(cursor) => cursor.step(direction),
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::Btree(cursor) => cursor.entry(),
            Self::Skiplist(cursor) => cursor.entry(),
        }
    }
}

/// The loader of an [`Any`].
#[derive(Debug)]
pub enum AnyLoader<'s> {
    /// That of a B-tree.
    Btree(BtreeLoader<'s>),
    /// That of a skip list.
    Skiplist(SkiplistLoader<'s>),
}

impl Loader for AnyLoader<'_> {
    fn push(&mut self, key: &[u8], value: Value<'_>) -> Result<()> {
        match self {
            Self::Btree(loader) => loader.push(key, value),
            Self::Skiplist(loader) => loader.push(key, value),
        }
    }

    fn finish(self) -> Result<Option<Reference>> {
        match self {
            Self::Btree(loader) => loader.finish(),
            Self::Skiplist(loader) => loader.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edits::{Edit, EditLog};
    use crate::records::Heap;
    use travertine_engine::front::Read;

    crate::index_suite!(suite, Any::Skiplist(Skiplist::default()));

    #[test]
    fn a_map_stays_of_the_kind_it_is() {
        let heap = Arc::new(Heap::new());
        let kinds = Any::all().map(|index| (index, index.root()));
        let put = |key: &[u8]| {
            let mut log = EditLog::new();
            log.push(key, Edit::Put(Value::Inline(b"v"))).unwrap();
            log.sorted()
        };
        for (first, kind) in kinds {
            for (second, _) in kinds {
                let root = first.apply(&*heap, None, &put(b"a")).unwrap();
                let root = second.apply(&*heap, root, &put(b"b")).unwrap();
                let record = heap.read(&root.unwrap()).wait().unwrap();
                assert_eq!(record.kind(), kind);
                let view = second.view(heap.clone(), root).wait().unwrap();
                assert_eq!(view.count(), 2);
            }
        }
    }
    #[test]
    fn maps_of_two_kinds_are_compared_too() {
        let heap = Arc::new(Heap::new());
        let map = |index: Any, keys: [&[u8]; 2]| {
            let mut log = EditLog::new();
            for key in keys {
                log.push(key, Edit::Put(Value::Inline(b"v"))).unwrap();
            }
            let root = index.apply(&*heap, None, &log.sorted()).unwrap();
            index.view(heap.clone(), root).wait().unwrap()
        };
        for old in Any::all() {
            for new in Any::all() {
                let (old, new) = (map(old, [b"a", b"b"]), map(new, [b"b", b"c"]));
                let mut diff = old.diff(&new);
                let mut next = || diff.next().unwrap().map(|differs| differs.key.to_vec());
                assert_eq!([next(), next()], [Some(b"a".to_vec()), Some(b"c".to_vec())]);
                assert_eq!(next(), None);
            }
        }
    }
}
