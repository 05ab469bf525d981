//! Small files that are read and replaced whole.

use bytes::Bytes;

use super::Medium;
use crate::contract::Result;

/// Most bytes of a small file.
pub const SMALL_MAX: usize = 64 << 10;

/// A small file, whole.
pub fn read_small(medium: &dyn Medium, name: &str) -> Result<Bytes> {
    medium
        .open(name, false)?
        .read_at(0, SMALL_MAX)
        .map_err(|error| error.at(name.to_owned()))
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
