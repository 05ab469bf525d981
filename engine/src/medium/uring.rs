//! Reads in depth: what the page cache lacks is read by io_uring, so that one thread keeps many reads
//! of a device in flight.
//!
//! ```text
//!   caller ──> entry + enter ──> kernel ──> completion ──> the ring's thread ──> the op's answer
//! ```
//!
//! Promises that a buffer and a file live until the kernel is done with them, whoever drops the op,
//! and that at most [`DEPTH`] reads are in flight: one more is the caller's own to make. It is for
//! depth alone. A single read costs a wake more than a plain one; a write or a sync gains nothing
//! here, and has no place in this file.
#![expect(
    unsafe_code,
    reason = "the kernel writes into buffers that it is told of, argued below"
)]

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use io_uring::{IoUring, opcode, types};

use crate::contract::{Env, Error, Op, Promise, Result};

/// Reads in flight at once. A device is busy with far fewer.
const DEPTH: u32 = 128;
/// Times that the kernel is asked to take an entry before it counts as unwilling.
const PATIENCE: u32 = 100;
/// What the entry that ends the thread is known by; reads are numbered from one.
const END: u64 = 0;

/// Whether the kernel lets this process have a ring, and if not, in which words.
pub(super) fn refused() -> Option<String> {
    IoUring::new(2).err().map(|error| error.to_string())
}

/// A ring and the thread that takes its answers.
#[derive(Debug)]
pub(super) struct Ring(Arc<Shared>);

struct Shared {
    ring: IoUring,
    flying: Mutex<Flying>,
}

#[derive(Default)]
struct Flying {
    last: u64,
    reads: HashMap<u64, Flight>,
    ended: bool,
}

/// All that the kernel may touch until it has answered.
struct Flight {
    file: Arc<File>,
    offset: u64,
    buffer: Vec<u8>,
    /// `None`: whoever asked has gone another way, and only the buffer must still wait.
    promise: Option<Promise<Bytes>>,
}

impl Ring {
    /// Makes a ring and starts its thread.
    pub(super) fn start(env: &Env) -> Result<Self> {
        let ring = IoUring::new(DEPTH).map_err(|source| Error::io("making a ring", source))?;
        let shared = Arc::new(Shared {
            ring,
            flying: Mutex::default(),
        });
        let theirs = shared.clone();
        env.drivers
            .thread("travertine-ring", Box::new(move || theirs.take_answers()))?;
        Ok(Self(shared))
    }

    /// Begins to read up to `length` bytes at `offset`. `None`: too many are in flight, or the kernel
    /// has no room for another: read without the ring.
    pub(super) fn read(&self, file: &Arc<File>, offset: u64, length: usize) -> Option<Op<Bytes>> {
        let wanted = u32::try_from(length).ok()?;
        let mut flying = self.0.flying();
        if flying.reads.len() >= DEPTH as usize {
            return None;
        }
        let mut buffer = vec![0; length];
        let entry = opcode::Read::new(types::Fd(file.as_raw_fd()), buffer.as_mut_ptr(), wanted)
            .offset(offset)
            .build()
            .user_data(flying.last + 1);
        let (promise, answer) = Promise::new();
        flying.last += 1;
        let number = flying.last;
        let flight = Flight {
            file: file.clone(),
            offset,
            buffer,
            promise: Some(promise),
        };
        // Kept before the kernel hears of it: from here on only its answer lets go of the buffer. The
        // vector may move; the bytes that the entry points to do not.
        flying.reads.insert(number, flight);
        if !self.0.push(&entry) {
            flying.reads.remove(&number);
            return None;
        }
        if !self.0.tell_kernel(&flying) {
            flying.reads.get_mut(&number)?.promise = None;
            return None;
        }
        Some(answer)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut flying = self.0.flying();
        flying.ended = true;
        // Wakes the thread, which leaves once the last read has its answer.
        self.0.push(&opcode::Nop::new().build().user_data(END));
        self.0.tell_kernel(&flying);
    }
}

impl Shared {
    fn flying(&self) -> MutexGuard<'_, Flying> {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an entry into the queue; the caller holds `flying`. `false`: there is no room.
    fn push(&self, entry: &io_uring::squeue::Entry) -> bool {
        // SAFETY: the queue is only touched here, by whoever holds the lock. The buffer and the
        // file of a read stand in `flying` until its completion was taken, and the ring outlives
        // `flying`'s entries: its thread leaves only when none is left.
        unsafe { self.ring.submission_shared().push(entry).is_ok() }
    }

