//! Which commit is the newest after whatever happened, and where each stream is cut: pure rules.
//!
//! ```text
//!   root stream   … | P | a |  M1  |  b  |  M2  | c | torn …        P: the newest proven marker
//!                        └── window ──────────────┘                  M1, M2: candidates
//!   other stream  … | x |  y  | z |                                  M2 names an end past z: void
//!                              ^ cut by M1's vector
//! ```
//!
//! - Never below the newest proven marker that any stream names. Where a stream falls short of it
//!   the answer is an error, and nothing is cut anywhere.
//! - A marker above it counts if its vector holds and the one before it counts.
//! - The newest marker that counts is chosen; the root stream is cut after the batch that holds it,
//!   the others where the vectors of the window say. What is known durable is never cut.

use crate::contract::{
    End, Error, Oid, Position, Proven, Result, RootMarker, Stream, StreamState, Vector,
};

/// What recovery decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The newest commit; `None`: there was none.
    pub newest: Option<(Oid, RootMarker)>,
    /// Where each stream ends.
    pub cut: Vector,
    /// Whether something is unproven or void, so that the cut must be adopted before serving.
    pub adopt: bool,
}

/// The newest proven commit that any stream names. Its marker must be read before [`choose`].
#[must_use]
pub fn newest_proven(states: &[StreamState]) -> Option<Proven> {
    states.iter().filter_map(|state| state.proven).max()
}

/// Chooses. `proven` is the marker that [`newest_proven`] named.
///
/// Errors: `Corrupt` (a stream is damaged below what it knows to be durable or proven),
/// `Unavailable` (a stream falls short of what another names as proven, or is not there).
pub fn choose(
    states: &[StreamState],
    root: Stream,
    proven: Option<(Oid, RootMarker)>,
) -> Result<Choice> {
    let root_state = state_of(states, root)?;
    for state in states {
        if state.end.position < state.durable {
            return Err(Error::corrupt(format!(
                "stream {} is known durable up to {}, but its batches chain up to {} only",
                state.stream, state.durable, state.end.position
            )));
        }
    }
    if let Some((oid, marker)) = &proven {
        reaches(states, root_state, *oid, marker)?;
    }
    let mut newest = proven;
    let mut stated: Vec<(Stream, End)> = Vec::new();
    let mut held_by = newest.as_ref().and_then(|(oid, _)| {
        let holds = |end: &Position| oid.position() < *end;
        root_state
            .chain
            .iter()
            .map(|link| link.end.position)
            .find(holds)
    });
    for link in &root_state.chain {
        let Some((oid, marker)) = &link.marker else {
            continue;
        };
        if newest.as_ref().is_some_and(|(best, _)| oid <= best) {
            continue;
        }
        let after = newest.as_ref().map_or(0, |(_, best)| best.sequence);
        if marker.sequence <= after || !holds(states, root, marker)? {
            if link.end.position <= root_state.durable {
                return Err(Error::unavailable(format!(
                    "the commit {} at {oid} is durable, but what it depends on is not there",
                    marker.sequence
                )));
            }
            break;
        }
        for (stream, end) in &marker.vector {
            stated.retain(|(other, _)| other != stream);
            stated.push((*stream, *end));
        }
        held_by = Some(link.end.position);
        newest = Some((*oid, marker.clone()));
    }
    let cut: Vector = states
        .iter()
        .map(|state| {
            let least = if state.stream == root {
                held_by.unwrap_or_default()
            } else {
                let end = stated.iter().find(|(stream, _)| *stream == state.stream);
                // Not named since the proven mark: whatever it holds is harmless, and stays.
                end.map_or(state.end.position, |(_, end)| end.position)
            };
            (state.stream, cut_of(state, least, newest.as_ref()))
        })
        .collect();
    let adopt = states
        .iter()
        .zip(&cut)
        .any(|(state, (_, end))| !state.clean || state.end != *end);
    Ok(Choice { newest, cut, adopt })
}

