//! Collections: changed here and now, and everywhere once they are synchronised.
//!
//! ```text
//!   act      done on blocks as this client has them, and noted: nobody else sees it
//!   update   what others committed since comes in; what is noted is done again on top of it
//!   sync     what is noted becomes one entry of the log and its blocks, at the next revision
//! ```
//!
//! A collection is a header block under its own name, a [log](crate::structure::log) whose ends the header
//! names, and whatever its [`Kind`] makes of the rest. What is noted are *actions*, not changes of
//! blocks: so two clients that change the same block in different rows both land, one after the other.
//! Where they mean the same thing the kind [decides](Kind::conflict).
//!
//! Every commit is whole, so a log tells nothing that may be missing; it gets a checkpoint when one is
//! due, and to open it or to add to it costs the same at any length.

mod diary;
mod sync;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use travertine_engine::contract::{Env, Error, Result};

use crate::block::{Block, BlockId, ReadBlocks, Tracker, Value, WriteBlocks};
use crate::structure::log::{Context as Told, Entry, Log};
use crate::transactor::{ActionId, Context, Revision, Transactor, View};

pub use diary::Diary;
pub(crate) use sync::Prepared;
pub use sync::{Exhausted, Retry, SyncError};
pub use tree::{ROW_MAX, Replace, Tree, row};

/// Bytes of blocks that a collection remembers, if nobody says otherwise.
pub const MEMORY: usize = 16 << 20;

/// Most bytes of what is noted: all of it is one entry of the log.
pub const NOTED_MAX: usize = 8 << 20;

/// What a collection is: its header, and what its actions do.
pub trait Kind: Clone + Send + Sync + 'static {
    /// What can be done to it. It is written into the log, and done again from there.
    type Action: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// The header of a new one.
    fn header(&self, id: &BlockId) -> Block;

    /// Does an action. Whatever it reads and writes goes through `blocks`: an error leaves nothing behind.
    fn apply<W: WriteBlocks + Send>(
        &self,
        blocks: &mut W,
        header: &BlockId,
        action: &Self::Action,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Answers a question about what is there, in the words of the kind. Most have none.
    fn ask<R: ReadBlocks>(
        &self,
        blocks: &R,
        header: &BlockId,
        question: &Value,
    ) -> impl Future<Output = Result<Value>> + Send {
        let _ = (blocks, header, question);
        let code = self.header(header).header().code.clone();
        async move { Err(Error::invalid(format!("a {code} answers no questions"))) }
    }

    /// What becomes of an action of this client, now that somebody else did these.
    fn conflict(&self, mine: &Self::Action, theirs: &[Self::Action]) -> Conflict<Self::Action> {
        let _ = (mine, theirs);
        Conflict::Keep
    }
}

/// What becomes of an action when somebody else was first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict<A> {
    /// It is done all the same.
    Keep,
    /// This is done instead.
    Replace(A),
    /// It is not done.
    Drop,
}

/// A collection as one client has it. See the [module](self).
pub struct Collection<K: Kind> {
    kind: K,
    id: BlockId,
    env: Env,
    view: View,
    log: Log,
    tracker: Tracker<View>,
    context: Context,
    /// Actions since the newest checkpoint.
    since: u64,
    noted: Vec<K::Action>,
    /// What is noted, as the log will have it; it is made anew with what is [undone](Collection::redo).
    written: Vec<Value>,
    /// Whether the header is not stored yet.
    new: bool,
    /// Whether the tracker lacks what is noted, which has to be done again.
    undone: bool,
    /// An attempt of which nobody said what came of it.
    unsure: Option<Attempt>,
}

/// An attempt to commit what is noted.
#[derive(Debug, Clone)]
struct Attempt {
    id: ActionId,
    blocks: Vec<BlockId>,
    /// So many actions are in it.
    noted: usize,
}

impl<K: Kind> Collection<K> {
    /// The collection of this name. `None`: it is certain that nobody created it; nothing is written.
    pub async fn open(
        transactor: Arc<dyn Transactor>,
        env: &Env,
        id: BlockId,
        kind: K,
    ) -> Result<Option<Self>> {
        let mut collection = Self::closed(transactor, env, id, kind);
        let Some((told, entries)) = collection.look().await? else {
            return Ok(None);
        };
        collection.adopt(told, &entries)?;
        Ok(Some(collection))
    }

    /// The collection of this name, or a new one, which is stored with its first
    /// [`sync`](Collection::sync): whose is first has created it.
    pub async fn create_or_open(
        transactor: Arc<dyn Transactor>,
        env: &Env,
        id: BlockId,
        kind: K,
    ) -> Result<Self> {
        let mut collection = Self::closed(transactor, env, id, kind);
        match collection.look().await? {
            Some((told, entries)) => collection.adopt(told, &entries)?,
            None => collection.begin(),
        }
        Ok(collection)
    }

    fn closed(transactor: Arc<dyn Transactor>, env: &Env, id: BlockId, kind: K) -> Self {
        let view = View::new(transactor, Some(Context::default()), MEMORY);
        Self {
            kind,
            env: env.clone(),
            log: Log::new(id.clone(), id.clone()),
            tracker: Tracker::new(view.clone(), env.random.clone()),
            id,
            view,
            context: Context::default(),
            since: 0,
            noted: Vec::new(),
            written: Vec::new(),
            new: false,
            undone: false,
            unsure: None,
        }
    }

    fn begin(&mut self) {
        self.tracker.insert(self.kind.header(&self.id));
        self.new = true;
    }

    /// The same, which remembers about so many bytes of blocks.
    #[must_use]
    pub fn with_memory(self, bytes: usize) -> Self {
        self.view.remember(bytes);
        self
    }

