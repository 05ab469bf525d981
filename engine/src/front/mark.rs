//! The mark: what can be reached along strong references, and by whom first.
//!
//! It looks at reference tables only, so it knows no interface and needs no key. A record without
//! references is never read, for the reference to it says so; any other is read once, however many lead
//! to it and from however many commits. Anything it cannot read ends it: what is unknown is not free.
//!
//! Memory: the [set](super::alive) of what was met, 2 bytes for most records, and the list of what is
//! still to be read; together they are bounded.

use crate::contract::env::in_passing;
use crate::contract::{Error, Op, Record, Reference, Result};

use super::alive::Alive;
use super::shared::Shared;

/// Reads that are on their way at once.
const AHEAD: usize = 16;

pub(super) struct Mark<'a> {
    shared: &'a Shared,
    pub(super) alive: Alive,
    /// Met, and to be read for its references.
    left: Vec<Reference>,
    memory: usize,
    /// Told how many records were met, how many bytes they take, and how many bytes were read for it
    /// since the last time. An error ends the mark.
    watch: &'a mut dyn FnMut(u64, u64, u64) -> Result<()>,
    /// Of everything that was met.
    pub(super) bytes: u64,
    read: u64,
}

impl<'a> Mark<'a> {
    /// A mark that takes at most so many bytes of memory.
    pub(super) fn new(
        shared: &'a Shared,
        memory: usize,
        watch: &'a mut dyn FnMut(u64, u64, u64) -> Result<()>,
    ) -> Self {
        Self {
            shared,
            alive: Alive::default(),
            left: Vec::new(),
            memory,
            watch,
            bytes: 0,
            read: 0,
        }
    }

    /// Marks what these lead to. Answers how many bytes of it nothing before had led to.
    ///
    /// Errors: `Corrupt` or `Unavailable` (something could not be read), `Full` (it would take more
    /// memory than it may), whatever the watcher answers.
    pub(super) fn from(&mut self, roots: impl IntoIterator<Item = Reference>) -> Result<u64> {
        let before = self.bytes;
        for root in roots {
            self.meet(root);
            self.walk()?;
        }
        Ok(self.bytes - before)
    }

    /// Marks a record and what it leads to, and answers the record, which has to be there.
    pub(super) fn through(&mut self, reference: &Reference) -> Result<Record> {
        let found = in_passing(|| self.shared.read_stored(reference.oid)).wait()?;
        let record = Shared::check_found(reference, found)?;
        let known = Reference {
            weak: false,
            leaf: true,
            ..*reference
        };
        self.meet(known);
        self.meet_all(&record);
        self.walk()?;
        Ok(record)
    }

    fn meet(&mut self, reference: Reference) {
        if !reference.weak && self.alive.insert(reference.oid, reference.length) {
            self.bytes += u64::from(reference.length);
            if !reference.leaf {
                self.left.push(reference);
            }
        }
    }

    fn meet_all(&mut self, record: &Record) {
        self.read += record.stored_len() as u64;
        for reference in record.references() {
            self.meet(reference);
        }
    }

    fn walk(&mut self) -> Result<()> {
        while !self.left.is_empty() {
            // Depth first, so that the list stays short; some at a time, so that reads overlap.
            let first = self.left.len().saturating_sub(AHEAD);
            let mut next = self.left.split_off(first);
            next.sort_unstable_by_key(|reference| reference.oid);
            let reads: Vec<(Reference, Op<_>)> = next
                .into_iter()
                .map(|reference| {
                    let read = in_passing(|| self.shared.read_stored(reference.oid));
                    (reference, read)
                })
                .collect();
            for (reference, read) in reads {
                let record = Shared::check_found(&reference, read.wait()?)?;
                self.meet_all(&record);
            }
            self.check()?;
        }
        self.check()
    }

    fn check(&mut self) -> Result<()> {
        let takes = self.alive.bytes() + self.left.len() * size_of::<Reference>();
        if takes > self.memory {
            return Err(Error::full(format!(
                "the mark has met {} records and would take more than {} bytes of memory for them; \
                 allow it more",
                self.alive.len(),
                self.memory
            )));
        }
        let read = std::mem::take(&mut self.read);
        (self.watch)(self.alive.len(), self.bytes, read)
    }
}
