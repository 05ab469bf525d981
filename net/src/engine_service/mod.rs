//! The `Engine` service of `proto/engine.proto` over one engine: many clients share it.
//!
//! Clients store records and move names by compare-and-set; whose commit comes first wins, the others are
//! told of the conflict. What holds for a [`Session`](travertine_engine::front::Session) of the engine holds
//! for one over the wire, and a call by itself is a session of its own. What a call by itself stored is
//! held for [`Bounds::idle`] at least, so that it can be named by the next call.
//!
//! What a client may take is bounded:
//!
//! | what | bound |
//! | --- | --- |
//! | a record | 16 MiB of body; a message 20 MiB ([`MESSAGE_MAX`]) |
//! | sessions at once | [`Bounds::sessions`] |
//! | asks on their way in one session | [`Bounds::asks`] |
//! | answers of one session that nobody fetched | 8 MiB, and one answer more |
//! | reads on their way below in one session | 64 |
//! | bytes stored and not flushed | those of the engine; whoever stores then waits |
//! | calls by themselves at once | [`Bounds::calls_bytes`] of what they ask, 4 KiB at least each; more are told to come later |
//! | a session that asks nothing, or fetches nothing | ends after [`Bounds::idle`], and holds nothing any more |
//! | clients that follow, or read the history | [`Bounds::followers`] |
//!
//! Who may do what is asked of the [`Caller`](crate::rights::Caller) that a
//! [`Guard`](crate::rights::Guard) puts into each request: without one everything is denied. A session
//! asks for each message, so that a right which is taken away is gone at once.

mod follow;
mod hearer;
mod history;
mod inbound;
mod keeper;
mod names;
mod rights;
mod session;
mod turn;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use travertine_engine::contract::limits::RECORD_BODY_MAX;
use travertine_engine::contract::trace::within;
use travertine_engine::contract::{Env, Error, Level, Result};
use travertine_engine::front::Engine;

use self::follow::Landing;
use self::hearer::Hearer;
use self::keeper::Keeper;
pub use self::rights::paths;
use self::turn::Turn;
use crate::proto;
use crate::proto::engine_server::{Engine as EngineRpc, EngineServer};
use crate::rights::Verb;
use crate::traces;
use crate::wire::error::to_status;

/// The version of the protocol.
const VERSION: u32 = 1;

/// Longest message: the longest body, and what is said about it.
pub const MESSAGE_MAX: usize = RECORD_BODY_MAX + (4 << 20);

/// Messages of one stream that are made before they are fetched.
const AHEAD: usize = 2;

/// What clients may take. See the table above.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Sessions at once. Default 1,024.
    pub sessions: usize,
    /// Asks on their way in one session. Default 1,024.
    pub asks: usize,
    /// Bytes that calls by themselves ask at once, also those whose clients are gone. Default 256 MiB.
    pub calls_bytes: usize,
    /// Clients that follow or read the history at once. Default 256.
    pub followers: usize,
    /// A session that asks nothing for so long ends. Default one minute.
    pub idle: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            sessions: 1_024,
            asks: 1_024,
            calls_bytes: 256 << 20,
            followers: 256,
            idle: Duration::from_secs(60),
        }
    }
}

/// One engine, as a service. Clones share it.
#[derive(Clone)]
pub struct EngineService(Arc<Inner>);

struct Inner {
    engine: Engine,
    env: Env,
    /// The level of a commit that names none.
    level: Level,
    /// The floors, in the stack's own words.
    stack: String,
    bounds: Bounds,
    sessions: Arc<Semaphore>,
    /// In pages.
    calls: Arc<Semaphore>,
    followers: Arc<Semaphore>,
    keeper: Arc<Keeper>,
    landing: Landing,
    draining: watch::Sender<bool>,
}

impl EngineService {
    /// Offers this engine, whose stack says `level` for a commit that names none, and `stack` of itself.
    #[must_use]
    pub fn new(
        engine: Engine,
        env: &Env,
        level: Level,
        stack: impl Into<String>,
        bounds: Bounds,
    ) -> Self {
        Self(Arc::new(Inner {
            env: env.clone(),
            level,
            stack: stack.into(),
            sessions: Arc::new(Semaphore::new(bounds.sessions)),
            calls: Arc::new(Semaphore::new(pages(bounds.calls_bytes))),
            followers: Arc::new(Semaphore::new(bounds.followers)),
            keeper: Arc::new(Keeper::new(engine.clone(), bounds.idle)),
            landing: Landing::default(),
            draining: watch::Sender::new(false),
            engine,
            bounds,
        }))
    }

