//! Opening: a process comes up, through crashes and errors in the middle of it.

use std::sync::Arc;

use super::echo::Echo;
use super::front::Front;
use super::marks::Branch;
use super::run::{Broken, Run, Went};
use super::scribe::Scribe;
use super::subject::Subject;
use super::trial::Writer;
use super::watch::Watch;
use crate::conformance::sim::Class;
use crate::contract::{Error, ErrorKind, Result, Store};

impl Run<'_> {
    /// Opens a process that writes, through crashes and errors, and judges what it finds. `None`:
    /// the disk is damaged, and the log said so.
    pub(super) fn open(&mut self, crashes: bool) -> Result<Option<Box<dyn Subject>>, Broken> {
        let mut died = 0;
        for attempt in 0.. {
            self.note_leftovers();
            if crashes && died < 3 && self.rng.chance(2, 5) {
                let most = if self.rng.chance(1, 2) { 8 } else { 40 };
                let calls = self.rng.below(most);
                self.disk.crash_in(calls + 1);
            }
            let bytes = self.disk.tally().bytes;
            self.disk.say(|| "> opening".to_owned());
            let plan = self.disk.plan();
            if self.spared {
                self.disk.set_plan(plan.quiet());
            }
            let opened = self.open_subject(false);
            self.disk.set_plan(plan);
            if self.disk.is_down() {
                self.note(
                    [
                        Branch::CrashInRecovery,
                        Branch::CrashInRecoveryAgain,
                        Branch::CrashInRecoveryThrice,
                    ][died],
                );
                died += 1;
                drop(opened);
                self.die();
                continue;
            }
            self.disk.crash_never();
            if self.disk.tally().bytes > bytes + 200 {
                self.note(Branch::Rewrote);
            }
            match opened {
                Ok(mut subject) => {
                    if attempt > died as u32 {
                        self.note(Branch::OpenedLater);
                    }
                    return match self.judge(&mut *subject)? {
                        Went::On => Ok(Some(subject)),
                        Went::Over => Ok(None),
                    };
                }
                Err(error) => {
                    self.die();
                    if !self.may_refuse(&error)? {
                        return Ok(None);
                    }
                    if attempt > 6 {
                        self.disk.quiet();
                    }
                    if attempt > 12 {
                        return Err(format!("the log never opens again: {error}"));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether an error at opening is allowed. `Ok(false)`: allowed, and final.
    fn may_refuse(&self, error: &Error) -> Result<bool, Broken> {
        let kind = error.kind();
        match self.trial.class {
            Class::Errors if self.faults_are_on() && kind == ErrorKind::Unavailable => Ok(true),
            Class::Errors if self.faults_are_on() && kind == ErrorKind::Closed => Ok(true),
            Class::Full if self.faults_are_on() && is_of_full(kind) => Ok(true),
            Class::Corruption => {
                self.note(Branch::DamageAtOpen);
                Ok(false)
            }
            Class::Lying => {
                self.note(Branch::LieCaught);
                Ok(false)
            }
            _ => Err(format!("opening failed: {error}")),
        }
    }

    pub(super) fn open_subject(&mut self, read_only: bool) -> Result<Box<dyn Subject>> {
        let medium = self.disk.medium();
        let store = self
            .bottom
            .open(&medium, self.env.env(), read_only, self.trial)?;
        let (marks, broken) = (self.marks.clone(), self.broken.clone());
        let store = Arc::new(Echo::new(store, marks, broken, self.rng.next_u64()));
        let store: Arc<dyn Store> = Arc::new(Watch::new(store, self.marks.clone()));
        if !read_only {
            self.store = Some(store.clone());
        }
        self.subject_on(store, read_only)
    }

    pub(super) fn subject_on(
        &self,
        store: Arc<dyn Store>,
        read_only: bool,
    ) -> Result<Box<dyn Subject>> {
        let seed = self.trial.seed;
        let flush = [1 << 10, 16 << 10, 256 << 10][(seed % 3) as usize];
        match self.trial.writer {
            Writer::Scribe => {
                let scribe = Scribe::open(store, self.env.env(), flush, read_only)?;
                Ok(Box::new(scribe))
            }
            Writer::Front => {
                let front = Front::open(store, self.env.env(), flush, read_only)?;
                Ok(Box::new(front))
            }
        }
    }

    fn note_leftovers(&self) {
        let files = self.disk.files();
        let segments: Vec<_> = files
            .iter()
            .filter(|(name, _)| name.contains("seg-"))
            .collect();
        if segments.len() > 1 {
            self.note(Branch::ManySegments);
        }
        if segments
            .last()
            .is_some_and(|(_, bytes)| !bytes.starts_with(b"TRAVSEG"))
        {
            self.note(Branch::HeadlessSegment);
        }
        if files.iter().any(|(name, _)| name.ends_with(".new")) {
            self.note(Branch::HalfReplaced);
        }
        if files.iter().any(|(name, _)| name.ends_with("spare")) {
            self.note(Branch::SpareLeft);
        }
    }
}

fn is_of_full(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Full | ErrorKind::Closed | ErrorKind::Unavailable
    )
}
