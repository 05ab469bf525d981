//! Which root marker is the newest that may be told.

use std::sync::Arc;

use super::Shared;
use crate::contract::{Error, Oid, Result, RootAt, RootMarker, find_root};

pub(super) fn root(log: &Arc<Shared>, at: RootAt) -> Result<Option<(Oid, RootMarker)>> {
    if !log.writes() {
        log.look_again()?;
    }
    let found = log
        .found
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    if let Some(damage) = found.damage {
        return Err(damage);
    }
    let newest = if log.writes() {
        let writing = log.writing();
        match at {
            RootAt::Proven => writing.proven.map(|proven| proven.oid),
            _ => writing.newest,
        }
    } else if planted!(ReaderSeesUnproven) {
        found.newest
    } else {
        // A commit leaves the writing process only when proven.
        found.proven.map(|proven| proven.oid)
    };
    let Some(newest) = newest else {
        return Ok(None);
    };
    find_root(newest, at, |oid| match marker(log, oid)? {
        // Something newer was proven since somebody looked.
        None if oid == newest && !log.writes() => Err(Error::unavailable(format!(
            "the newest root marker, at {oid}, was freed since it was found: look again"
        ))),
        found => Ok(found),
    })
}

fn marker(log: &Arc<Shared>, oid: Oid) -> Result<Option<RootMarker>> {
    let found = log.read(oid).wait()?;
    let decode = |record| RootMarker::decode(oid, &record);
    found.map(decode).transpose()
}
