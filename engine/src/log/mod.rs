//! The log: the bottom that turns a medium into a [`Store`].
//!
//! ```text
//!   store ──> frame + batch ──> one write into the open segment          ready: page cache
//!   commit ─> last batch, then ──> sync of what is dirty                 pending: the device
//!   read ───> segment by position ──> bytes ──> check ──> record         ready
//!   open ───> recovery: chain to here, durable to here, ceiling          changes nothing
//!   fence, adopt ──> the engine decides where older epochs end           rewrites, syncs, then serves
//! ```
//!
//! Invariant: after the first failed write or sync nothing more is written by this handle.
//! Invariant: a position is handed out only below a ceiling that is durable and has room claimed.

mod format;
mod history;
mod mapped;
mod options;
mod recovery;
mod segment;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::contract::batch::running_of;
use crate::contract::{
    Batch, Batches, Commit, End, Env, Epoch, Error, ErrorKind, Extent, Freed, Level, Oid, Op,
    Placement, Position, Reclaim, Record, Result, RootAt, RootMarker, Status, Store, Stream,
    StreamState, StreamStatus, Tail, Vector,
};
use crate::medium::{Medium, MediumFile, read_small, replace_small};

pub use format::{FORMAT, Frame, Identity, SEGMENT_HEADER, SegmentHeader, Writer};
pub use options::{Grow, LogOptions, ReadBy};
use segment::Segment;
use walk::Window;
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
    /// Kind that the status names: the plug-in's.
    kind: &'static str,
    writing: Mutex<Writing>,
    writer_file: Mutex<Writer>,
    found: Mutex<recovery::Found>,
    /// Sorted by base.
    segments: RwLock<Vec<Arc<Segment>>>,
    /// End of what readers may ask for.
    tail: AtomicU64,
    /// What a sync has covered: readers may map it.
    durable: AtomicU64,
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

    fn open_inner(
        kind: &'static str,
        medium: Arc<dyn Medium>,
        env: &Env,
        mut options: LogOptions,
    ) -> Result<Self> {
        options.check()?;
        options.read_only |= options.extent.is_sealed();
        let began = env.clock.monotonic_ns();
        let names = medium.list()?;
        let exists = names.iter().any(|name| name == IDENTITY);
        if !exists {
            refuse_foreign(&names)?;
            if options.read_only {
                return Err(Error::invalid("there is no log here to read"));
            }
            if matches!(options.extent, Extent::Part { make: false, .. }) {
                return Err(Error::unavailable(
                    "there is no log here, and this part of the stream had begun",
                ));
            }
        }
        if !options.read_only {
            medium.lock()?;
        }
        let opened = Self::open_locked(kind, medium.clone(), env, options, exists);
        match &opened {
            Err(_) => medium.unlock(),
            Ok(log) => {
                let found = log.0.found.lock().unwrap_or_else(PoisonError::into_inner);
                tracing::info!(
                    place = medium.place(),
                    end = found.end.position.0,
                    durable = found.durable.0,
                    clean = found.clean,
                    scanned = found.scanned,
                    took_us = (env.clock.monotonic_ns() - began) / 1000,
                    "log opened"
                );
            }
        }
        opened
    }

    fn open_locked(
        kind: &'static str,
        medium: Arc<dyn Medium>,
        env: &Env,
        options: LogOptions,
        exists: bool,
    ) -> Result<Self> {
        let identity = if exists {
            let identity = Identity::decode(&read_small(&*medium, IDENTITY)?)?;
            if identity.stream != options.stream {
                return Err(Error::invalid(format!(
                    "this log holds stream {}, the stack wants {} here",
                    identity.stream, options.stream
                )));
            }
            if options.store.is_some_and(|store| store != identity.store) {
                return Err(Error::invalid("this log belongs to another store"));
            }
            identity
        } else {
            let store = options.store.unwrap_or_else(|| env.identity());
            let identity = Identity {
                store,
                medium: env.identity(),
                stream: options.stream,
            };
            replace_small(&*medium, IDENTITY, &identity.encode())?;
            identity
        };
        let writer = match read_small(&*medium, WRITER) {
            Ok(bytes) => Writer::decode(&bytes)?,
            Err(_) if !medium.list()?.iter().any(|name| name == WRITER) => Writer::default(),
            Err(error) => return Err(error),
        };
        let found = recover_settled(&*medium, &identity, &writer, &options)?;
        let mut writing = Writing::new(found.end, found.durable, found.ceiling, writer.epoch);
        writing.newest = found.newest;
        let segments = found.segments.clone();
        let tail = AtomicU64::new(found.end.position.0);
        let durable = AtomicU64::new(found.durable.min(found.end.position).0);
        Ok(Self(Arc::new(Shared {
            medium,
            env: env.clone(),
            options,
            identity,
            kind,
            writing: Mutex::new(writing),
            writer_file: Mutex::new(writer),
            found: Mutex::new(found),
            segments: RwLock::new(segments),
            tail,
            durable,
        })))
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
                let header = *segment.header(&*shared.medium, shared.writes(), &shared.identity)?;
                Ok((
                    header,
                    segment.file(&*shared.medium, shared.writes())?.len()?,
                ))
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

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The segment that `position` falls to, and where its valid bytes end. `None`: in no segment,
    /// or in a stated gap.
    fn locate(&self, position: Position) -> Result<Option<(Arc<Segment>, Position)>> {
        let (segment, next) = {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let after = segments.partition_point(|segment| segment.base <= position);
            if after == 0 {
                return Ok(None);
            }
            (segments[after - 1].clone(), segments.get(after).cloned())
        };
        let end = match next {
            Some(next) => {
                next.header(&*self.medium, self.writes(), &self.identity)?
                    .before
                    .position
            }
            None => Position(self.tail.load(Ordering::Acquire)),
        };
        Ok((position < end).then_some((segment, end)))
    }

    fn read(&self, oid: Oid) -> Result<Option<Record>> {
        if oid.stream() != self.identity.stream {
            return Err(Error::invalid(format!(
                "{oid} lies in stream {}, this log holds {}",
                oid.stream(),
                self.identity.stream
            )));
        }
        {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let after = segments.partition_point(|segment| segment.base <= oid.position());
            if let Some(segment) = after.checked_sub(1).map(|index| &segments[index])
                && let Some(record) = segment.peek(oid)?
            {
                return Ok(Some(record));
            }
        }
        let Some((segment, end)) = self.locate(oid.position())? else {
            return Ok(None);
        };
        let file = segment.file(&*self.medium, self.writes())?;
        let proven = match self.options.read {
            ReadBy::Map => Some(Position(self.durable.load(Ordering::Acquire))),
            ReadBy::Copy => None,
        };
        segment.read(&**file, oid, end, proven).map(Some)
    }

    fn append(&self, sender: Epoch, batch: &Batch) -> Result<Tail> {
        let mut writing = self.writing();
        self.append_in(&mut writing, sender, batch)?;
        let low = writing.announced_durable.bytes_since(writing.end.position);
        if low < self.options.window / 2 && !batch.header().clean {
            drop(writing);
            // Positions are running out: make the ceiling that was just written durable. This syncs
            // once in half a window; it moves no durable mark, because the next batch may share a
            // block with this one.
            self.sync(None)?;
            return Ok(self.writing().tail());
        }
        Ok(writing.tail())
    }

    fn append_in(&self, writing: &mut Writing, sender: Epoch, batch: &Batch) -> Result<()> {
        if self.options.read_only {
            return Err(Error::closed("the log is open for reading only"));
        }
        let header = *batch.header();
        if header.stream != self.identity.stream {
            return Err(Error::invalid(format!(
                "a batch of stream {} does not belong in {}",
                header.stream, self.identity.stream
            )));
        }
        writing.admit(sender)?;
        if header.end <= writing.end.position {
            self.same_again(batch)?;
            writing.keep_room(&*self.medium, &self.options);
            return Ok(());
        }
        writing.check_follows(&header, self.medium.unit())?;
        let begun = writing
            .append(&*self.medium, &self.identity, &self.options, batch)
            .inspect_err(|error| {
                // Out of space leaves the batch unsent and the log as it was; anything else leaves
                // bytes of unknown state where the batch should be.
                if error.kind() != ErrorKind::Full {
                    writing.poison(error);
                }
            })?;
        if let Some(segment) = begun {
            tracing::debug!(base = segment.base.0, "log rolled to a new segment");
            self.segments
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .push(segment);
        }
        self.tail.store(writing.end.position.0, Ordering::Release);
        Ok(())
    }

    /// Writes the last batches of a commit and tells where the tail stands then.
    fn write_commit(&self, commit: &Commit) -> Result<Position> {
        let mut writing = self.writing();
        for batch in &commit.last {
            self.append_in(&mut writing, commit.sender, batch)?;
        }
        writing.admit(commit.sender)?;
        if commit.level >= Level::Disk {
            let prepared = writing.prepare_commit(&self.options);
            prepared.inspect_err(|error| writing.poison(error))?;
            writing.committed = writing.end.position;
        }
        Ok(writing.end.position)
    }

    /// Checks that a batch sent again is the one that lies there.
    fn same_again(&self, batch: &Batch) -> Result<()> {
        let header = batch.header();
        let other = || {
            Error::invalid(format!(
                "other bytes lie at {}..{} already",
                header.base, header.end
            ))
        };
        let (segment, _) = self.locate(header.base)?.ok_or_else(other)?;
        let frame = recovery::frame_at(&*self.medium, &self.identity, &segment, header.base)?;
        let running = running_of(header.before_running, batch.bytes());
        let same = frame.is_some_and(|frame| {
            frame.running == running && u64::from(frame.length) == header.length()
        });
        if same { Ok(()) } else { Err(other()) }
    }

    /// Syncs everything that is dirty. `commit` is where the tail stood when a commit asked: bytes
    /// below it count as durable afterwards, because the batch after it begins in another unit.
    fn sync(&self, commit: Option<Position>) -> Result<()> {
        let (files, names, announced) = {
            let writing = self.writing();
            let announced = (!writing.clean).then_some(writing.announced);
            (writing.dirty.clone(), writing.names, announced)
        };
        let synced = files
            .iter()
            .try_for_each(|file| file.sync())
            .and_then(|()| {
                if names > self.writing().names_synced {
                    self.medium.sync_dir()
                } else {
                    Ok(())
                }
            });
        let mut writing = self.writing();
        writing.syncs += files.len() as u64;
        if let Err(error) = synced {
            writing.poison(&error);
            return Err(Error::closed(format!(
                "a sync failed, so nothing is known of what was written since the last one: {error}"
            )));
        }
        let open = writing.open.as_ref().map(|open| open.file.clone());
        writing.dirty.retain(|file| {
            open.as_ref().is_some_and(|open| Arc::ptr_eq(open, file))
                || !files.iter().any(|synced| Arc::ptr_eq(synced, file))
        });
        writing.names_synced = writing.names_synced.max(names);
        writing.announced_durable = writing.announced_durable.max(announced.unwrap_or_default());
        writing.durable = writing.durable.max(commit.unwrap_or_default());
        self.durable.store(writing.durable.0, Ordering::Release);
        Ok(())
    }

    fn replace_writer(&self, change: impl FnOnce(&mut Writer)) -> Result<()> {
        let mut writer = self
            .writer_file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        change(&mut writer);
        replace_small(&*self.medium, WRITER, &writer.encode())?;
        *self
            .writer_file
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = writer;
        Ok(())
    }

    /// How the stream lies. A handle that wrote since it was opened looks again: what it saw then is
    /// history.
    fn report(&self) -> Result<StreamState> {
        if self.writing().adopted {
            let writer = self
                .writer_file
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let again = recover_settled(&*self.medium, &self.identity, &writer, &self.options)?;
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = again;
        }
        let found = self
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(damage) = found.damage {
            return Err(damage.at(self.medium.place()));
        }
        Ok(StreamState {
            stream: self.identity.stream,
            end: found.end,
            durable: found.durable,
            ceiling: found.ceiling,
            clean: found.clean,
            proven: found.proven,
            epoch: found.epoch,
            chain: found.chain,
        })
    }

    fn fence(&self, epoch: Epoch) -> Result<Vec<StreamState>> {
        let state = self.report()?;
        if epoch.number == 0 {
            return Ok(vec![state]);
        }
        if self.options.read_only {
            return Err(Error::closed("the log is open for reading only"));
        }
        if epoch <= state.epoch {
            return Err(Error::fenced(format!(
                "epoch {epoch} is not newer than epoch {}, which wrote here",
                state.epoch
            )));
        }
        let near = match self.options.extent {
            Extent::Part { near, .. } => near,
            _ => Position::START,
        };
        let ahead = Position((state.ceiling.max(near).0).saturating_add(self.options.window / 8));
        let ceiling = ahead.min(Position::LIMIT);
        self.replace_writer(|writer| {
            writer.epoch = epoch;
            writer.ceiling = ceiling;
            // Decided anew by `adopt`: an older cut must not void the tail that came after it.
            writer.cut = None;
            writer.fingerprint.clone_from(&self.options.fingerprint);
        })?;
        let mut writing = self.writing();
        writing.epoch = epoch;
        writing.adopted = false;
        writing.open = None;
        writing.drop_spare(&*self.medium);
        writing.announced = ceiling;
        writing.announced_durable = ceiling;
        Ok(vec![state])
    }

    fn adopt(&self, epoch: Epoch, vector: &Vector) -> Result<()> {
        if self.writing().epoch != epoch || epoch.number == 0 {
            return Err(Error::fenced(format!(
                "epoch {epoch} has not fenced this log"
            )));
        }
        let found = self
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let cut = vector
            .iter()
            .find(|(stream, _)| *stream == self.identity.stream)
            .map_or(found.end, |(_, end)| *end);
        if cut.position < found.durable {
            return Err(Error::invalid(format!(
                "a cut at {} would lose bytes known durable up to {}",
                cut.position, found.durable
            )));
        }
        let anew = self.begins_anew(&found, cut)?;
        if !anew && cut != found.end && found.chain.iter().all(|link| link.end != cut) {
            return Err(Error::invalid(format!(
                "no batch of this log ends at {} with the running checksum given",
                cut.position
            )));
        }
        // Where nothing lies, there is nothing to decide about.
        if !found.empty && (!found.clean || cut != found.end) {
            self.settle(&found, cut)?;
        }
        if anew {
            self.announce_from(cut.position)?;
        }
        let mut writing = self.writing();
        writing.drop_spare(&*self.medium);
        self.medium.remove(writer::SPARE)?;
        writing.end = cut;
        // What a part says to be durable is its own bytes: those before it are not its to vouch for.
        writing.durable = if anew { Position::START } else { cut.position };
        writing.committed = cut.position;
        writing.adopted = true;
        writing.newest = found
            .chain
            .iter()
            .rev()
            .filter(|link| link.end.position <= cut.position)
            .find_map(|link| link.marker.as_ref().map(|(oid, _)| *oid))
            .or(found.proven.map(|proven| proven.oid));
        if found.clean
            && !anew
            && let Some(last) = self.segments().last().cloned()
        {
            let file = last.file_to_write(&*self.medium)?;
            writing.resume(last, file)?;
        }
        if anew && matches!(self.options.extent, Extent::Part { .. }) {
            // Whoever fills the part before wants to know how much fits here.
            writing.keep_spare(&*self.medium, &self.options);
        }
        self.tail.store(cut.position.0, Ordering::Release);
        self.durable.store(writing.durable.0, Ordering::Release);
        Ok(())
    }

    /// Whether nothing here outlives this cut, so that the log begins at it.
    fn begins_anew(&self, found: &recovery::Found, cut: End) -> Result<bool> {
        let first = match found.segments.first() {
            Some(first) => {
                let header = first.header(&*self.medium, self.writes(), &self.identity)?;
                Some(header.before.position)
            }
            None => None,
        };
        Ok(match self.options.extent {
            Extent::Part { .. } => first.is_none_or(|first| cut.position <= first),
            _ => cut.position == Position::START,
        })
    }

    /// Raises what is announced durably, where a part begins further on than was thought when it was
    /// fenced.
    fn announce_from(&self, position: Position) -> Result<()> {
        let announced = self.writing().announced_durable;
        let window = self.options.window;
        if position == Position::START || announced.bytes_since(position) >= window / 2 {
            return Ok(());
        }
        let ceiling = Position(position.0.saturating_add(window / 8)).min(Position::LIMIT);
        self.replace_writer(|writer| writer.ceiling = ceiling)?;
        let mut writing = self.writing();
        writing.announced = ceiling;
        writing.announced_durable = ceiling;
        Ok(())
    }

    /// Makes the cut true on the medium, then records it and unlinks what lies above.
    fn settle(&self, found: &recovery::Found, cut: End) -> Result<()> {
        let medium = &*self.medium;
        let mut rewritten = 0;
        for (index, segment) in found.segments.iter().enumerate() {
            let next = match found.segments.get(index + 1) {
                Some(next) => next.header(medium, true, &self.identity)?.before.position,
                None => Position::LIMIT,
            };
            let end = cut.position.min(next);
            if segment.base < end && end > found.durable {
                rewritten += self.rewrite(segment, found.durable, end)?;
            }
        }
        // From here on the cut holds, whatever happens to the bytes above it.
        self.replace_writer(|writer| writer.cut = Some(cut.position))?;
        let mut void = 0;
        for name in medium.list()? {
            if format::segment_base(&name).is_some_and(|base| base >= cut.position) {
                medium.remove(&name)?;
                void += 1;
            }
        }
        medium.sync_dir()?;
        let segments: Vec<_> = medium
            .list()?
            .iter()
            .filter_map(|name| format::segment_base(name))
            .map(|base| Arc::new(Segment::named(base)))
            .collect();
        *self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner) = segments;
        tracing::info!(
            cut = cut.position.0,
            rewritten,
            void_bytes = found.end.position.bytes_since(cut.position),
            void_segments = void,
            "log recovered"
        );
        Ok(())
    }

    /// Writes the unproven bytes of a segment again, up to `end`, and makes them durable: a sync
    /// alone does nothing for pages that the kernel called clean after a failed write-back.
    ///
    /// They may hold a commit that was acknowledged and that no later frame vouches for, so a torn
    /// rewrite must not lose them: where the medium may damage a block by writing it again, the
    /// segment is copied to a new file that takes its place whole.
    fn rewrite(&self, segment: &Segment, durable: Position, end: Position) -> Result<u64> {
        let medium = &*self.medium;
        let file = segment.file(medium, false)?;
        let (from, to) = (
            segment.offset(durable.max(segment.base)),
            segment.offset(end),
        );
        if medium.unit() > 8 {
            let name = format::segment_name(segment.base);
            let new = format!("{name}.new");
            medium.remove(&new)?;
            let copied = medium.create(&new).and_then(|copy| {
                copy_range(&**file, &*copy, 0, to)?;
                copy.sync()?;
                medium.rename(&new, &name)
            });
            match copied {
                Ok(()) => return medium.sync_dir().map(|()| to),
                Err(error) if error.kind() == ErrorKind::Full => {
                    tracing::warn!(%error, "no room for a copy: the tail is rewritten in place");
                    medium.remove(&new)?;
                }
                Err(error) => return Err(error),
            }
        }
        // The header of a segment begun since is as unproven as its batches.
        let from = if segment.base >= durable {
            0
        } else {
            from - from % SEGMENT_HEADER
        };
        let file = segment.file_to_write(medium)?;
        copy_range(&*file, &*file, from, to)?;
        file.set_len(to)?;
        file.sync()?;
        Ok(to - from)
    }

    fn scan(&self, from: Position) -> Result<Batches> {
        let mut out = Batches {
            batches: Vec::new(),
            next: None,
        };
        let mut from = from;
        let mut taken = 0;
        loop {
            let Some((segment, end)) = self.segment_at_or_after(from)? else {
                return Ok(out);
            };
            let file = segment.file(&*self.medium, self.writes())?.clone();
            let mut window = Window::new(file);
            let header = *segment.header(&*self.medium, self.writes(), &self.identity)?;
            let mut before = header.before;
            // A scan that goes on begins at a batch; any other walks there from the segment's start.
            if let Some(found) = walk::at(&mut window, &segment, &self.identity, from)? {
                let header = found.batch.header();
                before = End {
                    position: header.before_end,
                    running: header.before_running,
                };
            }
            while before.position < end {
                let next = walk::next(&mut window, &segment, &self.identity, before)?;
                let Some(found) = next else {
                    return Err(Error::corrupt(format!(
                        "no whole batch follows on {} of stream {}, though the log goes on to {end}",
                        before.position, self.identity.stream
                    ))
                    .at(self.medium.place()));
                };
                let header = found.batch.header();
                before = End {
                    position: header.end,
                    running: found.frame.running,
                };
                if header.base < from {
                    continue;
                }
                taken += header.length();
                if taken > SCAN_BYTES && !out.batches.is_empty() {
                    out.next = Some(header.base);
                    return Ok(out);
                }
                out.batches.push(found.batch);
            }
            from = end;
            let tail = Position(self.tail.load(Ordering::Acquire));
            if from >= tail {
                return Ok(out);
            }
        }
    }

    /// The segment that holds `from`, or the next one after it; with the end of its valid bytes.
    fn segment_at_or_after(&self, from: Position) -> Result<Option<(Arc<Segment>, Position)>> {
        if let Some(found) = self.locate(from)? {
            return Ok(Some(found));
        }
        let next = {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let after = segments.partition_point(|segment| segment.base <= from);
            segments.get(after).map(|segment| segment.base)
        };
        match next {
            Some(base) => self.locate(base),
            None => Ok(None),
        }
    }

    fn status(&self) -> Status {
        let writing = self.writing();
        let segments = self
            .segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64;
        let tail = writing.tail();
        let stream = StreamStatus {
            stream: self.identity.stream.0,
            end: writing.end.position.0,
            durable: writing.durable.0,
            ceiling: tail.ceiling.0,
            bytes: writing.bytes,
            segments,
        };
        Status {
            kind: self.kind,
            name: None,
            identity: self
                .identity
                .store
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            level: self.medium.level(),
            root_stream: self.identity.stream.0,
            placement: Placement::One(self.identity.stream.0),
            unit: self.medium.unit(),
            refusing: if self.options.read_only {
                Some("open for reading only".to_owned())
            } else {
                writing.poison.as_ref().map(ToString::to_string)
            },
            streams: vec![stream],
            figures: vec![
                ("batches", writing.batches),
                ("bytes", writing.bytes),
                ("zeros", writing.zeros),
                ("syncs", writing.syncs),
            ],
            below: Vec::new(),
        }
    }

    fn close(&self) -> Result<()> {
        let mut writing = self.writing();
        writing.drop_spare(&*self.medium);
        // What was claimed or written ahead is given back, unless something is still unproven.
        let settled = writing.clean || writing.durable == writing.end.position;
        let cut = if settled && writing.poison.is_none() {
            writing.exact_len()
        } else {
            None
        };
        if writing.poison.is_none() {
            writing.poison = Some(Error::closed("the log was closed"));
        }
        drop(writing);
        let done = match cut {
            Some((file, length)) => file.set_len(length).and_then(|()| file.sync()),
            None => Ok(()),
        };
        if self.writes() {
            self.medium.unlock();
        }
        done
    }
}

