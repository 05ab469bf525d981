//! The difference of two trees, which passes over every subtree that both have.
//!
//! ```text
//!   old  ·──┬─ A ── B ──── C         each side stands before a subtree that it has not looked into,
//!   new  ·──┴─ A ── B' ─── C         or before an entry. Two alike subtrees are passed over, else
//!                                    the higher is opened.
//! ```
//!
//! Memory: a path in each tree. Reads: the nodes in which they differ, and those on the way.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use travertine_engine::contract::{Op, Record, Reference, Result};

use super::node::Node;
use super::rows::{Rows, Shown};
use super::view::Shared;
use crate::diff::{Diff, Differs, Side};
use crate::index::Step;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct TreeDiff {
    old: Walk,
    new: Walk,
    shown: Option<Side>,
}

/// A walk through one of the trees.
#[derive(Debug)]
struct Walk {
    shared: Arc<Shared>,
    /// Whether the top node was entered or passed over.
    begun: bool,
    /// Inner nodes, with their levels and the next child of each.
    path: Vec<(Record, u8, usize)>,
    leaf: Option<Rows>,
    row: usize,
    /// Key and value of this row, once they were looked at.
    key: Vec<u8>,
    shown: Option<Shown>,
    arriving: Option<Arc<Mutex<Option<Record>>>>,
}

/// What a walk stands before.
enum Next {
    Entry,
    Subtree(Reference, u8),
    End,
}

impl TreeDiff {
    pub(super) fn new(old: Arc<Shared>, new: Arc<Shared>) -> Self {
        Self {
            old: Walk::new(old),
            new: Walk::new(new),
            shown: None,
        }
    }

    /// Which side comes next, or what must be opened first.
    fn turn(&self, old: &Next, new: &Next) -> Result<Turn> {
        Ok(match (old, new) {
            (Next::End, Next::End) => Turn::End,
            (Next::Subtree(old, _), Next::Subtree(new, _)) if old == new => Turn::Pass,
            (Next::Subtree(_, level), Next::Subtree(_, other)) if level < other => {
                Turn::Open(Side::New)
            }
            (Next::Subtree(..), Next::Entry) if self.old.begins_after(&self.new.key)? => {
                Turn::Show(Side::New)
            }
            (Next::Entry, Next::Subtree(..)) if self.new.begins_after(&self.old.key)? => {
                Turn::Show(Side::Old)
            }
            (Next::Subtree(..), _) => Turn::Open(Side::Old),
            (_, Next::Subtree(..)) => Turn::Open(Side::New),
            (Next::Entry, Next::End) => Turn::Show(Side::Old),
            (Next::End, Next::Entry) => Turn::Show(Side::New),
            (Next::Entry, Next::Entry) => match self.old.key.cmp(&self.new.key) {
                Ordering::Less => Turn::Show(Side::Old),
                Ordering::Greater => Turn::Show(Side::New),
                Ordering::Equal if self.old.value() == self.new.value() => Turn::Pass,
                Ordering::Equal => Turn::Show(Side::Both),
            },
        })
    }
}

enum Turn {
    Show(Side),
    Open(Side),
    /// Both sides have the same.
    Pass,
    End,
}

impl Diff for TreeDiff {
    fn step(&mut self) -> Result<Step> {
        match self.shown.take() {
            Some(Side::Old) => self.old.pass(),
            Some(Side::New) => self.new.pass(),
            Some(Side::Both) => {
                self.old.pass();
                self.new.pass();
            }
            None => {}
        }
        loop {
            let (old, new) = (self.old.next()?, self.new.next()?);
            match self.turn(&old, &new)? {
                Turn::End => return Ok(Step::End),
                Turn::Show(side) => {
                    self.shown = Some(side);
                    return Ok(Step::Entry);
                }
                Turn::Pass => {
                    self.old.pass();
                    self.new.pass();
                }
                Turn::Open(side) => {
                    let (walk, next) = match side {
                        Side::New => (&mut self.new, new),
                        _ => (&mut self.old, old),
                    };
                    if let Next::Subtree(reference, level) = next
                        && let Some(op) = walk.open(&reference, level)?
                    {
                        return Ok(Step::Wait(op));
                    }
                }
            }
        }
    }

    fn differs(&self) -> Option<Differs<'_>> {
        let side = self.shown?;
        let key = match side {
            Side::New => &self.new.key,
            _ => &self.old.key,
        };
        Some(Differs {
            key,
            old: self.old.value().filter(|_| side != Side::New),
            new: self.new.value().filter(|_| side != Side::Old),
        })
    }
}

impl Walk {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            begun: false,
            path: Vec::new(),
            leaf: None,
            row: 0,
            key: Vec::new(),
            shown: None,
            arriving: None,
        }
    }

    fn value(&self) -> Option<crate::index::Value<'_>> {
        self.leaf.as_ref()?.value(self.shown.as_ref()?)
    }

    fn next(&mut self) -> Result<Next> {
        if let Some(leaf) = self.leaf.as_ref().filter(|leaf| self.row < leaf.len()) {
            if self.shown.is_none() {
                self.key.clear();
                self.key.extend_from_slice(leaf.prefix());
                self.shown = Some(leaf.row(self.row, &mut self.key)?);
            }
            return Ok(Next::Entry);
        }
        self.leaf = None;
        if !self.begun {
            let top = self.shared.top.as_ref();
            return Ok(top.map_or(Next::End, |(top, _)| Next::Subtree(top.link.0, top.level)));
        }
        while let Some((record, level, child)) = self.path.last() {
            let node = Node::of(record, *level)?;
            if *child < node.children() {
                return Ok(Next::Subtree(node.child(*child)?, *level - 1));
            }
            self.path.pop();
        }
        Ok(Next::End)
    }

    /// Whether the subtree that this stands before begins after `key`, as far as is known here.
    fn begins_after(&self, key: &[u8]) -> Result<bool> {
        let Some((record, level, child)) = self.path.last() else {
            return Ok(false);
        };
        let Some(before) = child.checked_sub(1) else {
            return Ok(false);
        };
        let mut low = Vec::new();
        Node::of(record, *level)?.key(before)?.append_to(&mut low);
        Ok(key < &low[..])
    }

    /// Passes over what comes next.
    fn pass(&mut self) {
        if self.leaf.is_some() {
            self.row += 1;
            self.shown = None;
        } else if !self.begun {
            self.begun = true;
        } else if let Some((_, _, child)) = self.path.last_mut() {
            *child += 1;
        }
    }

    /// Looks into the subtree that comes next; an op, if its top node must be waited for.
    fn open(&mut self, reference: &Reference, level: u8) -> Result<Option<Op<()>>> {
        let arrived = self
            .arriving
            .take()
            .and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        let top = self.shared.top.as_ref().filter(|_| !self.begun);
        let record = match (arrived, top) {
            (Some(record), _) => record,
            (None, Some((_, held))) => held.record().clone(),
            (None, None) => match self.shared.source.read(reference).try_ready() {
                Ok(answer) => answer?,
                Err(op) => {
                    let slot = Arc::new(Mutex::new(None));
                    self.arriving = Some(slot.clone());
                    return Ok(Some(op.map(move |record| {
                        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
                    })));
                }
            },
        };
        if level > 0 {
            Node::of(&record, level)?;
            self.pass();
            self.path.push((record, level, 0));
        } else {
            let leaf = Rows::of(record)?;
            self.pass();
            self.leaf = Some(leaf);
            self.row = 0;
            self.shown = None;
        }
        Ok(None)
    }
}
