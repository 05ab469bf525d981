//! Commits, through an engine on the stack: names change together, once, as their writers saw them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bones::{blob, engine};
use super::check::{Failure, Verdict, ensure, refused};
use super::fixture::Fixture;
use crate::contract::{ErrorKind, Name, Oid, Reference, RootAt};
use crate::front::{Change, Engine, Expect, Hint, Session, Snapshot};

fn name(text: &str) -> Result<Name, Failure> {
    Ok(Name::new(text)?)
}

fn put(session: &Session, body: &[u8]) -> Result<Reference, Failure> {
    Ok(session.store(&blob(&[body]), Hint::default())?)
}

fn set(engine: &Engine, to: &str, body: &[u8]) -> Result<Reference, Failure> {
    let session = engine.session()?;
    let reference = put(&session, body)?;
    let change = Change::set(name(to)?, reference);
    session.commit(&[change], None).wait()?;
    Ok(reference)
}

fn get(snapshot: &Snapshot, of: &str) -> Result<Option<Vec<u8>>, Failure> {
    let record = snapshot.read_root(&name(of)?)?;
    Ok(record.map(|record| record.body().to_vec()))
}

/// Of many who swap a name from what they all saw, one succeeds.
pub(super) fn one_of_many_threads_wins(fixture: &dyn Fixture) -> Verdict {
    const THREADS: usize = 6;
    const ROUNDS: usize = 12;
    let (_, engine) = engine(fixture)?;
    set(&engine, "a", b"beginning")?;
    for round in 0..ROUNDS {
        let seen = engine.snapshot().root(&name("a")?).map(|root| root.oid);
        let won = AtomicU64::new(0);
        let outcomes: Vec<Result<Oid, Failure>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (engine, won) = (&engine, &won);
                    scope.spawn(move || {
                        let session = engine.session()?;
                        let mine = put(&session, format!("{round} {thread}").as_bytes())?;
                        let change = Change::swap(name("a")?, seen, mine);
                        match session.commit(&[change], None).wait() {
                            Ok(_) => {
                                won.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) if error.kind() == ErrorKind::Conflict => {}
                            Err(error) => return Err(error.into()),
                        }
                        Ok(mine.oid)
                    })
                })
                .collect();
            let ends = threads.into_iter().map(|thread| thread.join());
            ends.map(|end| end.unwrap_or_else(|_| Err(Failure::new("a thread panicked"))))
                .collect()
        });
        let mine = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let won = won.into_inner();
        ensure!(won == 1, "{won} of {THREADS} swapped the same name");
        let now = engine.snapshot().root(&name("a")?).map(|root| root.oid);
        ensure!(
            now.is_some_and(|now| mine.contains(&now)),
            "{now:?} is nobody's"
        );
    }
    let sequence = engine.snapshot().sequence();
    ensure!(
        sequence == ROUNDS as u64 + 1,
        "{ROUNDS} rounds and a beginning gave {sequence} commits"
    );
    Ok(engine.close()?)
}

/// Several names in one commit: all as expected and changed, or none.
pub(super) fn several_names_change_together_or_not_at_all(fixture: &dyn Fixture) -> Verdict {
    let (_, engine) = engine(fixture)?;
    let old = set(&engine, "a", b"old")?;
    let session = engine.session()?;
    let new = put(&session, b"new")?;
    let both = |a: Expect, b: Expect| -> Result<[Change; 2], Failure> {
        let change = |name, expect| Change {
            name,
            expect,
            to: Some(new),
        };
        Ok([change(name("a")?, a), change(name("b")?, b)])
    };
    let wrong = [
        (Expect::Is(None), Expect::Any),
        (Expect::Is(Some(new.oid)), Expect::Is(None)),
        (Expect::Is(Some(old.oid)), Expect::Is(Some(old.oid))),
    ];
    for (a, b) in wrong {
        let commit = session.commit(&both(a, b)?, None);
        refused(
            "a commit of which one name is not as expected",
            commit,
            &[ErrorKind::Conflict],
        )?;
        let snapshot = engine.snapshot();
        ensure!(
            get(&snapshot, "a")?.as_deref() == Some(b"old") && get(&snapshot, "b")?.is_none(),
            "a commit conflicted, and the names are {:?}",
            snapshot.names()
        );
    }
    let right = both(Expect::Is(Some(old.oid)), Expect::Is(None))?;
    session.commit(&right, None).wait()?;
    let snapshot = engine.snapshot();
    for of in ["a", "b"] {
        let found = get(&snapshot, of)?;
        ensure!(found.as_deref() == Some(b"new"), "{of} is {found:?}");
    }
    Ok(engine.close()?)
}

