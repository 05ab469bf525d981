//! A cursor over a tree: the path to a leaf and a gap in it.
//!
//! ```text
//!   path   (inner node, child) (inner node, child)     leaf   e e e e
//!                                                                ^ gap
//! ```
//!
//! Where the next leaf must be fetched and is not at hand, what was walked so far is kept in
//! [`Going`], so that each record is asked for once; the cursor itself moves only on arrival. A walk
//! over several leaves says some ahead which ones come, and where they come from far it
//! [asks for them](super::ahead) before.

use std::sync::{Arc, Mutex, PoisonError};

use travertine_engine::contract::env::{ahead, in_passing};
use travertine_engine::contract::{Error, Op, Record, Reference, Result};

use super::ahead::Ahead;
use super::held::Held;
use super::node::Node;
use super::rows::{Rows, Shown};
use super::view::Shared;
use crate::index::{Cursor, Direction, Entry, Step};

/// A cursor over a [`BtreeView`](super::BtreeView).
#[derive(Debug)]
pub struct BtreeCursor {
    shared: Arc<Shared>,
    path: Vec<Place>,
    leaf: Option<Rows>,
    gap: usize,
    /// The entry in the leaf that was moved over last, and its key.
    shown: Option<Shown>,
    key: Vec<u8>,
    /// So many bytes of `key` are what all keys of the leaf begin with.
    common: Option<usize>,
    /// Where to go before the next step.
    target: Option<Target>,
    going: Option<Going>,
    ahead: Ahead,
    /// Leaves that it came to since it was told where to go.
    leaves: usize,
    /// A path that was left, for the room that it takes.
    spare: Vec<Place>,
}

/// A walk over more leaves than this reads the next ones in passing: no cache keeps them for it.
pub(super) const LEAVES_KEPT: usize = 8;
/// Leaves that are said ahead at once, by a walk that came past its second.
const LEAVES_AHEAD: usize = 8;

/// An inner node on the way, and the child that the way leads to.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The node; `None` if the view keeps it, and with it every node above.
    pub(super) record: Option<Record>,
    pub(super) child: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Target {
    First,
    Last,
    Key(Vec<u8>),
}

/// On the way to another leaf.
#[derive(Debug)]
struct Going {
    /// The neighbour in this direction; `None` for a target.
    to: Option<Direction>,
    /// The way so far: what is wanted next is the child that it ends with.
    path: Vec<Place>,
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
            ahead: Ahead::default(),
            leaves: 0,
            spare: Vec::new(),
        }
    }

    fn head_for(&mut self, target: Target) {
        self.target = Some(target);
        self.going = None;
        self.ahead.forget();
        self.shown = None;
        self.leaves = 0;
    }

    /// Goes where a seek said, to go on in a direction.
    fn arrive(&mut self, target: &Target, direction: Direction) -> Result<Arrival> {
        let going = match self.going.take() {
            Some(going) if going.to.is_none() => going,
            _ => {
                let Some((top, held)) = &self.shared.top else {
                    return Ok(Arrival::There);
                };
                if top.level == 0 {
                    let record = held.record().clone();
                    self.settle(record, target)?;
                    return Ok(Arrival::There);
                }
                let child = held_child(held, target)?;
                // Where it stood no longer matters, and its path has the room for the new one.
                let mut path = std::mem::take(&mut self.path);
                path.clear();
                path.push(Place {
                    record: None,
                    child,
                });
                self.leaf = None;
                Going {
                    to: None,
                    path,
                    arriving: None,
                }
            }
        };
        self.go(going, target, direction)
    }

    /// Goes to the neighbouring leaf; `None` if there is none.
    fn turn(&mut self, direction: Direction) -> Result<Option<Arrival>> {
        let going = match self.going.take() {
            Some(going) if going.to == Some(direction) => going,
            _ => {
                let Some((at, child)) = self.shared.next_child(&self.path, direction)? else {
                    return Ok(None);
                };
                let mut path = std::mem::take(&mut self.spare);
                path.clear();
                path.extend_from_slice(&self.path[..=at]);
                path[at].child = child;
                Going {
                    to: Some(direction),
                    path,
                    arriving: None,
                }
            }
        };
        let target = match direction {
            Direction::Forward => Target::First,
            Direction::Back => Target::Last,
        };
        self.go(going, &target, direction).map(Some)
    }

    fn go(&mut self, mut going: Going, target: &Target, direction: Direction) -> Result<Arrival> {
        let ahead = (&mut self.ahead, direction);
        match self.shared.go(&mut going, target, self.leaves, ahead)? {
            Gone::Wait(op) => {
                self.going = Some(going);
                Ok(Arrival::Wait(op))
            }
            Gone::Leaf(record) => {
                self.settle(record, target)?;
                self.spare = std::mem::replace(&mut self.path, going.path);
                self.leaves += 1;
                Ok(Arrival::There)
            }
        }
    }

    /// Stands in a leaf.
    fn settle(&mut self, record: Record, target: &Target) -> Result<()> {
        let node = Node::of(&record, 0)?;
        let gap = match target {
            Target::First => 0,
            Target::Key(key) => node.search(key)?.0,
            Target::Last => node.keys(),
        };
        self.leaf = Some(Rows::of(record)?);
        self.gap = gap;
        self.common = None;
        self.shown = None;
        Ok(())
    }

    /// The row to step over in a leaf, and the gap behind it.
    #[inline]
    fn over(&self, direction: Direction) -> Option<(usize, usize)> {
        let rows = self.leaf.as_ref()?.len();
        match direction {
            Direction::Forward => Some((self.gap, self.gap + 1)).filter(|_| self.gap < rows),
            Direction::Back => self.gap.checked_sub(1).map(|over| (over, over)),
        }
    }

    /// Moves over a row of the leaf.
    #[inline]
    fn show(&mut self, over: usize, gap: usize) -> Result<Step> {
        let Some(leaf) = &self.leaf else {
            return Ok(Step::End);
        };
        match self.common {
            Some(common) => self.key.truncate(common),
            None => {
                self.key.clear();
                self.key.extend_from_slice(leaf.prefix());
                self.common = Some(self.key.len());
            }
        }
        self.shown = Some(leaf.row(over, &mut self.key)?);
        self.gap = gap;
        Ok(Step::Entry)
    }

    /// A step that begins with going somewhere.
    #[inline(never)]
    fn step_far(&mut self, direction: Direction) -> Result<Step> {
        if let Some(target) = self.target.take() {
            match self.arrive(&target, direction) {
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
            if self.leaf.is_none() {
                return Ok(Step::End);
            }
            if let Some((over, gap)) = self.over(direction) {
                return self.show(over, gap);
            }
            match self.turn(direction)? {
                Some(Arrival::There) => {}
                Some(Arrival::Wait(op)) => return Ok(Step::Wait(op)),
                None => return Ok(Step::End),
            }
        }
    }
}

