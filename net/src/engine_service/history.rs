//! The history, page by page: a reader that fetches slowly holds no thread.

use std::sync::Arc;

use travertine_engine::contract::{Error, Result};

use super::hearer::{Hearer, Over};
use super::{Inner, blocking};
use crate::proto;
use crate::wire::error::to_status;

/// Commits of one page.
const PAGE: usize = 256;

/// Tells commits from the newest back.
pub(super) async fn run(
    inner: Arc<Inner>,
    asked: proto::HistoryRequest,
    mut hearer: Hearer<proto::HistoryEntry>,
) {
    if let Err(over) = tell(inner, asked, &mut hearer).await {
        hearer.end(over).await;
    }
}

async fn tell(
    inner: Arc<Inner>,
    asked: proto::HistoryRequest,
    hearer: &mut Hearer<proto::HistoryEntry>,
) -> Result<(), Over> {
    let failed = |error: Error| Some(to_status(&error));
    let mut history = inner.engine.history();
    let mut left = match asked.limit {
        0 => u64::MAX,
        limit => limit,
    };
    let below = match asked.before {
        0 => u64::MAX,
        before => before,
    };
    while left > 0 {
        // What is above `below` is read and not told: nobody would notice who has left.
        hearer.goes_on()?;
        let page;
        (history, page) = blocking(move || {
            let page: Result<Vec<_>> = history.by_ref().take(PAGE).collect();
            Ok((history, page?))
        })
        .await
        .map_err(failed)?;
        let ended = page.len() < PAGE;
        let wanted = page
            .into_iter()
            .filter(|(_, marker)| marker.sequence < below);
        for (oid, marker) in wanted.take(usize::try_from(left).unwrap_or(usize::MAX)) {
            left -= 1;
            let entry = proto::HistoryEntry {
                sequence: marker.sequence,
                epoch: Some(marker.epoch.into()),
                time_us: marker.time,
                marker: oid.raw(),
            };
            hearer.tell(entry).await?;
        }
        if ended {
            break;
        }
    }
    Ok(())
}
