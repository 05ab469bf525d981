//! One honest report from the reports of several children: pure rules.
//!
//! ```text
//!   child   normal   chain                                 rank = (normal, end)
//!     A       2      | a | b | c | d |                     older reign: `d` was never acknowledged,
//!     B       3      | a | b | c |    | e | f |            or the chain of epoch 3 would hold it
//!     C       3      | a | b | c |    | e |                best: B.  The union is B's chain alone
//! ```
//!
//! Children of one `normal` hold beginnings of one line. Whatever was acknowledged lies on `ack`
//! children, so on one of those that report, and every later epoch was made to begin with it. So the
//! highest rank holds all that was acknowledged, and the rest of its chain is what the engine may
//! choose from. Without enough reports that count nobody knows, and nothing is cut.
//!
//! What `ack` children of that rank have synced is safe: no takeover passes by all of them.
//!
//! Beside other streams a cluster is not where the markers lie: a proven commit is then passed on as it
//! is named. Its position says nothing of this stream; what it needs here stands in its vector, which
//! only whoever reads the marker can hold against the end.

use std::cmp::Reverse;

use travertine_engine::contract::{
    Epoch, Error, Oid, Position, Proven, Result, Stream, StreamState,
};

/// What one child said.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) child: usize,
    /// Whether it holds whatever it acknowledged.
    pub(super) counts: bool,
    pub(super) normal: Epoch,
    pub(super) state: StreamState,
}

impl Report {
    fn rank(&self) -> (Epoch, Position, bool) {
        let reign = match self.normal {
            _ if planted!(RankedByEnd) => Epoch::default(),
            _ if planted!(RankedByPromise) => self.state.epoch,
            normal => normal,
        };
        (reign, self.state.end.position, self.state.clean)
    }
}

/// Where the marker of a proven commit lies, if it lies in this stream.
pub(super) fn own(stream: Stream, proven: Option<Proven>) -> Option<Oid> {
    let oid = proven.map(|proven| proven.oid);
    oid.filter(|oid| oid.stream() == stream)
}