/// How far a way went.
enum Gone {
    Leaf(Record),
    Wait(Op<()>),
}

/// An inner node of a path.
pub(super) enum Inner<'s> {
    Held(&'s Held),
    Read(Node<'s>),
}

impl<'s> Inner<'s> {
    pub(super) fn children(&self) -> usize {
        match self {
            Self::Held(held) => held.node().children(),
            Self::Read(node) => node.children(),
        }
    }

    pub(super) fn reference(&self, child: usize) -> Result<Reference> {
        match self {
            Self::Held(held) => held.reference(child),
            Self::Read(node) => node.child(child),
        }
    }

    /// A child that the view keeps.
    pub(super) fn kept(&self, child: usize) -> Option<&'s Held> {
        match self {
            Self::Held(held) => held.child(child),
            Self::Read(_) => None,
        }
    }
}

impl Shared {
    /// Where a path can turn to the next child in this direction, as low as may be.
    pub(super) fn next_child(
        &self,
        path: &[Place],
        direction: Direction,
    ) -> Result<Option<(usize, usize)>> {
        for at in (0..path.len()).rev() {
            let child = path[at].child;
            let next = match direction {
                Direction::Forward => {
                    let children = self.inner(&path[..=at])?.children();
                    Some(child + 1).filter(|next| *next < children)
                }
                Direction::Back => child.checked_sub(1),
            };
            if let Some(next) = next {
                return Ok(Some((at, next)));
            }
        }
        Ok(None)
    }

    /// The level of what a path ends with a child of.
    pub(super) fn level_below(&self, path: &[Place]) -> u8 {
        let top = self.top.as_ref().map_or(0, |(top, _)| top.level);
        top.saturating_sub(path.len() as u8)
    }

    /// The node that a path ends with.
    pub(super) fn inner<'s>(&'s self, path: &'s [Place]) -> Result<Inner<'s>> {
        let lost = || Error::corrupt("a path in a B-tree leads nowhere");
        let (Some((top, held)), Some((last, before))) = (&self.top, path.split_last()) else {
            return Err(lost());
        };
        if let Some(record) = &last.record {
            return Node::of(record, top.level - before.len() as u8).map(Inner::Read);
        }
        let mut held = held;
        for place in before {
            held = held.child(place.child).ok_or_else(lost)?;
        }
        Ok(Inner::Held(held))
    }

