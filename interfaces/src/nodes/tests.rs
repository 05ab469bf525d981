//! The suite on a tree that is as deep as it can be made: three rows to a node, at whatever level.

use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{ErrorKind, Kind, NewRecord, Result};
use travertine_engine::front::{Hint, Write};

use super::{Cell, DEPTH_MAX, Nodes, Row, Rule, merge};
use crate::edits::{Edit, EditLog, Edits};
use crate::index::{CursorExt, Index, Value, View};
use crate::records::{Heap, Sink};
use crate::report::Report;

const NODES: Nodes = Nodes::of(Kind::FIRST_FREE);

/// Three rows to a node. What it touches it cuts anew; what grows empty goes.
#[derive(Debug, Clone, Default)]
struct Threes;

impl Threes {
    /// The rows that stand for this node once the edits are done to it; `None` if nothing changed.
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

impl Rule for Threes {
    const NODES: Nodes = NODES;
    const INLINE_MAX: usize = 64;

    fn edit(&self, sink: &dyn Sink, old: &[Row], edits: &Edits) -> Result<Vec<Row>> {
        let Some(mut rows) = self.edit_part(sink, old, edits, 0..edits.len())? else {
            return Ok(old.to_vec());
        };
        while rows.len() > 3 {
            let nodes = rows.chunks(3).map(|some| NODES.store(sink, some));
            rows = nodes.collect::<Result<_>>()?;
        }
        Ok(rows)
    }
}

crate::index_suite!(threes, Threes);

fn entry(key: &str) -> Row {
    Row::entry(key.as_bytes(), Value::Inline(b""))
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
    let nodes = NODES.digested();
    let child = nodes.store(&*heap, &[entry("b"), entry("d")]).unwrap();
    let told = |change: &dyn Fn(&mut Row)| {
        let mut row = child.clone();
        change(&mut row);
        row
    };
    let verify = |rows: &[Row]| {
        let root = nodes.store_root(&*heap, rows).unwrap();
        let mut report = Report::new();
        let view = nodes.view(heap.clone(), root).wait().unwrap();
        view.verify(&mut report);
        report.damaged
    };
    let early = |row: &mut Row| row.key = Bytes::from_static(b"a");
    let more = |row: &mut Row| {
        if let Cell::Below { count, .. } = &mut row.cell {
            *count += 1;
        }
    };
    let high = |row: &mut Row| {
        if let Cell::Below { height, .. } = &mut row.cell {
            *height += 1;
        }
    };
    let other = |row: &mut Row| row.digest = Some([7; 32]);
    assert_eq!(verify(&[child.clone(), entry("e")]), 0);
    assert_eq!(
        verify(&[child.clone(), entry("d")]),
        1,
        "it reaches too far"
    );
    assert_eq!(
        verify(&[told(&early), entry("e")]),
        1,
        "it begins elsewhere"
    );
    assert_eq!(verify(&[told(&more), entry("e")]), 1, "it has fewer");
    assert_eq!(verify(&[told(&high), entry("e")]), 1, "it is not as high");
    assert_eq!(verify(&[told(&other), entry("e")]), 1, "it holds others");
    assert_eq!(
        verify(&[told(&early), child.clone()]),
        1,
        "it is named twice"
    );
}

#[test]
fn nodes_may_lie_as_deep_as_the_limit_and_no_deeper() {
    let heap = Arc::new(Heap::new());
    let mut rows = vec![entry("a")];
    for _ in 0..DEPTH_MAX {
        rows = vec![NODES.store(&*heap, &rows).unwrap()];
    }
    let view = NODES.view(heap.clone(), rows[0].node()).wait().unwrap();
    assert!(view.find(b"a").wait().unwrap().is_some());
    assert_eq!(view.cursor().next().unwrap().unwrap().key, b"a");
    let mut report = Report::new();
    view.verify(&mut report);
    assert!(report.is_clean() && report.height == DEPTH_MAX as u64);
    let error = NODES.store(&*heap, &rows).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_difference_of_maps_that_are_cut_anyhow_is_that_of_their_entries() {
    let heap = Arc::new(Heap::new());
    let key = |n: u32| (n.wrapping_mul(2_654_435_761) % 900).to_be_bytes();
    let make = |from: u32, batch: usize| {
        let mut map = std::collections::BTreeMap::new();
        let mut root = None;
        let rows: Vec<_> = (from..from + 400)
            .map(|n| (key(n), (n % 3).to_le_bytes()))
            .collect();
        for some in rows.chunks(batch) {
            let mut log = EditLog::new();
            for (key, value) in some {
                log.push(key, Edit::Put(Value::Inline(value))).unwrap();
                map.insert(key.to_vec(), value.to_vec());
            }
            root = Threes.apply(&*heap, root, &log.sorted()).unwrap();
        }
        (Threes.view(heap.clone(), root).wait().unwrap(), map)
    };
    let (one, mine) = make(0, 7);
    for (from, batch) in [(0, 400), (0, 50), (1, 7), (200, 90), (10_000, 400)] {
        let (two, theirs) = make(from, batch);
        let mut found = Vec::new();
        let bytes = |value: Option<Value<'_>>| match value? {
            Value::Inline(bytes) => Some(bytes.to_vec()),
            Value::Apart(_) => None,
        };
        let mut diff = one.diff(&two);
        while let Some(differs) = diff.next().unwrap() {
            let (old, new) = (bytes(differs.old), bytes(differs.new));
            found.push((differs.key.to_vec(), old, new));
        }
        let keys: std::collections::BTreeSet<_> = mine.keys().chain(theirs.keys()).collect();
        let wanted = keys.into_iter().map(|key| {
            (
                key.clone(),
                mine.get(key).cloned(),
                theirs.get(key).cloned(),
            )
        });
        let wanted: Vec<_> = wanted.filter(|(_, a, b)| a != b).collect();
        assert_eq!(found, wanted, "from {from} in batches of {batch}");
    }
}

#[test]
fn how_many_keys_are_less_is_told_on_one_way_down() {
    let heap = Arc::new(Heap::new());
    let keys: Vec<String> = (0..2_000).map(|n| format!("{n:04}")).collect();
    let mut root = None;
    for some in keys.chunks(100) {
        let mut log = EditLog::new();
        for key in some {
            log.push(key.as_bytes(), Edit::Put(Value::Inline(b"")))
                .unwrap();
        }
        root = Threes.apply(&*heap, root, &log.sorted()).unwrap();
    }
    let view = Threes.view(heap.clone(), root).wait().unwrap();
    let height = {
        let mut report = Report::new();
        view.verify(&mut report);
        report.height
    };
    for (key, less) in [
        ("", 0),
        ("0777", 777),
        ("0777x", 778),
        ("1999", 1_999),
        ("x", 2_000),
    ] {
        let before = heap.reads();
        assert_eq!(view.rank(key.as_bytes()).wait().unwrap(), less, "{key:?}");
        assert!(heap.reads() - before < height, "{key:?}");
    }
}
