//! How parts make one stream: pure rules over what each part reports.
//!
//! ```text
//!   sealed … | part 4: e f g |  part 5: h i  | part 6: empty
//!            ^ e0            ^ begins where part 4 ends: it follows on
//!
//!   part 4 lost its tail:  … | e f |          | h i | part 5 begins where nothing ends:
//!       it knows of no durable byte of its own       void, as a torn tail is
//!       it does                                      damage: reported, never cut
//! ```
//!
//! A part vouches for its own bytes only; it is synced after every part before it. So durable bytes in
//! a part that does not follow on mean that durable bytes before it are gone.

use travertine_engine::contract::{
    ChainLink, End, Error, Oid, Position, Proven, Result, Stream, StreamState,
};

use super::footer::Footer;

/// One part that has not ended, as it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) number: u32,
    /// What its first batch follows on; `None`: it holds none.
    pub(super) begins: Option<End>,
    pub(super) state: StreamState,
}

/// The stream as a whole.
#[derive(Debug, Clone)]
pub(super) struct Joined {
    pub(super) state: StreamState,
    /// Which of the parts follow on, by their place in the list.
    pub(super) follow: Vec<usize>,
    /// The newest marker, proven or not.
    pub(super) newest: Option<Oid>,
}

/// Where every stream begins.
pub(super) const START: End = End {
    position: Position::START,
    running: 0,
};

/// Joins the parts that have not ended, in their order, behind the last that has.
pub(super) fn join(stream: Stream, sealed: Option<&Footer>, parts: &[Found]) -> Result<Joined> {
    let mut end = sealed.map_or(START, |footer| footer.end);
    let mut joined = Joined {
        state: StreamState {
            stream,
            end,
            durable: end.position,
            safe: end.position,
            ceiling: sealed.map_or(end.position, |footer| footer.ceiling.max(end.position)),
            clean: false,
            proven: sealed.and_then(|footer| footer.proven),
            epoch: sealed.map(|footer| footer.epoch).unwrap_or_default(),
            chain: Vec::new(),
        },
        follow: Vec::new(),
        newest: sealed.and_then(|footer| footer.marker),
    };
    if sealed.is_some() {
        joined.state.chain.push(ChainLink { end, marker: None });
    }
    let whole = &mut joined.state;
    for (index, part) in parts.iter().enumerate() {
        let state = &part.state;
        whole.ceiling = whole.ceiling.max(state.ceiling);
        whole.epoch = whole.epoch.max(state.epoch);
        whole.proven = whole.proven.max(state.proven);
        let Some(begins) = part.begins else { continue };
        if begins != end {
            if state.durable > begins.position {
                return Err(Error::corrupt(format!(
                    "part {} of the sequence begins at {} and is known durable up to {}, yet what \
                     lies before it is whole up to {} only; nothing was cut, restore the part \
                     before it",
                    part.number, begins.position, state.durable, end.position
                )));
            }
            continue;
        }
        // The next part may be synced before the one that it follows on.
        if whole.safe >= end.position {
            whole.safe = whole.safe.max(state.safe);
        }
        end = state.end;
        whole.end = end;
        whole.durable = whole.durable.max(state.durable);
        whole.chain.extend(state.chain.iter().cloned());
        joined.follow.push(index);
    }
    whole.clean = is_clean(sealed.is_some(), parts, &joined.follow);
    if whole.clean {
        (whole.durable, whole.safe) = (end.position, end.position);
        whole.ceiling = end.position;
    } else {
        whole.ceiling = whole.ceiling.max(end.position);
    }
    let in_chain = whole.chain.iter().rev();
    let newest = in_chain.filter_map(|link| link.marker.as_ref()).next();
    let named = own(stream, whole.proven);
    joined.newest = newest.map(|(oid, _)| *oid).max(joined.newest).max(named);
    if whole.proven.is_some() {
        // The position of a marker in another stream says nothing of this one.
        let durable = Position(whole.durable.0.saturating_sub(1));
        let settled = named.map_or(durable, Oid::position);
        whole.chain.retain(|link| link.end.position > settled);
    }
    Ok(joined)
}

/// Where the marker of a proven commit lies, if it lies in this stream.
pub(super) fn own(stream: Stream, proven: Option<Proven>) -> Option<Oid> {
    let oid = proven.map(|proven| proven.oid);
    oid.filter(|oid| oid.stream() == stream)
}

/// What a reader may go by where parts in between cannot be opened. Batches name the newest proven
/// commit of their time, so the newest part tells all there is to know, if it holds any.
pub(super) fn join_around(stream: Stream, sealed: Option<&Footer>, parts: &[Found]) -> Joined {
    let last = parts.last().filter(|last| last.begins.is_some());
    let end = last.map_or(START, |last| last.state.end);
    let proven = parts.iter().filter_map(|part| part.state.proven);
    let proven = proven.max().max(sealed.and_then(|footer| footer.proven));
    let proven = proven.filter(|_| last.is_some());
    Joined {
        state: StreamState {
            stream,
            end,
            durable: end.position,
            safe: Position::START,
            ceiling: end.position,
            clean: false,
            proven,
            epoch: last.map(|last| last.state.epoch).unwrap_or_default(),
            chain: Vec::new(),
        },
        follow: Vec::new(),
        newest: own(stream, proven),
    }
}

