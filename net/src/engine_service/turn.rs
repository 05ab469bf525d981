//! What is asked in a session, carried out one after another.
//!
//! A client names records that it does not hold in its hands, so nothing that it says of them is
//! believed: a reference that comes from outside is looked up and must be that of the record which lies
//! there. What a session itself stored it names by the number of the ask, and nothing is looked up.

use std::collections::VecDeque;

use travertine_engine::contract::trace::within;
use travertine_engine::contract::{Error, Kind, Name, NewRecord, Op, Reference, Result};
use travertine_engine::front::{Change, Committed, Engine, Expect, Hint, Session};

use super::{names, rights};
use crate::convert;
use crate::proto::{self, ask, reply, target};
use crate::rights::Caller;
use crate::traces;
use crate::wire::error::{from_status, to_proto};

/// What became of an ask.
pub(super) enum Outcome {
    /// It is answered.
    Ready(proto::Reply),
    /// The commit is on its way; these records came with it.
    Commit(u64, Op<Committed>, Vec<Reference>),
    /// The record is on its way.
    Read(u64, Op<proto::Found>),
}

/// A session, and what it stored lately.
pub(super) struct Turn {
    engine: Engine,
    session: Session,
    stored: VecDeque<(u64, Result<Reference>)>,
    /// So many stores are remembered.
    remembers: usize,
    /// The number of the last ask.
    last: u64,
    /// Who asks: each ask takes its right.
    caller: Option<Caller>,
}

impl Turn {
    pub(super) fn new(engine: Engine, remembers: usize) -> Result<Self> {
        Ok(Self {
            session: engine.session()?,
            engine,
            stored: VecDeque::new(),
            remembers,
            last: 0,
            caller: None,
        })
    }

    /// From now on each ask takes a right of this caller.
    pub(super) fn asked_by(mut self, caller: Caller) -> Self {
        self.caller = Some(caller);
        self
    }

    /// The commit that the session builds on.
    pub(super) fn begun(&self) -> proto::Begun {
        proto::Begun {
            sequence: self.session.base().sequence(),
        }
    }

    /// Carries out what is asked, in order, until the answers hold more than `most` bytes. May block.
    pub(super) fn carry_out(
        &mut self,
        asks: &mut VecDeque<proto::Ask>,
        most: usize,
    ) -> Vec<Outcome> {
        let (mut outcomes, mut bytes) = (Vec::with_capacity(asks.len()), 0);
        while let Some(ask) = asks.pop_front() {
            let caller = traces::of(&ask.trace);
            let outcome = within(caller, || self.one(ask));
            if let Outcome::Ready(answer) = &outcome {
                bytes += super::session::size(answer);
            }
            outcomes.push(outcome);
            if bytes > most {
                break;
            }
        }
        outcomes
    }

    fn one(&mut self, ask: proto::Ask) -> Outcome {
        let id = ask.id;
        let wrong = |what: String| Outcome::Ready(refused(id, &Error::invalid(what)));
        if id <= self.last {
            return wrong(format!("ask {id} came after ask {}", self.last));
        }
        self.last = id;
        let ready = |answer: Result<reply::What>| {
            Outcome::Ready(match answer {
                Ok(what) => answered(id, what),
                Err(error) => refused(id, &error),
            })
        };
        if let (Some(caller), Some(what)) = (&self.caller, &ask.what)
            && let Err(status) = rights::may(caller, what)
        {
            return ready(Err(from_status(&status)));
        }
        match ask.what {
            None => wrong("nothing that this version knows was asked".to_owned()),
            Some(ask::What::Store(told)) => {
                let stored = self.store(told, &[]);
                if self.stored.len() == self.remembers {
                    self.stored.pop_front();
                }
                self.stored.push_back((id, stored.clone()));
                ready(stored.map(|reference| {
                    reply::What::Stored(proto::Stored {
                        reference: Some(reference.into()),
                    })
                }))
            }
            Some(ask::What::Commit(told)) => match self.commit(told) {
                Ok((op, stored)) => Outcome::Commit(id, op, stored),
                Err(error) => ready(Err(error)),
            },
            Some(ask::What::Read(told)) => match self.read(told).try_ready() {
                Ok(found) => ready(found.map(reply::What::Found)),
                Err(op) => Outcome::Read(id, op),
            },
            Some(ask::What::Root(told)) => ready(
                match told.at {
                    None => names::of(self.session.base(), &told),
                    Some(_) => names::at(&self.engine, &told),
                }
                .map(reply::What::Root),
            ),
            Some(ask::What::Begin(_)) => ready(self.engine.session().map(|session| {
                self.session = session;
                self.stored.clear();
                reply::What::Begun(self.begun())
            })),
        }
    }

