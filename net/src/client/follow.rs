//! Following a served store.

use std::fmt;
use std::ops::RangeInclusive;

use tonic::Streaming;
use travertine_engine::contract::{Epoch, Error, Name, Reference, Result};

use super::garbled;
use crate::convert;
use crate::proto::{self, followed};
use crate::wire::error::from_status;

/// What a follower is told next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// The next commit.
    Commit {
        /// Its number.
        sequence: u64,
        /// The epoch that made it.
        epoch: Epoch,
        /// When, in microseconds since 1970.
        time: u64,
        /// The names that it changed, and what they point to; `None`: dropped. After commits that were
        /// freed: those that differ from the one told before.
        changed: Vec<(Name, Option<Reference>)>,
        /// More differs than was told: ask for the names.
        more: bool,
    },
    /// The commits of these numbers were freed before they were told.
    Freed(RangeInclusive<u64>),
}

/// Proven commits in order, none twice and none left out: see
/// [`Client::follow`](super::Client::follow). After an error another one goes on from
/// [`Follow::position`].
pub struct Follow {
    stream: Streaming<proto::Followed>,
    next: u64,
}

impl Follow {
    pub(super) fn new(stream: Streaming<proto::Followed>, from: u64) -> Self {
        Self { stream, next: from }
    }

    /// The number of the commit that is told next; zero: nothing was told yet, and what comes after the
    /// newest was asked for.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// What comes next. Waits for it.
    ///
    /// Errors: `Unavailable` (the connection broke, or the server goes away), or why the engine writes no
    /// more, once everything was told.
    pub async fn next(&mut self) -> Result<Followed> {
        let told = match self.stream.message().await {
            Ok(Some(told)) => told.what.ok_or_else(|| garbled("a commit"))?,
            Ok(None) => return Err(Error::unavailable("the server ended the stream")),
            Err(status) => return Err(from_status(&status)),
        };
        Ok(match told {
            followed::What::Commit(told) => {
                self.next = told.sequence.saturating_add(1);
                let changed = told.changed.into_iter().map(|named| {
                    let to = named
                        .to
                        .map(|to| convert::reference(Some(to)))
                        .transpose()?;
                    Ok((Name::new(named.name)?, to))
                });
                Followed::Commit {
                    sequence: told.sequence,
                    epoch: convert::epoch(told.epoch),
                    time: told.time_us,
                    changed: changed.collect::<Result<_>>()?,
                    more: told.changed_more,
                }
            }
            followed::What::Freed(freed) => {
                self.next = freed.last.saturating_add(1);
                Followed::Freed(freed.first..=freed.last)
            }
        })
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Follow(from {})", self.next)
    }
}
