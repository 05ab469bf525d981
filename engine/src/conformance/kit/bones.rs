//! A writer reduced to the bones: makes batches as an engine does, and sends them when told.

use std::sync::Arc;

use super::between::{Between, Nothing};
use super::check::{Failure, ensure};
use super::fixture::Fixture;
use crate::contract::batch::BATCH_HEADER;
use crate::contract::{
    Batch, BatchBuilder, Commit, End, Env, Epoch, Kind, Level, NewRecord, Oid, Position, Record,
    Reference, Store, Stream, StreamState, Tail,
};
use crate::front::{Engine, Options};

/// Opens the stack with nothing between.
pub(super) fn open(fixture: &dyn Fixture) -> Result<Arc<dyn Store>, Failure> {
    let nothing: Arc<dyn Between> = Arc::new(Nothing);
    Ok(fixture.open(&nothing)?)
}

/// Opens the stack and an engine on it, which commits at the highest level. What was sent is read
/// from the stack, not from the engine's memory.
pub(super) fn engine(fixture: &dyn Fixture) -> Result<(Arc<dyn Store>, Engine), Failure> {
    let store = open(fixture)?;
    Ok((store.clone(), engine_on(fixture, store)?))
}

/// An engine as [`engine`] opens it.
pub(super) fn engine_on(fixture: &dyn Fixture, store: Arc<dyn Store>) -> Result<Engine, Failure> {
    let options = Options {
        level: fixture.promises().level,
        recent_max: 0,
        ..Options::default()
    };
    Ok(Engine::open(store, fixture.env(), options)?)
}

/// A record of these bytes.
pub(super) fn blob<'a>(body: &'a [&'a [u8]]) -> NewRecord<'a> {
    NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body,
    }
}

/// The end of a batch, as the next one follows on it.
pub(super) fn end_of(batch: &Batch) -> End {
    End {
        position: batch.header().end,
        running: batch.running(),
    }
}

/// A record that must be there, with the body that was given.
pub(super) fn there(store: &dyn Store, oid: Oid) -> Result<Record, Failure> {
    let found = store.read(oid).wait()?;
    let found = found
        .ok_or_else(|| Failure::new(format!("there is no record at {oid}, and one was stored")))?;
    Ok(store.status().codecs.decode(oid, found)?)
}

/// All batches of a stream.
pub(super) fn scan_all(store: &dyn Store, stream: Stream) -> Result<Vec<Batch>, Failure> {
    let mut all = Vec::new();
    let mut from = Position::START;
    loop {
        let piece = store.scan(stream, from).wait()?;
        all.extend(piece.batches);
        match piece.next {
            None => return Ok(all),
            Some(next) => {
                ensure!(next > from, "a scan goes on at {next} after {from}");
                from = next;
            }
        }
    }
}

/// The writer. It writes to the root stream only.
#[derive(Debug)]
pub(super) struct Bones {
    pub(super) store: Arc<dyn Store>,
    pub(super) epoch: Epoch,
    pub(super) stream: Stream,
    pub(super) unit: u64,
    /// What the next batch follows on.
    pub(super) before: End,
    /// Where the next batch begins.
    pub(super) base: Position,
    pub(super) ceiling: Position,
    level: Level,
}

impl Bones {
    /// Takes the next epoch, adopts everything that is there, and learns the ceiling.
    pub(super) fn begin(fixture: &dyn Fixture) -> Result<Self, Failure> {
        Self::over(open(fixture)?, fixture.env())
    }

    /// As [`Bones::begin`], on an open store.
    pub(super) fn over(store: Arc<dyn Store>, env: &Env) -> Result<Self, Failure> {
        let (mut bones, states) = Self::fenced(store, env)?;
        bones.adopt(&states)?;
        bones.store(&[])?;
        Ok(bones)
    }

    /// Takes the next epoch and does no more.
    pub(super) fn fenced(
        store: Arc<dyn Store>,
        env: &Env,
    ) -> Result<(Self, Vec<StreamState>), Failure> {
        let status = store.status();
        let stream = Stream(status.root_stream);
        let states = store.fence(Epoch::default()).wait()?;
        let newest = states.iter().map(|state| state.epoch.number).max();
        let epoch = Epoch {
            number: newest.unwrap_or_default() + 1,
            tag: env.random.next_u64(),
        };
        let states = store.fence(epoch).wait()?;
        let Some(state) = states.iter().find(|state| state.stream == stream) else {
            return Err(Failure::new(format!(
                "status names {stream} as the root stream, a fence does not report it"
            )));
        };
        let floor = if state.clean {
            state.end.position
        } else {
            state.ceiling
        };
        let bones = Self {
            epoch,
            stream,
            unit: status.unit,
            before: state.end,
            base: floor.max(state.end.position).align_up(status.unit),
            ceiling: Position::START,
            level: status.level,
            store,
        };
        Ok((bones, states))
    }

