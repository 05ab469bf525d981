//! The log of a collection: what was done to it, in the order of its revisions.
//!
//! ```text
//!   entry   {rev, timestamp, action: {id, actions, blocks, collections}}
//!         | {rev, timestamp, checkpoint: [[action, revision] …]}
//!   block   32 entries, and the SHA-256 of the block before it
//! ```
//!
//! It is a [chain](super::chain) whose blocks hold the hash of the block before, without the links of that
//! one: so a full block keeps its hash when it learns of the next, and a byte changed in an old block
//! breaks the one link behind it. [`Log::verify`] names the first that is broken.
//!
//! A checkpoint says which actions may not be committed in all their blocks yet; all others before it are.
//! Whoever opens the log reads back to the newest checkpoint and no further, so one is due every
//! [`CHECKPOINT`] actions: [`Context::since`] counts them.

use serde::Deserialize;
use travertine_engine::contract::{Error, Result};

use super::chain::{Chain, LIST, NEXT, PRIOR, Place};
use super::{named, read};
use crate::block::cbor::{self, Major};
use crate::block::{Block, BlockId, Code, Operation, ReadBlocks, Value, WriteBlocks};
use crate::index::Direction;
use crate::transactor::{ActionId, ActionRev, Revision};

/// A block of entries.
pub const DATA: Code = Code::of("LGD");
/// Actions after which a checkpoint is due.
pub const CHECKPOINT: u64 = 64;
const HASH: &str = "priorHash";

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The revision of the collection that it makes.
    pub revision: Revision,
    /// When, in milliseconds since 1970.
    pub timestamp: u64,
    /// What happened.
    pub event: Event,
}

/// What an entry tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Somebody did something.
    Action(Action),
    /// These are the actions before it that may not be committed in all their blocks.
    Checkpoint(Vec<ActionRev>),
}

/// What somebody did.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Who.
    pub id: ActionId,
    /// What, in the words of the collection.
    pub actions: Vec<Value>,
    /// Every block that it changes, those of the log too.
    pub blocks: Vec<BlockId>,
    /// Other collections that it changes.
    pub collections: Vec<BlockId>,
}

/// What whoever opens a log goes by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// The newest revision; 0, if there is none.
    pub revision: Revision,
    /// Actions that may not be committed in all their blocks, oldest first.
    pub committed: Vec<ActionRev>,
    /// Actions since the newest checkpoint.
    pub since: u64,
}

/// A log whose ends are named in one block. See the [module](self).
#[derive(Debug, Clone)]
pub struct Log(Chain);

impl Log {
    /// The log whose ends `header` names: that of the collection, most of the time.
    #[must_use]
    pub fn new(header: BlockId, collection: BlockId) -> Self {
        Self(Chain::new(header, collection, DATA))
    }

    /// Writes down an action. Its `blocks` are asked for when the entry stands, so that they include those
    /// of the log itself. Returns where it stands: the block of it is the one whose commit decides.
    pub async fn add<W: WriteBlocks>(
        &self,
        blocks: &mut W,
        mut action: Action,
        revision: Revision,
        timestamp: u64,
        changed: impl FnOnce(&W) -> Vec<BlockId>,
    ) -> Result<Place> {
        let entry = |action| Entry {
            revision,
            timestamp,
            event: Event::Action(action),
        };
        let place = self.append(blocks, &entry(action.clone())).await?;
        action.blocks = changed(blocks);
        let whole = entry(action).to_value();
        self.0.replace(blocks, &place, whole).await?;
        Ok(place)
    }

    /// Writes down which actions may not be committed everywhere.
    pub async fn add_checkpoint(
        &self,
        blocks: &mut impl WriteBlocks,
        pending: Vec<ActionRev>,
        revision: Revision,
        timestamp: u64,
    ) -> Result<Place> {
        let entry = Entry {
            revision,
            timestamp,
            event: Event::Checkpoint(pending),
        };
        self.append(blocks, &entry).await
    }

