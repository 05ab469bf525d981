//! What a process does until it ends: stores, commits, looks, in an order drawn from the seed.

use std::time::Duration;

use super::marks::Branch;
use super::run::{Broken, Run, Went};
use super::subject::{Ask, Subject};
use crate::conformance::sim::Class;
use crate::contract::{Error, ErrorKind, Level, Names, Oid, Reference, Result};

impl Run<'_> {
    pub(super) fn work(&mut self, subject: &mut Box<dyn Subject>) -> Result<(), Broken> {
        if self.looked {
            return Ok(());
        }
        if self.rng.chance(3, 4) {
            let most = if self.rng.chance(1, 2) { 30 } else { 250 };
            let calls = 1 + self.rng.below(most);
            self.disk.crash_in(calls);
        }
        if self.trial.class == Class::Full && self.rng.chance(2, 3) {
            let room = self.rng.below(600 << 10);
            self.disk.set_capacity(Some(self.disk.used() + room));
        }
        for _ in 0..self.rng.below(40) {
            if self.step(subject)? == Went::Over {
                break;
            }
        }
        Ok(())
    }

    fn step(&mut self, subject: &mut Box<dyn Subject>) -> Result<Went, Broken> {
        if self.trial.class == Class::Crash && self.rng.chance(1, 60) {
            return self.usurp(subject);
        }
        let subject = &mut **subject;
        match self.rng.below(20) {
            0 => self.store_only(subject),
            1 => self.conflict(subject),
            2 => {
                let names = subject.shown().map_err(|error| error.to_string())?;
                self.read_all(subject, &names)?;
                Ok(Went::On)
            }
            3 => self.travel(subject),
            4 => {
                self.env
                    .advance(Duration::from_millis(self.rng.below(5_000)));
                Ok(Went::On)
            }
            5 => match subject.prove() {
                Ok(()) => Ok(Went::On),
                Err(error) => self.failed(subject, &error, "a proof"),
            },
            6 => {
                self.look_from_outside_while_writing()?;
                Ok(Went::On)
            }
            7 if self.rng.chance(1, 2) => self.hoard(subject),
            _ => self.commit(subject),
        }
    }

    /// Stores much and commits nothing, so that positions run out before anything is durable.
    fn hoard(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        let names = Names::new();
        for _ in 0..self.rng.below(200) {
            if let Err(error) = self.store_some(subject, &names)? {
                return self.failed(subject, &error, "a store");
            }
        }
        Ok(Went::On)
    }

    /// Stores some records that name each other and older ones.
    pub(super) fn store_some(
        &mut self,
        subject: &mut dyn Subject,
        names: &Names,
    ) -> Result<Result<Vec<Reference>>, Broken> {
        let mut stored: Vec<Reference> = Vec::new();
        let older: Vec<Reference> = names.values().copied().collect();
        for _ in 0..=self.rng.below(4) {
            let mut references = Vec::new();
            for _ in 0..self.rng.below(4) {
                let among = if self.rng.chance(1, 2) {
                    &stored
                } else {
                    &older
                };
                references.extend(self.rng.pick(among).copied());
            }
            let draft = self.values.draft(&mut self.rng, references);
            match draft.with_record(|record| subject.store(record)) {
                Ok(reference) => {
                    self.values.stored(draft, reference)?;
                    stored.push(reference);
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(stored))
    }

    fn store_only(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        let names = Names::new();
        match self.store_some(subject, &names)? {
            Ok(stored) => {
                for reference in stored {
                    match subject.read(&reference) {
                        Ok(record) => self.values.check(&reference, &record)?,
                        Err(error) => self.may_not_read(&reference, &error)?,
                    }
                }
                Ok(Went::On)
            }
            Err(error) => self.failed(subject, &error, "a store"),
        }
    }

    fn conflict(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        let names = match subject.submitted() {
            Ok(names) => names,
            Err(error) => return self.failed(subject, &error, "looking"),
        };
        let Some((name, to)) = names.iter().next() else {
            return Ok(Went::On);
        };
        let ask = Ask {
            name: name.clone(),
            expect: Some(Oid::from_raw(to.oid.raw() ^ 1)),
            to: Some(*to),
        };
        match subject.commit(&[ask], Level::Disk).wait() {
            Ok(_) => Err(format!("a commit took {name}, which pointed elsewhere")),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.note(Branch::Conflict);
                Ok(Went::On)
            }
            Err(error) => self.failed(subject, &error, "a commit"),
        }
    }

    fn travel(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        let Some((sequence, names)) = self.rng.pick(&self.numbered).cloned() else {
            return Ok(Went::On);
        };
        match subject.at(sequence) {
            Ok(Some(then)) if then == names => {
                self.note(Branch::TimeTravel);
                Ok(Went::On)
            }
            Ok(then) => Err(format!(
                "commit {sequence} had names {names:?}, and is shown with {then:?}"
            )),
            Err(error) => {
                self.may_fail_to_look(&error)?;
                Ok(Went::On)
            }
        }
    }

    fn may_fail_to_look(&self, error: &Error) -> Result<(), Broken> {
        if self.disk.is_down() || !self.is_honest() || self.faults_are_on() {
            return Ok(());
        }
        Err(format!("an old commit cannot be looked at: {error}"))
    }

    fn look_from_outside_while_writing(&mut self) -> Result<(), Broken> {
        if self.disk.is_down() {
            return Ok(());
        }
        self.look_from_outside()
    }
}
