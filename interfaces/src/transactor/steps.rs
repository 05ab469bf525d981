//! Changes of several collections, step by step where it cannot be done at once.

use std::sync::Arc;

use travertine_engine::contract::Result;

use super::{Committed, Part, Pended, Transacted, Transactor};

/// Pends and commits all parts: at once where the transactor can do that, else one after the other. Then
/// nothing is committed before everything is pending, and of a part that fails after another has landed
/// the answer tells. An error: it is not known what came of it.
pub async fn transact(transactor: &Arc<dyn Transactor>, parts: Vec<Part>) -> Result<Transacted> {
    let parts = match transactor.transact(parts) {
        Ok(whole) => return whole.await,
        Err(parts) => parts,
    };
    for (at, part) in parts.iter().enumerate() {
        if let Pended::Stale(stale) = transactor.pend(part.pend.clone()).await? {
            cancel(transactor, &parts[..at]).await?;
            return Ok(Transacted::Stale(stale));
        }
    }
    let (mut landed, mut failed, mut lost) = (Vec::new(), Vec::new(), None);
    for part in &parts {
        let why = match transactor.commit(part.commit.clone()).await {
            Ok(Committed::Done) => {
                landed.push(part.collection.clone());
                continue;
            }
            Ok(Committed::Stale(stale)) if landed.is_empty() && failed.is_empty() => {
                cancel(transactor, &parts).await?;
                return Ok(Transacted::Stale(stale));
            }
            Ok(Committed::Stale(_)) => {
                cancel(transactor, std::slice::from_ref(part)).await?;
                "somebody else was first".to_owned()
            }
            Err(error) => {
                lost = lost.or(Some(error.clone()));
                error.to_string()
            }
        };
        failed.push((part.collection.clone(), why));
    }
    match (failed.is_empty(), lost) {
        (true, _) => Ok(Transacted::Done),
        (false, Some(error)) if landed.is_empty() => Err(error),
        (false, _) => Ok(Transacted::Partly { landed, failed }),
    }
}

async fn cancel(transactor: &Arc<dyn Transactor>, parts: &[Part]) -> Result<()> {
    for part in parts {
        let blocks: Vec<_> = part.pend.blocks().cloned().collect();
        transactor.cancel(&part.pend.action, &blocks).await?;
    }
    Ok(())
}
