//! The least that can write to a bare store by the rules: one stream, one thread, one commit at a
//! time. It stands for an engine where a log is tested alone.

use std::sync::Arc;

use super::subject::{Ask, Subject};
use crate::contract::{
    Batch, BatchBuilder, Changes, Commit, End, Env, Epoch, Error, ErrorKind, Kind, Level, Name,
    Names, NewRecord, Oid, Op, Position, Proven, Record, Reference, Result, RootAt, RootMarker,
    Store, Stream,
};

/// Positions kept free for a marker, in bytes.
const MARKER_ROOM: u64 = 16 << 10;

#[derive(Debug)]
pub(super) struct Scribe {
    store: Arc<dyn Store>,
    env: Env,
    stream: Stream,
    unit: u64,
    flush: usize,
    /// The newest commit, and its names.
    newest: Option<(Reference, RootMarker)>,
    /// The newest commit that reached its level.
    shown: Names,
    writing: Option<Writing>,
    poison: Option<Error>,
}

#[derive(Debug)]
struct Writing {
    epoch: Epoch,
    end: End,
    /// Where the next batch begins.
    next: Position,
    ceiling: Position,
    builder: Option<BatchBuilder>,
    unsent: Option<Batch>,
    /// The newest batch that the store took, for asking it for a ceiling.
    last: Option<Batch>,
    proven: Option<Proven>,
}

impl Scribe {
    /// Opens, recovers, and is ready to write; or only looks.
    pub(super) fn open(
        store: Arc<dyn Store>,
        env: &Env,
        flush: usize,
        read_only: bool,
    ) -> Result<Self> {
        let status = store.status();
        let mut scribe = Self {
            stream: Stream(status.root_stream),
            unit: status.unit,
            store,
            env: env.clone(),
            flush,
            newest: None,
            shown: Names::new(),
            writing: None,
            poison: None,
        };
        if read_only {
            if let Some((oid, marker)) = scribe.store.root(RootAt::Newest).wait()? {
                scribe.shown = scribe.names_of(&marker)?;
                let record = scribe.read_oid(oid)?;
                scribe.newest = Some((record.reference_to(oid), marker));
            }
        } else {
            scribe.take_over()?;
        }
        Ok(scribe)
    }

    fn take_over(&mut self) -> Result<()> {
        let look = self.store.fence(Epoch::default()).wait()?;
        let number = look.iter().map(|state| state.epoch.number).max();
        let epoch = Epoch {
            number: number.unwrap_or(0) + 1,
            tag: self.env.random.next_u64(),
        };
        let states = self.store.fence(epoch).wait()?;
        let state = states
            .into_iter()
            .find(|state| state.stream == self.stream)
            .ok_or_else(|| Error::unavailable("the root stream is gone"))?;
        let last = state.chain.iter().rev();
        let last = last
            .filter_map(|link| Some((link.marker.clone()?, link.end)))
            .next();
        let newest = match (&last, state.proven) {
            (Some((marker, _)), _) => Some(marker.clone()),
            (None, Some(proven)) => {
                let record = self.read_oid(proven.oid)?;
                Some((proven.oid, RootMarker::decode(proven.oid, &record)?))
            }
            (None, None) => None,
        };
        // The batch of the newest marker stays, and whatever is known durable; the rest is void.
        let least = last.map_or(Position::START, |(_, end)| end.position);
        let least = least.max(state.durable);
        let mut ends = state.chain.iter().map(|link| link.end);
        let cut = match ends.find(|end| end.position >= least) {
            Some(end) if !state.clean => end,
            None if !state.clean && least == Position::START => START,
            _ => state.end,
        };
        self.store.adopt(epoch, vec![(self.stream, cut)]).wait()?;
        if let Some((oid, marker)) = newest {
            let record = self.read_oid(oid)?;
            self.shown = self.names_of(&marker)?;
            self.newest = Some((record.reference_to(oid), marker));
        }
        let next = if state.clean {
            cut.position
        } else {
            state.ceiling
        };
        let next = next.align_up(self.unit);
        self.writing = Some(Writing {
            epoch,
            end: cut,
            next,
            ceiling: next,
            builder: None,
            unsent: None,
            last: None,
            proven: state.proven,
        });
        // An empty batch tells how far positions may be handed out.
        self.flush()
    }

    fn names_of(&self, marker: &RootMarker) -> Result<Names> {
        if marker.directory.is_some() {
            return Err(Error::unsupported("the scribe keeps no directories"));
        }
        let changes = marker.changes.iter();
        let alive = changes.filter_map(|(name, to)| Some((name.clone(), (*to)?)));
        Ok(alive.collect())
    }