impl Store for Log {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        Op::ready(self.0.append(sender, &batch))
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        Op::ready(self.0.read(oid))
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
        match shared.write_commit(&commit) {
            Err(error) => Op::err(error),
            Ok(_) if commit.level < Level::Disk => Op::ok(able.min(Level::Os)),
            Ok(end) => {
                let this = shared.clone();
                shared
                    .env
                    .offload(move || this.sync(Some(end)).map(|()| able))
            }
        }
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        Op::ready(history::root(&self.0, at))
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        Op::ready(self.0.fence(epoch))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        Op::ready(self.0.adopt(epoch, &vector).inspect_err(|error| {
            self.0.writing().poison(error);
        }))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        if stream != self.0.identity.stream {
            return Op::err(Error::invalid(format!("stream {stream} does not lie here")));
        }
        Op::ready(self.0.scan(from))
    }

    fn reclaim(&self, _decision: Reclaim) -> Op<Freed> {
        Op::err(Error::unsupported(format!(
            "`{}` does not give space back yet",
            self.0.kind
        )))
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
        if self.writes() {
            self.medium.unlock();
        }
    }
}

/// A reader may look while the writer writes: a durable mark ahead of the chain is damage only if
/// the chain does not catch up.
fn recover_settled(
    medium: &dyn Medium,
    identity: &Identity,
    writer: &Writer,
    options: &LogOptions,
) -> Result<recovery::Found> {
    let mut found = recovery::recover(medium, identity, writer, &options.extent)?;
    for _ in 0..8 {
        if !options.read_only || found.damage.is_none() {
            break;
        }
        let again = recovery::recover(medium, identity, writer, &options.extent)?;
        let stuck = again.end == found.end;
        found = again;
        if stuck {
            break;
        }
    }
    Ok(found)
}

fn refuse_foreign(names: &[String]) -> Result<()> {
    let ours = |name: &str| name == LOCK || name == format!("{IDENTITY}.new");
    match names.iter().find(|name| !ours(name)) {
        None => Ok(()),
        Some(name) => Err(Error::invalid(format!(
            "this is not a log, and not empty either: it holds {name:?}; give the log a directory \
             of its own"
        ))),
    }
}

/// Writes the bytes at `from..to` of one file to the same place of another, or of the same.
fn copy_range(file: &dyn MediumFile, to_file: &dyn MediumFile, from: u64, to: u64) -> Result<()> {
    const PIECE: u64 = 4 << 20;
    let mut at = from;
    while at < to {
        let bytes = file.read_at(at, (to - at).min(PIECE) as usize)?;
        if bytes.is_empty() {
            return Err(Error::unavailable(
                "a segment became shorter while it was rewritten",
            ));
        }
        to_file.write_at(at, &[&bytes])?;
        at += bytes.len() as u64;
    }
    Ok(())
}
