//! The contract: what every floor of a stack honours, and so does a whole stack.

use std::fmt::Debug;
use std::sync::Arc;

use super::batch::{Batch, End, Proven};
use super::codec::Codecs;
use super::error::{Error, Result};
use super::level::{Epoch, Level};
use super::marker::{RootMarker, Vector};
use super::oid::{Oid, Position, Stream};
use super::op::Op;
use super::record::Record;

/// Ten verbs, no defaults: a wrapper that forgets one does not compile, so none silently bypasses
/// what is below. Those that a floor does not care about it names in [`forward!`](crate::forward). A
/// floor that cannot do a thing answers [`Unsupported`](super::ErrorKind) with its name.
///
/// # Three answers
///
/// `Ok(Some(_))` is found. `Ok(None)` is *absent, with proof*. An error of kind `Unavailable` or
/// `Corrupt` is *unknown*. Only absent may change a decision.
///
/// # Rules for implementers
///
/// - The call starts the work; dropping the op stops the waiting only.
/// - Ready means done: the effects are visible before the call returns.
/// - No lock is held across a call below.
/// - Floors pass, keep, refuse or copy a whole batch; none splits, joins, skips or reorders.
pub trait Store: Send + Sync + Debug {
    /// Appends a batch at its own place. Promises order, not survival. The same batch at the same
    /// place again is a no-op; other bytes at or below the tail are refused.
    ///
    /// Errors: `Fenced` (a newer epoch took over), `Full`, `Closed`, `Invalid` (does not follow on).
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail>;

    /// The record at `oid`, verified.
    fn read(&self, oid: Oid) -> Op<Option<Record>>;

    /// Brings everything stored so far, and the batches in `commit`, to a level. Ready or pending,
    /// its answer is the level reached, never less than asked.
    fn commit(&self, commit: Commit) -> Op<Level>;

    /// A root marker: what a store without an engine on it knows of its commits. `Ok(None)`: none
    /// yet, or none that old, or none that the links between markers still lead to. Where a reclaim freed
    /// commits between others that stay, only an engine tells which are left: it reads what was decided.
    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>>;

    /// Refuses from now on, durably, every sender of an older epoch, and reports each stream as it
    /// lies. Changes no batch. Fencing again with the same epoch only reports; so does the epoch
    /// number 0, which is nobody's: it refuses no one and writes nothing.
    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>>;

    /// Tells where the older epochs end. Everything above is void; everything below is rewritten
    /// where it was not proven, and made durable, before the answer. An epoch stores nothing before
    /// it has adopted.
    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()>;

    /// Whole batches of `stream` in order, a bounded number from the first that begins at or after
    /// `from`; or what a reclaim left of them.
    fn scan(&self, stream: Stream, from: Position) -> Op<Batches>;

    /// Gives space back: of a run of proven positions the records that nobody keeps. Afterwards each
    /// of them is found as before, or is absent with proof; those that are kept stay where they are.
    /// The same decision again is a no-op, a later one over the same positions may only free more. One
    /// that speaks of much may come as several, run after run, each from where the one before it [got
    /// to](Freed::to). Nobody who reads is held up.
    ///
    /// Errors: `Invalid` (what is to stay was freed before, or no record begins there; what is to be
    /// taken over does not follow on), `Full` (no room to write down what stays; nothing is lost, and it
    /// may go on later), `Unsupported` (nothing is freed here, or taken over), `Fenced`, `Closed`.
    fn reclaim(&self, decision: Reclaim) -> Op<Freed>;

    /// What is here, without touching a device.
    fn status(&self) -> Status;

    /// Flushes nothing, ends the drivers, frees the lock. The engine commits before it closes.
    fn close(&self) -> Op<()>;
}

/// Where a stream ends after a store, and how far its writer may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Where the last batch ended.
    pub end: Position,
    /// OIDs may be handed out only below this: announced durably, and with space claimed.
    pub ceiling: Position,
}

/// What [`Store::commit`] is asked.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Who asks. Nobody may, as [`Epoch::default`] and with no batch: see [`Commit::keep`].
    pub sender: Epoch,
    /// The level needed.
    pub level: Level,
    /// The last batch of each stream that still has one to send; the marker lies in one of them.
    pub last: Vec<Batch>,
}

