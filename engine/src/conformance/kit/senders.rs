//! Senders: who may write, from when on, and what becomes of those before.

use std::sync::Arc;

use super::bones::{Bones, end_of, open, scan_all, there};
use super::check::{Verdict, ensure, refused};
use super::fixture::Fixture;
use crate::contract::{End, Epoch, ErrorKind, Level, Position};

const START: End = End {
    position: Position::START,
    running: 0,
};

/// Two writers on one store: the older one has stored, the newer one has fenced and adopted.
fn taken_over(fixture: &dyn Fixture) -> Result<(Bones, Bones), super::Failure> {
    let mut old = Bones::begin(fixture)?;
    old.store(&[b"old"])?;
    old.commit()?;
    let mut new = Bones::over(Arc::clone(&old.store), fixture.env())?;
    new.store(&[b"new"])?;
    Ok((old, new))
}

/// An older sender stores nothing any more, not even what would follow on.
pub(super) fn an_older_sender_may_not_store(fixture: &dyn Fixture) -> Verdict {
    let (mut old, new) = taken_over(fixture)?;
    old.before = new.before;
    old.base = new.base;
    for (base, before) in [(new.base, new.before), (old.base, old.before)] {
        let (batch, _) = old.batch_at(base, before, &[b"stale"])?;
        let sent = old.store.store(old.epoch, batch);
        refused("a batch of an older sender", sent, &[ErrorKind::Fenced])?;
    }
    let tail = new.state()?.end;
    ensure!(tail == new.before, "the tail moved to {tail:?}");
    Ok(new.store.close().wait()?)
}

/// Nor does it bring anything to a level.
pub(super) fn an_older_sender_may_not_commit(fixture: &dyn Fixture) -> Verdict {
    let (old, mut new) = taken_over(fixture)?;
    let (stale, _) = old.batch_at(new.base, new.before, &[b"stale"])?;
    for last in [Vec::new(), vec![stale]] {
        let sent = old.store.commit(old.commit_of(Level::Memory, last));
        refused("a commit of an older sender", sent, &[ErrorKind::Fenced])?;
    }
    new.store(&[b"newer"])?;
    new.commit()?;
    Ok(new.store.close().wait()?)
}

/// An epoch that nobody took writes nothing, be it later than the one in force.
pub(super) fn a_sender_that_never_fenced_is_refused(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    bones.store(&[b"one"])?;
    let refuse = [ErrorKind::Invalid, ErrorKind::Fenced];
    let Epoch { number, tag } = bones.epoch;
    let strangers = [
        Epoch::default(),
        Epoch {
            number: number + 1,
            tag,
        },
        Epoch {
            number,
            tag: tag ^ 1,
        },
    ];
    for stranger in strangers {
        let (batch, _) = bones.batch(&[b"strange"])?;
        let sent = bones.store.store(stranger, batch);
        refused("a batch of a sender that never fenced", sent, &refuse)?;
    }
    bones.store(&[b"two"])?;
    Ok(bones.store.close().wait()?)
}

/// Where the older epochs end is decided before a newer one writes.
pub(super) fn an_epoch_adopts_before_it_writes(fixture: &dyn Fixture) -> Verdict {
    let (mut bones, states) = Bones::fenced(open(fixture)?, fixture.env())?;
    let (early, _) = bones.batch(&[])?;
    let sent = bones.store.store(bones.epoch, early.clone());
    refused("a store before the adoption", sent, &[ErrorKind::Invalid])?;
    let sent = bones
        .store
        .commit(bones.commit_of(Level::Memory, vec![early]));
    refused("a commit before the adoption", sent, &[ErrorKind::Invalid])?;
    bones.adopt(&states)?;
    bones.store(&[b"one"])?;
    bones.commit()?;
    Ok(bones.store.close().wait()?)
}

/// A fence with the epoch number zero only looks.
pub(super) fn nobody_fences_nobody(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    bones.store(&[b"one"])?;
    let first = bones.store.fence(Epoch::default()).wait()?;
    let second = bones.store.fence(Epoch { number: 0, tag: 5 }).wait()?;
    ensure!(first == second, "{first:?}, and then {second:?}");
    bones.store(&[b"two"])?;
    bones.commit()?;
    Ok(bones.store.close().wait()?)
}

/// A writer may ask again with its own epoch, and goes on.
pub(super) fn fencing_again_only_reports(fixture: &dyn Fixture) -> Verdict {
    let (mut bones, states) = Bones::fenced(open(fixture)?, fixture.env())?;
    let again = bones.store.fence(bones.epoch).wait()?;
    ensure!(
        ends(&again) == ends(&states),
        "fenced twice: {states:?}, and then {again:?}"
    );
    bones.adopt(&states)?;
    bones.store(&[b"one"])?;
    bones.commit()?;
    bones.store(&[b"two"])?;
    let again = bones.store.fence(bones.epoch).wait()?;
    ensure!(
        ends(&again).contains(&bones.before),
        "the tail is {:?}, a fence with the same epoch reports {again:?}",
        bones.before
    );
    bones.store(&[b"three"])?;
    bones.commit()?;
    Ok(bones.store.close().wait()?)
}

