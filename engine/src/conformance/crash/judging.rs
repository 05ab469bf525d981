//! Judging: what a process finds is held against what was promised, and read whole; by the process
//! itself, or by another one that only reads.

use super::line::{Ending, Trust};
use super::marks::Branch;
use super::run::{Broken, Run, Went};
use super::subject::Subject;
use crate::conformance::sim::{Class, Fault};
use crate::contract::{Error, ErrorKind, Names, Reference};

impl Run<'_> {
    /// Holds what was recovered against what was promised, and reads all of it.
    pub(super) fn judge(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        let names = subject
            .shown()
            .map_err(|error| format!("an open log does not tell its names: {error}"))?;
        self.weigh_damage();
        let floor = self
            .line
            .floor(self.ending, self.trust)
            .max(if self.trust == Trust::All {
                self.reader_saw
            } else {
                0
            });
        self.disk.say(|| {
            let number = self.line.find(&names);
            format!(
                "> after {:?} recovered {number:?}, floor {floor}",
                self.ending
            )
        });
        let standing = self.line.recovered(&names, self.ending, self.trust)?;
        if standing.number < floor {
            return Err(format!(
                "a reader saw commit {}, and commit {} was recovered",
                self.reader_saw, standing.number
            ));
        }
        if standing.kept_unknown {
            self.note(Branch::KeptUnknown);
        }
        if standing.lost_unknown > 0 {
            self.note(Branch::LostUnknown);
        }
        if standing.lost_acked {
            self.note(match self.trial.class {
                Class::Lying => Branch::OlderState,
                _ => Branch::DamageMissed,
            });
        }
        if self.looked && self.ending == Ending::PowerCut {
            self.note(Branch::PowerCutAfterLook);
        }
        self.reader_saw = self.reader_saw.min(standing.number);
        self.reader_saw_since = 0;
        self.numbered
            .retain(|(_, names)| self.line.find(names).is_some());
        self.ending = Ending::Closed;
        self.looked = false;
        self.read_all(subject, &names)?;
        if !standing.lost_acked && self.damages() > 0 {
            self.note(Branch::DamageHarmless);
        }
        // A look and nothing more, sometimes: what was seen must stay.
        if self.rng.chance(1, 6) {
            self.looked = true;
        }
        Ok(Went::On)
    }

    /// One damage can pass for a torn write in the newest bytes, several can hide any of them.
    fn weigh_damage(&mut self) {
        if self.trial.class == Class::Corruption {
            self.trust = match self.damages() {
                0 => Trust::SyncedOnly,
                1 => Trust::ButTheLastSync,
                _ => Trust::Any,
            };
        }
    }

    fn damages(&self) -> u64 {
        let tally = self.disk.tally();
        let damages = Class::Corruption.faults().iter();
        damages.map(|&fault| tally.fired(fault)).sum()
    }

    /// Reads everything that names reach. Never wrong bytes, never absent.
    pub(super) fn read_all(&mut self, subject: &dyn Subject, names: &Names) -> Result<(), Broken> {
        let mut damaged = false;
        for reference in self.values.reached(names.values()) {
            match subject.read(&reference) {
                Ok(record) => self.values.check(&reference, &record)?,
                Err(error) => {
                    self.may_not_read(&reference, &error)?;
                    damaged = true;
                }
            }
            if self.disk.is_down() {
                return Ok(());
            }
        }
        if damaged && self.trial.class == Class::Corruption {
            self.note(Branch::DamageAtRead);
        }
        Ok(())
    }

    pub(super) fn may_not_read(&self, reference: &Reference, error: &Error) -> Result<(), Broken> {
        let kind = error.kind();
        let allowed = match self.trial.class {
            _ if self.disk.is_down() => true,
            Class::Errors => self.faults_are_on() && kind == ErrorKind::Unavailable,
            Class::Corruption | Class::Lying => {
                matches!(kind, ErrorKind::Corrupt | ErrorKind::Unavailable)
            }
            Class::Crash | Class::Full => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(format!("{} cannot be read: {error}", reference.oid))
        }
    }

    /// A second process looks, without writing.
    pub(super) fn look_from_outside(&mut self) -> Result<(), Broken> {
        let before = self.disk.tally();
        let dropped = [Fault::SyncDropped, Fault::SyncDroppedPartly];
        let evicted = before.fired(Fault::Eviction);
        if std::mem::replace(&mut self.evicted, evicted) < evicted
            && dropped.into_iter().any(|fault| before.fired(fault) > 0)
        {
            self.reader_saw_since = 0;
        }
        let looked = self
            .open_subject(true)
            .and_then(|subject| Ok((subject.shown()?, subject)));
        let after = self.disk.tally();
        if (before.writes, before.changes) != (after.writes, after.changes) {
            return Err("a process that only reads changed something".to_owned());
        }
        match looked {
            Ok((names, subject)) => {
                self.disk
                    .say(|| format!("> a reader saw {:?}", self.line.find(&names)));
                let Some(number) = self.line.find(&names) else {
                    return Err(format!("a reader saw a state that never was: {names:?}"));
                };
                if number < self.reader_saw_since && self.is_honest() {
                    return Err(format!(
                        "a reader saw commit {number} after commit {}",
                        self.reader_saw_since
                    ));
                }
                self.reader_saw = self.reader_saw.max(number);
                self.reader_saw_since = number;
                self.note(Branch::ReaderLooked);
                self.read_all(&*subject, &names)
            }
            // There may be nothing to look at yet.
            Err(error) if error.kind() == ErrorKind::Invalid && self.line.newest() == 0 => Ok(()),
            Err(_) if !self.is_honest() || self.faults_are_on() => Ok(()),
            Err(error) => Err(format!("a reader cannot open: {error}")),
        }
    }
}
