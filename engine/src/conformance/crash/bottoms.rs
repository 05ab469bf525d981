//! Stores that our own runs write to.

use std::sync::Arc;

use super::Bottom;
use crate::contract::{Env, Result, Store};
use crate::log::{Grow, Log, LogOptions};
use crate::medium::Medium;

/// A log with small segments, so that a run has several.
pub(super) struct SmallLog;

impl Bottom for SmallLog {
    fn open(
        &self,
        medium: Arc<dyn Medium>,
        env: &Env,
        read_only: bool,
        seed: u64,
    ) -> Result<Arc<dyn Store>> {
        let options = LogOptions {
            segment: [64 << 10, 128 << 10, 1 << 20][(seed / 3 % 3) as usize],
            window: [1 << 20, 8 << 20][(seed / 9 % 2) as usize],
            grow: [Grow::Adaptive, Grow::Plain][(seed / 18 % 2) as usize],
            read_only,
            ..LogOptions::default()
        };
        Ok(Arc::new(Log::open("file", medium, env, options)?))
    }
}
