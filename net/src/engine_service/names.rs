//! What is asked without a session: names of a commit, and records.

use std::ops::Bound;

use travertine_engine::contract::{Error, Name, Names, Op, Reference, Result, RootAt};
use travertine_engine::front::{Engine, RESERVED, Snapshot};

use crate::convert::{self, found, named};
use crate::proto::{self, root_request, target};

/// Most names of one answer, and most changes that a follower is told of one commit.
pub(super) const NAMES_MAX: usize = 1_000;

/// The names of the commit that is asked for. May block.
pub(super) fn at(engine: &Engine, told: &proto::RootRequest) -> Result<proto::RootReply> {
    let at = match told.at {
        None => return of(&engine.snapshot(), told),
        Some(root_request::At::Proven(_)) => RootAt::Proven,
        Some(root_request::At::Sequence(sequence)) => RootAt::Sequence(sequence),
        Some(root_request::At::TimeUs(time)) => RootAt::Time(time),
    };
    match engine.at(at)? {
        Some(snapshot) => of(&snapshot, told),
        None => Err(Error::invalid(format!(
            "there is no commit {at:?}, or none that old any more"
        ))),
    }
}

/// The names of this commit that are asked for.
pub(super) fn of(snapshot: &Snapshot, told: &proto::RootRequest) -> Result<proto::RootReply> {
    let mut reply = proto::RootReply {
        sequence: snapshot.sequence(),
        epoch: Some(snapshot.epoch().into()),
        time_us: snapshot.time(),
        ..proto::RootReply::default()
    };
    if !told.name.is_empty() {
        let name = Name::new(told.name.as_str())?;
        if !name.as_str().starts_with(RESERVED)
            && let Some(reference) = snapshot.root(&name)
        {
            reply.names.push(named(&name, Some(reference)));
        }
        return Ok(reply);
    }
    let from = if told.after.is_empty() {
        Bound::Unbounded
    } else {
        Bound::Excluded(Name::new(told.after.as_str())?)
    };
    let most = match told.limit as usize {
        0 => NAMES_MAX,
        limit => limit.min(NAMES_MAX),
    };
    let mut names = snapshot.names().range((from, Bound::Unbounded));
    let page = names.by_ref().take(most);
    reply.names = page
        .map(|(name, reference)| named(name, Some(*reference)))
        .collect();
    reply.more = names.next().is_some();
    Ok(reply)
}

/// What differs between two commits, and whether more does than is told. `None`: there was nothing.
pub(super) fn changed(
    before: Option<&Snapshot>,
    now: &Snapshot,
) -> (Vec<proto::NamedReference>, bool) {
    let none = Names::new();
    let (before, now) = (before.map_or(&none, Snapshot::names), now.names());
    let set = now
        .iter()
        .filter(|(name, to)| before.get(*name) != Some(*to))
        .map(|(name, to)| named(name, Some(*to)));
    let dropped = before
        .keys()
        .filter(|name| !now.contains_key(*name))
        .map(|name| named(name, None));
    let mut changed = set.chain(dropped);
    let told: Vec<_> = changed.by_ref().take(NAMES_MAX).collect();
    (told, changed.next().is_some())
}

/// The record that is asked for, by a call of its own. Does not block.
pub(super) fn read(engine: &Engine, told: proto::ReadRequest) -> Op<proto::Found> {
    let wrong = |what: &str| Op::err(Error::invalid(what));
    match told.target.and_then(|target| target.to) {
        Some(target::To::Oid(raw)) => match convert::oid(raw) {
            Ok(oid) => engine.read(oid).map(move |record| found(oid, record)),
            Err(error) => Op::err(error),
        },
        Some(target::To::Reference(told)) => match Reference::try_from(told) {
            Ok(reference) => {
                let read = engine.snapshot().read(&reference);
                read.map(move |record| found(reference.oid, Some(record)))
            }
            Err(error) => Op::err(error),
        },
        Some(_) => wrong("a record of a session is named, and there is no session"),
        None => wrong("no record is named"),
    }
}
