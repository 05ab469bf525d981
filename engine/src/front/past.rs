//! What is left of the history: which commits a reclaim kept, and how one gets to them.
//!
//! Root markers link back with weak references, and markers of commits that nobody keeps are freed like
//! any other record. So the record of a decision tells all runs of commits that stay, and time travel
//! below the newest run goes through it: a run is entered at its newest marker, and within it the links
//! of the markers hold, for none of them leads below the commit that is wanted.
//!
//! ```text
//!   commits    1 2 . . . 6 . . . . . . 13 14 15 16 17 18 …        . freed
//!   runs      [1,2]     [6]           [13,15]                      as the decision of 16 tells them
//!               ^        ^                ^                        newest marker of each: a weak reference
//!                                      └── open at the top: 16, 17, 18 … are linked from the newest
//! ```
//!
//! The record is of kind [`Kind::RECLAIM`], and the name [`DECISION`] points to it. Its references: an
//! older page (strong, only if its flag is set), then one weak reference for each run, to the newest
//! marker of it. Its body, little-endian:
//!
//! ```text
//!   0 time of the decision, µs since 1970 u64     8 ranges u32     12 runs u32     16 flags u32   20 zeros
//!  24 each range: stream u64, from u64, to u64, records that stay u64, hash of their OIDs u64
//!   … each run, the oldest first: first sequence u64, last u64, first time u64, last time u64
//! ```
//!
//! The hash is XXH3-64 over the OIDs that stay in the range, in order, 8 bytes each: whoever applied the
//! decision elsewhere can be compared. More runs than fit a page lie in pages behind it, the older the
//! further; a page is such a record without ranges.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::contract::record::{u32_at, u64_at};
use crate::contract::{Error, Kind, Name, Oid, Position, Record, Reference, Result, Stream};

/// The name that points to the newest decision.
pub(super) const DECISION: &str = "travertine/reclaim";

/// Runs that one page tells.
const PAGE_RUNS: usize = 8_192;
/// Pages that are followed: more is damage.
const PAGES_MAX: usize = 4_096;

const FIXED: usize = 24;
const RANGE: usize = 40;
const RUN: usize = 32;
const OLDER: u32 = 1;

/// Commits that follow each other without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) first_time: u64,
    pub(super) last_time: u64,
    /// The marker of the last.
    pub(super) newest: Reference,
}

/// One range of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) stream: Stream,
    pub(super) from: Position,
    pub(super) to: Position,
    /// Records that stay.
    pub(super) alive: u64,
    /// Of their OIDs.
    pub(super) hash: u64,
}

/// The commits that are left, the oldest run first. The last run goes on up to the newest commit. None:
/// nothing was ever freed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) runs: Vec<Run>,
}

/// A way into the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// Where it begins; `None`: at the newest commit.
    pub(super) from: Option<Reference>,
    /// No link below this commit is followed.
    pub(super) floor: u64,
}

impl Past {
    /// The first commit of those that are linked from the newest.
    pub(super) fn since(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.first)
    }

    fn open(&self) -> Way {
        Way {
            from: None,
            floor: self.since(),
        }
    }

    /// The way to a commit; `None`: it is not there any more.
    pub(super) fn to_sequence(&self, sequence: u64) -> Option<Way> {
        if sequence >= self.since() {
            return Some(self.open());
        }
        let after = self.runs.partition_point(|run| run.first <= sequence);
        let run = self.runs[..after].last()?;
        (sequence <= run.last).then_some(run.way())
    }

    /// The way to the newest commit at or before a time; `None`: none is left that old.
    pub(super) fn to_time(&self, time: u64) -> Option<Way> {
        if self.runs.last().is_none_or(|run| run.first_time <= time) {
            return Some(self.open());
        }
        let after = self.runs.partition_point(|run| run.first_time <= time);
        self.runs[..after].last().map(Run::way)
    }

    /// The way on when all commits from `floor` on were told: the run before.
    pub(super) fn below(&self, floor: u64) -> Option<Way> {
        let before = self.runs.partition_point(|run| run.first < floor);
        self.runs[..before].last().map(Run::way)
    }

    /// The numbers of all commits that are left, up to `newest`.
    pub(super) fn numbers(&self, newest: u64) -> Vec<RangeInclusive<u64>> {
        let Some((_, closed)) = self.runs.split_last() else {
            return vec![1..=newest];
        };
        let mut numbers: Vec<_> = closed.iter().map(|run| run.first..=run.last).collect();
        numbers.push(self.since()..=newest);
        numbers
    }
}

