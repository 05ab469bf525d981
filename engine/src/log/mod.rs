//! The log: the bottom that turns a medium into a [`Store`].
//!
//! ```text
//!   store ──> frame + batch ──> one write into the open segment          ready: page cache
//!   commit ─> last batch, then ──> sync of what is dirty                 pending: the device
//!   read ───> segment by position ──> bytes ──> check ──> record         ready, or the ring's
//!   open ───> recovery: chain to here, durable to here, ceiling          changes nothing
//!   fence, adopt ──> the engine decides where older epochs end           rewrites, syncs, then serves
//!   reclaim > ended segments without what nobody keeps, in their place   new file, synced, then named
//! ```
//!
//! Invariant: after the first failed write or sync nothing more is written by this handle.
//! Invariant: a position is handed out only below a ceiling that is durable and has room claimed.

mod appending;
mod behind;
mod format;
mod history;
mod mapped;
mod opening;
mod options;
mod parts;
mod peek;
mod reading;
mod reclaim;
mod recovery;
mod segment;
mod sparse;
mod takeover;
mod taking;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::contract::{
    Batch, Batches, Codecs, Commit, Env, Epoch, Error, Freed, Level, Oid, Op, Placement, Position,
    Reclaim, Record, Result, RootAt, RootMarker, Status, Store, Stream, StreamState, StreamStatus,
    Tail, Vector,
};
use crate::medium::Medium;

use behind::Behind;
pub use format::{FORMAT, Frame, Identity, SEGMENT_HEADER, SegmentHeader, Writer};
use mapped::Maps;
pub use options::{Grow, LogOptions, ReadBy};
pub use peek::{Peek, PeekSegment};
use segment::{Files, Segment};
use writer::Writing;

const IDENTITY: &str = "identity";
const WRITER: &str = "writer";
const LOCK: &str = "lock";
/// Bytes of batches that one scan step returns at most, unless the first is longer.
const SCAN_BYTES: u64 = 4 << 20;

/// A log on a medium. Clones share it.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    medium: Arc<dyn Medium>,
    env: Env,
    options: LogOptions,
    identity: Identity,
    files: Arc<Files>,
    /// Kind that the status names: the plug-in's.
    kind: &'static str,
    writing: Mutex<Writing>,
    /// Syncs of segments that ended.
    behind: Arc<Behind>,
    /// Whether the medium's lock is ours to give back.
    held: AtomicBool,
    writer_file: Mutex<Writer>,
    found: Mutex<recovery::Found>,
    /// Sorted by base.
    segments: RwLock<Vec<Arc<Segment>>>,
    maps: Maps,
    /// End of what readers may ask for.
    tail: AtomicU64,
    /// What a sync has covered: readers may map it.
    durable: AtomicU64,
    /// Whether nothing lies above the tail for certain: this handle may write, and the last writer
    /// closed cleanly or an adoption has decided.
    vouched: AtomicBool,
    /// Held while segments are put in the place of others. Taken before the turn.
    reclaiming: Mutex<()>,
    /// What has come of a run that is taken over. Only looked at while that is held.
    taking: Mutex<Option<taking::Taking>>,
    /// How often that happened.
    reclaims: AtomicU64,
    /// Whether anybody has asked yet how far the log goes, which is the first thing after opening.
    asked: AtomicBool,
}

impl Log {
    /// Opens the log on `medium`, or makes one where there is none and writing is allowed. Recovery
    /// reads and reports; it changes nothing.
    ///
    /// Errors: `Invalid` (not a log, another stream, a newer format), `Unavailable` (somebody else
    /// writes), `Corrupt` (identity or headers damaged). Damage among batches does not hinder
    /// opening: it is told by [`Store::fence`] and [`Store::root`], and whole records still read.
    pub fn open(
        kind: &'static str,
        medium: Arc<dyn Medium>,
        env: &Env,
        options: LogOptions,
    ) -> Result<Self> {
        Self::open_inner(kind, medium.clone(), env, options)
            .map_err(|error| error.at(medium.place()))
    }

    /// The stack that wrote last, in its own words; empty if nobody wrote.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0
            .writer_file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fingerprint
            .clone()
    }

    /// Who this log is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.0.identity
    }

    /// Headers of all segments, oldest first, with the bytes of each file; for people and scrubbers.
    pub fn segment_headers(&self) -> Result<Vec<(SegmentHeader, u64)>> {
        let shared = &self.0;
        let segments = shared.segments();
        segments
            .iter()
            .map(|segment| {
                let header = *segment.header()?;
                Ok((header, segment.file()?.len()?))
            })
            .collect()
    }

    /// The damage that recovery saw among durable bytes, if any.
    #[must_use]
    pub fn damage(&self) -> Option<Error> {
        self.0
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .damage
            .clone()
    }
}

impl Shared {
    fn writes(&self) -> bool {
        !self.options.read_only
    }