impl Commit {
    /// What whoever holds a store open may ask before anybody has adopted: that all that was found there
    /// becomes as safe as what is written. Nothing is decided by it, nobody is refused, and where the older
    /// epochs end is as open as before. Once somebody has adopted, that is for their commits to see to.
    #[must_use]
    pub fn keep(level: Level) -> Self {
        Self {
            sender: Epoch::default(),
            level,
            last: Vec::new(),
        }
    }

    /// Whether it is nobody who asks.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        self.sender == Epoch::default() && self.last.is_empty()
    }
}

/// Which root marker is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootAt {
    /// The newest. To a reader a store has no newer one than the proven.
    Newest,
    /// The newest that a batch names as proven: no crash takes it back, whatever else the stack that
    /// wrote it stands on. Whoever looks beside a writer is shown no other.
    Proven,
    /// The one with this sequence number.
    Sequence(u64),
    /// The newest at or before this time, in microseconds since 1970.
    Time(u64),
}

/// How one stream lies, as a fence reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// Which.
    pub stream: Stream,
    /// End of the valid chain of batches.
    pub end: End,
    /// Known durable up to here: nothing below may ever be cut.
    pub durable: Position,
    /// What lies here is as safe as this stream can make it up to here, though nothing on the medium may
    /// say so yet: a sync has ended, or enough copies have it. No cut is decided by it. Readers go by it: a
    /// commit of which all that it depends on is safe is proven, whether or not its writer got to say so.
    pub safe: Position,
    /// The next epoch starts no lower than this.
    pub ceiling: Position,
    /// Whether the last writer closed cleanly and no later one announced a ceiling, so that nothing
    /// was handed out past `end`; true for a stream nobody has written to.
    pub clean: bool,
    /// The newest proven commit named by anything in the stream.
    pub proven: Option<Proven>,
    /// The newest epoch that wrote here.
    pub epoch: Epoch,
    /// The window of recovery: the batches that end above `proven`'s marker, oldest first, so the
    /// one that holds that marker comes first. All batches, if nothing is proven.
    pub chain: Vec<ChainLink>,
}

/// One batch in the window of recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainLink {
    /// Where the batch ended.
    pub end: End,
    /// The newest marker in it.
    pub marker: Option<(Oid, RootMarker)>,
}

/// Some batches of a scan.
#[derive(Debug, Clone)]
pub struct Batches {
    /// In order.
    pub batches: Vec<Batch>,
    /// What is left of the run that follows on them, if not all of it is there any more. Whoever
    /// copies batches cannot go on over it.
    pub sparse: Option<Sparse>,
    /// Where to go on; `None` at the end of the stream.
    pub next: Option<Position>,
}

/// What a reclaim left of a run of positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparse {
    /// Where the run begins.
    pub from: Position,
    /// Where it ends: all records between that are not here are absent.
    pub to: Position,
    /// What the run follows on, if it begins here.
    pub before: Option<End>,
    /// In order, each bounded but not verified.
    pub records: Vec<(Oid, Record)>,
    /// How the stream stood at `to`, if a batch ended there.
    pub after: Option<End>,
}

impl Sparse {
    /// Checks that what is left stands in order and within the run, and that it is whole: nothing but a
    /// scan that stopped in the middle of it lacks its end.
    ///
    /// Errors: `Invalid`.
    pub fn check(&self) -> Result<()> {
        let positions = self.records.iter().map(|(oid, _)| oid.position());
        let inside = |position: Position| (self.from..self.to).contains(&position);
        let sorted = positions.clone().is_sorted_by(|one, other| one < other);
        let ends = self.after.is_none_or(|after| after.position == self.to);
        if sorted && ends && self.to <= Position::LIMIT && positions.clone().all(inside) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "what is left of {}..{} is out of order, or lies elsewhere",
            self.from, self.to
        )))
    }
}

