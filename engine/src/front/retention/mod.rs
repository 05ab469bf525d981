//! Which commits stay: a policy as people write it, and the pure rule that it stands for.
//!
//! ```text
//!   keep all 1h, hourly 2d, daily 30d, last 100, tagged forever
//!
//!   past ──|──────────|──────────|───x──────x|──xx─x───x|xxxxxxxx──> now
//!            nothing        daily      hourly      all
//! ```
//!
//! - `all 1h`: every commit of the last hour.
//! - `hourly 2d`, `daily 30d`, `weekly 1y`, `monthly forever`: of the commits of each hour, day, week
//!   (from Monday) or month the last one, as far back as the span says. Times are in UTC.
//! - `last 100`: the newest hundred. `newest`: only the newest, which stays under every policy.
//! - `tagged forever`: what a tag names stays until the tag goes. This holds under every policy; to
//!   write it says that one knows.
//!
//! A commit stays if any clause keeps it. A span is `forever`, or a number and a unit: `s`, `min`, `h`,
//! `d`, `w`, `y` (365 days). Sooner or later makes no difference: whoever applies a policy every hour
//! has in the end what somebody has who applies it once.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::RangeInclusive;

use crate::contract::Result;

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// Which commits stay. Read from text; printed so that it reads back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    clauses: Vec<Clause>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clause {
    All(Span),
    Each(Every, Span),
    Last(u64),
    Tagged,
}

/// How far back, in microseconds; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(Option<u64>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Every {
    Hour,
    Day,
    Week,
    Month,
}

/// A commit, as far as a policy looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Its number.
    pub sequence: u64,
    /// When it was made, in microseconds since 1970.
    pub time: u64,
}

/// Commits that can be asked for. Times never fall as numbers rise.
pub trait Timeline {
    /// The newest commit.
    fn newest(&self) -> Result<Option<Moment>>;
    /// The newest commit at or before a time.
    fn at(&self, time: u64) -> Result<Option<Moment>>;
    /// The commit that so many newer ones come after; the oldest if there are not so many.
    fn back(&self, newer: u64) -> Result<Option<Moment>>;
}

/// The commits of a list, the oldest first.
impl Timeline for [Moment] {
    fn newest(&self) -> Result<Option<Moment>> {
        Ok(self.last().copied())
    }

    fn at(&self, time: u64) -> Result<Option<Moment>> {
        let before = self.partition_point(|moment| moment.time <= time);
        Ok(before.checked_sub(1).map(|index| self[index]))
    }

    fn back(&self, newer: u64) -> Result<Option<Moment>> {
        let newer = usize::try_from(newer).unwrap_or(usize::MAX);
        let newest = self.len().checked_sub(1);
        Ok(newest.map(|newest| self[newest.saturating_sub(newer)]))
    }
}

impl Retention {
    /// Only the newest commit, and what is tagged.
    #[must_use]
    pub fn newest() -> Self {
        Self {
            clauses: vec![Clause::Last(1)],
        }
    }

    /// The numbers that stay, as ranges in rising order that neither touch nor overlap. Numbers that no
    /// commit has are in no range's way: a range speaks of the commits that there are. Asks for about
    /// as many commits as it names ranges.
    pub fn retained(
        &self,
        commits: &(impl Timeline + ?Sized),
        now: u64,
    ) -> Result<Vec<RangeInclusive<u64>>> {
        let Some(newest) = commits.newest()? else {
            return Ok(Vec::new());
        };
        // A clock that was put back keeps what it would otherwise have kept.
        let now = now.max(newest.time);
        let mut ranges = vec![newest.sequence..=newest.sequence];
        for clause in &self.clauses {
            match *clause {
                Clause::All(span) => {
                    let older = match span.start(now).checked_sub(1) {
                        Some(before) => commits.at(before)?,
                        None => None,
                    };
                    let first = older.map_or(0, |older| older.sequence + 1);
                    ranges.push(first..=newest.sequence);
                }
                Clause::Last(count) => {
                    if let Some(first) = commits.back(count.saturating_sub(1))? {
                        ranges.push(first.sequence..=newest.sequence);
                    }
                }
                Clause::Each(every, span) => {
                    let start = span.start(now);
                    let mut next = Some(newest);
                    while let Some(moment) = next.filter(|moment| moment.time >= start) {
                        ranges.push(moment.sequence..=moment.sequence);
                        next = match every.begin(moment.time).checked_sub(1) {
                            Some(before) => commits.at(before)?,
                            None => None,
                        };
                    }
                }
                Clause::Tagged => {}
            }
        }
        Ok(joined(ranges))
    }
}

/// The same numbers in ranges that rise and do not touch.
pub(super) fn joined(mut ranges: Vec<RangeInclusive<u64>>) -> Vec<RangeInclusive<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut joined: Vec<RangeInclusive<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => joined.push(range),
        }
    }
    joined
}

impl Span {
    /// The earliest time that it reaches back to.
    fn start(self, now: u64) -> u64 {
        self.0.map_or(0, |span| now.saturating_sub(span))
    }
}

impl Every {
    /// When the hour, day, week or month of a time began.
    fn begin(self, time: u64) -> u64 {
        match self {
            Self::Hour => time - time % HOUR,
            Self::Day => time - time % DAY,
            // The first day of 1970 was a Thursday, the fourth of its week.
            Self::Week => time.saturating_sub((time / DAY + 3) % 7 * DAY + time % DAY),
            Self::Month => {
                let days = time / DAY;
                (days - u64::from(day_of_month(days))) * DAY
            }
        }
    }
}

/// How many days of its month have passed before this day, counted from 1970.
fn day_of_month(days: u64) -> u16 {
    // A calendar that begins in March has its leap day last: 400 years are always 146,097 days.
    let of_era = (days + 719_468) % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    (of_year - (153 * month + 2) / 5) as u16
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keep ")?;
        for (index, clause) in self.clauses.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match clause {
                Clause::All(span) => write!(f, "all {span}")?,
                Clause::Each(every, span) => write!(f, "{} {span}", every.word())?,
                Clause::Last(1) => f.write_str("newest")?,
                Clause::Last(count) => write!(f, "last {count}")?,
                Clause::Tagged => f.write_str("tagged forever")?,
            }
        }
        Ok(())
    }
}

impl Every {
    fn word(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(span) = self.0 else {
            return f.write_str("forever");
        };
        let fits = parse::UNITS.iter().find(|(_, of)| span.is_multiple_of(*of));
        let (unit, of) = fits.copied().unwrap_or(("s", SECOND));
        write!(f, "{}{unit}", span / of)
    }
}
