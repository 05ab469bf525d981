//! What a log tells of its segments, as far as it knows without looking.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::segment::Segment;
use super::writer::{SPARE, Writing};
use crate::contract::{Oid, PartState, PartStatus, Position};

/// So many segments are told of: the newest.
const PARTS_MAX: usize = 4096;

/// Those that are told of. If we `look`, once each that a reclaim left has said how long it is: their
/// headers are read while nobody waits for a lock.
pub(super) fn told(segments: &[Arc<Segment>], look: bool) -> &[Arc<Segment>] {
    let told = &segments[segments.len().saturating_sub(PARTS_MAX)..];
    for segment in told.iter().filter(|_| look) {
        // One that cannot be read tells nothing.
        let _ = segment.sparse();
    }
    told
}

impl Shared {
    pub(super) fn parts(&self, told: &[Arc<Segment>], writing: &Writing) -> Vec<PartStatus> {
        let next = told.iter().skip(1).map(Some).chain([None]);
        let each = told.iter().zip(next);
        let mut parts: Vec<_> = each
            .map(|(segment, next)| self.part(segment, next, writing))
            .collect();
        parts.extend(writing.spare_claimed().map(|claimed| PartStatus {
            bytes: Some(claimed),
            ..PartStatus::new(SPARE, PartState::Next)
        }));
        parts
    }

    fn part(
        &self,
        segment: &Segment,
        next: Option<&Arc<Segment>>,
        writing: &Writing,
    ) -> PartStatus {
        // Before the next one may lie a gap, which only its header states.
        let after = next.and_then(|next| next.known_header());
        let ends = match (segment.ends(), after, next) {
            (Some(end), ..) => end,
            (None, Some(after), _) => after.before.position,
            (None, None, Some(next)) => next.base,
            (None, None, None) => Position(self.tail.load(Ordering::Acquire)),
        };
        let newest = match after {
            Some(after) => after.newest,
            None => writing.newest.filter(|_| next.is_none()),
        };
        let bytes = match segment.ends() {
            // Its header, if that was read.
            Some(_) => segment.known_sparse().map(|left| left.length()),
            None => Some(ends.bytes_since(segment.base)),
        };
        PartStatus {
            begins: Some(segment.base.0),
            ends: Some(ends.0),
            bytes,
            epoch: segment.known_header().map(|header| header.epoch.number),
            marker: newest.map(Oid::raw),
            ..PartStatus::new(
                segment.name(),
                self.state_of(segment, ends, next.is_none(), writing),
            )
        }
    }

    fn state_of(
        &self,
        segment: &Segment,
        ends: Position,
        last: bool,
        writing: &Writing,
    ) -> PartState {
        let open = writing.open.as_ref().map(|open| open.segment.base);
        // Whoever writes goes on in the last, or in one that this reader has not seen.
        if self.options.extent.is_sealed() {
            PartState::Sealed
        } else if open == Some(segment.base) || last && !self.writes() {
            PartState::Active
        } else if ends.0 <= self.durable.load(Ordering::Acquire).max(writing.durable.0) {
            PartState::Synced
        } else {
            PartState::Ended
        }
    }
}
