//! The one-file stack as a model: a `Store` that is obviously right.
//!
//! One stream, a list of batches, and for each batch how far it got. No bytes are laid out, nothing
//! is read back from anywhere, every call is ready when it returns. It promises all that the
//! contract says and refuses all that the contract forbids, so that an engine or a plug-in that
//! passes on it and fails elsewhere points at the elsewhere.
//!
//! ```text
//!   batch 0 | batch 1 | batch 2 |    batch 3   | ……………… |
//!    disk      disk      os        stored only  ^ end     ^ ceiling
//!    └── survive a power cut ──┘
//!    └── survive a kill ────────────┘
//! ```
//!
//! A reclaim takes whole durable batches, and forgets of them what does not stay.
//!
//! [`ModelStore::crash`] ends a process or pulls the plug: the handles of before answer `Closed`, and
//! the handle that it returns stands on what is left.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::batch::FRAME_SLOT;
use crate::contract::{
    Batch, Batches, ChainLink, Codecs, Commit, End, Epoch, Error, Freed, Kind, Level, Oid, Op,
    Placement, Position, Proven, Reclaim, Record, Result, RootAt, RootMarker, Sparse, Status,
    Store, Stream, StreamState, StreamStatus, Tail, Vector,
};

const STREAM: Stream = Stream(0);
const SCAN_BATCHES: usize = 16;

/// What a [`ModelStore`] is like.
#[derive(Debug, Clone, Copy)]
pub struct ModelOptions {
    /// The highest level it reaches.
    pub level: Level,
    /// After a commit the next batch begins at a multiple of this.
    pub unit: u64,
    /// How far past the tail the ceiling is announced, in bytes.
    pub window: u64,
    /// How much it holds, in bytes of positions.
    pub capacity: u64,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            level: Level::Disk,
            unit: 512,
            window: 64 << 20,
            capacity: 1 << 40,
        }
    }
}

/// A handle on a model. Clones share it; so do readers; a crash leaves it behind.
#[derive(Debug, Clone)]
pub struct ModelStore {
    disk: Arc<Mutex<Disk>>,
    incarnation: u64,
    reader: bool,
}

#[derive(Debug, Clone)]
struct Disk {
    options: ModelOptions,
    incarnation: u64,
    closed: bool,
    batches: Vec<Kept>,
    /// The newest epoch that fenced.
    epoch: Epoch,
    ceiling: Position,
    /// Whether that epoch has decided where the older ones end.
    adopted: bool,
    /// Where the epoch's first batch may begin.
    floor: Position,
    /// Whether a ceiling was announced since the last clean end: durable, as announcements are.
    begun: bool,
    /// Whether the tail is vouched for: by its writer, by an adoption or by a clean close.
    vouched: bool,
    syncs: u64,
}

#[derive(Debug, Clone)]
struct Kept {
    batch: Batch,
    /// The level that a commit brought it to.
    level: Option<Level>,
    /// What had been durable when it was stored: what the frame of a log would say.
    durable: Position,
    /// Where the records begin that a reclaim left; `None`: all are there.
    left: Option<Arc<[Position]>>,
}

impl Kept {
    fn has(&self, oid: Oid) -> bool {
        let left = self.left.as_ref();
        left.is_none_or(|left| left.binary_search(&oid.position()).is_ok())
    }

    /// The records that are there.
    fn records(&self) -> impl Iterator<Item = (Oid, Record)> + '_ {
        self.batch.records().filter(|(oid, _)| self.has(*oid))
    }
}

impl Default for ModelStore {
    fn default() -> Self {
        Self::new(ModelOptions::default())
    }
}

impl ModelStore {
    /// An empty store.
    #[must_use]
    pub fn new(options: ModelOptions) -> Self {
        let disk = Disk {
            options,
            incarnation: 0,
            closed: false,
            batches: Vec::new(),
            epoch: Epoch::default(),
            adopted: false,
            ceiling: Position::START,
            floor: Position::START,
            begun: false,
            vouched: true,
            syncs: 0,
        };
        Self {
            disk: Arc::new(Mutex::new(disk)),
            incarnation: 0,
            reader: false,
        }
    }