/// What may be freed: the records of one stream within a run of positions that nobody keeps.
#[derive(Debug, Clone)]
pub struct Reclaim {
    /// Who decided.
    pub sender: Epoch,
    /// The stream.
    pub stream: Stream,
    /// Where the run begins.
    pub from: Position,
    /// Where it ends. Only proven positions lie in it. A floor does what lies in whole parts of its
    /// own that are written no more, and leaves the rest.
    pub to: Position,
    /// Where the records begin that stay: each once, in order, all of them within the run.
    pub alive: Arc<[Position]>,
    /// What another store has left of the run, for one that ends where the run begins and is to go on
    /// behind it: it takes that over as it is. Nothing is freed then, and `alive` is empty. A long run
    /// comes in pieces, as [scans](Store::scan) give it: the first knows what the run follows on, each next
    /// one begins where the one before it ended, and only the last knows how the stream stood there. Until
    /// that has come nothing has changed; a first piece begins anew.
    pub left: Option<Arc<Sparse>>,
}

impl Reclaim {
    /// Of what stays, that within a run.
    #[must_use]
    pub fn alive_in(&self, from: Position, to: Position) -> &[Position] {
        let at = |position| self.alive.partition_point(|alive| *alive < position);
        self.alive.get(at(from)..at(to)).unwrap_or_default()
    }

    /// The same decision for a part of its run.
    #[must_use]
    pub fn within(&self, from: Position, to: Position) -> Self {
        Self {
            from,
            to,
            alive: self.alive_in(from, to).into(),
            ..self.clone()
        }
    }

    /// Checks that what stays stands in order and within the run.
    ///
    /// Errors: `Invalid`.
    pub fn check(&self) -> Result<()> {
        if let Some(left) = &self.left {
            let same = (left.from, left.to) == (self.from, self.to);
            left.check()?;
            if !same || !self.alive.is_empty() {
                return Err(Error::invalid(format!(
                    "what is left of {}..{} is to be taken over as {}..{}",
                    left.from, left.to, self.from, self.to
                )));
            }
        }
        let inside = |position: &Position| (self.from..self.to).contains(position);
        let sorted = self.alive.windows(2).all(|pair| pair[0] < pair[1]);
        if sorted && self.alive.iter().all(inside) && self.to <= Position::LIMIT {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "what stays of {}..{} of stream {} is out of order, or lies elsewhere",
            self.from, self.to, self.stream
        )))
    }
}

/// What was freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freed {
    /// Bytes given back to the medium.
    pub bytes: u64,
    /// Bytes on the medium that hold what stays of the run, as far as it came.
    pub kept: u64,
    /// How far it came: from here to the end of the run everything is left as it was, for the part of the
    /// stream that it lies in ends behind the run. A run that begins here goes on with it; what would get
    /// no further by that is none of it.
    pub to: Position,
}

impl Freed {
    /// Nothing, up to here.
    #[must_use]
    pub fn nothing(to: Position) -> Self {
        Self {
            to,
            ..Self::default()
        }
    }
}

/// How the engine picks a stream for a record.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// There is one stream.
    One(u16),
    /// By the hint's tag: of these streams the one whose number, hashed with the tag, gives the most.
    /// One stream more takes its share of the tags from all, and no tag moves between the others. What
    /// has no tag goes to them in turn.
    Tag(Vec<u16>),
    /// By size class, the smallest first: the most bytes that a record of it takes, and the streams
    /// that share it in turn. What is larger than every class belongs to the last.
    Size(Vec<(u32, Vec<u16>)>),
    /// In turn.
    RoundRobin(Vec<u16>),
}

/// What a floor says of itself and what lies below.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Status {
    /// Its kind.
    pub kind: &'static str,
    /// The name that the stack file gave it, if any.
    pub name: Option<String>,
    /// Identity of the store, sixteen bytes as hex.
    pub identity: String,
    /// The highest level it can reach.
    pub level: Level,
    /// The stream that root markers go to.
    pub root_stream: u16,
    /// How records are placed.
    pub placement: Placement,
    /// What the engine puts bodies through. Whoever offers a store elsewhere must not lose them.
    pub codecs: Codecs,
    /// After a commit the next batch begins at a multiple of this many bytes.
    pub unit: u64,
    /// Whether writes are accepted; else why not.
    pub refusing: Option<String>,
    /// Its streams.
    pub streams: Vec<StreamStatus>,
    /// The parts that it keeps a stream in, oldest first: segments of a log, parts of a sequence. Of
    /// very many the newest only.
    pub parts: Vec<PartStatus>,
    /// Figures of its own, by name.
    pub figures: Vec<(&'static str, u64)>,
    /// Asked before anything new is begun, if some floor wants to be.
    #[serde(skip)]
    pub gate: Option<Arc<dyn Gate>>,
    /// What lies below.
    pub below: Vec<Status>,
}

