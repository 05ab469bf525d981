//! Those who follow: one thread waits for commits, and wakes them all.
//!
//! A follower that fetches slowly is told later, from the log; nothing is kept for it here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use travertine_engine::contract::{Error, Result, RootAt};
use travertine_engine::front::{Engine, Follow, Followed, Snapshot};

use super::hearer::{Hearer, Over};
use super::{Inner, blocking, names};
use crate::proto::{self, followed};
use crate::wire::error::to_status;

/// Most commits that are looked up at once.
const PAGE: usize = 64;
/// Whoever waits for commits looks this often whether anybody is left to be woken.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says that there is more to be told, or why there will not be. The thread that says so has the only
/// sender: where it ended, for whatever reason, the next who follows has another one started.
#[derive(Default)]
pub(super) struct Landing(Mutex<Option<watch::Receiver<Landed>>>);

#[derive(Clone, Default)]
struct Landed {
    ended: Option<Error>,
}

impl Landing {
    /// Told of every commit from now on.
    fn listen(&self, inner: &Arc<Inner>) -> Result<watch::Receiver<Landed>> {
        let (sender, receiver) = watch::channel(Landed::default());
        {
            let mut landing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let goes_on = |it: &&watch::Receiver<Landed>| {
                it.has_changed().is_ok() && it.borrow().ended.is_none()
            };
            if let Some(there) = landing.as_ref().filter(goes_on) {
                return Ok(there.clone());
            }
            *landing = Some(receiver.clone());
        }
        let alive = Arc::downgrade(inner);
        let mut follow = inner.engine.follow(inner.engine.snapshot().sequence() + 1);
        let body = Box::new(move || {
            while alive.strong_count() > 0 {
                match follow.wait(PATIENCE) {
                    Ok(None) => {}
                    Ok(Some(_)) => {
                        let _ = sender.send_replace(Landed::default());
                    }
                    Err(error) => {
                        sender.send_replace(Landed { ended: Some(error) });
                        return;
                    }
                }
            }
        });
        inner.env.drivers.thread("travertine-follow", body)?;
        Ok(receiver)
    }
}

/// Tells commits as they are proven, until nobody listens any more.
pub(super) async fn run(
    inner: Arc<Inner>,
    asked: proto::FollowRequest,
    mut hearer: Hearer<proto::Followed>,
) {
    if let Err(over) = tell(inner, asked, &mut hearer).await {
        hearer.end(over).await;
    }
}

async fn tell(
    inner: Arc<Inner>,
    asked: proto::FollowRequest,
    hearer: &mut Hearer<proto::Followed>,
) -> Result<(), Over> {
    let failed = |error: Error| Some(to_status(&error));
    let mut landing = inner.landing.listen(&inner).map_err(failed)?;
    let mut teller = Teller {
        engine: inner.engine.clone(),
        follow: inner.engine.follow(asked.from),
        before: None,
        names: asked.names,
    };
    loop {
        let ended = landing.borrow_and_update().ended.clone();
        let page;
        (teller, page) = blocking(move || {
            let page = teller.page();
            Ok((teller, page))
        })
        .await
        .map_err(failed)?;
        let (page, pause) = page.map_err(failed)?;
        let caught_up = page.len() < PAGE;
        for told in page {
            hearer.tell(told).await?;
        }
        if !caught_up {
            continue;
        }
        if let Some(error) = ended {
            return Err(failed(error));
        }
        tokio::select! {
            changed = landing.changed() => changed.map_err(|_| failed(lost()))?,
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            over = hearer.over() => return Err(over),
        }
    }
}

/// The thread that waits for commits went away without a word.
fn lost() -> Error {
    Error::unavailable("nobody waits for commits any more: follow on from where this ended")
}

struct Teller {
    engine: Engine,
    follow: Follow,
    /// The commit told last, held for as long as names are compared with it.
    before: Option<Snapshot>,
    names: bool,
}

/// What is to be told, and when to look again where not all of it could be looked up.
type Page = (Vec<proto::Followed>, Option<Duration>);

impl Teller {
    /// What is there. May block.
    fn page(&mut self) -> Result<Page> {
        let mut page = Vec::new();
        while page.len() < PAGE {
            let what = match self.follow.ready() {
                Ok(None) => break,
                Ok(Some(Followed::Commit(snapshot))) => {
                    followed::What::Commit(self.commit(snapshot)?)
                }
                Ok(Some(Followed::Freed(freed))) => followed::What::Freed(proto::Freed {
                    first: *freed.start(),
                    last: *freed.end(),
                }),
                // What a reclaim is at just now is clear soon.
                Err(error) if error.retry_after().is_some() => {
                    return Ok((page, error.retry_after()));
                }
                Err(error) => return Err(error),
            };
            page.push(proto::Followed { what: Some(what) });
        }
        Ok((page, None))
    }

    fn commit(&mut self, snapshot: Snapshot) -> Result<proto::FollowedCommit> {
        let mut told = proto::FollowedCommit {
            sequence: snapshot.sequence(),
            epoch: Some(snapshot.epoch().into()),
            time_us: snapshot.time(),
            ..proto::FollowedCommit::default()
        };
        if !self.names {
            return Ok(told);
        }
        let before = match self.before.take() {
            Some(before) => Some(before),
            None if snapshot.sequence() > 1 => {
                let at = RootAt::Sequence(snapshot.sequence() - 1);
                self.engine.at(at)?
            }
            None => None,
        };
        (told.changed, told.changed_more) = match &before {
            Some(before) => names::changed(Some(before), &snapshot),
            None if snapshot.sequence() == 1 => names::changed(None, &snapshot),
            None => (Vec::new(), true),
        };
        self.before = Some(snapshot);
        Ok(told)
    }
}
