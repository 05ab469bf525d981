//! An ordered set of edits in memory, of which old states stay whole.
//!
//! ```text
//!   item    head u64 │ slot u32 │ at u32       the first bytes of its key; which delta; where in it
//!
//!            ┌ node ┐                          a clone shares every node; who inserts copies the nodes
//!        ┌───┴──┬───┴──┐                       on the way that others share, and changes the rest in
//!      leaf   leaf   leaf                      place
//! ```
//!
//! Items are ordered by key, of one key the newest first. Keys stay where they are, in the deltas: an
//! item is 16 bytes, and most comparisons need no more than those.

use std::sync::Arc;

use super::slots::Slots;
use crate::edits::head_of;

/// Most items of a leaf, and most children of a node.
const WIDTH: usize = 64;

/// One edit of one delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    head: u64,
    pub(super) slot: u32,
    pub(super) at: u32,
}

impl Item {
    pub(super) fn new(key: &[u8], slot: u32, at: u32) -> Self {
        Self {
            head: head_of(key),
            slot,
            at,
        }
    }

    /// In what order items of these slots are.
    pub(super) fn cmp_in(&self, other: &Self, slots: &Slots) -> std::cmp::Ordering {
        let heads = self.head.cmp(&other.head);
        heads
            .then_with(|| slots.key(*self).cmp(slots.key(*other)))
            .then_with(|| other.slot.cmp(&self.slot))
    }
}

/// A place among items: in front of those of `key` that are older than `before`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    head: u64,
    pub(super) key: &'a [u8],
    before: u32,
}

impl<'a> Place<'a> {
    /// In front of the items of `key` in slots below `before`.
    pub(super) fn below(key: &'a [u8], before: u32) -> Self {
        Self {
            head: head_of(key),
            key,
            before,
        }
    }

    /// In front of all items of `key`.
    pub(super) fn start(key: &'a [u8]) -> Self {
        Self::below(key, u32::MAX)
    }

    /// Behind all items of `key`.
    pub(super) fn end(key: &'a [u8]) -> Self {
        Self::below(key, 0)
    }

    /// Whether an item lies in front of this place.
    fn is_after(&self, item: &Item, slots: &Slots) -> bool {
        if item.head != self.head {
            return item.head < self.head;
        }
        match slots.key(*item).cmp(self.key) {
            std::cmp::Ordering::Equal => item.slot >= self.before,
            unequal => unequal.is_lt(),
        }
    }
}

/// The set. Clones cost nothing and are never changed by what is done to others.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    top: Option<Arc<Node>>,
    len: u32,
}

#[derive(Debug)]
enum Node {
    Leaf(Vec<Item>),
    /// Each child under its first item.
    Inner(Vec<Child>),
}

type Child = (Item, Arc<Node>);

impl Clone for Node {
    fn clone(&self) -> Self {
        fn copy<T: Clone>(all: &[T]) -> Vec<T> {
            // There is to be room for the one that comes.
            let mut copy = Vec::with_capacity(WIDTH + 1);
            copy.extend_from_slice(all);
            copy
        }
        match self {
            Self::Leaf(items) => Self::Leaf(copy(items)),
            Self::Inner(children) => Self::Inner(copy(children)),
        }
    }
}

impl Node {
    /// The first item and the node.
    fn child(self) -> Option<Child> {
        let first = match &self {
            Self::Leaf(items) => *items.first()?,
            Self::Inner(children) => children.first()?.0,
        };
        Some((first, Arc::new(self)))
    }
}

impl Tree {
    /// The set of items that are in order.
    pub(super) fn of(items: &[Item]) -> Self {
        // Room is left for what comes.
        let full = WIDTH * 3 / 4;
        let leaves = items.chunks(full).map(|some| Node::Leaf(some.to_vec()));
        let mut row: Vec<Child> = leaves.filter_map(Node::child).collect();
        while row.len() > 1 {
            let above = row.chunks(full).map(|some| Node::Inner(some.to_vec()));
            row = above.filter_map(Node::child).collect();
        }
        Self {
            top: row.pop().map(|(_, node)| node),
            len: items.len() as u32,
        }
    }

