//! Finding a root marker, the newest or an older one by number or time, in a logarithmic number of
//! reads along the jump links.

use super::error::Result;
use super::marker::RootMarker;
use super::oid::Oid;
use super::store::RootAt;

/// The marker that is wanted, from `newest` back; `read` gets a marker. `None`: there is none such, or
/// none that old.
pub fn find_root(
    newest: Oid,
    at: RootAt,
    read: impl Fn(Oid) -> Result<RootMarker>,
) -> Result<Option<(Oid, RootMarker)>> {
    let mut here = (newest, read(newest)?);
    let wanted = |marker: &RootMarker| match at {
        RootAt::Newest => true,
        RootAt::Sequence(sequence) => marker.sequence <= sequence,
        RootAt::Time(time) => marker.time <= time,
    };
    while !wanted(&here.1) {
        let jump = match here.1.jump {
            Some((target, _)) => Some((target.oid, read(target.oid)?)),
            None => None,
        };
        // A jump that lands before the wanted one goes too far: take a single step instead.
        let step = match jump {
            Some(far) if !wanted(&far.1) || exact(at, &far.1) => Some(far),
            _ => match here.1.previous {
                Some(previous) => Some((previous.oid, read(previous.oid)?)),
                None => None,
            },
        };
        match step {
            Some(next) => here = next,
            None => return Ok(None),
        }
    }
    let exact_or_time = !matches!(at, RootAt::Sequence(_)) || exact(at, &here.1);
    Ok(exact_or_time.then_some(here))
}

fn exact(at: RootAt, marker: &RootMarker) -> bool {
    matches!(at, RootAt::Sequence(sequence) if marker.sequence == sequence)
}
