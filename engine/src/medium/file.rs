//! A real directory: plain writes and reads, `fdatasync`, an OS lock.
//!
//! The kernel reports the loss of a dirty page once and then calls it clean, so a failed sync is
//! never tried again on the same handle: the log above is poisoned by it.
#![expect(
    clippy::disallowed_methods,
    reason = "the medium is where files are touched"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, FlockOperation, OFlags};

use super::{Medium, MediumFile, Space};
use crate::contract::{Env, Error, Level, Op, Result};

/// Name of the file that the lock lies on, and that names its holder.
const LOCK: &str = "lock";
/// Bytes of the name of a holder.
const HOLDER: usize = 32;
/// To read leaves no trace. Else the system notes the time of the first read after each write, which changes
/// metadata: an opening would wait for the journal of the file system, while others sync.
#[cfg(target_os = "linux")]
const QUIETLY: OFlags = OFlags::NOATIME;
#[cfg(not(target_os = "linux"))]
const QUIETLY: OFlags = OFlags::empty();

/// A directory of the file system.
#[derive(Debug)]
pub struct FileMedium {
    directory: PathBuf,
    unit: u64,
    lock: Mutex<Option<File>>,
    depth: Arc<Depth>,
}

impl FileMedium {
    /// The directory at this path. It is made when a writer takes the lock, not before.
    ///
    /// `unit` is how many bytes may be torn together: 4,096 unless the device is known to overwrite
    /// power-safely (then 8).
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, unit: u64) -> Self {
        Self {
            directory: directory.into(),
            unit,
            lock: Mutex::new(None),
            depth: Arc::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn opened(&self, file: File, path: PathBuf) -> Arc<dyn MediumFile> {
        Arc::new(OpenFile {
            file: Arc::new(file),
            path,
            depth: self.depth.clone(),
            #[cfg(target_os = "linux")]
            through: super::through::Through::default(),
        })
    }

    fn failed(&self, what: &str, name: &str, source: io::Error) -> Error {
        Error::io(format!("{what} {}", self.path(name).display()), source)
    }
}

impl Medium for FileMedium {
    fn place(&self) -> String {
        self.directory.display().to_string()
    }

    fn list(&self) -> Result<Vec<String>> {
        let failed = |source| self.failed("listing", "", source);
        let mut options = OpenOptions::new();
        options.read(true);
        let directory = match open_quietly(&mut options, OFlags::DIRECTORY, &self.directory) {
            Ok(directory) => directory,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed(source)),
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(directory).map_err(|error| failed(error.into()))? {
            let entry = entry.map_err(|error| failed(error.into()))?;
            // A name that is not UTF-8 is none of ours.
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn MediumFile>> {
        let path = self.path(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| self.failed("creating", name, source))?;
        Ok(self.opened(file, path))
    }

    fn open(&self, name: &str, write: bool) -> Result<Arc<dyn MediumFile>> {
        let path = self.path(name);
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        // A FIFO or a device in the place of a file would block: it is opened so that it does not, and refused.
        let opened = open_quietly(&mut options, OFlags::NONBLOCK | OFlags::NOCTTY, &path);
        let found = match &opened {
            Ok(file) => file.metadata(),
            Err(_) => std::fs::metadata(&path),
        };
        match (opened, found) {
            (_, Ok(found)) if !found.is_file() => Err(Error::invalid(format!(
                "{} is not a regular file",
                path.display()
            ))),
            (Err(source), _) if source.kind() == io::ErrorKind::NotFound => {
                Err(Error::invalid(format!("there is no {}", path.display())))
            }
            (opened, _) => {
                let file = opened.map_err(|source| self.failed("opening", name, source))?;
                // Of a file it may keep a ring from waiting for the device.
                rustix::fs::fcntl_getfl(&file)
                    .and_then(|flags| rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK))
                    .map_err(|source| self.failed("opening", name, source.into()))?;
                Ok(self.opened(file, path))
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        std::fs::rename(self.path(from), self.path(to))
            .map_err(|source| self.failed("renaming", from, source))
    }

    fn remove(&self, name: &str) -> Result<()> {
        match std::fs::remove_file(self.path(name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("removing", name, source))
            }
            _ => Ok(()),
        }
    }

    fn sync_dir(&self) -> Result<()> {
        sync_directory(&self.directory).map_err(|source| self.failed("syncing", "", source))
    }

    fn lock(&self) -> Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        // It is written to: a link in its place must not lead to a file of somebody else. Where there is one the
        // directory was made, and its name is durable.
        let mut open = |create| {
            options.create(create).truncate(false);
            open_quietly(&mut options, OFlags::NOFOLLOW, &self.path(LOCK))
        };
        let file = match open(false) {
            Err(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                self.make_directory()?;
                open(true)
            }
            opened => opened,
        };
        let file = file.map_err(|source| self.failed("opening", LOCK, source))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = (&file).take(64).read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() {
                    "another handle"
                } else {
                    holder
                };
                return Err(Error::unavailable(format!(
                    "{} is being written by {holder}; a log has one writer at a time, open it \
                     for reading or wait",
                    self.directory.display()
                )));
            }
            Err(source) => return Err(self.failed("locking", LOCK, source.into())),
        }
        // Who holds it is a courtesy to the next one: failing to say so is no failure.
        // In one length, for a file that is cut off and written again is flushed when it is closed, and
        // who opens it next waits for the device.
        let holder = format!("{:<31}\n", format!("process {}", std::process::id()));
        // Who opens again is named there: no write, and no wait for the journal of the file system.
        let mut named = [0; HOLDER];
        if file.read_exact_at(&mut named, 0).is_err() || named != holder.as_bytes() {
            let _ = file.write_all_at(holder.as_bytes(), 0);
        }
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    fn unlock(&self) {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = lock.take() {
            // Closing is not enough: a process that is being started may hold a copy for a moment.
            let _ = rustix::fs::flock(&file, FlockOperation::Unlock);
        }
    }

    fn unit(&self) -> u64 {
        self.unit
    }

    fn level(&self) -> Level {
        Level::Disk
    }

    fn space(&self) -> Option<Space> {
        // A writer's directory is there from its lock on.
        let told = rustix::fs::statvfs(&self.directory).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
        let used = told.f_blocks.saturating_sub(told.f_bfree);
        // What is kept for the superuser is neither used nor free.
        Some(Space {
            total: bytes(used.saturating_add(told.f_bavail)),
            free: bytes(told.f_bavail),
        })
    }
}

impl Drop for FileMedium {
    fn drop(&mut self) {
        self.unlock();
    }
}

impl FileMedium {
    /// Makes the directory and every missing parent, each name durable in its own parent; also the
    /// newest that is there, whose maker may have died before it was.
    fn make_directory(&self) -> Result<()> {
        let mut missing = Vec::new();
        let mut path = self.directory.as_path();
        while !path.as_os_str().is_empty() && !path.exists() {
            missing.push(path);
            match path.parent() {
                Some(parent) => path = parent,
                None => break,
            }
        }
        if path.is_dir() {
            match sync_above(path) {
                // A parent that may not be looked into was there before us.
                Err(source) if source.kind() != io::ErrorKind::PermissionDenied => {
                    return Err(Error::io(
                        format!("syncing above {}", path.display()),
                        source,
                    ));
                }
                _ => {}
            }
        }
        for path in missing.into_iter().rev() {
            match std::fs::create_dir(path) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io(format!("making {}", path.display()), source));
                }
                _ => {}
            }
            sync_above(path)
                .map_err(|source| Error::io(format!("syncing above {}", path.display()), source))?;
        }
        if !self.directory.is_dir() {
            return Err(Error::invalid(format!(
                "{} is not a directory; a log lives in a directory of its own",
                self.directory.display()
            )));
        }
        Ok(())
    }
}

