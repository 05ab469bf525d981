//! Cancelling: dropping an op stops the waiting. What the call does is whole or not at all.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Waker};
use std::time::Duration;

use super::between::{Between, Nothing};
use super::bones::{Bones, blob, engine_on, scan_all};
use super::check::{Failure, Verdict, ensure};
use super::fixture::Fixture;
use super::jitter::Jitter;
use crate::conformance::rng::Rng;
use crate::contract::{Name, Oid, Op, Reference, Store};
use crate::front::{Change, Hint};

/// How long readers may take. It is only waited for in vain if something is wrong.
const PATIENCE: Duration = Duration::from_secs(300);

/// Polls an op so often, at most, and drops it.
fn drop_at<T>(mut op: Op<T>, stage: u64) {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..stage {
        if Pin::new(&mut op).poll(&mut context).is_ready() {
            break;
        }
    }
}

/// The stack as it is, and with jitter at every boundary, so that there is something to drop.
fn ways() -> [Arc<dyn Between>; 2] {
    [Arc::new(Nothing), Arc::new(Jitter::new(9))]
}

/// Whoever does not wait for a store may send it again; there is one batch in the end.
pub(super) fn a_dropped_store_is_whole_or_not_there(fixture: &dyn Fixture) -> Verdict {
    let [_, jitter] = ways();
    let mut bones = Bones::over(fixture.open(&jitter)?, fixture.env())?;
    let mut sent = scan_all(&*bones.store, bones.stream)?.len();
    for round in 0..40_u8 {
        let (batch, references) = bones.batch(&[&[round; 200]])?;
        let stage = u64::from(round % 4);
        if round % 3 == 0 {
            let commit = bones.commit_of(fixture.promises().level, vec![batch.clone()]);
            drop_at(bones.store.commit(commit), stage);
        } else {
            drop_at(bones.store.store(bones.epoch, batch.clone()), stage);
        }
        let tail = bones.state()?.end;
        ensure!(
            tail == bones.before || tail == super::bones::end_of(&batch),
            "a store was dropped, and the tail is {tail:?}"
        );
        bones.send(&batch)?;
        bones.base = bones.before.position.align_up(bones.unit);
        sent += 1;
        super::bones::there(&*bones.store, references[0].oid)?;
    }
    let found = scan_all(&*bones.store, bones.stream)?.len();
    ensure!(found == sent, "{sent} batches were sent, {found} are there");
    Ok(bones.store.close().wait()?)
}

/// A commit nobody waits for changes all of its names or none.
pub(super) fn a_dropped_commit_is_whole_or_not_there(fixture: &dyn Fixture) -> Verdict {
    let [_, jitter] = ways();
    let store = fixture.open(&jitter)?;
    let engine = engine_on(fixture, store)?;
    let mut last = BTreeMap::new();
    for round in 0..40_u8 {
        let session = engine.session()?;
        let reference = session.store(&blob(&[&[round; 64]]), Hint::default())?;
        let changes = ["a", "b", "c"]
            .map(|name| Name::new(name).map(|name| Change::set(name, reference)))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        drop_at(session.commit(&changes, None), u64::from(round % 4));
        let base = engine.session()?;
        let names = base.base().names();
        let first = names.values().next();
        ensure!(
            names.values().all(|other| Some(other) == first)
                && (names.len() == 3 || names.is_empty()),
            "a commit was dropped, and the names are {names:?}"
        );
        last = names.clone();
    }
    let session = engine.session()?;
    session.commit(&[], None).wait()?;
    let names = engine.snapshot().names().clone();
    ensure!(
        names == last,
        "the last names submitted were {last:?}, committed are {names:?}"
    );
    Ok(engine.close()?)
}

/// Many readers of the same records, of whom some walk away: the others are served.
pub(super) fn a_dropped_read_harms_nobody(fixture: &dyn Fixture) -> Verdict {
    for (way, between) in ways().iter().enumerate() {
        // Opened twice only where the second opening finds what the first one left.
        if way > 0
            && !fixture
                .promises()
                .properties
                .has(crate::stack::Property::Persists)
        {
            break;
        }
        let store = fixture.open(between)?;
        let mut bones = Bones::over(store.clone(), fixture.env())?;
        let mut stored: Vec<(Reference, Vec<u8>)> = Vec::new();
        let mut rng = Rng::new(10);
        for _ in 0..64 {
            let length = rng.below_usize(5000);
            let body = rng.bytes(length);
            stored.push((bones.store(&[&body])?[0], body));
        }
        bones.commit()?;
        read_all(&store, stored)?;
        store.close().wait()?;
    }
    Ok(())
}

fn read_all(store: &Arc<dyn Store>, stored: Vec<(Reference, Vec<u8>)>) -> Verdict {
    const READERS: u64 = 4;
    let stored = Arc::new(stored);
    let (say, said) = channel();
    for reader in 0..READERS {
        let (store, stored, say) = (store.clone(), stored.clone(), say.clone());
        let body = move || {
            let answer = read_some(&*store, &stored, reader);
            // The check may have given up: then nobody wants to know.
            let _ = say.send(answer);
        };
        let thread = std::thread::Builder::new().spawn(body);
        thread.map_err(|error| Failure::new(format!("no thread: {error}")))?;
    }
    for _ in 0..READERS {
        match said.recv_timeout(PATIENCE) {
            Ok(answer) => answer?,
            Err(_) => return Err(Failure::new("a reader waits, and nobody answers it")),
        }
    }
    Ok(())
}

fn read_some(store: &dyn Store, stored: &[(Reference, Vec<u8>)], reader: u64) -> Verdict {
    let mut rng = Rng::new(reader);
    for round in 0..2_000 {
        let (reference, body) = &stored[rng.below_usize(stored.len())];
        let oid: Oid = reference.oid;
        let op = store.read(oid);
        if rng.chance(1, 3) {
            drop_at(op, round % 3);
            continue;
        }
        let found = op.wait()?;
        ensure!(
            found.as_ref().is_some_and(|record| record.body() == body),
            "{oid} reads as {found:?}"
        );
    }
    Ok(())
}
