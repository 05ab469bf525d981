//! A disk in memory that tells every lie a real one tells, by seed.
//!
//! ```text
//!   process 1            process 2, after a crash        [SimMedium], dead once its process is
//!       |  write, sync, rename …     |
//!   ────┴────────────────────────────┴────  page cache: live bytes, live names
//!       |  sync, sync_dir                                 kill: stays      power cut: gone
//!   ───────────────────────────────────────  disk: durable bytes, durable names  [SimDisk]
//! ```
//!
//! It promises what [`Medium`](crate::medium::Medium) promises and takes every liberty that leaves:
//! at a power cut each unsynced sector, name and length survives or not on its own, sectors tear,
//! lengths outlive their bytes. On top of that come the faults of its [`Plan`]: failed writes and
//! syncs (a failed sync may drop the data, go on showing it, and succeed the next time), no room,
//! damage, and syncs that lie. What it does not simulate: time that calls take, and two machines on
//! one disk.
//!
//! Calls and draws are in one order only if one thread makes them: determinism is the caller's as
//! much as ours. [`SimDisk::trace`] tells two runs apart.

mod disk;
mod file;
mod medium;
mod names;
mod plan;
#[cfg(test)]
mod tests;

pub use disk::{SimDisk, Tally};
pub use medium::SimMedium;
pub use plan::{Class, Fault, Fill, NameRule, Plan};
