//! The map that a tree of nodes stands for.

use std::sync::Arc;

use travertine_engine::contract::{Op, Record, Reference, Result};

use super::cursor::NodesCursor;
use super::diff::NodesDiff;
use super::page::{Page, misfit};
use super::{Cell, Digest, Nodes, Row, digest};
use crate::apart;
use crate::diff::Diff;
use crate::index::{Found, View};
use crate::records::{Source, check_edge};
use crate::report::Report;

/// A map in [`Nodes`], at one root. It holds the topmost node; all else is read when asked for.
#[derive(Debug, Clone)]
pub struct NodesView {
    pub(super) nodes: Nodes,
    pub(super) source: Arc<dyn Source>,
    pub(super) top: Option<(Reference, Page)>,
    count: u64,
}

/// What is known of a node before it is read.
struct Told<'a> {
    node: Reference,
    first: Option<&'a [u8]>,
    /// All its keys are less than this.
    until: Option<&'a [u8]>,
    count: Option<u64>,
    height: u8,
    digest: Option<Digest>,
}

impl NodesView {
    pub(super) fn open(nodes: Nodes, source: Arc<dyn Source>, root: Option<Reference>) -> Op<Self> {
        let Some(root) = root else {
            return Op::ok(Self {
                nodes,
                source,
                top: None,
                count: 0,
            });
        };
        source.read(&root).and_then(move |record| {
            let page = Page::of(nodes, record)?;
            Ok(Self {
                nodes,
                source,
                count: page.count()?,
                top: Some((root, page)),
            })
        })
    }

    /// The rows of the topmost node; none, if the map is empty.
    pub fn rows(&self) -> Result<Vec<Row>> {
        match &self.top {
            Some((_, page)) => page.rows(),
            None => Ok(Vec::new()),
        }
    }

    /// What the map holds, told by 32 bytes: the digest of the topmost node. `None` for the empty map,
    /// and of an index without [digests](Nodes::digested).
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        let (_, page) = self.top.as_ref().filter(|_| self.nodes.digests)?;
        Some(digest::of(&[page.record().body()]))
    }

    /// Looks at a node and all under it.
    fn look_at(&self, told: &Told<'_>, report: &mut Report) {
        let oid = told.node.oid;
        let looked = self.source.read(&told.node).wait().and_then(|record| {
            check_edge(&told.node, &record)?;
            let page = self.nodes.page_below(record, told.height)?;
            let count = page.count()?;
            Ok((page.rows()?, count, page))
        });
        let (rows, count, page) = match looked {
            Ok(looked) => looked,
            Err(error) => return report.add_error(oid, &error),
        };
        report.nodes += 1;
        report.node_bytes += page.record().stored_len() as u64;
        report.leaves += u64::from(page.height() == 0);
        let (first, last) = (rows.first(), rows.last());
        let astray = told
            .first
            .is_some_and(|key| first.is_some_and(|row| row.key != key))
            || told
                .until
                .is_some_and(|key| last.is_some_and(|row| row.key >= key));
        if astray {
            // Whatever lies under it is not looked at: so no node is looked at twice.
            return report.add(oid, "its keys do not lie where the node above says");
        }
        if told.count.is_some_and(|told| told != count) {
            report.add(oid, "it has not as many entries as the node above says");
        }
        if told
            .digest
            .is_some_and(|told| told != digest::of(&[page.record().body()]))
        {
            report.add(oid, "its contents are not those that the node above says");
        }
        for (at, row) in rows.iter().enumerate() {
            match &row.cell {
                Cell::Inline(value) => {
                    report.entries += 1;
                    report.payload_bytes += (row.key.len() + value.len()) as u64;
                }
                Cell::Apart(value) => {
                    report.entries += 1;
                    report.payload_bytes += row.key.len() as u64;
                    let damaged = report.damaged;
                    apart::verify(&*self.source, value, report);
                    let sound = || digest::of_value(&*self.source, value).ok() == row.digest;
                    if row.digest.is_some() && damaged == report.damaged && !sound() {
                        report.add(value.reference.oid, "its bytes are not those it came with");
                    }
                }
                Cell::Below {
                    node,
                    count,
                    height,
                } => {
                    let told = Told {
                        node: *node,
                        first: Some(&row.key),
                        until: rows.get(at + 1).map(|next| &next.key[..]).or(told.until),
                        count: Some(*count),
                        height: *height,
                        digest: row.digest,
                    };
                    self.look_at(&told, report);
                }
            }
        }
    }
}

impl View for NodesView {
    type Cursor = NodesCursor;

    fn count(&self) -> u64 {
        self.count
    }

    fn find(&self, key: &[u8]) -> Op<Option<Found>> {
        let Some((_, page)) = &self.top else {
            return Op::ok(None);
        };
        match look(page, key) {
            Ok(Look::Below(node, height)) => {
                let read = self.source.read(&node);
                descend(self.nodes, &self.source, key, height, read)
            }
            Ok(Look::Here(found)) => Op::ok(found),
            Err(error) => Op::err(error),
        }
    }