    /// What is written as a whole: after a commit the next batch begins in another one.
    fn unit(&self) -> u64 {
        if planted!(CommittedUnitReused) {
            return 8;
        }
        self.medium.unit()
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to sync, fence, adopt or close: one at a time, while others go on appending. Taken
    /// before `writing`, never after.
    fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.behind.turn()
    }

    /// Gives the medium's lock back, once: by then it may be somebody else's.
    fn unlock(&self) {
        if self.held.swap(false, Ordering::AcqRel) {
            self.medium.unlock();
        }
    }

    fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn status(&self) -> Status {
        let segments = self.segments();
        // Who opens asks for the streams, and nothing that a device must be touched for.
        let told = parts::told(&segments, self.asked.load(Ordering::Acquire));
        let space = self.medium.space().into_iter();
        let space =
            space.flat_map(|space| [("space_total", space.total), ("space_free", space.free)]);
        let writing = self.writing();
        let parts = self.parts(told, &writing);
        let tail = writing.look();
        let stream = StreamStatus {
            stream: self.identity.stream.0,
            end: writing.end.position.0,
            durable: writing.durable.0,
            ceiling: tail.ceiling.0,
            bytes: writing.bytes,
            segments: segments.len() as u64,
        };
        Status {
            kind: self.kind,
            name: None,
            identity: Status::identity_text(&self.identity.store),
            level: self.medium.level(),
            root_stream: self.identity.stream.0,
            placement: Placement::One(self.identity.stream.0),
            codecs: Codecs::default(),
            unit: self.unit(),
            refusing: if self.options.read_only {
                Some("open for reading only".to_owned())
            } else {
                writing.poison.as_ref().map(ToString::to_string)
            },
            streams: vec![stream],
            parts,
            figures: [
                ("batches", writing.batches),
                ("bytes", writing.bytes),
                ("zeros", writing.zeros),
                ("syncs", writing.syncs),
            ]
            .into_iter()
            .chain(space)
            .collect(),
            gate: None,
            below: Vec::new(),
        }
    }

    fn close(&self) -> Result<()> {
        let _whole = self.hold_reclaims();
        let _turn = self.take_turn();
        // From now on somebody else may write here.
        let sealed = self.options.extent.is_sealed();
        self.vouched.store(sealed, Ordering::Release);
        let mut writing = self.writing();
        writing.drop_spare(&*self.medium);
        // What was claimed or written ahead is given back, unless something is still unproven.
        let settled = writing.clean || writing.durable == writing.end.position;
        if settled && writing.poison.is_none() {
            writing.drop_reserve(&*self.medium);
        }
        let cut = if settled && writing.poison.is_none() {
            writing.cut_len()
        } else {
            None
        };
        let durable = writing.durable == writing.end.position || self.medium.level() < Level::Disk;
        let clean =
            (writing.clean && writing.poison.is_none() && durable).then_some(writing.end.position);
        if writing.poison.is_none() {
            writing.poison = Some(Error::closed("the log was closed"));
        }
        drop(writing);
        let cut = match cut {
            Some((file, length)) => file.set_len(length).and_then(|()| file.sync()),
            None => Ok(()),
        };
        let done = cut.and_then(|()| match clean {
            Some(end) => self.replace_writer(|writer| writer.clean = Some(end)),
            None => Ok(()),
        });
        self.unlock();
        done
    }
}

impl Store for Log {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        Op::ready(self.0.append(sender, &batch))
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.0.read(oid)
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        let shared = &self.0;
        let able = shared.medium.level();
        if commit.level > able {
            return Op::err(Error::invalid(format!(
                "this log reaches {able} at most, {} was asked",
                commit.level
            )));
        }
        if commit.is_keep() {
            return Op::ready(shared.keep().map(|()| able));
        }
        match shared.write_commit(&commit) {
            Err(error) => Op::err(error),
            Ok(_) if commit.level < Level::Disk => Op::ok(able.min(Level::Os)),
            Ok((_, true)) => Op::ok(able),
            Ok((end, false)) => {
                let this = shared.clone();
                let flushed = shared
                    .env
                    .offload(move || this.sync(commit.sender, Some(end)).map(|()| able));
                if planted!(AnsweredBeforeFlush) {
                    return Op::ok(able);
                }
                flushed
            }
        }
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.0.asked.store(true, Ordering::Release);
        Op::ready(history::root(&self.0, at))
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.0.asked.store(true, Ordering::Release);
        Op::ready(self.0.fence(epoch))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        Op::ready(self.0.adopt(epoch, &vector))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        if stream != self.0.identity.stream {
            return Op::err(Error::invalid(format!("stream {stream} does not lie here")));
        }
        Op::ready(self.0.scan(from))
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        let this = self.0.clone();
        self.0.env.offload(move || this.reclaim(&decision))
    }

    fn status(&self) -> Status {
        self.0.status()
    }

    fn close(&self) -> Op<()> {
        Op::ready(self.0.close())
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Log({} in {})",
            self.0.identity.stream,
            self.0.medium.place()
        )
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.unlock();
    }
}
