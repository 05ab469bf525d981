//! Blocks of one collection as a context has them, remembered.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use travertine_engine::contract::{Error, Op, Result};

use super::{Context, Revision, Transactor};
use crate::block::{Block, BlockId, Changes, ReadBlocks};

/// What was read: each block, and the revision that it had; 0 is that it was not there.
pub type Reads = BTreeMap<BlockId, Revision>;

/// Blocks as they are at a revision: read once, and remembered, so many bytes of them at most. Clones are
/// one view.
#[derive(Clone)]
pub struct View(Arc<Inner>);

struct Inner {
    transactor: Arc<dyn Transactor>,
    state: Mutex<State>,
    /// Whether what is read is noted.
    notes: AtomicBool,
}

#[derive(Default)]
struct State {
    context: Option<Context>,
    /// Grows each time that something is forgotten: what was asked for before may be old.
    age: u64,
    /// Twice so many bytes of blocks are remembered at most: those of before go when this is full.
    half: usize,
    held: usize,
    now: Known,
    before: Known,
    /// What was read, if that is noted.
    reads: Option<Reads>,
}

type Known = HashMap<BlockId, (Option<Arc<Block>>, Revision)>;

impl View {
    /// Blocks as they are now, if there is no context. Remembers about so many bytes of them.
    #[must_use]
    pub fn new(transactor: Arc<dyn Transactor>, context: Option<Context>, bytes: usize) -> Self {
        let state = State {
            context,
            half: bytes / 2,
            ..State::default()
        };
        Self(Arc::new(Inner {
            transactor,
            state: Mutex::new(state),
            notes: AtomicBool::new(false),
        }))
    }

    /// Where it reads.
    #[must_use]
    pub fn transactor(&self) -> &Arc<dyn Transactor> {
        &self.0.transactor
    }

    /// Reads as this context has it from now on. Blocks that changed since are named: what else is
    /// remembered stays good.
    pub fn advance<'i>(&self, context: Context, changed: impl IntoIterator<Item = &'i BlockId>) {
        self.with(|state| {
            state.context = Some(context);
            state.age += 1;
            for id in changed {
                state.now.remove(id);
                state.before.remove(id);
            }
        });
    }

    /// Reads as this context has it from now on, in which these changes are what is new.
    pub fn committed(&self, context: Context, changes: &Changes) {
        let revision = context.revision;
        self.with(|state| {
            state.context = Some(context);
            state.age += 1;
            for id in changes.ids() {
                let now = changes.now(id).flatten().cloned();
                state.remember(id.clone(), now, revision);
            }
        });
    }

    /// Remembers about so many bytes of blocks from now on.
    pub fn remember(&self, bytes: usize) {
        self.with(|state| state.half = bytes / 2);
    }

    /// Notes what is read from now on, remembered or not: for [`View::reads`].
    pub fn note_reads(&self) {
        self.with(|state| state.reads = Some(Reads::new()));
        self.0.notes.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_reads(&self, reads: Reads) {
        self.with(|state| state.reads = Some(reads));
    }

    /// What was read since it is noted: each block, and the revision that it had then.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.with(|state| state.reads.clone().unwrap_or_default())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn remember(&mut self, id: BlockId, block: Option<Arc<Block>>, revision: Revision) {
        if self.held > self.half {
            self.before = std::mem::take(&mut self.now);
            self.held = 0;
        }
        self.held += 256 + block.as_ref().map_or(0, |block| block.weight());
        self.now.insert(id, (block, revision));
    }

    fn find(&mut self, id: &BlockId, note: bool) -> Option<Option<Arc<Block>>> {
        let (block, revision) = match self.now.get(id) {
            Some(known) => known.clone(),
            None => {
                let (id, known) = self.before.remove_entry(id)?;
                self.remember(id, known.0.clone(), known.1);
                known
            }
        };
        if note {
            self.read(id, revision);
        }
        Some(block)
    }

    fn read(&mut self, id: &BlockId, revision: Revision) {
        if let Some(reads) = self.reads.as_mut().filter(|reads| !reads.contains_key(id)) {
            reads.insert(id.clone(), revision);
        }
    }
}

impl ReadBlocks for View {
    fn get(&self, id: &BlockId) -> Op<Option<Arc<Block>>> {
        self.look(id, true)
    }

    fn pass(&self, id: &BlockId) -> Op<Option<Arc<Block>>> {
        self.look(id, false)
    }

    fn rest(&self, id: &BlockId) -> Op<()> {
        match self.0.notes.load(Ordering::Relaxed) {
            true => self.look(id, true).map(drop),
            false => Op::ok(()),
        }
    }
}

impl View {
    fn look(&self, id: &BlockId, note: bool) -> Op<Option<Arc<Block>>> {
        let (age, context) = {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(block) = state.find(id, note) {
                return Op::ok(block);
            }
            (state.age, state.context.clone())
        };
        let asked = self
            .0
            .transactor
            .get(std::slice::from_ref(id), context.as_ref());
        let (view, id) = (self.clone(), id.clone());
        asked.and_then(move |mut answers| -> Result<_> {
            let answer = answers.remove(&id).ok_or_else(|| {
                Error::unavailable(format!("block {id} was asked for and not answered"))
            })??;
            let revision = answer.revision.unwrap_or(0);
            view.with(|state| {
                if note {
                    state.read(&id, revision);
                }
                if state.age == age {
                    state.remember(id, answer.block.clone(), revision);
                }
            });
            Ok(answer.block)
        })
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}
