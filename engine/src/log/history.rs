//! Finding a root marker: the newest, or an older one by number or time, in a logarithmic number of
//! reads along the jump links.

use super::Shared;
use crate::contract::{Error, Oid, Result, RootAt, RootMarker};

pub(super) fn root(log: &Shared, at: RootAt) -> Result<Option<(Oid, RootMarker)>> {
    let found = log
        .found
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    if let Some(damage) = found.damage {
        return Err(damage);
    }
    let newest = if log.writes() {
        log.writing().newest
    } else {
        // A commit leaves the writing process only when proven.
        found.proven.map(|proven| proven.oid)
    };
    let Some(newest) = newest else {
        return Ok(None);
    };
    let mut here = (newest, marker(log, newest)?);
    let wanted = |marker: &RootMarker| match at {
        RootAt::Newest => true,
        RootAt::Sequence(sequence) => marker.sequence <= sequence,
        RootAt::Time(time) => marker.time <= time,
    };
    while !wanted(&here.1) {
        let jump = match here.1.jump {
            Some((target, _)) => Some((target.oid, marker(log, target.oid)?)),
            None => None,
        };
        // A jump that lands before the wanted one goes too far: take a single step instead.
        let step = match jump {
            Some(far) if !wanted(&far.1) || exact(at, &far.1) => Some(far),
            _ => match here.1.previous {
                Some(previous) => Some((previous.oid, marker(log, previous.oid)?)),
                None => None,
            },
        };
        match step {
            Some(next) => here = next,
            None => return Ok(None),
        }
    }
    let exact_or_time = !matches!(at, RootAt::Sequence(_)) || exact(at, &here.1);
    Ok(exact_or_time.then_some(here))
}

fn exact(at: RootAt, marker: &RootMarker) -> bool {
    matches!(at, RootAt::Sequence(sequence) if marker.sequence == sequence)
}

fn marker(log: &Shared, oid: Oid) -> Result<RootMarker> {
    let record = log
        .read(oid)?
        .ok_or_else(|| Error::corrupt(format!("there is no root marker at {oid}")))?;
    RootMarker::decode(oid, &record)
}