/// A conflict is not a commit: no number, no root, nothing in history.
pub(super) fn a_conflict_leaves_nothing(fixture: &dyn Fixture) -> Verdict {
    let (store, engine) = engine(fixture)?;
    let seen = set(&engine, "a", b"one")?;
    set(&engine, "a", b"two")?;
    let before = engine.snapshot().sequence();
    for _ in 0..5 {
        let session = engine.session()?;
        let late = put(&session, b"late")?;
        let change = Change::swap(name("a")?, Some(seen.oid), late);
        refused(
            "a stale swap",
            session.commit(&[change], None),
            &[ErrorKind::Conflict],
        )?;
    }
    let root = store.root(RootAt::Newest).wait()?;
    let newest = root.map(|(_, marker)| marker.sequence);
    ensure!(
        newest == Some(before),
        "the newest root is {newest:?} after {before}"
    );
    set(&engine, "a", b"three")?;
    let sequence = engine.snapshot().sequence();
    ensure!(sequence == before + 1, "the next commit is {sequence}");
    Ok(engine.close()?)
}

/// What a session stored it reads at once, before and after it is sent.
pub(super) fn a_session_reads_its_own_writes(fixture: &dyn Fixture) -> Verdict {
    let (_, engine) = engine(fixture)?;
    let session = engine.session()?;
    let mut stored = Vec::new();
    for round in 0..400_usize {
        let body = vec![round as u8; round * 11];
        let reference = put(&session, &body)?;
        let read = session.read(&reference).wait()?;
        ensure!(
            read.body() == body,
            "{reference:?} reads as {read:?} at once"
        );
        stored.push((reference, body));
        if round % 90 == 50 {
            session.commit(&[], None).wait()?;
        }
    }
    for (reference, body) in stored {
        let read = session.read(&reference).wait()?;
        ensure!(read.body() == body, "{reference:?} reads as {read:?} later");
    }
    Ok(engine.close()?)
}

/// A snapshot is one commit, whatever comes after it.
pub(super) fn a_snapshot_never_changes(fixture: &dyn Fixture) -> Verdict {
    let (_, engine) = engine(fixture)?;
    let mut taken = Vec::new();
    for round in 0..30_u8 {
        set(&engine, "a", &[round; 40])?;
        set(&engine, &format!("name {round}"), &[round])?;
        taken.push((engine.snapshot(), engine.session()?, round));
    }
    for (snapshot, session, round) in &taken {
        for of in [snapshot, session.base()] {
            let found = get(of, "a")?;
            ensure!(
                found.as_deref() == Some(&[*round; 40]),
                "a snapshot of round {round} reads {found:?}"
            );
            let names = of.names().len();
            ensure!(
                names == usize::from(*round) + 2,
                "a snapshot of round {round} has {names} names"
            );
        }
    }
    drop(taken);
    Ok(engine.close()?)
}

/// Names go and move, with the expectation honoured.
pub(super) fn names_are_dropped_and_renamed(fixture: &dyn Fixture) -> Verdict {
    let (_, engine) = engine(fixture)?;
    let one = set(&engine, "a", b"one")?;
    let two = set(&engine, "b", b"two")?;
    engine.session()?.rename(&name("a")?, &name("c")?).wait()?;
    let snapshot = engine.snapshot();
    ensure!(
        snapshot.root(&name("a")?).is_none() && snapshot.root(&name("c")?) == Some(one),
        "after a rename the names are {:?}",
        snapshot.names()
    );
    let onto = engine.session()?.rename(&name("c")?, &name("b")?);
    refused(
        "a rename onto a name that is there",
        onto,
        &[ErrorKind::Conflict],
    )?;
    let gone = engine.session()?.rename(&name("a")?, &name("d")?);
    refused(
        "a rename of a name that is gone",
        gone,
        &[ErrorKind::Conflict],
    )?;
    let session = engine.session()?;
    let drop_b = |oid| -> Result<_, Failure> { Ok([Change::drop(name("b")?, oid)]) };
    let stale = session.commit(&drop_b(one.oid)?, None);
    refused(
        "dropping a name that points elsewhere",
        stale,
        &[ErrorKind::Conflict],
    )?;
    session.commit(&drop_b(two.oid)?, None).wait()?;
    let names = engine.snapshot().names().clone();
    ensure!(
        names.len() == 1 && names.contains_key(&name("c")?),
        "one name should be left, there are {names:?}"
    );
    Ok(engine.close()?)
}

