//! Two writers on one store: the second takes over while the first still lives, and from then on the
//! first is refused, whatever it tries.

use super::line::Ending;
use super::marks::Branch;
use super::run::{Broken, Run, Went};
use super::subject::Subject;
use crate::contract::{ErrorKind, Level};

impl Run<'_> {
    /// Another writer opens the same store and goes on in place of this one.
    pub(super) fn usurp(&mut self, subject: &mut Box<dyn Subject>) -> Result<Went, Broken> {
        let Some(store) = self.store.clone() else {
            return Ok(Went::On);
        };
        self.disk.say(|| "> another writer takes over".to_owned());
        let newer = match self.subject_on(store, false) {
            Ok(newer) => newer,
            Err(error) => return self.failed(&mut **subject, &error, "taking over"),
        };
        // What the first had not sent is gone, as after a kill.
        self.ending = self.ending.max(Ending::Killed);
        let mut stale = std::mem::replace(subject, newer);
        self.judge(&mut **subject)?;
        let mut went = self.commit(&mut **subject)?;
        if went == Went::On {
            self.is_refused(&mut *stale)?;
            went = self.commit(&mut **subject)?;
        }
        // It lives as long as the process.
        self.stale.push(stale);
        Ok(went)
    }

    fn is_refused(&mut self, stale: &mut dyn Subject) -> Result<(), Broken> {
        let names = stale.submitted().unwrap_or_default();
        let refused = match self.store_some(stale, &names)? {
            Err(error) => error,
            Ok(stored) => {
                let asks = self.asks(&names, &stored)?;
                match stale.commit(&asks, Level::Disk).wait() {
                    Err(error) => error,
                    Ok(sequence) => {
                        return Err(format!(
                            "commit {sequence} of a writer was acknowledged after another took over"
                        ));
                    }
                }
            }
        };
        if refused.kind() == ErrorKind::Fenced {
            self.note(Branch::Fenced);
            return Ok(());
        }
        if self.disk.is_down() {
            return Ok(());
        }
        Err(format!(
            "another writer took over, and the first is told: {refused}"
        ))
    }
}
