//! The raw baselines: what the same machine does with the same bytes and no engine at all.
//!
//! Frame of every baseline: length u32, crc32 u32, payload. Buffers of 1 MiB, `fdatasync`.
#![expect(
    clippy::disallowed_methods,
    reason = "a baseline is plain files and clocks"
)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Bytes that are gathered before a write.
const BUFFER: usize = 1 << 20;

/// A file that records are appended to, with a crc in front of each.
#[derive(Debug)]
pub struct RawLog {
    file: File,
    buffer: Vec<u8>,
    written: u64,
}

impl RawLog {
    /// Makes the file; with `zeroed`, that many bytes of it are written with zeros and synced first.
    pub fn create(path: &Path, zeroed: u64) -> std::io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)?;
        let zeros = vec![0; BUFFER];
        let mut at = 0;
        while at < zeroed {
            file.write_all_at(&zeros, at)?;
            at += BUFFER as u64;
        }
        file.sync_all()?;
        Ok(Self {
            file,
            buffer: Vec::with_capacity(2 * BUFFER),
            written: 0,
        })
    }

    /// Appends a record to the buffer, writing the buffer out when it is full.
    pub fn append(&mut self, record: &[u8]) -> std::io::Result<u64> {
        let at = self.written + self.buffer.len() as u64;
        self.buffer
            .extend_from_slice(&(record.len() as u32).to_le_bytes());
        self.buffer
            .extend_from_slice(&crc32fast::hash(record).to_le_bytes());
        self.buffer.extend_from_slice(record);
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(at)
    }

    /// Writes the buffer out.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.file.write_all_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the buffer out and syncs.
    pub fn commit(&mut self) -> std::io::Result<()> {
        self.flush()?;
        self.file.sync_data()
    }
}

/// Group commit by blocked threads: each appends under a lock and waits until a leader has synced.
#[derive(Debug)]
pub struct RawGroup {
    state: Mutex<GroupState>,
    done: Condvar,
}

#[derive(Debug)]
struct GroupState {
    log: Option<RawLog>,
    queued: Vec<u8>,
    submitted: u64,
    synced: u64,
}

impl RawGroup {
    /// A group over a log.
    #[must_use]
    pub fn new(log: RawLog) -> Self {
        let state = GroupState {
            log: Some(log),
            queued: Vec::new(),
            submitted: 0,
            synced: 0,
        };
        Self {
            state: Mutex::new(state),
            done: Condvar::new(),
        }
    }

    /// Appends one record and returns when it is durable.
    pub fn commit(&self, record: &[u8]) -> std::io::Result<()> {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state
            .queued
            .extend_from_slice(&(record.len() as u32).to_le_bytes());
        state
            .queued
            .extend_from_slice(&crc32fast::hash(record).to_le_bytes());
        state.queued.extend_from_slice(record);
        state.submitted += 1;
        let mine = state.submitted;
        while state.synced < mine {
            match state.log.take() {
                Some(mut log) => {
                    let upto = state.submitted;
                    let queued = std::mem::take(&mut state.queued);
                    drop(state);
                    log.buffer.extend_from_slice(&queued);
                    let result = log.commit();
                    state = self
                        .state
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    state.log = Some(log);
                    state.synced = upto;
                    self.done.notify_all();
                    result?;
                }
                None => {
                    state = self
                        .done
                        .wait(state)
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                }
            }
        }
        Ok(())
    }
}

/// How long something took, and the sorted latencies of its steps.
#[derive(Debug, Clone, Default)]
pub struct Timing {
    /// From first to last.
    pub total: Duration,
    /// Of each step, sorted, in nanoseconds; empty where steps were not timed.
    pub steps: Vec<u64>,
}

impl Timing {
    /// Runs `step` so many times, timing each.
    pub fn steps<E>(count: usize, mut step: impl FnMut(usize) -> Result<(), E>) -> Result<Self, E> {
        let mut steps = Vec::with_capacity(count);
        let began = Instant::now();
        for index in 0..count {
            let at = Instant::now();
            step(index)?;
            steps.push(at.elapsed().as_nanos() as u64);
        }
        let total = began.elapsed();
        steps.sort_unstable();
        Ok(Self { total, steps })
    }

    /// Runs `work` once.
    pub fn once<E>(work: impl FnOnce() -> Result<(), E>) -> Result<Self, E> {
        let began = Instant::now();
        work()?;
        Ok(Self {
            total: began.elapsed(),
            steps: Vec::new(),
        })
    }

    /// The latency below which this share of the steps lies, in microseconds.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> f64 {
        let last = self.steps.len().saturating_sub(1);
        let index = ((self.steps.len() as f64 * share) as usize).min(last);
        self.steps.get(index).map_or(0.0, |&ns| ns as f64 / 1000.0)
    }

    /// So many in so much time.
    #[must_use]
    pub fn rate(&self, count: usize) -> f64 {
        count as f64 / self.total.as_secs_f64()
    }
}

/// The middle one.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Runs both sides `rounds` times in turn and prints medians, their ratio and the spread of ratios.
///
/// # Errors
///
/// What one of the sides answers.
pub fn compare(
    name: &str,
    rounds: usize,
    mut both: impl FnMut() -> Result<(f64, f64), Box<dyn std::error::Error>>,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut one, mut other, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (a, b) = both()?;
        one.push(a);
        other.push(b);
        ratios.push(b / a);
    }
    let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let high = ratios.iter().copied().fold(0.0, f64::max);
    println!(
        "{name:<44} {:>12.0} {:>12.0} {:>7.2}  {low:.2}..{high:.2}",
        median(one),
        median(other),
        median(ratios)
    );
    Ok(())
}
