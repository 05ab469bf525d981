//! A few edits that leave nodes cut as they are: the nodes on their way are copied, each with another
//! child in the same place, and no key is looked at that no edit falls on.
//!
//! ```text
//!   node   │ a │ d │ k │          node'  │ a │ d' │ k │        the same bytes but for one row
//!                │                             │
//!   leaf       d e g              leaf'      d f g
//! ```
//!
//! Nothing is stored before all of it is known to fit.

use std::ops::Range;

use travertine_engine::contract::{Reference, Result};

use super::page::{self, Page, misfit};
use super::{Cell, Nodes, Row, merge};
use crate::edits::Edits;
use crate::records::Sink;

/// Most edits that are done so: each may hold a leaf in memory.
const EDITS_MAX: usize = 16;

/// A node after some edits, not yet stored.
enum Draft {
    /// They changed nothing.
    Same,
    /// A node of entries.
    Leaf(Vec<Row>),
    /// A node with some of the nodes below it replaced.
    Inner(Page, Vec<(usize, Draft)>),
}

/// Asks whether a node of entries stays one with these rows instead.
pub(super) type Stays<'f> = dyn FnMut(&[Row], &[Row]) -> bool + 'f;

/// The new root; `None` if the edits are many, or some node is not to stay as it is cut.
pub(super) fn copy(
    nodes: Nodes,
    sink: &dyn Sink,
    root: Reference,
    edits: &Edits,
    stays: &mut Stays<'_>,
) -> Result<Option<Reference>> {
    if edits.is_empty() || edits.len() > EDITS_MAX {
        return Ok(None);
    }
    let page = Page::of(nodes, sink.read(&root).wait()?)?;
    let copy = Copy { nodes, sink, edits };
    match copy.draft(page, 0..edits.len(), stays)? {
        None => Ok(None),
        Some(Draft::Same) => Ok(Some(root)),
        Some(draft) => Ok(copy.store(draft)?.and_then(|row| row.node())),
    }
}

struct Copy<'a> {
    nodes: Nodes,
    sink: &'a dyn Sink,
    edits: &'a Edits,
}

impl Copy<'_> {
    fn draft(
        &self,
        page: Page,
        range: Range<usize>,
        stays: &mut Stays<'_>,
    ) -> Result<Option<Draft>> {
        if page.height() == 0 {
            let old = page.rows()?;
            let new = merge(&old, self.edits, range);
            if new == old {
                return Ok(Some(Draft::Same));
            }
            let first = new.first().is_some_and(|row| row.key == old[0].key);
            return Ok((first && stays(&old, &new)).then_some(Draft::Leaf(new)));
        }
        let mut drafts: Vec<(usize, Draft)> = Vec::new();
        let mut done = range.start;
        while done < range.end {
            let Some(at) = page.place(self.edits.key(done))? else {
                return Ok(None);
            };
            if !page.is_node(at)? {
                return Ok(None);
            }
            let mut end = done + 1;
            while end < range.end && page.place(self.edits.key(end))? == Some(at) {
                end += 1;
            }
            if drafts.last().is_some_and(|(before, _)| *before >= at) {
                return Err(misfit("has keys that do not ascend"));
            }
            let below = self.below(&page, at)?;
            match self.draft(below, done..end, stays)? {
                None => return Ok(None),
                Some(Draft::Same) => {}
                Some(draft) => drafts.push((at, draft)),
            }
            done = end;
        }
        Ok(Some(match drafts.is_empty() {
            true => Draft::Same,
            false => Draft::Inner(page, drafts),
        }))
    }

    fn below(&self, page: &Page, at: usize) -> Result<Page> {
        match page.cell(at)? {
            Cell::Below { node, height, .. } => {
                let record = self.sink.read(&node).wait()?;
                self.nodes.page_below(record, height)
            }
            _ => Err(misfit("has an entry where a node was")),
        }
    }

    /// Stores a draft, what lies below first; `None` if it is the same as before.
    fn store(&self, draft: Draft) -> Result<Option<Row>> {
        match draft {
            Draft::Same => Ok(None),
            Draft::Leaf(rows) => self.nodes.store(self.sink, &rows).map(Some),
            Draft::Inner(page, drafts) => {
                let mut rows = Vec::with_capacity(drafts.len());
                for (at, draft) in drafts {
                    if let Some(row) = self.store(draft)? {
                        rows.push((at, row));
                    }
                }
                page::replace(self.nodes, self.sink, &page, &rows).map(Some)
            }
        }
    }
}