    /// Stores a record. May block.
    pub(super) fn store(&self, told: proto::StoreRequest, own: &[Reference]) -> Result<Reference> {
        let kind = match u16::try_from(told.kind) {
            Ok(0) => Kind::BLOB,
            Ok(kind) => Kind(kind),
            Err(_) => return Err(Error::invalid(format!("there is no kind {}", told.kind))),
        };
        let references = told.references.into_iter();
        let references = references
            .map(|target| self.reference(target, own))
            .collect::<Result<Vec<_>>>()?;
        let record = NewRecord {
            kind,
            references: &references,
            body: &[&told.body],
        };
        self.session.store(&record, Hint { tag: told.tag })
    }

    /// Stores what comes along and submits a commit. May block, but not for the commit.
    pub(super) fn commit(
        &self,
        told: proto::CommitRequest,
    ) -> Result<(Op<Committed>, Vec<Reference>)> {
        let level = told.level.map(convert::level).transpose()?;
        let mut own = Vec::with_capacity(told.store.len());
        for record in told.store {
            own.push(self.store(record, &own)?);
        }
        let changes = told.changes.into_iter();
        let changes = changes
            .map(|change| {
                Ok(Change {
                    name: Name::new(change.name)?,
                    expect: match change.expect {
                        None => Expect::Any,
                        Some(0) => Expect::Is(None),
                        Some(raw) => Expect::Is(Some(convert::oid(raw)?)),
                    },
                    to: change.to.map(|to| self.reference(to, &own)).transpose()?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok((self.session.commit(&changes, level), own))
    }

    /// Looks for a record. Does not block.
    fn read(&self, told: proto::ReadRequest) -> Op<proto::Found> {
        match told.target.as_ref().and_then(|target| target.to) {
            Some(target::To::Ask(ask)) => match self.of_ask(ask) {
                Ok(stored) => {
                    let read = self.session.read(&stored);
                    read.map(move |record| convert::found(stored.oid, Some(record)))
                }
                Err(error) => Op::err(error),
            },
            _ => names::read(&self.engine, told),
        }
    }

    /// The record that is meant. May block.
    fn reference(&self, told: proto::Target, own: &[Reference]) -> Result<Reference> {
        let weak = told.weak;
        let reference = match told.to {
            Some(target::To::Ask(ask)) => self.of_ask(ask)?,
            Some(target::To::Own(index)) => {
                let found = usize::try_from(index).ok().and_then(|index| own.get(index));
                *found.ok_or_else(no_own)?
            }
            Some(target::To::Oid(raw)) => {
                let oid = convert::oid(raw)?;
                let found = self.engine.read(oid).wait()?;
                let none = || Error::invalid(format!("there is no record at {oid}"));
                found.ok_or_else(none)?.reference_to(oid)
            }
            Some(target::To::Reference(told)) => {
                let reference = Reference::try_from(told)?;
                let found = self.engine.read(reference.oid).wait()?;
                let there = found.map(|record| record.reference_to(reference.oid));
                let right = match there {
                    Some(there) => there.weakened() == reference.weakened(),
                    // What a weak edge leads to may be gone.
                    None => weak || reference.weak,
                };
                if !right {
                    return Err(Error::invalid(format!(
                        "{reference:?} is not the reference to what lies there"
                    )));
                }
                reference
            }
            None => return Err(no_target()),
        };
        Ok(if weak {
            reference.weakened()
        } else {
            reference
        })
    }

    fn of_ask(&self, ask: u64) -> Result<Reference> {
        match self.stored.binary_search_by_key(&ask, |(id, _)| *id) {
            Ok(index) => {
                let (_, stored) = &self.stored[index];
                let failed = |error: &Error| error.clone().at(format!("ask {ask}"));
                stored.as_ref().map(|found| *found).map_err(failed)
            }
            Err(_) => Err(Error::invalid(format!(
                "ask {ask} stored nothing, or was not among the last of this session"
            ))),
        }
    }
}

/// The answer that was found.
pub(super) fn answered(id: u64, what: reply::What) -> proto::Reply {
    proto::Reply {
        id,
        what: Some(what),
    }
}

/// The answer that there is none, and why.
pub(super) fn refused(id: u64, error: &Error) -> proto::Reply {
    answered(id, reply::What::Error(to_proto(error)))
}

/// What a commit brought.
pub(super) fn committed(committed: Committed, stored: Vec<Reference>) -> proto::Committed {
    proto::Committed {
        sequence: committed.sequence,
        epoch: Some(committed.epoch.into()),
        marker: committed.marker.raw(),
        level: Some(committed.level.into()),
        stored: stored.into_iter().map(Into::into).collect(),
    }
}

fn no_target() -> Error {
    Error::invalid("no record is named")
}

fn no_own() -> Error {
    Error::invalid("a record that comes along is named, and there is none with this index")
}
