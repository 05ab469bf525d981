//! Blocks stored on an engine of this process, in one map.
//!
//! Each pend and each commit is done whole or not begun, whatever ends the process, for all of its blocks.
//! Calls are decided one after the other, and wait for the medium together: many in flight are as many
//! tickets of one flush. An answer is given when all that it rests on has reached the level that was asked
//! for. What is pending for longer than anybody waits does not bind others any more.

mod answer;
mod archive;
mod decide;
mod desk;
mod follow;
mod keep;
mod past;
mod ranges;
mod rows;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use travertine_engine::contract::{Clock, Env, Level, Name, Op};
use travertine_engine::front::Engine;

use crate::block::BlockId;
use crate::transactor::{
    ActionId, ActionRev, Answers, Commit, Committed, Context, Part, Pend, Pended, Status,
    Transacted, Transactor,
};
use crate::{Map, Tree};

pub use archive::{Archive, Archived, Restore};
use decide::Time;
pub use follow::{Changed, Changes, Told};
use keep::Keep;
use turn::Turns;

/// Most of what somebody missed, or of rivals, that one answer tells.
pub const TOLD_MAX: usize = 256;

/// Blocks in a map of an engine. Each call is one commit of it, or none, or shares one with others.
/// Clones are one.
#[derive(Debug, Clone)]
pub struct Local(Arc<Store>);

#[derive(Debug)]
struct Store {
    engine: Arc<Engine>,
    map: Map<Tree>,
    level: Option<Level>,
    clock: Arc<dyn Clock>,
    patience: Duration,
    keep: Keep,
    restore: Option<Arc<dyn Restore>>,
    turns: Turns,
}

/// How a [`Local`] is.
#[derive(Debug, Clone)]
pub struct Options {
    /// What an answer has reached; `None`: that of the engine.
    pub level: Option<Level>,
    /// What is pending for longer than this stands in nobody's way: whoever pended it has gone, or will
    /// have to pend it again. What is held stands in the way for ever.
    pub patience: Duration,
    /// About how many bytes of blocks are remembered.
    pub memory: u64,
    /// Who is asked for revisions that are not here.
    pub restore: Option<Arc<dyn Restore>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: None,
            patience: Duration::from_secs(30),
            memory: 32 << 20,
            restore: None,
        }
    }
}

impl Local {
    /// The blocks that lie under this name.
    #[must_use]
    pub fn new(engine: Arc<Engine>, env: &Env, name: Name, options: Options) -> Self {
        Self(Arc::new(Store {
            engine,
            map: Map::new(name, Tree::default()),
            level: options.level,
            clock: env.clock.clone(),
            patience: options.patience,
            keep: Keep::new(options.memory),
            restore: options.restore,
            turns: Turns::default(),
        }))
    }

    /// Where the blocks lie.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }

    fn time(&self) -> Time {
        let now = self.0.clock.unix_us() / 1000;
        let patience = u64::try_from(self.0.patience.as_millis()).unwrap_or(u64::MAX);
        let dead = now.saturating_sub(patience);
        Time { now, dead }
    }
}

impl Transactor for Local {
    /// Blocks where something has to be committed or restored first.
    fn get(&self, blocks: &[BlockId], context: Option<&Context>) -> Op<Answers> {
        Op::ready(self.0.answers(blocks, context))
    }

    fn pend(&self, pend: Pend) -> Op<Pended> {
        let time = self.time();
        self.0.call(move |desk| decide::pend(desk, &pend, time))
    }

    fn commit(&self, commit: Commit) -> Op<Committed> {
        self.0.call(move |desk| decide::commit(desk, &commit))
    }

    fn transact(&self, parts: Vec<Part>) -> Result<Op<Transacted>, Vec<Part>> {
        let time = self.time();
        Ok(self
            .0
            .call(move |desk| decide::transact(desk, &parts, time)))
    }

    fn cancel(&self, action: &ActionId, blocks: &[BlockId]) -> Op<()> {
        let (action, blocks) = (action.clone(), blocks.to_vec());
        self.0
            .call(move |desk| decide::cancel(desk, &action, &blocks))
    }

    fn status(&self, by: &ActionRev, blocks: &[BlockId]) -> Op<BTreeMap<BlockId, Status>> {
        Op::ready(self.0.statuses(by, blocks))
    }
}
