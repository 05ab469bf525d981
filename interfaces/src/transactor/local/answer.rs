//! What is there, as a snapshot has it.

use std::collections::BTreeMap;

use travertine_engine::contract::{Error, Result};

use super::Store;
use super::keep::Keep;
use super::rows::{Rows, Standing};
use crate::block::BlockId;
use crate::transactor::{ActionId, Answer, Answers, Context, Revision, Status};

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
        action: &ActionId,
        blocks: &[BlockId],
    ) -> Result<BTreeMap<BlockId, Status>> {
        let rows = self.rows()?;
        let status = |id: &BlockId| {
            if let Some(revision) = rows.committed(id, action)? {
                return Ok(Status::Committed(revision));
            }
            let standing = rows.standing(id)?;
            let pending = standing.of(action);
            Ok(pending.map_or(Status::Unknown, |_| Status::Pending))
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
    let newer = |by: &&crate::transactor::ActionRev| by.revision > standing.revision();
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
    let by = match &standing.newest {
        Some((by, _)) if by.revision <= upto => Some(by.clone()),
        Some(_) => rows.newest(id, upto)?.map(|made| made.by),
        None => None,
    };
    let mut block = match &by {
        Some(by) => rows.as_of(id, by, keep)?,
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
