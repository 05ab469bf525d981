//! Roots: what a store without an engine on it knows of its commits.

use std::time::Duration;

use super::bones::{blob, engine, open};
use super::check::{Failure, Verdict, ensure};
use super::fixture::Fixture;
use crate::contract::{Level, Name, RootAt, Store};
use crate::front::{Change, Committed, Engine, Hint};

const COMMITS: u64 = 40;

/// Commits one after the other, each a moment later, and when each was made.
fn some_commits(fixture: &dyn Fixture, engine: &Engine) -> Result<Vec<(Committed, u64)>, Failure> {
    let mut all = Vec::new();
    for round in 0..COMMITS {
        let session = engine.session()?;
        let body = round.to_le_bytes();
        let reference = session.store(&blob(&[&body]), Hint::default())?;
        let change = Change::set(Name::new("a")?, reference);
        let committed = session.commit(&[change], None).wait()?;
        all.push((committed, engine.snapshot().time()));
        fixture.env().clock.sleep(Duration::from_micros(1_500));
    }
    Ok(all)
}

/// Nothing was committed: there is no root, and that is an answer.
pub(super) fn a_new_store_has_no_root(fixture: &dyn Fixture) -> Verdict {
    let store = open(fixture)?;
    for at in [RootAt::Newest, RootAt::Sequence(1), RootAt::Time(u64::MAX)] {
        let found = store.root(at).wait()?;
        ensure!(found.is_none(), "{at:?} of a new store is {found:?}");
    }
    Ok(store.close().wait()?)
}

/// Once a commit is answered, its marker is the newest.
pub(super) fn the_newest_root_is_the_last_commit(fixture: &dyn Fixture) -> Verdict {
    let (store, engine) = engine(fixture)?;
    for (committed, _) in some_commits(fixture, &engine)? {
        ensure!(
            found(&*store, RootAt::Sequence(committed.sequence))? == Some(committed.sequence),
            "commit {} has no root",
            committed.sequence
        );
    }
    let newest = store.root(RootAt::Newest).wait()?;
    let Some((oid, marker)) = newest else {
        return Err(Failure::new("after forty commits there is no newest root"));
    };
    ensure!(
        marker.sequence == COMMITS,
        "the newest is {}",
        marker.sequence
    );
    ensure!(
        engine
            .history()
            .next()
            .transpose()?
            .is_some_and(|(at, _)| at == oid),
        "the newest root lies at {oid}, the engine knows another"
    );
    Ok(engine.close()?)
}

/// Each number has its marker, and numbers that were never given have none.
pub(super) fn a_root_is_found_by_its_number(fixture: &dyn Fixture) -> Verdict {
    let (store, engine) = engine(fixture)?;
    let all = some_commits(fixture, &engine)?;
    for (committed, _) in &all {
        let at = RootAt::Sequence(committed.sequence);
        let root = store.root(at).wait()?;
        ensure!(
            root.as_ref().is_some_and(|(oid, marker)| {
                *oid == committed.marker && marker.sequence == committed.sequence
            }),
            "{committed:?} is found as {root:?}"
        );
    }
    for never in [0, COMMITS + 1, u64::MAX] {
        let root = found(&*store, RootAt::Sequence(never))?;
        ensure!(root.is_none(), "commit {never} is found as {root:?}");
    }
    Ok(engine.close()?)
}

/// At any time there is the newest commit made until then.
pub(super) fn a_root_is_found_by_its_time(fixture: &dyn Fixture) -> Verdict {
    let (store, engine) = engine(fixture)?;
    let all = some_commits(fixture, &engine)?;
    let Some((_, first)) = all.first() else {
        return Ok(());
    };
    for (committed, time) in &all {
        for later in [0, 1] {
            let root = found(&*store, RootAt::Time(time + later))?;
            ensure!(
                root == Some(committed.sequence),
                "commit {} was made at {time}, at {} there is {root:?}",
                committed.sequence,
                time + later
            );
        }
    }
    let root = found(&*store, RootAt::Time(first - 1))?;
    ensure!(root.is_none(), "before the first commit there is {root:?}");
    let root = found(&*store, RootAt::Time(u64::MAX))?;
    ensure!(
        root == Some(COMMITS),
        "at the end of time there is {root:?}"
    );
    Ok(engine.close()?)
}

/// A commit is told as proven once a batch names it as such, and never before.
pub(super) fn what_is_named_as_proven_is_told_and_nothing_newer(fixture: &dyn Fixture) -> Verdict {
    let (store, engine) = engine(fixture)?;
    let most = fixture.promises().level;
    for number in 1..5 {
        let commit = |level| -> Result<Committed, Failure> {
            let session = engine.session()?;
            let reference = session.store(&blob(&[b"it"]), Hint::default())?;
            let change = Change::set(Name::new("a")?, reference);
            Ok(session.commit(&[change], level).wait()?)
        };
        commit(None)?;
        engine.prove()?;
        let proven = found(&*store, RootAt::Proven)?;
        ensure!(
            proven == Some(2 * number - 1),
            "the newest is proven, told is {proven:?}"
        );
        let less = commit(Some(most.min(Level::Os)))?.level;
        let proven = found(&*store, RootAt::Proven)?;
        ensure!(
            less >= most || proven == Some(2 * number - 1),
            "the newest reached {less} only, told as proven is {proven:?}"
        );
    }
    Ok(engine.close()?)
}

fn found(store: &dyn Store, at: RootAt) -> Result<Option<u64>, Failure> {
    Ok(store.root(at).wait()?.map(|(_, marker)| marker.sequence))
}
