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

use travertine_engine::contract::env::in_passing;
use travertine_engine::contract::{Op, Record, Reference, Result};

use super::Cell;
use super::page::{Page, misfit};
use super::view::{NodesView, fits};
use crate::index::{Cursor, Direction, Entry, Step};

/// A walk over more leaves than this reads the next ones in passing: no cache keeps them for it.
const LEAVES_KEPT: usize = 8;

/// A cursor over a [`NodesView`].
#[derive(Debug)]
pub struct NodesCursor {
    view: NodesView,
    path: Vec<Level>,
    /// The row in the last node of the path that was moved over last.
    shown: Option<usize>,
    /// Where to go before the next step.
    target: Option<Target>,
    fetched: Vec<(Reference, Page)>,
    arriving: Option<(Reference, Slot)>,
    /// Leaves that it came to since it was told where to go.
    leaves: usize,
}

type Slot = Arc<Mutex<Option<Record>>>;

/// One node of a path. Of a node that another follows, the gap is the one before that other.
#[derive(Debug, Clone)]
struct Level {
    page: Page,
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
            Direction::Forward => Some(self.gap).filter(|at| *at < self.page.len()),
            Direction::Back => self.gap.checked_sub(1),
        }
    }

    /// Moves over the entry at `at`.
    fn pass(&mut self, at: usize, direction: Direction) -> Result<usize> {
        fits(&self.page, at)?;
        self.gap = at + usize::from(direction == Direction::Forward);
        Ok(at)
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
            leaves: 0,
        }
    }

    fn head_for(&mut self, target: Target) {
        self.target = Some(target);
        self.shown = None;
        self.fetched.clear();
        self.leaves = 0;
    }

    /// The path to the gap that a seek named.
    fn arrive(&mut self, target: &Target) -> Result<Walk<Vec<Level>>> {
        let mut path = Vec::new();
        let Some((_, top)) = &self.view.top else {
            return Ok(Walk::There(path));
        };
        let mut page = top.clone();
        loop {
            let gap = match target {
                Target::First => 0,
                Target::Last => page.len(),
                Target::Key(key) => {
                    let (at, _) = page.search(key)?;
                    let place = page.place(key)?;
                    match place.filter(|_| page.height() > 0) {
                        Some(place) if page.is_node(place)? => {
                            let below = page.cell(place)?;
                            path.push(Level { page, gap: place });
                            page = match self.fetch(&below)? {
                                Walk::There(page) => page,
                                Walk::Wait(op) => return Ok(Walk::Wait(op)),
                            };
                            continue;
                        }
                        _ => at,
                    }
                }
            };
            path.push(Level { page, gap });
            return Ok(Walk::There(path));
        }
    }

    /// Goes over nodes until an entry is passed; `None` if there is none in this direction.
    fn walk(&mut self, direction: Direction) -> Result<Walk<Option<usize>>> {
        let mut path = self.path.clone();
        loop {
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
            if !level.page.is_node(at)? {
                let at = level.pass(at, direction)?;
                self.path = path;
                return Ok(Walk::There(Some(at)));
            }
            level.gap = at;
            let below = level.page.cell(at)?;
            let page = match self.fetch(&below)? {
                Walk::There(page) => page,
                Walk::Wait(op) => return Ok(Walk::Wait(op)),
            };
            let gap = match direction {
                Direction::Forward => 0,
                Direction::Back => page.len(),
            };
            path.push(Level { page, gap });
        }
    }

    fn fetch(&mut self, below: &Cell) -> Result<Walk<Page>> {
        let Cell::Below { node, height, .. } = below else {
            return Err(misfit("has an entry where a node was"));
        };
        if let Some((_, page)) = self.fetched.iter().find(|(of, _)| of == node) {
            return Ok(Walk::There(page.clone()));
        }
        let arrived = match self.arriving.take() {
            Some((of, slot)) if of == *node => {
                slot.lock().unwrap_or_else(PoisonError::into_inner).take()
            }
            _ => None,
        };
        let record = match arrived {
            Some(record) => record,
            None => match self.read(node, *height).try_ready() {
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
        let page = self.view.nodes.page_below(record, *height)?;
        self.leaves += usize::from(*height == 0);
        self.fetched.push((*node, page.clone()));
        Ok(Walk::There(page))
    }

    fn read(&self, node: &Reference, height: u8) -> Op<Record> {
        let read = || self.view.source.read(node);
        match height == 0 && self.leaves >= LEAVES_KEPT {
            true => in_passing(read),
            false => read(),
        }
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
            && !level.page.is_node(at)?
        {
            self.shown = Some(level.pass(at, direction)?);
            return Ok(Step::Entry);
        }
        match self.walk(direction)? {
            Walk::Wait(op) => Ok(Step::Wait(op)),
            Walk::There(at) => {
                self.fetched.clear();
                self.shown = at;
                Ok(match self.shown {
                    Some(_) => Step::Entry,
                    None => Step::End,
                })
            }
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        self.path.last()?.page.entry(self.shown?).ok()?
    }
}