    /// Ends the process that holds this store (`Level::Os`) or pulls the plug (`Level::Disk`):
    /// batches that reached the level stay, and of the others the first `lucky` ones.
    #[must_use]
    pub fn crash(&self, level: Level, lucky: usize) -> Self {
        let mut disk = self.lock();
        let reached = |kept: &Kept| kept.level.is_some_and(|reached| reached >= level);
        let safe = disk
            .batches
            .iter()
            .rposition(reached)
            .map_or(0, |at| at + 1);
        disk.batches.truncate(safe + lucky);
        disk.vouched = disk.clean();
        self.next(disk)
    }

    /// A store of its own with the same content: one run can end in many ways.
    #[must_use]
    pub fn image(&self) -> Self {
        let disk = self.lock().clone();
        Self {
            disk: Arc::new(Mutex::new(disk)),
            ..*self
        }
    }

    /// Opens again what was closed.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let mut disk = self.lock();
        disk.vouched = disk.clean();
        self.next(disk)
    }

    /// A second process that only reads.
    #[must_use]
    pub fn reader(&self) -> Self {
        Self {
            reader: true,
            ..self.clone()
        }
    }

    /// Makes room, or takes it away.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().options.capacity = bytes;
    }

    /// How often something was brought to [`Level::Disk`].
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// All batches, oldest first.
    #[must_use]
    pub fn batches(&self) -> Vec<Batch> {
        let disk = self.lock();
        disk.batches.iter().map(|kept| kept.batch.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, mut disk: MutexGuard<'_, Disk>) -> Self {
        disk.incarnation += 1;
        disk.closed = false;
        Self {
            disk: self.disk.clone(),
            incarnation: disk.incarnation,
            reader: false,
        }
    }

    /// The state, if this handle may still ask.
    fn open(&self) -> Result<MutexGuard<'_, Disk>> {
        let disk = self.lock();
        if disk.closed && !self.reader || disk.incarnation != self.incarnation {
            return Err(Error::closed("the model store was closed"));
        }
        Ok(disk)
    }

    fn writable(&self, sender: Epoch) -> Result<MutexGuard<'_, Disk>> {
        let disk = self.open()?;
        if self.reader {
            return Err(Error::unsupported(
                "this model store was opened for reading",
            ));
        }
        if sender.number > disk.epoch.number || sender.number == 0 {
            return Err(Error::invalid(format!("{sender:?} never fenced")));
        }
        if sender != disk.epoch {
            return Err(Error::fenced(format!(
                "{sender:?} sends, {:?} took over",
                disk.epoch
            )));
        }
        Ok(disk)
    }
}

impl Disk {
    fn end(&self) -> End {
        self.batches
            .last()
            .map_or(START, |kept| end_of(&kept.batch))
    }

    /// Whether nothing may have been handed out past the end.
    fn clean(&self) -> bool {
        match self.batches.last() {
            Some(kept) => kept.batch.header().clean && !self.begun,
            None => self.ceiling == Position::START,
        }
    }

    fn tail(&self) -> Tail {
        Tail {
            end: self.end().position,
            ceiling: self.ceiling,
        }
    }

    fn proven(&self) -> Option<Proven> {
        self.batches
            .iter()
            .filter_map(|kept| kept.batch.header().proven)
            .max()
    }

