//! Reclaims: what stays reads on, what does not is absent or as it was, and nobody else is asked.
//!
//! A stack that gives nothing back says so, `Unsupported`; that is an answer, and these checks print it.

use std::collections::BTreeMap;

use super::bones::Bones;
use super::check::{Failure, Verdict, ensure, refused};
use super::fixture::{Crash, Fixture};
use crate::contract::{ErrorKind, Freed, Oid, Position, Reclaim, Reference, Store};

/// A writer, and what it stored: enough for a few of the smallest segments.
struct Filled {
    bones: Bones,
    stored: BTreeMap<Oid, Vec<u8>>,
    /// Everything up to here is durable.
    to: Position,
}

const ROUNDS: usize = 40;

impl Filled {
    fn new(fixture: &dyn Fixture) -> Result<Self, Failure> {
        let mut filled = Self {
            bones: Bones::begin(fixture)?,
            stored: BTreeMap::new(),
            to: Position::START,
        };
        for round in 0..ROUNDS {
            filled.store(round)?;
            filled.bones.commit()?;
        }
        filled.to = filled.bones.before.position;
        // What comes last is open still.
        filled.store(ROUNDS)?;
        filled.bones.commit()?;
        Ok(filled)
    }

    fn store(&mut self, round: usize) -> Result<(), Failure> {
        let bodies: Vec<Vec<u8>> = (0..4)
            .map(|at| vec![(round * 4 + at) as u8; 3_000 + 7 * at])
            .collect();
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let references: Vec<Reference> = self.bones.store(&bodies)?;
        let oids = references.iter().map(|reference| reference.oid);
        let stored = oids.zip(bodies.iter().map(|body| body.to_vec()));
        self.stored.extend(stored);
        Ok(())
    }

    /// A decision that keeps each record that this says of, by its number.
    fn decision(&self, keep: impl Fn(usize) -> bool) -> Reclaim {
        let oids = self.stored.keys().enumerate();
        let stays = oids.filter(|(at, oid)| keep(*at) && oid.position() < self.to);
        Reclaim {
            sender: self.bones.epoch,
            stream: self.bones.stream,
            from: Position::START,
            to: self.to,
            alive: stays.map(|(_, oid)| oid.position()).collect(),
            left: None,
        }
    }