/// Where a floor may refuse what is not begun yet. Addresses are handed out before a batch reaches
/// any floor, and what was handed out must come to rest: so a refusal has its place before that, and
/// it is the engine that asks, at each store and at each commit. What was begun goes on.
pub trait Gate: Send + Sync + Debug {
    /// Whether something new may begin. Asked often, by many threads: it waits for nothing.
    ///
    /// Errors: `Unavailable` or `Full`, each with a time to [try again](super::Error::retry_after).
    /// Nothing was done.
    fn admit(&self, what: Begins) -> Result<()>;
}

/// What a [`Gate`] is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// A record is to be stored.
    Store,
    /// What was stored is to be committed.
    Commit,
}

impl Status {
    /// What a floor says of itself that stands on one floor and is as that one is, but for its kind,
    /// its name and the figures it may add.
    #[must_use]
    pub fn over(below: Self, kind: &'static str, name: Option<String>) -> Self {
        Self {
            kind,
            name,
            parts: Vec::new(),
            figures: Vec::new(),
            below: vec![below.clone()],
            ..below
        }
    }

    /// How an identity is told.
    #[must_use]
    pub fn identity_text(identity: &[u8; 16]) -> String {
        identity.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The identity that is told.
    ///
    /// Errors: `Invalid`, where a floor tells something else.
    pub fn identity_bytes(&self) -> Result<[u8; 16]> {
        let told = &self.identity;
        let byte = |index: usize| u8::from_str_radix(told.get(2 * index..2 * index + 2)?, 16).ok();
        let mut identity = [0; 16];
        for (index, place) in identity.iter_mut().enumerate() {
            *place = byte(index).ok_or_else(|| {
                Error::invalid(format!(
                    "`{}` says that it is {told:?}, no identity",
                    self.kind
                ))
            })?;
        }
        Ok(identity)
    }
}

/// A run of positions that lies by itself. What is not known without touching a device is not told.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PartStatus {
    /// What it is called where it lies.
    pub name: String,
    /// How far its life has come.
    pub state: PartState,
    /// Where it begins, in steps of eight bytes; `None`: nothing lies in it yet.
    pub begins: Option<u64>,
    /// Where it ends so far, in steps of eight bytes.
    pub ends: Option<u64>,
    /// The bytes that it was given, or that are claimed for it. Of what a reclaim rewrote: what is left
    /// on the medium, less than what its positions would take.
    pub bytes: Option<u64>,
    /// Number of the epoch that wrote it: the first of a segment, the last of a part.
    pub epoch: Option<u32>,
    /// Address of the newest root marker at or before its end.
    pub marker: Option<u64>,
}

impl PartStatus {
    /// One of which nothing else is known.
    #[must_use]
    pub fn new(name: impl Into<String>, state: PartState) -> Self {
        Self {
            name: name.into(),
            state,
            begins: None,
            ends: None,
            bytes: None,
            epoch: None,
            marker: None,
        }
    }
}

/// How far the life of a part has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// It is being made ready.
    Making,
    /// Ready to be the next that is written to.
    Next,
    /// Written to.
    Active,
    /// Written to no more; not all of it is known to be durable.
    Ended,
    /// All of it is durable.
    Synced,
    /// Written down as ended: no opening looks into it again.
    Sealed,
    /// It is not there: what lies in it is unknown.
    Lost,
}

impl std::fmt::Display for PartState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Making => "making",
            Self::Next => "next",
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Synced => "synced",
            Self::Sealed => "sealed",
            Self::Lost => "lost",
        })
    }
}

/// One stream as its floor sees it now.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StreamStatus {
    /// Which.
    pub stream: u16,
    /// Where it ends, in steps of eight bytes.
    pub end: u64,
    /// Known durable up to here, in steps of eight bytes.
    pub durable: u64,
    /// OIDs may be handed out below this, in steps of eight bytes.
    pub ceiling: u64,
    /// Bytes on the medium.
    pub bytes: u64,
    /// Segments on the medium.
    pub segments: u64,
}