/// The newest commit that no crash takes back, for who only reads: the one that is named as proven, or one
/// after it, if all that it and those between depend on is safe. Its writer may have had no time to say so.
#[must_use]
pub fn newest_safe(
    states: &[StreamState],
    root: Stream,
    proven: Option<(Oid, RootMarker)>,
) -> Option<(Oid, RootMarker)> {
    let Ok(line) = state_of(states, root) else {
        return proven;
    };
    let safe = |marker: &RootMarker, end: End| {
        let safe = |(stream, end): &(Stream, End)| {
            state_of(states, *stream).is_ok_and(|state| end.position <= state.safe)
        };
        end.position <= line.safe
            && marker.vector.iter().all(safe)
            && holds(states, root, marker).unwrap_or(false)
    };
    let mut newest = proven;
    let commits = line.chain.iter();
    for (end, oid, marker) in commits.filter_map(|link| {
        let (oid, marker) = link.marker.as_ref()?;
        Some((link.end, *oid, marker))
    }) {
        let before = newest.as_ref().map(|(oid, _)| *oid);
        if Some(oid) <= before {
            continue;
        }
        // The window holds no more than so many batches: nothing may be missing in between.
        let follows = line.chain.iter().any(|link| {
            let held = link.marker.as_ref().map(|(oid, _)| *oid);
            before.is_some() && held == before
        });
        let follows = follows || marker.previous.map(|previous| previous.oid) == before;
        let after = newest.as_ref().map_or(0, |(_, newest)| newest.sequence);
        if !follows || marker.sequence <= after || !safe(marker, end) {
            break;
        }
        newest = Some((oid, marker.clone()));
    }
    newest
}

/// Checks that every stream reaches what the proven commit depends on.
fn reaches(
    states: &[StreamState],
    root: &StreamState,
    oid: Oid,
    marker: &RootMarker,
) -> Result<()> {
    let short = |state: &StreamState, need: Position| {
        let text = format!(
            "stream {} ends at {}, short of {need}, which the proven commit {} at {oid} needs; \
             nothing was cut",
            state.stream, state.end.position, marker.sequence
        );
        if state
            .proven
            .is_some_and(|named| named.sequence >= marker.sequence)
        {
            Error::corrupt(text)
        } else {
            Error::unavailable(text)
        }
    };
    if root.end.position <= oid.position() {
        return Err(short(root, oid.position()));
    }
    for (stream, end) in &marker.vector {
        let state = state_of(states, *stream)?;
        if state.end.position < end.position {
            return Err(short(state, end.position));
        }
    }
    Ok(())
}