    /// How many items there are.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Adds an item, whose key must be in its slot.
    pub(super) fn insert(&mut self, item: Item, slots: &Slots) {
        self.len += 1;
        let place = Place {
            head: item.head,
            key: slots.key(item),
            before: item.slot + 1,
        };
        let Some(top) = &mut self.top else {
            self.top = Some(Arc::new(Node::Leaf(vec![item])));
            return;
        };
        if let Some(right) = insert(top, item, &place, slots) {
            let left = top.first().map(|first| (first, top.clone()));
            let children = left.into_iter().chain([right]).collect();
            self.top = Some(Arc::new(Node::Inner(children)));
        }
    }

    /// The first item behind a place.
    pub(super) fn after(&self, place: &Place<'_>, slots: &Slots) -> Option<Item> {
        let (mut node, mut next) = (self.top.as_deref()?, None);
        loop {
            match node {
                Node::Inner(children) => {
                    let at = children.partition_point(|(first, _)| place.is_after(first, slots));
                    let at = at.saturating_sub(1);
                    next = children.get(at + 1).map(|(first, _)| *first).or(next);
                    node = &children.get(at)?.1;
                }
                Node::Leaf(items) => {
                    let at = items.partition_point(|item| place.is_after(item, slots));
                    return items.get(at).copied().or(next);
                }
            }
        }
    }

    /// The last item in front of a place; without one, the last of all.
    pub(super) fn before(&self, place: Option<&Place<'_>>, slots: &Slots) -> Option<Item> {
        let is_after = |item: &Item| place.is_none_or(|place| place.is_after(item, slots));
        let mut node = self.top.as_deref()?;
        loop {
            match node {
                Node::Inner(children) => {
                    let at = children.partition_point(|(first, _)| is_after(first));
                    node = &children.get(at.checked_sub(1)?)?.1;
                }
                Node::Leaf(items) => {
                    let at = items.partition_point(is_after);
                    return items.get(at.checked_sub(1)?).copied();
                }
            }
        }
    }

    /// Tells all items in order.
    pub(super) fn each(&self, mut tell: impl FnMut(Item)) {
        fn walk(node: &Node, tell: &mut impl FnMut(Item)) {
            match node {
                Node::Leaf(items) => items.iter().copied().for_each(tell),
                Node::Inner(children) => children.iter().for_each(|(_, node)| walk(node, tell)),
            }
        }
        if let Some(top) = &self.top {
            walk(top, &mut tell);
        }
    }
}

impl Node {
    fn first(&self) -> Option<Item> {
        match self {
            Self::Leaf(items) => items.first().copied(),
            Self::Inner(children) => children.first().map(|(first, _)| *first),
        }
    }
}

/// Adds an item below a node; what no longer has room in it becomes a node at its right.
fn insert(node: &mut Arc<Node>, item: Item, place: &Place<'_>, slots: &Slots) -> Option<Child> {
    match Arc::make_mut(node) {
        Node::Leaf(items) => {
            let at = items.partition_point(|item| place.is_after(item, slots));
            items.insert(at, item);
            let right = split(items, at)?;
            Node::Leaf(right).child()
        }
        Node::Inner(children) => {
            let at = children.partition_point(|(first, _)| place.is_after(first, slots));
            let at = at.saturating_sub(1);
            let (first, child) = children.get_mut(at)?;
            let split_off = insert(child, item, place, slots);
            *first = child.first().unwrap_or(*first);
            children.insert(at + 1, split_off?);
            let right = split(children, at + 1)?;
            Node::Inner(right).child()
        }
    }
}

/// Cuts what became too wide: in the middle, unless it grows at its end.
fn split<T>(all: &mut Vec<T>, grown: usize) -> Option<Vec<T>> {
    if all.len() <= WIDTH {
        return None;
    }
    let at = match grown + 1 == all.len() {
        true => all.len() - 1,
        false => all.len() / 2,
    };
    let mut right = Vec::with_capacity(WIDTH + 1);
    right.extend(all.drain(at..));
    Some(right)
}
