//! A few edits that leave every node about its size: the nodes on their way are copied, each with
//! another child in the same place, and no key is looked at that no edit falls on.
//!
//! This is what a small commit mostly is, and it costs a third of taking the nodes apart. Nothing is
//! stored before all of it is known to fit; where a leaf does not, the [walk](super::walk) takes its
//! turn.

use std::ops::Range;

use travertine_engine::contract::{Error, NewRecord, Record, Reference, Result};
use travertine_engine::front::Hint;

use super::level::{Level, Link};
use super::node::Node;
use super::spine::{Spine, Top};
use super::walk::{changes, merge};
use crate::edits::Edits;
use crate::index::Value;
use crate::records::{BTREE_NODE, Sink};

/// Most edits that are drafted: each may hold a leaf in memory.
pub(super) const EDITS_MAX: usize = 16;

/// A subtree after some edits, not yet stored.
pub(super) enum Draft {
    /// They changed nothing.
    Same,
    /// A leaf.
    Leaf(Level),
    /// An inner node with some children replaced.
    Inner(Record, u8, Vec<(usize, Draft)>),
}

/// What came of drafting.
pub(super) enum Drafted {
    /// It can be done.
    Fits(Draft),
    /// The leaf that the edit with this index falls on would not be about its size.
    Unfit(usize),
}

/// Drafts the edits in `range`, which is not empty, on a subtree.
pub(super) fn draft(
    spine: &Spine<'_>,
    top: Top,
    whole: bool,
    edits: &Edits,
    range: Range<usize>,
) -> Result<Drafted> {
    let record = spine.read(top.level, top.link)?;
    let node = Node::of(&record, top.level)?;
    if top.level == 0 {
        return leaf(spine, &node, whole, edits, range);
    }
    let mut children = Vec::new();
    let mut rest = range;
    while !rest.is_empty() {
        let child = node.child_of(edits.key(rest.start))?;
        let mut end = rest.start + 1;
        while end < rest.end && node.child_of(edits.key(end))? == child {
            end += 1;
        }
        let below = Top {
            link: (node.child(child)?, node.child_count(child)?),
            level: top.level - 1,
        };
        if children.last().is_some_and(|(before, _)| *before >= child) {
            return Err(Error::corrupt("the keys of a B-tree node are out of order"));
        }
        match draft(spine, below, false, edits, rest.start..end)? {
            Drafted::Fits(Draft::Same) => {}
            Drafted::Fits(draft) => children.push((child, draft)),
            unfit => return Ok(unfit),
        }
        rest.start = end;
    }
    Ok(Drafted::Fits(if children.is_empty() {
        Draft::Same
    } else {
        Draft::Inner(record, top.level, children)
    }))
}

fn leaf(
    spine: &Spine<'_>,
    node: &Node<'_>,
    whole: bool,
    edits: &Edits,
    range: Range<usize>,
) -> Result<Drafted> {
    let mut changed = false;
    for index in range.clone() {
        changed = changed || changes(node, edits.key(index), edits.edit(index))?;
    }
    if !changed {
        return Ok(Drafted::Fits(Draft::Same));
    }
    let mut level = spine.leaf();
    merge(node, edits, range.clone(), |key, value| {
        match value {
            Value::Inline(bytes) => level.push(key, bytes, None),
            Value::Apart(apart) => level.push(key, &[], Some((apart.reference, apart.length))),
        }
        Ok(())
    })?;
    let fits = !level.is_empty() && level.last() == level.len() && (whole || !level.is_sparse());
    Ok(if fits {
        Drafted::Fits(Draft::Leaf(level))
    } else {
        Drafted::Unfit(range.start)
    })
}

/// Stores a draft, children first; `None` if it is the same as before.
pub(super) fn store(sink: &dyn Sink, draft: Draft) -> Result<Option<Link>> {
    match draft {
        Draft::Same => Ok(None),
        Draft::Leaf(mut level) => {
            let count = level.len();
            let stored = level.emit(sink, count)?;
            Ok(Some((stored.reference, stored.count)))
        }
        Draft::Inner(record, level, children) => {
            let mut links = Vec::with_capacity(children.len());
            for (child, draft) in children {
                if let Some(link) = store(sink, draft)? {
                    links.push((child, link));
                }
            }
            replace(sink, &Node::of(&record, level)?, &links).map(Some)
        }
    }
}

/// Stores a copy of an inner node with other children in some places.
fn replace(sink: &dyn Sink, node: &Node<'_>, links: &[(usize, Link)]) -> Result<Link> {
    let mut references: Vec<Reference> = Vec::with_capacity(node.children());
    let mut sums = Vec::with_capacity(node.children() * 8);
    let mut total = 0u64;
    let mut links = links.iter().peekable();
    for child in 0..node.children() {
        let (reference, count) = match links.next_if(|(at, _)| *at == child) {
            Some((_, link)) => *link,
            None => (node.child(child)?, node.child_count(child)?),
        };
        total = total
            .checked_add(count)
            .ok_or_else(|| Error::corrupt("a B-tree node's sums overflow"))?;
        references.push(reference);
        sums.extend_from_slice(&total.to_le_bytes());
    }
    let (before, after) = node.around_sums();
    let record = NewRecord {
        kind: BTREE_NODE,
        references: &references,
        body: &[before, &sums, after],
    };
    Ok((sink.store(&record, Hint::default())?, total))
}
