//! The keys at which two maps differ.
//!
//! ```text
//!   old   │ c  node │ h  node │          what is next of each map: rows, the nearest on top
//!   new   │ c  node │ k  node │
//!           └ the same record or the same digest: both are passed unread
//! ```
//!
//! Where both begin with the same key, the higher is opened, so that nodes of one height meet; else the
//! one that begins first. Memory: the rows on the way to one entry of each.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use travertine_engine::contract::{Op, Result};

use super::page::misfit;
use super::view::NodesView;
use super::{Cell, Row};
use crate::diff::{Diff, Differs};
use crate::index::{Step, Value};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct NodesDiff {
    old: Side,
    new: Side,
    shown: (Option<Row>, Option<Row>),
}

/// One of the two maps.
#[derive(Debug)]
struct Side {
    view: NodesView,
    /// What is ahead; the nearest is the last. `None`: nothing was looked at.
    rows: Option<Vec<Row>>,
    /// The nearest row is a node, and what is in it comes in its place.
    opening: bool,
    /// What was in it, once it is here.
    arriving: Option<Arc<Mutex<Option<Vec<Row>>>>>,
    /// The key that was passed last.
    behind: Option<Bytes>,
}

impl NodesDiff {
    pub(super) fn new(old: &NodesView, new: &NodesView) -> Self {
        Self {
            old: Side::new(old),
            new: Side::new(new),
            shown: (None, None),
        }
    }
}

impl Diff for NodesDiff {
    fn step(&mut self) -> Result<Step> {
        self.shown = (None, None);
        loop {
            for side in [&mut self.old, &mut self.new] {
                if let Some(op) = side.look()? {
                    return Ok(Step::Wait(op));
                }
            }
            let (old, new) = (self.old.nearest(), self.new.nearest());
            let (mut mine, mut theirs) = match (old, new) {
                (None, None) => return Ok(Step::End),
                (Some(old), Some(new)) => (old.key <= new.key, new.key <= old.key),
                (old, new) => (old.is_some(), new.is_some()),
            };
            if let (Some(old), Some(new), true, true) = (old, new, mine, theirs) {
                if same(old, new) {
                    self.old.pass()?;
                    self.new.pass()?;
                    continue;
                }
                (mine, theirs) = (old.level() >= new.level(), new.level() >= old.level());
            }
            if self.old.open(mine) | self.new.open(theirs) {
                continue;
            }
            // What is not opened is an entry.
            if mine {
                self.shown.0 = Some(self.old.pass()?);
            }
            if theirs {
                self.shown.1 = Some(self.new.pass()?);
            }
            return Ok(Step::Entry);
        }
    }

    fn differs(&self) -> Option<Differs<'_>> {
        let (old, new) = (self.shown.0.as_ref(), self.shown.1.as_ref());
        Some(Differs {
            key: &old.or(new)?.key,
            old: old.and_then(value),
            new: new.and_then(value),
        })
    }
}

impl Side {
    fn new(view: &NodesView) -> Self {
        Self {
            view: view.clone(),
            rows: None,
            opening: false,
            arriving: None,
            behind: None,
        }
    }

    fn nearest(&self) -> Option<&Row> {
        self.rows.as_ref()?.last()
    }

    /// Sees to it that the nearest row is there, and is one that was not to be opened. What is to be
    /// waited for, if it must be fetched.
    fn look(&mut self) -> Result<Option<Op<()>>> {
        let rows = match &mut self.rows {
            Some(rows) => rows,
            None => {
                let mut rows = self.view.rows()?;
                rows.reverse();
                self.rows.insert(rows)
            }
        };
        let Some(row) = rows.last().filter(|_| self.opening) else {
            return Ok(None);
        };
        let arrived = self.arriving.take();
        let arrived = arrived.and_then(|slot| lock(&slot).take());
        let below = match arrived {
            Some(below) => below,
            None => {
                let read = self.view.nodes.read_below(&*self.view.source, row);
                match read.try_ready() {
                    Ok(below) => below?,
                    Err(op) => {
                        let slot = Arc::new(Mutex::new(None));
                        self.arriving = Some(slot.clone());
                        return Ok(Some(op.map(move |below| *lock(&slot) = Some(below))));
                    }
                }
            }
        };
        if below.first().is_none_or(|first| first.key != row.key) {
            return Err(misfit(
                "does not begin with the key that the node above says",
            ));
        }
        self.opening = false;
        rows.pop();
        rows.extend(below.into_iter().rev());
        Ok(None)
    }

    /// Has the nearest row opened, if it `should` be and is a node.
    fn open(&mut self, should: bool) -> bool {
        self.opening = should && self.nearest().is_some_and(|row| row.level() > 0);
        self.opening
    }

    fn pass(&mut self) -> Result<Row> {
        let row = self.rows.as_mut().and_then(Vec::pop);
        let behind = self.behind.as_ref();
        let row = row.filter(|row| behind.is_none_or(|behind| *behind < row.key));
        // So what is named twice in a damaged map is not walked twice.
        let row = row.ok_or_else(|| misfit("has keys that were passed before"))?;
        self.behind = Some(row.key.clone());
        Ok(row)
    }
}

fn lock(slot: &Mutex<Option<Vec<Row>>>) -> std::sync::MutexGuard<'_, Option<Vec<Row>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn same(old: &Row, new: &Row) -> bool {
    let alike = old.digest.is_some() && old.digest == new.digest && old.level() == new.level();
    alike || old.cell == new.cell
}

fn value(row: &Row) -> Option<Value<'_>> {
    match &row.cell {
        Cell::Inline(bytes) => Some(Value::Inline(bytes)),
        Cell::Apart(apart) => Some(Value::Apart(*apart)),
        Cell::Below { .. } => None,
    }
}
