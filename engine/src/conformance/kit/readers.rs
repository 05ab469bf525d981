//! Readers: another process that looks at the stack beside its writer, or after it.

use std::sync::Arc;

use super::between::{Between, Nothing};
use super::bones::{blob, engine};
use super::check::{Failure, Verdict, ensure};
use super::fixture::Fixture;
use crate::contract::{Level, Name, RootAt, Store};
use crate::front::{Change, Engine, Hint, Options, Snapshot};

const COMMITS: u64 = 6;

/// One commit: a few records, so that it leaves some in each stream, and a name for each.
fn commit(engine: &Engine, round: u64, level: Option<Level>) -> Result<Level, Failure> {
    let session = engine.session()?;
    let mut changes = Vec::new();
    for of in 0..4_u64 {
        let body = [round.to_le_bytes(), of.to_le_bytes()].concat();
        let reference = session.store(&blob(&[&body]), Hint::default())?;
        changes.push(Change::set(Name::new(format!("name {of}"))?, reference));
    }
    Ok(session.commit(&changes, level).wait()?.level)
}

/// Checks that a commit is the newest that is shown, and all there.
fn shows(snapshot: &Snapshot, round: u64) -> Verdict {
    let newest = snapshot.sequence();
    ensure!(
        newest == round,
        "commit {round} is proven, and a reader is shown {newest}"
    );
    for of in 0..4_u64 {
        let name = Name::new(format!("name {of}"))?;
        let found = snapshot.read_root(&name)?;
        let body = [round.to_le_bytes(), of.to_le_bytes()].concat();
        ensure!(
            found.is_some_and(|record| record.body() == body),
            "commit {round} is shown, and {name} leads a reader elsewhere"
        );
    }
    Ok(())
}

fn reader(fixture: &dyn Fixture) -> Result<(Arc<dyn Store>, Engine), Failure> {
    let nothing: Arc<dyn Between> = Arc::new(Nothing);
    let store = fixture.read(&nothing)?;
    let engine = Engine::open(store.clone(), fixture.env(), Options::reading())?;
    Ok((store, engine))
}

/// Who opens the stack beside its writer is shown each commit once it is proven; so is who looks again.
pub(super) fn readers_see_each_commit_once_it_is_proven(fixture: &dyn Fixture) -> Verdict {
    let (_, writer) = engine(fixture)?;
    let mut stays = None;
    for round in 1..=COMMITS {
        commit(&writer, round, None)?;
        writer.prove()?;
        let (_, opened) = reader(fixture)?;
        shows(&opened.snapshot(), round)?;
        let stays = stays.get_or_insert(opened);
        shows(&stays.refresh()?, round)?;
    }
    Ok(writer.close()?)
}

/// What a writer has left is all there for who reads it then.
pub(super) fn readers_see_all_that_a_writer_left(fixture: &dyn Fixture) -> Verdict {
    for round in 1..=COMMITS {
        let (_, writer) = engine(fixture)?;
        commit(&writer, round, None)?;
        writer.close()?;
        let (_, reader) = reader(fixture)?;
        shows(&reader.snapshot(), round)?;
        reader.close()?;
    }
    Ok(())
}

/// What a crash may take back is shown to no reader, be it asked for by number or by time.
pub(super) fn readers_see_nothing_that_is_not_proven(fixture: &dyn Fixture) -> Verdict {
    let (_, writer) = engine(fixture)?;
    commit(&writer, 1, None)?;
    writer.prove()?;
    if commit(&writer, 2, Some(Level::Os))? >= fixture.promises().level {
        return Ok(writer.close()?);
    }
    let (store, reader) = reader(fixture)?;
    shows(&reader.snapshot(), 1)?;
    for at in [RootAt::Newest, RootAt::Proven, RootAt::Time(u64::MAX)] {
        let found = store.root(at).wait()?.map(|(_, marker)| marker.sequence);
        ensure!(
            found == Some(1),
            "commit 2 is on no disk, and a reader that asks for {at:?} is told of {found:?}"
        );
    }
    let second = store.root(RootAt::Sequence(2)).wait()?;
    ensure!(
        second.is_none(),
        "commit 2 is on no disk, and a reader finds it"
    );
    Ok(writer.close()?)
}