    /// Hands the queue to the kernel. `false`: it would not have it; the entry stays in the queue, and
    /// goes with the next.
    fn tell_kernel(&self, _held: &MutexGuard<'_, Flying>) -> bool {
        for _ in 0..PATIENCE {
            if self.ring.submit().is_ok() {
                return true;
            }
            // Interrupted, or out of memory for a moment.
            std::thread::yield_now();
        }
        false
    }

    fn take_answers(&self) {
        loop {
            let waited = self.ring.submit_and_wait(1);
            // SAFETY: this thread alone takes completions.
            let done: Vec<_> = unsafe { self.ring.completion_shared() }
                .map(|entry| (entry.user_data(), entry.result()))
                .collect();
            let ended = {
                let mut flying = self.flying();
                let flights: Vec<_> = done
                    .iter()
                    .filter_map(|(number, result)| Some((flying.reads.remove(number)?, *result)))
                    .collect();
                let ended = flying.ended && flying.reads.is_empty();
                drop(flying);
                for (flight, result) in flights {
                    flight.land(result);
                }
                ended
            };
            if ended {
                return;
            }
            if waited.is_err() && done.is_empty() {
                std::thread::yield_now();
            }
        }
    }
}

impl Flight {
    /// Answers what the kernel did. A read that came short goes on by plain reads: it met the end of
    /// the file, was cut off, or is nothing that the ring of this kernel does.
    fn land(self, result: i32) {
        let Self {
            file,
            offset,
            mut buffer,
            promise: Some(promise),
        } = self
        else {
            return;
        };
        let mut have = usize::try_from(result).unwrap_or(0);
        let answer = loop {
            if have >= buffer.len() {
                break Ok(());
            }
            match file.read_at(&mut buffer[have..], offset + have as u64) {
                Ok(0) => break Ok(()),
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        buffer.truncate(have);
        let answer = answer.map(|()| Bytes::from(buffer));
        promise.fulfil(answer.map_err(|source| Error::io("reading through a ring", source)));
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} reads in flight", self.flying().reads.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: usize) -> Arc<File> {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..length).map(|n| (n / 7) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        Arc::new(file)
    }

    fn ring() -> Option<Ring> {
        if let Some(why) = refused() {
            // No tool that could be installed: containers often forbid it.
            println!("skipped: needs io_uring, and the kernel says {why}");
            return None;
        }
        Some(Ring::start(&Env::system()).unwrap())
    }

    #[test]
    fn many_reads_in_flight_each_get_their_own_bytes() {
        let Some(ring) = ring() else { return };
        let file = file(1 << 20);
        for round in 0..50 {
            let reads: Vec<_> = (0..DEPTH as u64 * 2)
                .map(|n| {
                    let offset = (n * 7919 + round * 131) % (1 << 20);
                    (offset, ring.read(&file, offset, 5000))
                })
                .collect();
            let mut answered = 0;
            for (offset, read) in reads {
                // More than the depth is refused, never queued without a bound.
                let Some(read) = read else { continue };
                let bytes = read.wait().unwrap();
                let length = 5000.min((1 << 20) - offset) as usize;
                let expected: Vec<u8> = (offset..offset + length as u64)
                    .map(|n| (n / 7) as u8)
                    .collect();
                assert_eq!(bytes, expected);
                answered += 1;
            }
            assert!(answered >= DEPTH);
        }
    }

    #[test]
    fn an_op_or_a_ring_dropped_in_flight_harms_nothing() {
        let file = file(1 << 20);
        for _ in 0..20 {
            let Some(ring) = ring() else { return };
            let mut kept: Vec<_> = (0..100)
                .filter_map(|n| ring.read(&file, n * 4096, 4096))
                .collect();
            // Half is dropped while the kernel writes into its buffers, the ring before the rest.
            kept.truncate(kept.len() / 2);
            drop(ring);
            for read in kept {
                assert_eq!(read.wait().unwrap().len(), 4096);
            }
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a file that cannot be read")]
    fn a_failed_read_is_an_error_with_its_cause() {
        let Some(ring) = ring() else { return };
        let unreadable = Arc::new(
            std::fs::OpenOptions::new()
                .write(true)
                .open(tempfile::NamedTempFile::new().unwrap().path())
                .unwrap(),
        );
        let error = ring.read(&unreadable, 0, 10).unwrap().wait().unwrap_err();
        assert!(error.to_string().contains("ring"), "{error}");
    }
}
