//! What was committed, told in order as it is proven.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use travertine_engine::contract::Result;
use travertine_engine::front::{Follow, Followed, Snapshot};

use super::Local;
use super::rows::{Made, RowOf, Rows, Standing, row_of};
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
    /// Of these commits it is not known what changed in them: they were freed, the last one's past was.
    Freed(std::ops::RangeInclusive<u64>),
}

/// Tells revisions of blocks, each once, in the order of the commits that made them, those that were
/// [adopted](Local::adopt) as well. See [`Local::follow`].
pub struct Changes {
    store: Local,
    follow: Follow,
    /// The commit up to which everything is told.
    before: Option<Reader>,
    /// The one after it that was seen.
    next: Option<(Arc<Snapshot>, u64)>,
    /// The first of the commits that were freed before they were seen.
    freed: Option<u64>,
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
            next: None,
            freed: None,
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
            if let Some((snapshot, sequence)) = self.next.clone() {
                self.before = Some(self.tell(&snapshot, sequence)?);
                (self.next, self.freed) = (None, None);
                continue;
            }
            match self.follow.wait(patience)? {
                None => return Ok(None),
                Some(Followed::Freed(run)) => drop(self.freed.get_or_insert(*run.start())),
                Some(Followed::Commit(snapshot)) => {
                    let sequence = snapshot.sequence();
                    self.next = Some((Arc::new(snapshot), sequence));
                }
            }
        }
    }

    /// Tells what differs in a commit from what was told before, or that nobody knows.
    fn tell(&mut self, snapshot: &Arc<Snapshot>, sequence: u64) -> Result<Reader> {
        let now = self.store.0.map.reader(snapshot).wait()?;
        let before = match (&self.before, self.freed) {
            // What was freed in between shows in what differs.
            (Some(before), _) => before.clone(),
            (None, Some(first)) => {
                self.told.push_back(Told::Freed(first..=sequence));
                return Ok(now);
            }
            (None, None) if sequence > 1 => return Ok(now),
            (None, None) => {
                let source: Arc<dyn Source> = snapshot.clone();
                let empty = crate::Tree::default().view(source.clone(), None);
                Reader::new(empty.wait()?, source)
            }
        };
        let told = self.compare(&before, &now, sequence)?;
        self.told.extend(told);
        Ok(now)
    }

    fn compare(&self, before: &Reader, now: &Reader, sequence: u64) -> Result<Vec<Told>> {
        let (mut diff, mut all) = (before.diff(now), Vec::new());
        let before = Rows(before.clone());
        while let Some(differs) = diff.next()? {
            let Some(new) = differs.new else {
                continue;
            };
            let new = now.value(new).wait()?;
            let (block, made, stood) = match row_of(differs.key) {
                Some(RowOf::Revision(id, revision)) if differs.old.is_none() => {
                    let stood = before.standing(&id)?;
                    (id, Made::from_bytes(revision, &new)?, stood)
                }
                Some(RowOf::Standing(id)) => {
                    let Some(made) = Standing::from_bytes(&new)?.folded() else {
                        continue;
                    };
                    let stood = match differs.old {
                        Some(old) => Standing::from_bytes(&before.0.value(old).wait()?)?,
                        None => Standing::default(),
                    };
                    (id, made, stood)
                }
                _ => continue,
            };
            // What only went from one row to another is no news.
            if stood.folded().is_some_and(|it| it.by == made.by) {
                continue;
            }
            all.push(Told::Changed(Changed {
                block,
                by: made.by,
                sequence,
            }));
        }
        Ok(all)
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes")
            .field("position", &self.follow.position())
            .finish_non_exhaustive()
    }
}
