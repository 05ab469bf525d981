//! Directories in which nothing is synced and no room is claimed: images are judged there. No power
//! cut follows, so that syncs would only take time.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use travertine::contract::{Env, Level, Op, Result};
use travertine::medium::file::FileMedium;
use travertine::medium::{Medium, MediumFile};
use travertine::stack::Media;

/// Directories of the file system, but for syncs and claims.
#[derive(Debug)]
pub(crate) struct Idle;

impl Media for Idle {
    fn medium(&self, place: &Path, unit: u64) -> Arc<dyn Medium> {
        Arc::new(IdleMedium(FileMedium::new(place, unit)))
    }
}

#[derive(Debug)]
struct IdleMedium(FileMedium);

impl Medium for IdleMedium {
    fn place(&self) -> String {
        self.0.place()
    }

    fn list(&self) -> Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> Result<Arc<dyn MediumFile>> {
        Ok(Arc::new(IdleFile(self.0.create(name)?)))
    }

    fn open(&self, name: &str, write: bool) -> Result<Arc<dyn MediumFile>> {
        Ok(Arc::new(IdleFile(self.0.open(name, write)?)))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.0.remove(name)
    }

    fn sync_dir(&self) -> Result<()> {
        Ok(())
    }

    fn lock(&self) -> Result<()> {
        self.0.lock()
    }

    fn unlock(&self) {
        self.0.unlock();
    }

    fn unit(&self) -> u64 {
        self.0.unit()
    }

    fn level(&self) -> Level {
        self.0.level()
    }
}

#[derive(Debug)]
struct IdleFile(Arc<dyn MediumFile>);

impl MediumFile for IdleFile {
    fn len(&self) -> Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        self.0.read_at(offset, length)
    }

    fn fetch(&self, env: &Env, offset: u64, length: usize) -> Op<Bytes> {
        self.0.fetch(env, offset, length)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()> {
        self.0.write_at(offset, parts)
    }

    fn claim(&self, _end: u64) -> Result<()> {
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn map(&self, length: u64) -> Option<Result<Bytes>> {
        self.0.map(length)
    }
}