    /// The engine that is shared.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Takes nothing in any more: what was asked is answered, then every stream ends.
    pub fn drain(&self) {
        self.0.draining.send_replace(true);
    }

    /// This service, to be added to a server.
    #[must_use]
    pub fn server(&self) -> EngineServer<Self> {
        EngineServer::new(self.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }
}

impl std::fmt::Debug for EngineService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EngineService({:?})", self.0.engine)
    }
}

impl Inner {
    fn identity(&self) -> Result<Vec<u8>> {
        Ok(self.engine.status().identity_bytes()?.to_vec())
    }

    fn greeting(&self, begun: Option<proto::Begun>) -> Result<proto::Greeting> {
        Ok(proto::Greeting {
            version: VERSION,
            identity: self.identity()?.into(),
            begun,
            asks_max: u32::try_from(self.bounds.asks).unwrap_or(u32::MAX),
            message_max: u32::try_from(MESSAGE_MAX).unwrap_or(u32::MAX),
            idle_ms: u64::try_from(self.bounds.idle.as_millis()).unwrap_or(u64::MAX),
            level: Some(self.level.into()),
            level_max: Some(self.engine.status().level.into()),
        })
    }

    /// A place among those that may be there at once.
    fn place(&self, places: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Status> {
        if *self.draining.borrow() {
            return Err(to_status(&Error::unavailable("the server is going away")));
        }
        places.clone().try_acquire_owned().map_err(|_| {
            let text = format!("as many {what} are open as this server allows");
            to_status(&Error::unavailable(text).with_retry(Duration::from_secs(1)))
        })
    }

    /// Does what a call by itself asks. The work goes on when its client is gone, so it is the work that
    /// has a place: what waits for a thread is bounded.
    async fn work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let most = pages(self.bounds.calls_bytes);
        let takes = pages(bytes).min(most) as u32;
        let place = self.calls.clone().try_acquire_many_owned(takes);
        let place = place.map_err(|_| {
            Error::unavailable("more is asked at once than this server takes")
                .with_retry(Duration::from_millis(100))
        })?;
        blocking(move || {
            let _place = place;
            work()
        })
        .await
    }
}

/// So many are taken for so many bytes.
fn pages(bytes: usize) -> usize {
    (bytes >> 12).clamp(1, u32::MAX as usize >> 3)
}

/// Does what may block where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let lost = |_| Error::closed("the work ended without an answer");
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}

fn answer<T>(answer: Result<T>) -> Result<Response<T>, Status> {
    answer.map(Response::new).map_err(|error| to_status(&error))
}

/// Runs the far side of a stream, for as long as it holds its place.
fn stream<T: Send + 'static, F: Future<Output = ()> + Send + 'static>(
    place: OwnedSemaphorePermit,
    run: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F,
) -> Response<ReceiverStream<Result<T, Status>>> {
    let (out, stream) = mpsc::channel(AHEAD);
    let running = run(out);
    tokio::spawn(async move {
        running.await;
        drop(place);
    });
    Response::new(ReceiverStream::new(stream))
}

