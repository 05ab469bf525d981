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