    async fn append(&self, blocks: &mut impl WriteBlocks, entry: &Entry) -> Result<Place> {
        let link = |new: Block, before: &Block| new.with(HASH, Value::bytes(&hash(before)?));
        let entries = [entry.to_value()];
        let place = self.0.add_linked(blocks, &entries, link).await?;
        place.ok_or_else(|| Error::corrupt("an entry was added and is not there"))
    }

    /// What is committed, as far as the newest checkpoint and what came after it tell.
    pub async fn context(&self, blocks: &impl ReadBlocks) -> Result<Context> {
        Ok(self.since(blocks, Revision::MAX).await?.0)
    }

    /// The same, and the entries of actions after a revision, oldest first.
    pub async fn since(
        &self,
        blocks: &impl ReadBlocks,
        revision: Revision,
    ) -> Result<(Context, Vec<Entry>)> {
        let mut walk = self.0.walk(blocks, None, Direction::Back);
        let (mut context, mut entries) = (Context::default(), Vec::new());
        let mut checkpoint = None;
        let mut newer = Revision::MAX;
        while let Some((place, value)) = walk.next().await? {
            let entry = Entry::from_value(&value)?;
            if entry.revision > newer || entry.revision == 0 {
                return Err(Error::corrupt(format!(
                    "entry {} of block {} is of revision {}, which is not before that of the next",
                    place.index, place.block, entry.revision
                )));
            }
            newer = entry.revision;
            context.revision = context.revision.max(entry.revision);
            if checkpoint.is_some() && entry.revision <= revision {
                break;
            }
            match &entry.event {
                Event::Checkpoint(pending) => drop(checkpoint.get_or_insert(pending.clone())),
                Event::Action(action) => {
                    if checkpoint.is_none() {
                        context.since += 1;
                        context.committed.push(ActionRev {
                            action: action.id.clone(),
                            revision: entry.revision,
                        });
                    }
                    if entry.revision > revision {
                        entries.push(entry);
                    }
                }
            }
        }
        context.committed.reverse();
        let mut committed = checkpoint.unwrap_or_default();
        committed.append(&mut context.committed);
        context.committed = committed;
        entries.reverse();
        Ok((context, entries))
    }

    /// Entries in one direction, from that end.
    pub fn walk<'b, B: ReadBlocks>(&self, blocks: &'b B, direction: Direction) -> Walk<'b, B> {
        Walk(self.0.walk(blocks, None, direction))
    }

    /// Looks at every link. `Corrupt` names the first that is broken: the block before it was changed
    /// after it had been full.
    pub async fn verify(&self, blocks: &impl ReadBlocks) -> Result<u64> {
        let Some(mut block) = self.0.end(blocks, Direction::Forward).await? else {
            return Ok(0);
        };
        let mut entries = 0;
        loop {
            entries += block.list(LIST)?.len() as u64;
            let Some(next) = named(&block, NEXT)? else {
                return Ok(entries);
            };
            let next = read(blocks, &next).await?;
            let told = next.one(HASH)?.as_byte_string() == Some(&hash(&block)?);
            if !told || named(&next, PRIOR)?.as_ref() != Some(block.id()) {
                return Err(Error::corrupt(format!(
                    "the link from block {} to block {} is broken: one of them is not as it was written",
                    block.id(),
                    next.id()
                )));
            }
            block = next;
        }
    }
}

/// Entries on the way through a log.
#[derive(Debug)]
pub struct Walk<'b, B>(super::chain::Walk<'b, B>);

impl<B: ReadBlocks> Walk<'_, B> {
    /// The next entry.
    pub async fn next(&mut self) -> Result<Option<Entry>> {
        let next = self.0.next().await?;
        next.map(|(_, value)| Entry::from_value(&value)).transpose()
    }
}

/// The SHA-256 of a block without its links, which come and go.
fn hash(block: &Block) -> Result<[u8; 32]> {
    let mut block = block.clone();
    for link in [NEXT, PRIOR] {
        Operation::remove(link).apply(&mut block)?;
    }
    Ok(block.digest())
}

/// As it lies in a block.
#[derive(Deserialize)]
struct Written {
    rev: Revision,
    timestamp: u64,
    #[serde(default)]
    action: Option<WrittenAction>,
    #[serde(default)]
    checkpoint: Option<Vec<(String, Revision)>>,
}

