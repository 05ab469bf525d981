//! The ten verbs over the parts.

use std::fmt;
use std::sync::Arc;

use travertine_engine::contract::batch::FRAME_SLOT;
use travertine_engine::contract::limits::RECORD_BODY_MAX;
use travertine_engine::contract::{
    Batch, Batches, Commit, Epoch, Error, ErrorKind, Freed, Level, Oid, Op, Position, Reclaim,
    Record, Result, RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
    find_root,
};

use super::shared::Shared;

/// An open sequence.
pub(super) struct Sequence(pub(super) Arc<Shared>);

/// Where a batch that comes goes.
enum Way {
    /// Follows on what is there.
    On,
    /// Lies in the part that is written to already.
    Again,
    /// Lies in an older part already.
    Old,
}

impl Shared {
    fn way(&self, sender: Epoch, batch: &Batch) -> Result<Way> {
        if self.setup.read_only {
            return Err(Error::closed("the sequence is open for reading only"));
        }
        let header = batch.header();
        if header.stream != self.setup.stream {
            return Err(Error::invalid(format!(
                "a batch of stream {} does not belong in {}",
                header.stream, self.setup.stream
            )));
        }
        let state = self.lock();
        state.admit(sender)?;
        if header.end > state.end.position {
            return Ok(Way::On);
        }
        let begins = state.active()?.begins.map(|begins| begins.position);
        Ok(match begins {
            Some(begins) if header.before_end >= begins => Way::Again,
            _ => Way::Old,
        })
    }

    fn active_store(&self) -> Result<Arc<dyn Store>> {
        self.lock().active().map(|active| active.store.clone())
    }

    fn store(self: &Arc<Self>, sender: Epoch, batch: Batch) -> Op<Tail> {
        let again = match self.way(sender, &batch) {
            Ok(Way::On) => false,
            Ok(Way::Again) => true,
            Ok(Way::Old) => return Op::ready(self.same_again(&batch).map(|()| self.tail())),
            Err(error) => return Op::err(error),
        };
        if !again {
            self.roll_if_due(&batch);
        }
        let mut rolled = false;
        loop {
            let store = match self.active_store() {
                Ok(store) => store,
                Err(error) => return Op::err(error),
            };
            let full = |error: &Error| error.kind() == ErrorKind::Full;
            match store.store(sender, batch.clone()).try_ready() {
                Ok(Err(error)) if full(&error) && !rolled && !again => {
                    self.make_next();
                    if !self.switch_for(batch.header()) {
                        return Op::err(error);
                    }
                    rolled = true;
                }
                Ok(answer) => return Op::ready(answer.map(|tail| self.taken(&batch, tail, again))),
                Err(op) => {
                    return self.heard(op, move |shared, answer| {
                        answer.map(|tail| shared.taken(&batch, tail, again))
                    });
                }
            }
        }
    }

    fn roll_if_due(self: &Arc<Self>, batch: &Batch) {
        let overdue = self.is_overdue(&self.lock());
        if overdue {
            self.make_next();
        }
        let due = self.is_due(&self.lock());
        if due {
            self.switch_for(batch.header());
        }
    }

    /// Notes that a part took a batch, and tells how far the engine may go then.
    fn taken(self: &Arc<Self>, batch: &Batch, tail: Tail, again: bool) -> Tail {
        let mut state = self.lock();
        state.note(batch, self.setup.env.clock.unix_us());
        let due = self.is_due(&state);
        // Asked again, it is room that is wanted. Where the next part has room of its own, what may
        // be less than one record needs is left.
        let short =
            self.setup.listed && tail.ceiling.bytes_since(tail.end) < RECORD_BODY_MAX as u64;
        let scarce = tail.ceiling <= state.handed || short;
        let leave = again && (due || scarce);
        let end = state.end.position;
        drop(state);
        self.tend();
        if leave && !due {
            self.make_next();
        }
        if leave && self.switch_for_room() {
            return self.tail();
        }
        let mut state = self.lock();
        // Nothing more is promised for a part that the next batch may leave.
        let ceiling = if due && !again {
            state.handed.max(tail.end)
        } else {
            tail.ceiling
        };
        state.handed = state.handed.max(ceiling);
        Tail { end, ceiling }
    }

    /// What a part was told to keep room for, and no more.
    fn tail(&self) -> Tail {
        let state = self.lock();
        let end = state.end.position;
        Tail {
            end,
            ceiling: state.handed.max(end),
        }
    }

