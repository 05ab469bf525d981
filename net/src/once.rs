//! What is told once, however often it happens: a flood of refusals is no flood of lines.
//!
//! Within [`AGAIN`] one thing is told once. If the table of what was told is full, nothing new is told
//! until old entries are forgotten, and that is told once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use travertine_engine::contract::Env;

/// After so long the same thing is told again.
pub(crate) const AGAIN: Duration = Duration::from_secs(10 * 60);
/// Most things that are remembered as told.
pub(crate) const TOLD_MAX: usize = 1_024;

/// What to say of something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    Nothing,
    This,
    TooMany,
}

/// Remembers what was told.
#[derive(Debug)]
pub(crate) struct Once<K> {
    told: Mutex<Told<K>>,
    env: Env,
}

#[derive(Debug)]
struct Told<K> {
    at: HashMap<K, u64>,
    too_many: Option<u64>,
}

impl<K: Hash + Eq> Once<K> {
    pub(crate) fn new(env: &Env) -> Self {
        Self {
            told: Mutex::new(Told {
                at: HashMap::new(),
                too_many: None,
            }),
            env: env.clone(),
        }
    }

    /// This happened: is it to be told?
    pub(crate) fn say(&self, what: K) -> Say {
        let now = self.env.clock.monotonic_ns();
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .say(what, now)
    }
}

impl<K: Hash + Eq> Told<K> {
    fn say(&mut self, what: K, now: u64) -> Say {
        let fresh = |at: u64| now.saturating_sub(at) < AGAIN.as_nanos() as u64;
        if self.at.get(&what).is_some_and(|&at| fresh(at)) {
            return Say::Nothing;
        }
        if self.at.len() >= TOLD_MAX && !self.at.contains_key(&what) {
            if self.too_many.is_some_and(fresh) {
                return Say::Nothing;
            }
            self.at.retain(|_, at| fresh(*at));
            if self.at.len() >= TOLD_MAX {
                self.too_many = Some(now);
                return Say::TooMany;
            }
        }
        self.at.insert(what, now);
        Say::This
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told<u32> {
        Told {
            at: HashMap::new(),
            too_many: None,
        }
    }

    #[test]
    fn a_thing_is_told_once_and_again_much_later() {
        let mut told = told();
        assert_eq!(told.say(1, 5), Say::This);
        assert_eq!(told.say(1, 6), Say::Nothing);
        assert_eq!(told.say(2, 6), Say::This);
        assert_eq!(told.say(1, 5 + AGAIN.as_nanos() as u64), Say::This);
    }

    #[test]
    fn a_flood_is_told_once_and_held_in_a_bounded_table() {
        let mut told = told();
        let told_of = |told: &mut Told<u32>, n| usize::from(told.say(n, 1) != Say::Nothing);
        let lines: usize = (0..10 * TOLD_MAX as u32)
            .map(|n| told_of(&mut told, n))
            .sum();
        assert_eq!(lines, TOLD_MAX + 1);
        assert_eq!(told.at.len(), TOLD_MAX);
        assert_eq!(told.say(u32::MAX, 2 * AGAIN.as_nanos() as u64), Say::This);
        assert_eq!(told.at.len(), 1);
    }
}