fn ends(states: &[crate::contract::StreamState]) -> Vec<End> {
    states.iter().map(|state| state.end).collect()
}

/// The end, what is durable, the ceiling and the chain are as the writer knows them.
pub(super) fn a_fence_reports_how_the_streams_lie(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    let mut all = vec![bones.before];
    for round in 0..12_u8 {
        bones.store(&[&[round; 300]])?;
        all.push(bones.before);
        if round == 5 {
            bones.commit()?;
        }
    }
    let state = bones.state()?;
    ensure!(state.end == bones.before, "the end is {:?}", state.end);
    ensure!(state.epoch == bones.epoch, "the epoch is {:?}", state.epoch);
    ensure!(state.proven.is_none(), "{:?} is proven", state.proven);
    ensure!(
        state.durable <= state.end.position,
        "durable up to {}, past the end {}",
        state.durable,
        state.end.position
    );
    let chain: Vec<End> = state.chain.iter().map(|link| link.end).collect();
    ensure!(
        chain.ends_with(&all),
        "batches ended at {all:?}, the chain says {chain:?}"
    );
    Ok(bones.store.close().wait()?)
}

/// A new epoch finds what the older one left, and goes on behind it, at its ceiling or above.
pub(super) fn a_new_epoch_goes_on_where_it_adopted(fixture: &dyn Fixture) -> Verdict {
    let mut old = Bones::begin(fixture)?;
    let committed = old.store(&[b"committed"])?[0];
    old.commit()?;
    let stored = old.store(&[b"stored only"])?[0];
    let ceiling = old.state()?.ceiling;
    let (mut new, states) = Bones::fenced(Arc::clone(&old.store), fixture.env())?;
    let (below, _) = new.batch_at(old.base, old.before, &[b"below"])?;
    new.adopt(&states)?;
    for reference in [committed, stored] {
        there(&*new.store, reference.oid)?;
    }
    let sent = new.store.store(new.epoch, below);
    refused(
        "a batch below the older epoch's ceiling",
        sent,
        &[ErrorKind::Invalid],
    )?;
    ensure!(
        new.base >= ceiling,
        "the older epoch had a ceiling of {ceiling}, a fence says {}",
        new.base
    );
    let newer = new.store(&[b"newer"])?[0];
    new.commit()?;
    for reference in [committed, stored, newer] {
        there(&*new.store, reference.oid)?;
    }
    Ok(new.store.close().wait()?)
}

/// What an adoption leaves above its cut is void: not read, not scanned, not reported.
pub(super) fn adopting_voids_what_lies_above(fixture: &dyn Fixture) -> Verdict {
    let mut old = Bones::begin(fixture)?;
    let kept = old.store(&[b"kept"])?[0];
    old.commit()?;
    let cut = old.before;
    let void = old.store(&[b"void"])?[0];
    old.store(&[b"void as well"])?;
    // Seen while it was there, so that whoever remembers it has to forget.
    there(&*old.store, void.oid)?;
    let (mut new, states) = Bones::fenced(Arc::clone(&old.store), fixture.env())?;
    let vector = states.iter().map(|state| match state.stream == new.stream {
        true => (state.stream, cut),
        false => (state.stream, state.end),
    });
    new.store.adopt(new.epoch, vector.collect()).wait()?;
    new.before = cut;
    let found = new.store.read(void.oid).wait()?;
    ensure!(found.is_none(), "what was cut off still reads: {found:?}");
    new.store(&[b"after the cut"])?;
    new.commit()?;
    let ends: Vec<End> = scan_all(&*new.store, new.stream)?
        .iter()
        .map(end_of)
        .collect();
    ensure!(
        ends.iter()
            .all(|end| end.position <= cut.position || end.position > old.ceiling),
        "cut at {cut:?}, and scanned are {ends:?}"
    );
    there(&*new.store, kept.oid)?;
    let found = new.store.read(void.oid).wait()?;
    ensure!(found.is_none(), "what was cut off reads again: {found:?}");
    Ok(new.store.close().wait()?)
}

/// What is known durable is never cut, whoever asks.
pub(super) fn adopting_below_what_is_durable_is_refused(fixture: &dyn Fixture) -> Verdict {
    let mut old = Bones::begin(fixture)?;
    old.store(&[b"one"])?;
    let low = old.before;
    old.store(&[b"two"])?;
    let level = old.commit()?;
    old.store(&[b"three"])?;
    let durable = old.state()?.durable;
    if level < Level::Disk || durable <= low.position {
        // Nothing here is durable, or nobody can know it: then there is nothing to refuse.
        return Ok(old.store.close().wait()?);
    }
    let (new, states) = Bones::fenced(Arc::clone(&old.store), fixture.env())?;
    for cut in [low, START] {
        let vector = states.iter().map(|state| match state.stream == new.stream {
            true => (state.stream, cut),
            false => (state.stream, state.end),
        });
        let adopted = new.store.adopt(new.epoch, vector.collect());
        refused(
            "an adoption below what is durable",
            adopted,
            &[ErrorKind::Invalid, ErrorKind::Closed],
        )?;
    }
    Ok(new.store.close().wait()?)
}
