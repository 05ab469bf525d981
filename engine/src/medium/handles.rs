//! Open handles, at most so many: those that nobody used for longest are closed and opened again when
//! they are wanted.
//!
//! ```text
//!   slot: empty ──opened──> a handle ──used──> spared once ──hand passes──> closed: empty
//! ```
//!
//! Promises that no more than the bound stay open for nobody. Who reads through a handle holds on to
//! it, and it is closed when the last of them is done. Bytes that were mapped need none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use super::MediumFile;

/// How many handles stay open, if nothing else is said and the system allows four times as many.
pub const HANDLES: usize = 256;

/// A bound that several logs share: one for each stack.
#[derive(Debug)]
pub struct Handles {
    most: usize,
    ring: Mutex<Ring>,
}

/// All slots that hold something, and perhaps some that do not any more.
#[derive(Debug, Default)]
struct Ring {
    slots: Vec<Weak<Slot>>,
    hand: usize,
}

/// A place for one handle.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    file: RwLock<Option<Arc<dyn MediumFile>>>,
    used: AtomicBool,
}

impl Default for Handles {
    /// [`HANDLES`], or a quarter of the files that this process may have open, if that is less.
    fn default() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let quarter = limit.map_or(HANDLES as u64, |limit| limit / 4);
        Self::new((quarter as usize).min(HANDLES))
    }
}

impl Handles {
    /// At most so many, and at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            ring: Mutex::default(),
        }
    }

    /// How many stay open at most.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Puts a handle in a slot, and answers the one that is there: somebody else may have been first.
    pub(crate) fn keep(&self, slot: &Arc<Slot>, file: Arc<dyn MediumFile>) -> Arc<dyn MediumFile> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = slot.get() {
            return first;
        }
        *slot.write() = Some(file.clone());
        let evicted = ring.enter(slot, self.most);
        // Closing is a system call, and others wait for the ring.
        drop(ring);
        drop(evicted);
        file
    }
}

impl Ring {
    /// Makes a place for a slot, and answers the handle that had to go for it.
    fn enter(&mut self, slot: &Arc<Slot>, most: usize) -> Option<Arc<dyn MediumFile>> {
        let slot = Arc::downgrade(slot);
        if self.slots.len() < most {
            self.slots.push(slot);
            return None;
        }
        loop {
            self.hand = (self.hand + 1) % self.slots.len();
            let place = &mut self.slots[self.hand];
            let evicted = match place.upgrade() {
                // Each pass takes the mark away, so the second one ends here.
                Some(there) if there.used.swap(false, Ordering::Relaxed) => continue,
                Some(there) => there.write().take(),
                None => None,
            };
            *place = slot;
            return evicted;
        }
    }
}

impl Slot {
    pub(crate) fn get(&self) -> Option<Arc<dyn MediumFile>> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        // Written only where it changes: many threads look here.
        if file.is_some() && !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        file.clone()
    }

    /// Lets go of the handle, if there is one.
    pub(crate) fn close(&self) {
        let file = self.write().take();
        drop(file);
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Option<Arc<dyn MediumFile>>> {
        self.file.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium::Medium;
    use crate::medium::memory::MemoryMedium;

    fn file() -> Arc<dyn MediumFile> {
        MemoryMedium::new().create("a").unwrap()
    }

    fn open(slots: &[Arc<Slot>]) -> Vec<usize> {
        let held = |slot: &Arc<Slot>| slot.write().is_some();
        (0..slots.len()).filter(|&n| held(&slots[n])).collect()
    }

    #[test]
    fn what_is_used_stays_and_no_more_than_the_bound() {
        let handles = Handles::new(3);
        let slots: Vec<Arc<Slot>> = (0..20).map(|_| Arc::default()).collect();
        for slot in &slots {
            handles.keep(slot, file());
            assert!(slots[0].get().is_some(), "used each time");
            assert!(open(&slots).len() <= 3);
        }
        assert_eq!(open(&slots).len(), 3);
        assert!(open(&slots).ends_with(&[19]));
    }

    #[test]
    fn one_of_two_that_open_at_once_is_kept() {
        let handles = Handles::new(1);
        let slot = Arc::default();
        let first = handles.keep(&slot, file());
        let second = handles.keep(&slot, file());
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn a_slot_that_is_gone_makes_room_and_its_handle_is_closed_with_it() {
        let handles = Handles::new(1);
        let gone = Arc::default();
        let file_of = handles.keep(&gone, file());
        drop(gone);
        assert_eq!(Arc::strong_count(&file_of), 1);
        let slot: Arc<Slot> = Arc::default();
        handles.keep(&slot, file());
        assert_eq!(open(&[slot]), [0]);
    }
}
