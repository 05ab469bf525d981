//! Reading a tree at one root.
//!
//! Several keys are looked for side by side: every key takes a step down before the next step is
//! taken, so that the processor waits for many lines of memory at once, and not for one after the
//! other.

use std::cell::Cell;
use std::sync::Arc;

use travertine_engine::contract::env::ahead;
use travertine_engine::contract::{Op, Record, Reference, Result};

use super::Btree;
use super::cursor::BtreeCursor;
use super::diff::TreeDiff;
use super::held::{Held, Room};
use super::node::Node;
use super::root;
use super::spine::{Spine, Top};
use crate::diff::Diff;
use crate::gather::gather;
use crate::index::{Found, View};
use crate::records::Source;
use crate::report::Report;

/// Keys that are looked for side by side.
const CHAINS: usize = 16;
/// Bytes of an entry that are brought near: the rest follows by itself.
const ENTRY_NEAR: usize = 192;

/// A B-tree at one root. It holds the top node, and inner nodes that it met often; all else is read
/// when asked for.
#[derive(Debug, Clone)]
pub struct BtreeView {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Btree,
    pub(super) source: Arc<dyn Source>,
    pub(super) top: Option<(Top, Held)>,
    pub(super) room: Room,
}

impl BtreeView {
    pub(super) fn open(
        options: Btree,
        source: Arc<dyn Source>,
        root: Option<Reference>,
    ) -> Op<Self> {
        let view = move |source, top| Self {
            shared: Arc::new(Shared {
                options,
                source,
                top,
                room: Room::new(),
            }),
        };
        let Some(root) = root else {
            return Op::ok(view(source, None));
        };
        source
            .read(&root)
            .then(move |record| match root::decode(&record) {
                Err(error) => Op::err(error),
                Ok(None) => Op::ok(view(source, None)),
                Ok(Some(top)) => source.read(&top.link.0).and_then(move |record| {
                    let held = Held::of(record, top.level)?;
                    Ok(view(source, Some((top, held))))
                }),
            })
    }
}

impl View for BtreeView {
    type Cursor = BtreeCursor;

    fn count(&self) -> u64 {
        self.shared.top.as_ref().map_or(0, |(top, _)| top.link.1)
    }

    fn find(&self, key: &[u8]) -> Op<Option<Found>> {
        let Some((top, held)) = &self.shared.top else {
            return Op::ok(None);
        };
        self.shared.find(held, top.level, key)
    }

    fn find_many(&self, keys: &[&[u8]]) -> Op<Vec<Option<Found>>> {
        let Some((top, held)) = &self.shared.top else {
            return Op::ok(vec![None; keys.len()]);
        };
        let mut ops = Vec::with_capacity(keys.len());
        for keys in keys.chunks(CHAINS) {
            let mut chains: Vec<_> = keys.iter().map(|key| Chain::new(key, held)).collect();
            for level in (1..=top.level).rev() {
                self.shared.down(&mut chains, level);
            }
            bring_near(&chains);
            ops.extend(chains.into_iter().map(Chain::done));
        }
        gather(ops)
    }

    fn rank(&self, key: &[u8]) -> Op<u64> {
        match &self.shared.top {
            None => Op::ok(0),
            Some((top, held)) => {
                let record = Op::ok(held.record().clone());
                rank(&self.shared.source, key, top.level, 0, record)
            }
        }
    }

    fn diff(&self, newer: &Self) -> Box<dyn Diff> {
        Box::new(TreeDiff::new(self.shared.clone(), newer.shared.clone()))
    }

    fn cursor(&self) -> BtreeCursor {
        BtreeCursor::new(self.shared.clone())
    }

    fn verify(&self, report: &mut Report) {
        super::verify::verify(&self.shared, report);
    }
}

