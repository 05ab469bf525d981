//! Which parts a reclaim has the floors write anew, where some garbage may lie: those with the most of it.
//!
//! ```text
//!   parts    ███▁▁▁▁ │ ▁▁▁▁▁▁▁ │ █████▁▁ │ ██▁▁▁▁▁ │ ██████▁ …      █ stays   ▁ garbage
//!   taken       3         1                    2                    until what lies below is little enough
//! ```
//!
//! To free a byte of a part costs what stays of it, written once more: of one that is all garbage nothing, of one
//! that is half full a byte, of one that is nine tenths full nine. So a reclaim that need not free everything
//! takes the emptiest first, and leaves the full ones until more of them is garbage. Those of which little stays
//! are taken whether they need be or not: they will hardly ever be cheaper.
//!
//! What stays of a part is known for pages of half a mebibyte, and a page that two parts share is divided by
//! its records. Where floors keep several copies, whose parts need not end at the same places, or seal parts and
//! tell what they were given once, there is no choice, and everything is offered to them.

use crate::contract::{PartState, PartStatus, Position, Status, Stream};

use super::alive::Alive;
use super::past::Range;

/// Runs that a reclaim frees something of, and bytes of those parts that it leaves as they are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Worst {
    /// Of each range, in rising order.
    pub(super) runs: Vec<Vec<(Position, Position)>>,
    pub(super) left: u64,
}

/// A part with what stays of it.
struct Part {
    /// Of `ranges`.
    range: usize,
    from: Position,
    to: Position,
    bytes: u64,
    stays: u64,
    taken: bool,
}

impl Part {
    fn garbage(&self) -> u64 {
        self.bytes.saturating_sub(self.stays)
    }
}

impl Worst {
    /// Everything, as one run for each range.
    pub(super) fn all(ranges: &[Range]) -> Self {
        let whole = |range: &Range| vec![(range.from, range.to)];
        Self {
            runs: ranges.iter().map(whole).collect(),
            left: 0,
        }
    }

    /// So much of these ranges that no more than `most` bytes lie below.
    pub(super) fn of(ranges: &[Range], alive: &Alive, status: &Status, most: u64) -> Self {
        let (mut parts, mut lie) = (Vec::new(), 0);
        let mut runs = Vec::new();
        for (number, range) in ranges.iter().enumerate() {
            let Some(known) = told(status, range.stream) else {
                return Self::all(ranges);
            };
            let known = known.iter().filter_map(|part| {
                let (from, to) = (Position(part.begins?), Position(part.ends?));
                Some((from, to, part.bytes?))
            });
            let known: Vec<_> = known.collect();
            lie += known.iter().map(|part| part.2).sum::<u64>();
            // Of very many only the newest are told.
            let first = known.first().map_or(range.to, |part| part.0);
            let before = (range.from, first.min(range.to));
            runs.push(Vec::from_iter((before.0 < before.1).then_some(before)));
            let below = known.into_iter().filter(|part| part.1 <= range.to);
            parts.extend(below.map(|(from, to, bytes)| Part {
                range: number,
                from,
                to,
                bytes,
                stays: alive.bytes_within(range.stream, from, to),
                taken: false,
            }));
        }
        take(&mut parts, lie.saturating_sub(most));
        let mut left = 0;
        for part in parts {
            if !part.taken {
                left += part.bytes;
                continue;
            }
            let runs = &mut runs[part.range];
            match runs.last_mut().filter(|run| run.1 >= part.from) {
                Some(run) => run.1 = part.to,
                None => runs.push((part.from, part.to)),
            }
        }
        Self { runs, left }
    }
}

/// A part of which no more stays than this share is always taken.
const LITTLE: u64 = 4;

/// Takes the emptiest parts until they hold so much garbage, and all of which little stays.
fn take(parts: &mut [Part], mut garbage: u64) {
    let mut order: Vec<_> = parts.iter_mut().collect();
    // What stays of a byte, in small steps.
    order.sort_by_cached_key(|part| {
        u128::from(part.stays) * 1_000_000 / u128::from(part.bytes.max(1))
    });
    for part in order {
        if garbage == 0 && part.stays > part.bytes / LITTLE {
            break;
        }
        garbage = garbage.saturating_sub(part.garbage());
        part.taken = true;
    }
}

/// Whether there is a choice below.
pub(super) fn is_choice(status: &Status) -> bool {
    let mut streams = status.streams.iter().map(|own| Stream(own.stream));
    streams.all(|stream| told(status, stream).is_some())
}

