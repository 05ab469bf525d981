//! Durability: what is there again after a close, a kill, a power cut.

use std::collections::BTreeMap;

use super::bones::{Bones, blob, end_of, engine, engine_on, open, scan_all};
use super::check::{Failure, Verdict, ensure};
use super::fixture::{Crash, Fixture};
use crate::conformance::rng::Rng;
use crate::contract::{
    End, Epoch, ErrorKind, Level, Name, Oid, Position, Reference, RootAt, Store, Stream,
};
use crate::front::{Change, Engine, Hint, Snapshot};

/// What a snapshot shows: each name and the bytes it leads to.
type Shown = BTreeMap<String, Vec<u8>>;

fn shown(snapshot: &Snapshot) -> Result<Shown, Failure> {
    let mut shown = Shown::new();
    for (name, reference) in snapshot.names() {
        let record = snapshot.read(reference).wait()?;
        shown.insert(name.to_string(), record.body().to_vec());
    }
    Ok(shown)
}

/// Commits of a few names each, and what every one of them made of the names.
struct Writer {
    rng: Rng,
    states: BTreeMap<u64, Shown>,
}

impl Writer {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            states: BTreeMap::from([(0, Shown::new())]),
        }
    }

    /// One commit; its number.
    fn commit(&mut self, engine: &Engine, level: Level) -> Result<u64, Failure> {
        let session = engine.session()?;
        let mut next = shown(session.base())?;
        let mut changes = Vec::new();
        for of in 0..5 {
            if !self.rng.chance(1, 3) {
                continue;
            }
            let name = format!("name {of}");
            let length = self.rng.below_usize(3000);
            let body = self.rng.bytes(length);
            let reference = session.store(&blob(&[&body]), Hint::default())?;
            changes.push(Change::set(Name::new(name.clone())?, reference));
            next.insert(name, body);
        }
        let committed = session.commit(&changes, Some(level)).wait()?;
        self.states.insert(committed.sequence, next);
        Ok(committed.sequence)
    }

    /// Checks that the engine stands on a commit that was submitted, and on none before `least`.
    fn judge(&self, engine: &Engine, least: u64) -> Result<u64, Failure> {
        let snapshot = engine.snapshot();
        let sequence = snapshot.sequence();
        ensure!(
            sequence >= least,
            "commit {least} was acknowledged, after the crash the newest is {sequence}"
        );
        for (number, state) in self.states.range(..=sequence) {
            let snapshot = match *number {
                0 => continue,
                number => engine.at(RootAt::Sequence(number))?,
            };
            let found = snapshot.as_ref().map(shown).transpose()?;
            ensure!(
                found.as_ref() == Some(state),
                "commit {number} is not as it was made"
            );
        }
        ensure!(
            self.states.contains_key(&sequence),
            "nobody submitted the commit {sequence}"
        );
        Ok(sequence)
    }
}

/// After a clean close everything is as it was, and writing goes on.
pub(super) fn a_clean_close_opens_as_it_was(fixture: &dyn Fixture) -> Verdict {
    let level = fixture.promises().level;
    let mut writer = Writer::new(1);
    let mut last = 0;
    for _ in 0..4 {
        let (_, engine) = engine(fixture)?;
        let found = writer.judge(&engine, last)?;
        ensure!(
            found == last,
            "commit {last} was the last, {found} is found"
        );
        for _ in 0..20 {
            last = writer.commit(&engine, level)?;
        }
        engine.close()?;
    }
    Ok(())
}

/// Opening and closing without a write between changes nothing that can be seen.
pub(super) fn closing_and_opening_adds_nothing(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    bones.store(&[b"one"])?;
    bones.commit()?;
    let builder =
        crate::contract::BatchBuilder::new(bones.stream, bones.base, bones.before, bones.epoch, 0);
    let clean = builder.finish(None, true);
    let level = bones.store.status().level;
    bones
        .store
        .commit(bones.commit_of(level, vec![clean]))
        .wait()?;
    let batches = scan_all(&*bones.store, bones.stream)?.len();
    bones.store.close().wait()?;
    let mut before = None;
    for _ in 0..3 {
        let store = open(fixture)?;
        let states = store.fence(Epoch::default()).wait()?;
        let found = scan_all(&*store, bones.stream)?.len();
        ensure!(found == batches, "{batches} batches became {found}");
        ensure!(
            before.is_none() || before.as_ref() == Some(&states),
            "{before:?} became {states:?}"
        );
        before = Some(states);
        store.close().wait()?;
    }
    Ok(())
}

