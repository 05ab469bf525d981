//! How much of a workload is to be done.

use crate::contract::{Error, Level, Result};

/// How much. Every field has a bound, checked by [`Params::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Rows that are there, or that are filled in.
    pub records: u64,
    /// Operations, over all threads.
    pub ops: u64,
    /// Threads that share them.
    pub threads: u64,
    /// Bytes of a value or record.
    pub value_size: usize,
    /// Rows of a transaction where a workload has transactions.
    pub batch: u64,
    /// Same seed, same operations.
    pub seed: u64,
    /// The level of a commit; `None`: the stack's own.
    pub level: Option<Level>,
}

/// Most threads.
const THREADS_MAX: u64 = 1024;
/// Most rows or operations.
const COUNT_MAX: u64 = 1 << 36;
/// Longest value: what one record can hold, less its header.
const VALUE_MAX: usize = 8 << 20;

impl Default for Params {
    fn default() -> Self {
        Self {
            records: 100_000,
            ops: 100_000,
            threads: 1,
            value_size: 150,
            batch: 1000,
            seed: 1,
            level: None,
        }
    }
}

impl Params {
    /// Refuses what no run can do.
    pub fn check(&self) -> Result<()> {
        let within = |what: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::invalid(format!(
                "{what} is {value}; it must be {least} to {most}"
            )))
        };
        within("records", self.records, 1, COUNT_MAX)?;
        within("ops", self.ops, 1, COUNT_MAX)?;
        within("threads", self.threads, 1, THREADS_MAX)?;
        within("batch", self.batch, 1, COUNT_MAX)?;
        within("value-size", self.value_size as u64, 0, VALUE_MAX as u64)
    }

    /// How many of `count` are the share of thread `lane`, and the first of them.
    #[must_use]
    pub(super) fn share(&self, count: u64, lane: u64) -> (u64, u64) {
        let first = count * lane / self.threads;
        (first, count * (lane + 1) / self.threads - first)
    }
}
