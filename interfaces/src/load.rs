//! A bulk loader for indexes that have no way of their own to build from sorted rows.

use travertine_engine::contract::{Error, Reference, Result};

use crate::edits::{Edit, EditLog, check_key};
use crate::index::{Index, Loader, Value};
use crate::records::Sink;

const ROUND: u64 = 8 << 20;

/// Rows in order, done to the index in rounds of a few megabytes.
#[derive(Debug)]
pub struct Batches<'s, I> {
    index: I,
    sink: &'s dyn Sink,
    root: Option<Reference>,
    log: EditLog,
    last: Option<Vec<u8>>,
    rows: u64,
}

impl<'s, I: Index> Batches<'s, I> {
    /// A loader for `index`.
    pub fn new(index: I, sink: &'s dyn Sink) -> Self {
        Self {
            index,
            sink,
            root: None,
            log: EditLog::new(),
            last: None,
            rows: 0,
        }
    }

    fn round(&mut self) -> Result<()> {
        let edits = std::mem::take(&mut self.log).sorted();
        self.root = self.index.apply(self.sink, self.root, &edits)?;
        Ok(())
    }
}

impl<I: Index> Loader for Batches<'_, I> {
    fn push(&mut self, key: &[u8], value: Value<'_>) -> Result<()> {
        check_key(key)?;
        check_order(self.last.as_deref(), key, self.rows)?;
        self.log.push(key, Edit::Put(value))?;
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        self.rows += 1;
        if self.log.bytes() >= ROUND {
            self.round()?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Option<Reference>> {
        if !self.log.is_empty() {
            self.round()?;
        }
        Ok(self.root)
    }
}

/// Refuses a key that is not greater than the one before.
pub(crate) fn check_order(last: Option<&[u8]>, key: &[u8], rows: u64) -> Result<()> {
    match last {
        Some(last) if key <= last => Err(Error::invalid(format!(
            "row {} is out of order: its key {}",
            rows + 1,
            if key == last {
                "is that of the row before, too"
            } else {
                "is less than that of the row before"
            },
        ))),
        _ => Ok(()),
    }
}