impl Shared {
    /// Looks below a node that is kept.
    fn find(&self, mut held: &Held, mut level: u8, key: &[u8]) -> Op<Option<Found>> {
        loop {
            if level == 0 {
                return Op::ready(in_leaf_record(held.record().clone(), key));
            }
            let child = match held.child_of(key) {
                Ok(child) => child,
                Err(error) => return Op::err(error),
            };
            level -= 1;
            if let Some(kept) = held.child(child) {
                held = kept;
                continue;
            }
            let reference = match held.reference(child) {
                Ok(reference) => reference,
                Err(error) => return Op::err(error),
            };
            let op = ahead(&[reference], || self.source.read(&reference));
            let record = match op.try_ready() {
                Ok(Ok(record)) if level > 0 => record,
                Ok(answer) => return descend(&self.source, key, level, Op::ready(answer)),
                Err(op) => return descend(&self.source, key, level, op),
            };
            match self.room.keep(held, child, &record, level) {
                Ok(Some(kept)) => held = kept,
                Ok(None) => return descend(&self.source, key, level, Op::ok(record)),
                Err(error) => return Op::err(error),
            }
        }
    }

    /// Takes all chains from nodes of this level to those below.
    fn down<'v>(&'v self, chains: &mut [Chain<'_, 'v>], level: u8) {
        let mut coming = [None; CHAINS];
        let mut references = Vec::with_capacity(CHAINS);
        for (chain, coming) in chains.iter_mut().zip(&mut coming) {
            match chain.step(level) {
                Ok(Some((held, child, reference))) => {
                    *coming = Some((held, child, reference));
                    references.push(reference);
                }
                Ok(None) => {}
                Err(error) => chain.at = At::Done(Op::err(error)),
            }
        }
        if references.is_empty() {
            return;
        }
        let below = level - 1;
        ahead(&references, || {
            for (chain, coming) in chains.iter_mut().zip(coming) {
                let Some((held, child, reference)) = coming else {
                    continue;
                };
                chain.at = match self.source.read(&reference).try_ready() {
                    Ok(Ok(record)) => self.arrived(held, child, record, below),
                    Ok(Err(error)) => At::Done(Op::err(error)),
                    Err(op) => At::Done(descend(&self.source, chain.key, below, op)),
                };
            }
        });
    }

    /// A node that was read, kept if it can be.
    fn arrived<'v>(
        &'v self,
        held: Option<&'v Held>,
        child: usize,
        record: Record,
        level: u8,
    ) -> At<'v> {
        let Some(held) = held.filter(|_| level > 0) else {
            return At::Read(record);
        };
        match self.room.keep(held, child, &record, level) {
            Ok(Some(kept)) => At::Held(kept),
            Ok(None) => At::Read(record),
            Err(error) => At::Done(Op::err(error)),
        }
    }
}

/// One key on its way down.
struct Chain<'k, 'v> {
    key: &'k [u8],
    at: At<'v>,
    /// In a leaf: how many keys are less, as far as their heads tell.
    low: Cell<usize>,
}

enum At<'v> {
    /// A node that is kept.
    Held(&'v Held),
    /// One that is not.
    Read(Record),
    /// The answer, or the rest of the way.
    Done(Op<Option<Found>>),
}

/// What a chain wants read: the node that it is a child of, if that is kept, and which child.
type Wanted<'v> = (Option<&'v Held>, usize, Reference);

impl<'k, 'v> Chain<'k, 'v> {
    fn new(key: &'k [u8], held: &'v Held) -> Self {
        Self {
            key,
            at: At::Held(held),
            low: Cell::new(0),
        }
    }

    /// One step down, or what must be read for it.
    fn step(&mut self, level: u8) -> Result<Option<Wanted<'v>>> {
        match &self.at {
            At::Held(held) => {
                let child = held.child_of(self.key)?;
                match held.child(child) {
                    Some(kept) => self.at = At::Held(kept),
                    None => return Ok(Some((Some(*held), child, held.reference(child)?))),
                }
            }
            At::Read(record) => {
                let node = Node::of(record, level)?;
                let child = node.child_of(self.key)?;
                return Ok(Some((None, child, node.child(child)?)));
            }
            At::Done(_) => {}
        }
        Ok(None)
    }

    fn done(self) -> Op<Option<Found>> {
        match self.at {
            At::Held(held) => Op::ready(in_leaf_record(held.record().clone(), self.key)),
            At::Read(record) => Op::ready(in_leaf_record(record, self.key)),
            At::Done(op) => op,
        }
    }
}

