//! Media that count what is asked of them, round the directories of the file system.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use travertine_engine::contract::{Env, Level, Op, Result};
use travertine_engine::medium::file::FileMedium;
use travertine_engine::medium::{Medium, MediumFile};
use travertine_engine::stack::Media;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Listings of directories.
    pub lists: u64,
    /// Reads of files.
    pub reads: u64,
    /// Bytes that they gave.
    pub bytes: u64,
    /// Maps of files, which read nothing by themselves.
    pub maps: u64,
}

#[derive(Debug, Default)]
struct Counters {
    lists: AtomicU64,
    reads: AtomicU64,
    bytes: AtomicU64,
    maps: AtomicU64,
}

/// Directories of the file system, each call counted.
#[derive(Debug, Default)]
pub struct CountedMedia(Arc<Counters>);

impl CountedMedia {
    /// What was asked so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            lists: of(&self.0.lists),
            reads: of(&self.0.reads),
            bytes: of(&self.0.bytes),
            maps: of(&self.0.maps),
        }
    }
}

impl Media for CountedMedia {
    fn medium(&self, place: &Path, unit: u64) -> Arc<dyn Medium> {
        Arc::new(Counted {
            medium: FileMedium::new(place, unit),
            counters: self.0.clone(),
        })
    }
}

#[derive(Debug)]
struct Counted {
    medium: FileMedium,
    counters: Arc<Counters>,
}

impl Counted {
    fn file(&self, file: Arc<dyn MediumFile>) -> Arc<dyn MediumFile> {
        Arc::new(CountedFile {
            file,
            counters: self.counters.clone(),
        })
    }
}

impl Medium for Counted {
    fn place(&self) -> String {
        self.medium.place()
    }

    fn list(&self) -> Result<Vec<String>> {
        self.counters.lists.fetch_add(1, Ordering::Relaxed);
        self.medium.list()
    }

    fn create(&self, name: &str) -> Result<Arc<dyn MediumFile>> {
        self.medium.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str, write: bool) -> Result<Arc<dyn MediumFile>> {
        self.medium.open(name, write).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.medium.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.medium.remove(name)
    }

    fn sync_dir(&self) -> Result<()> {
        self.medium.sync_dir()
    }

    fn lock(&self) -> Result<()> {
        self.medium.lock()
    }

    fn unlock(&self) {
        self.medium.unlock();
    }

    fn unit(&self) -> u64 {
        self.medium.unit()
    }

    fn level(&self) -> Level {
        self.medium.level()
    }
}

#[derive(Debug)]
struct CountedFile {
    file: Arc<dyn MediumFile>,
    counters: Arc<Counters>,
}

impl MediumFile for CountedFile {
    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let bytes = self.file.read_at(offset, length)?;
        let read = bytes.len() as u64;
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(read, Ordering::Relaxed);
        Ok(bytes)
    }

    fn fetch(&self, _env: &Env, offset: u64, length: usize) -> Op<Bytes> {
        Op::ready(self.read_at(offset, length))
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()> {
        self.file.write_at(offset, parts)
    }

    fn claim(&self, end: u64) -> Result<()> {
        self.file.claim(end)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.file.set_len(length)
    }

    fn sync(&self) -> Result<()> {
        self.file.sync()
    }

    fn map(&self, length: u64) -> Option<Result<Bytes>> {
        self.counters.maps.fetch_add(1, Ordering::Relaxed);
        self.file.map(length)
    }
}