    /// Adopts each stream as it was reported.
    pub(super) fn adopt(&self, states: &[StreamState]) -> Result<(), Failure> {
        let vector = states.iter().map(|state| (state.stream, state.end));
        Ok(self.store.adopt(self.epoch, vector.collect()).wait()?)
    }

    /// The next batch with these bodies, and where they lie. Nothing is sent.
    pub(super) fn batch(&self, bodies: &[&[u8]]) -> Result<(Batch, Vec<Reference>), Failure> {
        self.batch_at(self.base, self.before, bodies)
    }

    /// A batch at a place of one's choice.
    pub(super) fn batch_at(
        &self,
        base: Position,
        before: End,
        bodies: &[&[u8]],
    ) -> Result<(Batch, Vec<Reference>), Failure> {
        let length: usize = bodies.iter().map(|body| body.len() + 32).sum();
        let capacity = BATCH_HEADER + length;
        let mut builder = BatchBuilder::new(self.stream, base, before, self.epoch, capacity);
        let references = bodies
            .iter()
            .map(|body| builder.push(&blob(&[body])))
            .collect::<Result<_, _>>()?;
        Ok((builder.finish(None, false), references))
    }

    /// Stores the next batch, making room under the ceiling first.
    pub(super) fn store(&mut self, bodies: &[&[u8]]) -> Result<Vec<Reference>, Failure> {
        self.store_batch(bodies).map(|(_, references)| references)
    }

    /// As [`Bones::store`]; with the batch.
    pub(super) fn store_batch(
        &mut self,
        bodies: &[&[u8]],
    ) -> Result<(Batch, Vec<Reference>), Failure> {
        let (mut batch, mut references) = self.batch(bodies)?;
        if !bodies.is_empty() && batch.header().end > self.ceiling {
            let (opening, _) = self.batch(&[])?;
            self.send(&opening)?;
            (batch, references) = self.batch(bodies)?;
            ensure!(
                batch.header().end <= self.ceiling,
                "a batch of {} bytes does not fit below the ceiling {}, which was told after {}",
                batch.header().length(),
                self.ceiling,
                opening.header().end
            );
        }
        let tail = self.send(&batch)?;
        ensure!(
            tail.end == batch.header().end,
            "after {batch:?} the tail is told to be {}",
            tail.end
        );
        Ok((batch, references))
    }

    /// Sends a batch and goes on after it.
    pub(super) fn send(&mut self, batch: &Batch) -> Result<Tail, Failure> {
        let tail = self.store.store(self.epoch, batch.clone()).wait()?;
        self.take(batch);
        self.ceiling = tail.ceiling;
        Ok(tail)
    }

    /// Notes that a batch was taken.
    pub(super) fn take(&mut self, batch: &Batch) {
        self.before = end_of(batch);
        self.base = batch.header().end;
    }

    /// A commit of these batches at a level.
    pub(super) fn commit_of(&self, level: Level, last: Vec<Batch>) -> Commit {
        Commit {
            sender: self.epoch,
            level,
            last,
        }
    }

    /// Commits everything stored so far, at the highest level. The next batch begins a unit of its
    /// own.
    pub(super) fn commit(&mut self) -> Result<Level, Failure> {
        self.commit_at(self.level)
    }

    /// As [`Bones::commit`], at a level.
    pub(super) fn commit_at(&mut self, level: Level) -> Result<Level, Failure> {
        let commit = self.commit_of(level, Vec::new());
        let reached = self.store.commit(commit).wait()?;
        ensure!(reached >= level, "{level} was asked, {reached} was reached");
        self.base = self.before.position.align_up(self.unit);
        Ok(reached)
    }

    /// How the root stream lies.
    pub(super) fn state(&self) -> Result<StreamState, Failure> {
        let states = self.store.fence(Epoch::default()).wait()?;
        let mine = states.into_iter().find(|state| state.stream == self.stream);
        mine.ok_or_else(|| Failure::new("a fence does not report the root stream"))
    }
}