    /// One way down: a row that stands for a node knows how many entries lie there.
    fn rank(&self, key: &[u8]) -> Op<u64> {
        let Some((_, page)) = &self.top else {
            return Op::ok(0);
        };
        match passed(page, key) {
            Ok((less, Some((node, height)))) => {
                let read = self.source.read(&node);
                count_less(self.nodes, &self.source, key, less, height, read)
            }
            Ok((less, None)) => Op::ok(less),
            Err(error) => Op::err(error),
        }
    }

    /// Parts that are alike are not read: those that are the same record and, where the index has
    /// [digests](Nodes::digested), those of equal digests. So is a value that lies apart.
    fn diff(&self, newer: &Self) -> Box<dyn Diff> {
        Box::new(NodesDiff::new(self, newer))
    }

    fn cursor(&self) -> NodesCursor {
        NodesCursor::new(self.clone())
    }

    fn verify(&self, report: &mut Report) {
        if let Some((node, page)) = &self.top {
            let told = Told {
                node: *node,
                first: None,
                until: None,
                count: None,
                height: page.height(),
                digest: None,
            };
            report.height = u64::from(page.height()) + 1;
            self.look_at(&told, report);
        }
    }
}

enum Look {
    Below(Reference, u8),
    Here(Option<Found>),
}

/// Looks for `key` in one node.
fn look(page: &Page, key: &[u8]) -> Result<Look> {
    let (at, found) = page.search(key)?;
    let at = match (found, at.checked_sub(1)) {
        (true, _) => at,
        (false, Some(before)) if page.is_node(before)? => before,
        _ => return Ok(Look::Here(None)),
    };
    Ok(match page.cell(at)? {
        Cell::Below { node, height, .. } => Look::Below(node, height),
        Cell::Inline(bytes) => Look::Here(Some(Found::Inline(bytes))),
        Cell::Apart(apart) => Look::Here(Some(Found::Apart(apart))),
    })
}

/// Goes on as long as nodes are at hand; the rest is done by whoever brings the next one.
fn descend(
    nodes: Nodes,
    source: &Arc<dyn Source>,
    key: &[u8],
    mut height: u8,
    mut op: Op<Record>,
) -> Op<Option<Found>> {
    loop {
        let record = match op.try_ready() {
            Ok(Ok(record)) => record,
            Ok(Err(error)) => return Op::err(error),
            Err(op) => {
                let (source, key) = (source.clone(), key.to_vec());
                return op
                    .then(move |record| descend(nodes, &source, &key, height, Op::ok(record)));
            }
        };
        let looked = nodes
            .page_below(record, height)
            .and_then(|page| look(&page, key));
        match looked {
            Ok(Look::Below(node, below)) => {
                op = source.read(&node);
                height = below;
            }
            Ok(Look::Here(found)) => return Op::ok(found),
            Err(error) => return Op::err(error),
        }
    }
}

/// How many keys of one node and under it are less than `key` for sure, and the node below where more may be.
fn passed(page: &Page, key: &[u8]) -> Result<(u64, Option<(Reference, u8)>)> {
    let (at, found) = page.search(key)?;
    if let Some(before) = at.checked_sub(1).filter(|_| !found)
        && page.is_node(before)?
        && let Cell::Below { node, height, .. } = page.cell(before)?
    {
        return Ok((page.count_before(before)?, Some((node, height))));
    }
    Ok((page.count_before(at)?, None))
}

/// Goes on as [`descend`] does.
fn count_less(
    nodes: Nodes,
    source: &Arc<dyn Source>,
    key: &[u8],
    mut less: u64,
    mut height: u8,
    mut op: Op<Record>,
) -> Op<u64> {
    loop {
        let record = match op.try_ready() {
            Ok(Ok(record)) => record,
            Ok(Err(error)) => return Op::err(error),
            Err(op) => {
                let (source, key) = (source.clone(), key.to_vec());
                return op.then(move |record| {
                    count_less(nodes, &source, &key, less, height, Op::ok(record))
                });
            }
        };
        let passed = nodes
            .page_below(record, height)
            .and_then(|page| passed(&page, key));
        let (count, below) = match passed {
            Ok(passed) => passed,
            Err(error) => return Op::err(error),
        };
        less = match less.checked_add(count) {
            Some(less) => less,
            None => return Op::err(misfit("counts more entries than there are numbers")),
        };
        let Some((node, lower)) = below else {
            return Op::ok(less);
        };
        op = source.read(&node);
        height = lower;
    }
}

/// What a cursor shows at a place of a node, if that is an entry.
pub(super) fn fits(page: &Page, at: usize) -> Result<()> {
    match page.entry(at)? {
        Some(_) => Ok(()),
        None => Err(misfit("has a node where an entry was")),
    }
}