/// Every commit is found again, by its number and by its time.
pub(super) fn history_is_found_by_number_and_time(fixture: &dyn Fixture) -> Verdict {
    let (_, engine) = engine(fixture)?;
    let mut made = Vec::new();
    for round in 0..50_u8 {
        set(&engine, "a", &[round])?;
        let snapshot = engine.snapshot();
        made.push((snapshot.sequence(), snapshot.time(), round));
        fixture.env().clock.sleep(Duration::from_micros(1_500));
    }
    for (sequence, time, round) in &made {
        for at in [RootAt::Sequence(*sequence), RootAt::Time(*time)] {
            let Some(snapshot) = engine.at(at)? else {
                return Err(Failure::new(format!("nothing is found at {at:?}")));
            };
            let found = get(&snapshot, "a")?;
            ensure!(
                snapshot.sequence() == *sequence && found.as_deref() == Some(&[*round]),
                "{at:?} finds commit {} with {found:?}",
                snapshot.sequence()
            );
        }
    }
    for at in [RootAt::Sequence(51), RootAt::Time(made[0].1 - 1)] {
        let found = engine.at(at)?;
        ensure!(found.is_none(), "{at:?} finds {found:?}");
    }
    let history = engine.history().collect::<Result<Vec<_>, _>>()?;
    let back: Vec<u64> = history.iter().map(|(_, marker)| marker.sequence).collect();
    ensure!(
        back.iter().copied().eq((1..=50).rev()),
        "history goes back along {back:?}"
    );
    Ok(engine.close()?)
}

/// One thread keeps many commits on their way; each is answered with its own number.
pub(super) fn many_tickets_in_flight_are_answered_in_order(fixture: &dyn Fixture) -> Verdict {
    let (store, engine) = engine(fixture)?;
    let session = engine.session()?;
    let mut tickets = Vec::new();
    for round in 0..200_u64 {
        let reference = put(&session, &round.to_le_bytes())?;
        let change = Change::set(name(&format!("name {}", round % 7))?, reference);
        tickets.push(session.commit(&[change], None));
    }
    for (index, ticket) in tickets.into_iter().enumerate() {
        let committed = ticket.wait()?;
        ensure!(
            committed.sequence == index as u64 + 1,
            "commit {} is answered as {committed:?}",
            index + 1
        );
        let root = store.root(RootAt::Sequence(committed.sequence)).wait()?;
        ensure!(
            root.is_some_and(|(oid, _)| oid == committed.marker),
            "{committed:?} has another root"
        );
    }
    for of in 0..7_u64 {
        let last = (0..200)
            .rev()
            .find(|round| round % 7 == of)
            .unwrap_or_default();
        let found = get(&engine.snapshot(), &format!("name {of}"))?;
        ensure!(
            found.as_deref() == Some(&last.to_le_bytes()),
            "name {of} reads {found:?}"
        );
    }
    Ok(engine.close()?)
}

/// So many names that they are kept as a directory; then most of them go.
pub(super) fn a_thousand_names_are_kept(fixture: &dyn Fixture) -> Verdict {
    let (_, engine) = engine(fixture)?;
    let session = engine.session()?;
    let one = put(&session, b"one")?;
    for hundred in 0..10 {
        let changes = (0..100)
            .map(|n| Ok(Change::set(name(&format!("name {hundred} {n}"))?, one)))
            .collect::<Result<Vec<_>, Failure>>()?;
        session.commit(&changes, None).wait()?;
    }
    let kept = engine.snapshot();
    for hundred in 0..9 {
        let changes = (0..100)
            .map(|n| Ok(Change::drop(name(&format!("name {hundred} {n}"))?, one.oid)))
            .collect::<Result<Vec<_>, Failure>>()?;
        session.commit(&changes, None).wait()?;
    }
    let (then, now) = (kept.names().len(), engine.snapshot().names().len());
    ensure!((then, now) == (1000, 100), "{then} names, and then {now}");
    let again = engine.at(RootAt::Sequence(kept.sequence()))?;
    let again = again.map_or(0, |snapshot| snapshot.names().len());
    ensure!(again == 1000, "history knows {again} of them");
    Ok(engine.close()?)
}
