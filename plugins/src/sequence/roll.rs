//! Going on in the next part: making it ready ahead, switching, and sealing what has ended.
//!
//! ```text
//!   store, store, store, ………, store ──> the next part takes this one
//!             │ three quarters full        │ the old one's sync starts, on a driver
//!             └> driver: open, fence,      └> commit waits for it, oldest first
//!                enter in the catalogue       once its markers are proven: footer, close
//! ```
//!
//! Nothing here syncs on the way of a store, unless there is no next part yet and no room, or the part
//! has twice its length: then the next is made at once. A part may always grow past its length, so one
//! that is late, or cannot be made, costs nothing but that.

use std::sync::Arc;
use std::time::Duration;

use travertine_engine::contract::{
    BatchHeader, Commit, End, Epoch, Error, Extent, Level, Position, Result, Stream,
};

use super::catalogue::Catalogue;
use super::footer::{Counts, Footer};
use super::parts::Parts;
use super::shared::{Shared, ceiling_of, report_of};
use super::state::{Ended, Member, State, Task, UNSEALED_MAX};
use super::table::Part;

/// After so many bytes the part that is to be the next is told how far the stream has come. Tests
/// have streams that are shorter than those of the world.
const ANNOUNCE_EVERY: u64 = if cfg!(test) { 64 << 10 } else { 64 << 20 };

impl Shared {
    /// Starts what is due after something changed.
    pub(super) fn tend(self: &Arc<Self>) {
        let mut state = self.lock();
        if self.setup.read_only || !state.adopted || state.poison.is_some() {
            return;
        }
        let mut due = Vec::new();
        if let Some(task) = self.due_preparation(&mut state) {
            due.push(task);
        }
        if !state.sealing && !state.seal_failed && state.sealable().is_some() {
            state.sealing = true;
            due.push(Task::Seal);
        }
        drop(state);
        for task in due {
            self.delegate(task);
        }
    }

    fn due_preparation(&self, state: &mut State) -> Option<Task> {
        if state.preparing {
            return None;
        }
        if state.next().is_some() {
            return self.due_announcement(state);
        }
        let filled = state.filled();
        let limit = self.limit(state);
        let long = limit.is_none_or(|limit| filled >= limit - limit / 4);
        let old = self
            .setup
            .age
            .is_some_and(|age| self.is_older(state, age - age / 4));
        if !(long || old) || state.end.position < state.retry_at {
            return None;
        }
        self.preparation(state)
    }

    /// The task of making the next part, unless there is one or can be none.
    fn preparation(&self, state: &mut State) -> Option<Task> {
        let number = state.newest_number() + 1;
        if state.preparing || state.next().is_some() || number > self.setup.parts.most() {
            return None;
        }
        state.preparing = true;
        let left = self
            .limit(state)
            .unwrap_or_default()
            .saturating_sub(state.filled());
        Some(Task::Prepare {
            number,
            near: Position(state.end.position.0.saturating_add(left / 8)).min(Position::LIMIT),
            epoch: state.epoch,
        })
    }

    /// Where a part is used until it is full, the next may wait for long: it is told now and then how
    /// far the stream has come, so that it need not announce and sync that when its turn comes.
    fn due_announcement(&self, state: &mut State) -> Option<Task> {
        let told = state.announced;
        if self.setup.limit.is_some() || state.end.position.bytes_since(told) < ANNOUNCE_EVERY {
            return None;
        }
        let at = state.active_index().map_or(0, |index| index + 1);
        let member = state.members.remove(at)?;
        state.preparing = true;
        Some(Task::Announce {
            member,
            end: state.end(),
            epoch: state.epoch,
        })
    }