    /// Its name: the id of its header.
    #[must_use]
    pub fn id(&self) -> &BlockId {
        &self.id
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> &K {
        &self.kind
    }

    /// The revision that it stands on.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.context.revision
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Whether its header is not stored yet.
    pub(crate) fn is_new(&self) -> bool {
        self.new
    }

    /// Its blocks, with what was done and not synchronised.
    pub fn blocks(&self) -> &Tracker<View> {
        &self.tracker
    }

    /// Actions that are done here and not synchronised.
    #[must_use]
    pub fn noted(&self) -> &[K::Action] {
        &self.noted
    }

    /// Does some actions here: all, or none if one fails. What was done before stays.
    pub async fn act(&mut self, actions: impl IntoIterator<Item = K::Action> + Send) -> Result<()> {
        self.redo().await?;
        let mut actions: Vec<_> = actions.into_iter().collect();
        // What cannot be written down is not done.
        let mut written = write(&actions)?;
        let all = self.written.iter().chain(&written);
        if all.map(|action| action.as_bytes().len()).sum::<usize>() > NOTED_MAX {
            return Err(Error::invalid(format!(
                "more than {NOTED_MAX} bytes would be noted: synchronise first"
            )));
        }
        apply(&self.kind, &mut self.tracker, &self.id, &actions).await?;
        self.noted.append(&mut actions);
        self.written.append(&mut written);
        Ok(())
    }

    /// Takes in what others committed since, and does what is noted again on top of it. After an error
    /// everything is still noted: if it cannot be done any more, it can be [taken back](Self::discard).
    pub async fn update(&mut self) -> Result<()> {
        // What is cancelled cannot land any more, and what landed is in the log.
        if let Some(attempt) = &self.unsure {
            let transactor = self.view.transactor().clone();
            transactor.cancel(&attempt.id, &attempt.blocks).await?;
        }
        if let Some((told, entries)) = self.look().await? {
            self.adopt(told, &entries)?;
        }
        self.unsure = None;
        self.redo().await
    }

    /// Forgets what is noted, and returns it. What an attempt without an answer has landed by then is
    /// not among it.
    pub async fn discard(&mut self) -> Result<Vec<K::Action>> {
        let updated = self.update().await;
        if self.unsure.is_some() {
            updated?;
        }
        self.undone = true;
        let noted = std::mem::take(&mut self.noted);
        self.redo().await?;
        Ok(noted)
    }

    /// What is committed now, and which entries are new to this client; `None`: nobody created it.
    async fn look(&self) -> Result<Option<(Told, Vec<Entry>)>> {
        let latest = View::new(self.view.transactor().clone(), None, MEMORY);
        if latest.get(&self.id).await?.is_none() {
            return match self.context.revision {
                0 => Ok(None),
                known => Err(Error::corrupt(format!(
                    "the header of collection {} is gone, which stood at revision {known}",
                    self.id
                ))),
            };
        }
        // Whoever opens needs what the newest checkpoint tells, and no entry.
        let since = match self.context.revision {
            0 if !self.new => Revision::MAX,
            known => known,
        };
        self.log.since(&latest, since).await.map(Some)
    }

    /// Stands on what is committed from here on. What is noted has to be done again, if anything is new.
    fn adopt(&mut self, told: Told, entries: &[Entry]) -> Result<()> {
        let theirs = entries.iter().flat_map(Entry::actions);
        let theirs: Vec<K::Action> = theirs.map(Value::to).collect::<Result<_>>()?;
        // Never back: an answer may be older than what this client did itself.
        if told.revision > self.context.revision || self.context.revision == 0 {
            self.context = Context {
                revision: told.revision,
                committed: told.committed,
                pending: None,
            };
            self.since = told.since;
            let changed = entries.iter().flat_map(Entry::blocks);
            // Something is there now of which nothing was known.
            let all = [self.id.clone()];
            self.view.advance(self.context.clone(), changed.chain(&all));
        }
        if entries.is_empty() {
            return Ok(());
        }
        let landed = self.unsure.take_if(|mine| {
            let mut entries = entries.iter();
            entries.any(|entry| entry.is_of(&mine.id))
        });
        if let Some(attempt) = landed {
            self.noted.drain(..attempt.noted.min(self.noted.len()));
        }
        let decided = std::mem::take(&mut self.noted).into_iter();
        let decide = |mine| match self.kind.conflict(&mine, &theirs) {
            Conflict::Keep => Some(mine),
            Conflict::Replace(other) => Some(other),
            Conflict::Drop => None,
        };
        self.noted = decided.filter_map(decide).collect();
        (self.new, self.undone) = (false, true);
        Ok(())
    }

    /// Does what is noted again, if it stands on what is no longer so.
    async fn redo(&mut self) -> Result<()> {
        if !self.undone {
            return Ok(());
        }
        self.tracker.reset();
        if self.new {
            self.begin();
        }
        self.written = write(&self.noted)?;
        apply(&self.kind, &mut self.tracker, &self.id, &self.noted).await?;
        self.undone = false;
        Ok(())
    }

    /// Entries of the log as this client has it.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

/// Actions as a log has them.
fn write<A: Serialize>(actions: &[A]) -> Result<Vec<Value>> {
    actions.iter().map(Value::of).collect()
}

/// Does actions as a section: all, or none.
async fn apply<K: Kind>(
    kind: &K,
    tracker: &mut Tracker<View>,
    header: &BlockId,
    actions: &[K::Action],
) -> Result<()> {
    let mut section = tracker.section();
    for action in actions {
        kind.apply(&mut section, header, action).await?;
    }
    section.commit();
    Ok(())
}

impl<K: Kind> std::fmt::Debug for Collection<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collection")
            .field("id", &self.id)
            .field("revision", &self.context.revision)
            .field("noted", &self.noted.len())
            .finish_non_exhaustive()
    }
}
