//! Where bytes physically go: a few named files that are written at an offset, synced and listed.
//!
//! A medium is deliberately narrow, so that a simulated one can tell every lie a real one tells. It
//! promises what POSIX promises and no more: written bytes are readable at once in this process,
//! survive a kill of the process, and survive a power cut only after [`MediumFile::sync`]; a name
//! survives a power cut only after [`Medium::sync_dir`]. After a failed write or sync nothing is
//! known of the unsynced bytes, and the log above never retries.

pub mod file;
mod handles;
mod map;
pub mod memory;
mod small;
#[cfg(target_os = "linux")]
mod through;
#[cfg(target_os = "linux")]
mod uring;

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use crate::contract::{Env, Level, Op, Result};

/// Why reads in depth are not to be had here, in the words of the system. Then they are plain reads.
#[must_use]
pub fn no_depth() -> Option<String> {
    #[cfg(target_os = "linux")]
    return uring::refused();
    #[cfg(not(target_os = "linux"))]
    return Some("io_uring is a thing of Linux".to_owned());
}

pub(crate) use handles::Slot;
pub use handles::{HANDLES, Handles};
pub use small::{read_small, read_whole, replace_small};

/// A directory of files, or something that behaves as one.
pub trait Medium: Send + Sync + Debug {
    /// Where this is, for people.
    fn place(&self) -> String;

    /// Names of the files, sorted. `Ok` and empty where the directory does not exist yet.
    fn list(&self) -> Result<Vec<String>>;

    /// Makes a file that must not exist yet. Durable only after [`Medium::sync_dir`].
    fn create(&self, name: &str) -> Result<Arc<dyn MediumFile>>;

    /// Opens a file, for reading only or also for writing. Missing is
    /// [`Invalid`](crate::contract::ErrorKind::Invalid).
    fn open(&self, name: &str, write: bool) -> Result<Arc<dyn MediumFile>>;

    /// Renames a file, replacing the target. Durable only after [`Medium::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Unlinks a file. Open handles go on reading.
    fn remove(&self, name: &str) -> Result<()>;

    /// Makes names durable.
    fn sync_dir(&self) -> Result<()>;

    /// Takes the one writer's lock, making the directory where it is missing. Held until the medium
    /// is dropped or unlocked. Refused, nothing changed, while another process or handle holds it:
    /// [`Unavailable`](crate::contract::ErrorKind::Unavailable), naming the holder.
    fn lock(&self) -> Result<()>;

    /// Gives the lock back.
    fn unlock(&self);

    /// Bytes that a power cut may tear or lose together when any of them is written again: the
    /// sector, or a page. Eight on a medium that declares power-safe overwrite.
    fn unit(&self) -> u64;

    /// The highest level that a sync here reaches.
    fn level(&self) -> Level;

    /// How much room there is, as far as the medium knows: of the whole device, whoever uses it.
    fn space(&self) -> Option<Space> {
        None
    }
}

/// Room on a medium, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All that could be used.
    pub total: u64,
    /// What is left of it.
    pub free: u64,
}

/// An open file of a medium.
pub trait MediumFile: Send + Sync + Debug {
    /// Bytes it is long.
    fn len(&self) -> Result<u64>;

    /// Whether it is empty.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads up to `length` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes>;

    /// As [`MediumFile::read_at`], but a caller that has other things to do need not wait for a
    /// device: ready where the bytes are at hand or the medium cannot do better, else pending.
    fn fetch(&self, env: &Env, offset: u64, length: usize) -> Op<Bytes>;

    /// Writes all of the parts, one after the other, at `offset`.
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()>;

    /// As [`MediumFile::write_at`] and durable at once, in one call that goes past whatever cache there is
    /// and leaves other bytes of the file as they are: for a little over what was written before, from the
    /// beginning of a [unit](Medium::unit). The rest of the last one, or of its page, becomes zeros.
    /// `false`: nothing was done, for this file cannot; then write and sync. A failure is final, as that of
    /// a sync.
    fn write_through(&self, _offset: u64, _parts: &[&[u8]]) -> Result<bool> {
        Ok(false)
    }

    /// Claims room up to byte `end` without changing the length, so that writes below it do not run
    /// out of space. `Full` if there is none; `Ok` where the medium cannot claim.
    fn claim(&self, end: u64) -> Result<()>;

    /// Cuts or extends the file with zeros.
    fn set_len(&self, length: u64) -> Result<()>;

    /// Makes bytes and length durable. A failure is final for this handle.
    fn sync(&self) -> Result<()>;

    /// The first `length` bytes, mapped for reading, where the medium can map. They must lie within
    /// the file and never be cut off while mapped.
    fn map(&self, length: u64) -> Option<Result<Bytes>>;
}
