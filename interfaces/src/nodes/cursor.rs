//! A cursor over a tree of nodes: the path to a gap between two rows.
//!
//! ```text
//!   path   rows, gap at a node │ rows, gap at a node │ rows, gap between entries
//!               moving forward past the end of a level goes on after the node above it
//! ```
//!
//! It moves on arrival only: the path of a step that has to wait, or fails, is thrown away, and the
//! nodes that were fetched for it are kept until it arrives, so that each is asked for once.

use std::sync::{Arc, Mutex, PoisonError};

use travertine_engine::contract::{Op, Record, Reference, Result};

use super::view::{NodesView, Rows, below, too_deep};
use super::{Cell, DEPTH_MAX, Row};
use crate::index::{Cursor, Direction, Entry, Step, Value};

/// A cursor over a [`NodesView`].
#[derive(Debug)]
pub struct NodesCursor {
    view: NodesView,
    path: Vec<Level>,
    shown: Option<Row>,
    /// Where to go before the next step.
    target: Option<Target>,
    fetched: Vec<(Reference, Rows)>,
    arriving: Option<(Reference, Slot)>,
}

type Slot = Arc<Mutex<Option<Record>>>;

/// One node of a path. Of a node that another follows, the gap is the one before that other.
#[derive(Debug, Clone)]
struct Level {
    rows: Rows,
    gap: usize,
}

#[derive(Debug)]
enum Target {
    First,
    Last,
    Key(Vec<u8>),
}

enum Walk<T> {
    There(T),
    Wait(Op<()>),
}

impl Level {
    /// The row that is next in a direction.
    fn next(&self, direction: Direction) -> Option<usize> {
        match direction {
            Direction::Forward => Some(self.gap).filter(|at| *at < self.rows.len()),
            Direction::Back => self.gap.checked_sub(1),
        }
    }

    /// Moves over the entry at `at`, and shows it.
    fn pass(&mut self, at: usize, direction: Direction) -> Row {
        self.gap = at + usize::from(direction == Direction::Forward);
        self.rows[at].clone()
    }
}

impl NodesCursor {
    pub(super) fn new(view: NodesView) -> Self {
        Self {
            view,
            path: Vec::new(),
            shown: None,
            target: Some(Target::First),
            fetched: Vec::new(),
            arriving: None,
        }
    }

    fn head_for(&mut self, target: Target) {
        self.target = Some(target);
        self.shown = None;
        self.fetched.clear();
    }

    /// The path to the gap that a seek named.
    fn arrive(&mut self, target: &Target) -> Result<Walk<Vec<Level>>> {
        let mut rows = self.view.rows.clone();
        let mut path = Vec::new();
        loop {
            let gap = match target {
                Target::First => 0,
                Target::Last => rows.len(),
                Target::Key(key) => {
                    let after = rows.partition_point(|row| row.key <= key[..]);
                    let row = after.checked_sub(1).and_then(|at| rows.get(at));
                    match row {
                        Some(Row {
                            cell: Cell::Below { node, .. },
                            ..
                        }) => {
                            let next = match self.fetch(node, path.len())? {
                                Walk::There(next) => next,
                                Walk::Wait(op) => return Ok(Walk::Wait(op)),
                            };
                            let gap = after - 1;
                            path.push(Level { rows, gap });
                            rows = next;
                            continue;
                        }
                        Some(row) if row.key == key[..] => after - 1,
                        _ => after,
                    }
                }
            };
            path.push(Level { rows, gap });
            return Ok(Walk::There(path));
        }
    }

    /// Goes over nodes until an entry is passed; `None` if there is none in this direction.
    fn walk(&mut self, direction: Direction) -> Result<Walk<Option<Row>>> {
        let mut path = self.path.clone();
        loop {
            let depth = path.len();
            let Some(level) = path.last_mut() else {
                return Ok(Walk::There(None));
            };
            let Some(at) = level.next(direction) else {
                path.pop();
                if let Some(above) = path.last_mut() {
                    above.gap += usize::from(direction == Direction::Forward);
                }
                continue;
            };
            let Cell::Below { node, .. } = level.rows[at].cell else {
                let row = level.pass(at, direction);
                self.path = path;
                return Ok(Walk::There(Some(row)));
            };
            level.gap = at;
            let rows = match self.fetch(&node, depth)? {
                Walk::There(rows) => rows,
                Walk::Wait(op) => return Ok(Walk::Wait(op)),
            };
            let gap = match direction {
                Direction::Forward => 0,
                Direction::Back => rows.len(),
            };
            path.push(Level { rows, gap });
        }
    }

    fn fetch(&mut self, node: &Reference, depth: usize) -> Result<Walk<Rows>> {
        if depth >= DEPTH_MAX {
            return Err(too_deep());
        }
        if let Some((_, rows)) = self.fetched.iter().find(|(of, _)| of == node) {
            return Ok(Walk::There(rows.clone()));
        }
        let arrived = match self.arriving.take() {
            Some((of, slot)) if of == *node => {
                slot.lock().unwrap_or_else(PoisonError::into_inner).take()
            }
            _ => None,
        };
        let record = match arrived {
            Some(record) => record,
            None => match self.view.source.read(node).try_ready() {
                Ok(answer) => answer?,
                Err(op) => {
                    let slot = Slot::default();
                    self.arriving = Some((*node, slot.clone()));
                    return Ok(Walk::Wait(op.map(move |record| {
                        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
                    })));
                }
            },
        };
        let rows = below(self.view.nodes, &record)?;
        self.fetched.push((*node, rows.clone()));
        Ok(Walk::There(rows))
    }
}

impl Cursor for NodesCursor {
    fn seek(&mut self, key: &[u8]) {
        self.head_for(Target::Key(key.to_vec()));
    }

    fn seek_end(&mut self) {
        self.head_for(Target::Last);
    }

    fn step(&mut self, direction: Direction) -> Result<Step> {
        self.shown = None;
        if let Some(target) = self.target.take() {
            match self.arrive(&target) {
                Ok(Walk::There(path)) => self.path = path,
                Ok(Walk::Wait(op)) => {
                    self.target = Some(target);
                    return Ok(Step::Wait(op));
                }
                Err(error) => {
                    self.target = Some(target);
                    return Err(error);
                }
            }
        }
        // Mostly the next row is an entry, and nothing needs to be fetched.
        if let Some(level) = self.path.last_mut()
            && let Some(at) = level.next(direction)
            && level.rows[at].node().is_none()
        {
            self.shown = Some(level.pass(at, direction));
            return Ok(Step::Entry);
        }
        match self.walk(direction)? {
            Walk::Wait(op) => Ok(Step::Wait(op)),
            Walk::There(row) => {
                self.fetched.clear();
                self.shown = row;
                Ok(match self.shown {
                    Some(_) => Step::Entry,
                    None => Step::End,
                })
            }
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        let row = self.shown.as_ref()?;
        let value = match &row.cell {
            Cell::Inline(bytes) => Value::Inline(bytes),
            Cell::Apart(apart) => Value::Apart(*apart),
            Cell::Below { .. } => return None,
        };
        Some(Entry {
            key: &row.key,
            value,
        })
    }
}
