//! A disk mounted on a directory of its own, gone again when it is dropped, whatever happened.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Once};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, Session};
use tempfile::TempDir;

use crate::fs::LosingFs;
use crate::machine::Machine;

/// What our mounts are called.
const NAME: &str = "travertine-power-cut";
/// `ENOTCONN`: what a mount says whose file system has died.
const NOT_CONNECTED: i32 = 107;
const FUSERMOUNT: &str = "fusermount3";

/// Whether the kernel lets this process mount file systems of its own.
pub(crate) fn kernel_can_mount() -> bool {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).open("/dev/fuse").is_ok()
}

/// Whether there is the tool that mounts them.
pub(crate) fn can_mount() -> bool {
    let helper = Command::new(FUSERMOUNT)
        .arg("-V")
        .stdout(Stdio::null())
        .status();
    helper.is_ok()
}

/// A directory for whatever does not matter once a test has ended: in memory, if there is enough.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    match free > 2 << 30 {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    }
    .unwrap()
}

/// A disk that is mounted.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) machine: Arc<Machine>,
    session: Option<BackgroundSession>,
    /// Dropped after the unmount.
    directory: TempDir,
}

impl Mounted {
    pub(crate) fn new(machine: Machine) -> Self {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let machine = Arc::new(machine);
        let directory = scratch();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName(NAME.to_owned()), MountOption::NoAtime];
        let session = Session::new(LosingFs(machine.clone()), directory.path(), &config)
            .and_then(Session::spawn)
            .unwrap();
        Self {
            machine,
            session: Some(session),
            directory,
        }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whoever still has a file open does not hold this up.
        detach(self.path());
        let Some(session) = self.session.take() else {
            return;
        };
        for _ in 0..2000 {
            if session.guard.is_finished() {
                break;
            }
            pause();
        }
    }
}

/// A moment.
#[expect(clippy::disallowed_methods, reason = "there is nothing to wait on")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

fn detach(place: &Path) {
    let done = Command::new(FUSERMOUNT)
        .args(["-u", "-z", "--"])
        .arg(place)
        .stderr(Stdio::null())
        .status();
    if !done.is_ok_and(|status| status.success()) {
        eprintln!("{} could not be unmounted", place.display());
    }
}

/// Unmounts what earlier runs left that were killed.
fn sweep() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let ours = mounts
        .lines()
        .filter_map(|line| line.strip_prefix(NAME)?.split(' ').nth(1))
        .map(PathBuf::from);
    for place in ours {
        let found = std::fs::metadata(&place);
        if found.is_err_and(|error| error.raw_os_error() == Some(NOT_CONNECTED)) {
            detach(&place);
            let _ = std::fs::remove_dir(&place);
        }
    }
}