    /// Checks that a batch sent again is the one that lies there.
    fn same_again(&self, batch: &Batch) -> Result<()> {
        let header = batch.header();
        let there = match self.reach(header.before_end)? {
            Some(store) => store.scan(self.setup.stream, header.base).wait()?.batches,
            None => Vec::new(),
        };
        let same = there
            .first()
            .is_some_and(|there| there.bytes()[FRAME_SLOT..] == batch.bytes()[FRAME_SLOT..]);
        if same {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "other bytes lie at {}..{} already",
            header.base, header.end
        )))
    }

    fn commit(self: &Arc<Self>, mut commit: Commit) -> Op<Level> {
        if commit.is_keep() {
            return Op::ready(self.keep(&commit));
        }
        let last = commit.last.pop();
        for batch in std::mem::take(&mut commit.last) {
            if let Err(error) = self.store(commit.sender, batch).wait() {
                return Op::err(error);
            }
        }
        match self.commit_last(commit, last) {
            Ok(op) => op,
            Err(error) => Op::err(error),
        }
    }

    /// Has the parts that have not ended keep what was found in them, the oldest first.
    fn keep(&self, commit: &Commit) -> Result<Level> {
        let members = self.lock().members.clone();
        let mut least = commit.level;
        for member in members {
            least = least.min(member.store.commit(commit.clone()).wait()?);
        }
        Ok(least)
    }

    fn commit_last(self: &Arc<Self>, commit: Commit, last: Option<Batch>) -> Result<Op<Level>> {
        if self.setup.read_only {
            return Err(Error::closed("the sequence is open for reading only"));
        }
        self.lock().admit(commit.sender)?;
        let mut last = last;
        if let Some(batch) = &last {
            match self.way(commit.sender, batch)? {
                Way::On => self.roll_if_due(batch),
                Way::Again => {}
                Way::Old => {
                    self.same_again(batch)?;
                    last = None;
                }
            }
        }
        let mut rolled = false;
        loop {
            self.sync_older(commit.level)?;
            let commit = Commit {
                last: last.iter().cloned().collect(),
                ..commit.clone()
            };
            let answer = self.active_store()?.commit(commit).try_ready();
            let full = |error: &Error| error.kind() == ErrorKind::Full;
            let op = match (answer, &last) {
                (Ok(Err(error)), Some(batch)) if full(&error) && !rolled => {
                    self.make_next();
                    if !self.switch_for(batch.header()) {
                        return Err(error);
                    }
                    rolled = true;
                    continue;
                }
                (Ok(Err(error)), _) => return Err(error),
                (Ok(answer), _) => Op::ready(answer),
                (Err(op), _) => op,
            };
            if let Some(batch) = &last {
                let mut state = self.lock();
                // How far its writer may go is told by the next store; more than this it is not.
                state.handed = state.handed.max(batch.header().end);
                state.note(batch, self.setup.env.clock.unix_us());
            }
            self.tend();
            return Ok(op);
        }
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        if oid.stream() != self.setup.stream {
            return Op::err(Error::invalid(format!(
                "{oid} lies in stream {}, this sequence holds {}",
                oid.stream(),
                self.setup.stream
            )));
        }
        match self.reach(oid.position()) {
            Ok(Some(store)) => store.read(oid),
            Ok(None) => Op::ready(self.past(oid)),
            Err(error) => Op::err(error),
        }
    }

    fn root(&self, at: RootAt) -> Result<Option<(Oid, RootMarker)>> {
        let newest = {
            let state = self.lock();
            if let Err(damage) = &state.report
                && (state.lost.is_empty() || state.proven.is_none())
            {
                return Err(damage.clone());
            }
            if self.setup.read_only || at == RootAt::Proven {
                // A commit leaves the writing process only when proven.
                state.proven.map(|proven| proven.oid)
            } else {
                state.newest
            }
        };
        let Some(newest) = newest else {
            return Ok(None);
        };
        find_root(newest, at, |oid| {
            let found = self.read(oid).wait()?;
            let decode = |record| RootMarker::decode(oid, &record);
            found.map(decode).transpose()
        })
    }

    fn scan(self: &Arc<Self>, from: Position) -> Op<Batches> {
        let store = match self.reach(from) {
            Ok(Some(store)) => store,
            Ok(None) => {
                // Nothing that is known of; and damage is told, not passed over.
                let report = self.lock().report.as_ref().map(drop).map_err(Error::clone);
                return Op::ready(report.map(|()| Batches {
                    batches: Vec::new(),
                    sparse: None,
                    next: None,
                }));
            }
            Err(error) => return Op::err(error),
        };
        let after = self.table.after(from);
        let shared = self.clone();
        store.scan(self.setup.stream, from).then(move |mut found| {
            if found.next.is_none()
                && let Some(after) = after
            {
                if found.batches.is_empty() && found.sparse.is_none() {
                    return shared.scan(after);
                }
                found.next = Some(after);
            }
            Op::ok(found)
        })
    }

    fn close(self: &Arc<Self>) -> Result<()> {
        self.rest();
        // What could be sealed makes the next opening look at one part only.
        self.tend();
        self.rest();
        let stores: Vec<_> = {
            let mut state = self.lock();
            let closed = || Error::closed("the sequence was closed");
            state.poison.get_or_insert_with(closed);
            state
                .members
                .iter()
                .map(|member| member.store.clone())
                .collect()
        };
        let mut done = Ok(());
        for store in stores {
            done = done.and(store.close().wait());
        }
        self.setup.catalogue.release();
        done
    }
}

impl Store for Sequence {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.0.store(sender, batch)
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.0.read(oid)
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        self.0.commit(commit)
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        Op::ready(self.0.root(at))
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        Op::ready(self.0.fence(epoch).map(|state| vec![state]))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        Op::ready(self.0.adopt(epoch, &vector))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        if stream != self.0.setup.stream {
            return Op::err(Error::invalid(format!("stream {stream} does not lie here")));
        }
        self.0.scan(from)
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        let shared = self.0.clone();
        self.0.setup.env.offload(move || shared.reclaim(&decision))
    }

    fn status(&self) -> Status {
        self.0.status()
    }

    fn close(&self) -> Op<()> {
        Op::ready(self.0.close())
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sequence({} parts)", self.0.table.count().0)
    }
}
