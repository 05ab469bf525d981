//! Changes that are not stored yet, on top of blocks that are.
//!
//! ```text
//!   structure ── get, insert, update, delete ──> Tracker ── get ──> blocks as they are stored
//!                                                   └ changes: what becomes of each, and how it is now
//! ```
//!
//! A change is done when it is made, so that a read costs the same after a thousand of them. A tracker
//! over a tracker is an atomic section: [committed](Tracker::commit) it is in the one below, dropped it
//! never was. The borrow sees to it that two sections never overlap.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use travertine_engine::contract::{Error, Op, Random, Result};

use super::content::Block;
use super::id::BlockId;
use super::transform::{Operation, Transform, Transforms};

/// Where blocks are read.
pub trait ReadBlocks: Send + Sync {
    /// A block as it is there. `None`: it is certain that there is none. `Unavailable`: that is not known.
    fn get(&self, id: &BlockId) -> Op<Option<Arc<Block>>>;

    /// The same, of a block that shows the way to another and nothing else: whatever changes what is found
    /// there changes the other as well, so a transaction rests on that one alone.
    fn pass(&self, id: &BlockId) -> Op<Option<Arc<Block>>> {
        self.get(id)
    }

    /// A transaction rests on a block that was passed: it shows what was looked for.
    fn rest(&self, id: &BlockId) -> Op<()> {
        let _ = id;
        Op::ok(())
    }
}

/// Where blocks are changed as well.
pub trait WriteBlocks: ReadBlocks {
    /// A new block, instead of whatever has its id.
    fn insert(&mut self, block: Block);

    /// Changes a block. `Invalid`: it is not there, or the operation does not fit it; then nothing is
    /// changed. Costs no copy of the block from the second time on, unless somebody still holds what
    /// [`get`](ReadBlocks::get) gave.
    fn update(
        &mut self,
        id: &BlockId,
        operation: Operation,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Takes a block away. One that is not there stays away.
    fn delete(&mut self, id: &BlockId);

    /// Does all of this.
    fn absorb(&mut self, changes: Changes);

    /// The id of a block to come, which nobody else has.
    fn new_id(&self) -> BlockId;
}

/// Several blocks, what becomes of each, and what is there then.
#[derive(Debug, Clone, Default)]
pub struct Changes(BTreeMap<BlockId, Change>);

/// One block that is changed, as it is now.
#[derive(Debug, Clone)]
enum Change {
    /// A new one.
    Inserted(Arc<Block>),
    /// One that was there, and what was done to it.
    Updated(Vec<Operation>, Arc<Block>),
    /// Gone.
    Deleted,
}

impl Change {
    fn now(&self) -> Option<&Arc<Block>> {
        match self {
            Self::Inserted(now) | Self::Updated(_, now) => Some(now),
            Self::Deleted => None,
        }
    }

    fn transform(&self) -> Transform {
        match self {
            Self::Inserted(block) => Transform::insert(block.clone()),
            Self::Updated(updates, _) => Transform {
                updates: updates.clone(),
                ..Transform::default()
            },
            Self::Deleted => Transform::delete(),
        }
    }

    /// What was inserted and then changed is what was inserted.
    fn update(&mut self, id: &BlockId, operation: Operation) -> Result<()> {
        match self {
            Self::Inserted(now) => operation.apply(Arc::make_mut(now)),
            Self::Updated(updates, now) => {
                operation.apply(Arc::make_mut(now))?;
                updates.push(operation);
                Ok(())
            }
            Self::Deleted => Err(missing(id)),
        }
    }

    fn then(&mut self, later: Self) {
        match (&mut *self, later) {
            (Self::Inserted(now), Self::Updated(_, then)) => *now = then,
            (Self::Updated(updates, now), Self::Updated(more, then)) => {
                updates.extend(more);
                *now = then;
            }
            (_, later) => *self = later,
        }
    }
}

impl Changes {
    /// What becomes of each.
    #[must_use]
    pub fn transforms(&self) -> Transforms {
        let all = self.0.iter();
        all.map(|(id, change)| (id.clone(), change.transform()))
            .collect()
    }

    /// Which blocks.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = &BlockId> {
        self.0.keys()
    }

