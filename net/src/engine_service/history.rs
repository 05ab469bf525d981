//! The history, page by page: a reader that fetches slowly holds no thread.

use std::sync::Arc;

use tokio::sync::mpsc::Sender;
use tonic::Status;
use travertine_engine::contract::Result;

use super::{Inner, blocking};
use crate::proto;
use crate::wire::error::to_status;

/// Commits of one page.
const PAGE: usize = 256;

/// Tells commits from the newest back.
pub(super) async fn run(
    inner: Arc<Inner>,
    asked: proto::HistoryRequest,
    out: Sender<Result<proto::HistoryEntry, Status>>,
) {
    let mut history = inner.engine.history();
    let mut left = match asked.limit {
        0 => u64::MAX,
        limit => limit,
    };
    let below = match asked.before {
        0 => u64::MAX,
        before => before,
    };
    let mut draining = inner.draining.subscribe();
    while left > 0 {
        let page = blocking(move || {
            let page: Result<Vec<_>> = history.by_ref().take(PAGE).collect();
            Ok((history, page?))
        });
        let (rest, page) = match page.await {
            Ok(page) => page,
            Err(error) => {
                let _ = out.send(Err(to_status(&error))).await;
                return;
            }
        };
        let ended = page.len() < PAGE;
        history = rest;
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
            tokio::select! {
                sent = out.send(Ok(entry)) => if sent.is_err() {
                    return;
                },
                _ = draining.wait_for(|drain| *drain) => return,
            }
        }
        if ended {
            return;
        }
    }
}
