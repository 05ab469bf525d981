//! A leaf that is walked through: laid out once, then row after row in its bytes.

use std::ops::Range;

use bytes::Bytes;
use travertine_engine::contract::{Record, Result};

use super::node::{Node, Spot};
use crate::index::{Apart, Value};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Rows {
    body: Bytes,
    spot: Spot,
    /// The record, if it has values apart.
    apart: Option<Record>,
}

/// Where the value of a row lies.
#[derive(Debug, Clone)]
pub(super) enum Shown {
    /// In the leaf.
    Inline(Range<usize>),
    /// Elsewhere.
    Apart(Apart),
}

impl Rows {
    /// The rows of the leaf in `record`.
    pub(super) fn of(record: Record) -> Result<Self> {
        let node = Node::of(&record, 0)?;
        let spot = node.spot();
        let apart = (record.reference_count() > 0).then(|| record.clone());
        let end = record.body().len();
        Ok(Self {
            body: record.into_body_part(0..end),
            spot,
            apart,
        })
    }

    /// How many rows there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.spot.keys
    }

    /// What all keys begin with.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.body[self.spot.prefix.clone()]
    }

    /// Appends what the key of a row has after the prefix, and tells where the value lies.
    #[inline]
    pub(super) fn row(&self, index: usize, key: &mut Vec<u8>) -> Result<Shown> {
        let row = self.spot.row(&self.body, index)?;
        match row.head.first_chunk::<8>() {
            Some(head) => key.extend_from_slice(head),
            None => key.extend_from_slice(row.head),
        }
        key.extend_from_slice(row.tail);
        if row.apart {
            return self.value_apart(index);
        }
        Ok(Shown::Inline(row.value))
    }

    /// The bytes of a value.
    #[inline]
    pub(super) fn value(&self, shown: &Shown) -> Option<Value<'_>> {
        Some(match shown {
            Shown::Inline(range) => Value::Inline(self.body.get(range.clone())?),
            Shown::Apart(apart) => Value::Apart(*apart),
        })
    }

    #[cold]
    fn value_apart(&self, index: usize) -> Result<Shown> {
        match &self.apart {
            Some(record) => Node::of(record, 0)?.apart(index).map(Shown::Apart),
            None => Err(super::node::misfit(index)),
        }
    }
}
