//! What to do with a pend, a commit, a cancel: given all that is submitted, which rows change, and what
//! is the answer.

use std::collections::{BTreeMap, BTreeSet};

use travertine_engine::contract::{Error, Result};

use super::rows::{
    Made, Rows, STEPS_MAX, Waiting, block_key, committed_row, pending_key, revision_key,
};
use super::{Decided, TOLD_MAX};
use crate::block::{Block, BlockId, Transform, Transforms};
use crate::index::{Direction, View};
use crate::transactor::{
    ActionId, ActionRev, Commit, Committed, Context, Missed, Pend, Pended, Policy, Revision, Rival,
    Stale,
};

/// What was pended before `dead` stands in nobody's way, and goes.
pub(super) fn pend<V: View>(
    rows: &Rows<V>,
    pend: Pend,
    now: u64,
    dead: u64,
) -> Result<Decided<Pended>> {
    let (mut puts, mut deletes) = (Vec::new(), Vec::new());
    let (mut missed, mut rivals) = (Missing::default(), Vec::new());
    for (id, transform) in pend.transforms.iter() {
        let newest = rows.newest(id, Revision::MAX)?;
        if let Some(newest) =
            newest.filter(|_| pend.revision.is_some() || transform.insert.is_some())
        {
            let from = pend.revision.unwrap_or(newest.by.revision);
            missed.add(rows, id, from, newest.by.revision)?;
        }
        for (action, waiting) in rows.rivals(id, TOLD_MAX)? {
            if action == pend.action {
                continue;
            }
            if waiting.since < dead {
                deletes.push(pending_key(id, &action));
                continue;
            }
            rivals.push(Rival {
                block: id.clone(),
                action,
                transform: (pend.policy == Policy::Return).then_some(waiting.transform),
            });
        }
        match rows.pending(id, &pend.action)? {
            Some(before) if before == *transform => {}
            Some(_) => {
                return Err(Error::invalid(format!(
                    "action {} has another change of block {id} pending: cancel it, or take a new id",
                    pend.action
                )));
            }
            None => {
                let waiting = Waiting {
                    since: now,
                    transform: transform.clone(),
                };
                puts.push((pending_key(id, &pend.action), waiting.to_bytes()));
            }
        }
    }
    rivals.truncate(TOLD_MAX);
    let stale = match missed.stale() {
        None if !rivals.is_empty() && pend.policy != Policy::Continue => {
            Some(Stale::Pending(std::mem::take(&mut rivals)))
        }
        stale => stale,
    };
    Ok(match stale {
        Some(stale) => Decided::nothing(Pended::Stale(stale)),
        None => Decided {
            puts,
            deletes,
            answer: Ok(Pended::Done(rivals)),
        },
    })
}

pub(super) fn commit<V: View>(rows: &Rows<V>, commit: &Commit) -> Result<Decided<Committed>> {
    let by = &commit.action;
    let (mut missed, mut absent, mut refused) = (Missing::default(), Vec::new(), None);
    let mut done = Decided::nothing(Committed::Done);
    for id in commit
        .blocks
        .iter()
        .chain(&commit.header)
        .collect::<BTreeSet<_>>()
    {
        let newest = rows.newest(id, Revision::MAX)?;
        if let Some(newest) = newest
            .as_ref()
            .filter(|made| made.by.revision >= by.revision)
        {
            // The same again: it is done.
            if rows
                .newest(id, by.revision)?
                .is_none_or(|made| made.by != *by)
            {
                missed.add(rows, id, by.revision, newest.by.revision)?;
            }
            continue;
        }
        let Some(transform) = rows.pending(id, &by.action)? else {
            absent.push(id.to_string());
            continue;
        };
        done.deletes.push(pending_key(id, &by.action));
        if let Err(error) = make(
            rows,
            id,
            by.clone(),
            transform,
            newest.as_ref(),
            &mut done.puts,
        ) {
            refused = Some(format!("block {id}: {}", error.message()));
        }
    }
    if let Some(stale) = missed.stale() {
        return Ok(Decided::nothing(Committed::Stale(stale)));
    }
    if !absent.is_empty() {
        return Err(Error::invalid(format!(
            "action {} has nothing pending of {}: pend it first",
            by.action,
            absent.join(", ")
        )));
    }
    if let Some(why) = refused {
        // Nothing of it can ever be committed.
        done.puts.clear();
        done.answer = Ok(Committed::Stale(Stale::Refused(why)));
    }
    Ok(done)
}

