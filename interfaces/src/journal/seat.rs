//! The view of a base that writers read: one for all who come one after the other.
//!
//! A view that is asked often keeps nodes, so there is one for all tips of a line, however many attempts
//! begin at the same root; and what it keeps is told with what they hold.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use travertine_engine::contract::Reference;

use crate::index::View;

/// Where a view is left. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Seat(Arc<Place>);

#[derive(Debug, Default)]
struct Place {
    left: Mutex<Option<Left>>,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Left {
    base: Option<Reference>,
    view: Arc<dyn Any + Send + Sync>,
}

impl Seat {
    /// The view of this base, if it is here and of this type.
    pub(super) fn view<V: View>(&self, base: Option<Reference>) -> Option<Arc<V>> {
        let left = self.lock();
        let left = left.as_ref().filter(|left| left.base == base)?;
        left.view.clone().downcast().ok()
    }

    /// Leaves the view of a base, in the place of whatever was here.
    pub(super) fn leave<V: View>(&self, base: Option<Reference>, view: &Arc<V>) {
        self.holds(view.held());
        let view = view.clone();
        let left = Left { base, view };
        // What goes may be large: not under the lock.
        let before = self.lock().replace(left);
        drop(before);
    }

    /// Notes how many bytes the view keeps by now.
    pub(super) fn holds(&self, bytes: u64) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that the view keeps.
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Left>> {
        let left = &self.0.left;
        left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
