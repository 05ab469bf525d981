//! Where blocks are stored: pending first, then committed, in revisions.
//!
//! ```text
//!   pend    changes of several blocks under the id of an action: nobody sees them, others hear of them
//!     │ └─ stale: somebody committed since, or has something pending
//!     ├── commit   all of them at one revision: the first who comes is the one
//!     └── cancel   they never were
//!   get     blocks as they are now, or were at a revision
//! ```
//!
//! What is pending may be *held*: then nobody else commits these blocks before it is committed or
//! cancelled, however long that takes, and a commit of it cannot fail. So changes in several places become
//! one. Otherwise to pend is to ask, and whoever commits first is first.
//!
//! Revisions are those of a collection: one block has some of them only. What a transactor promises:
//!
//! 1. **One wins.** Of two actions that commit the same block at the same revision one lands, and the
//!    other is told what it missed.
//! 2. **Whole.** A commit is done for all its blocks or for none. To commit the same action at the same
//!    revision again changes nothing and is well: so whoever did not hear the answer asks again.
//! 3. **Absent is certain.** A block that is not there is said not to be; what is not known is
//!    [`Unavailable`](travertine_engine::contract::ErrorKind::Unavailable), and says why.
//! 4. **The past stays.** A revision that was answered is answered the same for ever.

mod ids;
mod local;
mod steps;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use travertine_engine::contract::{Op, Result};

use crate::block::{Block, BlockId, Transform, Transforms};

pub use ids::ActionId;
pub use local::{Archive, Archived, Changed, Changes, Local, Options, Restore, TOLD_MAX, Told};
pub use steps::{each, transact};
pub use view::{Reads, View};

/// Of a collection: 1 is the first.
pub type Revision = u64;

/// An action that is committed, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionRev {
    /// Who.
    pub action: ActionId,
    /// At which revision.
    pub revision: Revision,
}

/// What somebody who reads knows already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Read as it was at this revision.
    pub revision: Revision,
    /// Actions that are committed, as the log of the collection tells: where their changes are still
    /// pending they are committed first.
    pub committed: Vec<ActionRev>,
    /// Read as if this pending action were committed.
    pub pending: Option<ActionId>,
}

/// A block, and what is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// As it is, or was. `None`: there is none.
    pub block: Option<Arc<Block>>,
    /// The revision that made it so; `None`, if none did.
    pub revision: Option<Revision>,
    /// The newest revision of the block, whatever was asked for.
    pub latest: Option<ActionRev>,
    /// Who has changes of it pending.
    pub pending: Vec<ActionId>,
}

/// Blocks that are asked for. Each is answered by itself: that one is unavailable says nothing of the
/// others.
pub type Answers = BTreeMap<BlockId, Result<Answer>>;

/// What to do when others have changes of the same blocks pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Pend beside them, and tell who they are.
    Continue,
    /// Do not pend, and tell who they are.
    Fail,
    /// Do not pend, and tell who they are and what they change.
    #[default]
    Return,
}

/// Changes to be pended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pend {
    /// Whose they are. The same action may pend the same changes again.
    pub action: ActionId,
    /// The revision that they are to be committed at; without one only an insert of a block that is
    /// there is stale.
    pub revision: Option<Revision>,
    /// What becomes of each block.
    pub transforms: Transforms,
    /// Blocks that it rests on, and the revisions that they have; 0: none. If one has another when this
    /// is committed it is stale.
    pub reads: Reads,
    /// What if others were first.
    pub policy: Policy,
    /// Whether others have to wait until it is committed or cancelled.
    pub held: bool,
}

impl Pend {
    /// Changes, not held, that go before nobody.
    #[must_use]
    pub fn new(action: ActionId, revision: Option<Revision>, transforms: Transforms) -> Self {
        Self {
            action,
            revision,
            transforms,
            reads: Reads::new(),
            policy: Policy::default(),
            held: false,
        }
    }

    /// All blocks that are pending then: those that change, and those that are read.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockId> {
        let read = self.reads.keys();
        let changed = self.transforms.iter().map(|(id, _)| id);
        changed.chain(read.filter(|id| self.transforms.of(id).is_none()))
    }
}

/// What came of a pend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pended {
    /// The changes are pending; so are those of others.
    Done(Vec<Rival>),
    /// They are not.
    Stale(Stale),
}

/// A change of somebody else that is pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// Of this block.
    pub block: BlockId,
    /// Whose.
    pub action: ActionId,
    /// What it is, if that was asked for.
    pub transform: Option<Transform>,
}

/// An action that is committed, and what it did to the blocks that are spoken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Who, and where.
    pub action: ActionRev,
    /// What it did.
    pub transforms: Transforms,
}

/// Why nothing was done. Read again, and decide anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stale {
    /// These are committed at the revision that was asked for, or later: the log has to be read, and the
    /// changes made anew.
    Missing(Vec<Missed>),
    /// These are pending: to be waited for. What is missing goes first, so nothing is.
    Pending(Vec<Rival>),
    /// Whoever decides refused it: trying again changes nothing.
    Refused(String),
}

/// What is pending, to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Whose changes, and the revision that they make.
    pub action: ActionRev,
    /// Of which blocks: all that are [pending](Pend::blocks).
    pub blocks: Vec<BlockId>,
    /// The end of the collection's log. Where blocks lie in several places this one is committed first
    /// and alone: whose commit of it lands, lands.
    pub tail: BlockId,
    /// The header of the collection, if it is new: committed before the tail.
    pub header: Option<BlockId>,
}

/// What came of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// All of it is committed.
    Done,
    /// None of it.
    Stale(Stale),
}

/// What one collection has of a change: its pend, and its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The collection.
    pub collection: BlockId,
    /// What becomes of its blocks.
    pub pend: Pend,
    /// At which revision.
    pub commit: Commit,
}

/// What came of a change of several collections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transacted {
    /// All of it is committed.
    Done,
    /// None of it.
    Stale(Stale),
    /// Some collections have it, others do not; only where they lie in several places that are not asked
    /// to hold it.
    Partly {
        /// Where it is committed.
        landed: Vec<BlockId>,
        /// Where it is not, or where that is not known, and why.
        failed: Vec<(BlockId, String)>,
    },
}

/// What became of an action, as far as one block tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its change is pending.
    Pending,
    /// Its change made the revision.
    Committed,
    /// It never was, or was cancelled.
    Unknown,
}

/// Somebody who stores blocks, here or elsewhere. See the [module](self) for what is promised.
pub trait Transactor: Send + Sync + 'static {
    /// Blocks, each once, as they are or as a context has them.
    fn get(&self, blocks: &[BlockId], context: Option<&Context>) -> Op<Answers>;

    /// Makes changes known that are to be committed.
    fn pend(&self, pend: Pend) -> Op<Pended>;

    /// Commits what is pending. `Invalid`: for some block nothing is; then nothing is changed.
    fn commit(&self, commit: Commit) -> Op<Committed>;

    /// Pends and commits in one, all parts or none. They come back where that is done step by step, which is
    /// what [`transact`] does then.
    fn transact(&self, parts: Vec<Part>) -> std::result::Result<Op<Transacted>, Vec<Part>> {
        Err(parts)
    }

    /// Forgets what is pending, if anything is.
    fn cancel(&self, action: &ActionId, blocks: &[BlockId]) -> Op<()>;

    /// What became of an action that was to make this revision, block by block.
    fn status(&self, by: &ActionRev, blocks: &[BlockId]) -> Op<BTreeMap<BlockId, Status>>;
}
