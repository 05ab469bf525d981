//! Which stream a record goes to: the stack's own rule, carried out here.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::contract::{Error, Placement, Result, Status, Stream};

use super::options::Hint;

#[derive(Debug)]
pub(super) struct Placer {
    rule: Placement,
    next: AtomicUsize,
}

impl Placer {
    /// The rule of a stack, if it names only streams that the stack has.
    pub(super) fn new(status: &Status) -> Result<Self> {
        let known = |stream: &u16| status.streams.iter().any(|known| known.stream == *stream);
        let rule = status.placement.clone();
        let some = |streams: &[u16]| !streams.is_empty() && streams.iter().all(known);
        let sound = match &rule {
            Placement::One(stream) => known(stream),
            Placement::Tag(streams) | Placement::RoundRobin(streams) => some(streams),
            Placement::Size(classes) => {
                !classes.is_empty() && classes.iter().all(|(_, streams)| some(streams))
            }
        };
        if !sound || !known(&status.root_stream) {
            return Err(Error::unavailable(format!(
                "the stack places records by {rule:?} and markers in stream {}, but has only {:?}",
                status.root_stream,
                status
                    .streams
                    .iter()
                    .map(|known| known.stream)
                    .collect::<Vec<_>>()
            )));
        }
        Ok(Self {
            rule,
            next: AtomicUsize::new(0),
        })
    }

    pub(super) fn place(&self, hint: Hint, bytes: usize) -> Stream {
        let stream = match &self.rule {
            Placement::One(stream) => Some(*stream),
            Placement::Tag(streams) if hint.tag == 0 => self.in_turn(streams),
            Placement::Tag(streams) => {
                let streams = streams.iter().copied();
                streams.max_by_key(|stream| weight(hint.tag, *stream))
            }
            Placement::Size(classes) => {
                let fits = classes.iter().find(|(most, _)| bytes <= *most as usize);
                let class = fits.or(classes.last());
                class.and_then(|(_, streams)| self.in_turn(streams))
            }
            Placement::RoundRobin(streams) => self.in_turn(streams),
        };
        Stream(stream.unwrap_or_default())
    }

    fn in_turn(&self, streams: &[u16]) -> Option<u16> {
        match streams {
            [stream] => Some(*stream),
            streams => {
                let turn = self.next.fetch_add(1, Ordering::Relaxed);
                turn.checked_rem(streams.len()).map(|at| streams[at])
            }
        }
    }
}

/// How much a tag leans to a stream. Tags and streams may be small numbers: both are spread over all
/// bits (the finisher of SplitMix64).
fn weight(tag: u64, stream: u16) -> u64 {
    let mut bits = tag ^ u64::from(stream).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placer(rule: Placement) -> Placer {
        Placer {
            rule,
            next: AtomicUsize::new(0),
        }
    }

    fn by_tag(streams: std::ops::Range<u16>, tag: u64) -> u16 {
        let placer = placer(Placement::Tag(streams.collect()));
        placer.place(Hint { tag }, 100).0
    }

    #[test]
    fn a_stream_more_takes_its_share_of_the_tags_and_moves_no_other() {
        const TAGS: u64 = 10_000;
        let mut moved = 0;
        let mut held = [0_u64; 5];
        for tag in 1..TAGS {
            let (before, after) = (by_tag(0..4, tag), by_tag(0..5, tag));
            assert!(after == before || after == 4, "tag {tag}");
            moved += u64::from(after != before);
            held[usize::from(after)] += 1;
        }
        assert!((TAGS / 6..TAGS / 4).contains(&moved), "{moved} moved");
        assert!(
            held.iter().all(|held| (TAGS / 6..TAGS / 4).contains(held)),
            "{held:?}"
        );
    }

    #[test]
    fn what_has_no_tag_goes_in_turn() {
        let placer = placer(Placement::Tag(vec![0, 1, 2]));
        let streams = [(); 6].map(|()| placer.place(Hint::default(), 100).0);
        assert_eq!(streams, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_size_class_shares_its_streams_in_turn_and_the_last_takes_what_is_larger() {
        let placer = placer(Placement::Size(vec![(64, vec![3]), (1_000, vec![1, 2])]));
        let of = |bytes| placer.place(Hint::default(), bytes).0;
        assert_eq!([of(1), of(64)], [3, 3]);
        let mut larger = [of(65), of(1 << 20)];
        larger.sort_unstable();
        assert_eq!(larger, [1, 2]);
    }
}