    fn read_oid(&self, oid: Oid) -> Result<Record> {
        if let Some(writing) = &self.writing {
            if let Some(builder) = &writing.builder
                && let Some(record) = builder.read(oid)?
            {
                return Ok(record);
            }
            if let Some(batch) = &writing.unsent
                && let Some(record) = batch.read(oid)?
            {
                return Ok(record);
            }
        }
        let found = self.store.read(oid).wait()?;
        found.ok_or_else(|| Error::corrupt(format!("{oid} is said to be absent")))
    }

    fn writing(&mut self) -> Result<&mut Writing> {
        if let Some(poison) = &self.poison {
            return Err(poison.clone());
        }
        let writing = self.writing.as_mut();
        writing.ok_or_else(|| Error::closed("opened for reading only"))
    }

    fn builder(&mut self) -> Result<&mut BatchBuilder> {
        let stream = self.stream;
        let writing = self.writing()?;
        let (next, end, epoch) = (writing.next, writing.end, writing.epoch);
        let builder = writing.builder.take();
        let builder = builder.unwrap_or_else(|| BatchBuilder::new(stream, next, end, epoch, 0));
        Ok(writing.builder.insert(builder))
    }

    /// Sends what is in the buffer. `Full` keeps it for the next time.
    fn flush(&mut self) -> Result<()> {
        self.builder()?;
        let store = self.store.clone();
        let writing = self.writing()?;
        let epoch = writing.epoch;
        if let Some(builder) = writing.builder.take() {
            if writing.unsent.is_some() {
                writing.builder = Some(builder);
            } else {
                let batch = builder.finish(writing.proven, false);
                writing.end = end_of(&batch);
                writing.next = writing.end.position;
                writing.unsent = Some(batch);
            }
        }
        if let Some(batch) = &writing.unsent {
            match store.store(epoch, batch.clone()).wait() {
                Ok(tail) => {
                    writing.ceiling = writing.ceiling.max(tail.ceiling);
                    writing.last = writing.unsent.take();
                }
                Err(error) if error.kind() == ErrorKind::Full => return Err(error),
                Err(error) => return Err(self.poisoned(&error)),
            }
        }
        Ok(())
    }

    /// Whether there is room, perhaps after the store was asked for more.
    fn makes_room(&mut self, bytes: u64) -> Result<bool> {
        if self.has_room(bytes)? {
            return Ok(true);
        }
        self.flush()?;
        if self.has_room(bytes)? {
            return Ok(true);
        }
        let store = self.store.clone();
        let writing = self.writing()?;
        let epoch = writing.epoch;
        if let Some(last) = writing.last.clone() {
            match store.store(epoch, last).wait() {
                Ok(tail) => writing.ceiling = writing.ceiling.max(tail.ceiling),
                Err(error) if error.kind() == ErrorKind::Full => return Err(error),
                Err(error) => return Err(self.poisoned(&error)),
            }
        }
        self.has_room(bytes)
    }

    fn has_room(&mut self, bytes: u64) -> Result<bool> {
        let end = self.builder()?.end();
        let ceiling = self.writing()?.ceiling;
        Ok(end.plus_bytes(bytes) <= ceiling)
    }

    fn make_marker(&mut self, names: &Names) -> Result<RootMarker> {
        let builder_end = self.writing()?.end;
        let epoch = self.writing()?.epoch;
        let proven = self.writing()?.proven;
        let before = self.newest.as_ref();
        let time = before.map_or(0, |(_, marker)| marker.time);
        let changes: Changes = names
            .iter()
            .map(|(name, to)| (name.clone(), Some(*to)))
            .collect();
        Ok(RootMarker {
            sequence: before.map_or(0, |(_, marker)| marker.sequence) + 1,
            epoch,
            time: time.max(self.env.clock.unix_us()),
            previous: before.map(|(reference, _)| *reference),
            jump: None,
            proven,
            directory: None,
            changes,
            vector: vec![(self.stream, builder_end)],
        })
    }

    fn note_proven(&mut self) -> Result<()> {
        let proven = self.newest.as_ref().map(|(reference, marker)| Proven {
            sequence: marker.sequence,
            epoch: marker.epoch.number,
            oid: reference.oid,
        });
        self.writing()?.proven = proven;
        Ok(())
    }