#[derive(Deserialize)]
struct WrittenAction {
    id: String,
    actions: Vec<Value>,
    blocks: Vec<String>,
    #[serde(default)]
    collections: Vec<String>,
}

fn number(out: &mut Vec<u8>, name: &str, number: u64) {
    cbor::text(out, name);
    cbor::head(out, Major::Unsigned, number);
}

impl Action {
    /// By the lengths of the names: id, blocks, actions, collections.
    fn write(&self, out: &mut Vec<u8>) {
        let names = |out: &mut Vec<u8>, name: &str, ids: &[BlockId]| {
            cbor::text(out, name);
            cbor::head(out, Major::List, ids.len() as u64);
            ids.iter().for_each(|id| cbor::text(out, id.as_str()));
        };
        cbor::head(out, Major::Map, 3 + u64::from(!self.collections.is_empty()));
        cbor::text(out, "id");
        cbor::text(out, self.id.as_str());
        names(out, "blocks", &self.blocks);
        cbor::text(out, "actions");
        cbor::head(out, Major::List, self.actions.len() as u64);
        let actions = self.actions.iter();
        actions.for_each(|action| out.extend_from_slice(action.as_bytes()));
        if !self.collections.is_empty() {
            names(out, "collections", &self.collections);
        }
    }
}

impl Entry {
    fn action(&self) -> Option<&Action> {
        match &self.event {
            Event::Action(action) => Some(action),
            Event::Checkpoint(_) => None,
        }
    }

    /// Whether it tells what this action did.
    #[must_use]
    pub fn is_of(&self, id: &ActionId) -> bool {
        self.action().is_some_and(|action| action.id == *id)
    }

    /// What was done, if it tells that.
    pub fn actions(&self) -> impl Iterator<Item = &Value> {
        self.action().into_iter().flat_map(|action| &action.actions)
    }

    /// The blocks that were changed, if it tells that.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockId> {
        self.action().into_iter().flat_map(|action| &action.blocks)
    }

    /// As it lies in a block.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut out = Vec::with_capacity(256);
        cbor::head(&mut out, Major::Map, 3);
        // By the lengths of the names: rev, action, timestamp, checkpoint.
        number(&mut out, "rev", self.revision);
        if let Event::Action(action) = &self.event {
            cbor::text(&mut out, "action");
            action.write(&mut out);
        }
        number(&mut out, "timestamp", self.timestamp);
        if let Event::Checkpoint(pending) = &self.event {
            cbor::text(&mut out, "checkpoint");
            cbor::head(&mut out, Major::List, pending.len() as u64);
            for by in pending {
                cbor::head(&mut out, Major::List, 2);
                cbor::text(&mut out, by.action.as_str());
                cbor::head(&mut out, Major::Unsigned, by.revision);
            }
        }
        Value::trusted(out.into())
    }

    /// The entry that lies there. `Corrupt`: none does.
    pub fn from_value(value: &Value) -> Result<Self> {
        let damaged = |error: Error| Error::corrupt(error.message());
        let names = |names: Vec<String>| -> Result<Vec<BlockId>> {
            names
                .into_iter()
                .map(|name| BlockId::new(name).map_err(damaged))
                .collect()
        };
        let written: Written = value.to()?;
        let event = match (written.action, written.checkpoint) {
            (Some(action), None) => Event::Action(Action {
                id: ActionId::new(action.id).map_err(damaged)?,
                actions: action.actions,
                blocks: names(action.blocks)?,
                collections: names(action.collections)?,
            }),
            (None, Some(pending)) => {
                let by = |(action, revision): (String, Revision)| {
                    let action = ActionId::new(action).map_err(damaged)?;
                    Ok(ActionRev { action, revision })
                };
                Event::Checkpoint(pending.into_iter().map(by).collect::<Result<_>>()?)
            }
            _ => return Err(Error::corrupt("an entry tells an action or a checkpoint")),
        };
        Ok(Self {
            revision: written.rev,
            timestamp: written.timestamp,
            event,
        })
    }
}

#[cfg(test)]
mod tests;