/// The parts of a stream, if somebody tells what lies in each, and nobody else has any of it.
fn told(status: &Status, stream: Stream) -> Option<&[PartStatus]> {
    if !status.parts.is_empty() {
        let own = status.streams.iter().map(|own| own.stream);
        let past = |part: &PartStatus| matches!(part.state, PartState::Sealed | PartState::Lost);
        let told = own.eq([stream.0]) && !status.parts.iter().any(past);
        return told.then_some(&status.parts);
    }
    let mut found = status.below.iter().filter(|below| {
        let mut streams = below.streams.iter();
        streams.any(|own| own.stream == stream.0)
    });
    let first = told(found.next()?, stream);
    first.filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::model::ModelStore;
    use crate::contract::{Oid, Store, StreamStatus};

    /// Bytes of a part, and positions of it: a page of what is known to stay.
    const PART: u64 = 512 << 10;
    const STEPS: u64 = 1 << 16;

    fn stream(number: u16) -> StreamStatus {
        StreamStatus {
            stream: number,
            ..ModelStore::default().status().streams[0].clone()
        }
    }

    /// A floor with one part for each number: so many eighths of it stay.
    fn floor(alive: &mut Alive, eighths: &[u64]) -> Status {
        let mut status = ModelStore::default().status();
        status.streams = vec![stream(0)];
        for (index, eighths) in eighths.iter().enumerate() {
            let begins = index as u64 * STEPS;
            for eighth in 0..*eighths {
                let at = Position(begins + 8 + eighth * (STEPS / 8));
                alive.insert(Oid::new(Stream(0), at).unwrap(), (PART / 8) as u32);
            }
            status.parts.push(PartStatus {
                begins: Some(begins),
                ends: Some(begins + STEPS),
                bytes: Some(PART),
                ..PartStatus::new(index.to_string(), PartState::Synced)
            });
        }
        status
    }

    fn whole(parts: u64) -> Vec<Range> {
        let to = Position(parts * STEPS);
        vec![Range {
            stream: Stream(0),
            from: Position::START,
            to,
            alive: 0,
            hash: 0,
        }]
    }

    /// Numbers of the first part and of the one behind the last, of each run.
    fn runs(worst: &Worst) -> Vec<(u64, u64)> {
        let number = |at: Position| at.0 / STEPS;
        let runs = worst.runs.iter().flatten();
        runs.map(|(from, to)| (number(*from), number(*to)))
            .collect()
    }

    #[test]
    fn the_emptiest_go_first_and_of_those_that_are_not_nearly_empty_no_more_than_needed() {
        let mut alive = Alive::default();
        let status = floor(&mut alive, &[8, 1, 4, 3, 7, 0, 2]);
        let taken = |eighths: u64| {
            let most = 7 * PART - eighths * PART / 8;
            let worst = Worst::of(&whole(7), &alive, &status, most);
            let taken: u64 = runs(&worst).iter().map(|(from, to)| to - from).sum();
            assert_eq!(worst.left, (7 - taken) * PART);
            runs(&worst)
        };
        assert_eq!(
            taken(0),
            [(1, 2), (5, 7)],
            "what is nearly empty costs little"
        );
        assert_eq!(taken(21), [(1, 2), (5, 7)]);
        assert_eq!(taken(22), [(1, 2), (3, 4), (5, 7)]);
        assert_eq!(taken(30), [(1, 4), (5, 7)]);
        assert_eq!(taken(56), [(0, 7)]);
    }

    #[test]
    fn what_no_part_tells_of_is_offered_and_what_lies_above_is_not() {
        let mut alive = Alive::default();
        let mut status = floor(&mut alive, &[8, 8, 0, 1, 0]);
        status.parts.remove(0);
        let worst = Worst::of(&whole(4), &alive, &status, u64::MAX);
        assert_eq!(runs(&worst), [(0, 1), (2, 4)]);
        let worst = Worst::of(&whole(4), &alive, &status, 0);
        assert_eq!(runs(&worst), [(0, 4)]);
    }

    #[test]
    fn there_is_no_choice_between_copies_nor_of_parts_that_are_sealed() {
        let mut alive = Alive::default();
        let one = floor(&mut alive, &[8, 0]);
        let mut above = ModelStore::default().status();
        above.streams = vec![stream(0)];
        above.below = vec![one.clone()];
        assert!(is_choice(&one) && is_choice(&above));
        above.below.push(one.clone());
        let mut sealed = one;
        sealed.parts[0].state = PartState::Sealed;
        for status in [above, sealed] {
            assert!(!is_choice(&status));
            let worst = Worst::of(&whole(2), &alive, &status, u64::MAX);
            assert_eq!(worst, Worst::all(&whole(2)));
        }
    }
}
