//! What only an index knows of its records: order, counts, bounds, links. Which index it is, the kind of
//! the record says that a name points to; what is no index here is blind to this, and was checked as any
//! graph of records.

use std::sync::Arc;

use crate::contract::{Kind, Record, Reference, Result};
use crate::interfaces::chain::{self, CHAIN_ROOT};
use crate::interfaces::reader::Reader;
use crate::interfaces::records::{BTREE_ROOT, JOURNAL_ROOT, SKIPLIST_NODE, Source};
use crate::interfaces::report::Report;
use crate::interfaces::{Btree, Index, Journal, Skiplist};

/// Looks at an index; `None`: it is none.
pub(super) fn check(
    source: &Arc<dyn Source>,
    root: Reference,
    record: &Record,
) -> Option<(&'static str, Result<Report>)> {
    Some(match record.kind() {
        BTREE_ROOT => ("tree", look(&Btree::default(), source, root)),
        SKIPLIST_NODE => ("skip list", look(&Skiplist::default(), source, root)),
        JOURNAL_ROOT if leads_to(source, record, SKIPLIST_NODE) => (
            "skip list",
            look(&Journal::<Skiplist>::default(), source, root),
        ),
        JOURNAL_ROOT => ("tree", look(&Journal::<Btree>::default(), source, root)),
        CHAIN_ROOT => {
            let reader = chain::Reader::open(source.clone(), Some(root)).wait();
            ("chain", reader.map(|reader| reader.verify()))
        }
        _ => return None,
    })
}

fn look<I: Index>(index: &I, source: &Arc<dyn Source>, root: Reference) -> Result<Report> {
    let view = index.view(source.clone(), Some(root)).wait()?;
    Ok(Reader::new(view, source.clone()).verify())
}

/// Whether one of the records that a record names is of a kind.
fn leads_to(source: &Arc<dyn Source>, record: &Record, kind: Kind) -> bool {
    record.references().any(|edge| {
        let read = source.read(&edge).wait();
        read.is_ok_and(|record| record.kind() == kind)
    })
}