    /// What is there then, of a block that is changed.
    #[must_use]
    pub fn now(&self, id: &BlockId) -> Option<Option<&Arc<Block>>> {
        self.0.get(id).map(Change::now)
    }

    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn missing(id: &BlockId) -> Error {
    Error::invalid(format!("block {id} is not there to be updated"))
}

/// Changes that are not stored yet, over what is: read as if they were.
#[derive(Debug, Clone)]
pub struct Tracker<S> {
    below: S,
    changes: Changes,
    random: Arc<dyn Random>,
}

impl<S: ReadBlocks> Tracker<S> {
    /// Without changes. Ids of new blocks come from `random`.
    #[must_use]
    pub fn new(below: S, random: Arc<dyn Random>) -> Self {
        Self {
            below,
            changes: Changes::default(),
            random,
        }
    }

    /// The same, with ids of new blocks from elsewhere.
    #[must_use]
    pub fn with_random(self, random: Arc<dyn Random>) -> Self {
        Self { random, ..self }
    }

    /// What it stands on.
    pub fn below(&self) -> &S {
        &self.below
    }

    /// What was changed.
    #[must_use]
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Forgets what was changed, and returns it.
    pub fn reset(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Begins a section that is done as a whole, or not at all.
    pub fn section(&mut self) -> Tracker<&mut Self> {
        let random = self.random.clone();
        Tracker::new(self, random)
    }
}

impl<S: WriteBlocks> Tracker<&mut S> {
    /// Ends a section: all that was changed in it is changed below.
    pub fn commit(self) {
        self.below.absorb(self.changes);
    }
}

impl<S: ReadBlocks> ReadBlocks for Tracker<S> {
    fn get(&self, id: &BlockId) -> Op<Option<Arc<Block>>> {
        match self.changes.now(id) {
            Some(now) => Op::ok(now.cloned()),
            None => self.below.get(id),
        }
    }

    fn pass(&self, id: &BlockId) -> Op<Option<Arc<Block>>> {
        match self.changes.now(id) {
            Some(now) => Op::ok(now.cloned()),
            None => self.below.pass(id),
        }
    }

    fn rest(&self, id: &BlockId) -> Op<()> {
        match self.changes.now(id) {
            Some(_) => Op::ok(()),
            None => self.below.rest(id),
        }
    }
}

impl<S: ReadBlocks> WriteBlocks for Tracker<S> {
    fn insert(&mut self, block: Block) {
        let id = block.id().clone();
        let change = Change::Inserted(Arc::new(block));
        self.changes.0.insert(id, change);
    }

    async fn update(&mut self, id: &BlockId, operation: Operation) -> Result<()> {
        if let Some(change) = self.changes.0.get_mut(id) {
            return change.update(id, operation);
        }
        let base = self.below.get(id).await?;
        let base = base.ok_or_else(|| missing(id))?;
        let mut change = Change::Updated(Vec::new(), base);
        change.update(id, operation)?;
        self.changes.0.insert(id.clone(), change);
        Ok(())
    }

    fn delete(&mut self, id: &BlockId) {
        self.changes.0.insert(id.clone(), Change::Deleted);
    }

    fn absorb(&mut self, changes: Changes) {
        for (id, later) in changes.0 {
            match self.changes.0.entry(id) {
                Entry::Occupied(mut earlier) => earlier.get_mut().then(later),
                Entry::Vacant(place) => drop(place.insert(later)),
            }
        }
    }

    fn new_id(&self) -> BlockId {
        BlockId::random(&*self.random)
    }
}

impl<B: ReadBlocks + ?Sized> ReadBlocks for &mut B {
    fn get(&self, id: &BlockId) -> Op<Option<Arc<Block>>> {
        (**self).get(id)
    }

    fn pass(&self, id: &BlockId) -> Op<Option<Arc<Block>>> {
        (**self).pass(id)
    }

    fn rest(&self, id: &BlockId) -> Op<()> {
        (**self).rest(id)
    }
}

impl<B: ReadBlocks + ?Sized> ReadBlocks for Arc<B> {
    fn get(&self, id: &BlockId) -> Op<Option<Arc<Block>>> {
        (**self).get(id)
    }

    fn pass(&self, id: &BlockId) -> Op<Option<Arc<Block>>> {
        (**self).pass(id)
    }

    fn rest(&self, id: &BlockId) -> Op<()> {
        (**self).rest(id)
    }
}

impl<B: WriteBlocks> WriteBlocks for &mut B {
    fn insert(&mut self, block: Block) {
        (**self).insert(block);
    }

    async fn update(&mut self, id: &BlockId, operation: Operation) -> Result<()> {
        (**self).update(id, operation).await
    }

    fn delete(&mut self, id: &BlockId) {
        (**self).delete(id);
    }

    fn absorb(&mut self, changes: Changes) {
        (**self).absorb(changes);
    }

    fn new_id(&self) -> BlockId {
        (**self).new_id()
    }
}