/// Whether every stream ends a batch exactly where the marker says, with the same bytes before it.
fn holds(states: &[StreamState], root: Stream, marker: &RootMarker) -> Result<bool> {
    if planted!(VectorNotChecked) {
        return Ok(true);
    }
    for (stream, end) in &marker.vector {
        let state = state_of(states, *stream)?;
        // The root stream's own entry is the batch before the marker's, which its chain proves.
        let chained = state.chain.iter().any(|link| link.end == *end);
        let settled = end.position <= state.durable || *stream == root;
        let reached = end.position <= state.end.position;
        if !chained && *end != state.end && !(settled && reached) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The first end of a batch at or above `least` and above all that is known durable.
fn cut_of(state: &StreamState, least: Position, newest: Option<&(Oid, RootMarker)>) -> End {
    if state.clean && state.proven.map(|proven| proven.oid) == newest.map(|(oid, _)| *oid) {
        return state.end;
    }
    let least = least.max(state.durable);
    if least == Position::START {
        return End {
            position: Position::START,
            running: 0,
        };
    }
    let ends = state.chain.iter().map(|link| link.end);
    ends.filter(|end| end.position >= least)
        .min_by_key(|end| end.position)
        .unwrap_or(state.end)
}

fn state_of(states: &[StreamState], stream: Stream) -> Result<&StreamState> {
    let found = states.iter().find(|state| state.stream == stream);
    found.ok_or_else(|| Error::unavailable(format!("stream {stream} cannot be asked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{ChainLink, Changes, Epoch, ErrorKind, Reference};

    const ROOT: Stream = Stream(0);
    const OTHER: Stream = Stream(1);

    fn end(position: u64) -> End {
        End {
            position: Position(position),
            running: position * 7,
        }
    }

    fn marker(at: u64, sequence: u64, vector: &[(Stream, u64)]) -> (Oid, RootMarker) {
        let marker = RootMarker {
            sequence,
            epoch: Epoch { number: 1, tag: 1 },
            time: sequence,
            previous: None,
            jump: None,
            proven: None,
            directory: None,
            changes: Changes::new(),
            vector: vector
                .iter()
                .map(|&(stream, at)| (stream, end(at)))
                .collect(),
        };
        (Oid::new(ROOT, Position(at)).unwrap(), marker)
    }

    fn proven(of: &(Oid, RootMarker)) -> Option<Proven> {
        Some(Proven {
            sequence: of.1.sequence,
            epoch: 1,
            oid: of.0,
        })
    }

    /// A stream whose batches end at these positions, each with the marker that lies in it.
    fn state(
        stream: Stream,
        durable: u64,
        chain: &[(u64, Option<(Oid, RootMarker)>)],
    ) -> StreamState {
        let last = chain.last().map_or(0, |(at, _)| *at);
        StreamState {
            stream,
            end: end(last),
            durable: Position(durable),
            safe: Position(durable),
            ceiling: Position(last + 1_000),
            clean: last == 0,
            proven: None,
            epoch: Epoch { number: 1, tag: 1 },
            chain: chain
                .iter()
                .map(|(at, marker)| ChainLink {
                    end: end(*at),
                    marker: marker.clone(),
                })
                .collect(),
        }
    }

    fn cut(choice: &Choice, stream: Stream) -> End {
        choice
            .cut
            .iter()
            .find(|(other, _)| *other == stream)
            .unwrap()
            .1
    }

    #[test]
    fn an_empty_store_has_no_commit_and_nothing_to_adopt() {
        let choice = choose(&[state(ROOT, 0, &[])], ROOT, None).unwrap();
        assert_eq!((choice.newest, choice.adopt), (None, false));
    }

    #[test]
    fn the_newest_whole_commit_is_chosen_and_the_tail_after_it_cut() {
        let (one, two) = (marker(60, 1, &[(ROOT, 50)]), marker(160, 2, &[(ROOT, 150)]));
        let chain = [
            (50, None),
            (100, Some(one)),
            (150, None),
            (200, Some(two.clone())),
            (250, None),
        ];
        let choice = choose(&[state(ROOT, 0, &chain)], ROOT, None).unwrap();
        assert_eq!(choice.newest, Some(two));
        assert_eq!(cut(&choice, ROOT), end(200));
        assert!(choice.adopt);
    }

    #[test]
    fn a_tail_without_any_commit_is_cut_to_nothing_unless_it_is_durable() {
        let chain = [(50, None), (100, None)];
        let choice = choose(&[state(ROOT, 0, &chain)], ROOT, None).unwrap();
        assert_eq!(cut(&choice, ROOT), END_OF_NOTHING);
        let choice = choose(&[state(ROOT, 60, &chain)], ROOT, None).unwrap();
        assert_eq!(cut(&choice, ROOT), end(100));
    }

    const END_OF_NOTHING: End = End {
        position: Position::START,
        running: 0,
    };

    #[test]
    fn a_marker_whose_vector_does_not_hold_voids_itself_and_all_after_it() {
        let one = marker(60, 1, &[(ROOT, 50), (OTHER, 40)]);
        let two = marker(110, 2, &[(ROOT, 100), (OTHER, 90)]);
        let three = marker(160, 3, &[(ROOT, 150)]);
        let chain = [
            (50, None),
            (100, Some(one.clone())),
            (150, Some(two)),
            (200, Some(three)),
        ];
        let states = [
            state(ROOT, 0, &chain),
            state(OTHER, 0, &[(40, None), (80, None)]),
        ];
        let choice = choose(&states, ROOT, None).unwrap();
        assert_eq!(choice.newest, Some(one));
        assert_eq!(
            (cut(&choice, ROOT), cut(&choice, OTHER)),
            (end(100), end(40))
        );
    }

    #[test]
    fn an_end_at_the_same_place_with_other_bytes_before_it_does_not_hold() {
        let one = marker(60, 1, &[(ROOT, 50), (OTHER, 40)]);
        let mut other = state(OTHER, 0, &[(40, None)]);
        other.end.running += 1;
        other.chain[0].end.running += 1;
        let states = [state(ROOT, 0, &[(50, None), (100, Some(one))]), other];
        let choice = choose(&states, ROOT, None).unwrap();
        assert_eq!(choice.newest, None);
    }

    #[test]
    fn a_stream_that_no_marker_of_the_window_names_is_left_as_it_is() {
        let one = marker(60, 1, &[(ROOT, 50), (OTHER, 40)]);
        let two = marker(160, 2, &[(ROOT, 150)]);
        let mut root = state(
            ROOT,
            100,
            &[(100, Some(one.clone())), (200, Some(two.clone()))],
        );
        root.proven = proven(&one);
        let states = [root, state(OTHER, 40, &[(40, None), (80, None)])];
        let choice = choose(&states, ROOT, Some(one)).unwrap();
        assert_eq!(choice.newest, Some(two));
        assert_eq!(cut(&choice, OTHER), end(80));
    }

    #[test]
    fn nothing_is_chosen_below_what_any_stream_names_as_proven() {
        let (one, two) = (marker(60, 1, &[(ROOT, 50)]), marker(160, 2, &[(ROOT, 150)]));
        let chain = [(50, None), (100, Some(one))];
        let mut other = state(OTHER, 0, &[(40, None)]);
        other.proven = proven(&two);
        let states = [state(ROOT, 100, &chain), other];
        assert_eq!(newest_proven(&states), proven(&two));
        let error = choose(&states, ROOT, Some(two.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        // The stream itself knew: that is damage.
        let mut root = state(ROOT, 100, &chain);
        root.proven = proven(&two);
        let error = choose(&[root], ROOT, Some(two)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_proven_commit_whose_other_stream_fell_short_is_an_error() {
        let one = marker(60, 1, &[(ROOT, 50), (OTHER, 90)]);
        let mut root = state(ROOT, 100, &[(100, Some(one.clone()))]);
        root.proven = proven(&one);
        let states = [root, state(OTHER, 40, &[(40, None)])];
        let error = choose(&states, ROOT, Some(one.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let error = choose(&states[..1], ROOT, Some(one)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn a_chain_that_breaks_below_what_is_durable_is_damage() {
        let error = choose(&[state(ROOT, 120, &[(100, None)])], ROOT, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_durable_commit_is_not_cut_for_what_another_stream_lost() {
        let one = marker(60, 1, &[(ROOT, 50), (OTHER, 90)]);
        let states = [
            state(ROOT, 100, &[(50, None), (100, Some(one))]),
            state(OTHER, 0, &[(40, None)]),
        ];
        let error = choose(&states, ROOT, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn a_clean_end_is_kept_whole() {
        let one = marker(60, 1, &[(ROOT, 50)]);
        let mut root = state(ROOT, 150, &[(100, Some(one.clone())), (150, None)]);
        root.clean = true;
        root.proven = proven(&one);
        let choice = choose(&[root], ROOT, Some(one.clone())).unwrap();
        assert_eq!((cut(&choice, ROOT), choice.adopt), (end(150), false));
        assert_eq!(choice.newest, Some(one));
    }

    #[test]
    fn a_commit_of_which_all_is_safe_is_shown_though_nothing_names_it_as_proven() {
        let one = marker(60, 1, &[(ROOT, 50)]);
        let two = marker(110, 2, &[(ROOT, 100), (OTHER, 40)]);
        let three = marker(160, 3, &[(ROOT, 150), (OTHER, 80)]);
        let chain = [
            (100, Some(one.clone())),
            (150, Some(two.clone())),
            (200, Some(three.clone())),
        ];
        let seen = |root_safe, other_safe| {
            let mut root = state(ROOT, 100, &chain);
            let mut other = state(OTHER, 0, &[(40, None), (80, None)]);
            (root.safe, other.safe) = (Position(root_safe), Position(other_safe));
            let newest = newest_safe(&[root, other], ROOT, Some(one.clone()));
            newest.unwrap().1.sequence
        };
        assert_eq!([seen(100, 80), seen(149, 80), seen(150, 80)], [1, 1, 2]);
        assert_eq!([seen(200, 39), seen(200, 79), seen(200, 80)], [1, 2, 3]);
        // Of a stream that cannot be asked nothing is known.
        let mut root = state(ROOT, 100, &chain);
        root.safe = Position(200);
        assert_eq!(newest_safe(&[root], ROOT, Some(one.clone())), Some(one));
    }

    #[test]
    fn commits_behind_one_that_nobody_knows_of_are_not_shown() {
        let (one, three) = (marker(60, 1, &[(ROOT, 50)]), marker(160, 3, &[(ROOT, 150)]));
        let mut root = state(ROOT, 200, &[(200, Some(three.clone()))]);
        root.safe = Position(200);
        let seen = newest_safe(std::slice::from_ref(&root), ROOT, Some(one.clone()));
        assert_eq!(seen, Some(one.clone()));
        // Unless it says itself that it follows on.
        let record = |oid| Reference {
            oid,
            length: 0,
            check: 0,
            weak: true,
            leaf: false,
        };
        if let Some((_, marker)) = &mut root.chain[0].marker {
            marker.previous = Some(record(one.0));
        }
        let seen = newest_safe(&[root], ROOT, Some(one)).unwrap();
        assert_eq!(seen.0, three.0);
    }

    #[test]
    fn a_marker_that_does_not_count_on_is_void() {
        let (one, two) = (marker(60, 5, &[(ROOT, 50)]), marker(160, 5, &[(ROOT, 150)]));
        let chain = [(50, None), (100, Some(one.clone())), (200, Some(two))];
        let choice = choose(&[state(ROOT, 0, &chain)], ROOT, None).unwrap();
        assert_eq!(choice.newest, Some(one));
        assert_eq!(cut(&choice, ROOT), end(100));
    }
}
