//! A skip list whose runs are records: a map whose shape depends on nothing but its contents.
//!
//! Each key has a height, told by its hash: one in 16 is of height 1 or more, of those one in 32 of
//! height 2 or more, and so on. A key begins a run on every level below its height, and a run is one
//! record. So a commit writes one run of each level, and the rest is shared with the map before.
//!
//! ```text
//!   level 2   │ a             q │                            one run: the root
//!   level 1   │ a    f │      │ q      v │                   f, v: height 1; q: height 2
//!   level 0   │ a b d │ f g k m │ q r │ v w x z │            entries
//! ```
//!
//! **Choose it** where maps are compared: branches, replicas, a map against what it was. The same
//! entries lie in the same runs, whatever order they came in, in whatever batches, and whatever was
//! deleted in between. Runs tell their contents by [digests](crate::nodes), so equal maps have roots
//! of equal bytes, [`NodesView::digest`] tells a map in 32 bytes that nobody can make for another one,
//! and a [difference](crate::View::diff) reads what differs and little else, though the two share no record. And
//! where code that can be read in one sitting is worth more than speed.
//!
//! **Do not choose it** for speed or space alone: runs are of any length about their mean, so a path is
//! longer and a commit writes more than in the [B-tree](crate::Btree); prefixes of keys are kept; and
//! a value that lies apart is read once more for its digest when it comes.
//!
//! A run is cut before it grows large, even where no key of height comes: so keys that were chosen to
//! be of height 0 cannot make a record too long, but an edit among them writes all runs up to the next
//! key of height. Who takes keys from strangers gives the list a [seed](Skiplist::seed) of its own.
//!
//! The bytes are drawn in `docs/skiplist.md`.

mod spine;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use travertine_engine::contract::{Op, Reference, Result};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::spine::Spine;
use crate::edits::{Edit, Edits, check_key};
use crate::index::{Index, Loader, Value};
use crate::load::check_order;
use crate::nodes::{Nodes, NodesView, Row};
use crate::records::{SKIPLIST_NODE, Sink, Source};

const NODES: Nodes = Nodes::of(SKIPLIST_NODE).digested();
/// Of so many low bits of a hash, all must be zero for a height of one.
const LEAF_BITS: u32 = 4;
/// And of so many more for each height above.
const INNER_BITS: u32 = 5;

/// The skip list as an [`Index`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skiplist {
    /// What heights are told by, beside the key. Maps of equal contents have equal bytes if they were
    /// written with equal seeds; any map reads with any seed. 0 by default.
    pub seed: u64,
}

impl Skiplist {
    /// How many levels a key begins a run on.
    fn height(&self, key: &[u8]) -> usize {
        let zeros = xxh3_64_with_seed(key, self.seed).trailing_zeros();
        match zeros.checked_sub(LEAF_BITS) {
            None => 0,
            Some(more) => 1 + (more / INNER_BITS) as usize,
        }
    }
}

impl Index for Skiplist {
    type View = NodesView;
    type Loader<'s> = SkiplistLoader<'s>;

    fn view(&self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<NodesView> {
        NODES.view(source, root)
    }

    fn apply(
        &self,
        sink: &dyn Sink,
        root: Option<Reference>,
        edits: &Edits,
    ) -> Result<Option<Reference>> {
        let stays = |old: &[Row], new: &[Row]| {
            let flat = new.iter().skip(1).all(|row| self.height(&row.key) == 0);
            flat && !spine::is_full(old) && !spine::is_full(new)
        };
        if let Some(root) = root
            && let Some(new) = NODES.copy(sink, root, edits, stays)?
        {
            return Ok(Some(new));
        }
        let old = NODES.read_root(sink, root.as_ref()).wait()?;
        let mut spine = Spine::new(*self, sink);
        spine.edit(&old, edits, 0..edits.len())?;
        let new = spine.finish()?;
        match new.rows == old {
            true => Ok(root),
            false => new.root(sink),
        }
    }

    fn loader<'s>(&self, sink: &'s dyn Sink) -> SkiplistLoader<'s> {
        SkiplistLoader {
            spine: Spine::new(*self, sink),
            sink,
            last: Vec::new(),
            rows: 0,
        }
    }

    fn inline_max(&self) -> usize {
        1024
    }
}

/// A bulk load: each run is written once.
#[derive(Debug)]
pub struct SkiplistLoader<'s> {
    spine: Spine<'s>,
    sink: &'s dyn Sink,
    last: Vec<u8>,
    rows: u64,
}

impl Loader for SkiplistLoader<'_> {
    fn push(&mut self, key: &[u8], value: Value<'_>) -> Result<()> {
        check_key(key)?;
        let last = (self.rows > 0).then_some(&self.last[..]);
        check_order(last, key, self.rows)?;
        self.spine.push(0, Row::entry(key, value))?;
        self.last.clear();
        self.last.extend_from_slice(key);
        self.rows += 1;
        Ok(())
    }

    fn finish(self) -> Result<Option<Reference>> {
        self.spine.finish()?.root(self.sink)
    }
}

/// Puts of a batch whose keys lie where nothing lay before.
fn puts(edits: &Edits) -> impl Iterator<Item = Row> {
    edits.iter().filter_map(|(key, edit)| match edit {
        Edit::Put(value) => Some(Row::entry(key, value)),
        Edit::Delete => None,
    })
}