    /// Takes a batch, or says which rule it breaks.
    fn append(&mut self, batch: Batch) -> Result<Tail> {
        let header = *batch.header();
        let end = self.end();
        if header.stream != STREAM {
            return Err(Error::invalid(format!("no stream {}", header.stream)));
        }
        let same_place = |kept: &&Kept| kept.batch.header().base == header.base;
        if let Some(kept) = self.batches.iter().find(same_place) {
            if kept.batch.bytes()[FRAME_SLOT..] == batch.bytes()[FRAME_SLOT..] {
                self.announce();
                return Ok(self.tail());
            }
            return Err(Error::invalid(format!(
                "{batch:?} differs from {:?}",
                kept.batch
            )));
        }
        let before = End {
            position: header.before_end,
            running: header.before_running,
        };
        if before != end || header.base < end.position {
            return Err(Error::invalid(format!(
                "{batch:?} does not follow on {end:?}"
            )));
        }
        if header.base < self.floor {
            return Err(Error::invalid(format!(
                "{batch:?} begins below {}, which an older epoch may have handed out",
                self.floor
            )));
        }
        if header.epoch.number > self.epoch.number {
            return Err(Error::invalid(format!("{batch:?} is of a later epoch")));
        }
        if header.records > 0 && header.end > self.ceiling {
            return Err(Error::invalid(format!(
                "{batch:?} passes the ceiling {}",
                self.ceiling
            )));
        }
        if header.end > self.limit() {
            return Err(Error::full(format!("{batch:?} passes the capacity")));
        }
        if !self.adopted {
            let text = format!("{:?} has not adopted what older epochs left", self.epoch);
            return Err(Error::invalid(text));
        }
        self.begun = !header.clean;
        let durable = self.durable();
        self.batches.push(Kept {
            batch,
            level: None,
            durable,
            left: None,
        });
        self.announce();
        Ok(self.tail())
    }

    /// Raises the ceiling as far as there is room.
    fn announce(&mut self) {
        let window = Position(self.end().position.0 + self.options.window / 8);
        self.ceiling = self.ceiling.max(window.min(self.limit()));
    }

    fn limit(&self) -> Position {
        Position(self.options.capacity / 8)
    }

    fn durable(&self) -> Position {
        let safe = |kept: &&Kept| kept.level.is_some_and(|level| level >= Level::Disk);
        let last = self.batches.iter().rev().find(safe);
        last.map_or(Position::START, |kept| kept.batch.header().end)
    }

    fn state(&self) -> StreamState {
        let proven = self.proven();
        let frames = self.batches.iter().map(|kept| kept.durable).max();
        let durable = if self.vouched {
            self.durable()
        } else {
            frames.unwrap_or_default()
        };
        let mark = proven.map(|proven| proven.oid.position());
        let above = |kept: &&Kept| mark.is_none_or(|mark| kept.batch.header().end > mark);
        let chain = self.batches.iter().filter(above);
        StreamState {
            stream: STREAM,
            end: self.end(),
            durable,
            safe: durable,
            ceiling: self.ceiling,
            clean: self.clean(),
            proven,
            epoch: self.epoch,
            chain: chain
                .map(|kept| ChainLink {
                    end: end_of(&kept.batch),
                    marker: newest_marker(kept),
                })
                .collect(),
        }
    }

    /// The newest marker that may be shown: proven by name, or committed by a writer that runs.
    fn shown(&self, reader: bool) -> Option<Oid> {
        let named = self.proven().map(|proven| proven.oid);
        if reader || !self.vouched {
            return named;
        }
        let committed = self.batches.iter().filter(|kept| kept.level.is_some());
        let newest = committed
            .filter_map(|kept| kept.batch.header().marker)
            .max();
        newest.max(named)
    }

    fn read(&self, oid: Oid) -> Result<Option<Record>> {
        let found = self.batches.iter().rev().find(|kept| {
            let header = kept.batch.header();
            header.base <= oid.position() && oid.position() < header.end
        });
        match found {
            Some(kept) if kept.has(oid) => kept.batch.read(oid),
            _ => Ok(None),
        }
    }

