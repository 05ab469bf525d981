//! Changes of several collections, step by step where it cannot be done at once.

use std::sync::Arc;

use travertine_engine::contract::Result;

use super::{Committed, Part, Pended, Transacted, Transactor};

/// Pends and commits all parts: at once where the transactor can do that, else [step by step](each). An
/// error: it is not known what came of it.
pub async fn transact(transactor: &Arc<dyn Transactor>, parts: Vec<Part>) -> Result<Transacted> {
    match transactor.transact(parts) {
        Ok(whole) => whole.await,
        Err(parts) => {
            let parts = parts.into_iter();
            let parts: Vec<_> = parts.map(|part| (transactor.clone(), part)).collect();
            each(&parts).await
        }
    }
}

/// Pends all parts, each in its place, and then commits them one after the other, those that only read
/// last. Nothing is committed before everything is pending; of a part that fails after another has landed
/// the answer tells. What one part read may change while another is committed: then it is told as failed.
pub async fn each(parts: &[(Arc<dyn Transactor>, Part)]) -> Result<Transacted> {
    for (at, (place, part)) in parts.iter().enumerate() {
        if let Pended::Stale(stale) = place.pend(part.pend.clone()).await? {
            cancel(&parts[..at]).await?;
            return Ok(Transacted::Stale(stale));
        }
    }
    let (mut landed, mut failed) = (Vec::new(), Vec::new());
    let reads = |one: &&(Arc<dyn Transactor>, Part)| one.1.pend.transforms.is_empty();
    let (last, first): (Vec<_>, Vec<_>) = parts.iter().partition(reads);
    for one in first.into_iter().chain(last) {
        let (place, part) = one;
        let why = match place.commit(part.commit.clone()).await {
            Ok(Committed::Done) => {
                landed.push(part.collection.clone());
                continue;
            }
            Ok(Committed::Stale(stale)) if landed.is_empty() => {
                cancel(parts).await?;
                return Ok(Transacted::Stale(stale));
            }
            Ok(Committed::Stale(_)) => {
                cancel(std::slice::from_ref(one)).await?;
                "somebody else was first".to_owned()
            }
            // Nothing has landed that is known of: nothing more is tried.
            Err(error) if landed.is_empty() => return Err(error),
            Err(error) => format!("it is not known: {error}"),
        };
        failed.push((part.collection.clone(), why));
    }
    Ok(match failed.is_empty() {
        true => Transacted::Done,
        false => Transacted::Partly { landed, failed },
    })
}

/// Forgets what is pending of these parts.
async fn cancel(parts: &[(Arc<dyn Transactor>, Part)]) -> Result<()> {
    for (place, part) in parts {
        let blocks: Vec<_> = part.pend.blocks().cloned().collect();
        place.cancel(&part.pend.action, &blocks).await?;
    }
    Ok(())
}
