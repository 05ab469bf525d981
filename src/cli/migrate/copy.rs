//! A graph of records, copied into another store: each record once, what it names before it.

use std::collections::HashMap;

use super::super::Failure;
use crate::contract::{Error, NewRecord, Oid, Record, Reference};
use crate::front::{Engine, Hint, Session};
use crate::interfaces::records::check_edge;

/// The help of the command says what each record takes: with a byte of the table's own, at a load of
/// seven in eight before the table doubles.
const _: () = assert!((size_of::<(Oid, Option<Reference>)>() + 1) * 16 / 7 <= 80);

/// Where records are copied from.
pub(in super::super) trait Originals {
    /// The record of a reference, which it must match.
    fn original(&self, reference: &Reference) -> Result<Record, Failure>;
}

/// What became of the records of the source.
pub(in super::super) struct Copy<'a, S> {
    source: &'a S,
    target: Session,
    /// `None`: what it names is being copied.
    map: HashMap<Oid, Option<Reference>>,
    /// Records that were written.
    pub(in super::super) records: u64,
    /// Bytes of these.
    pub(in super::super) bytes: u64,
}

impl<'a, S: Originals> Copy<'a, S> {
    /// Goes on with what is known to be there.
    pub(in super::super) fn new(
        source: &'a S,
        target: Session,
        map: HashMap<Oid, Option<Reference>>,
    ) -> Self {
        Self {
            source,
            target,
            map,
            records: 0,
            bytes: 0,
        }
    }

    pub(in super::super) fn session(&self) -> &Session {
        &self.target
    }

    /// Copies a record and all that it leads to, and answers the reference to the copy.
    pub(in super::super) fn graph(
        &mut self,
        root: Reference,
        mut tick: impl FnMut(),
    ) -> Result<Reference, Failure> {
        let mut left = vec![(root, false)];
        while let Some((reference, ready)) = left.pop() {
            let known = self.map.get(&reference.oid);
            if matches!(known, Some(Some(_))) {
                continue;
            }
            if !ready && known.is_some() {
                return Err(Error::corrupt(format!(
                    "the record at {} leads back to itself",
                    reference.oid
                ))
                .into());
            }
            let record = self.source.original(&reference)?;
            let waits = |edge: &Reference| !matches!(self.map.get(&edge.oid), Some(Some(_)));
            let first: Vec<Reference> = match ready {
                true => Vec::new(),
                false => record.references().filter(waits).collect(),
            };
            if first.is_empty() {
                let copied = self.store(&record, &reference)?;
                self.map.insert(reference.oid, Some(copied));
                tick();
                continue;
            }
            self.map.insert(reference.oid, None);
            left.push((reference, true));
            left.extend(first.into_iter().map(|edge| (edge, false)));
        }
        self.named_anew(&root)
    }

    fn store(&mut self, record: &Record, from: &Reference) -> Result<Reference, Failure> {
        let count = record.reference_count();
        let mut references = Vec::with_capacity(count);
        for index in 0..count {
            let edge = record.reference(index).ok_or_else(|| {
                Error::corrupt(format!("reference {index} of {} names nothing", from.oid))
            })?;
            references.push(self.named_anew(&edge)?);
        }
        let new = NewRecord {
            kind: record.kind(),
            references: &references,
            body: &[record.body()],
        };
        self.records += 1;
        self.bytes += new.encoded_len() as u64;
        Ok(self.target.store(&new, Hint::default())?)
    }

    /// The same edge, to the copy.
    fn named_anew(&self, edge: &Reference) -> Result<Reference, Failure> {
        let copied = self.map.get(&edge.oid).copied().flatten();
        let copied = copied.ok_or_else(|| {
            Error::corrupt(format!("the record at {} leads back to itself", edge.oid))
        })?;
        Ok(Reference {
            weak: edge.weak,
            leaf: edge.leaf,
            ..copied
        })
    }
}

impl Originals for Engine {
    fn original(&self, reference: &Reference) -> Result<Record, Failure> {
        let oid = reference.oid;
        let Some(record) = self.read(oid).wait()? else {
            let what = match reference.weak {
                true => "a weak reference cannot be carried over, for what it names was freed",
                false => "a reference names it, and there is no record",
            };
            return Err(Failure::fault(format!("{oid}: {what}")));
        };
        check_edge(reference, &record)?;
        Ok(record)
    }
}
