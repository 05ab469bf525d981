//! What is there, as a snapshot has it.

use std::collections::BTreeMap;

use travertine_engine::contract::{Error, Result};

use super::rows::Rows;
use super::{Local, TOLD_MAX};
use crate::block::BlockId;
use crate::index::View;
use crate::transactor::{ActionId, Answer, Answers, Context, Revision, Status};

impl Local {
    pub(super) fn answers(&self, blocks: &[BlockId], context: Option<&Context>) -> Result<Answers> {
        let rows = self.rows()?;
        let answers = blocks
            .iter()
            .map(|id| (id.clone(), answer(&rows, id, context)));
        Ok(answers.collect())
    }

    /// Whether something is pending of these blocks that a context says is committed.
    pub(super) fn is_due(&self, blocks: &[BlockId], context: &Context) -> bool {
        let due = |rows: &Rows<super::View>, id| {
            let mut rivals = rows.rivals(id, TOLD_MAX)?.into_iter();
            let known = |action| context.committed.iter().any(|by| by.action == action);
            Ok(rivals.any(|(action, _)| known(action)))
        };
        let any = self.rows().and_then(|rows| {
            let mut found = blocks.iter().map(|id| due(&rows, id));
            found.try_fold(false, |any, due: Result<bool>| Ok(any || due?))
        });
        // An error is met again where it can be told.
        !context.committed.is_empty() && any.unwrap_or(true)
    }

    pub(super) fn statuses(
        &self,
        action: &ActionId,
        blocks: &[BlockId],
    ) -> Result<BTreeMap<BlockId, Status>> {
        let rows = self.rows()?;
        let status = |id: &BlockId| status(&rows, action, id);
        blocks
            .iter()
            .map(|id| Ok((id.clone(), status(id)?)))
            .collect()
    }

    fn rows(&self) -> Result<Rows<super::View>> {
        let reader = self.map.reader(&self.engine.snapshot());
        Ok(Rows(reader.wait()?))
    }
}

fn answer<V: View>(rows: &Rows<V>, id: &BlockId, context: Option<&Context>) -> Result<Answer> {
    let latest = rows.newest(id, Revision::MAX)?;
    let upto = context.map_or(Revision::MAX, |context| context.revision);
    let made = match &latest {
        Some(latest) if latest.by.revision > upto => rows.newest(id, upto)?,
        latest => latest.clone(),
    };
    let mut block = match &made {
        Some(made) => rows.block(id, made)?,
        None => None,
    };
    if let Some(action) = context.and_then(|context| context.pending.as_ref()) {
        let transform = rows.pending(id, action)?.ok_or_else(|| {
            Error::invalid(format!("action {action} has nothing pending of block {id}"))
        })?;
        block = transform.apply(block)?;
    }
    let pending = rows.rivals(id, TOLD_MAX)?.into_iter();
    Ok(Answer {
        block,
        revision: made.map(|made| made.by.revision),
        latest: latest.map(|made| made.by),
        pending: pending.map(|(action, _)| action).collect(),
    })
}

fn status<V: View>(rows: &Rows<V>, action: &ActionId, id: &BlockId) -> Result<Status> {
    if let Some(revision) = rows.committed(id, action)? {
        return Ok(Status::Committed(revision));
    }
    let pending = rows.pending(id, action)?;
    Ok(pending.map_or(Status::Unknown, |_| Status::Pending))
}