    /// Goes down to a leaf.
    fn go(
        &self,
        going: &mut Going,
        target: &Target,
        leaves: usize,
        (ahead, direction): (&mut Ahead, Direction),
    ) -> Result<Gone> {
        loop {
            let Some(child) = going.path.last().map(|last| last.child) else {
                return Err(Error::corrupt("a path in a B-tree leads nowhere"));
            };
            let level = self.level_below(&going.path);
            let inner = self.inner(&going.path)?;
            let arrived = going
                .arriving
                .take()
                .and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
            if level > 0
                && arrived.is_none()
                && let Some(kept) = inner.kept(child)
            {
                let child = held_child(kept, target)?;
                going.path.push(Place {
                    record: None,
                    child,
                });
                continue;
            }
            let record = match arrived {
                Some(record) => record,
                None => {
                    let walks = level == 0 && going.to.is_some();
                    let asked = ahead.take(&inner.reference(child)?);
                    let is_new = asked.is_none();
                    let op = match asked {
                        Some(op) => op,
                        None => {
                            let leaves = if level == 0 { leaves } else { 0 };
                            self.read(&inner, child, going.to, leaves)?
                        }
                    };
                    if walks && !is_new {
                        ahead.go_on(self, direction);
                    }
                    match op.try_ready() {
                        Ok(answer) => answer?,
                        Err(op) => {
                            match is_new {
                                true if walks => ahead.begin(self, &going.path, direction, leaves),
                                true => ahead.edge(self, &going.path, direction),
                                false => {}
                            }
                            let slot = Arc::new(Mutex::new(None));
                            going.arriving = Some(slot.clone());
                            return Ok(Gone::Wait(op.map(move |record| {
                                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
                            })));
                        }
                    }
                }
            };
            if level == 0 {
                return Ok(Gone::Leaf(record));
            }
            let next = node_child(&Node::of(&record, level)?, target)?;
            let kept = match inner {
                Inner::Held(held) => self.room.keep(held, child, &record, level)?.is_some(),
                Inner::Read(_) => false,
            };
            going.path.push(Place {
                record: Some(record).filter(|_| !kept),
                child: next,
            });
        }
    }

    /// Reads a child. A walk that came past some leaves says now and then which ones come next.
    fn read(
        &self,
        inner: &Inner<'_>,
        child: usize,
        to: Option<Direction>,
        leaves: usize,
    ) -> Result<Op<Record>> {
        let reference = inner.reference(child)?;
        let read = || self.source.read(&reference);
        if leaves < 2 {
            return Ok(ahead(&[reference], read));
        }
        let read = || match leaves < LEAVES_KEPT {
            true => read(),
            false => in_passing(read),
        };
        let first = child / LEAVES_AHEAD * LEAVES_AHEAD;
        let begins = match to {
            Some(Direction::Forward) => child == first,
            Some(Direction::Back) => child + 1 == first + LEAVES_AHEAD,
            None => false,
        };
        if !begins {
            return Ok(ahead(&[reference], read));
        }
        let mut coming = [reference; LEAVES_AHEAD];
        let some = (first..inner.children().min(first + LEAVES_AHEAD)).zip(&mut coming);
        for (child, place) in some {
            *place = inner.reference(child)?;
        }
        Ok(ahead(&coming, read))
    }
}

impl Cursor for BtreeCursor {
    fn seek(&mut self, key: &[u8]) {
        self.head_for(Target::Key(key.to_vec()));
    }

    fn seek_end(&mut self) {
        self.head_for(Target::Last);
    }

    #[inline]
    fn step(&mut self, direction: Direction) -> Result<Step> {
        self.shown = None;
        match self.over(direction).filter(|_| self.target.is_none()) {
            Some((over, gap)) => self.show(over, gap),
            None => self.step_far(direction),
        }
    }

    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        let value = self.leaf.as_ref()?.value(self.shown.as_ref()?)?;
        Some(Entry {
            key: &self.key,
            value,
        })
    }
}

pub(super) fn held_child(held: &Held, target: &Target) -> Result<usize> {
    match target {
        Target::Key(key) => held.child_of(key),
        _ => node_child(&held.node(), target),
    }
}

pub(super) fn node_child(node: &Node<'_>, target: &Target) -> Result<usize> {
    match target {
        Target::First => Ok(0),
        Target::Key(key) => node.child_of(key),
        Target::Last => node
            .children()
            .checked_sub(1)
            .ok_or_else(|| Error::corrupt("an inner B-tree node has no children")),
    }
}
