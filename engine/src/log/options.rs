//! What a log can be told.

use std::sync::Arc;

use crate::contract::limits::BATCH_MAX;
use crate::contract::{Error, Extent, Result};
use crate::medium::Handles;

/// How a log makes room ahead of the bytes it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grow {
    /// While commits are small, write zeros ahead, so that a commit changes no length and no map of
    /// blocks, and goes to the device in one call, past the page cache, where the medium can; large
    /// appends grow without writing twice.
    #[default]
    Adaptive,
    /// Never write ahead.
    Plain,
}

/// How a log reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadBy {
    /// Through a read-only map of proven bytes, where the medium can map; the open tail by copying.
    /// A record of a kilobyte or more is checked at its first use, smaller ones at each.
    #[default]
    Map,
    /// By copying, each record checked at each use. A read error of the device is an error of the
    /// call, where a map would end the process.
    Copy,
    /// By copying, and what the page cache lacks is a pending op that a ring answers: for data larger
    /// than memory and callers that keep many reads in flight. Plain copying where the system has no
    /// ring: see [`no_depth`](crate::medium::no_depth).
    Ring,
}

/// Options of [`Log::open`](super::Log::open).
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The stream that lies here; checked against the log if there is one.
    pub stream: crate::contract::Stream,
    /// Longest segment, in bytes; 64 KiB to 1 GiB. A segment always has room for one batch.
    pub segment: u64,
    /// How far ahead of the tail positions are announced, in bytes: what a crash may skip. Where that
    /// is too little for a record, the longest batch's length is.
    pub window: u64,
    /// How room is made.
    pub grow: Grow,
    /// How records are read.
    pub read: ReadBy,
    /// Opens without writing one byte.
    pub read_only: bool,
    /// The stack that writes, in its own words; kept beside the log.
    pub fingerprint: String,
    /// Identity of the store, for a new log; drawn at random if not given, checked if there is one.
    pub store: Option<[u8; 16]>,
    /// Which part of the stream lies here.
    pub extent: Extent,
    /// How many files of segments stay open to be read: a bound that several logs may share. What is
    /// not durable yet stays open besides, eight files of it at most.
    pub handles: Arc<Handles>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            stream: crate::contract::Stream(0),
            segment: 64 << 20,
            window: 256 << 20,
            grow: Grow::Adaptive,
            read: ReadBy::Map,
            read_only: false,
            fingerprint: String::new(),
            store: None,
            extent: Extent::Whole,
            handles: Arc::default(),
        }
    }
}

impl LogOptions {
    pub(super) fn check(&self) -> Result<()> {
        let segments = 64 << 10..=1 << 30;
        if !segments.contains(&self.segment) {
            return Err(Error::invalid(format!(
                "a segment of {} bytes is out of range: 64 KiB to 1 GiB",
                self.segment
            )));
        }
        if !(64 << 10..=1 << 40).contains(&self.window) {
            return Err(Error::invalid(format!(
                "a window of {} bytes is out of range: 64 KiB to 1 TiB",
                self.window
            )));
        }
        Ok(())
    }

    /// Room that is kept claimed ahead of the tail, in bytes: more than an engine has on its way.
    pub(super) fn ahead(&self) -> u64 {
        10 << 20
    }

    /// Room that is claimed for somebody who asks for more: enough for the longest batch.
    pub(super) fn longest(&self) -> u64 {
        BATCH_MAX as u64 + (1 << 20)
    }
}