/// The rows of one more revision of a block.
fn make<V: View>(
    rows: &Rows<V>,
    id: &BlockId,
    by: ActionRev,
    transform: Transform,
    newest: Option<&Made>,
    puts: &mut Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<()> {
    let needs_base = transform.needs_base();
    let base = match newest {
        Some(newest) if needs_base => rows.block(id, newest)?,
        _ => None,
    };
    let block = transform.apply(base)?;
    let far = newest.is_none_or(|newest| newest.steps + 1 >= STEPS_MAX);
    let steps = match newest {
        Some(newest) if needs_base && !far => newest.steps + 1,
        _ => 0,
    };
    if let Some(block) = block {
        if block.id() != id {
            return Err(Error::invalid(format!(
                "it would become block {}",
                block.id()
            )));
        }
        let bytes = Block::to_bytes(&block)?;
        if steps == 0 && needs_base {
            puts.push((block_key(id, by.revision), bytes.to_vec()));
        }
    }
    let made = Made {
        by,
        steps,
        transform,
    };
    puts.push((revision_key(id, made.by.revision), made.to_bytes()));
    puts.push(committed_row(id, &made.by));
    Ok(())
}

pub(super) fn cancel<V: View>(
    rows: &Rows<V>,
    action: &ActionId,
    blocks: &[BlockId],
) -> Result<Decided<()>> {
    let mut done = Decided::nothing(());
    for id in blocks {
        if rows.pending(id, action)?.is_some() {
            done.deletes.push(pending_key(id, action));
        }
    }
    Ok(done)
}

/// Commits what is pending of these blocks although a context says that it is committed: whoever
/// committed the rest of it did not get so far. One action for each block, the oldest; answers whether
/// there was one, and so may be another. Nothing goes back: what is older than the newest revision is
/// left alone.
pub(super) fn promote<V: View>(
    rows: &Rows<V>,
    blocks: &[BlockId],
    context: &Context,
) -> Result<Decided<bool>> {
    let mut committed: Vec<_> = context.committed.iter().collect();
    committed.sort_by_key(|by| by.revision);
    let mut done = Decided::nothing(false);
    for id in blocks.iter().collect::<BTreeSet<_>>() {
        let newest = rows.newest(id, Revision::MAX)?;
        let known = newest.as_ref().map_or(0, |made| made.by.revision);
        for by in committed.iter().filter(|by| by.revision > known) {
            if let Some(transform) = rows.pending(id, &by.action)? {
                make(
                    rows,
                    id,
                    (*by).clone(),
                    transform,
                    newest.as_ref(),
                    &mut done.puts,
                )?;
                done.deletes.push(pending_key(id, &by.action));
                done.answer = Ok(true);
                break;
            }
        }
    }
    Ok(done)
}

/// What somebody missed, by action.
#[derive(Default)]
struct Missing(Option<BTreeMap<(Revision, ActionId), Transforms>>);

impl Missing {
    /// What became of a block between two revisions, the oldest first.
    fn add<V: View>(
        &mut self,
        rows: &Rows<V>,
        id: &BlockId,
        from: Revision,
        to: Revision,
    ) -> Result<()> {
        for made in rows.revisions(id, from, to, Direction::Forward, TOLD_MAX)? {
            let all = self.0.get_or_insert_default();
            let (action, revision) = (made.by.action, made.by.revision);
            let one = all.entry((revision, action)).or_default();
            one.push(id.clone(), made.transform);
        }
        Ok(())
    }

    fn stale(self) -> Option<Stale> {
        let all = self.0?.into_iter().take(TOLD_MAX);
        let all = all.map(|((revision, action), transforms)| Missed {
            action: ActionRev { action, revision },
            transforms,
        });
        Some(Stale::Missing(all.collect()))
    }
}