    fn reclaim(&mut self, decision: &Reclaim) -> Result<Freed> {
        decision.check()?;
        if decision.left.is_some() {
            return Err(Error::unsupported("the model takes nothing over"));
        }
        if decision.stream != STREAM {
            return Err(Error::invalid(format!("no stream {}", decision.stream)));
        }
        let level = self.options.level;
        let mut whole: Vec<_> = self
            .batches
            .iter_mut()
            .filter(|kept| {
                let header = kept.batch.header();
                let durable = kept.level.is_some_and(|reached| reached >= level);
                durable && decision.from <= header.base && header.end <= decision.to
            })
            .collect();
        let alive_of = |kept: &Kept| {
            let header = kept.batch.header();
            decision.alive_in(header.base, header.end)
        };
        for kept in &whole {
            for alive in alive_of(kept) {
                if kept.records().all(|(oid, _)| oid.position() != *alive) {
                    return Err(Error::invalid(format!(
                        "nothing that may stay is at {alive}"
                    )));
                }
            }
        }
        let size = |kept: &Kept| -> u64 {
            kept.records()
                .map(|(_, record)| record.encoded().len() as u64)
                .sum()
        };
        let before: u64 = whole.iter().map(|kept| size(kept)).sum();
        for kept in &mut whole {
            kept.left = Some(alive_of(kept).into());
        }
        let kept = whole.iter().map(|kept| size(kept)).sum();
        let last = whole.last().map(|last| last.batch.header().end);
        let reached = last.unwrap_or(decision.from);
        Ok(Freed {
            bytes: before - kept,
            kept,
            to: reached,
        })
    }

    /// What is left of the run of batches at the front of these, from a position on.
    fn sparse(run: &[&Kept], from: Position) -> Option<Sparse> {
        let (first, last) = (run.first()?.batch.header(), end_of(&run.last()?.batch));
        let before = End {
            position: first.before_end,
            running: first.before_running,
        };
        let records = run.iter().flat_map(|kept| kept.records());
        Some(Sparse {
            from: from.max(first.base),
            to: last.position,
            before: (from <= first.base).then_some(before),
            records: records.filter(|(oid, _)| oid.position() >= from).collect(),
            after: Some(last),
        })
    }
}

const START: End = End {
    position: Position::START,
    running: 0,
};

fn end_of(batch: &Batch) -> End {
    End {
        position: batch.header().end,
        running: batch.running(),
    }
}

fn newest_marker(kept: &Kept) -> Option<(Oid, RootMarker)> {
    let oid = kept.batch.header().marker.filter(|oid| kept.has(*oid))?;
    let record = kept.batch.read(oid).ok()??;
    Some((oid, RootMarker::decode(oid, &record).ok()?))
}

