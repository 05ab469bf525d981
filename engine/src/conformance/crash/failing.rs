//! A call failed: whether it may, and how the store must behave from there on.

use super::marks::Branch;
use super::run::{Broken, Run, Went};
use super::subject::Subject;
use crate::conformance::sim::{Class, Fault};
use crate::contract::{Error, ErrorKind, Level};

impl Run<'_> {
    /// A call failed: is that allowed, and does the log behave from here on?
    pub(super) fn failed(
        &mut self,
        subject: &mut dyn Subject,
        error: &Error,
        what: &str,
    ) -> Result<Went, Broken> {
        if self.disk.is_down() {
            return Ok(Went::Over);
        }
        let kind = error.kind();
        match self.trial.class {
            Class::Errors if self.faults_are_on() => {
                if !matches!(kind, ErrorKind::Unavailable | ErrorKind::Closed) {
                    return Err(format!("{what} failed with the wrong kind: {error}"));
                }
                if kind == ErrorKind::Unavailable {
                    // Nothing was written yet: it was refused, and may be tried again.
                    return self.resubmit(subject).map(|()| Went::On);
                }
                self.stays_poisoned(subject)?;
            }
            Class::Full if kind == ErrorKind::Full && self.faults_are_on() => {
                return self.is_full(subject);
            }
            Class::Full if self.disk.tally().fired(Fault::FullSync) > 0 => {
                self.stays_poisoned(subject)?;
            }
            Class::Corruption => {}
            Class::Lying if matches!(kind, ErrorKind::Corrupt | ErrorKind::Closed) => {}
            _ => return Err(format!("{what} failed for no reason: {error}")),
        }
        Ok(Went::Over)
    }

    /// After a failed call nothing may be acknowledged, and old roots stay readable.
    fn stays_poisoned(&mut self, subject: &mut dyn Subject) -> Result<(), Broken> {
        self.note(Branch::Poisoned);
        for _ in 0..2 {
            let names = subject.submitted().unwrap_or_default();
            let Ok(stored) = self.store_some(subject, &names)? else {
                continue;
            };
            let asks = self.asks(&names, &stored)?;
            if subject.commit(&asks, Level::Disk).wait().is_ok() {
                return Err("a commit was acknowledged after a failed call".to_owned());
            }
        }
        let names = subject.shown().map_err(|error| error.to_string())?;
        self.read_all(subject, &names)
    }

    /// No room: everything stays readable, and goes on once there is room again.
    fn is_full(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        self.note(Branch::Full);
        let names = subject.shown().map_err(|error| error.to_string())?;
        self.read_all(subject, &names)?;
        self.resubmit(subject)?;
        if self.rng.chance(1, 2) {
            return Ok(Went::Over);
        }
        self.disk.quiet();
        self.disk.crash_never();
        if self.commit(subject)? == Went::On {
            self.note(Branch::WentOn);
            Ok(Went::On)
        } else {
            Err("there is room again, and still no commit".to_owned())
        }
    }

    /// A commit that was refused may not have been made: looks whether it was.
    fn resubmit(&mut self, subject: &mut dyn Subject) -> Result<(), Broken> {
        let names = subject.submitted().map_err(|error| error.to_string())?;
        while self.line.newest() > 0 && *self.line.names(self.line.newest()) != names {
            self.line.withdraw();
        }
        if *self.line.names(self.line.newest()) == names {
            Ok(())
        } else {
            Err("after a refusal the names are none that were asked".to_owned())
        }
    }
}
