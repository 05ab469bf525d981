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
        let sound = match &rule {
            Placement::One(stream) => known(stream),
            Placement::Tag(streams) | Placement::RoundRobin(streams) => {
                !streams.is_empty() && streams.iter().all(known)
            }
            Placement::Size(classes) => {
                !classes.is_empty() && classes.iter().all(|(_, stream)| known(stream))
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
        let turn = |streams: &[u16], n: usize| streams.get(n % streams.len()).copied();
        let stream = match &self.rule {
            Placement::One(stream) => Some(*stream),
            Placement::Tag(streams) => {
                // A tag may be a small number: spread it before the remainder is taken.
                let spread = (hint.tag.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize;
                turn(streams, spread)
            }
            Placement::Size(classes) => {
                let fits = classes.iter().find(|(most, _)| bytes <= *most as usize);
                fits.or(classes.last()).map(|(_, stream)| *stream)
            }
            Placement::RoundRobin(streams) => {
                turn(streams, self.next.fetch_add(1, Ordering::Relaxed))
            }
        };
        Stream(stream.unwrap_or_default())
    }
}
