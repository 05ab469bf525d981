//! A cursor over a tree: the path to a leaf and a gap in it.
//!
//! ```text
//!   path   (inner node, child) (inner node, child)     leaf   e e e e
//!                                                                ^ gap
//! ```
//!
//! Where the next leaf must be fetched and is not at hand, what was walked so far is kept in
//! [`Going`], so that each record is asked for once; the cursor itself moves only on arrival.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use travertine_engine::contract::env::in_passing;
use travertine_engine::contract::{Error, Op, Record, Reference, Result};

use super::node::{Frame, Node};
use super::view::Shared;
use crate::index::{Apart, Cursor, Direction, Entry, Step, Value};

/// A cursor over a [`BtreeView`](super::BtreeView).
#[derive(Debug)]
pub struct BtreeCursor {
    shared: Arc<Shared>,
    path: Vec<(Record, usize)>,
    leaf: Option<(Record, Frame)>,
    gap: usize,
    /// The entry in the leaf that was moved over last, and its key.
    shown: Option<Shown>,
    key: Vec<u8>,
    /// So many bytes of `key` are what all keys of the leaf begin with.
    common: Option<usize>,
    /// Where to go before the next step.
    target: Option<Target>,
    going: Option<Going>,
    /// Leaves that it came to since it was told where to go.
    leaves: usize,
}

/// A walk over more leaves than this reads the next ones in passing: no cache keeps them for it.
const LEAVES_KEPT: usize = 8;

/// Where the value of an entry lies.
#[derive(Debug, Clone)]
enum Shown {
    /// In the body of the leaf.
    Inline(Range<usize>),
    /// Elsewhere.
    Apart(Apart),
}

#[derive(Debug, Clone)]
enum Target {
    First,
    Last,
    Key(Vec<u8>),
}

/// On the way to another leaf.
#[derive(Debug)]
struct Going {
    /// The neighbour in this direction; `None` for a target.
    to: Option<Direction>,
    /// So much of the cursor's path stays, with another child at its end.
    stays: usize,
    turn: usize,
    /// What comes below.
    tail: Vec<(Record, usize)>,
    next: Reference,
    level: u8,
    arriving: Option<Arc<Mutex<Option<Record>>>>,
}

enum Arrival {
    There,
    Wait(Op<()>),
}

impl BtreeCursor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            path: Vec::new(),
            leaf: None,
            gap: 0,
            shown: None,
            key: Vec::new(),
            common: None,
            target: Some(Target::First),
            going: None,
            leaves: 0,
        }
    }

    fn head_for(&mut self, target: Target) {
        self.target = Some(target);
        self.going = None;
        self.shown = None;
        self.leaves = 0;
    }

    /// Goes where a seek said.
    fn arrive(&mut self, target: &Target) -> Result<Arrival> {
        let going = match self.going.take() {
            Some(going) if going.to.is_none() => going,
            _ => {
                let Some((top, held)) = &self.shared.top else {
                    return Ok(Arrival::There);
                };
                let record = held.record();
                if top.level == 0 {
                    let node = Node::of(record, 0)?;
                    self.gap = gap(&node, target)?;
                    self.leaf = Some((record.clone(), node.frame()));
                    self.common = None;
                    return Ok(Arrival::There);
                }
                let node = Node::of(record, top.level)?;
                let child = child(&node, target)?;
                // Where it stood no longer matters, and its path has the room for the new one.
                let mut tail = std::mem::take(&mut self.path);
                tail.clear();
                tail.push((record.clone(), child));
                self.leaf = None;
                Going {
                    to: None,
                    stays: 0,
                    turn: 0,
                    next: node.child(child)?,
                    level: top.level - 1,
                    tail,
                    arriving: None,
                }
            }
        };
        self.go(going, target)
    }

    /// Goes to the neighbouring leaf; `None` if there is none.
    fn turn(&mut self, direction: Direction) -> Result<Option<Arrival>> {
        let going = match self.going.take() {
            Some(going) if going.to == Some(direction) => going,
            _ => {
                let Some((top, _)) = &self.shared.top else {
                    return Ok(None);
                };
                let mut found = None;
                for (at, (record, child)) in self.path.iter().enumerate().rev() {
                    let node = Node::of(record, top.level - at as u8)?;
                    let turn = match direction {
                        Direction::Forward => Some(child + 1).filter(|to| *to < node.children()),
                        Direction::Back => child.checked_sub(1),
                    };
                    if let Some(turn) = turn {
                        found = Some(Going {
                            to: Some(direction),
                            stays: at + 1,
                            turn,
                            next: node.child(turn)?,
                            level: node.level() - 1,
                            tail: Vec::new(),
                            arriving: None,
                        });
                        break;
                    }
                }
                match found {
                    Some(going) => going,
                    None => return Ok(None),
                }
            }
        };
        let target = match direction {
            Direction::Forward => Target::First,
            Direction::Back => Target::Last,
        };
        self.go(going, &target).map(Some)
    }

    fn read(&self, going: &Going) -> Op<Record> {
        let read = || self.shared.source.read(&going.next);
        match going.level == 0 && self.leaves >= LEAVES_KEPT {
            true => in_passing(read),
            false => read(),
        }
    }

    fn go(&mut self, mut going: Going, target: &Target) -> Result<Arrival> {
        loop {
            let arrived = going
                .arriving
                .take()
                .and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
            let record = match arrived {
                Some(record) => record,
                None => match self.read(&going).try_ready() {
                    Ok(answer) => answer?,
                    Err(op) => {
                        let slot = Arc::new(Mutex::new(None));
                        going.arriving = Some(slot.clone());
                        self.going = Some(going);
                        return Ok(Arrival::Wait(op.map(move |record| {
                            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
                        })));
                    }
                },
            };
            let node = Node::of(&record, going.level)?;
            if going.level == 0 {
                let gap = gap(&node, target)?;
                if going.stays == 0 {
                    self.path = going.tail;
                } else {
                    self.path.truncate(going.stays);
                    if let Some((_, child)) = self.path.last_mut() {
                        *child = going.turn;
                    }
                    self.path.append(&mut going.tail);
                }
                let frame = node.frame();
                self.leaf = Some((record, frame));
                self.leaves += 1;
                self.common = None;
                self.gap = gap;
                self.shown = None;
                return Ok(Arrival::There);
            }
            let child = child(&node, target)?;
            going.next = node.child(child)?;
            going.level -= 1;
            going.tail.push((record, child));
        }
    }
}