    fn send_commit(&mut self, level: Level, clean: bool) -> Result<Level> {
        let (store, unit) = (self.store.clone(), self.unit);
        let writing = self.writing()?;
        let builder = writing.builder.take();
        let builder = builder.ok_or_else(|| Error::invalid("there is nothing to commit"))?;
        let batch = builder.finish(writing.proven, clean);
        writing.end = end_of(&batch);
        writing.next = writing.end.position.align_up(unit);
        let commit = Commit {
            sender: writing.epoch,
            level,
            last: vec![batch],
        };
        let answer = store.commit(commit).wait();
        answer.map_err(|error| self.poisoned(&error))
    }

    fn poisoned(&mut self, error: &Error) -> Error {
        let kind = match error.kind() {
            ErrorKind::Fenced => ErrorKind::Fenced,
            _ => ErrorKind::Closed,
        };
        let error = Error::new(kind, format!("a call failed: {error}"));
        self.poison.get_or_insert(error).clone()
    }

    fn try_commit(&mut self, asks: &[Ask], level: Level) -> Result<u64> {
        let mut names = self.submitted()?;
        for ask in asks {
            let now = names.get(&ask.name).map(|reference| reference.oid);
            if ask.expect.is_some_and(|expect| expect != now) {
                return Err(Error::conflict(format!("{} points to {now:?}", ask.name)));
            }
        }
        for ask in asks {
            match ask.to {
                Some(to) => names.insert(ask.name.clone(), to),
                None => names.remove(&ask.name),
            };
        }
        if self.writing()?.unsent.is_some() {
            self.flush()?;
        }
        let marker = self.make_marker(&names)?;
        let (references, body) = marker.encode();
        let record = NewRecord {
            kind: Kind::MARKER,
            references: &references,
            body: &[&body],
        };
        if !self.has_room(record.encoded_len() as u64)? {
            self.flush()?;
            if !self.has_room(record.encoded_len() as u64)? {
                return Err(Error::full("no positions left for a marker"));
            }
            // The vector of the marker names the end of the batch before it.
            return self.try_commit(asks, level);
        }
        let builder = self.builder()?;
        let reference = builder.push(&record)?;
        builder.note_marker(reference.oid);
        let sequence = marker.sequence;
        self.newest = Some((reference, marker));
        let reached = self.send_commit(level, false)?;
        if reached < level {
            return Err(Error::unavailable(format!("reached {reached} only")));
        }
        if reached >= Level::Disk {
            self.note_proven()?;
        }
        self.shown = names;
        Ok(sequence)
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

impl Subject for Scribe {
    fn store(&mut self, record: &NewRecord<'_>) -> Result<Reference> {
        let length = record.encoded_len() as u64 + MARKER_ROOM;
        if self.writing()?.unsent.is_some() || self.builder()?.len() > self.flush {
            self.flush()?;
        }
        if !self.makes_room(length)? {
            return Err(Error::full("no positions left below the ceiling"));
        }
        self.builder()?.push(record)
    }

    fn commit(&mut self, asks: &[Ask], level: Level) -> Op<u64> {
        Op::ready(self.try_commit(asks, level))
    }

    fn submitted(&self) -> Result<Names> {
        if let Some(poison) = &self.poison {
            return Err(poison.clone());
        }
        match &self.newest {
            Some((_, marker)) => self.names_of(marker),
            None => Ok(Names::new()),
        }
    }

    fn shown(&self) -> Result<Names> {
        Ok(self.shown.clone())
    }

    fn at(&self, sequence: u64) -> Result<Option<Names>> {
        match self.store.root(RootAt::Sequence(sequence)).wait()? {
            Some((_, marker)) => self.names_of(&marker).map(Some),
            None => Ok(None),
        }
    }

    fn read(&self, reference: &Reference) -> Result<Record> {
        self.read_oid(reference.oid)
    }

    fn prove(&mut self) -> Result<()> {
        self.builder()?;
        self.send_commit(Level::Os, false).map(drop)
    }

    fn close(&mut self) -> Result<()> {
        if self.writing.is_some() && self.poison.is_none() {
            if self.writing()?.unsent.is_some() {
                self.flush()?;
            }
            self.builder()?;
            // A clean close is an empty batch, and it names the newest commit as proven.
            self.send_commit(Level::Disk, false)?;
            self.note_proven()?;
            self.builder()?;
            self.send_commit(Level::Disk, true)?;
        }
        self.store.close().wait()
    }
}

/// The name that every commit of a run moves, so that no two states are alike.
pub(super) fn mark_name() -> Result<Name> {
    Name::new("mark")
}