impl Run {
    fn way(&self) -> Way {
        Way {
            from: Some(self.newest),
            floor: self.first,
        }
    }
}

/// Stores a decision, its pages first, and returns the reference to it.
pub(super) fn store(
    time: u64,
    ranges: &[Range],
    runs: &[Run],
    mut store: impl FnMut(Kind, &[Reference], &[u8]) -> Result<Reference>,
) -> Result<Reference> {
    let mut older: Option<Reference> = None;
    let pages = runs.len().div_ceil(PAGE_RUNS).max(1);
    for page in 0..pages {
        let runs = &runs[page * PAGE_RUNS..runs.len().min((page + 1) * PAGE_RUNS)];
        let ranges = if page + 1 == pages { ranges } else { &[] };
        let mut references: Vec<_> = older.into_iter().collect();
        references.extend(runs.iter().map(|run| run.newest.weakened()));
        let flags = if older.is_some() { OLDER } else { 0 };
        let mut body = Vec::with_capacity(FIXED + ranges.len() * RANGE + runs.len() * RUN);
        body.extend_from_slice(&time.to_le_bytes());
        for word in [ranges.len() as u32, runs.len() as u32, flags, 0] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        for range in ranges {
            let stream = u64::from(range.stream.0);
            let words = [stream, range.from.0, range.to.0, range.alive, range.hash];
            body.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        for run in runs {
            let words = [run.first, run.last, run.first_time, run.last_time];
            body.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        older = Some(store(Kind::RECLAIM, &references, &body)?);
    }
    older.ok_or_else(|| Error::invalid("a decision has a page"))
}

/// Reads the decision that lies at `oid`, with all its pages.
pub(super) fn load(
    oid: Oid,
    read: impl Fn(Oid) -> Result<Option<Record>>,
) -> Result<(Past, Vec<Range>)> {
    let mut pages = VecDeque::new();
    let (mut told, mut next) = (Vec::new(), Some(oid));
    while let Some(at) = next {
        let corrupt = || Error::corrupt(format!("no decision of a reclaim at {at}"));
        let record = read(at)?.ok_or_else(corrupt)?;
        let page = parse(&record).ok_or_else(corrupt)?;
        if pages.is_empty() {
            told = page.ranges;
        }
        pages.push_front(page.runs);
        next = page.older.filter(|older| *older < at);
        if pages.len() > PAGES_MAX {
            return Err(corrupt());
        }
    }
    let past = Past {
        runs: pages.into_iter().flatten().collect(),
    };
    let rises =
        |pair: &[Run]| pair[0].last < pair[1].first && pair[0].last_time <= pair[1].first_time;
    let sound = |run: &Run| run.first <= run.last && run.first_time <= run.last_time;
    if past.runs.windows(2).all(rises) && past.runs.iter().all(sound) {
        return Ok((past, told));
    }
    Err(Error::corrupt(format!(
        "the decision at {oid} names commits out of order"
    )))
}

struct Page {
    older: Option<Oid>,
    ranges: Vec<Range>,
    runs: Vec<Run>,
}

fn parse(record: &Record) -> Option<Page> {
    let body = record.body();
    if record.kind() != Kind::RECLAIM || body.len() < FIXED {
        return None;
    }
    let (ranges, runs) = (u32_at(body, 8) as usize, u32_at(body, 12) as usize);
    let skip = usize::from(u32_at(body, 16) & OLDER != 0);
    // Counts of four bytes: neither product nor sum overflows.
    let length = FIXED as u64 + ranges as u64 * RANGE as u64 + runs as u64 * RUN as u64;
    if body.len() as u64 != length || record.reference_count() != runs + skip {
        return None;
    }
    let range = |at: usize| {
        Some(Range {
            stream: Stream(u16::try_from(u64_at(body, at)).ok()?),
            from: Position(u64_at(body, at + 8)),
            to: Position(u64_at(body, at + 16)),
            alive: u64_at(body, at + 24),
            hash: u64_at(body, at + 32),
        })
    };
    let run = |index: usize| {
        let at = FIXED + ranges * RANGE + index * RUN;
        Some(Run {
            first: u64_at(body, at),
            last: u64_at(body, at + 8),
            first_time: u64_at(body, at + 16),
            last_time: u64_at(body, at + 24),
            newest: record.reference(skip + index)?,
        })
    };
    let older = match skip {
        0 => None,
        _ => Some(record.reference(0)?.oid),
    };
    Some(Page {
        older,
        ranges: (0..ranges)
            .map(|index| range(FIXED + index * RANGE))
            .collect::<Option<_>>()?,
        runs: (0..runs).map(run).collect::<Option<_>>()?,
    })
}

/// The name of the newest decision.
pub(super) fn name() -> Result<Name> {
    Name::new(DECISION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::rng::Rng;

    fn runs(count: u64) -> Vec<Run> {
        let run = |number: u64| Run {
            first: 10 * number + 1,
            last: 10 * number + 1 + number % 5,
            first_time: 100 * number,
            last_time: 100 * number + 50,
            newest: Reference {
                oid: Oid::new(Stream(0), Position(8 * number + 8)).unwrap(),
                length: 64,
                check: number as u32,
                weak: true,
                leaf: false,
            },
        };
        (0..count).map(run).collect()
    }

    /// Records one after the other, as a stream would hold them.
    fn stored(ranges: &[Range], runs: &[Run]) -> (Oid, Vec<(Oid, Record)>) {
        let mut records: Vec<(Oid, Record)> = Vec::new();
        let newest = store(7, ranges, runs, |kind, references, body| {
            let oid = Oid::new(Stream(1), Position(1_000 * (records.len() as u64 + 1))).unwrap();
            let mut bytes = Vec::new();
            let record = crate::contract::NewRecord {
                kind,
                references,
                body: &[body],
            };
            record.check_limits()?;
            let reference = record.encode(oid, 1, &mut bytes);
            records.push((oid, Record::decode(oid, bytes.into())?));
            Ok(reference)
        });
        (newest.unwrap().oid, records)
    }

    fn find(records: &[(Oid, Record)], oid: Oid) -> Option<Record> {
        let found = records.iter().find(|(at, _)| *at == oid);
        found.map(|(_, record)| record.clone())
    }

    #[test]
    fn a_decision_of_any_length_reads_back() {
        let range = Range {
            stream: Stream(3),
            from: Position(0),
            to: Position(99),
            alive: 4,
            hash: 5,
        };
        for count in [0, 1, 2, PAGE_RUNS as u64, PAGE_RUNS as u64 + 1, 20_000] {
            let runs = runs(count);
            let (newest, records) = stored(&[range, range], &runs);
            let read = |oid| Ok(find(&records, oid));
            let (past, ranges) = load(newest, read).unwrap();
            assert_eq!((past.runs, ranges), (runs, vec![range, range]));
        }
    }

    #[test]
    fn a_decision_that_is_cut_or_changed_is_damage_and_no_panic() {
        let (newest, records) = stored(&[], &runs(20));
        let whole = records[0].1.encoded().to_vec();
        for seed in 0..3_000 {
            let mut rng = Rng::new(seed);
            let mut bytes = whole.clone();
            for _ in 0..1 + rng.below(4) {
                let at = rng.below_usize(bytes.len());
                bytes[at] = rng.next_u64() as u8;
            }
            let read = |oid| Record::decode_unverified(oid, bytes.clone().into()).map(Some);
            if let Ok((past, _)) = load(newest, read) {
                for at in 0..300 {
                    let _ = (past.to_sequence(at), past.to_time(10 * at), past.below(at));
                }
            }
        }
        assert!(load(newest, |_| Ok(None)).is_err());
    }

    #[test]
    fn a_way_leads_to_the_run_that_holds_a_commit() {
        let past = Past { runs: runs(3) };
        assert_eq!(past.since(), 21);
        let from = |way: Option<Way>| way.map(|way| (way.from.map(|from| from.check), way.floor));
        assert_eq!(from(past.to_sequence(99)), Some((None, 21)));
        assert_eq!(from(past.to_sequence(11)), Some((Some(1), 11)));
        assert_eq!(from(past.to_sequence(12)), Some((Some(1), 11)));
        assert_eq!(from(past.to_sequence(13)), None);
        assert_eq!(from(past.to_time(200)), Some((None, 21)));
        assert_eq!(from(past.to_time(199)), Some((Some(1), 11)));
        assert_eq!(from(past.to_time(0)), Some((Some(0), 1)));
        assert_eq!(from(past.below(21)), Some((Some(1), 11)));
        assert_eq!(from(past.below(1)), None);
        assert_eq!(past.numbers(30), [1..=1, 11..=12, 21..=30]);
        assert_eq!(Past::default().numbers(3), [1..=3]);
        assert_eq!(from(Past::default().to_time(0)), Some((None, 0)));
    }
}
