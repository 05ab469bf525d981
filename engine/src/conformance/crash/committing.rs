//! Commits, alone or in flight together, and what becomes of them.

use super::marks::Branch;
use super::run::{Broken, Run, Went};
use super::scribe::mark_name;
use super::subject::{Ask, Subject};
use crate::contract::{Error, ErrorKind, Level, Name, Names, Reference};

impl Run<'_> {
    /// One commit, or several in flight together.
    pub(super) fn commit(&mut self, subject: &mut dyn Subject) -> Result<Went, Broken> {
        let together = if self.rng.chance(1, 6) {
            1 + self.rng.below(5)
        } else {
            1
        };
        let mut flight = Vec::new();
        for _ in 0..together {
            let names = match subject.submitted() {
                Ok(names) => names,
                Err(error) => return self.failed(subject, &error, "looking"),
            };
            let stored = match self.store_some(subject, &names)? {
                Ok(stored) => stored,
                Err(error) => return self.failed(subject, &error, "a store"),
            };
            let asks = self.asks(&names, &stored)?;
            let mut after = names;
            for ask in &asks {
                match ask.to {
                    Some(to) => after.insert(ask.name.clone(), to),
                    None => after.remove(&ask.name),
                };
            }
            let level = if self.rng.chance(1, 5) {
                self.note(Branch::LowLevel);
                [Level::Memory, Level::Os][self.rng.below_usize(2)]
            } else {
                Level::Disk
            };
            let number = self.line.submit(after.clone());
            let ticket = subject.commit(&asks, level);
            flight.push((number, level, after, ticket));
        }
        if flight.len() > 1 {
            self.note(Branch::InFlight);
        }
        if self.rng.chance(1, 30) {
            // Whoever does not wait is told nothing; the commit goes its way.
            self.note(Branch::Forgotten);
            return Ok(Went::On);
        }
        let mut over = Went::On;
        for (number, level, after, ticket) in flight {
            match ticket.wait() {
                Ok(sequence) => {
                    self.disk
                        .say(|| format!("> commit {number} at {level}: {sequence}"));
                    if over == Went::Over && self.disk.is_down() {
                        return Err("a commit was acknowledged after one that failed".to_owned());
                    }
                    self.commits += 1;
                    self.line.ack(number, level);
                    self.numbered.push((sequence, after));
                }
                Err(error) => {
                    self.disk
                        .say(|| format!("> commit {number} at {level}: {error}"));
                    if error.kind() == ErrorKind::Conflict {
                        return Err(format!("a commit that fits was refused: {error}"));
                    }
                    over = self.failed(subject, &error, "a commit")?;
                }
            }
        }
        Ok(over)
    }

    pub(super) fn asks(&mut self, names: &Names, stored: &[Reference]) -> Result<Vec<Ask>, Broken> {
        let text = |error: Error| error.to_string();
        let mark = mark_name().map_err(text)?;
        let now = |name: &Name| names.get(name).map(|reference| reference.oid);
        let mut asks = vec![Ask {
            expect: self.rng.chance(1, 2).then(|| now(&mark)),
            name: mark,
            to: stored.last().copied(),
        }];
        for letter in ["a", "b", "c", "d", "e"] {
            if self.rng.chance(1, 5) {
                let name = Name::new(letter).map_err(text)?;
                let drop = names.contains_key(&name) && self.rng.chance(1, 3);
                asks.push(Ask {
                    expect: self.rng.chance(1, 2).then(|| now(&name)),
                    name,
                    to: if drop {
                        None
                    } else {
                        self.rng.pick(stored).copied()
                    },
                });
            }
        }
        Ok(asks)
    }
}
