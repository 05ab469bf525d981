//! Small files that are read and replaced whole.

use bytes::Bytes;

use super::{Medium, MediumFile};
use crate::contract::Result;

/// Most bytes of a small file.
const SMALL_MAX: usize = 64 << 10;
/// What most of them take at the most.
const USUAL: usize = 4 << 10;

/// A small file, whole.
pub fn read_small(medium: &dyn Medium, name: &str) -> Result<Bytes> {
    let file = medium.open(name, false)?;
    read_whole(&*file).map_err(|error| error.at(name.to_owned()))
}

/// A small file that is open, whole.
pub fn read_whole(file: &dyn MediumFile) -> Result<Bytes> {
    // Nearly all are smaller than this, and an allocator is slow to give and to take back as much as the most.
    let first = file.read_at(0, USUAL)?;
    if first.len() < USUAL {
        return Ok(first);
    }
    file.read_at(0, SMALL_MAX)
}

/// Writes a small file so that a crash leaves the old one or the new one, and makes it durable.
pub fn replace_small(medium: &dyn Medium, name: &str, bytes: &[u8]) -> Result<()> {
    let new = format!("{name}.new");
    medium.remove(&new)?;
    let file = medium.create(&new)?;
    file.write_at(0, &[bytes])?;
    if !planted!(RenamedBeforeSynced) {
        file.sync()?;
    }
    medium.rename(&new, name)?;
    medium.sync_dir()
}
