//! Somebody who is told one thing after another, for as long as it may hear them.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tonic::Status;
use travertine_engine::contract::Error;

use super::Inner;
use crate::rights::{Caller, Verb};
use crate::wire::error::to_status;

/// Why nothing more is told: with what it is told at last, or with nothing, if it is gone.
pub(super) type Over = Option<Status>;

pub(super) struct Hearer<T> {
    caller: Caller,
    verb: Verb,
    out: Sender<Result<T, Status>>,
    draining: watch::Receiver<bool>,
    patience: Duration,
}

impl<T> Hearer<T> {
    pub(super) fn new(
        inner: &Inner,
        caller: Caller,
        verb: Verb,
        out: Sender<Result<T, Status>>,
    ) -> Self {
        Self {
            caller,
            verb,
            out,
            draining: inner.draining.subscribe(),
            patience: inner.bounds.idle,
        }
    }

    /// Tells it this, once it has fetched what was told before. The right is asked for each time, so that
    /// one which is taken away is gone with the next message.
    pub(super) async fn tell(&mut self, told: T) -> Result<(), Over> {
        self.caller.may(self.verb).map_err(Some)?;
        tokio::select! {
            sent = self.out.send(Ok(told)) => sent.map_err(|_| None),
            _ = self.draining.wait_for(|drain| *drain) => Err(going_away()),
        }
    }

    /// Whether it is still there and may still be told something, before more is looked up for it.
    pub(super) fn goes_on(&self) -> Result<(), Over> {
        self.caller.may(self.verb).map_err(Some)?;
        if self.out.is_closed() {
            return Err(None);
        }
        match *self.draining.borrow() {
            true => Err(going_away()),
            false => Ok(()),
        }
    }

    /// Waits until nothing more is to be told, whatever there is.
    pub(super) async fn over(&mut self) -> Over {
        tokio::select! {
            () = self.out.closed() => None,
            _ = self.draining.wait_for(|drain| *drain) => going_away(),
        }
    }

    /// Ends with this; in vain, if nobody fetches it.
    pub(super) async fn end(self, over: Over) {
        if let Some(status) = over {
            let _ = tokio::time::timeout(self.patience, self.out.send(Err(status))).await;
        }
    }
}

fn going_away() -> Over {
    let text = "the server is going away: go on from where this ended";
    Some(to_status(&Error::unavailable(text)))
}
