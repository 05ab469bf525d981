//! One decision over several stores: two-phase commit, whose record says what becomes of a transaction.
//!
//! ```text
//!   begun      which blocks of which stores; durable before anything is held
//!     ├── every part is held in its store ──> decided   from here on it is committed
//!     │                                         └── committed in each store ──> the record goes
//!     └── one is stale, or the process ends ──> undone  from here on it never was
//!                                               └── cancelled in each store ──> the record goes
//! ```
//!
//! A record of what was undone stays for a minute, so that whoever was at it hears of it.
//!
//! The record changes by compare and set, so a transaction that is still on its way and somebody who
//! [recovers](Decisions::recover) agree on what it is. While parts are held others wait for them; a reader
//! may see one store with the transaction and another without it until both have committed it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use travertine_engine::contract::{Clock, Env, Error, Level, Name, Result};
use travertine_engine::front::Engine;

use super::session::Places;
use super::stamp::TransactionId;
use crate::block::{BlockId, Value};
use crate::index::Direction;
use crate::transactor::{
    ActionId, ActionRev, Commit, Committed, Part, Pended, Revision, Stale, Transacted,
};
use crate::{Map, Tree};

/// Records of decisions, in a map of an engine.
#[derive(Debug, Clone)]
pub struct Decisions {
    engine: Arc<Engine>,
    map: Map<Tree>,
    level: Option<Level>,
    clock: Arc<dyn Clock>,
}

/// How long a record of what was undone stays, in milliseconds: whoever was on the way has heard by then.
const UNDONE_MS: u64 = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Begun,
    Decided,
    Undone,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    state: State,
    /// When it came to this state, in milliseconds since 1970.
    since: u64,
    parts: Vec<Held>,
}

/// What is held in one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    place: usize,
    revision: Revision,
    blocks: Vec<String>,
    tail: String,
    header: Option<String>,
    /// Whether it only reads: then it is let go, and makes no revision.
    reads: bool,
}

impl Decisions {
    /// Records that lie under this name, each as sure as `level`, `None` meaning that of the engine.
    #[must_use]
    pub fn new(engine: Arc<Engine>, env: &Env, name: Name, level: Option<Level>) -> Self {
        Self {
            clock: env.clock.clone(),
            engine,
            map: Map::new(name, Tree::default()),
            level,
        }
    }

    /// Commits the parts of a transaction in all places, or in none. Once it is decided it is done: a store
    /// that cannot be reached then has it when somebody recovers.
    pub(super) async fn land(
        &self,
        places: &dyn Places,
        id: &TransactionId,
        parts: &BTreeMap<usize, Vec<Part>>,
    ) -> Result<Transacted> {
        let held = parts.iter().flat_map(|(place, parts)| {
            let held = |part: &Part| Held {
                place: *place,
                revision: part.commit.action.revision,
                blocks: part
                    .pend
                    .blocks()
                    .map(|id| id.as_str().to_owned())
                    .collect(),
                tail: part.commit.tail.as_str().to_owned(),
                header: part.commit.header.as_ref().map(|id| id.as_str().to_owned()),
                reads: part.pend.transforms.is_empty(),
            };
            parts.iter().map(held)
        });
        let record = Record {
            state: State::Begun,
            since: 0,
            parts: held.collect(),
        };
        if !self.turn(id, None, State::Begun, &record).await? {
            return Err(Error::invalid(format!(
                "transaction {id} is on its way already"
            )));
        }
        match self.hold(places, parts).await {
            Ok(None) => {}
            Ok(Some(stale)) => {
                self.give_up(places, id, &record).await?;
                return Ok(Transacted::Stale(stale));
            }
            Err(error) => {
                // What cannot be cancelled now is cancelled by whoever recovers.
                let _ = self.give_up(places, id, &record).await;
                return Err(error);
            }
        }
        if !self
            .turn(id, Some(State::Begun), State::Decided, &record)
            .await?
        {
            self.give_up(places, id, &record).await?;
            return Ok(Transacted::Stale(Stale::Refused(
                "somebody who recovered took it for left alone, and undid it".to_owned(),
            )));
        }
        // It is decided: what cannot be reached now is committed by whoever recovers.
        let _ = self.complete(places, id, &record).await;
        Ok(Transacted::Done)
    }

    /// Completes what is decided, undoes what is not, and returns how many there were of each. Those whose
    /// process still lives are undone as well, unless they are decided. What one record cannot be rid of
    /// does not keep others: the first error is told in the end.
    pub async fn recover(&self, places: &dyn Places) -> Result<(u64, u64)> {
        let (mut completed, mut undone, mut failed) = (0, 0, Ok(()));
        for (id, record) in self.all().await? {
            let done = match record.state {
                State::Decided => {
                    completed += 1;
                    self.complete(places, &id, &record).await
                }
                State::Begun => {
                    undone += 1;
                    self.undo(places, &id, &record).await
                }
                State::Undone => self.clear(places, &id, &record).await,
            };
            failed = failed.and(done);
        }
        failed.map(|()| (completed, undone))
    }

