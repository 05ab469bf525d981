//! Levels: what is asked is reached, or refused.

use super::bones::Bones;
use super::check::{Verdict, ensure, refused};
use super::fixture::Fixture;
use crate::contract::{ErrorKind, Level};

const LEVELS: [Level; 5] = [
    Level::Memory,
    Level::Os,
    Level::Disk,
    Level::Replicated(2),
    Level::Replicated(255),
];

/// A level that the stack does not reach is refused before anything is written.
pub(super) fn more_than_it_can_is_invalid_and_changes_nothing(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    bones.store(&[b"one"])?;
    let able = bones.store.status().level;
    for level in LEVELS.into_iter().filter(|level| *level > able) {
        let (batch, _) = bones.batch(&[b"too much"])?;
        let sent = bones.store.commit(bones.commit_of(level, vec![batch]));
        refused("a commit above what it can", sent, &[ErrorKind::Invalid])?;
        let tail = bones.state()?.end;
        ensure!(
            tail == bones.before,
            "{level} was refused, and the tail moved to {tail:?}"
        );
    }
    bones.store(&[b"two"])?;
    bones.commit()?;
    Ok(bones.store.close().wait()?)
}

/// The reply names a level that was reached: what was asked or more, and no more than it can.
pub(super) fn the_level_reached_is_never_less_than_asked(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    let able = fixture.promises().level;
    for level in LEVELS.into_iter().filter(|level| *level <= able) {
        for last in [false, true] {
            let batch = bones.batch(&[b"more"])?.0;
            let last = match last {
                true => vec![batch.clone()],
                false => {
                    bones.store.store(bones.epoch, batch.clone()).wait()?;
                    Vec::new()
                }
            };
            let reached = bones.store.commit(bones.commit_of(level, last)).wait()?;
            bones.take(&batch);
            bones.base = bones.before.position.align_up(bones.unit);
            ensure!(reached >= level, "{level} was asked, {reached} was reached");
            let most = bones.store.status().level;
            ensure!(reached <= most, "{reached} was reached, of {most} at most");
        }
    }
    Ok(bones.store.close().wait()?)
}