/// Opens a file whose times of reading nobody asks for. Only its owner may say so: for others it is opened
/// as any.
fn open_quietly(options: &mut OpenOptions, flags: OFlags, path: &Path) -> io::Result<File> {
    let mut open = |flags: OFlags| options.custom_flags(flags.bits().cast_signed()).open(path);
    match open(flags | QUIETLY) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(flags),
        opened => opened,
    }
}

fn sync_above(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<File>,
    path: PathBuf,
    depth: Arc<Depth>,
    #[cfg(target_os = "linux")]
    through: super::through::Through,
}

/// What reads in depth go through, made when the first one asks. One for all files of a medium: they
/// lie on one device.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
struct Depth(std::sync::OnceLock<Option<super::uring::Ring>>);

#[cfg(target_os = "linux")]
impl Depth {
    fn ring(&self, env: &Env) -> Option<&super::uring::Ring> {
        let start = || {
            super::uring::Ring::start(env)
                .inspect_err(|error| tracing::warn!(%error, "cold reads are plain reads"))
                .ok()
        };
        self.0.get_or_init(start).as_ref()
    }
}

#[cfg(not(target_os = "linux"))]
#[derive(Debug, Default)]
struct Depth;

impl OpenFile {
    fn failed(&self, what: &str, source: io::Error) -> Error {
        Error::io(format!("{what} {}", self.path.display()), source)
    }
}

