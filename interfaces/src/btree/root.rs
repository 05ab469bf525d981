//! The root record of a tree: what its name points to.
//!
//! ```text
//!   0 format u8 = 1 │ 1 level of the top node u8 │ 2 zeros │ 8 entries u64
//! ```
//!
//! One reference, the top node; none in an empty tree.

use travertine_engine::contract::{Error, NewRecord, Record, Reference, Result};
use travertine_engine::front::Hint;

use super::node::{FORMAT, LEVEL_MAX};
use super::spine::Top;
use crate::records::{BTREE_ROOT, Sink};

const BODY: usize = 16;

/// Reads the root record; `None` for an empty tree.
pub(super) fn decode(record: &Record) -> Result<Option<Top>> {
    if record.kind() != BTREE_ROOT {
        return Err(Error::invalid(format!(
            "the name points to a record of kind {}, a B-tree's root has kind {}",
            record.kind().0,
            BTREE_ROOT.0
        )));
    }
    let bad = |what: String| {
        Err(Error::corrupt(format!(
            "the root record of a B-tree {what}"
        )))
    };
    let body: &[u8; BODY] = match record.body().try_into() {
        Ok(body) => body,
        Err(_) => return bad(format!("has {} bytes, not {BODY}", record.body().len())),
    };
    let [format, level, .., _, _, _, _, _, _, _, _] = *body;
    if format != FORMAT {
        return bad(format!("has format {format}, this version reads {FORMAT}"));
    }
    if level > LEVEL_MAX {
        return bad(format!("states level {level}, the limit is {LEVEL_MAX}"));
    }
    let mut count = [0; 8];
    count.copy_from_slice(&body[8..]);
    let count = u64::from_le_bytes(count);
    match (record.reference(0), record.reference_count(), count) {
        (None, 0, 0) => Ok(None),
        (Some(reference), 1, 1..) => Ok(Some(Top {
            link: (reference, count),
            level,
        })),
        (_, references, _) => bad(format!(
            "states {count} entries and {references} references"
        )),
    }
}

/// Stores the root record.
pub(super) fn store(sink: &dyn Sink, top: Option<Top>) -> Result<Reference> {
    let mut body = [0; BODY];
    body[0] = FORMAT;
    let mut references = &[][..];
    let reference;
    if let Some(top) = top {
        body[1] = top.level;
        body[8..].copy_from_slice(&top.link.1.to_le_bytes());
        reference = [top.link.0];
        references = &reference;
    }
    let record = NewRecord {
        kind: BTREE_ROOT,
        references,
        body: &[&body],
    };
    sink.store(&record, Hint::default())
}
