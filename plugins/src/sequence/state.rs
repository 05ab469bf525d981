//! What a sequence knows while it runs.

use std::collections::VecDeque;
use std::sync::Arc;

use travertine_engine::contract::{
    Batch, End, Epoch, Error, Level, Oid, Op, Position, Proven, Result, Store,
};

use super::footer::{Counts, Footer};
use super::join::{Found, Joined};

/// Parts that have ended and not been sealed, at most: what an opening has to look into. A part grows
/// past its length rather than that there were more.
pub(super) const UNSEALED_MAX: usize = 4;

/// A part that has not been sealed.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) number: u32,
    pub(super) store: Arc<dyn Store>,
    /// What its first batch follows on; `None`: it holds nothing and is told when its turn comes.
    pub(super) begins: Option<End>,
    /// Set once another part goes on.
    pub(super) ended: Option<Ended>,
    pub(super) counts: Counts,
    /// Bytes of positions that hold nothing, as far as they are known.
    pub(super) gaps: u64,
    /// Since when it is written to, in microseconds since 1970; told for the one that is.
    pub(super) since: u64,
}

/// How a part ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) end: End,
    /// The newest marker at or before the end.
    pub(super) marker: Option<Oid>,
    /// Everything in it is as durable as it will ever be.
    pub(super) synced: bool,
    /// When, in microseconds since 1970.
    pub(super) at: u64,
}

/// Work for a driver.
#[derive(Debug)]
pub(super) enum Task {
    /// Makes the next part ready.
    Prepare {
        number: u32,
        near: Position,
        epoch: Epoch,
    },
    /// Tells the part that is to be the next how far the stream has come.
    Announce {
        member: Member,
        end: End,
        epoch: Epoch,
    },
    /// Waits for the sync of a part that has ended.
    Sync { number: u32, op: Op<Level> },
    /// Writes the footer of the oldest part that has ended.
    Seal,
}

#[derive(Debug)]
pub(super) struct State {
    /// Parts that have not been sealed, by number: first those that hold something.
    pub(super) members: VecDeque<Member>,
    /// The newest footer.
    pub(super) base: Option<Footer>,
    /// What the last report said.
    pub(super) report: Result<(Vec<Found>, Joined)>,
    pub(super) epoch: Epoch,
    pub(super) adopted: bool,
    /// Where the stream ends.
    pub(super) end: End,
    /// The last batch, as long as its running checksum was not needed.
    pub(super) last: Option<Batch>,
    /// The highest ceiling that was told.
    pub(super) handed: Position,
    pub(super) newest: Option<Oid>,
    pub(super) proven: Option<Proven>,
    /// Why parts that a reader does without cannot be opened.
    pub(super) lost: Vec<Error>,
    /// Why nothing is written any more.
    pub(super) poison: Option<Error>,
    pub(super) switching: bool,
    pub(super) preparing: bool,
    /// What the next part was told last of how far the stream has come.
    pub(super) announced: Position,
    /// After a failure no part is prepared before the stream gets here.
    pub(super) retry_at: Position,
    pub(super) sealing: bool,
    /// A footer could not be written: not tried again before the next roll.
    pub(super) seal_failed: bool,
    pub(super) tasks: VecDeque<Task>,
    pub(super) running: usize,
    pub(super) rolls: u64,
}

impl State {
    /// Refuses who may not write.
    pub(super) fn admit(&self, sender: Epoch) -> Result<()> {
        if let Some(poison) = &self.poison {
            return Err(poison.clone());
        }
        self.epoch.admit(sender, self.adopted)
    }

    pub(super) fn active_index(&self) -> Option<usize> {
        self.members
            .iter()
            .rposition(|member| member.begins.is_some())
    }

    /// The part that is written to.
    pub(super) fn active(&self) -> Result<&Member> {
        let index = self.active_index();
        index
            .map(|index| &self.members[index])
            .ok_or_else(|| Error::unavailable("no part of the sequence is open for writing"))
    }

    pub(super) fn active_mut(&mut self) -> Option<&mut Member> {
        let index = self.active_index()?;
        self.members.get_mut(index)
    }

    /// The part that is ready to be the next.
    pub(super) fn next(&self) -> Option<&Member> {
        let index = self.active_index().map_or(0, |index| index + 1);
        self.members.get(index)
    }

    pub(super) fn member(&mut self, number: u32) -> Option<&mut Member> {
        self.members
            .iter_mut()
            .find(|member| member.number == number)
    }

    /// Adds a part in its place.
    pub(super) fn insert(&mut self, member: Member) {
        let before = |other: &Member| other.number < member.number;
        let at = self.members.partition_point(before);
        self.members.insert(at, member);
    }

    /// The highest number that was given to a part.
    pub(super) fn newest_number(&self) -> u32 {
        let sealed = self.base.as_ref().map_or(0, |footer| footer.part);
        self.members.back().map_or(sealed, |member| member.number)
    }

    /// Bytes that the active part holds.
    pub(super) fn filled(&self) -> u64 {
        self.active().map_or(0, |active| {
            let begins = active
                .begins
                .map_or(self.end.position, |begins| begins.position);
            let span = self.end.position.bytes_since(begins);
            span.saturating_sub(active.gaps)
        })
    }

    /// How many parts have ended and not been sealed.
    pub(super) fn unsealed(&self) -> usize {
        let ended = self.members.iter().filter(|member| member.ended.is_some());
        ended.count()
    }

    /// Where the stream ends, with its running checksum.
    pub(super) fn end(&mut self) -> End {
        if let Some(last) = self.last.take() {
            self.end = End {
                position: last.header().end,
                running: last.running(),
            };
        }
        self.end
    }

    /// Takes note of a batch that a part has taken just now.
    pub(super) fn note(&mut self, batch: &Batch, now: u64) {
        let header = batch.header();
        if header.end <= self.end.position {
            return;
        }
        let gap = header.base.bytes_since(header.before_end);
        let member = self.members.iter_mut().rev().find(|member| {
            let begins = member.begins.map(|begins| begins.position);
            begins.is_some_and(|begins| begins <= header.before_end)
        });
        if let Some(member) = member {
            if member.begins.map(|begins| begins.position) == Some(header.before_end) {
                member.since = now;
            }
            member.gaps += gap;
            member.counts.batches += 1;
            member.counts.records += u64::from(header.records);
            member.counts.bytes += header.length();
            if member.counts.first_marker.is_none() {
                member.counts.first_marker = header.marker;
            }
        }
        self.end.position = header.end;
        self.last = Some(batch.clone());
        self.newest = self.newest.max(header.marker);
        self.proven = self.proven.max(header.proven);
    }

    /// The oldest part, if it has ended and its footer may be written: everything in it is durable,
    /// and recovery will never look at its markers again, because a commit at least as new as the
    /// newest of them is proven.
    pub(super) fn sealable(&self) -> Option<&Member> {
        let member = self.members.front()?;
        let ended = member.ended.as_ref()?;
        let proven = self.proven.map(|proven| proven.oid);
        let settled = ended.marker.is_none() || ended.marker <= proven;
        (ended.synced && settled).then_some(member)
    }
}
