//! The files of this package: certificates, keys and tokens lie outside every medium. It is the one
//! place that reads them, never more than a bound, and the one that notices that they were changed.

#![expect(
    clippy::disallowed_methods,
    reason = "certificates, keys and tokens lie outside every medium"
)]

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use travertine_engine::contract::{Env, Error, Result};

/// Longest file that is read here, in bytes.
pub(crate) const FILE_MAX: u64 = 1 << 20;

/// All of a file. `what` names it in an error, and no error holds a byte of it.
///
/// Errors: `Invalid` (it cannot be read, or is over [`FILE_MAX`]).
pub(crate) fn read(what: &str, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // To open a pipe would wait for whoever fills it.
    let read = std::fs::metadata(path).and_then(|metadata| match metadata.is_file() {
        true => File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes),
        false => Err(std::io::Error::other("it is no file")),
    });
    match read {
        Ok(_) if bytes.len() as u64 > FILE_MAX => Err(Error::invalid(format!(
            "{what} {} is longer than {FILE_MAX} bytes",
            path.display()
        ))),
        Ok(_) => Ok(bytes),
        Err(source) => {
            let text = format!("{what} {} cannot be read: {source}", path.display());
            Err(Error::invalid(text).caused_by(source))
        }
    }
}

/// What a file looks like from outside; `None` if it is not to be seen.
type Looks = Option<(SystemTime, u64, u64)>;

/// Notices that files were changed: by their times, lengths and places on the disk, looked at no more
/// often than once in a while.
#[derive(Debug)]
pub(crate) struct Watched {
    paths: Vec<PathBuf>,
    seen: Mutex<Vec<Looks>>,
    next_ns: AtomicU64,
    every: Duration,
}

impl Watched {
    pub(crate) fn new(paths: Vec<PathBuf>, every: Duration) -> Self {
        let seen = Mutex::new(paths.iter().map(|path| looks(path)).collect());
        Self {
            paths,
            seen,
            next_ns: AtomicU64::new(0),
            every,
        }
    }

    /// Whether they changed since this was last asked and answered.
    pub(crate) fn changed(&self, env: &Env) -> bool {
        let now = env.clock.monotonic_ns();
        let next = self.next_ns.load(Ordering::Relaxed);
        let after = now.saturating_add(self.every.as_nanos() as u64);
        let ours = Ordering::Relaxed;
        if now < next
            || self
                .next_ns
                .compare_exchange(next, after, ours, ours)
                .is_err()
        {
            return false;
        }
        let now: Vec<_> = self.paths.iter().map(|path| looks(path)).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *seen != now;
        *seen = now;
        changed
    }
}

fn looks(path: &Path) -> Looks {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let place = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let place = 0;
    Some((metadata.modified().ok()?, metadata.len(), place))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;
    use travertine_engine::contract::Clock;

    /// Puts a file where it is read.
    pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) {
        std::fs::write(path, text).unwrap();
    }

    /// An environment in which a minute passes with each look at the clock.
    pub(crate) fn hasty() -> Env {
        #[derive(Debug)]
        struct Hasty(AtomicU64);

        impl Clock for Hasty {
            fn monotonic_ns(&self) -> u64 {
                self.0.fetch_add(60_000_000_000, Ordering::Relaxed)
            }

            fn unix_us(&self) -> u64 {
                0
            }

            fn sleep(&self, _: Duration) {}
        }

        Env {
            clock: Arc::new(Hasty(AtomicU64::new(0))),
            ..Env::system()
        }
    }

    #[test]
    fn a_change_is_noticed_once_and_a_missing_file_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, "one");
        let env = Env::system();
        let watched = Watched::new(vec![path.clone()], Duration::ZERO);
        assert!(!watched.changed(&env));
        write(&path, "another");
        assert!(watched.changed(&env));
        assert!(!watched.changed(&env));
        std::fs::remove_file(&path).unwrap();
        assert!(watched.changed(&env));
    }

    #[test]
    fn what_is_no_file_or_too_long_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| read("the key", path).unwrap_err().to_string();
        assert!(refused(dir.path()).contains("the key"));
        assert!(refused(&dir.path().join("none")).contains("cannot be read"));
        let long = dir.path().join("long");
        write(&long, vec![b'x'; FILE_MAX as usize + 1]);
        assert!(refused(&long).contains("longer than"));
    }
}
