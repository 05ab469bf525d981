//! An opened stack: a store, and what it was made from.

use std::fmt;
use std::sync::Arc;

use crate::contract::{Result, Status, Store};

use super::plan::Plan;

/// A stack that is open. It is not a store itself: what stands on it takes [`Stack::store`].
#[derive(Debug)]
pub struct Stack {
    plan: Plan,
    store: Arc<dyn Store>,
}

impl Stack {
    pub(super) fn new(plan: Plan, store: Arc<dyn Store>) -> Self {
        Self { plan, store }
    }

    /// The topmost floor.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// What it was opened from.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is there now, without touching a device.
    #[must_use]
    pub fn status(&self) -> Status {
        self.store.status()
    }

    /// Closes it, for those who had no engine on it: an engine closes what it stands on.
    pub fn close(self) -> Result<()> {
        self.store.close().wait()
    }
}

/// The tree of floors, then how each one is now.
impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan)?;
        let status = self.status();
        writeln!(f, "fingerprint {}", self.plan.fingerprint())?;
        writeln!(f, "identity {}", status.identity)?;
        let writes = status
            .refusing
            .as_deref()
            .map_or("accepted".to_owned(), |why| format!("refused: {why}"));
        writeln!(f, "writes {writes}")?;
        for stream in &status.streams {
            writeln!(
                f,
                "stream b{}: {} bytes in {} segments, end o{}, durable o{}",
                stream.stream, stream.bytes, stream.segments, stream.end, stream.durable
            )?;
        }
        Ok(())
    }
}
