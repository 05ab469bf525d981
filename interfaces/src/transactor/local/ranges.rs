//! Which revisions of a block are here.

use travertine_engine::contract::{Error, Result};

use crate::block::cbor;
use crate::transactor::Revision;

/// Most ranges of one block.
const RANGES_MAX: usize = 1024;

/// Revisions from one on up to another, which is not one of them; `None`: and whatever comes.
pub(super) type Range = (Revision, Option<Revision>);

/// Revisions that are here. Those of a block are few among those of its collection, so a range says that
/// for each revision in it the block is known as it was then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range>);

impl Ranges {
    /// This one alone.
    pub(super) fn of(range: Range) -> Self {
        Self(vec![range])
    }

    /// Whether the block is known as it was at a revision.
    pub(super) fn has(&self, revision: Revision) -> bool {
        let mut ranges = self.0.iter();
        ranges.any(|(from, to)| *from <= revision && to.is_none_or(|to| revision < to))
    }

    /// Whether the newest revision is known.
    pub(super) fn has_newest(&self) -> bool {
        self.0.last().is_some_and(|(_, to)| to.is_none())
    }

    /// The first revision that is known.
    pub(super) fn first(&self) -> Option<Revision> {
        self.0.first().map(|(from, _)| *from)
    }

    /// Where the range ends that a revision is in.
    pub(super) fn end_of(&self, revision: Revision) -> Option<Revision> {
        let mut ranges = self.0.iter();
        let found =
            ranges.find(|(from, to)| *from <= revision && to.is_none_or(|to| revision < to));
        found.and_then(|(_, to)| *to)
    }

    /// One more: ranges that touch or overlap are one. `Invalid`: it is none, or there are too many.
    pub(super) fn add(&mut self, range: Range) -> Result<()> {
        if range.1.is_some_and(|to| to <= range.0) {
            return Err(Error::invalid("a range of revisions ends before it begins"));
        }
        self.0.push(range);
        self.0.sort_unstable();
        let mut merged: Vec<Range> = Vec::new();
        for (from, to) in self.0.drain(..) {
            match merged.last_mut() {
                Some((_, end)) if end.is_none_or(|end| from <= end) => {
                    *end = end.zip(to).map(|(end, to)| end.max(to));
                }
                _ => merged.push((from, to)),
            }
        }
        self.0 = merged;
        match self.0.len() {
            0..=RANGES_MAX => Ok(()),
            _ => Err(Error::invalid(format!(
                "a block is here in {RANGES_MAX} ranges of revisions at most"
            ))),
        }
    }

    /// Without what is before a revision.
    pub(super) fn cut(&mut self, first: Revision) {
        self.0.retain(|(_, to)| to.is_none_or(|to| first < to));
        if let Some((from, _)) = self.0.first_mut() {
            *from = (*from).max(first);
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        cbor::head(out, cbor::Major::List, self.0.len() as u64);
        self.0.iter().for_each(|range| write_range(out, *range));
    }

    pub(super) fn read(scan: &mut cbor::Scan<'_>) -> Result<Self> {
        let mut ranges = Self::default();
        for _ in 0..scan.list()?.min(RANGES_MAX) {
            let range = read_range(scan)?;
            ranges
                .add(range)
                .map_err(|error| Error::corrupt(error.message()))?;
        }
        Ok(ranges)
    }
}

/// `[from, to]`, or `[from]` if there is no end.
pub(super) fn write_range(out: &mut Vec<u8>, (from, to): Range) {
    cbor::head(out, cbor::Major::List, 1 + u64::from(to.is_some()));
    cbor::head(out, cbor::Major::Unsigned, from);
    if let Some(to) = to {
        cbor::head(out, cbor::Major::Unsigned, to);
    }
}

pub(super) fn read_range(scan: &mut cbor::Scan<'_>) -> Result<Range> {
    match scan.list()? {
        1 => Ok((scan.unsigned()?, None)),
        2 => Ok((scan.unsigned()?, Some(scan.unsigned()?))),
        _ => Err(Error::corrupt("a range has one end or two")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one_and_what_lies_between_others_is_not_here() {
        let mut ranges = Ranges::of((10, Some(20)));
        ranges.add((30, None)).unwrap();
        ranges.add((1, Some(5))).unwrap();
        ranges.add((20, Some(25))).unwrap();
        assert_eq!(ranges.0, [(1, Some(5)), (10, Some(25)), (30, None)]);
        let here: Vec<_> = (0..40).filter(|at| ranges.has(*at)).collect();
        let wanted: Vec<_> = (1..5).chain(10..25).chain(30..40).collect();
        assert_eq!(here, wanted);
        ranges.add((24, Some(31))).unwrap();
        assert_eq!(ranges.0, [(1, Some(5)), (10, None)]);
        assert!(ranges.has_newest());
        ranges.cut(12);
        assert_eq!((ranges.first(), ranges.has(11)), (Some(12), false));
        let mut bytes = Vec::new();
        ranges.write(&mut bytes);
        assert_eq!(Ranges::read(&mut cbor::Scan::new(&bytes)).unwrap(), ranges);
        Ranges::default().add((5, Some(5))).unwrap_err();
    }
}