    async fn hold(
        &self,
        places: &dyn Places,
        parts: &BTreeMap<usize, Vec<Part>>,
    ) -> Result<Option<Stale>> {
        for (place, parts) in parts {
            let transactor = transactor(places, *place)?;
            for part in parts {
                let mut pend = part.pend.clone();
                pend.held = true;
                if let Pended::Stale(stale) = transactor.pend(pend).await? {
                    return Ok(Some(stale));
                }
            }
        }
        Ok(None)
    }

    async fn complete(&self, places: &dyn Places, id: &ActionId, record: &Record) -> Result<()> {
        for held in &record.parts {
            let transactor = transactor(places, held.place)?;
            let commit = held.commit(id)?;
            if held.reads {
                transactor.cancel(id, &commit.blocks).await?;
                continue;
            }
            if let Committed::Stale(stale) = transactor.commit(commit).await? {
                return Err(Error::corrupt(format!(
                    "transaction {id} is decided, and store {} says that it is stale: {stale:?}",
                    held.place
                )));
            }
        }
        self.turn(id, Some(State::Decided), State::Decided, &gone())
            .await
            .map(drop)
    }

    /// Undoes what somebody else left, or is at. The record stays for a time: they have to hear of it.
    async fn undo(&self, places: &dyn Places, id: &ActionId, record: &Record) -> Result<()> {
        if self
            .turn(id, Some(State::Begun), State::Undone, record)
            .await?
        {
            self.release(places, id, record).await?;
        }
        Ok(())
    }

    /// Undoes what this process was at. Nobody else decides it, so whatever its record says, it never was.
    async fn give_up(&self, places: &dyn Places, id: &ActionId, record: &Record) -> Result<()> {
        self.turn(id, Some(State::Begun), State::Undone, record)
            .await?;
        self.release(places, id, record).await?;
        self.turn(id, Some(State::Undone), State::Undone, &gone())
            .await
            .map(drop)
    }

    /// Lets go of what was held since, and of the record once it is old.
    async fn clear(&self, places: &dyn Places, id: &ActionId, record: &Record) -> Result<()> {
        self.release(places, id, record).await?;
        if self.now().saturating_sub(record.since) < UNDONE_MS {
            return Ok(());
        }
        self.turn(id, Some(State::Undone), State::Undone, &gone())
            .await
            .map(drop)
    }

    async fn release(&self, places: &dyn Places, id: &ActionId, record: &Record) -> Result<()> {
        for held in &record.parts {
            let transactor = transactor(places, held.place)?;
            transactor.cancel(id, &held.commit(id)?.blocks).await?;
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        self.clock.unix_us() / 1000
    }

    /// Changes a record if it is in this state, `None` meaning that there is none; without parts it goes.
    /// Answers whether it was.
    async fn turn(
        &self,
        id: &ActionId,
        from: Option<State>,
        to: State,
        record: &Record,
    ) -> Result<bool> {
        let new = Record {
            state: to,
            since: self.now(),
            parts: record.parts.clone(),
        };
        let new = (!new.parts.is_empty())
            .then(|| Value::of(&new))
            .transpose()?;
        let key = id.as_str().as_bytes();
        let (was, committed) = self.map.update(&self.engine, self.level, |turn| {
            let old = turn.get(key)?;
            let state = old.map(|bytes| Value::from_bytes(bytes)?.to::<Record>());
            if state.transpose()?.map(|record| record.state) != from {
                return Ok(false);
            }
            match &new {
                Some(new) => turn.put(key, new.as_bytes())?,
                None => turn.delete(key)?,
            }
            Ok(true)
        })?;
        committed.await?;
        Ok(was)
    }

    async fn all(&self) -> Result<Vec<(TransactionId, Record)>> {
        let reader = self.map.reader(&self.engine.snapshot()).await?;
        let whole = std::ops::Bound::Unbounded;
        let mut rows = reader.range(whole, whole, Direction::Forward);
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let id = std::str::from_utf8(row.key).map_err(|_| damaged())?;
            let id = TransactionId::new(id).map_err(|_| damaged())?;
            let value = reader.value(row.value).wait()?;
            all.push((id, Value::from_bytes(value)?.to()?));
        }
        Ok(all)
    }
}

impl Held {
    fn commit(&self, id: &ActionId) -> Result<Commit> {
        let name = |name: &String| BlockId::new(name.as_str()).map_err(|_| damaged());
        Ok(Commit {
            action: ActionRev {
                action: id.clone(),
                revision: self.revision,
            },
            blocks: self.blocks.iter().map(name).collect::<Result<_>>()?,
            tail: name(&self.tail)?,
            header: self.header.as_ref().map(name).transpose()?,
        })
    }
}

fn gone() -> Record {
    Record {
        state: State::Undone,
        since: 0,
        parts: Vec::new(),
    }
}

fn damaged() -> Error {
    Error::corrupt("a record of a decision names what cannot be a name")
}

fn transactor(places: &dyn Places, place: usize) -> Result<Arc<dyn crate::transactor::Transactor>> {
    let transactor = places.transactor(place);
    transactor.ok_or_else(|| Error::invalid(format!("there is no store number {place}")))
}