/// A writer that says good-bye is believed; one that does not is not.
pub(super) fn a_clean_close_is_reported_as_such(fixture: &dyn Fixture) -> Verdict {
    let (store, engine) = engine(fixture)?;
    Writer::new(2).commit(&engine, fixture.promises().level)?;
    let stream = Stream(store.status().root_stream);
    engine.close()?;
    let store = open(fixture)?;
    let states = store.fence(Epoch::default()).wait()?;
    let state = states.iter().find(|state| state.stream == stream);
    let Some(state) = state else {
        return Err(Failure::new("the root stream is not reported"));
    };
    ensure!(state.clean, "after a clean close there is {state:?}");
    ensure!(
        state.durable == state.end.position,
        "after a clean close what is durable is the end, and not {state:?}"
    );
    let proven = state.proven.map(|proven| proven.sequence);
    ensure!(
        proven == Some(1),
        "the last commit was 1, {proven:?} is proven"
    );
    Ok(store.close().wait()?)
}

fn survives(fixture: &dyn Fixture, crash: Crash, level: Level) -> Verdict {
    let mut writer = Writer::new(3);
    let mut rng = Rng::new(4);
    let mut least = 0;
    for _ in 0..6 {
        let (_, engine) = engine(fixture)?;
        least = writer.judge(&engine, least)?;
        for _ in 0..rng.below(12) {
            least = writer.commit(&engine, level)?;
        }
        fixture.crash(crash);
    }
    let (_, engine) = engine(fixture)?;
    writer.judge(&engine, least)?;
    Ok(engine.close()?)
}

/// A commit at `os` is there after any kill.
pub(super) fn a_kill_loses_no_commit_that_reached_the_system(fixture: &dyn Fixture) -> Verdict {
    survives(fixture, Crash::Kill, Level::Os)
}

/// A commit at `disk` is there after any power cut.
pub(super) fn a_power_cut_loses_no_commit_that_reached_the_disk(fixture: &dyn Fixture) -> Verdict {
    survives(fixture, Crash::PowerCut, Level::Disk)
}

/// A commit at a level brings every earlier one to it.
pub(super) fn a_commit_takes_the_earlier_ones_along(fixture: &dyn Fixture) -> Verdict {
    let mut writer = Writer::new(5);
    let mut least = 0;
    for _ in 0..3 {
        let (_, engine) = engine(fixture)?;
        writer.judge(&engine, least)?;
        for _ in 0..6 {
            writer.commit(&engine, Level::Memory)?;
            writer.commit(&engine, Level::Os)?;
        }
        least = writer.commit(&engine, Level::Disk)?;
        fixture.crash(Crash::PowerCut);
    }
    let (_, engine) = engine(fixture)?;
    writer.judge(&engine, least)?;
    Ok(engine.close()?)
}

/// What was seen after a crash is never lost to a later one, whether or not anything was written.
pub(super) fn what_a_crash_left_stays_through_the_next(fixture: &dyn Fixture) -> Verdict {
    let mut writer = Writer::new(6);
    let mut seen = 0;
    for _ in 0..4 {
        let (_, engine) = engine(fixture)?;
        writer.judge(&engine, seen)?;
        for _ in 0..4 {
            writer.commit(&engine, Level::Os)?;
        }
        fixture.crash(Crash::PowerCut);
        for crash in [Crash::PowerCut, Crash::Kill, Crash::PowerCut] {
            let (_, engine) = engine_quietly(fixture)?;
            seen = writer.judge(&engine, seen)?;
            fixture.crash(crash);
        }
        // The commits that were lost were never made, as far as anybody can see.
        writer.states.retain(|number, _| *number <= seen);
    }
    Ok(())
}

/// As [`engine`]; the name says that nobody writes with it.
fn engine_quietly(fixture: &dyn Fixture) -> Result<(std::sync::Arc<dyn Store>, Engine), Failure> {
    engine(fixture)
}

