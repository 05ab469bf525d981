//! What is there, as a snapshot has it.

use std::collections::BTreeMap;

use travertine_engine::contract::{Error, Result};

use super::Store;
use super::keep::Keep;
use super::rows::{Rows, Standing};
use crate::block::BlockId;
use crate::transactor::{ActionRev, Answer, Answers, Context, Revision, Status};

impl Store {
    /// Blocks as a snapshot has them, and whether something is pending of them that the context says is
    /// committed.
    pub(super) fn look(
        &self,
        blocks: &[BlockId],
        context: Option<&Context>,
    ) -> Result<(Answers, bool)> {
        let rows = self.rows()?;
        let (mut answers, mut due) = (Answers::new(), false);
        for id in blocks {
            let answer = rows.standing(id).and_then(|standing| {
                due |= context.is_some_and(|context| is_due(&standing, context));
                answer(&rows, &self.keep, id, standing, context)
            });
            answers.insert(id.clone(), answer);
        }
        Ok((answers, due))
    }

    pub(super) fn statuses(
        &self,
        by: &ActionRev,
        blocks: &[BlockId],
    ) -> Result<BTreeMap<BlockId, Status>> {
        let rows = self.rows()?;
        let status = |id: &BlockId| {
            let standing = rows.standing(id)?;
            let made = match standing.is_made(by) {
                Some(made) => made,
                None => rows.is_made(id, by)?,
            };
            Ok(match standing.of(&by.action) {
                _ if made => Status::Committed,
                Some(_) => Status::Pending,
                None => Status::Unknown,
            })
        };
        blocks
            .iter()
            .map(|id| Ok((id.clone(), status(id)?)))
            .collect()
    }

    pub(super) fn rows(&self) -> Result<Rows> {
        let reader = self.map.reader(&self.engine.snapshot());
        Ok(Rows(reader.wait()?))
    }
}

fn is_due(standing: &Standing, context: &Context) -> bool {
    let newer = |by: &&ActionRev| by.revision > standing.revision();
    let mut committed = context.committed.iter().filter(newer);
    !standing.pending.is_empty() && committed.any(|by| standing.of(&by.action).is_some())
}

fn answer(
    rows: &Rows,
    keep: &Keep,
    id: &BlockId,
    standing: Standing,
    context: Option<&Context>,
) -> Result<Answer> {
    let upto = context.map_or(Revision::MAX, |context| context.revision);
    let newest = standing.revision();
    if let Some(ranges) = &standing.ranges {
        // What is newer than the newest is known, if that is.
        let newest = upto >= newest && ranges.has_newest();
        if !newest && !ranges.has(upto) {
            return Err(Error::unavailable(format!(
                "block {id} as of {} is not here: its revisions from {} on are",
                match upto {
                    Revision::MAX => "now".to_owned(),
                    revision => format!("revision {revision}"),
                },
                ranges.first().unwrap_or_default(),
            )));
        }
    }
    let past = rows.past(id, standing.folded());
    let by = match &standing.newest {
        Some((by, _)) if by.revision <= upto => Some(by.clone()),
        Some(_) => past.newest(upto)?.map(|made| made.by),
        None => None,
    };
    let mut block = match &by {
        Some(by) => past.as_of(by, keep)?,
        None => None,
    };
    if let Some(action) = context.and_then(|context| context.pending.as_ref()) {
        let waiting = standing.of(action).ok_or_else(|| {
            Error::invalid(format!("action {action} has nothing pending of block {id}"))
        })?;
        block = waiting.transform()?.apply(block)?;
    }
    Ok(Answer {
        block,
        revision: by.map(|by| by.revision),
        latest: standing.newest.map(|(by, _)| by),
        pending: standing.pending.into_iter().map(|it| it.action).collect(),
    })
}