    /// Tells a part that holds nothing how far the stream has come.
    pub(super) fn announce(&self, member: Member, end: End, epoch: Epoch) {
        let told = member
            .store
            .adopt(epoch, vec![(self.setup.stream, end)])
            .wait();
        let mut state = self.lock();
        state.preparing = false;
        match told {
            Ok(()) if state.epoch == epoch => {
                state.announced = end.position;
                state.insert(member);
            }
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, member.number, "the next part of the sequence failed");
                self.retry_later(&mut state);
            }
        }
    }

    /// How long the part that is written to gets.
    fn limit(&self, state: &State) -> Option<u64> {
        let part = state.active().map_or(1, |active| active.number);
        let length = |segment| self.setup.weights.length(segment, part);
        self.setup.limit.map(length)
    }

    fn is_older(&self, state: &State, age: Duration) -> bool {
        let now = self.setup.env.clock.unix_us();
        let since = state.active().map_or(now, |active| active.since);
        let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        state.filled() > 0 && now.saturating_sub(since) >= age
    }

    fn retry_later(&self, state: &mut State) {
        let wait = self.setup.limit.unwrap_or(64 << 20) / 64;
        state.retry_at = Position(state.end.position.0.saturating_add(wait));
    }

    /// Makes the next part before this call returns, if there can be one: without it the engine would
    /// be told that there is no room.
    pub(super) fn make_next(self: &Arc<Self>) {
        self.wait_until(|state| !state.preparing);
        let task = self.preparation(&mut self.lock());
        if let Some(task) = task {
            self.delegate(task);
            self.wait_until(|state| !state.preparing);
        }
    }

    /// Makes the next part: opened, fenced for this epoch, in the catalogue.
    pub(super) fn prepare(&self, number: u32, near: Position, epoch: Epoch) {
        let made = self.make(number, near, epoch);
        let mut state = self.lock();
        state.preparing = false;
        match made {
            Ok(member) if state.epoch == epoch => {
                state.announced = near;
                state.insert(member);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, number, "the next part of the sequence cannot be made yet");
                self.retry_later(&mut state);
            }
        }
    }

    fn make(&self, number: u32, near: Position, epoch: Epoch) -> Result<Member> {
        let member = make_part(
            &*self.setup.parts,
            &self.setup.catalogue,
            self.setup.stream,
            number,
            near,
        )?;
        let unit = member.store.status().unit;
        if unit > self.unit {
            return Err(Error::invalid(format!(
                "part {number} needs batches at multiples of {unit} bytes, and the engine was told \
                 of {}; open the stack again",
                self.unit
            )));
        }
        // A part that was made and not entered has been fenced already.
        let found = report_of(&member.store, Epoch::default(), self.setup.stream)?;
        if found.epoch != epoch {
            member.store.fence(epoch).wait()?;
        }
        self.setup.catalogue.enter(number)?;
        Ok(member)
    }

    /// Whether the part that is written to is long or old enough and the next is ready.
    pub(super) fn is_due(&self, state: &State) -> bool {
        let long = self
            .limit(state)
            .is_some_and(|limit| state.filled() >= limit);
        let old = self.setup.age.is_some_and(|age| self.is_older(state, age));
        (long || old) && state.next().is_some() && state.unsealed() < UNSEALED_MAX
    }

    /// Whether the next part is so late that the one that is written to has twice its length.
    pub(super) fn is_overdue(&self, state: &State) -> bool {
        let double = |limit: u64| state.filled() / 2 >= limit;
        self.limit(state).is_some_and(double)
            && state.next().is_none()
            && state.end.position >= state.retry_at
            && state.unsealed() < UNSEALED_MAX
    }

    /// Goes on in the next part for this batch, if it has room for all that was promised.
    pub(super) fn switch_for(self: &Arc<Self>, header: &BatchHeader) -> bool {
        let end = End {
            position: header.before_end,
            running: header.before_running,
        };
        {
            let mut state = self.lock();
            // Only the engine's own word, as long as it agrees with what was taken.
            if state.end().position != end.position || state.end().running != end.running {
                return false;
            }
        }
        // Positions in between take no room: the first batch after a crash lies far behind the end.
        let (gap, last) = (header.base.bytes_since(header.before_end), header.end);
        self.switch(end, move |ceiling, handed| {
            ceiling.plus_bytes(gap) >= handed.max(last)
        })
    }

    /// Goes on in the next part because the engine asks for more room than is left in this one.
    pub(super) fn switch_for_room(self: &Arc<Self>) -> bool {
        let end = self.lock().end();
        self.switch(end, |ceiling, handed| ceiling > handed)
    }

    fn switch(self: &Arc<Self>, end: End, enough: impl Fn(Position, Position) -> bool) -> bool {
        let (number, store, epoch) = {
            let mut state = self.lock();
            let next = state.next().map(|next| (next.number, next.store.clone()));
            let Some((number, store)) = next.filter(|_| !state.switching) else {
                return false;
            };
            state.switching = true;
            (number, store, state.epoch)
        };
        let adopted = store.adopt(epoch, vec![(self.setup.stream, end)]).wait();
        let ceiling = adopted.map(|()| ceiling_of(&store.status(), self.setup.stream));
        let mut state = self.lock();
        state.switching = false;
        let ceiling = match ceiling {
            Ok(ceiling) if enough(ceiling, state.handed) => ceiling,
            Ok(_) => return false,
            Err(error) => {
                tracing::warn!(%error, number, "the sequence cannot go on in its next part");
                state.members.retain(|member| member.number != number);
                return false;
            }
        };
        let marker = state.newest;
        let now = self.setup.env.clock.unix_us();
        let Some(old) = state.active_mut() else {
            return false;
        };
        old.ended = Some(Ended {
            end,
            marker,
            synced: false,
            at: now,
        });
        let old = old.clone();
        if let Some(next) = state.member(number) {
            next.begins = Some(end);
            next.since = now;
        }
        state.handed = state.handed.max(ceiling);
        state.seal_failed = false;
        state.rolls += 1;
        drop(state);
        self.table.push(Part::live(number, end.position, store));
        tracing::info!(
            part = number,
            at = end.position.0,
            "sequence rolled to a new part"
        );
        self.start_sync(&old, epoch);
        true
    }

    /// Has everything in a part that has ended brought to disk, on a driver.
    fn start_sync(self: &Arc<Self>, old: &Member, epoch: Epoch) {
        let level = old.store.status().level.min(Level::Disk);
        let op = old.store.commit(Commit {
            sender: epoch,
            level,
            last: Vec::new(),
        });
        let number = old.number;
        match op.try_ready() {
            Ok(answer) => self.synced(number, answer.map(drop)),
            Err(op) => self.delegate(Task::Sync { number, op }),
        }
    }

    pub(super) fn synced(self: &Arc<Self>, number: u32, answer: Result<()>) {
        {
            let mut state = self.lock();
            match answer {
                Ok(()) => {
                    if let Some(ended) = state
                        .member(number)
                        .and_then(|member| member.ended.as_mut())
                    {
                        ended.synced = true;
                    }
                }
                Err(error) => {
                    let text = format!("part {number} of the sequence was not synced: {error}");
                    state
                        .poison
                        .get_or_insert(Error::closed(text).caused_by(error));
                }
            }
        }
        self.changed.notify_all();
        self.tend();
    }

    /// Waits until every part before the one that is written to is durable.
    pub(super) fn sync_older(self: &Arc<Self>, level: Level) -> Result<()> {
        if level == Level::Memory {
            return Ok(());
        }
        let unsynced = |member: &Member| member.ended.is_some_and(|ended| !ended.synced);
        self.wait_until(|state| state.poison.is_some() || !state.members.iter().any(unsynced));
        let state = self.lock();
        match &state.poison {
            Some(error) => Err(error.clone()),
            None if state.members.iter().any(unsynced) => Err(Error::closed(
                "the sync of a part that has ended was given up",
            )),
            None => Ok(()),
        }
    }

    /// Writes footers as long as the oldest part has ended for good.
    pub(super) fn seal(&self) {
        loop {
            let (member, footer) = {
                let mut state = self.lock();
                let Some(member) = state.sealable().cloned() else {
                    state.sealing = false;
                    return;
                };
                let (Some(start), Some(ended)) = (member.begins, member.ended) else {
                    state.sealing = false;
                    return;
                };
                let footer = Footer {
                    part: member.number,
                    start,
                    end: ended.end,
                    ceiling: state.handed,
                    epoch: state.epoch,
                    proven: state.proven,
                    marker: ended.marker,
                    counts: member.counts,
                    ended: ended.at,
                };
                (member, footer)
            };
            let sealed = self.setup.catalogue.seal(&footer);
            if sealed.is_ok() && self.setup.parts.persists() {
                // It gives back what was claimed ahead; reads go on.
                if let Err(error) = member.store.close().wait() {
                    tracing::warn!(%error, part = member.number, "a sealed part did not close");
                }
            }
            let mut state = self.lock();
            match sealed {
                Ok(()) => {
                    state.base = Some(footer);
                    state.members.retain(|other| other.number != member.number);
                    drop(state);
                    self.settle(&member, &footer);
                }
                Err(error) => {
                    tracing::warn!(%error, part = member.number, "no footer could be written");
                    state.sealing = false;
                    state.seal_failed = true;
                    return;
                }
            }
        }
    }

    fn settle(&self, member: &Member, footer: &Footer) {
        let parts = self.table.all();
        let Some(part) = parts.iter().find(|part| part.number == member.number) else {
            return;
        };
        part.settle(footer);
        // Counts it among the open ones, and may close another; one that cannot come back stays.
        if self.setup.parts.persists() {
            self.table
                .opened(part, member.store.clone(), self.setup.open_max);
        }
    }
}

/// Opens a part that holds nothing, made if need be. It is not in the catalogue yet.
pub(super) fn make_part(
    parts: &dyn Parts,
    catalogue: &Catalogue,
    stream: Stream,
    number: u32,
    near: Position,
) -> Result<Member> {
    let extent = Extent::Part { near, make: true };
    let store = parts.open(number, extent, catalogue.store(), false)?;
    let found = report_of(&store, Epoch::default(), stream)?;
    if found.end.position > Position::START {
        return Err(Error::corrupt(format!(
            "part {number} holds batches and is not in the catalogue of the sequence; nothing was \
             changed"
        )));
    }
    Ok(Member {
        number,
        store,
        begins: None,
        ended: None,
        counts: Counts {
            whole: true,
            ..Counts::default()
        },
        gaps: 0,
        since: catalogue.now(),
    })
}
