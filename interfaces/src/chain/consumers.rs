//! Who consumes a chain, and how far each got.
//!
//! ```text
//!   chain ──> root ──> list of consumers     who there is: changed by the chain's own turns
//!   chain/at/who ──> position                how far it got: a name of its own, so a consumer does not
//!                                            conflict with who pushes, nor with the others
//!
//!   list       0 format u8 = 1 │ zeros │ 4 n u32 │ n × ( length u8, name )     ascending
//!   position   0 format u8 = 1 │ zeros │ 8 number u64                          all before it is done
//! ```
//!
//! A chain that is renamed leaves the positions behind. A consumer that is in the list and has none holds
//! every entry, until it is begun again or removed.

use std::sync::Arc;

use travertine_engine::contract::{Error, Name, NewRecord, Record, Reference, Result};
use travertine_engine::front::{Change, Expect, Hint, Session, Snapshot};

use super::reader::{Cursor, Reader};
use super::{CHAIN_CONSUMERS, CHAIN_POSITION};
use crate::records::{Sink, Source};

/// Most consumers of one chain.
pub const CONSUMERS_MAX: usize = 256;

const FORMAT: u8 = 1;
const LIST_HEADER: usize = 8;
const POSITION: usize = 16;

/// A named position in a chain: it is committed after the work on what lies before it is done, in the
/// same commit as the work's own changes if there are any. What was not committed comes again, so every
/// entry is seen once or more.
///
/// It is made by [`Turn::add_consumer`](super::Turn::add_consumer).
#[derive(Debug, Clone)]
pub struct Consumer {
    chain: Name,
    name: Name,
}

impl Consumer {
    pub(super) fn new(chain: &Name, who: &str) -> Result<Self> {
        if who.is_empty() {
            return Err(Error::invalid("a consumer needs a name"));
        }
        Ok(Self {
            chain: chain.clone(),
            name: Name::new(format!("{chain}/at/{who}"))?,
        })
    }

    /// The name that its position lies under.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The number of the first entry that it has not done; `None`, if there is no such consumer.
    pub fn position(&self, snapshot: &Snapshot) -> Result<Option<u64>> {
        let record = snapshot.read_root(&self.name)?;
        record.map(|record| position(&record)).transpose()
    }

    /// A cursor before the first entry that it has not done, or before the first there is, if others
    /// have trimmed more. Refuses with `Invalid` if there is no such consumer.
    pub fn cursor(&self, snapshot: &Snapshot) -> Result<Cursor> {
        let at = self.position(snapshot)?.ok_or_else(|| self.nobody())?;
        let source: Arc<dyn Source> = Arc::new(snapshot.clone());
        let reader = Reader::open(source, snapshot.root(&self.chain)).wait()?;
        let mut cursor = reader.cursor();
        cursor.seek(at);
        Ok(cursor)
    }

    /// The change that notes that everything before `to` is done, to be committed with what was done.
    /// Of two that go on from the same position the first wins and the other gets `Conflict`. Refuses
    /// with `Invalid` to go back, or past the end.
    pub fn advance(&self, session: &Session, to: u64) -> Result<Change> {
        let base = session.base();
        let at = self.position(base)?.ok_or_else(|| self.nobody())?;
        let source: Arc<dyn Source> = Arc::new(base.clone());
        let end = Reader::open(source, base.root(&self.chain)).wait()?.end();
        if to < at || to > end {
            return Err(Error::invalid(format!(
                "{} stands at {at} and cannot go to {to}: the chain ends at {end}",
                self.name
            )));
        }
        self.change(session, Some(to))
    }

    /// What its position is to be; `None`: it goes.
    pub(super) fn change(&self, session: &Session, to: Option<u64>) -> Result<Change> {
        let before = session.base().root(&self.name);
        Ok(Change {
            name: self.name.clone(),
            expect: Expect::Is(before.map(|before| before.oid)),
            to: to.map(|to| store_position(session, to)).transpose()?,
        })
    }

    /// Whether it has a position.
    pub(super) fn is_there(&self, session: &Session) -> bool {
        session.base().root(&self.name).is_some()
    }

    /// The change that changes nothing, and conflicts with any other of its position.
    pub(super) fn guard(&self, session: &Session) -> Change {
        let to = session.base().root(&self.name);
        Change {
            name: self.name.clone(),
            expect: Expect::Is(to.map(|to| to.oid)),
            to,
        }
    }

    fn nobody(&self) -> Error {
        Error::invalid(format!("there is no consumer {}", self.name))
    }
}

/// The list that a record of one holds.
pub(super) fn read(source: &dyn Source, list: Option<&Reference>) -> Result<Vec<String>> {
    match list {
        None => Ok(Vec::new()),
        Some(list) => decode(&source.read(list).wait()?),
    }
}

pub(super) fn decode(record: &Record) -> Result<Vec<String>> {
    let bad = || Error::corrupt("the list of a chain's consumers does not hold together");
    let (head, mut rest) = record
        .body()
        .split_first_chunk::<LIST_HEADER>()
        .ok_or_else(bad)?;
    let [format, _, _, _, count @ ..] = *head;
    let count = u32::from_le_bytes(count) as usize;
    if record.kind() != CHAIN_CONSUMERS || format != FORMAT || count > CONSUMERS_MAX {
        return Err(bad());
    }
    let mut names: Vec<String> = Vec::new();
    while let Some((length, after)) = rest.split_first() {
        let (name, after) = after
            .split_at_checked(usize::from(*length))
            .ok_or_else(bad)?;
        let name = std::str::from_utf8(name).map_err(|_| bad())?;
        if names.last().is_some_and(|last| last.as_str() >= name) {
            return Err(bad());
        }
        names.push(name.to_owned());
        rest = after;
    }
    if names.len() != count {
        return Err(bad());
    }
    Ok(names)
}

/// Stores a list, which must ascend; none, if it is empty.
pub(super) fn store(sink: &dyn Sink, names: &[String]) -> Result<Option<Reference>> {
    if names.len() > CONSUMERS_MAX {
        return Err(Error::invalid(format!(
            "a chain has {CONSUMERS_MAX} consumers at most"
        )));
    }
    if names.is_empty() {
        return Ok(None);
    }
    let mut body = vec![FORMAT, 0, 0, 0];
    body.extend_from_slice(&(names.len() as u32).to_le_bytes());
    for name in names {
        body.push(name.len() as u8);
        body.extend_from_slice(name.as_bytes());
    }
    let record = NewRecord {
        kind: CHAIN_CONSUMERS,
        references: &[],
        body: &[&body],
    };
    sink.store(&record, Hint::default()).map(Some)
}

pub(super) fn position(record: &Record) -> Result<u64> {
    let body: Option<&[u8; POSITION]> = record.body().try_into().ok();
    match body {
        Some([FORMAT, _, _, _, _, _, _, _, number @ ..]) if record.kind() == CHAIN_POSITION => {
            Ok(u64::from_le_bytes(*number))
        }
        _ => Err(Error::corrupt("the position of a chain's consumer is none")),
    }
}

fn store_position(sink: &Session, number: u64) -> Result<Reference> {
    let mut body = [0; POSITION];
    body[0] = FORMAT;
    body[8..].copy_from_slice(&number.to_le_bytes());
    let record = NewRecord {
        kind: CHAIN_POSITION,
        references: &[],
        body: &[&body],
    };
    sink.store(&record, Hint::default())
}
