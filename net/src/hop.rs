//! From one server to the next: what a call brings along, and which servers stand behind one another.
//!
//! ```text
//!   client ──> server ──> server ──> server       each call: how long it may still take, and how many
//!              remote     remote     file         servers it passed; each greeting: who stands behind
//! ```
//!
//! A verb of the contract has no place for such things, so they go by the thread that makes the call.
//! Where a floor between hands a call to another thread they are lost, and that floor's `remote` goes
//! by its own deadline.
//!
//! A server that finds itself among those behind it stands in a loop, and refuses to go on. A loop that
//! closes later is found by counting: a call passes at most [`HOPS_MAX`](crate::wire::HOPS_MAX)
//! servers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// What a call brings along.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hop {
    /// When nobody waits for the answer any more.
    pub deadline: Option<Instant>,
    /// Servers that it passed.
    pub passed: u32,
}

thread_local! {
    static HOP: Cell<Hop> = const { Cell::new(Hop { deadline: None, passed: 0 }) };
    static HOST: RefCell<Option<Arc<Host>>> = const { RefCell::new(None) };
}

/// Makes calls below on behalf of a call from outside.
pub fn under<T>(hop: Hop, calls: impl FnOnce() -> T) -> T {
    /// Puts back what was said before, whatever way the call ends.
    struct Before(Hop);
    impl Drop for Before {
        fn drop(&mut self) {
            HOP.set(self.0);
        }
    }
    let _before = Before(HOP.replace(hop));
    calls()
}

/// What the calls of this thread bring along.
#[must_use]
pub fn current() -> Hop {
    HOP.get()
}

/// Who stands behind a `remote`, and how many behind one another.
type Behind = (Vec<[u8; 16]>, u32);

/// A server, as the floors that it serves know it.
#[derive(Debug)]
pub struct Host {
    /// Drawn at random when the server began.
    pub instance: [u8; 16],
    /// For each `remote` among the floors, by a number of its own.
    behind: Mutex<BTreeMap<u64, Behind>>,
}

impl Host {
    /// A server of this number, with nobody behind it.
    #[must_use]
    pub fn new(instance: [u8; 16]) -> Self {
        Self {
            instance,
            behind: Mutex::default(),
        }
    }

    /// Notes who stands behind one `remote`; nobody: it is gone.
    pub(crate) fn note(&self, remote: u64, behind: Vec<[u8; 16]>, depth: u32) {
        let mut all = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        if behind.is_empty() {
            all.remove(&remote);
        } else {
            all.insert(remote, (behind, depth));
        }
    }

    /// All who stand behind it, and how many behind one another, itself included.
    pub(crate) fn behind(&self) -> (Vec<[u8; 16]>, u32) {
        let all = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<_> = all.values().flat_map(|(ids, _)| ids).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let depth = all.values().map(|(_, depth)| *depth).max().unwrap_or(0);
        (ids, depth.saturating_add(1))
    }
}

/// Opens floors that `host` will serve.
pub fn serving<T>(host: &Arc<Host>, open: impl FnOnce() -> T) -> T {
    /// Puts back what was said before, whatever way the opening ends.
    struct Before(Option<Arc<Host>>);
    impl Drop for Before {
        fn drop(&mut self) {
            HOST.replace(self.0.take());
        }
    }
    let _before = Before(HOST.replace(Some(host.clone())));
    open()
}

/// The server that the floors which this thread opens will stand in, if any.
pub(crate) fn host() -> Option<Arc<Host>> {
    HOST.with_borrow(Clone::clone)
}
