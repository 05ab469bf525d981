//! Reading deltas back, where nobody remembers them.
//!
//! ```text
//!   asked for   ○ ○ ○ ○        all that a list names at once, so that a slow store is waited for
//!   here        ● ● ●          once a level; taken in order, oldest first
//! ```
//!
//! What is read is bounded by the numbers that the root states, and by [`BYTES_MOST`] of memory, whatever
//! the records lead to. The bytes that a root states bound nothing: they are those of records as they lay
//! where the root was made, and a copy under another codec has longer or shorter ones.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use travertine_engine::contract::{Error, Op, Pending, Record, Reference, Result};

use super::delta::Delta;
use super::lists;
use super::root::BYTES_MOST;
use crate::records::{Source, check_edge};

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Oldest first.
    pub(super) deltas: Vec<Delta>,
    /// Records that were read, and their bytes as they are stored here.
    pub(super) records: u64,
    pub(super) bytes: u64,
}

struct Loading {
    source: Arc<dyn Source>,
    /// What comes next lies last.
    coming: Vec<Coming>,
    loaded: Loaded,
    /// Bytes that the records take in memory.
    held: u64,
}

struct Coming {
    reference: Reference,
    count: u32,
    op: Op<Record>,
}

/// The deltas under `named`.
pub(super) fn load(
    source: &Arc<dyn Source>,
    named: impl DoubleEndedIterator<Item = (Reference, u32)>,
) -> Op<Loaded> {
    let mut loading = Loading {
        source: source.clone(),
        coming: Vec::new(),
        loaded: Loaded::default(),
        held: 0,
    };
    loading.ask(named);
    match loading.go_on() {
        Ok(true) => Op::ok(loading.loaded),
        Ok(false) => Op::pending(loading),
        Err(error) => Op::err(error),
    }
}

impl Loading {
    fn ask(&mut self, named: impl DoubleEndedIterator<Item = (Reference, u32)>) {
        let from = self.coming.len();
        self.coming.extend(named.map(|(reference, count)| Coming {
            reference,
            count,
            op: self.source.read(&reference),
        }));
        self.coming[from..].reverse();
    }

    /// Takes what is here; whether that was all.
    fn go_on(&mut self) -> Result<bool> {
        while let Some(Coming {
            reference,
            count,
            op,
        }) = self.coming.pop()
        {
            match op.try_ready() {
                Ok(record) => self.take(&reference, count, &record?)?,
                Err(op) => {
                    self.coming.push(Coming {
                        reference,
                        count,
                        op,
                    });
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn take(&mut self, reference: &Reference, count: u32, record: &Record) -> Result<()> {
        check_edge(reference, record)?;
        self.loaded.records += 1;
        self.loaded.bytes += u64::from(reference.length);
        self.held += record.encoded().len() as u64;
        if self.held > BYTES_MOST {
            return Err(Error::corrupt(format!(
                "the deltas of a journal hold more than the {BYTES_MOST} bytes that are read",
            )));
        }
        let here = |error: Error| error.at(format!("delta {}", reference.oid));
        if count == 1 {
            self.loaded
                .deltas
                .push(Delta::decode(record).map_err(here)?);
            return Ok(());
        }
        self.ask(lists::decode(record, count).map_err(here)?.into_iter());
        Ok(())
    }
}

impl Pending<Loaded> for Loading {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Loaded>> {
        while let Some(coming) = self.coming.last_mut() {
            let record = ready!(Pin::new(&mut coming.op).poll(context));
            let Some(Coming {
                reference, count, ..
            }) = self.coming.pop()
            else {
                break;
            };
            if let Err(error) = record.and_then(|record| self.take(&reference, count, &record)) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(std::mem::take(&mut self.loaded)))
    }

    fn wait(mut self: Box<Self>) -> Result<Loaded> {
        while let Some(Coming {
            reference,
            count,
            op,
        }) = self.coming.pop()
        {
            let record = op.wait()?;
            self.take(&reference, count, &record)?;
        }
        Ok(self.loaded)
    }
}