#[cfg(target_os = "linux")]
impl OpenFile {
    /// The bytes, if the page cache holds them all.
    fn at_hand(&self, offset: u64, length: usize) -> Option<Bytes> {
        let mut buffer = vec![0; length];
        let mut slices = [io::IoSliceMut::new(&mut buffer)];
        let now = rustix::io::ReadWriteFlags::NOWAIT;
        match rustix::io::preadv2(&self.file, &mut slices, offset, now) {
            Ok(read) if read == length => Some(Bytes::from(buffer)),
            _ => None,
        }
    }
}

impl MediumFile for OpenFile {
    fn len(&self) -> Result<u64> {
        let metadata = self
            .file
            .metadata()
            .map_err(|source| self.failed("measuring", source))?;
        Ok(metadata.len())
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let mut buffer = Vec::with_capacity(length);
        while buffer.len() < length {
            let at = offset + buffer.len() as u64;
            let spare = rustix::buffer::spare_capacity(&mut buffer);
            match rustix::io::pread(&self.file, spare, at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(source) => return Err(self.failed("reading", source.into())),
            }
        }
        Ok(Bytes::from(buffer))
    }

    #[cfg(target_os = "linux")]
    fn fetch(&self, env: &Env, offset: u64, length: usize) -> Op<Bytes> {
        if env.drivers.inline() {
            return Op::ready(self.read_at(offset, length));
        }
        if let Some(bytes) = self.at_hand(offset, length) {
            return Op::ok(bytes);
        }
        let ring = self.depth.ring(env);
        match ring.and_then(|ring| ring.read(&self.file, offset, length)) {
            Some(answer) => answer,
            None => Op::ready(self.read_at(offset, length)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn fetch(&self, _env: &Env, offset: u64, length: usize) -> Op<Bytes> {
        Op::ready(self.read_at(offset, length))
    }

    fn write_at(&self, mut offset: u64, parts: &[&[u8]]) -> Result<()> {
        if let [part] = parts {
            return self
                .file
                .write_all_at(part, offset)
                .map_err(|source| self.failed("writing", source));
        }
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut slices = slices.as_mut_slice();
        while !slices.is_empty() {
            match rustix::io::pwritev(&self.file, slices, offset) {
                Ok(0) => return Err(self.failed("writing", io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(source) => return Err(self.failed("writing", source.into())),
            }
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn write_through(&self, offset: u64, parts: &[&[u8]]) -> Result<bool> {
        self.through
            .write(&self.file, offset, parts)
            .map_err(|source| self.failed("writing", source))
    }

    fn claim(&self, end: u64) -> Result<()> {
        use rustix::io::Errno;
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, end) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(source) => return Err(self.failed("claiming room in", source.into())),
            }
        }
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.file
            .set_len(length)
            .map_err(|source| self.failed("resizing", source))
    }

    fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(|source| self.failed("syncing", source))
    }

    fn map(&self, length: u64) -> Option<Result<Bytes>> {
        Some(super::map::map(&self.file, length).map_err(|source| self.failed("mapping", source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::ErrorKind;

    #[test]
    fn a_second_writer_is_refused_with_the_holder_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er");
        let first = FileMedium::new(&path, 4096);
        first.lock().unwrap();
        let error = FileMedium::new(&path, 4096).lock().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error
                .message()
                .contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        first.unlock();
        FileMedium::new(&path, 4096).lock().unwrap();
    }

    #[test]
    fn who_takes_the_lock_again_writes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let medium = FileMedium::new(directory.path(), 4096);
        medium.lock().unwrap();
        medium.unlock();
        let path = directory.path().join(LOCK);
        let named = std::fs::read(&path).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(long_ago).unwrap();
        medium.lock().unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().modified().unwrap(),
            long_ago
        );
        medium.unlock();
        // Nor does a longer name leave anything behind.
        std::fs::write(&path, "process of somebody else, whose name is long\n").unwrap();
        medium.lock().unwrap();
        let now = std::fs::read(&path).unwrap();
        assert_eq!(now[..HOLDER], named);
    }

    #[test]
    fn a_directory_tells_the_room_of_its_device_once_it_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let medium = FileMedium::new(directory.path().join("log"), 4096);
        assert_eq!(medium.space(), None);
        medium.lock().unwrap();
        let space = medium.space().unwrap();
        assert!(space.total > 0 && space.free <= space.total, "{space:?}");
    }

    #[test]
    fn a_lock_given_back_is_free_though_a_fork_holds_a_copy_of_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let medium = FileMedium::new(directory.path(), 4096);
        medium.lock().unwrap();
        let copy = medium.lock.lock().unwrap().as_ref().unwrap().try_clone();
        medium.unlock();
        let next = FileMedium::new(directory.path(), 4096);
        next.lock().unwrap();
        let copy_of_next = next.lock.lock().unwrap().as_ref().unwrap().try_clone();
        drop(next);
        FileMedium::new(directory.path(), 4096).lock().unwrap();
        drop((copy, copy_of_next));
    }

    #[test]
    fn written_parts_read_back_and_reads_stop_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let medium = FileMedium::new(directory.path(), 4096);
        let file = medium.create("a").unwrap();
        file.claim(1 << 20).unwrap();
        file.write_at(4, &[b"ab", b"", b"cde"]).unwrap();
        file.sync().unwrap();
        assert_eq!(file.read_at(3, 100).unwrap().as_ref(), b"\0abcde");
        assert_eq!(file.len().unwrap(), 9);
        assert!(medium.create("a").is_err());
        assert_eq!(
            medium.open("b", false).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }

    #[test]
    fn what_is_no_file_is_refused_in_the_place_of_one_and_blocks_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::fs::create_dir(directory.path().join("writer")).unwrap();
        let medium = FileMedium::new(directory.path(), 4096);
        for (name, write) in [
            ("identity", false),
            ("identity", true),
            ("writer", false),
            ("writer", true),
        ] {
            let error = medium.open(name, write).unwrap_err();
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_the_lock_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let theirs = directory.path().join("theirs");
        std::fs::write(&theirs, "precious").unwrap();
        let log = directory.path().join("log");
        std::fs::create_dir(&log).unwrap();
        std::os::unix::fs::symlink(&theirs, log.join(LOCK)).unwrap();
        FileMedium::new(&log, 4096).lock().unwrap_err();
        assert_eq!(std::fs::read_to_string(theirs).unwrap(), "precious");
    }
}
