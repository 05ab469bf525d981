//! `monitor`: counts and times every call at every boundary below it.
//!
//! ```text
//!   monitor
//!     | probe        calls, bytes and errors of each verb, exactly
//!   cache            times of one call in so many, as a histogram
//!     | probe
//!   file
//! ```
//!
//! It promises that nothing below behaves otherwise for being watched: no byte is changed, no answer
//! that is ready becomes pending, nothing waits for the counting. What it saw stands among the figures
//! of each floor's status. It refuses to grow: the room that a probe takes is fixed.

mod histogram;
mod probe;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Deserialize;
use travertine_engine::contract::{Result, Status, Store};
use travertine_engine::forward;
use travertine_engine::stack::{
    Arity, Below, Declared, Fault, OpenContext, OptionRow, OptionType, Plugin, PluginKind,
};

pub use probe::Watch;

/// The config of a `monitor` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Monitor {
    sample: u32,
}

impl Plugin for Monitor {
    const KIND: PluginKind = PluginKind {
        summary: "counts and times every call at every boundary below it",
        cost: "a few nanoseconds a call and boundary, and 40 KiB of memory a boundary",
        doc: "Calls, bytes and errors are counted one by one; one call in `sample` is timed. The \
              figures stand in the status of each floor. Bytes on the media are the same with and \
              without it.",
        options: &[OptionRow::preset(
            "sample",
            OptionType::Integer {
                min: 1,
                max: 1_000_000,
            },
            "64",
            "one call in so many is timed; rounded up to a power of two",
        )],
        declared: Declared::TRANSPARENT,
        ..PluginKind::new("monitor", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let watch = Watch::new(&context.env, self.sample);
        let below = Below::only(below)?.probed(Arc::new(watch)).open()?;
        Ok(Arc::new(MonitorStore {
            below,
            name: context.name.clone(),
        }))
    }
}

/// The floor itself: everything passes, the probe right below it counts.
#[derive(Debug)]
struct MonitorStore {
    below: Arc<dyn Store>,
    name: Option<String>,
}

impl Store for MonitorStore {
    forward!(below: store read commit root fence adopt scan reclaim close);

    fn status(&self) -> Status {
        Status::over(self.below.status(), Monitor::KIND.name, self.name.clone())
    }
}
