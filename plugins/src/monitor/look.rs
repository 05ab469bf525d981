//! The newest status of what lies below, got by a driver: a floor may hold its answer back while a
//! device is stuck, and neither a commit nor a scrape waits for that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use travertine_engine::contract::{Env, Status, Store};

/// Looks at a store now and then.
#[derive(Debug)]
pub(super) struct Look {
    env: Env,
    below: Arc<dyn Store>,
    latest: Mutex<Option<Arc<Looked>>>,
    looking: AtomicBool,
}

/// A status, and when it was asked for.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) at_ns: u64,
    pub(super) status: Status,
}

impl Look {
    pub(super) fn new(env: &Env, below: Arc<dyn Store>) -> Self {
        Self {
            env: env.clone(),
            below,
            latest: Mutex::new(None),
            looking: AtomicBool::new(false),
        }
    }

    pub(super) fn latest(&self) -> Option<Arc<Looked>> {
        self.latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Has a driver look again, unless what is there is younger than `most_ns` or one is at it.
    pub(super) fn refresh(self: &Arc<Self>, most_ns: u64) {
        let now = self.env.clock.monotonic_ns();
        let young = |latest: Arc<Looked>| now.saturating_sub(latest.at_ns) < most_ns;
        if self.latest().is_some_and(young) || self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let looking = Looking(self.clone());
        self.env.drivers.run(Box::new(move || {
            let at_ns = looking.0.env.clock.monotonic_ns();
            let status = looking.0.below.status();
            let looked = Some(Arc::new(Looked { at_ns, status }));
            let mut latest = looking.0.latest.lock();
            *latest
                .as_deref_mut()
                .unwrap_or_else(|poisoned| poisoned.get_mut()) = looked;
        }));
    }
}

/// Ends the look however the driver ends.
struct Looking(Arc<Look>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.looking.store(false, Ordering::Release);
    }
}
