//! The logs that lie in a directory and below it, looked at from outside.
//!
//! It writes nothing and opens no log, so it works on what is damaged, and beside a writer.

use std::path::{Path, PathBuf};

use super::Failure;
use crate::contract::Error;
use crate::log::Peek;
use crate::medium::file::FileMedium;

/// Deepest directory that is looked into.
const DEPTH_MAX: usize = 12;
/// Most directories that are looked into.
const DIRECTORIES_MAX: usize = 10_000;

/// A log and where it lies.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) place: PathBuf,
    pub(super) log: Peek,
}

/// Every log in a directory and below it, in the order of their paths.
pub(super) fn logs(directory: &Path) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    let mut left = vec![(0, directory.to_owned())];
    let mut looked = 0;
    while let Some((depth, place)) = left.pop() {
        looked += 1;
        if looked > DIRECTORIES_MAX {
            return Err(Failure::wrong(format!(
                "{} holds more than {DIRECTORIES_MAX} directories; name one further down",
                directory.display()
            )));
        }
        if let Some(log) = Peek::at(&FileMedium::new(&place, 1))? {
            found.push(Found {
                place: place.clone(),
                log,
            });
        }
        if depth < DEPTH_MAX {
            let mut inside = directories(&place)?;
            inside.sort_by(|a, b| b.cmp(a));
            left.extend(inside.into_iter().map(|place| (depth + 1, place)));
        }
    }
    Ok(found)
}

/// The directories in a directory; links are not followed.
fn directories(place: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |source| Error::io(format!("listing {}", place.display()), source);
    #[expect(
        clippy::disallowed_methods,
        reason = "what lies in a directory is asked before anything is opened"
    )]
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        // What may not be listed, as `lost+found` often, cannot be looked through.
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error).into()),
    };
    let mut inside = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            inside.push(entry.path());
        }
    }
    Ok(inside)
}

/// Bytes as hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
