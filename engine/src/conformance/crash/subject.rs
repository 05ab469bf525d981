//! What a run writes through: an engine, or the least that can stand for one on a bare store.

use std::fmt::Debug;

use crate::contract::{Level, Name, Names, NewRecord, Oid, Op, Record, Reference, Result};

/// One change of a commit.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) name: Name,
    /// What the name must point to; `None`: anything.
    pub(super) expect: Option<Option<Oid>>,
    pub(super) to: Option<Reference>,
}

/// A writer, or a reader, of names and records.
pub(super) trait Subject: Debug {
    /// Stores a record.
    fn store(&mut self, record: &NewRecord<'_>) -> Result<Reference>;
    /// Commits changes of names; the answer is the number of the commit.
    fn commit(&mut self, asks: &[Ask], level: Level) -> Op<u64>;
    /// The newest names that were submitted.
    fn submitted(&self) -> Result<Names>;
    /// The newest names that anybody may see.
    fn shown(&self) -> Result<Names>;
    /// Names as commit `sequence` left them.
    fn at(&self, sequence: u64) -> Result<Option<Names>>;
    /// The record of a reference.
    fn read(&self, reference: &Reference) -> Result<Record>;
    /// Writes down, without a promise, that the newest commit is durable.
    fn prove(&mut self) -> Result<()>;
    /// Ends cleanly.
    fn close(&mut self) -> Result<()>;
}