impl Cursor for BtreeCursor {
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
                Ok(Arrival::There) => {}
                Ok(Arrival::Wait(op)) => {
                    self.target = Some(target);
                    return Ok(Step::Wait(op));
                }
                Err(error) => {
                    self.target = Some(target);
                    return Err(error);
                }
            }
        }
        loop {
            let Some((leaf, frame)) = &self.leaf else {
                return Ok(Step::End);
            };
            let node = Node::again(leaf, frame);
            let (over, gap) = match direction {
                Direction::Forward => (Some(self.gap), self.gap + 1),
                Direction::Back => (self.gap.checked_sub(1), self.gap.saturating_sub(1)),
            };
            if let Some(over) = over.filter(|over| *over < node.keys()) {
                let row = node.row(over)?;
                let shown = if row.apart {
                    match node.value(over)? {
                        Value::Apart(apart) => Shown::Apart(apart),
                        Value::Inline(_) => Shown::Inline(row.value),
                    }
                } else {
                    Shown::Inline(row.value)
                };
                match self.common {
                    Some(common) => self.key.truncate(common),
                    None => {
                        self.key.clear();
                        self.key.extend_from_slice(row.key.prefix);
                        self.common = Some(row.key.prefix.len());
                    }
                }
                self.key.extend_from_slice(row.key.head);
                self.key.extend_from_slice(row.key.tail);
                self.gap = gap;
                self.shown = Some(shown);
                return Ok(Step::Entry);
            }
            match self.turn(direction)? {
                Some(Arrival::There) => {}
                Some(Arrival::Wait(op)) => return Ok(Step::Wait(op)),
                None => return Ok(Step::End),
            }
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        let value = match self.shown.as_ref()? {
            Shown::Inline(range) => {
                let (leaf, _) = self.leaf.as_ref()?;
                Value::Inline(leaf.body().get(range.clone())?)
            }
            Shown::Apart(apart) => Value::Apart(*apart),
        };
        Some(Entry {
            key: &self.key,
            value,
        })
    }
}

fn child(node: &Node<'_>, target: &Target) -> Result<usize> {
    match target {
        Target::First => Ok(0),
        Target::Key(key) => node.child_of(key),
        Target::Last => node
            .children()
            .checked_sub(1)
            .ok_or_else(|| Error::corrupt("an inner B-tree node has no children")),
    }
}

fn gap(node: &Node<'_>, target: &Target) -> Result<usize> {
    match target {
        Target::First => Ok(0),
        Target::Key(key) => Ok(node.search(key)?.0),
        Target::Last => Ok(node.keys()),
    }
}