/// Brings near what the chains will look at in the leaves that they came to: slots first, then the
/// entries that they name. Each time all are asked for before any is waited for.
fn bring_near(chains: &[Chain<'_, '_>]) {
    let mut near: [&[u8]; CHAINS] = [&[]; CHAINS];
    for (chain, near) in chains.iter().zip(&mut near) {
        if let At::Read(record) = &chain.at
            && let Ok(node) = Node::of(record, 0)
        {
            chain.low.set(node.nearest(chain.key));
            *near = node.slot_byte(chain.low.get());
        }
    }
    touch(&near, 1);
    for (chain, near) in chains.iter().zip(&mut near) {
        if let At::Read(record) = &chain.at
            && let Ok(node) = Node::of(record, 0)
        {
            *near = node.entry_bytes(chain.low.get());
        }
    }
    touch(&near, ENTRY_NEAR);
}

/// Looks at a byte of each of the first lines of each.
#[inline]
fn touch(near: &[&[u8]; CHAINS], bytes: usize) {
    let mut seen = 0;
    for at in (0..bytes).step_by(64) {
        for bytes in near {
            seen ^= bytes.get(at).copied().unwrap_or(0);
        }
    }
    std::hint::black_box(seen);
}

/// Calls `f` with the leaf in which `key` lies, if it lies anywhere.
pub(super) fn in_leaf<T>(
    spine: &Spine<'_>,
    mut top: Top,
    key: &[u8],
    f: impl FnOnce(&Node<'_>) -> Result<T>,
) -> Result<T> {
    loop {
        let record = spine.read(top.level, top.link)?;
        let node = Node::of(&record, top.level)?;
        if top.level == 0 {
            return f(&node);
        }
        let child = node.child_of(key)?;
        top = Top {
            link: (node.child(child)?, node.child_count(child)?),
            level: top.level - 1,
        };
    }
}

/// Looks for `key` in a leaf.
fn in_leaf_record(record: Record, key: &[u8]) -> Result<Option<Found>> {
    let node = Node::of(&record, 0)?;
    let (at, found) = node.search(key)?;
    if !found {
        return Ok(None);
    }
    let row = node.spot().row(record.body(), at)?;
    if row.apart {
        return Ok(Some(Found::Apart(node.apart(at)?)));
    }
    let value = row.value;
    Ok(Some(Found::Inline(record.into_body_part(value))))
}

/// Goes on as long as nodes are at hand; the rest is done by whoever brings the next one.
fn descend(
    source: &Arc<dyn Source>,
    key: &[u8],
    mut level: u8,
    mut op: Op<Record>,
) -> Op<Option<Found>> {
    loop {
        let record = match op.try_ready() {
            Ok(Ok(record)) => record,
            Ok(Err(error)) => return Op::err(error),
            Err(op) => {
                let (source, key) = (source.clone(), key.to_vec());
                return op.then(move |record| descend(&source, &key, level, Op::ok(record)));
            }
        };
        if level == 0 {
            return Op::ready(in_leaf_record(record, key));
        }
        let child = Node::of(&record, level).and_then(|node| node.child(node.child_of(key)?));
        match child {
            Ok(child) => op = ahead(&[child], || source.read(&child)),
            Err(error) => return Op::err(error),
        }
        level -= 1;
    }
}

fn rank(
    source: &Arc<dyn Source>,
    key: &[u8],
    mut level: u8,
    mut before: u64,
    mut op: Op<Record>,
) -> Op<u64> {
    loop {
        let record = match op.try_ready() {
            Ok(Ok(record)) => record,
            Ok(Err(error)) => return Op::err(error),
            Err(op) => {
                let (source, key) = (source.clone(), key.to_vec());
                return op.then(move |record| rank(&source, &key, level, before, Op::ok(record)));
            }
        };
        let next = Node::of(&record, level).and_then(|node| {
            if level == 0 {
                return Ok((node.search(key)?.0 as u64, None));
            }
            let child = node.child_of(key)?;
            Ok((node.count_before(child), Some(node.child(child)?)))
        });
        match next {
            Ok((here, None)) => return Op::ok(before.saturating_add(here)),
            Ok((here, Some(child))) => {
                before = before.saturating_add(here);
                op = source.read(&child);
            }
            Err(error) => return Op::err(error),
        }
        level -= 1;
    }
}
