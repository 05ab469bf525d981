//! Blocks stored on an engine of this process, in one map.
//!
//! Each pend and each commit is one commit of the engine, so a crash leaves it done or not begun, for all
//! of its blocks. Calls are decided one after the other, and wait for the medium together: many in
//! flight are as many tickets of one flush. An answer is given when all that it rests on has reached the
//! level that was asked for. What is pending for longer than anybody waits does not bind others any more.

mod answer;
mod archive;
mod decide;
mod desk;
mod keep;
mod ranges;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use travertine_engine::contract::{Clock, Env, Level, Name, Op, Result};
use travertine_engine::front::Engine;

use crate::block::BlockId;
use crate::transactor::{
    ActionId, Answers, Commit, Committed, Context, Part, Pend, Pended, Status, Transacted,
    Transactor,
};
use crate::{Map, Tree};

pub use archive::{Archive, Archived, Restore};
use decide::Time;
use desk::{Desk, Standings};
use keep::Keep;
use rows::Rows;

/// Most of what somebody missed, or of rivals, that one answer tells.
pub const TOLD_MAX: usize = 256;

/// How long what is pending stands in the way of others, if nobody says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of blocks that are remembered, if nobody says otherwise.
pub const MEMORY: u64 = 32 << 20;

/// Blocks in a map of an engine. Each call is one commit of it, or none.
#[derive(Debug)]
pub struct Local {
    engine: Arc<Engine>,
    map: Map<Tree>,
    level: Option<Level>,
    clock: Arc<dyn Clock>,
    patience: Duration,
    keep: Keep,
    restore: Option<Arc<dyn Restore>>,
    /// Decisions are made one by one.
    turn: Mutex<Standings>,
    /// Whether what was decided may not be so.
    doubted: Arc<AtomicBool>,
}

type View = <Tree as crate::Index>::View;

impl Local {
    /// The blocks that lie under this name. What it answers has reached `level`, `None` meaning that of
    /// the engine.
    #[must_use]
    pub fn new(engine: Arc<Engine>, env: &Env, name: Name, level: Option<Level>) -> Self {
        Self {
            clock: env.clock.clone(),
            patience: PATIENCE,
            engine,
            map: Map::new(name, Tree::default()),
            level,
            keep: Keep::new(MEMORY),
            restore: None,
            turn: Mutex::default(),
            doubted: Arc::default(),
        }
    }

    /// The same, where changes that are pending for longer than this stand in nobody's way: whoever pended
    /// them has gone, or will have to pend them again. What is held stands in the way for ever.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, which remembers about so many bytes of blocks.
    #[must_use]
    pub fn with_memory(self, bytes: u64) -> Self {
        let keep = Keep::new(bytes);
        Self { keep, ..self }
    }

    /// The same, which asks for revisions that are not here.
    #[must_use]
    pub fn with_restore(self, restore: Arc<dyn Restore>) -> Self {
        let restore = Some(restore);
        Self { restore, ..self }
    }

    /// Where the blocks lie.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Decides over what is submitted so far, and answers once that is sure.
    fn decide<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut Desk<'_, View>) -> Result<T>,
    ) -> Result<Op<T>> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.doubted.swap(false, Ordering::Relaxed) {
            turn.clear();
        }
        let session = self.engine.session()?;
        let rows = Rows(self.map.reader(session.base()).wait()?);
        let mut desk = Desk::new(&rows, &self.keep, &mut turn);
        let decided = decide(&mut desk);
        let (puts, deletes) = (desk.puts, desk.deletes);
        let written = decided.and_then(|answer| {
            let mut writer = self.map.writer(&session);
            for (key, value) in &puts {
                writer.put(key, value)?;
            }
            for key in &deletes {
                writer.delete(key)?;
            }
            // All that it saw may have reached the level.
            let seen = session.base().sequence() == self.engine.snapshot().sequence();
            if writer.buffered() == 0 && seen {
                return Ok(Op::ok(answer));
            }
            let doubted = self.doubted.clone();
            Ok(writer.commit(self.level)?.shape(move |committed| {
                if committed.is_err() {
                    doubted.store(true, Ordering::Relaxed);
                }
                committed.map(|_| answer)
            }))
        });
        if written.is_err() {
            self.doubted.store(true, Ordering::Relaxed);
        }
        written
    }

    fn time(&self) -> Time {
        let now = self.clock.unix_us() / 1000;
        let patience = u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX);
        let dead = now.saturating_sub(patience);
        Time { now, dead }
    }
}

fn flat<T>(op: Result<Op<T>>) -> Op<T> {
    op.unwrap_or_else(Op::err)
}

impl Transactor for Local {
    /// Blocks where something has to be committed or restored first.
    fn get(&self, blocks: &[BlockId], context: Option<&Context>) -> Op<Answers> {
        Op::ready(self.answers(blocks, context))
    }

    fn pend(&self, pend: Pend) -> Op<Pended> {
        let time = self.time();
        flat(self.decide(|desk| decide::pend(desk, &pend, time)))
    }

    fn commit(&self, commit: Commit) -> Op<Committed> {
        flat(self.decide(|desk| decide::commit(desk, &commit)))
    }

    fn transact(&self, parts: &[Part]) -> Option<Op<Transacted>> {
        let time = self.time();
        Some(flat(
            self.decide(|desk| decide::transact(desk, parts, time)),
        ))
    }

    fn cancel(&self, action: &ActionId, blocks: &[BlockId]) -> Op<()> {
        flat(self.decide(|desk| decide::cancel(desk, action, blocks)))
    }

    fn status(&self, action: &ActionId, blocks: &[BlockId]) -> Op<BTreeMap<BlockId, Status>> {
        Op::ready(self.statuses(action, blocks))
    }
}
