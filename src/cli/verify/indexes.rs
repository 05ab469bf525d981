//! What only an index knows of its records: order, counts, bounds, links. Which index it is, the kind of
//! the record says that a name points to; what is no index here is blind to this, and was checked as any
//! graph of records.

use std::sync::Arc;

use super::super::tree::{Tree, index_of};
use crate::contract::{Record, Reference, Result};
use crate::interfaces::chain::{self, CHAIN_ROOT};
use crate::interfaces::reader::Reader;
use crate::interfaces::records::Source;
use crate::interfaces::report::Report;
use crate::interfaces::{Any, Index};

/// Looks at an index, and says in a word what it is; `None`: it is none.
pub(super) fn check(
    source: &Arc<dyn Source>,
    root: Reference,
    record: &Record,
) -> Option<(String, Result<Report>)> {
    if record.kind() == CHAIN_ROOT {
        let reader = chain::Reader::open(source.clone(), Some(root)).wait();
        return Some(("chain".into(), reader.map(|reader| reader.verify())));
    }
    match index_of(&**source, record) {
        Ok(None) => None,
        Ok(Some(index)) => Some((index.to_string(), look(index, source, root))),
        Err(error) => Some(("tree".into(), Err(error))),
    }
}

fn look(index: Any, source: &Arc<dyn Source>, root: Reference) -> Result<Report> {
    let view = Tree::over(index).view(source.clone(), Some(root)).wait()?;
    Ok(Reader::new(view, source.clone()).verify())
}