/// Whether the last writer closed cleanly in the last part that holds something, and nobody was told
/// of positions since.
fn is_clean(sealed: bool, parts: &[Found], follow: &[usize]) -> bool {
    match follow.last() {
        Some(&last) => {
            let (here, later) = (&parts[last].state, &parts[last + 1..]);
            let silent = |part: &Found| part.begins.is_none() && part.state.epoch <= here.epoch;
            here.clean && later.iter().all(silent)
        }
        None => {
            !sealed
                && parts
                    .iter()
                    .all(|part| part.begins.is_none() && part.state.clean)
        }
    }
}

#[cfg(test)]
mod tests {
    use travertine_engine::contract::{Epoch, ErrorKind};

    use super::*;

    fn at(position: u64) -> End {
        End {
            position: Position(position),
            running: position * 3,
        }
    }

    fn part(number: u32, begins: u64, end: u64, durable: u64) -> Found {
        let link = |position| ChainLink {
            end: at(position),
            marker: None,
        };
        Found {
            number,
            begins: Some(if begins == 0 { START } else { at(begins) }),
            state: StreamState {
                stream: Stream(0),
                end: at(end),
                durable: Position(durable),
                safe: Position(durable),
                ceiling: Position(end + 1_000),
                clean: false,
                proven: None,
                epoch: Epoch { number: 1, tag: 5 },
                chain: vec![link(begins + 10), link(end)],
            },
        }
    }

    fn empty(number: u32, epoch: u32) -> Found {
        let mut found = part(number, 0, 0, 0);
        found.begins = None;
        found.state.end = START;
        found.state.chain.clear();
        found.state.ceiling = Position(9_000);
        found.state.epoch.number = epoch;
        found.state.clean = epoch == 0;
        found
    }

    fn footer(end: u64) -> Footer {
        Footer {
            part: 1,
            start: START,
            end: at(end),
            ceiling: Position(20_000),
            epoch: Epoch { number: 1, tag: 5 },
            proven: Some(Proven {
                sequence: 4,
                epoch: 1,
                oid: Oid::from_raw(90).unwrap(),
            }),
            marker: Oid::from_raw(90),
            counts: super::super::footer::Counts::default(),
            ended: 0,
        }
    }

    #[test]
    fn parts_that_follow_on_are_one_chain() {
        let parts = [part(1, 0, 100, 50), part(2, 100, 200, 0), empty(3, 1)];
        let joined = join(Stream(0), None, &parts).unwrap();
        assert_eq!(joined.follow, [0, 1]);
        assert_eq!(joined.state.end, at(200));
        assert_eq!(joined.state.durable, Position(50));
        assert_eq!(joined.state.ceiling, Position(9_000));
        assert_eq!(joined.state.chain.len(), 4);
    }

    #[test]
    fn where_a_marker_lies_in_another_stream_tells_nothing_of_this_one() {
        let mut far = part(1, 0, 200, 100);
        let ends = [50, 100, 150, 200].map(at);
        far.state.chain = ends.map(|end| ChainLink { end, marker: None }).to_vec();
        let oid = Oid::new(Stream(0), Position(1_000));
        far.state.proven = oid.map(|oid| Proven {
            sequence: 4,
            epoch: 1,
            oid,
        });
        let joined = join(Stream(3), None, &[far]).unwrap();
        let links: Vec<_> = joined.state.chain.iter().map(|link| link.end).collect();
        assert_eq!(links, [at(100), at(150), at(200)]);
        assert_eq!(joined.newest, None, "no marker lies here");
    }

    #[test]
    fn a_part_whose_past_was_lost_is_void_as_long_as_it_vouches_for_nothing() {
        let joined = join(Stream(0), None, &[part(1, 0, 80, 50), part(2, 100, 200, 0)]).unwrap();
        assert_eq!((joined.follow, joined.state.end), (vec![0], at(80)));
        assert_eq!(
            joined.state.ceiling,
            Position(1_200),
            "positions that it announced stay announced"
        );
        let parts = [part(1, 0, 80, 50), part(2, 100, 200, 150)];
        let error = join(Stream(0), None, &parts).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_footer_stands_for_everything_before_it() {
        let joined = join(Stream(0), Some(&footer(100)), &[empty(2, 1)]).unwrap();
        assert_eq!(joined.state.end, at(100));
        assert_eq!(joined.state.durable, Position(100));
        assert_eq!(joined.state.ceiling, Position(20_000));
        assert_eq!(joined.newest, Oid::from_raw(90));
        assert!(!joined.state.clean);
        let links: Vec<_> = joined.state.chain.iter().map(|link| link.end).collect();
        assert_eq!(links, [at(100)]);
    }

    #[test]
    fn a_clean_end_counts_only_if_no_later_epoch_took_over() {
        let mut last = part(1, 0, 100, 100);
        last.state.clean = true;
        for (epoch, clean) in [(0, true), (1, true), (2, false)] {
            let parts = [last.clone(), empty(2, epoch)];
            let joined = join(Stream(0), None, &parts).unwrap();
            assert_eq!(joined.state.clean, clean, "epoch {epoch}");
        }
        let joined = join(Stream(0), None, &[empty(1, 0)]).unwrap();
        assert!(joined.state.clean, "nobody ever wrote");
        let joined = join(Stream(0), None, &[empty(1, 1)]).unwrap();
        assert!(
            !joined.state.clean,
            "somebody may have been told of positions"
        );
    }
}
