//! Files in memory: the medium of tests, caches and scratch data. Nothing survives the process.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use memmap2::{MmapMut, MmapOptions};

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
///
/// ```text
///   | 64 KiB | 64 KiB | … to 512 KiB | 512 KiB             | 512 KiB             | …
///     a small file takes little        from the system, all its pages at once: one by one, as they are
///                                      met, they cost more than the bytes that are put there
/// ```
#[derive(Debug, Default)]
struct MemoryFile {
    bytes: RwLock<Blocks>,
}

const SHORT: usize = 64 << 10;
const LONG: usize = 512 << 10;

#[derive(Debug, Default)]
struct Blocks {
    blocks: Vec<Block>,
    length: usize,
}

#[derive(Debug)]
enum Block {
    Short(Box<[u8]>),
    Long(MmapMut),
}

impl Block {
    /// The next one of a file that has so many.
    fn after(count: usize) -> Self {
        if count < LONG / SHORT {
            return Self::Short(vec![0; SHORT].into_boxed_slice());
        }
        match MmapOptions::new().len(LONG).populate().map_anon() {
            Ok(map) => Self::Long(map),
            // As many maps as a process may have: the allocator has ways of its own.
            Err(_) => Self::Short(vec![0; LONG].into_boxed_slice()),
        }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(map) => map,
        }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(map) => map,
        }
    }
}

/// In which block an offset lies, and where there.
fn place(at: usize) -> (usize, usize) {
    if at < LONG {
        (at / SHORT, at % SHORT)
    } else {
        (LONG / SHORT - 1 + at / LONG, at % LONG)
    }
}

impl Blocks {
    fn reach(&mut self, length: usize) {
        if let Some(last) = length.checked_sub(1) {
            let (last, _) = place(last);
            while self.blocks.len() <= last {
                self.blocks.push(Block::after(self.blocks.len()));
            }
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
            let (block, within) = place(at);
            let there = &file.blocks[block][within..];
            let take = there.len().min(end - at);
            out.extend_from_slice(&there[..take]);
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
                let (block, within) = place(at);
                let room = &mut file.blocks[block][within..];
                let take = room.len().min(part.len());
                room[..take].copy_from_slice(&part[..take]);
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
            let (last, within) = place(length);
            file.blocks.truncate(last + usize::from(within > 0));
            if let Some(last) = file.blocks.get_mut(last) {
                last[within..].fill(0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_reads_back_across_its_blocks_and_a_cut_leaves_zeros() {
        let medium = MemoryMedium::new();
        let file = medium.create("long").unwrap();
        let bytes: Vec<_> = (0..5_u32 << 18).flat_map(u32::to_le_bytes).collect();
        for (nth, piece) in bytes.chunks(100_003).enumerate() {
            file.write_at(nth as u64 * 100_003, &[piece]).unwrap();
        }
        assert_eq!(file.len().unwrap(), bytes.len() as u64);
        assert_eq!(file.read_at(0, usize::MAX).unwrap(), bytes);
        for length in [
            bytes.len() - 1,
            2 * LONG + 5,
            2 * LONG,
            LONG + 1,
            LONG,
            SHORT,
            7,
            0,
        ] {
            file.set_len(length as u64).unwrap();
            assert_eq!(file.read_at(0, usize::MAX).unwrap(), bytes[..length]);
            file.set_len(length as u64 + 300_000).unwrap();
            let after = file.read_at(length as u64, 300_000).unwrap();
            assert!(after.len() == 300_000 && after.iter().all(|byte| *byte == 0));
        }
    }
}
