//! The view of a base that writers read: left by one for who comes next.
//!
//! A view that is asked often keeps nodes, so there is one for all tips of a line, however many attempts
//! begin at the same root; and what it keeps is told with what they hold.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use travertine_engine::contract::Reference;

use crate::index::View;

/// Where a view is left. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Seat(Arc<Mutex<Option<Left>>>);

#[derive(Debug)]
struct Left {
    base: Option<Reference>,
    bytes: u64,
    view: Box<dyn Any + Send + Sync>,
}

impl Seat {
    /// Takes the view of this base, if it is here and of this type.
    pub(super) fn take<V: View>(&self, base: Option<Reference>) -> Option<V> {
        let left = self.lock().take_if(|left| left.base == base)?;
        left.view.downcast().ok().map(|view| *view)
    }

    /// Leaves the view of a base, in the place of whatever was here.
    pub(super) fn leave<V: View>(&self, base: Option<Reference>, view: V) {
        let left = Left {
            base,
            bytes: view.held(),
            view: Box::new(view),
        };
        // What goes may be large: not under the lock.
        let before = self.lock().replace(left);
        drop(before);
    }

    /// Bytes that the view keeps.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().as_ref().map_or(0, |left| left.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
