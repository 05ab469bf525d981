//! Reading a tree at one root.
//!
//! Several keys are looked for side by side: every key takes a step down before the next step is
//! taken, and what a step will look at is asked for for all of them first, so that the processor waits
//! for many lines of memory at once, and not for one after the other.
//!
//! ```text
//!   keys      ─┐
//!   lasts     ─┤
//!   blocks    ─┤ of kept nodes, once a level          each line: asked for for all keys,
//!   children  ─┤                                      then used for each of them
//!   heads     ─┤ of the leaves that are read
//!   entries   ─┘
//! ```

use std::ops::Range;
use std::sync::Arc;

use travertine_engine::contract::env::ahead;
use travertine_engine::contract::{Op, Record, Reference, Result, near};

use super::Btree;
use super::cursor::BtreeCursor;
use super::diff::TreeDiff;
use super::filter::hash_of;
use super::held::{Held, Room};
use super::node::{Frame, Node};
use super::root;
use super::spine::{Spine, Top};
use crate::diff::Diff;
use crate::gather::gather;
use crate::index::{Apart, Found, View};
use crate::records::Source;
use crate::report::Report;

/// Keys that are looked for side by side.
const CHAINS: usize = 16;
/// Bytes of an entry that are brought near: the rest follows by itself.
const ENTRY_NEAR: usize = 256;

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
        let (mut found, mut late) = (Vec::with_capacity(keys.len()), Vec::new());
        let mut chains = Vec::with_capacity(keys.len().min(CHAINS));
        let mut asked = Vec::with_capacity(keys.len().min(CHAINS));
        for keys in keys.chunks(CHAINS) {
            keys.iter().for_each(|key| near::bring(key));
            chains.extend(keys.iter().map(|key| Chain::new(key, held)));
            for level in (1..=top.level).rev() {
                self.shared.down(&mut chains, &mut asked, level);
            }
            let mut places = [Place::default(); CHAINS];
            for (chain, place) in chains.iter().zip(&mut places) {
                *place = chain.bring_entry();
            }
            for (chain, place) in chains.drain(..).zip(places) {
                found.push(match chain.done(place, &self.shared.room).try_ready() {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(error)) => return Op::err(error),
                    Err(op) => {
                        late.push((found.len(), op));
                        None
                    }
                });
            }
        }
        if late.is_empty() {
            return Op::ok(found);
        }
        let (places, late): (Vec<_>, Vec<_>) = late.into_iter().unzip();
        gather(late).map(move |answers| {
            for (place, answer) in places.into_iter().zip(answers) {
                found[place] = answer;
            }
            found
        })
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

    fn held(&self) -> u64 {
        let top = self.shared.top.as_ref();
        let top = top.map_or(0, |(_, held)| 2 * held.record().encoded().len());
        (top + self.shared.room.taken()) as u64
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
            let hash = (level == 0 && self.room.filters()).then(|| hash_of(key));
            if let Some(hash) = hash {
                let lacks = held.lacks(child, hash);
                self.room.filtered(hash, lacks);
                if lacks {
                    return Op::ok(None);
                }
            }
            let reference = match held.reference(child) {
                Ok(reference) => reference,
                Err(error) => return Op::err(error),
            };
            let op = ahead(&[reference], || self.source.read(&reference));
            if level == 0
                && let Some(Ok(record)) = op.as_ready()
            {
                // Moved once all is known: what was written a moment ago is slow to be copied.
                let node = match Node::of(record, 0) {
                    Ok(node) => node,
                    Err(error) => return Op::err(error),
                };
                return match there_in(&node, key, node.nearest(key)) {
                    Ok(None) => Op::ready(self.room.missed(held, child, &node).map(|()| None)),
                    Ok(Some(there)) => op.map(move |record| Some(there.of(record))),
                    Err(error) => Op::err(error),
                };
            }
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
    fn down<'v>(&'v self, chains: &mut [Chain<'_, 'v>], asked: &mut Vec<Reference>, level: u8) {
        let (mut nearest, mut children) = ([None; CHAINS], [0; CHAINS]);
        let mut coming = [None; CHAINS];
        for chain in chains.iter() {
            if let At::Held(held) = &chain.at {
                held.bring_lasts();
            }
        }
        for (chain, nearest) in chains.iter().zip(&mut nearest) {
            if let At::Held(held) = &chain.at {
                *nearest = held.nearest(chain.key);
                held.bring_block(*nearest);
            }
        }
        for ((chain, nearest), child) in chains.iter_mut().zip(nearest).zip(&mut children) {
            if let At::Held(held) = &chain.at {
                match held.child_at(nearest, chain.key) {
                    Ok(found) => {
                        *child = found;
                        held.bring_child(found);
                    }
                    Err(error) => chain.at = At::Done(Op::err(error)),
                }
            }
        }
        for ((chain, child), coming) in chains.iter_mut().zip(children).zip(&mut coming) {
            match chain.step(level, child) {
                Ok(wanted) => *coming = wanted,
                Err(error) => chain.at = At::Done(Op::err(error)),
            }
        }
        asked.clear();
        let below = level - 1;
        if below == 0 && self.room.filters() {
            self.filter(chains, &mut coming);
        }
        asked.extend(coming.iter().flatten().map(|wanted| wanted.reference));
        if asked.is_empty() {
            return;
        }
        ahead(asked, || {
            let wanting = chains.iter_mut().zip(coming);
            for (chain, wanted) in wanting.filter_map(|(chain, coming)| Some((chain, coming?))) {
                chain.at = match self.source.read(&wanted.reference).try_ready() {
                    Ok(Ok(record)) => self.arrived(wanted, record, below),
                    Ok(Err(error)) => At::Done(Op::err(error)),
                    Err(op) => At::Done(descend(&self.source, chain.key, below, op)),
                };
            }
        });
    }

    /// Takes the chains to their end that want leaves which are known not to hold their keys.
    fn filter(&self, chains: &mut [Chain<'_, '_>], coming: &mut [Option<Wanted<'_>>; CHAINS]) {
        let places = coming.iter().flatten().filter_map(|wanted| wanted.place);
        places.for_each(|(held, child)| held.bring_filter(child));
        for (chain, coming) in chains.iter_mut().zip(coming) {
            let Some((held, child)) = coming.and_then(|wanted| wanted.place) else {
                continue;
            };
            let hash = hash_of(chain.key);
            let lacks = held.lacks(child, hash);
            self.room.filtered(hash, lacks);
            if lacks {
                chain.at = At::Done(Op::ok(None));
                *coming = None;
            }
        }
    }

    /// A node that was read, kept if it can be.
    fn arrived<'v>(&'v self, wanted: Wanted<'v>, record: Record, level: u8) -> At<'v> {
        let Some((held, child)) = wanted.place.filter(|_| level > 0) else {
            return At::Read(record, wanted.place);
        };
        match self.room.keep(held, child, &record, level) {
            Ok(Some(kept)) => At::Held(kept),
            Ok(None) => At::Read(record, None),
            Err(error) => At::Done(Op::err(error)),
        }
    }
}

