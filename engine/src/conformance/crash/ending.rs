//! How a process ends, and what happens to the disk while none runs.

use super::line::Ending;
use super::run::{Broken, Run};
use super::subject::Subject;
use crate::conformance::sim::Class;
use crate::contract::Level;

impl Run<'_> {
    pub(super) fn end(&mut self, subject: Box<dyn Subject>) -> Result<(), Broken> {
        let fails = self.trial.class == Class::Errors;
        let closes = if fails { 2 } else { 1 };
        if !self.disk.is_down() && !self.looked && self.rng.chance(closes, 4) {
            if fails && self.faults_are_on() && self.rng.chance(2, 3) {
                // A sync of the close is the one whose failure is forgotten most easily.
                self.disk.fail_sync_after(self.rng.below(2));
            } else if self.rng.chance(1, 3) {
                self.disk.crash_in(1 + self.rng.below(8));
            }
            let closed = self.close(subject);
            self.forget();
            return closed;
        }
        self.die();
        drop(subject);
        self.forget();
        Ok(())
    }

    pub(super) fn close(&mut self, mut subject: Box<dyn Subject>) -> Result<(), Broken> {
        // One that may not write any more closes without a promise.
        let names = subject.submitted();
        let closed = subject.close();
        self.disk.fail_no_sync();
        match closed {
            Ok(()) => {
                self.disk.say(|| "> closed".to_owned());
                let newest = self.line.newest();
                // A close that succeeds made everything durable that was submitted.
                if names.is_ok_and(|names| names == *self.line.names(newest)) {
                    self.line.ack(newest, Level::Disk);
                }
                drop(subject);
                self.ending = self.ending.max(Ending::Closed);
                if self.rng.chance(1, 3) {
                    self.disk.power_cut();
                    self.reader_saw_since = 0;
                    self.ending = Ending::PowerCut;
                }
            }
            Err(error) => {
                if !self.disk.is_down() && self.is_honest() && !self.faults_are_on() {
                    return Err(format!("closing failed: {error}"));
                }
                if self.rng.chance(1, 2) {
                    // Pages that a failed sync dropped are seen until the power goes.
                    self.disk.kill();
                    self.ending = self.ending.max(Ending::Killed);
                } else {
                    self.die();
                }
            }
        }
        Ok(())
    }

    /// Nothing of a process is left in memory.
    fn forget(&mut self) {
        self.stale.clear();
        self.store = None;
    }

    /// The process dies, and what it still does has no effect.
    pub(super) fn die(&mut self) {
        let how = if self.rng.chance(1, 3) {
            self.disk.kill();
            Ending::Killed
        } else {
            self.disk.power_cut();
            self.reader_saw_since = 0;
            Ending::PowerCut
        };
        self.ending = self.ending.max(how);
    }

    /// Something on the disk is damaged while nobody looks.
    pub(super) fn damage(&mut self) {
        let files = self.disk.files();
        let files: Vec<_> = files
            .iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .collect();
        if let Some((name, bytes)) = self.rng.pick(&files) {
            // Zeros written ahead are most of some files: look for a byte that means something.
            for _ in 0..64 {
                let at = self.rng.below(bytes.len() as u64);
                if bytes[at as usize] != 0 {
                    self.disk.flip(name, at * 8 + self.rng.below(8));
                    break;
                }
            }
        }
    }
}
