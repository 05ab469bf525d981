//! The suite on a tree that is as deep as it can be made: three rows to a node, at whatever level.

use std::sync::Arc;

use travertine_engine::contract::{ErrorKind, Kind, NewRecord, Op, Reference, Result};
use travertine_engine::front::{Hint, Write};

use super::{Nodes, NodesView, Row, merge};
use crate::edits::Edits;
use crate::index::{CursorExt, Index, View};
use crate::load::Batches;
use crate::records::{Heap, Sink, Source};
use crate::report::Report;

const NODES: Nodes = Nodes::of(Kind::FIRST_FREE);

/// Three rows to a node. What it touches it cuts anew; what grows empty goes.
#[derive(Debug, Clone, Default)]
struct Threes;

impl Threes {
    /// The rows that stand for this node once the edits are done to it; `None` if nothing changed.
    fn edit(&self, sink: &dyn Sink, rows: &[Row], edits: &Edits) -> Result<Option<Vec<Row>>> {
        self.edit_part(sink, rows, edits, 0..edits.len())
    }

    fn edit_part(
        &self,
        sink: &dyn Sink,
        rows: &[Row],
        edits: &Edits,
        range: std::ops::Range<usize>,
    ) -> Result<Option<Vec<Row>>> {
        if rows.iter().all(|row| row.node().is_none()) {
            let merged = merge(rows, edits, range);
            return Ok((merged != rows).then_some(merged));
        }
        let (mut done, mut new, mut changed) = (range.start, Vec::new(), false);
        for (at, row) in rows.iter().enumerate() {
            let end = match rows.get(at + 1) {
                Some(next) => edits.lower_bound(done..range.end, &next.key),
                None => range.end,
            };
            let edited = match row.node() {
                Some(node) if done < end => {
                    let below = NODES.read(sink, &node).wait()?;
                    self.edit_part(sink, &below, edits, done..end)?
                }
                _ => None,
            };
            done = end;
            match edited {
                None => new.push(row.clone()),
                Some(below) => {
                    changed = true;
                    for some in below.chunks(3) {
                        new.push(NODES.store(sink, some)?);
                    }
                }
            }
        }
        Ok(changed.then_some(new))
    }
}

impl Index for Threes {
    type View = NodesView;
    type Loader<'s> = Batches<'s, Self>;

    fn view(&self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<NodesView> {
        NODES.view(source, root)
    }

    fn apply(
        &self,
        sink: &dyn Sink,
        root: Option<Reference>,
        edits: &Edits,
    ) -> Result<Option<Reference>> {
        let rows = NODES.read_root(sink, root.as_ref()).wait()?;
        let Some(mut rows) = self.edit(sink, &rows, edits)? else {
            return Ok(root);
        };
        while rows.len() > 3 {
            let nodes = rows.chunks(3).map(|some| NODES.store(sink, some));
            rows = nodes.collect::<Result<_>>()?;
        }
        NODES.store_root(sink, &rows)
    }

    fn loader<'s>(&self, sink: &'s dyn Sink) -> Batches<'s, Self> {
        Batches::new(self.clone(), sink)
    }

    fn inline_max(&self) -> usize {
        64
    }
}

crate::index_suite!(threes, Threes);

fn row(key: &str, cell: super::Cell) -> Row {
    let key = bytes::Bytes::copy_from_slice(key.as_bytes());
    Row { key, cell }
}

fn entry(key: &str) -> Row {
    row(key, super::Cell::Inline(bytes::Bytes::new()))
}

#[test]
fn what_is_no_node_is_refused_and_not_written() {
    let heap = Heap::new();
    for rows in [
        vec![],
        vec![entry("b"), entry("a")],
        vec![entry("a"), entry("a")],
    ] {
        let error = NODES.store(&heap, &rows).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(heap.stored(), 0);
    let blob = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[b"hello"],
    };
    let blob = heap.store(&blob, Hint::default()).unwrap();
    let error = NODES.view(Arc::new(heap), Some(blob)).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "a root of another sort");
}

#[test]
fn a_node_that_is_not_what_the_one_above_says_is_damage() {
    let heap = Arc::new(Heap::new());
    let child = NODES.store(&*heap, &[entry("b"), entry("d")]).unwrap();
    let told = |key: &str, count| {
        let node = child.node().unwrap();
        row(key, super::Cell::Below { node, count })
    };
    let verify = |rows: &[Row]| {
        let root = NODES.store_root(&*heap, rows).unwrap();
        let mut report = Report::new();
        let view = NODES.view(heap.clone(), root).wait().unwrap();
        view.verify(&mut report);
        report.damaged
    };
    assert_eq!(verify(&[told("b", 2), entry("e")]), 0);
    assert_eq!(verify(&[told("b", 2), entry("d")]), 1, "it reaches too far");
    assert_eq!(
        verify(&[told("a", 2), entry("e")]),
        1,
        "it begins elsewhere"
    );
    assert_eq!(verify(&[told("b", 3), entry("e")]), 1, "it has fewer");
    assert_eq!(
        verify(&[told("a", 2), told("b", 2)]),
        1,
        "it is named twice"
    );
}

#[test]
fn nodes_that_lie_too_deep_are_an_error_and_not_a_stack_that_ends() {
    let heap = Arc::new(Heap::new());
    let mut rows = vec![entry("a")];
    for _ in 0..1_000 {
        rows = vec![NODES.store(&*heap, &rows).unwrap()];
    }
    let view = NODES.view(heap, rows[0].node()).wait().unwrap();
    let corrupt = |error: travertine_engine::contract::Error| error.kind() == ErrorKind::Corrupt;
    assert!(corrupt(view.find(b"a").wait().unwrap_err()));
    assert!(corrupt(view.cursor().next().unwrap_err()));
    let mut report = Report::new();
    view.verify(&mut report);
    assert_eq!(report.damaged, 1);
}
