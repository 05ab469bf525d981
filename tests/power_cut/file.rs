//! One file: what its readers see, what is on the disk, and what lies between the two.
//!
//! ```text
//!   write, resize ──> live ─────────── read, map
//!                      │ pending
//!                    fsync ──> durable ── what a power cut leaves, and what it likes of pending
//! ```
//!
//! The bytes of a failed fsync are in neither pending nor durable, and live goes on showing them.

/// Room is given out in blocks.
const BLOCK: u64 = 4096;

/// What no fsync has made durable yet.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// These bytes from there on.
    Write(u64, Vec<u8>),
    /// So long from now on.
    Length(u64),
}

impl Change {
    /// How long a file is after this, which was `length` long.
    pub(crate) fn length(&self, length: u64) -> u64 {
        match self {
            Self::Write(at, bytes) => length.max(at + bytes.len() as u64),
            Self::Length(to) => *to,
        }
    }

    /// Does it to some content.
    pub(crate) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => put(content, *at, bytes),
            Self::Length(to) => content.resize(*to as usize, 0),
        }
    }
}

/// A file of the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) live: Vec<u8>,
    pub(crate) durable: Vec<u8>,
    pub(crate) pending: Vec<Change>,
    claimed: u64,
}

impl Content {
    /// A file all of whose bytes are durable.
    pub(crate) fn settled(bytes: Vec<u8>) -> Self {
        Self {
            live: bytes.clone(),
            durable: bytes,
            pending: Vec::new(),
            claimed: 0,
        }
    }

    pub(crate) fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        if let Change::Length(to) = change {
            self.claimed = self.claimed.min(to);
        }
        self.pending.push(change);
    }

    pub(crate) fn claim(&mut self, end: u64) {
        self.claimed = self.claimed.max(end);
    }

    /// The room that it takes if it grows to `end`, in bytes.
    pub(crate) fn room(&self, end: u64) -> u64 {
        let end = end.max(self.claimed).max(self.live.len() as u64);
        end.div_ceil(BLOCK) * BLOCK
    }

    /// Whether anything worth a sector waits for an fsync.
    pub(crate) fn has_data_pending(&self) -> bool {
        let worth =
            |change: &Change| matches!(change, Change::Write(_, bytes) if bytes.len() > 511);
        self.pending.iter().any(worth)
    }

    pub(crate) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// A failed fsync: nothing is pending any more, and of the writes only those that `kept` says
    /// are durable. Lengths that were set went through a journal.
    pub(crate) fn sync_and_drop(&mut self, mut kept: impl FnMut() -> bool) {
        for change in self.pending.drain(..) {
            if matches!(change, Change::Length(_)) || kept() {
                change.apply(&mut self.durable);
            }
        }
    }
}

/// Puts bytes over others, and zeros between them and the end if they lie behind it.
pub(crate) fn put(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let start = at as usize;
    let end = start + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}
