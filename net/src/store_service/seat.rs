//! The writer's seat: who may come to write, so that others can give way.
//!
//! ```text
//!   greeting that wants to write ──> free, or its own ──> sits, as long as its session lives
//!                               └──> taken: one that yields is told so, another may fence
//!   fence ──> sits, whoever sat there before
//! ```
//!
//! It decides nothing about what is stored: that is what epochs are for. It promises that a writer whose
//! sessions have all ended, or which said that it has done, keeps nobody off; nor does one that was fenced
//! and has not heard of it, however often it comes again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A session of somebody who may come to write.
#[derive(Debug)]
pub(super) struct Sitting {
    writer: [u8; 16],
    /// What of its stack the bytes depend on, if it says so.
    pub(super) stack: Option<String>,
    left: AtomicBool,
    /// Another one sat down in its place.
    fenced: AtomicBool,
}

impl Sitting {
    pub(super) fn new(writer: [u8; 16], stack: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            writer,
            stack,
            left: AtomicBool::new(false),
            fenced: AtomicBool::new(false),
        })
    }

    /// Whether another one took its role.
    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// It has done.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }
}

/// So many writers that were fenced are known.
const FENCED: usize = 64;

/// The seat: sessions of one writer, as long as they live.
#[derive(Debug, Default)]
pub(super) struct Seat(Mutex<There>);

#[derive(Debug, Default)]
struct There {
    sitting: Vec<Weak<Sitting>>,
    /// Those in whose place others sat down, the latest last.
    fenced: VecDeque<[u8; 16]>,
}

impl Seat {
    /// Whether nobody else sits there.
    pub(super) fn is_free_for(&self, writer: [u8; 16]) -> bool {
        let there = self.lock();
        let mut sitting = there.sitting.iter();
        sitting.all(|it| alive(it).is_none_or(|it| it.writer == writer))
    }

    /// Sits down, unless somebody else sits there: then false.
    pub(super) fn sit(&self, sitting: &Arc<Sitting>) -> bool {
        let mut there = self.lock();
        let other = |it: &Weak<Sitting>| alive(it).is_some_and(|it| it.writer != sitting.writer);
        let free = !there.sitting.iter().any(other);
        if there.fenced.contains(&sitting.writer) {
            sitting.fenced.store(true, Ordering::Release);
        } else if free {
            there.sitting.push(Arc::downgrade(sitting));
        }
        free
    }

    /// Sits down in the place of whoever sat there. `None`: nobody sits there then.
    pub(super) fn take(&self, sitting: Option<&Arc<Sitting>>) {
        let mut there = self.lock();
        let writer = sitting.map(|it| it.writer);
        let there = &mut *there;
        let before = there.sitting.iter().find_map(alive);
        let before = before.map(|before| before.writer);
        if let Some(before) = before.filter(|_| before != writer) {
            there.fenced.push_back(before);
            for fenced in there.sitting.drain(..).filter_map(|it| it.upgrade()) {
                fenced.fenced.store(true, Ordering::Release);
            }
        }
        // Who fences has heard of whatever was before.
        there.fenced.retain(|fenced| Some(*fenced) != writer);
        let more = there.fenced.len().saturating_sub(FENCED);
        there.fenced.drain(..more);
        if let Some(sitting) = sitting {
            sitting.fenced.store(false, Ordering::Release);
            there.sitting.push(Arc::downgrade(sitting));
        }
    }

    /// Those who sit there, and live.
    fn lock(&self) -> MutexGuard<'_, There> {
        let mut there = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        there.sitting.retain(|it| alive(it).is_some());
        there
    }
}

fn alive(sitting: &Weak<Sitting>) -> Option<Arc<Sitting>> {
    let sitting = sitting.upgrade()?;
    (!sitting.left.load(Ordering::Acquire)).then_some(sitting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn someone(writer: u8) -> Arc<Sitting> {
        Sitting::new([writer; 16], None)
    }

    #[test]
    fn a_seat_is_held_until_the_last_session_of_its_writer_ends() {
        let seat = Seat::default();
        let (old, new, other) = (someone(1), someone(1), someone(2));
        assert!(seat.sit(&old) && seat.sit(&new) && !seat.sit(&other));
        drop(old);
        assert!(!seat.is_free_for([2; 16]) && seat.is_free_for([1; 16]));
        drop(new);
        assert!(seat.sit(&other));
        assert!(!seat.is_free_for([1; 16]));
    }

    #[test]
    fn who_has_done_keeps_nobody_off_and_frees_no_place_of_another_session() {
        let seat = Seat::default();
        let (old, new) = (someone(1), someone(1));
        assert!(seat.sit(&old) && seat.sit(&new));
        old.leave();
        assert!(!seat.is_free_for([2; 16]));
        new.leave();
        assert!(seat.is_free_for([2; 16]));
    }

    #[test]
    fn who_fences_sits_whoever_sat_there() {
        let seat = Seat::default();
        let (first, second) = (someone(1), someone(2));
        assert!(seat.sit(&first));
        seat.take(Some(&second));
        assert!(seat.is_free_for([2; 16]) && !seat.is_free_for([1; 16]));
        seat.take(None);
        assert!(seat.is_free_for([1; 16]));
    }

    #[test]
    fn who_was_fenced_comes_again_and_keeps_nobody_off_until_it_fences() {
        let seat = Seat::default();
        let (first, second) = (someone(1), someone(2));
        assert!(seat.sit(&first));
        seat.take(Some(&second));
        drop(second);
        let again = someone(1);
        assert!(seat.sit(&again) && seat.is_free_for([3; 16]));
        assert!(first.is_fenced() && again.is_fenced());
        seat.take(Some(&again));
        assert!(!seat.is_free_for([3; 16]) && !again.is_fenced());
    }
}
