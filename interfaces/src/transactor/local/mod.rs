//! Blocks stored on an engine of this process, in one map.
//!
//! Each pend and each commit is one commit of the engine, so a crash leaves it done or not begun, for all
//! of its blocks. Calls are decided one after the other, and wait for the medium together: many in
//! flight are as many tickets of one flush. An answer is given when all that it rests on has reached the
//! level that was asked for. What is pending for longer than anybody waits does not bind others any more.

mod answer;
mod decide;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use travertine_engine::contract::{Clock, Env, Level, Name, Op, Result};
use travertine_engine::front::{Engine, Session};

use crate::block::BlockId;
use crate::transactor::{
    ActionId, Answers, Commit, Committed, Context, Pend, Pended, Status, Transactor,
};
use crate::{Map, Tree};

use rows::Rows;

/// Most of what somebody missed, or of rivals, that one answer tells.
pub const TOLD_MAX: usize = 256;

/// How long what is pending stands in the way of others, if nobody says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Blocks in a map of an engine. Each call is one commit of it, or none.
#[derive(Debug)]
pub struct Local {
    engine: Arc<Engine>,
    map: Map<Tree>,
    level: Option<Level>,
    clock: Arc<dyn Clock>,
    patience: Duration,
    /// Decisions are made one by one.
    turn: Mutex<()>,
}

/// A decision: rows that change, and the answer.
struct Decided<T> {
    puts: Vec<(Vec<u8>, Vec<u8>)>,
    deletes: Vec<Vec<u8>>,
    answer: Result<T>,
}

impl<T> Decided<T> {
    fn nothing(answer: T) -> Self {
        Self {
            puts: Vec::new(),
            deletes: Vec::new(),
            answer: Ok(answer),
        }
    }
}

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
            turn: Mutex::new(()),
        }
    }

    /// The same, where changes that are pending for longer than this stand in nobody's way: whoever pended
    /// them has gone, or will have to pend them again.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Decides over what is submitted so far, and answers once that is sure.
    fn decide<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&Rows<View>) -> Result<Decided<T>>,
    ) -> Result<Op<T>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let session = self.engine.session()?;
        let rows = Rows(self.map.reader(session.base()).wait()?);
        let decided = decide(&rows)?;
        let mut writer = self.map.writer(&session);
        for (key, value) in &decided.puts {
            writer.put(key, value)?;
        }
        for key in &decided.deletes {
            writer.delete(key)?;
        }
        if writer.buffered() == 0 && self.is_sure(&session) {
            return Ok(Op::ready(decided.answer));
        }
        let committed = writer.commit(self.level)?;
        Ok(committed.and_then(|_| decided.answer))
    }

    /// Whether all that a session saw has reached its level.
    fn is_sure(&self, session: &Session) -> bool {
        session.base().sequence() == self.engine.snapshot().sequence()
    }
}

type View = <Tree as crate::Index>::View;

fn flat<T>(op: Result<Op<T>>) -> Op<T> {
    op.unwrap_or_else(Op::err)
}

impl Transactor for Local {
    fn get(&self, blocks: &[BlockId], context: Option<&Context>) -> Op<Answers> {
        let Some(context) = context else {
            return Op::ready(self.answers(blocks, None));
        };
        // Most of the time there is nothing to be done, and no turn to be waited for.
        while self.is_due(blocks, context) {
            let promoted = self.decide(|rows| decide::promote(rows, blocks, context));
            match flat(promoted).wait() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Op::err(error),
            }
        }
        Op::ready(self.answers(blocks, Some(context)))
    }

    fn pend(&self, pend: Pend) -> Op<Pended> {
        let now = self.clock.unix_us() / 1000;
        let patience = u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX);
        let dead = now.saturating_sub(patience);
        flat(self.decide(|rows| decide::pend(rows, pend, now, dead)))
    }

    fn commit(&self, commit: Commit) -> Op<Committed> {
        flat(self.decide(|rows| decide::commit(rows, &commit)))
    }

    fn cancel(&self, action: &ActionId, blocks: &[BlockId]) -> Op<()> {
        flat(self.decide(|rows| decide::cancel(rows, action, blocks)))
    }

    fn status(&self, action: &ActionId, blocks: &[BlockId]) -> Op<BTreeMap<BlockId, Status>> {
        Op::ready(self.statuses(action, blocks))
    }
}
