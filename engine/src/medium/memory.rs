//! Files in memory: the medium of tests, caches and scratch data. Nothing survives the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use super::{Medium, MediumFile};
use crate::contract::{Env, Error, Level, Op, Result};

/// A directory in memory. Clones share it, so a log can be "reopened".
#[derive(Debug, Clone, Default)]
pub struct MemoryMedium {
    files: Arc<Mutex<BTreeMap<String, Arc<MemoryFile>>>>,
    locked: Arc<AtomicBool>,
}

impl MemoryMedium {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<MemoryFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Medium for MemoryMedium {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn list(&self) -> Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> Result<Arc<dyn MediumFile>> {
        let file = Arc::new(MemoryFile::default());
        match self.files().entry(name.to_owned()) {
            std::collections::btree_map::Entry::Occupied(_) => {
                Err(Error::invalid(format!("{name} exists already in memory")))
            }
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(file.clone());
                Ok(file)
            }
        }
    }

    fn open(&self, name: &str, _write: bool) -> Result<Arc<dyn MediumFile>> {
        match self.files().get(name) {
            Some(file) => Ok(file.clone()),
            None => Err(Error::invalid(format!("there is no {name} in memory"))),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut files = self.files();
        let file = files
            .remove(from)
            .ok_or_else(|| Error::invalid(format!("there is no {from} in memory")))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.files().remove(name);
        Ok(())
    }

    fn sync_dir(&self) -> Result<()> {
        Ok(())
    }

    fn lock(&self) -> Result<()> {
        if self.locked.swap(true, Ordering::AcqRel) {
            return Err(Error::unavailable(
                "another handle of this process writes this memory",
            ));
        }
        Ok(())
    }

    fn unlock(&self) {
        self.locked.store(false, Ordering::Release);
    }

    fn unit(&self) -> u64 {
        8
    }

    fn level(&self) -> Level {
        Level::Memory
    }
}

/// A file in blocks, so that growing never copies what is there.
#[derive(Debug, Default)]
struct MemoryFile {
    bytes: RwLock<Blocks>,
}

const BLOCK: usize = 64 << 10;

#[derive(Debug, Default)]
struct Blocks {
    blocks: Vec<Box<[u8]>>,
    length: usize,
}

impl Blocks {
    fn reach(&mut self, length: usize) {
        while self.blocks.len() * BLOCK < length {
            self.blocks.push(vec![0; BLOCK].into_boxed_slice());
        }
        self.length = self.length.max(length);
    }
}

impl MediumFile for MemoryFile {
    fn len(&self) -> Result<u64> {
        Ok(self
            .bytes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .length as u64)
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let file = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(file.length);
        let end = start.saturating_add(length).min(file.length);
        let mut out = Vec::with_capacity(end - start);
        let mut at = start;
        while at < end {
            let within = at % BLOCK;
            let take = (BLOCK - within).min(end - at);
            out.extend_from_slice(&file.blocks[at / BLOCK][within..within + take]);
            at += take;
        }
        Ok(Bytes::from(out))
    }

    fn fetch(&self, _env: &Env, offset: u64, length: usize) -> Op<Bytes> {
        Op::ready(self.read_at(offset, length))
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()> {
        let mut file = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut at = usize::try_from(offset)
            .map_err(|_| Error::full(format!("offset {offset} is beyond this machine's memory")))?;
        file.reach(at + length);
        for part in parts {
            let mut part = *part;
            while !part.is_empty() {
                let within = at % BLOCK;
                let take = (BLOCK - within).min(part.len());
                file.blocks[at / BLOCK][within..within + take].copy_from_slice(&part[..take]);
                part = &part[take..];
                at += take;
            }
        }
        Ok(())
    }

    fn claim(&self, _end: u64) -> Result<()> {
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let mut file = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let length = length as usize;
        if length > file.length {
            file.reach(length);
        } else {
            file.blocks.truncate(length.div_ceil(BLOCK));
            if let Some(last) = file
                .blocks
                .last_mut()
                .filter(|_| !length.is_multiple_of(BLOCK))
            {
                last[length % BLOCK..].fill(0);
            }
            file.length = length;
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn map(&self, _length: u64) -> Option<Result<Bytes>> {
        None
    }
}