#[tonic::async_trait]
impl EngineRpc for EngineService {
    type SessionStream = ReceiverStream<Result<proto::Replies, Status>>;
    type HistoryStream = ReceiverStream<Result<proto::HistoryEntry, Status>>;
    type FollowStream = ReceiverStream<Result<proto::Followed, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<proto::Asks>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let inner = self.0.clone();
        let place = inner.place(&inner.sessions, "sessions")?;
        let caller = rights::caller(&request)?;
        let turn = Turn::new(inner.engine.clone(), inner.bounds.asks);
        let turn = turn.map_err(|error| to_status(&error))?.asked_by(caller);
        let asks = request.into_inner();
        Ok(stream(place, |out| session::run(inner, turn, asks, out)))
    }

    async fn store(
        &self,
        request: Request<proto::StoreRequest>,
    ) -> Result<Response<proto::Stored>, Status> {
        rights::caller(&request)?.may(Verb::Store)?;
        let keeper = self.0.keeper.clone();
        let trace = traces::of_request(&request);
        let asked = request.into_inner();
        let stored = self.0.work(asked.encoded_len(), move || {
            within(trace, || keeper.turn()?.store(asked, &[]))
        });
        answer(stored.await.map(|reference| proto::Stored {
            reference: Some(reference.into()),
        }))
    }

    async fn read(
        &self,
        request: Request<proto::ReadRequest>,
    ) -> Result<Response<proto::Found>, Status> {
        rights::caller(&request)?.may(Verb::Read)?;
        let trace = traces::of_request(&request);
        let read = within(trace, || names::read(&self.0.engine, request.into_inner()));
        answer(read.await)
    }

    async fn commit(
        &self,
        request: Request<proto::CommitRequest>,
    ) -> Result<Response<proto::Committed>, Status> {
        rights::may_commit(&rights::caller(&request)?, request.get_ref())?;
        let engine = self.0.engine.clone();
        let trace = traces::of_request(&request);
        let asked = request.into_inner();
        let bytes = asked.encoded_len();
        let submit = move || {
            // It holds what it stored until the commit is answered.
            let turn = Turn::new(engine, 0)?;
            let (op, stored) = turn.commit(asked)?;
            Ok((turn, op, stored))
        };
        let submitted = self.0.work(bytes, move || within(trace, submit));
        let done = async {
            let (_turn, op, stored) = submitted.await?;
            Ok(turn::committed(op.await?, stored))
        };
        answer(done.await)
    }

    async fn root(
        &self,
        request: Request<proto::RootRequest>,
    ) -> Result<Response<proto::RootReply>, Status> {
        rights::caller(&request)?.may(Verb::Names)?;
        let (engine, asked) = (self.0.engine.clone(), request.into_inner());
        let names = self
            .0
            .work(asked.encoded_len(), move || names::at(&engine, &asked));
        answer(names.await)
    }

    async fn history(
        &self,
        request: Request<proto::HistoryRequest>,
    ) -> Result<Response<Self::HistoryStream>, Status> {
        let caller = rights::caller(&request)?;
        caller.may(Verb::Root)?;
        let inner = self.0.clone();
        let place = inner.place(&inner.followers, "followers")?;
        let asked = request.into_inner();
        Ok(stream(place, |out| {
            let hearer = Hearer::new(&inner, caller, Verb::Root, out);
            history::run(inner, asked, hearer)
        }))
    }

    async fn follow(
        &self,
        request: Request<proto::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let caller = rights::caller(&request)?;
        caller.may(Verb::Follow)?;
        let inner = self.0.clone();
        let place = inner.place(&inner.followers, "followers")?;
        let mut asked = request.into_inner();
        if asked.from == 0 {
            // Now, before the client is told that it follows.
            asked.from = inner.engine.snapshot().sequence() + 1;
        }
        Ok(stream(place, |out| {
            let hearer = Hearer::new(&inner, caller, Verb::Follow, out);
            follow::run(inner, asked, hearer)
        }))
    }

    async fn status(
        &self,
        request: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusReply>, Status> {
        rights::caller(&request)?.may(Verb::Status)?;
        let inner = &self.0;
        let (status, snapshot) = (inner.engine.status(), inner.engine.snapshot());
        let open = |places: &Semaphore, most: usize| (most - places.available_permits()) as u32;
        answer(inner.identity().map(|identity| {
            proto::StatusReply {
                identity: identity.into(),
                stack: inner.stack.clone(),
                level: Some(inner.level.into()),
                level_max: Some(status.level.into()),
                sequence: snapshot.sequence(),
                time_us: snapshot.time(),
                refusing: status.refusing.unwrap_or_default(),
                sessions: open(&inner.sessions, inner.bounds.sessions),
                followers: open(&inner.followers, inner.bounds.followers),
                figures: status
                    .figures
                    .iter()
                    .map(|(name, value)| proto::Figure {
                        name: (*name).to_owned(),
                        value: *value,
                    })
                    .collect(),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use travertine_engine::conformance::model::ModelStore;
    use travertine_engine::contract::ErrorKind;
    use travertine_engine::front::Options;

    #[tokio::test]
    async fn a_call_whose_client_is_gone_has_its_place_until_it_ends() {
        let (env, store) = (Env::system(), Arc::new(ModelStore::default()));
        let engine = Engine::open(store, &env, Options::default()).unwrap();
        let bounds = Bounds {
            calls_bytes: 1 << 20,
            ..Bounds::default()
        };
        let service = EngineService::new(engine, &env, Level::Disk, "model", bounds);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let large = 600 << 10;
        let mut call = Box::pin(service.0.work(large, move || {
            let _ = wait.recv();
            Ok(())
        }));
        std::future::poll_fn(|context| {
            assert!(call.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(call);
        let other = service.0.work(large, || Ok(())).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Unavailable);
        assert!(other.retry_after().is_some(), "{other}");
        service.0.work(1, || Ok(())).await.unwrap();
        go.send(()).unwrap();
        let again = async {
            // However large it is: alone it has room.
            while service.0.work(16 << 20, || Ok(())).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let patience = Duration::from_secs(120);
        tokio::time::timeout(patience, again).await.unwrap();
    }
}
