//! Finding a root marker, the newest or an older one by number or time, in a logarithmic number of
//! reads along the jump links. Links that do not lead back are damage, not an endless walk.

use super::error::{Error, Result};
use super::marker::RootMarker;
use super::oid::Oid;
use super::store::RootAt;

/// The marker that is wanted, from `newest` back; `read` gets a marker, `None` if it was freed. `None`:
/// there is none such, or none that old any more.
pub fn find_root(
    newest: Oid,
    at: RootAt,
    read: impl Fn(Oid) -> Result<Option<RootMarker>>,
) -> Result<Option<(Oid, RootMarker)>> {
    let linked = |oid| Ok::<_, Error>(read(oid)?.map(|marker| (oid, marker)));
    let mut here = linked(newest)?.ok_or_else(|| {
        Error::corrupt(format!("the newest root marker is not there, at {newest}"))
    })?;
    let wanted = |marker: &RootMarker| match at {
        RootAt::Newest | RootAt::Proven => true,
        RootAt::Sequence(sequence) => marker.sequence <= sequence,
        RootAt::Time(time) => marker.time <= time,
    };
    while !wanted(&here.1) {
        let jump = match here.1.jump {
            Some((target, _)) => linked(target.oid)?,
            None => None,
        };
        // A jump that lands before the wanted one goes too far: take a single step instead.
        let step = match jump {
            Some(far) if !wanted(&far.1) || exact(at, &far.1) => Some(far),
            _ => match here.1.previous {
                // Weak links may lead to what was freed: there the history ends.
                Some(previous) => linked(previous.oid)?,
                None => None,
            },
        };
        match step {
            Some(next) if next.1.sequence < here.1.sequence => here = next,
            Some((oid, _)) => return Err(leads_on(oid)),
            None => return Ok(None),
        }
    }
    let exact_or_time = !matches!(at, RootAt::Sequence(_)) || exact(at, &here.1);
    Ok(exact_or_time.then_some(here))
}

/// The damage of a link that leads to a commit which is not older.
pub(crate) fn leads_on(oid: Oid) -> Error {
    Error::corrupt(format!(
        "a link leads back to {oid}, which is no older commit"
    ))
}

fn exact(at: RootAt, marker: &RootMarker) -> bool {
    matches!(at, RootAt::Sequence(sequence) if marker.sequence == sequence)
}

#[cfg(test)]
mod tests {
    use super::super::error::ErrorKind;
    use super::super::level::Epoch;
    use super::super::marker::Changes;
    use super::super::record::Reference;
    use super::*;

    #[test]
    fn links_that_lead_in_a_circle_are_damage_and_no_endless_walk() {
        let oid = Oid::from_raw(64);
        let marker = |jump: bool| RootMarker {
            sequence: 5,
            epoch: Epoch::default(),
            time: 50,
            previous: oid.filter(|_| !jump).map(to),
            jump: oid.filter(|_| jump).map(|oid| (to(oid), 1)),
            proven: None,
            directory: None,
            changes: Changes::new(),
            vector: Vec::new(),
        };
        for at in [RootAt::Sequence(2), RootAt::Time(20)] {
            for jump in [true, false] {
                let found = oid.map(|oid| find_root(oid, at, |_| Ok(Some(marker(jump)))));
                let error = found.unwrap().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
        }
    }

    fn to(oid: Oid) -> Reference {
        Reference {
            oid,
            length: 64,
            check: 0,
            weak: true,
            leaf: false,
        }
    }
}
