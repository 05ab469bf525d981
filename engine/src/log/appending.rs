//! Appending batches and making them durable.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::behind::Sealed;
use super::writer::Writing;
use super::{Shared, recovery};
use crate::contract::batch::running_of;
use crate::contract::limits::BATCH_MAX;
use crate::contract::{Batch, Commit, End, Epoch, Error, ErrorKind, Level, Position, Result, Tail};

/// Files that are not durable yet, at most: whoever appends more syncs them first.
const DIRTY_MAX: usize = 8;

impl Shared {
    pub(super) fn append(&self, sender: Epoch, batch: &Batch) -> Result<Tail> {
        let mut writing = self.writing();
        let again = batch.header().end <= writing.end.position;
        self.append_in(&mut writing, sender, batch, false)?;
        if again {
            drop(writing);
            self.widen(sender)?;
            writing = self.writing();
        }
        if !writing.sealed.is_empty() {
            let sealed = std::mem::take(&mut writing.sealed);
            drop(writing);
            self.sync_behind(sealed);
            writing = self.writing();
            self.note_synced(&mut writing)?;
        }
        // More than the drivers got to: each is an open file.
        let behind = writing.dirty.len() > DIRTY_MAX;
        let low = writing.ceiling().bytes_since(writing.end.position);
        if behind || low < self.options.window / 2 && !batch.header().clean {
            drop(writing);
            // Or positions are running out: make the ceiling that was just written durable. This syncs
            // once in half a window; it moves no durable mark, because the next batch may share a
            // block with this one.
            self.sync(sender, None)?;
            return Ok(self.writing().tail());
        }
        Ok(writing.tail())
    }

    fn append_in(
        &self,
        writing: &mut Writing,
        sender: Epoch,
        batch: &Batch,
        through: bool,
    ) -> Result<()> {
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
        self.note_synced(writing)?;
        writing.admit(sender)?;
        if header.end <= writing.end.position {
            self.same_again(batch)?;
            if planted!(TailFollowsResend) {
                writing.end = End {
                    position: header.end,
                    running: batch.running(),
                };
            }
            writing.look_for_room(&*self.medium, &self.options);
            return Ok(());
        }
        writing.check_follows(&header, self.unit())?;
        let appended = writing.append(&self.files, &self.options, batch, through);
        // A segment that was begun is there, also if its first batch found no room.
        if let Some(segment) = writing.begun.take() {
            tracing::debug!(base = segment.base.0, "log rolled to a new segment");
            self.segments
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .push(segment);
        }
        appended.inspect_err(|error| {
            // Out of space leaves the batch unsent and the log as it was; anything else leaves
            // bytes of unknown state where the batch should be.
            if error.kind() != ErrorKind::Full {
                writing.poison(error);
            }
        })?;
        self.tail.store(writing.end.position.0, Ordering::Release);
        Ok(())
    }

    /// Announces, durably, room for the longest batch, for somebody who asks: a window shorter than a
    /// record would refuse it for ever.
    fn widen(&self, sender: Epoch) -> Result<()> {
        let _turn = self.take_turn();
        let ceiling = {
            let writing = self.writing();
            writing.admit(sender)?;
            let (end, longest) = (writing.end.position, BATCH_MAX as u64);
            if writing.announced_durable.bytes_since(end) >= longest || writing.clean {
                return Ok(());
            }
            let ceiling = end.plus_bytes(longest).min(Position::LIMIT);
            ceiling.max(writing.announced)
        };
        self.replace_writer(|writer| writer.ceiling = ceiling)?;
        let mut writing = self.writing();
        writing.announced = writing.announced.max(ceiling);
        writing.announced_durable = writing.announced_durable.max(ceiling);
        Ok(())
    }

    /// Writes the last batches of a commit and tells where the tail stands then, and whether all of it is
    /// durable already: the batch of a small commit, on which this thread waits, goes through to the
    /// device where it can.
    pub(super) fn write_commit(&self, commit: &Commit) -> Result<(Position, bool)> {
        let syncs = commit.level >= Level::Disk;
        let alone = syncs && commit.last.len() == 1 && self.env.works_here();
        // Whoever has the turn may have taken what is dirty, and its sync may fail yet.
        let turn = match alone {
            _ if planted!(CommitNotSynced) => None,
            _ if planted!(AnsweredBeforeFlush) => None,
            true => self.behind.try_turn(),
            false => None,
        };
        let mut writing = self.writing();
        for batch in &commit.last {
            self.append_in(&mut writing, commit.sender, batch, turn.is_some())?;
        }
        writing.admit(commit.sender)?;
        let end = writing.end.position;
        if !syncs {
            return Ok((end, false));
        }
        let durable = turn.is_some() && writing.is_synced();
        if durable {
            let announced = (!writing.clean).then_some(writing.announced);
            self.note_durable(&mut writing, announced, end);
            writing.syncs += 1;
        }
        let prepared = writing.prepare_commit(&self.options, turn.is_some());
        prepared.inspect_err(|error| writing.poison(error))?;
        writing.committed = end;
        Ok((end, durable))
    }

