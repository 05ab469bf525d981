//! What a walk over leaves asks for before it comes there, where records come from far.
//!
//! ```text
//!   cursor ── leaf ─ asked ─ asked ─ asked ┊ not yet          one wait brings all that was asked
//!                                    ▲ scout
//!                      the inner node behind these leaves, asked with them
//! ```
//!
//! Where each read is answered at once, nothing is asked ahead. It begins with the second leaf, if that
//! has to be waited for, and asks for more as the walk goes on: a range of some dozens of leaves takes
//! two waits more than a descent, however it lies over the inner nodes.
//!
//! Promises no more than [`MOST`] leaves and [`BYTES`] bytes of them that were asked for and not come to.
//! What is damaged there is told when the walk comes to it, not before.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use travertine_engine::contract::env::in_passing;
use travertine_engine::contract::{Op, Record, Reference, Result};

use super::cursor::{LEAVES_KEPT, Place, Target, held_child, node_child};
use super::node::Node;
use super::view::Shared;
use crate::index::Direction;

/// Leaves that are asked for at first.
const FIRST: usize = 16;
/// Leaves that are asked for at most.
const MOST: usize = 64;
/// Most bytes of them.
const BYTES: usize = 1 << 20;

/// Records that were asked for and not come to.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    asked: VecDeque<(Reference, Op<Record>)>,
    bytes: usize,
    /// The way to the last leaf that was asked for.
    scout: Vec<Place>,
    /// How far on the walk that leaf is.
    leaves: usize,
    /// So many leaves are asked for.
    window: usize,
}

impl Ahead {
    /// The walk goes elsewhere.
    pub(super) fn forget(&mut self) {
        if !self.asked.is_empty() || self.window > 0 {
            *self = Self::default();
        }
    }

    /// What was asked for is wanted now.
    pub(super) fn take(&mut self, reference: &Reference) -> Option<Op<Record>> {
        let at = self.place_of(reference)?;
        let (asked, mut op) = self.asked.remove(at)?;
        self.bytes -= asked.length as usize;
        look(&mut op);
        Some(op)
    }

    /// The leaf that a path ends with has to be waited for: those behind it are asked for as well.
    /// The walk came past so many leaves.
    pub(super) fn begin(
        &mut self,
        shared: &Shared,
        path: &[Place],
        direction: Direction,
        leaves: usize,
    ) {
        self.leaves = leaves + 1;
        self.scout.clear();
        self.scout.extend_from_slice(path);
        self.fill(shared, direction);
    }

    /// The walk came to a leaf that was asked for: more are, once few are left.
    pub(super) fn go_on(&mut self, shared: &Shared, direction: Direction) {
        if self.asked.len() <= self.window / 2 {
            self.fill(shared, direction);
        }
    }

    /// A child has to be waited for. Where the next one belongs to the next node, that node is asked for
    /// as well.
    pub(super) fn edge(&mut self, shared: &Shared, path: &[Place], direction: Direction) {
        if rest(shared, path, direction).is_ok_and(|rest| rest == 0) {
            self.neighbour(shared, path, direction);
        }
    }

    fn fill(&mut self, shared: &Shared, direction: Direction) {
        self.window = (4 * self.window).clamp(FIRST, MOST);
        let mut scout = std::mem::take(&mut self.scout);
        while self.asked.len() < self.window
            && self.bytes < BYTES
            && let Ok(Some(leaf)) = self.turn(shared, &mut scout, direction)
        {
            // As the walk itself reads them: no cache keeps those far on.
            match self.leaves < LEAVES_KEPT {
                true => self.ask(shared, leaf),
                false => in_passing(|| self.ask(shared, leaf)),
            };
            self.leaves += 1;
        }
        if rest(shared, &scout, direction).is_ok_and(|rest| rest < MOST) {
            self.neighbour(shared, &scout, direction);
        }
        self.scout = scout;
    }

    /// Asks for the node next to the one that a path ends in.
    fn neighbour(&mut self, shared: &Shared, path: &[Place], direction: Direction) {
        let mut above = path[..path.len().saturating_sub(1)].to_vec();
        if let Ok(Some(node)) = self.turn(shared, &mut above, direction) {
            self.ask(shared, node);
        }
    }

    /// Turns a path to the next child of the same level. `None`: there is none, or what leads there has
    /// not come yet; it was asked for.
    fn turn(
        &mut self,
        shared: &Shared,
        path: &mut Vec<Place>,
        direction: Direction,
    ) -> Result<Option<Reference>> {
        let Some((at, mut child)) = shared.next_child(path, direction)? else {
            return Ok(None);
        };
        let target = match direction {
            Direction::Forward => Target::First,
            Direction::Back => Target::Last,
        };
        let mut turned = path[..=at].to_vec();
        turned[at].child = child;
        while turned.len() < path.len() {
            let inner = shared.inner(&turned)?;
            let (record, next) = match inner.kept(child) {
                Some(kept) => (None, held_child(kept, &target)?),
                None => {
                    let reference = inner.reference(child)?;
                    let Some(record) = self.ask(shared, reference) else {
                        return Ok(None);
                    };
                    let level = shared.level_below(&turned);
                    let next = node_child(&Node::of(&record, level)?, &target)?;
                    (Some(record), next)
                }
            };
            child = next;
            turned.push(Place { record, child });
        }
        *path = turned;
        shared.inner(path)?.reference(child).map(Some)
    }

    /// Asks for a record, once; it, if it is there.
    fn ask(&mut self, shared: &Shared, reference: Reference) -> Option<Record> {
        let at = match self.place_of(&reference) {
            Some(at) => at,
            None => {
                self.bytes += reference.length as usize;
                self.asked
                    .push_back((reference, shared.source.read(&reference)));
                self.asked.len() - 1
            }
        };
        let (_, op) = self.asked.get_mut(at)?;
        look(op);
        op.as_ready()?.as_ref().ok().cloned()
    }

    fn place_of(&self, reference: &Reference) -> Option<usize> {
        self.asked
            .iter()
            .position(|(asked, _)| asked.oid == reference.oid)
    }
}

/// Children behind the one that a path ends with, in the same node.
fn rest(shared: &Shared, path: &[Place], direction: Direction) -> Result<usize> {
    let child = path.last().map_or(0, |last| last.child);
    Ok(match direction {
        Direction::Forward => shared.inner(path)?.children().saturating_sub(child + 1),
        Direction::Back => child,
    })
}

/// Looks whether an answer has come.
fn look(op: &mut Op<Record>) {
    if !op.is_ready()
        && let Poll::Ready(answer) =
            Pin::new(&mut *op).poll(&mut Context::from_waker(Waker::noop()))
    {
        *op = Op::ready(answer);
    }
}
