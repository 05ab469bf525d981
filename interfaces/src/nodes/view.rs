//! The map that a tree of nodes stands for.

use std::sync::Arc;

use travertine_engine::contract::{Error, Op, Reference, Result};

use super::cursor::NodesCursor;
use super::{Cell, DEPTH_MAX, Nodes, Row, count_of};
use crate::apart;
use crate::index::{Found, View};
use crate::records::{Source, check_edge};
use crate::report::Report;

pub(super) type Rows = Arc<[Row]>;

/// A map in [`Nodes`], at one root. It holds the topmost node; all else is read when asked for.
#[derive(Debug, Clone)]
pub struct NodesView {
    pub(super) nodes: Nodes,
    pub(super) source: Arc<dyn Source>,
    pub(super) rows: Rows,
    root: Option<Reference>,
}

/// What is known of a node before it is read.
struct Told<'a> {
    node: Reference,
    first: Option<&'a [u8]>,
    /// All its keys are less than this.
    until: Option<&'a [u8]>,
    count: Option<u64>,
}

impl NodesView {
    pub(super) fn open(nodes: Nodes, source: Arc<dyn Source>, root: Option<Reference>) -> Op<Self> {
        let read = nodes.read_root(&*source, root.as_ref());
        read.map(move |rows| Self {
            nodes,
            source,
            rows: rows.into(),
            root,
        })
    }

    /// The rows of the topmost node; none, if the map is empty.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Looks at a node and all under it; how many levels there are.
    fn look_at(&self, told: &Told<'_>, depth: usize, report: &mut Report) -> u64 {
        let oid = told.node.oid;
        let looked = self.source.read(&told.node).wait().and_then(|record| {
            check_edge(&told.node, &record)?;
            let rows = self.nodes.rows(&record).map_err(damaged)?;
            Ok((rows, record.encoded().len()))
        });
        let (rows, bytes) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                report.add_error(oid, &error);
                return 0;
            }
        };
        report.nodes += 1;
        report.node_bytes += bytes as u64;
        report.leaves += u64::from(rows.iter().all(|row| row.node().is_none()));
        let (first, last) = (rows.first(), rows.last());
        let astray = told
            .first
            .is_some_and(|key| first.is_some_and(|row| row.key != key))
            || told
                .until
                .is_some_and(|key| last.is_some_and(|row| row.key >= key));
        if astray || depth > DEPTH_MAX {
            // Whatever lies under it is not looked at: so no node is looked at twice.
            report.add(oid, "its keys do not lie where the node above says");
            return 1;
        }
        if told.count.is_some() && told.count != count_of(&rows).ok() {
            report.add(oid, "it has not as many entries as the node above says");
        }
        let mut height = 1;
        for (at, row) in rows.iter().enumerate() {
            match &row.cell {
                Cell::Inline(value) => {
                    report.entries += 1;
                    report.payload_bytes += (row.key.len() + value.len()) as u64;
                }
                Cell::Apart(value) => {
                    report.entries += 1;
                    report.payload_bytes += row.key.len() as u64;
                    apart::verify(&*self.source, value, report);
                }
                Cell::Below { node, count } => {
                    let told = Told {
                        node: *node,
                        first: Some(&row.key),
                        until: rows.get(at + 1).map(|next| &next.key[..]).or(told.until),
                        count: Some(*count),
                    };
                    height = height.max(1 + self.look_at(&told, depth + 1, report));
                }
            }
        }
        height
    }
}

impl View for NodesView {
    type Cursor = NodesCursor;

    fn count(&self) -> u64 {
        self.rows
            .iter()
            .map(Row::count)
            .fold(0, u64::saturating_add)
    }

    fn find(&self, key: &[u8]) -> Op<Option<Found>> {
        find(self.nodes, &self.source, &self.rows, key, 0)
    }

    fn cursor(&self) -> NodesCursor {
        NodesCursor::new(self.clone())
    }

    fn verify(&self, report: &mut Report) {
        if let Some(node) = self.root {
            let told = Told {
                node,
                first: None,
                until: None,
                count: None,
            };
            report.height = self.look_at(&told, 1, report);
        }
    }
}

/// Looks for `key` in rows and below them. What is at hand is looked at at once; the rest is done by
/// whoever brings the next node.
fn find(
    nodes: Nodes,
    source: &Arc<dyn Source>,
    rows: &[Row],
    key: &[u8],
    depth: usize,
) -> Op<Option<Found>> {
    let after = rows.partition_point(|row| row.key <= key);
    let Some(row) = after.checked_sub(1).and_then(|at| rows.get(at)) else {
        return Op::ok(None);
    };
    match &row.cell {
        Cell::Below { node, .. } => {
            if depth >= DEPTH_MAX {
                return Op::err(too_deep());
            }
            let read = source.read(node);
            let (source, key) = (source.clone(), key.to_vec());
            read.then(move |record| match nodes.rows(&record) {
                Ok(rows) => find(nodes, &source, &rows, &key, depth + 1),
                Err(error) => Op::err(damaged(error)),
            })
        }
        _ if row.key != key => Op::ok(None),
        Cell::Inline(bytes) => Op::ok(Some(Found::Inline(bytes.clone()))),
        Cell::Apart(apart) => Op::ok(Some(Found::Apart(*apart))),
    }
}

/// Rows below a node, in whatever way they do not fit.
pub(super) fn below(nodes: Nodes, record: &travertine_engine::contract::Record) -> Result<Rows> {
    Ok(nodes.rows(record).map_err(damaged)?.into())
}

pub(super) fn too_deep() -> Error {
    Error::corrupt(format!("nodes lie more than {DEPTH_MAX} deep"))
}

/// What a node names must be a node: else it is the node that is wrong, not the call.
fn damaged(error: Error) -> Error {
    Error::corrupt(error.message())
}
