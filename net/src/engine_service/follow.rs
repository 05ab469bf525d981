//! Those who follow: one thread waits for commits, and wakes them all.
//!
//! A follower that fetches slowly is told later, from the log; nothing is kept for it here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message as _;
use tokio::sync::watch;
use travertine_engine::contract::{Error, Result, RootAt};
use travertine_engine::front::{Engine, Follow, Followed, Snapshot};

use super::hearer::{Hearer, Over};
use super::{Inner, blocking, names};
use crate::proto::{self, followed};
use crate::wire::error::to_status;

/// Most commits that are looked up at once.
const PAGE: usize = 64;
/// No more are looked up above so many bytes of names.
const PAGE_BYTES: usize = 64 << 10;
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
        let Page { told, pause, more } = page.map_err(failed)?;
        for told in told {
            hearer.tell(told).await?;
        }
        if more {
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

/// Between two pages it holds nothing but its place.
struct Teller {
    engine: Engine,
    follow: Follow,
    /// The number of the commit told last: names are compared with those it had.
    before: Option<u64>,
    names: bool,
}

#[derive(Default)]
struct Page {
    told: Vec<proto::Followed>,
    /// When to look again, where not all of it could be looked up.
    pause: Option<Duration>,
    /// Whether more may be there already.
    more: bool,
}

impl Teller {
    /// What is there. May block.
    fn page(&mut self) -> Result<Page> {
        let mut page = Page::default();
        let (mut bytes, mut last) = (0, None);
        while page.told.len() < PAGE && bytes < PAGE_BYTES {
            let what = match self.follow.ready() {
                Ok(None) => return Ok(page),
                Ok(Some(Followed::Commit(snapshot))) => {
                    let told = self.commit(&snapshot, last.take())?;
                    last = Some(snapshot);
                    bytes += told.encoded_len();
                    followed::What::Commit(told)
                }
                Ok(Some(Followed::Freed(freed))) => followed::What::Freed(proto::Freed {
                    first: *freed.start(),
                    last: *freed.end(),
                }),
                // What a reclaim is at just now is clear soon.
                Err(error) if error.retry_after().is_some() => {
                    page.pause = error.retry_after();
                    return Ok(page);
                }
                Err(error) => return Err(error),
            };
            page.told.push(proto::Followed { what: Some(what) });
        }
        page.more = true;
        Ok(page)
    }

    /// What is told of a commit. The one told before it is at hand, if it was in this page.
    fn commit(
        &mut self,
        snapshot: &Snapshot,
        before: Option<Snapshot>,
    ) -> Result<proto::FollowedCommit> {
        let sequence = snapshot.sequence();
        let mut told = proto::FollowedCommit {
            sequence,
            epoch: Some(snapshot.epoch().into()),
            time_us: snapshot.time(),
            ..proto::FollowedCommit::default()
        };
        if !self.names {
            return Ok(told);
        }
        let before = match (before, self.before.replace(sequence)) {
            (Some(before), _) => Some(before),
            (None, told) => match told.unwrap_or(sequence - 1) {
                0 => None,
                before => match self.engine.at(RootAt::Sequence(before)) {
                    // A reclaim is just at it.
                    Err(error) if error.retry_after().is_some() => None,
                    before => before?,
                },
            },
        };
        (told.changed, told.changed_more) = match &before {
            Some(before) => names::changed(Some(before), snapshot),
            None if sequence == 1 => names::changed(None, snapshot),
            None => (Vec::new(), true),
        };
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use travertine_engine::conformance::model::ModelStore;
    use travertine_engine::contract::{Env, Kind, Name, NewRecord};
    use travertine_engine::front::{Change, Hint, Options};

    #[test]
    fn a_page_is_short_and_holds_no_commit_once_it_is_made() {
        const COMMITS: u64 = 20;
        let store = Arc::new(ModelStore::default());
        let engine = Engine::open(store, &Env::system(), Options::default()).unwrap();
        for _ in 0..COMMITS {
            let session = engine.session().unwrap();
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[b"it"],
            };
            let stored = session.store(&record, Hint::default()).unwrap();
            let changes: Vec<_> = (0..900)
                .map(|number| {
                    let name = format!("a-name-of-some-length-with-the-number-{number}");
                    Change::set(Name::new(name).unwrap(), stored)
                })
                .collect();
            session.commit(&changes, None).wait().unwrap();
        }
        let mut teller = Teller {
            follow: engine.follow(1),
            engine: engine.clone(),
            before: None,
            names: true,
        };
        let (mut next, mut pages) = (1, 0);
        loop {
            let page = teller.page().unwrap();
            assert!(engine.pins().is_empty());
            let bytes = page.told.iter().map(prost::Message::encoded_len);
            assert!(bytes.sum::<usize>() < PAGE_BYTES + 900 * 128);
            pages += 1;
            for told in page.told {
                let Some(followed::What::Commit(told)) = told.what else {
                    panic!("{told:?}");
                };
                let changed = (told.changed.len(), told.changed_more);
                assert_eq!((told.sequence, changed), (next, (900, false)));
                next += 1;
            }
            if !page.more {
                break;
            }
        }
        assert_eq!(next, COMMITS + 1);
        assert!(pages > 5, "{pages}");
    }
}
