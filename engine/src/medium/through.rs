//! Writing past the page cache, durably, in one call: for small commits over blocks that were written
//! before. No page is brought in, dirtied, looked for and waited for, so a commit costs the device's time
//! and little more.
//!
//! Memory, offset and length are whole pages; what does not lie so is copied, and followed by zeros. The
//! kernel keeps readers right: pages of the range leave the page cache. A file system that knows no such
//! writes refuses the first one and is not asked again.
#![expect(
    clippy::disallowed_methods,
    reason = "the medium is where files are touched"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};

/// What devices and page caches agree on.
const PAGE: usize = 4096;

/// A file's second handle, made at the first write.
#[derive(Debug, Default)]
pub(super) struct Through(OnceLock<Mutex<Option<Open>>>);

#[derive(Debug)]
struct Open {
    file: File,
    /// Has a part that lies as it must.
    buffer: Vec<u8>,
    /// Zeros from here on.
    used: usize,
}

impl Through {
    /// `false`: nothing was done.
    pub(super) fn write(&self, file: &File, offset: u64, parts: &[&[u8]]) -> io::Result<bool> {
        if !offset.is_multiple_of(PAGE as u64) {
            return Ok(false);
        }
        let through = self.0.get_or_init(|| Mutex::new(open(file)));
        let mut through = through.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = &mut *through else {
            return Ok(false);
        };
        let lies =
            |part: &&[u8]| part.as_ptr().align_offset(PAGE) == 0 && part.len().is_multiple_of(PAGE);
        let written = if parts.iter().all(lies) {
            let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            write(&open.file, offset, &mut slices)
        } else {
            open.gather(parts);
            let pages = open.pages();
            write(&open.file, offset, &mut [IoSlice::new(pages)])
        };
        if matches!(written, Ok(false)) {
            *through = None;
        }
        written
    }
}

impl Open {
    /// Where the buffer's first page begins.
    fn first(&self) -> usize {
        self.buffer.as_ptr().align_offset(PAGE)
    }

    fn gather(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let most = length.next_multiple_of(PAGE) + PAGE;
        if self.buffer.len() < most {
            self.buffer = vec![0; most];
            self.used = 0;
        }
        let mut at = self.first();
        for part in parts {
            self.buffer[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        if at < self.used {
            self.buffer[at..self.used].fill(0);
        }
        self.used = at;
    }

    /// What was gathered, and zeros.
    fn pages(&self) -> &[u8] {
        let first = self.first();
        &self.buffer[first..first + (self.used - first).next_multiple_of(PAGE)]
    }
}

/// Another handle of the same file, wherever that is now; `None`: there is none to be had.
fn open(file: &File) -> Option<Open> {
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(OFlags::DIRECT.bits().cast_signed())
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    opened.ok().map(|file| Open {
        file,
        buffer: Vec::new(),
        used: 0,
    })
}

/// `false`: refused, and nothing written.
fn write(file: &File, mut offset: u64, mut slices: &mut [IoSlice<'_>]) -> io::Result<bool> {
    let mut begun = false;
    while !slices.is_empty() {
        match rustix::io::pwritev2(file, slices, offset, ReadWriteFlags::DSYNC) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                begun = true;
                offset += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(Errno::INTR) => {}
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) if !begun => return Ok(false),
            Err(source) => return Err(source.into()),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_was_written_through_is_read_back_wherever_it_lay_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let file = File::create_new(&path).unwrap();
        file.set_len(3 * PAGE as u64).unwrap();
        let through = Through::default();
        let (front, back) = (vec![1; 100], vec![2; PAGE - 200]);
        // A reader has the page at hand before.
        assert_eq!(std::fs::read(&path).unwrap(), vec![0; 3 * PAGE]);
        let longer = vec![3; PAGE + 500];
        let written = through.write(&file, PAGE as u64, &[&longer]).unwrap()
            && through.write(&file, PAGE as u64, &[&front, &back]).unwrap();
        if !written {
            // A file system without it: nothing may have changed.
            assert_eq!(std::fs::read(&path).unwrap(), vec![0; 3 * PAGE]);
            return;
        }
        let mut found = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut found).unwrap();
        assert_eq!(found.len(), 3 * PAGE);
        assert_eq!(found[PAGE..2 * PAGE - 100], [front, back].concat());
        assert_eq!(found[2 * PAGE - 100..2 * PAGE], [0; 100]);
        assert_eq!(found[2 * PAGE..2 * PAGE + 500], [3; 500]);
        assert!(found[2 * PAGE + 500..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_begins_within_a_page_is_left_to_others() {
        let file = tempfile::tempfile().unwrap();
        let through = Through::default();
        assert!(!through.write(&file, 8, &[&[0; PAGE]]).unwrap());
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