/// An address that was handed out before a crash is never handed out again, committed or not.
pub(super) fn no_address_is_given_twice(fixture: &dyn Fixture) -> Verdict {
    let mut given: BTreeMap<Oid, Vec<u8>> = BTreeMap::new();
    let mut rng = Rng::new(7);
    for round in 0..6_u8 {
        let (_, engine) = engine(fixture)?;
        let session = engine.session()?;
        for _ in 0..30 {
            let length = rng.below_usize(2000);
            let mut body = rng.bytes(length);
            body.push(round);
            let Reference { oid, .. } = session.store(&blob(&[&body]), Hint::default())?;
            ensure!(
                given.insert(oid, body).is_none(),
                "{oid} was given to two records"
            );
            if rng.chance(1, 10) {
                session.commit(&[], None).wait()?;
            }
        }
        for (oid, body) in &given {
            // Before the crash or after it, it may be there or not; it may not be another.
            if let Some(record) = engine.read(*oid).wait()? {
                ensure!(
                    record.body() == body,
                    "{oid} was given to one record and reads as another"
                );
            }
        }
        fixture.crash(Crash::Kill);
    }
    Ok(())
}

/// Records that nobody committed may lie there after a crash, but no name leads to them.
pub(super) fn what_was_not_committed_is_not_shown(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    bones.store(&[b"nobody", b"committed", b"these"])?;
    fixture.crash(Crash::Kill);
    let (store, engine) = engine(fixture)?;
    let snapshot = engine.snapshot();
    ensure!(
        snapshot.sequence() == 0 && snapshot.names().is_empty(),
        "nothing was committed, and there is {snapshot:?}"
    );
    let root = store.root(RootAt::Newest).wait()?;
    ensure!(
        root.is_none(),
        "nothing was committed, and a root is {root:?}"
    );
    Ok(engine.close()?)
}

/// After an unclean end, before anybody adopted it, nobody knows what lies above the tail.
pub(super) fn an_unvouched_tail_proves_nothing_absent(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    bones.store(&[b"one"])?;
    bones.commit()?;
    let stream = bones.stream;
    let above = Oid::new(stream, Position(bones.before.position.0 + 64));
    let Some(above) = above else {
        return Ok(());
    };
    fixture.crash(Crash::Kill);
    let store = open(fixture)?;
    let found = store.read(above).wait();
    ensure!(
        matches!(&found, Err(error) if error.kind() == ErrorKind::Unavailable),
        "nobody vouches for the tail, and {above} above it reads as {found:?}"
    );
    let bones = Bones::over(store, fixture.env())?;
    let found = bones.store.read(above).wait()?;
    ensure!(
        found.is_none(),
        "{above} was never stored and reads as {found:?}"
    );
    Ok(bones.store.close().wait()?)
}

/// Where nobody has written yet, and after a clean end, it is known that nothing lies above, before
/// anybody writes.
pub(super) fn a_clean_end_proves_absence(fixture: &dyn Fixture) -> Verdict {
    let mut writer = Writer::new(9);
    for round in 0..3 {
        let store = open(fixture)?;
        let status = store.status();
        let stream = Stream(status.root_stream);
        let mine = status.streams.iter().find(|of| of.stream == stream.0);
        let end = mine.map_or(0, |of| of.end);
        for ahead in [0, 16, 1 << 16] {
            let Some(above) = Oid::new(stream, Position(end + ahead)) else {
                continue;
            };
            let found = store.read(above).wait();
            ensure!(
                matches!(found, Ok(None)),
                "{above} lies above the clean end {end} and reads as {found:?}"
            );
        }
        let engine = engine_on(fixture, store)?;
        for _ in 0..10 * round {
            writer.commit(&engine, fixture.promises().level)?;
        }
        engine.close()?;
    }
    Ok(())
}

/// However often it crashed, the stream is one chain of whole batches.
pub(super) fn batches_chain_through_crashes(fixture: &dyn Fixture) -> Verdict {
    let mut writer = Writer::new(8);
    for _ in 0..5 {
        let (store, engine) = engine(fixture)?;
        for _ in 0..8 {
            writer.commit(&engine, Level::Os)?;
        }
        let stream = Stream(store.status().root_stream);
        let mut before = End {
            position: Position::START,
            running: 0,
        };
        for batch in scan_all(&*store, stream)? {
            let header = batch.header();
            let follows = End {
                position: header.before_end,
                running: header.before_running,
            };
            ensure!(
                follows == before && header.base >= before.position,
                "{batch:?} does not follow on {before:?}"
            );
            for (oid, record) in batch.records() {
                record.verify(oid)?;
            }
            before = end_of(&batch);
        }
        fixture.crash(Crash::Kill);
    }
    Ok(())
}
