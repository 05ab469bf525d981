//! The root oracle: which states a crash may leave.
//!
//! ```text
//!   submitted   s0 ── s1 ── s2 ── s3 ── s4 ── s5
//!   acked                   disk        os              floor after a power cut: s2
//!                                                       floor after a kill:      s4
//!   recovered                     ok    ok    ok        s0, s1: lost;  anything else: invented
//! ```
//!
//! A state is the names and what they point to. What was recovered was seen, so no later crash may
//! go below it: it is the new floor, and what lay above it is gone for good.

use crate::contract::{Level, Names};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// The log was closed.
    Closed,
    /// The process was killed.
    Killed,
    /// The power went.
    PowerCut,
}

/// How much the disk of this run can be held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nothing acknowledged may be missing.
    All,
    /// Nothing that a sync answered for may be missing: the system may have dropped other pages.
    SyncedOnly,
    /// What was acknowledged by the last sync may be missing: damage in the newest bytes looks as
    /// a torn write does.
    ButTheLastSync,
    /// Any state that once was.
    Any,
}

#[derive(Debug, Clone)]
struct State {
    names: Names,
    reached: Option<Level>,
    /// Which sync brought it to disk.
    sync: u64,
}

/// All states since the beginning that may still be, oldest first.
#[derive(Debug)]
pub(super) struct Line {
    states: Vec<State>,
    syncs: u64,
}

/// Where a recovered state stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its number.
    pub(super) number: usize,
    /// Whether it, or some state after it, had been acknowledged: then it is a loss.
    pub(super) lost_acked: bool,
    /// How many states are gone that nobody had been told of.
    pub(super) lost_unknown: usize,
    /// Whether it was never acknowledged, and is here all the same.
    pub(super) kept_unknown: bool,
}

impl Line {
    /// The line of an empty log.
    pub(super) fn new() -> Self {
        let empty = State {
            names: Names::new(),
            reached: Some(Level::Disk),
            sync: 0,
        };
        Self {
            states: vec![empty],
            syncs: 0,
        }
    }

    /// Notes a commit before it is asked for, and gives its number.
    pub(super) fn submit(&mut self, names: Names) -> usize {
        self.states.push(State {
            names,
            reached: None,
            sync: 0,
        });
        self.states.len() - 1
    }

    /// Takes the newest commit back: it was refused before it was made.
    pub(super) fn withdraw(&mut self) {
        self.states.pop();
    }

    /// Notes that a commit was acknowledged, and with it all before it.
    pub(super) fn ack(&mut self, number: usize, level: Level) {
        self.syncs += 1;
        for state in self.states[..=number].iter_mut().rev() {
            if state.reached >= Some(level) {
                break;
            }
            state.reached = Some(level);
            state.sync = self.syncs;
        }
    }

    /// Names of a state.
    pub(super) fn names(&self, number: usize) -> &Names {
        &self.states[number].names
    }

    /// The newest state that was submitted.
    pub(super) fn newest(&self) -> usize {
        self.states.len() - 1
    }

    /// The newest state that must survive.
    pub(super) fn floor(&self, ending: Ending, trust: Trust) -> usize {
        let needed = match ending {
            Ending::Closed | Ending::Killed if trust == Trust::All => Level::Os,
            _ => Level::Disk,
        };
        let floor = self.acked(needed);
        match trust {
            Trust::All | Trust::SyncedOnly => floor,
            Trust::ButTheLastSync => {
                let last = self.states[floor].sync;
                let before = |state: &State| state.sync < last && state.reached >= Some(needed);
                self.states[..floor].iter().rposition(before).unwrap_or(0)
            }
            Trust::Any => 0,
        }
    }

    fn acked(&self, needed: Level) -> usize {
        let reached = |state: &State| state.reached >= Some(needed);
        self.states.iter().rposition(reached).unwrap_or(0)
    }

    /// Says where `names` stands in the line, without judging.
    pub(super) fn find(&self, names: &Names) -> Option<usize> {
        self.states.iter().rposition(|state| state.names == *names)
    }

    /// Judges what a recovery brought, and goes on from there.
    pub(super) fn recovered(
        &mut self,
        names: &Names,
        ending: Ending,
        trust: Trust,
    ) -> Result<Standing, String> {
        let Some(number) = self.find(names) else {
            return Err(format!(
                "a state was recovered that was never submitted: {names:?}"
            ));
        };
        let floor = self.floor(ending, trust);
        if number < floor {
            return Err(format!(
                "after {ending:?} commit {number} was recovered, but commit {floor} had been \
                 acknowledged or seen; {} had been submitted",
                self.newest()
            ));
        }
        let standing = Standing {
            number,
            lost_acked: number < self.acked(Level::Disk),
            lost_unknown: self.newest() - number.max(self.acked(Level::Os)).min(self.newest()),
            kept_unknown: self.states[number].reached.is_none(),
        };
        self.states.truncate(number + 1);
        self.ack(number, Level::Disk);
        Ok(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Name, Oid, Reference};

    fn names(raw: u64) -> Names {
        let reference = Reference {
            oid: Oid::from_raw(raw).unwrap(),
            length: 8,
            check: 0,
            weak: false,
            leaf: true,
        };
        Names::from([(Name::new("a").unwrap(), reference)])
    }

    fn line() -> Line {
        let mut line = Line::new();
        for raw in 1..=4 {
            line.submit(names(raw));
        }
        line.ack(2, Level::Disk);
        line.ack(3, Level::Os);
        line
    }

    #[test]
    fn acknowledged_states_must_survive_and_invented_ones_are_told() {
        for (raw, ending, fine) in [
            (1, Ending::PowerCut, false),
            (2, Ending::PowerCut, true),
            (2, Ending::Killed, false),
            (3, Ending::Killed, true),
            (4, Ending::PowerCut, true),
            (9, Ending::Closed, false),
        ] {
            let standing = line().recovered(&names(raw), ending, Trust::All);
            assert_eq!(
                standing.is_ok(),
                fine,
                "{raw} after {ending:?}: {standing:?}"
            );
        }
    }

    #[test]
    fn what_was_recovered_is_the_new_floor_and_the_rest_is_gone() {
        let mut line = line();
        line.recovered(&names(3), Ending::PowerCut, Trust::All)
            .unwrap();
        assert!(
            line.recovered(&names(2), Ending::PowerCut, Trust::All)
                .is_err()
        );
        assert!(
            line.recovered(&names(4), Ending::PowerCut, Trust::All)
                .is_err()
        );
        line.recovered(&names(3), Ending::PowerCut, Trust::All)
            .unwrap();
    }

    #[test]
    fn damage_may_hide_the_last_sync_and_no_more() {
        let mut line = Line::new();
        for raw in 1..=3 {
            let number = line.submit(names(raw));
            line.ack(number, Level::Disk);
        }
        assert_eq!(line.floor(Ending::PowerCut, Trust::ButTheLastSync), 2);
        assert_eq!(line.floor(Ending::PowerCut, Trust::All), 3);
        assert_eq!(line.floor(Ending::PowerCut, Trust::Any), 0);
    }
}
