//! What was committed, told in order as it is proven.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use travertine_engine::contract::Result;
use travertine_engine::front::{Follow, Followed};

use super::Local;
use super::rows::{Made, revision_of};
use crate::block::BlockId;
use crate::index::Index as _;
use crate::records::Source;
use crate::transactor::ActionRev;

type Reader = crate::reader::Reader<<crate::Tree as crate::Index>::View>;

/// A block has a new revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Which.
    pub block: BlockId,
    /// Who made it, and which it is.
    pub by: ActionRev,
    /// The number of the engine's commit that it came with: to go on later begin behind it.
    pub sequence: u64,
}

/// What is told next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A block has a new revision.
    Changed(Changed),
    /// The commits of these numbers were freed before they were told: blocks may have changed in them.
    Freed(std::ops::RangeInclusive<u64>),
}

/// Tells revisions of blocks, each once, in the order of the commits that made them. See
/// [`Local::follow`].
pub struct Changes {
    store: Local,
    follow: Follow,
    before: Option<Reader>,
    told: VecDeque<Told>,
}

impl Local {
    /// Follows what is committed from the engine's commit of this number on, be it there already or not.
    /// Only what no crash takes back is told.
    #[must_use]
    pub fn follow(&self, from: u64) -> Changes {
        // What changed in a commit is what differs from the one before it.
        let follow = self.0.engine.follow(from.saturating_sub(1));
        Changes {
            store: self.clone(),
            before: None,
            told: VecDeque::new(),
            follow,
        }
    }
}

impl Changes {
    /// The next change, for which it waits so long; `None`: nothing came. Blocks. After an error what was
    /// to be told comes again with the next call.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<Told>> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Ok(Some(told));
            }
            match self.follow.wait(patience)? {
                None => return Ok(None),
                Some(Followed::Freed(run)) => {
                    self.before = None;
                    self.told.push_back(Told::Freed(run));
                }
                Some(Followed::Commit(snapshot)) => {
                    let now = self.store.0.map.reader(&snapshot).wait()?;
                    if let Some(before) = self.before.take() {
                        self.compare(&before, &now, snapshot.sequence())?;
                    } else if snapshot.sequence() == 1 {
                        // Nothing was before it.
                        let source: Arc<dyn Source> = Arc::new(snapshot);
                        let empty = crate::Tree::default().view(source.clone(), None);
                        let empty = Reader::new(empty.wait()?, source);
                        self.compare(&empty, &now, 1)?;
                    }
                    self.before = Some(now);
                }
            }
        }
    }

    fn compare(&mut self, before: &Reader, now: &Reader, sequence: u64) -> Result<()> {
        let mut diff = before.diff(now);
        while let Some(differs) = diff.next()? {
            let Some((block, revision)) = revision_of(differs.key) else {
                continue;
            };
            // One that was carried here, or made again from what is kept, is no news.
            let Some(new) = differs.new.filter(|_| differs.old.is_none()) else {
                continue;
            };
            let made = Made::from_bytes(revision, &now.value(new).wait()?)?;
            self.told.push_back(Told::Changed(Changed {
                block,
                by: made.by,
                sequence,
            }));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes")
            .field("position", &self.follow.position())
            .finish_non_exhaustive()
    }
}