    /// Checks that a batch sent again is the one that lies there.
    pub(super) fn same_again(&self, batch: &Batch) -> Result<()> {
        let header = batch.header();
        let other = || {
            Error::invalid(format!(
                "other bytes lie at {}..{} already",
                header.base, header.end
            ))
        };
        let (segment, _) = self.locate(header.base)?.ok_or_else(other)?;
        let frame = recovery::frame_at(&self.identity, &segment, header.base)?;
        let running = running_of(header.before_running, batch.bytes());
        let same = frame.is_some_and(|frame| {
            frame.running == running && u64::from(frame.length) == header.length()
        });
        if same { Ok(()) } else { Err(other()) }
    }

    /// Has a driver sync segments that ended.
    fn sync_behind(&self, sealed: Vec<Sealed>) {
        if self.medium.level() < Level::Disk {
            return;
        }
        if !self.behind.push(sealed) {
            return;
        }
        // The log itself is not kept alive by it: a handle that is dropped gives its lock back.
        let (behind, medium) = (self.behind.clone(), self.medium.clone());
        let work = move || behind.work(&*medium);
        self.env.drivers.run(Box::new(work));
    }

    /// Takes note of what was synced behind the writer's back.
    fn note_synced(&self, writing: &mut Writing) -> Result<()> {
        let news = self.behind.news();
        for synced in news.map_err(|error| lost(writing, &error))? {
            writing.syncs += 1;
            writing.names_synced = writing.names_synced.max(synced.names);
            writing
                .dirty
                .retain(|file| !Arc::ptr_eq(file, &synced.file));
            if synced.epoch == writing.epoch {
                let announced = synced.announced.unwrap_or_default();
                writing.announced_durable = writing.announced_durable.max(announced);
            }
        }
        Ok(())
    }

    /// Syncs everything that is dirty. `commit` is where the tail stood when a commit asked: bytes
    /// below it count as durable afterwards, because the batch after it begins in another unit.
    /// What is written while it runs is dirty again, whatever file it lies in.
    pub(super) fn sync(&self, sender: Epoch, commit: Option<Position>) -> Result<()> {
        let _turn = self.take_turn();
        self.behind.forget_waiting();
        let (files, names, announced) = {
            let mut writing = self.writing();
            self.note_synced(&mut writing)?;
            writing.admit(sender)?;
            writing.sealed.clear();
            let announced = (!writing.clean).then_some(writing.announced);
            (std::mem::take(&mut writing.dirty), writing.names, announced)
        };
        let files = if planted!(CommitNotSynced) {
            Vec::new()
        } else {
            files
        };
        let synced = files
            .iter()
            .try_for_each(|file| match file.sync() {
                Err(_) if planted!(SyncRetried) => file.sync(),
                synced => synced,
            })
            .and_then(|()| {
                if names > self.writing().names_synced && !planted!(NamesNotSynced) {
                    self.medium.sync_dir()
                } else {
                    Ok(())
                }
            });
        let mut writing = self.writing();
        writing.syncs += files.len() as u64;
        if let Err(error) = synced {
            return Err(lost(&mut writing, &error));
        }
        writing.names_synced = writing.names_synced.max(names);
        self.note_durable(&mut writing, announced, commit.unwrap_or_default());
        Ok(())
    }

    /// Takes note of what is durable now: the ceiling that was announced, and the bytes below a commit.
    fn note_durable(&self, writing: &mut Writing, announced: Option<Position>, commit: Position) {
        writing.announced_durable = writing.announced_durable.max(announced.unwrap_or_default());
        writing.durable = writing.durable.max(commit);
        self.durable.store(writing.durable.0, Ordering::Release);
    }
}

fn lost(writing: &mut Writing, error: &Error) -> Error {
    writing.poison(error);
    Error::closed(format!(
        "a sync failed, so nothing is known of what was written since the last one: {error}"
    ))
}
