//! The newest commits that went by, for whoever looks: a list that does not grow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use travertine_engine::contract::{Commit, Env, ErrorKind, Level, Result, RootMarker};

/// So many are kept.
const KEPT: usize = 120;

/// Keeps what is to be told of the newest commits.
#[derive(Debug)]
pub(super) struct Commits {
    env: Env,
    /// The oldest first.
    kept: Mutex<VecDeque<Landed>>,
}

/// A round of commits that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Landed {
    /// The number of the last commit in it, if it holds one.
    pub(super) sequence: Option<u64>,
    /// When it was answered, in microseconds since 1970.
    pub(super) at_us: u64,
    pub(super) took_ns: u64,
    /// Bytes that came with it.
    pub(super) bytes: u64,
    /// How it failed, if it did.
    pub(super) failed: Option<ErrorKind>,
}

impl Commits {
    pub(super) fn new(env: &Env) -> Self {
        Self {
            env: env.clone(),
            kept: Mutex::default(),
        }
    }

    /// A commit goes down; what it answers is told to what is returned.
    pub(super) fn begins(self: &Arc<Self>, commit: &Commit) -> Going {
        let lengths = commit.last.iter().map(|batch| batch.bytes().len() as u64);
        let markers = commit.last.iter().filter_map(|batch| {
            let oid = batch.header().marker?;
            let record = batch.read(oid).ok().flatten()?;
            RootMarker::decode(oid, &record).ok()
        });
        Going {
            bytes: lengths.sum(),
            sequence: markers.map(|marker| marker.sequence).max(),
            began: self.env.clock.monotonic_ns(),
            commits: self.clone(),
        }
    }

    /// The newest, the oldest of them first.
    pub(super) fn newest(&self) -> Vec<Landed> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().copied().collect()
    }
}

/// A commit on its way.
#[derive(Debug)]
pub(super) struct Going {
    commits: Arc<Commits>,
    sequence: Option<u64>,
    bytes: u64,
    began: u64,
}

impl Going {
    /// The answer came.
    pub(super) fn end(self, answer: &Result<Level>) {
        let clock = &self.commits.env.clock;
        let landed = Landed {
            sequence: self.sequence,
            at_us: clock.unix_us(),
            took_ns: clock.monotonic_ns().saturating_sub(self.began),
            bytes: self.bytes,
            failed: answer.as_ref().err().map(|error| error.kind()),
        };
        let kept = self.commits.kept.lock();
        let mut kept = kept.unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(landed);
    }
}
