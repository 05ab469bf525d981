//! Which root marker is the newest that may be told.

use std::sync::Arc;

use super::Shared;
use crate::contract::{Oid, Result, RootAt, RootMarker, find_root};

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
        log.writing().newest
    } else if planted!(ReaderSeesUnproven) {
        found.newest
    } else {
        // A commit leaves the writing process only when proven.
        found.proven.map(|proven| proven.oid)
    };
    match newest {
        Some(newest) => find_root(newest, at, |oid| marker(log, oid)),
        None => Ok(None),
    }
}

fn marker(log: &Arc<Shared>, oid: Oid) -> Result<Option<RootMarker>> {
    let found = log.read(oid).wait()?;
    let decode = |record| RootMarker::decode(oid, &record);
    found.map(decode).transpose()
}