/// One key on its way down.
struct Chain<'k, 'v> {
    key: &'k [u8],
    at: At<'v>,
}

enum At<'v> {
    /// A node that is kept.
    Held(&'v Held),
    /// One that is not. Of a leaf, whose child it is, if that is kept.
    Read(Record, Option<(&'v Held, usize)>),
    /// The answer, or the rest of the way.
    Done(Op<Option<Found>>),
}

/// What a chain wants read.
#[derive(Clone, Copy)]
struct Wanted<'v> {
    /// The node that it is a child of, if that is kept, and which child.
    place: Option<(&'v Held, usize)>,
    reference: Reference,
}

impl<'k, 'v> Chain<'k, 'v> {
    fn new(key: &'k [u8], held: &'v Held) -> Self {
        Self {
            key,
            at: At::Held(held),
        }
    }

    /// One step down, or what must be read for it. From a node that is kept it goes to this child.
    fn step(&mut self, level: u8, child: usize) -> Result<Option<Wanted<'v>>> {
        match &self.at {
            At::Held(held) => match held.child(child) {
                Some(kept) => self.at = At::Held(kept),
                None => {
                    return Ok(Some(Wanted {
                        place: Some((*held, child)),
                        reference: held.reference(child)?,
                    }));
                }
            },
            At::Read(record, _) => {
                let node = Node::of(record, level)?;
                let child = node.child_of(self.key)?;
                return Ok(Some(Wanted {
                    place: None,
                    reference: node.child(child)?,
                }));
            }
            At::Done(_) => {}
        }
        Ok(None)
    }

    /// Where in the leaf that it came to its key is; asks for what lies there.
    #[inline]
    fn bring_entry(&self) -> Place {
        let At::Read(record, _) = &self.at else {
            return Place::default();
        };
        let Ok(node) = Node::of(record, 0) else {
            return Place::default();
        };
        let at = node.nearest(self.key);
        let entry = node.entry_bytes(at);
        near::bring(&entry[..entry.len().min(ENTRY_NEAR)]);
        Place {
            frame: Some(node.frame()),
            at,
        }
    }

    fn done(self, place: Place, room: &Room) -> Op<Option<Found>> {
        let (record, of) = match self.at {
            At::Read(record, of) => (record, of),
            At::Held(held) => (held.record().clone(), None),
            At::Done(op) => return op,
        };
        let Some(frame) = place.frame else {
            return Op::ready(in_leaf_record(record, self.key));
        };
        let node = Node::again(&record, &frame);
        match there_in(&node, self.key, place.at) {
            Ok(None) => Op::ready(match of {
                Some((held, child)) => room.missed(held, child, &node).map(|()| None),
                None => Ok(None),
            }),
            Ok(Some(there)) => Op::ok(Some(there.of(record))),
            Err(error) => Op::err(error),
        }
    }
}

/// Where in a leaf a key is, if it is there.
#[derive(Clone, Copy, Default)]
struct Place {
    frame: Option<Frame>,
    at: usize,
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
    let there = there_in(&node, key, node.nearest(key))?;
    Ok(there.map(|there| there.of(record)))
}

/// What a leaf has of a key.
enum There {
    /// Its value lies there in the body.
    Inline(Range<usize>),
    Apart(Apart),
}

#[inline]
fn there_in(node: &Node<'_>, key: &[u8], at: usize) -> Result<Option<There>> {
    Ok(match node.row_of(key, at)? {
        None => None,
        Some((at, row)) if row.apart => Some(There::Apart(node.apart(at)?)),
        Some((_, row)) => Some(There::Inline(row.value)),
    })
}

impl There {
    #[inline]
    fn of(self, record: Record) -> Found {
        match self {
            Self::Inline(value) => Found::Inline(record.into_body_part(value)),
            Self::Apart(apart) => Found::Apart(apart),
        }
    }
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
