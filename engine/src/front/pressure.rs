//! Whether memory is short, so that what is buffered should go down early.
//!
//! ```text
//!   in use:  ───── below `at` ─────┬─── at or above ───┬─ below `at`, by less than EASE ─┬── less ──
//!   short:         no              │        yes        │             yes                 │    no
//! ```
//!
//! The gauge takes a while to read: it is asked when a buffer has grown by [`STEP`], and not again
//! before [`REST_NS`] have passed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::contract::Env;

use super::options::Options;

/// So many percent less than where it began, memory is no longer short.
const EASE: u8 = 5;
/// Nanoseconds between two looks.
const REST_NS: u64 = 50_000_000;
/// How much a buffer grows from one look to the next.
const STEP: usize = 64 << 10;
/// The share of its usual size that a buffer may have while memory is short.
const SHARE: usize = 16;

/// Whether memory is short, as far as it was looked at.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    short: AtomicBool,
    /// When it may be looked at again.
    next_ns: AtomicU64,
    /// How often it began to be short.
    pub(super) began: AtomicU64,
}

impl Pressure {
    pub(super) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// When the tail buffer is sent, in bytes.
    pub(super) fn flush_bytes(&self, options: &Options) -> usize {
        match self.is_short() {
            true => options.flush_bytes / SHARE,
            false => options.flush_bytes,
        }
    }

    /// How many bytes may be on their way before a store waits.
    pub(super) fn tail_max(&self, options: &Options) -> usize {
        match self.is_short() {
            true => 0,
            false => options.tail_max,
        }
    }

    /// How many bytes of what was sent stay here.
    pub(super) fn recent_max(&self, options: &Options) -> usize {
        match self.is_short() {
            true => 0,
            false => options.recent_max,
        }
    }

    /// Looks, if a buffer that grew has reached its next step and it is time.
    pub(super) fn look(&self, grew: std::ops::Range<usize>, options: &Options, env: &Env) {
        let Some(at) = options.flush_pressure else {
            return;
        };
        let step = STEP.min(options.flush_bytes / SHARE).max(1);
        if grew.start / step == grew.end / step && grew.start > 0 {
            return;
        }
        let now = env.clock.monotonic_ns();
        if now < self.next_ns.load(Ordering::Relaxed) {
            return;
        }
        self.next_ns.store(now + REST_NS, Ordering::Relaxed);
        let short = is_short(self.is_short(), env.memory.used_percent().unwrap_or(0), at);
        if short && !self.short.swap(short, Ordering::Relaxed) {
            self.began.fetch_add(1, Ordering::Relaxed);
        }
        self.short.store(short, Ordering::Relaxed);
    }
}

fn is_short(was: bool, used: u8, at: u8) -> bool {
    used >= at || (was && used > at.saturating_sub(EASE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_to_be_short_stays_so_until_it_is_well_below() {
        let used = [80, 89, 90, 91, 89, 86, 85, 89, 90, 10];
        let mut short = false;
        let seen = used.map(|used| {
            short = is_short(short, used, 90);
            short
        });
        let expected = [0, 0, 1, 1, 1, 1, 0, 0, 1, 0];
        assert_eq!(seen.map(u8::from), expected);
        assert!(is_short(false, 0, 0));
    }
}