/// The report of all, and which child's chain it is. `None`: fewer than `needed` of those that
/// reported count.
pub(super) fn join(
    reports: &[Report],
    needed: usize,
    ack: usize,
) -> Result<Option<(usize, StreamState)>> {
    let counted: Vec<_> = reports.iter().filter(|report| report.counts).collect();
    let Some(best) = counted.iter().max_by_key(|report| report.rank()) else {
        return Ok(None);
    };
    if counted.len() < needed {
        return Ok(None);
    }
    let (stream, end) = (best.state.stream, best.state.end);
    let states = || reports.iter().map(|report| &report.state);
    let proven = states().filter_map(|state| state.proven).max();
    let beyond = |oid: Oid| oid.stream() == stream && oid.position() >= end.position;
    if let Some(proven) = proven.filter(|proven| beyond(proven.oid)) {
        return Err(Error::unavailable(format!(
            "commit {} at {} is known to be durable, and none of the children that can be asked \
             goes on so far; nothing was cut",
            proven.sequence, proven.oid
        )));
    }
    let in_line = || {
        let in_line = counted.iter().filter(|report| report.normal == best.normal);
        in_line.map(|report| &report.state)
    };
    let durable = in_line().map(|state| state.durable).max();
    let mut safe: Vec<_> = in_line()
        .map(|state| state.safe.min(state.end.position))
        .collect();
    safe.sort_unstable_by_key(|safe| Reverse(*safe));
    let state = StreamState {
        stream,
        end,
        durable: durable.unwrap_or_default(),
        safe: safe.get(ack - 1).copied().unwrap_or_default(),
        ceiling: states()
            .map(|state| state.ceiling)
            .max()
            .unwrap_or_default(),
        // Whoever handed out positions since has adopted first, and outranks it.
        clean: best.state.clean,
        proven,
        epoch: states().map(|state| state.epoch).max().unwrap_or_default(),
        chain: best.state.chain.clone(),
    };
    Ok(Some((best.child, state)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use travertine_engine::contract::{End, Proven, Stream};

    fn report(child: usize, normal: u32, end: u64) -> Report {
        let epoch = Epoch {
            number: normal,
            tag: 0,
        };
        Report {
            child,
            counts: true,
            normal: epoch,
            state: StreamState {
                stream: Stream(0),
                end: End {
                    position: Position(end),
                    running: end * 7 + u64::from(normal),
                },
                durable: Position(end / 2),
                safe: Position(end / 2 + 10),
                ceiling: Position(end + 100),
                clean: false,
                proven: None,
                epoch,
                chain: Vec::new(),
            },
        }
    }

    fn joined(reports: &[Report]) -> Option<(usize, StreamState)> {
        join(reports, 2, 2).unwrap()
    }

    #[test]
    fn a_later_reign_wins_over_a_longer_chain_and_ceilings_never_go_down() {
        let (best, state) = joined(&[report(0, 1, 900), report(1, 2, 500)]).unwrap();
        assert_eq!((best, state.end.position), (1, Position(500)));
        assert_eq!(state.ceiling, Position(1000));
        // What the abandoned tail knew to be durable is nobody's promise.
        assert_eq!(state.durable, Position(250));
    }

    #[test]
    fn of_one_reign_the_longest_wins() {
        let (best, _) = joined(&[report(0, 2, 400), report(1, 2, 500), report(2, 2, 300)]).unwrap();
        assert_eq!(best, 1);
    }

    #[test]
    fn what_enough_of_one_reign_have_synced_is_safe() {
        let safe = |reports: &[Report]| joined(reports).unwrap().1.safe;
        let of_one = [report(0, 2, 400), report(1, 2, 500), report(2, 2, 300)];
        assert_eq!(safe(&of_one), Position(210));
        assert_eq!(safe(&of_one[..2]), Position(210));
        // What an abandoned tail has synced makes nothing safe.
        let of_two = [report(0, 2, 400), report(1, 1, 500), report(2, 1, 300)];
        assert_eq!(safe(&of_two), Position::START);
        let stranger = Report {
            counts: false,
            ..report(2, 2, 900)
        };
        let ours = [report(0, 2, 400), report(1, 2, 500)];
        assert_eq!(safe(&[&ours[..], &[stranger]].concat()), Position(210));
    }

    #[test]
    fn who_does_not_count_is_no_knowledge_but_for_its_ceiling() {
        let stranger = Report {
            counts: false,
            ..report(0, 9, 900)
        };
        assert!(joined(&[stranger.clone(), report(1, 1, 10)]).is_none());
        let (best, state) = joined(&[stranger, report(1, 1, 10), report(2, 1, 10)]).unwrap();
        assert_ne!(best, 0);
        assert_eq!(state.ceiling, Position(1000));
    }

    #[test]
    fn nothing_is_chosen_short_of_what_anybody_names_as_proven() {
        let mut knows = report(0, 1, 50);
        knows.state.proven = Some(Proven {
            sequence: 8,
            epoch: 1,
            oid: Oid::new(Stream(0), Position(200)).unwrap(),
        });
        assert!(join(&[knows, report(1, 1, 60)], 2, 2).is_err());
    }

    #[test]
    fn where_a_proven_marker_lies_in_another_stream_is_passed_on_and_refuses_nothing() {
        let proven = Oid::new(Stream(7), Position(200)).map(|oid| Proven {
            sequence: 8,
            epoch: 1,
            oid,
        });
        let mut knows = report(0, 1, 50);
        knows.state.proven = proven;
        let (best, state) = joined(&[knows, report(1, 1, 60)]).unwrap();
        assert_eq!((best, state.proven), (1, proven));
    }

    #[test]
    fn an_end_is_clean_where_the_child_that_has_most_closed_at_it() {
        let clean = |child, end| {
            let mut report = report(child, 1, end);
            report.state.clean = true;
            report
        };
        assert!(joined(&[clean(0, 50), clean(1, 50)]).unwrap().1.clean);
        assert!(joined(&[clean(0, 50), report(1, 1, 40)]).unwrap().1.clean);
        assert!(!joined(&[clean(0, 50), report(1, 1, 60)]).unwrap().1.clean);
        assert!(!joined(&[clean(0, 50), report(1, 2, 40)]).unwrap().1.clean);
    }
}
