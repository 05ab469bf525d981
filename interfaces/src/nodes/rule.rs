//! An index that is a rule for its nodes, and nothing else.

use std::fmt::Debug;
use std::sync::Arc;

use travertine_engine::contract::{Op, Reference, Result};

use super::{Nodes, NodesView, Row};
use crate::edits::Edits;
use crate::index::Index;
use crate::load::Batches;
use crate::records::{Sink, Source};

/// How rows are gathered in nodes: whoever has a rule is an [`Index`]. One that also loads in bulk in a
/// way of its own, or knows when nothing has to be looked at, implements [`Index`] itself.
pub trait Rule: Clone + Send + Sync + Debug + 'static {
    /// Its nodes.
    const NODES: Nodes;

    /// Longest value in a row, in bytes; longer ones lie apart. As [`Index::inline_max`].
    const INLINE_MAX: usize = 512;

    /// The rows of the topmost node after some edits; `old` are those before them, none of an empty map.
    /// There is at least one edit. Rows that come back as they were mean that nothing changed.
    fn edit(&self, sink: &dyn Sink, old: &[Row], edits: &Edits) -> Result<Vec<Row>>;
}

impl<R: Rule> Index for R {
    type View = NodesView;
    type Loader<'s> = Batches<'s, Self>;

    fn view(&self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<NodesView> {
        Self::NODES.view(source, root)
    }

    fn apply(
        &self,
        sink: &dyn Sink,
        root: Option<Reference>,
        edits: &Edits,
    ) -> Result<Option<Reference>> {
        if edits.is_empty() {
            return Ok(root);
        }
        let old = Self::NODES.read_root(sink, root.as_ref()).wait()?;
        let new = self.edit(sink, &old, edits)?;
        match new == old {
            true => Ok(root),
            false => Self::NODES.store_root(sink, &new),
        }
    }

    fn loader<'s>(&self, sink: &'s dyn Sink) -> Batches<'s, Self> {
        Batches::new(self.clone(), sink)
    }

    fn inline_max(&self) -> usize {
        Self::INLINE_MAX
    }
}