impl Store for ModelStore {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        Op::ready(
            self.writable(sender)
                .and_then(|mut disk| disk.append(batch)),
        )
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        Op::ready(self.open().and_then(|disk| {
            if oid.stream() != STREAM {
                return Err(Error::invalid(format!(
                    "{oid} lies in no stream of this store"
                )));
            }
            let beyond = oid.position() >= disk.end().position;
            if beyond && (self.reader || !disk.vouched) {
                return Err(Error::unavailable(format!(
                    "{oid} lies above the tail, and no writer vouches for the tail"
                )));
            }
            disk.read(oid)
        }))
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        Op::ready(self.writable(commit.sender).and_then(|mut disk| {
            if commit.level > disk.options.level {
                return Err(Error::invalid(format!(
                    "this store reaches {}, not {}",
                    disk.options.level, commit.level
                )));
            }
            for batch in commit.last {
                disk.append(batch)?;
            }
            for kept in &mut disk.batches {
                kept.level = kept.level.max(Some(commit.level));
            }
            disk.syncs += u64::from(commit.level >= Level::Disk);
            disk.announce();
            Ok(commit.level)
        }))
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        Op::ready(self.open().and_then(|disk| {
            let Some(newest) = disk.shown(self.reader || at == RootAt::Proven) else {
                return Ok(None);
            };
            let mut found = None;
            for kept in &disk.batches {
                for (oid, record) in kept.records() {
                    if record.kind() != Kind::MARKER || oid > newest {
                        continue;
                    }
                    let marker = RootMarker::decode(oid, &record)?;
                    let wanted = match at {
                        RootAt::Newest | RootAt::Proven => true,
                        RootAt::Sequence(sequence) => marker.sequence == sequence,
                        RootAt::Time(time) => marker.time <= time,
                    };
                    if wanted {
                        found = Some((oid, marker));
                    }
                }
            }
            Ok(found)
        }))
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        Op::ready(self.open().and_then(|mut disk| {
            if epoch.number == 0 || epoch == disk.epoch {
                return Ok(vec![disk.state()]);
            }
            if self.reader {
                return Err(Error::unsupported(
                    "this model store was opened for reading",
                ));
            }
            if epoch.number <= disk.epoch.number {
                return Err(Error::fenced(format!(
                    "{epoch:?} comes after {:?}",
                    disk.epoch
                )));
            }
            let state = disk.state();
            disk.floor = if disk.clean() {
                disk.end().position
            } else {
                disk.ceiling
            };
            disk.epoch = epoch;
            disk.adopted = false;
            Ok(vec![state])
        }))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        Op::ready(self.writable(epoch).and_then(|mut disk| {
            let mine = vector.iter().find(|(stream, _)| *stream == STREAM);
            let cut = mine.map_or(disk.end(), |(_, end)| *end);
            let is_cut = |kept: &Kept| end_of(&kept.batch) == cut;
            let keep = match disk.batches.iter().position(is_cut) {
                Some(at) => at + 1,
                None if cut == START => 0,
                None => return Err(Error::invalid(format!("no batch ends at {cut:?}"))),
            };
            if cut.position < disk.state().durable {
                return Err(Error::invalid(format!(
                    "{cut:?} lies below what is durable"
                )));
            }
            disk.batches.truncate(keep);
            disk.adopted = true;
            let level = disk.options.level;
            for kept in &mut disk.batches {
                kept.level = kept.level.max(Some(level));
            }
            disk.vouched = true;
            disk.syncs += 1;
            Ok(())
        }))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        Op::ready(self.open().and_then(|disk| {
            if stream != STREAM {
                return Err(Error::invalid(format!("no stream {stream}")));
            }
            // Of a run that a reclaim went through, a scan also begins within.
            let later: Vec<_> = disk
                .batches
                .iter()
                .filter(|kept| match kept.left {
                    Some(_) => kept.batch.header().end > from,
                    None => kept.batch.header().base >= from,
                })
                .collect();
            let whole = later.iter().take_while(|kept| kept.left.is_none());
            let batches: Vec<_> = whole
                .take(SCAN_BATCHES)
                .map(|kept| kept.batch.clone())
                .collect();
            let after = &later[batches.len()..];
            let left = after.iter().take_while(|kept| kept.left.is_some()).count();
            let sparse = Disk::sparse(&after[..left], from);
            let next = after.get(left).map(|kept| kept.batch.header().base);
            Ok(Batches {
                batches,
                sparse,
                next,
            })
        }))
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        Op::ready(
            self.writable(decision.sender)
                .and_then(|mut disk| disk.reclaim(&decision)),
        )
    }

    fn status(&self) -> Status {
        let disk = self.lock();
        let stream = StreamStatus {
            stream: STREAM.0,
            end: disk.end().position.0,
            durable: disk.durable().0,
            ceiling: disk.ceiling.0,
            bytes: disk.end().position.0 * 8,
            segments: 1,
        };
        Status {
            kind: "model",
            name: None,
            identity: "00000000000000000000000000000000".into(),
            level: disk.options.level,
            root_stream: STREAM.0,
            placement: Placement::One(STREAM.0),
            codecs: Codecs::default(),
            unit: disk.options.unit,
            refusing: None,
            streams: vec![stream],
            parts: Vec::new(),
            figures: vec![("syncs", disk.syncs)],
            gate: None,
            below: Vec::new(),
        }
    }

    fn close(&self) -> Op<()> {
        if !self.reader {
            self.lock().closed = true;
        }
        Op::ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{BatchBuilder, ErrorKind, NewRecord};

    const EPOCH: Epoch = Epoch { number: 1, tag: 9 };

    fn batch(base: Position, before: End, body: &[u8]) -> Batch {
        let mut builder = BatchBuilder::new(STREAM, base, before, EPOCH, 0);
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[body],
        };
        builder.push(&record).unwrap();
        builder.finish(None, false)
    }

    /// A fenced store with one empty batch, which tells the ceiling.
    fn begun() -> (ModelStore, End) {
        let store = ModelStore::default();
        store.fence(EPOCH).wait().unwrap();
        store.adopt(EPOCH, Vector::new()).wait().unwrap();
        let opening = BatchBuilder::new(STREAM, Position::START, START, EPOCH, 0);
        let opening = opening.finish(None, false);
        let tail = store.store(EPOCH, opening.clone()).wait().unwrap();
        assert_eq!(tail.end, opening.header().end);
        (store, end_of(&opening))
    }

    #[test]
    fn the_same_batch_twice_is_a_no_op_and_another_is_refused() {
        let (store, end) = begun();
        let one = batch(end.position, end, b"one");
        let tail = store.store(EPOCH, one.clone()).wait().unwrap();
        assert_eq!(store.store(EPOCH, one.clone()).wait().unwrap(), tail);
        let other = batch(end.position, end, b"two");
        let error = store.store(EPOCH, other).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let late = batch(tail.end, end, b"does not follow on");
        let error = store.store(EPOCH, late).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn an_older_sender_is_fenced_and_the_next_epoch_starts_at_the_ceiling() {
        let (store, end) = begun();
        let next = Epoch { number: 2, tag: 1 };
        let state = store.fence(next).wait().unwrap().remove(0);
        store.adopt(next, Vector::new()).wait().unwrap();
        assert!(state.ceiling > state.end.position && !state.clean);
        let one = batch(end.position, end, b"one");
        let error = store.store(EPOCH, one.clone()).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        let error = store.store(next, one).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_crash_keeps_what_reached_its_level() {
        let (store, end) = begun();
        let commit = |level, last| Commit {
            sender: EPOCH,
            level,
            last,
        };
        store.commit(commit(Level::Disk, vec![])).wait().unwrap();
        let one = batch(end.position, end, b"one");
        let two = batch(one.header().end, end_of(&one), b"two");
        store.commit(commit(Level::Os, vec![one])).wait().unwrap();
        store.store(EPOCH, two).wait().unwrap();
        let killed = store.crash(Level::Os, 0);
        assert_eq!(killed.batches().len(), 2);
        assert_eq!(killed.crash(Level::Disk, 0).batches().len(), 1);
        let error = store.read(Oid::from_raw(1).unwrap()).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }

    #[test]
    fn a_reclaim_forgets_what_does_not_stay_and_nothing_else() {
        let (store, end) = begun();
        let mut builder = BatchBuilder::new(STREAM, end.position, end, EPOCH, 0);
        let mut push = |body: &[u8]| {
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[body],
            };
            builder.push(&record).unwrap().oid
        };
        let (dead, alive) = (push(b"dead"), push(b"alive"));
        let one = builder.finish(None, false);
        let after = end_of(&one);
        let commit = Commit {
            sender: EPOCH,
            level: Level::Disk,
            last: vec![one],
        };
        store.commit(commit).wait().unwrap();
        let base = after.position.align_up(512);
        store
            .store(EPOCH, batch(base, after, b"later"))
            .wait()
            .unwrap();
        let decision = Reclaim {
            sender: EPOCH,
            stream: STREAM,
            from: end.position,
            to: after.position,
            alive: [alive.position()].into(),
            left: None,
        };
        let freed = store.reclaim(decision.clone()).wait().unwrap();
        assert!(freed.bytes > 0 && freed.kept > 0);
        assert_eq!(store.reclaim(decision.clone()).wait().unwrap().bytes, 0);
        assert_eq!(store.read(dead).wait().unwrap(), None);
        assert_eq!(store.read(alive).wait().unwrap().unwrap().body(), b"alive");
        let more = Reclaim {
            alive: [dead.position()].into(),
            ..decision
        };
        let error = store.reclaim(more).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);

        let first = store.scan(STREAM, Position::START).wait().unwrap();
        assert_eq!(first.batches.len(), 1);
        let left = first.sparse.unwrap();
        assert_eq!((left.to, left.after), (after.position, Some(after)));
        assert_eq!(left.records.len(), 1);
        let rest = store.scan(STREAM, first.next.unwrap()).wait().unwrap();
        assert_eq!((rest.batches.len(), rest.next), (1, None));
    }
}