    /// Carries a decision out; `None`: the stack gives nothing back.
    fn reclaim(&self, decision: &Reclaim) -> Result<Option<Freed>, Failure> {
        match self.bones.store.reclaim(decision.clone()).wait() {
            Ok(freed) => Ok(Some(freed)),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                println!("not offered: {error}");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Carries a decision out in runs, each of so many records that stay; `None`: the stack gives nothing
    /// back.
    fn reclaim_in_runs(&self, decision: &Reclaim, most: usize) -> Result<Option<()>, Failure> {
        let (mut from, mut most) = (decision.from, most);
        while from < decision.to {
            let rest = decision.alive_in(from, decision.to);
            let to = rest.get(most).copied().unwrap_or(decision.to);
            let run = decision.within(from, to);
            let Some(freed) = self.reclaim(&run)? else {
                return Ok(None);
            };
            ensure!(freed.to <= to, "of {from}..{to} it did {freed:?}");
            if freed.to <= from {
                most *= 2;
            }
            from = match to == decision.to {
                true => to,
                false => freed.to.max(from),
            };
        }
        Ok(Some(()))
    }

    /// What stays, and what no decision spoke of, reads as it was; the rest does, or is absent.
    fn check(&self, store: &dyn Store, decision: &Reclaim) -> Result<usize, Failure> {
        let mut absent = 0;
        for (oid, body) in &self.stored {
            match store.read(*oid).wait()? {
                Some(record) => ensure!(record.body() == body, "{oid} reads as {record:?}"),
                None => {
                    let position = oid.position();
                    let stays = position >= decision.to || decision.alive.contains(&position);
                    ensure!(!stays, "{oid} must stay, and is absent");
                    absent += 1;
                }
            }
        }
        Ok(absent)
    }
}

/// Of a run of durable records each that stays is found, and each other one too, or absent.
pub(super) fn what_does_not_stay_is_absent_and_all_else_reads_on(fixture: &dyn Fixture) -> Verdict {
    let mut filled = Filled::new(fixture)?;
    let decision = filled.decision(|at| at % 5 == 0);
    if filled.reclaim(&decision)?.is_some() {
        filled.check(&*filled.bones.store, &decision)?;
        filled.store(ROUNDS + 1)?;
        filled.bones.commit()?;
        filled.check(&*filled.bones.store, &decision)?;
    }
    Ok(filled.bones.store.close().wait()?)
}

/// The same decision again frees nothing; one that keeps less may free more.
pub(super) fn giving_back_again_changes_nothing_and_more_is_more(fixture: &dyn Fixture) -> Verdict {
    let filled = Filled::new(fixture)?;
    let some = filled.decision(|at| at % 2 == 0);
    if filled.reclaim(&some)?.is_some() {
        let absent = filled.check(&*filled.bones.store, &some)?;
        let again = filled.reclaim(&some)?;
        let again = again.ok_or_else(|| Failure::new("a reclaim was offered, and is not now"))?;
        ensure!(again.bytes == 0, "the same again gave back {again:?}");
        let still = filled.check(&*filled.bones.store, &some)?;
        ensure!(absent == still, "{absent} were absent, {still} are now");
        let few = filled.decision(|at| at % 10 == 0);
        filled.reclaim(&few)?;
        let more = filled.check(&*filled.bones.store, &few)?;
        ensure!(more >= absent, "{absent} were absent, {more} are now");
    }
    Ok(filled.bones.store.close().wait()?)
}

/// A scan gives what is left, in order, with no other records.
pub(super) fn a_scan_gives_what_a_reclaim_left(fixture: &dyn Fixture) -> Verdict {
    let filled = Filled::new(fixture)?;
    let decision = filled.decision(|at| at % 3 == 0);
    if filled.reclaim(&decision)?.is_some() {
        let store = &*filled.bones.store;
        let (mut found, mut from) = (Vec::new(), Position::START);
        loop {
            let some = store.scan(filled.bones.stream, from).wait()?;
            for batch in &some.batches {
                found.extend(batch.records());
            }
            found.extend(some.sparse.into_iter().flat_map(|left| left.records));
            match some.next {
                Some(next) if next > from => from = next,
                Some(next) => return Err(Failure::new(format!("{next} follows {from}"))),
                None => break,
            }
        }
        let mut there = Vec::new();
        for oid in filled.stored.keys() {
            if store.read(*oid).wait()?.is_some() {
                there.push(*oid);
            }
        }
        let told: Vec<_> = found.iter().map(|(oid, _)| *oid).collect();
        ensure!(
            told == there,
            "a scan tells of {told:?}, there are {there:?}"
        );
        for (oid, record) in &found {
            record.verify(*oid)?;
        }
    }
    Ok(filled.bones.store.close().wait()?)
}

/// What was given back, run after run, is absent whoever opens the stack, and what stays is there.
pub(super) fn what_was_given_back_stays_so_through_an_opening(fixture: &dyn Fixture) -> Verdict {
    let filled = Filled::new(fixture)?;
    let decision = filled.decision(|at| at % 4 == 0);
    if filled.reclaim_in_runs(&decision, 9)?.is_none() {
        return Ok(filled.bones.store.close().wait()?);
    }
    let absent = filled.check(&*filled.bones.store, &decision)?;
    filled.bones.store.close().wait()?;
    let store = super::bones::open(fixture)?;
    let still = filled.check(&*store, &decision)?;
    ensure!(absent == still, "{absent} were absent, {still} are now");
    let mut bones = Bones::over(store, fixture.env())?;
    bones.store(&[b"it goes on"])?;
    bones.commit()?;
    let still = filled.check(&*bones.store, &decision)?;
    ensure!(absent == still, "{absent} were absent, {still} are now");
    Ok(bones.store.close().wait()?)
}

/// Power that goes at any call of a reclaim takes nothing that stays.
pub(super) fn a_power_cut_within_a_reclaim_takes_nothing_that_stays(
    fixture: &dyn Fixture,
) -> Verdict {
    let mut filled = Filled::new(fixture)?;
    for call in 1..12 {
        let decision = filled.decision(|at| at % 4 == 0);
        if let Some(machine) = fixture.machine() {
            machine.disk().crash_in(call);
        }
        let told = filled.bones.store.reclaim(decision.clone()).wait();
        if let Some(machine) = fixture.machine() {
            machine.disk().crash_never();
        }
        if told.is_err_and(|error| error.kind() == ErrorKind::Unsupported) {
            break;
        }
        fixture.crash(Crash::PowerCut);
        let store = super::bones::open(fixture)?;
        filled.check(&*store, &decision)?;
        filled.bones = Bones::over(store, fixture.env())?;
        filled.check(&*filled.bones.store, &decision)?;
    }
    Ok(())
}

/// A decision that contradicts itself, or speaks of another stream, is refused.
pub(super) fn a_decision_out_of_order_is_refused(fixture: &dyn Fixture) -> Verdict {
    let filled = Filled::new(fixture)?;
    let decision = filled.decision(|at| at % 2 == 0);
    let backwards: Vec<_> = decision.alive.iter().rev().copied().collect();
    for alive in [backwards, vec![decision.to]] {
        let wrong = Reclaim {
            alive: alive.into(),
            ..decision.clone()
        };
        refused(
            "a decision out of order",
            filled.bones.store.reclaim(wrong),
            &[ErrorKind::Invalid, ErrorKind::Unsupported],
        )?;
    }
    filled.check(&*filled.bones.store, &decision)?;
    Ok(filled.bones.store.close().wait()?)
}

/// Who was taken over decides no more.
pub(super) fn an_older_sender_may_not_reclaim(fixture: &dyn Fixture) -> Verdict {
    let mut filled = Filled::new(fixture)?;
    let late = filled.decision(|_| false);
    filled.bones = Bones::over(filled.bones.store.clone(), fixture.env())?;
    refused(
        "a decision of an older epoch",
        filled.bones.store.reclaim(late.clone()),
        &[ErrorKind::Fenced, ErrorKind::Unsupported],
    )?;
    for (oid, body) in &filled.stored {
        let found = super::bones::there(&*filled.bones.store, *oid)?;
        ensure!(found.body() == body, "{oid} reads as {found:?}");
    }
    Ok(filled.bones.store.close().wait()?)
}
