//! Reading a tree at one root.

use std::sync::Arc;

use travertine_engine::contract::{Op, Record, Reference, Result};

use super::Btree;
use super::cursor::BtreeCursor;
use super::node::Node;
use super::root;
use super::spine::{Spine, Top};
use crate::index::{Found, Value, View};
use crate::records::Source;
use crate::report::Report;

/// A B-tree at one root. It holds the top node; all else is read when asked for.
#[derive(Debug, Clone)]
pub struct BtreeView {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Btree,
    pub(super) source: Arc<dyn Source>,
    pub(super) top: Option<(Top, Record)>,
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
                    Node::of(&record, top.level)?;
                    Ok(view(source, Some((top, record))))
                }),
            })
    }

    /// How many keys are less than `key`.
    pub fn rank(&self, key: &[u8]) -> Op<u64> {
        match &self.shared.top {
            None => Op::ok(0),
            Some((top, record)) => rank(
                &self.shared.source,
                key,
                top.level,
                0,
                Op::ok(record.clone()),
            ),
        }
    }
}

impl View for BtreeView {
    type Cursor = BtreeCursor;

    fn count(&self) -> u64 {
        self.shared.top.as_ref().map_or(0, |(top, _)| top.link.1)
    }

    fn find(&self, key: &[u8]) -> Op<Option<Found>> {
        let Some((top, record)) = &self.shared.top else {
            return Op::ok(None);
        };
        match look(record, top.level, key) {
            Ok(Look::Below(child)) => {
                let source = &self.shared.source;
                descend(source, key, top.level - 1, source.read(&child))
            }
            Ok(Look::Here(found)) => Op::ok(found),
            Err(error) => Op::err(error),
        }
    }

    fn cursor(&self) -> BtreeCursor {
        BtreeCursor::new(self.shared.clone())
    }

    fn verify(&self, report: &mut Report) {
        super::verify::verify(&self.shared, report);
    }
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

enum Look {
    Below(Reference),
    Here(Option<Found>),
}

/// Looks for `key` in one node.
fn look(record: &Record, level: u8, key: &[u8]) -> Result<Look> {
    let node = Node::of(record, level)?;
    if level > 0 {
        return Ok(Look::Below(node.child(node.child_of(key)?)?));
    }
    let (at, found) = node.search(key)?;
    Ok(Look::Here(match found {
        false => None,
        true => Some(match node.value(at)? {
            Value::Inline(bytes) => Found::Inline(record.encoded().slice_ref(bytes)),
            Value::Apart(apart) => Found::Apart(apart),
        }),
    }))
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
        match look(&record, level, key) {
            Ok(Look::Below(child)) => op = source.read(&child),
            Ok(Look::Here(found)) => return Op::ok(found),
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
