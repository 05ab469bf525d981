//! A session from the client's side: asks are gathered into messages, answers find who asked.
//!
//! ```text
//!   store ─┐                     ┌─ as many as wait, 128 or 64 KiB ─┐
//!   commit ┼─> numbered, queued ─┤                                  ├──> server
//!   read ──┘                     └─ sent when the queue runs dry ───┘
//!     ^                                                                    │
//!     └── whoever asked <── by number <── in any order <────────────────────┘
//! ```
//!
//! What is on its way is bounded, by number as the server says and by bytes: who asks more waits.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_stream::Stream;
use tonic::Streaming;
use travertine_engine::contract::{Error, Level, Name, Op, Promise, Reference, Result, RootAt};
use travertine_engine::front::Committed;

use super::{
    Change, Found, Names, NewRecord, Target, answer, commit_request, committed_of, garbled,
    names_request,
};
use crate::connect::Channel;
use crate::convert;
use crate::proto::engine_client::EngineClient;
use crate::proto::{self, ask, reply};
use crate::traces;
use crate::wire::error::{from_proto, from_status};

/// Most asks of one message.
const ASKS_MAX: usize = 128;
/// A message takes no more asks above this.
const ASKS_BYTES: usize = 64 << 10;
/// Bytes on their way at once.
const BYTES_MAX: usize = 32 << 20;

/// A session: see [`Client::session`](super::Client::session). It ends when it is dropped, once what was
/// asked is answered, or when it asked nothing for as long as the server says; what it held is let go then.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    sequence: u64,
    idle: Duration,
    /// What takes the answers in.
    receives: AbortHandle,
}

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    next: u64,
    /// Gone once the session ended.
    asks: Option<mpsc::UnboundedSender<proto::Ask>>,
    waiting: HashMap<u64, Waiting>,
    ended: Option<Error>,
}

#[derive(Debug)]
struct Waiting {
    promise: Promise<reply::What>,
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// Something that was asked. Await it for the answer; what was asked happens in any case.
#[derive(Debug)]
#[must_use = "whether it was done is known once it is awaited"]
pub struct Asked<T> {
    id: u64,
    answer: Op<T>,
}

impl Asked<Reference> {
    /// The record that is being stored: asks that come later in this session may name it, whether this
    /// one is answered or not.
    #[must_use]
    pub fn target(&self) -> Target {
        Target::Asked(self.id)
    }
}

impl<T: Send + 'static> Asked<T> {
    /// The answer, for those who wait without a runtime; not on a thread that drives the connection.
    pub fn into_op(self) -> Op<T> {
        self.answer
    }
}

impl<T> Future for Asked<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context)
    }
}

impl Session {
    pub(super) async fn begin(mut rpc: EngineClient<Channel>) -> Result<Self> {
        let (asks, queue) = mpsc::unbounded_channel();
        let outbound = Outbound { queue, held: None };
        let mut replies = answer(rpc.session(outbound).await)?;
        let mut first = next(&mut replies).await?;
        let Some(reply::What::Greeting(greeting)) = first.pop_front().and_then(|reply| reply.what)
        else {
            return Err(garbled("a greeting"));
        };
        let shared = Arc::new(Shared(Mutex::new(State {
            next: 1,
            asks: Some(asks),
            waiting: HashMap::new(),
            ended: None,
        })));
        let most = usize::try_from(greeting.asks_max).unwrap_or(1).max(1);
        let receiver = shared.clone();
        let receives = tokio::spawn(async move {
            // Also where the server says no end.
            while !receiver.is_over() {
                match next(&mut replies).await {
                    Ok(replies) => receiver.answer(replies),
                    Err(error) => return receiver.end(&error),
                }
            }
        });
        Ok(Self {
            shared,
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            bytes: Arc::new(Semaphore::new(BYTES_MAX)),
            sequence: greeting.begun.unwrap_or_default().sequence,
            idle: Duration::from_millis(greeting.idle_ms),
            receives: receives.abort_handle(),
        })
    }

    /// The number of the newest commit that was submitted when the session began.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// A session that asks nothing for so long ends.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// Stores a record. Waits only while too much is on its way.
    ///
    /// The answer's errors: those of [`Session::store`](travertine_engine::front::Session::store).
    pub async fn store(&self, record: NewRecord) -> Result<Asked<Reference>> {
        let asked = self.ask(ask::What::Store(record.into())).await?;
        Ok(asked.and_then(|what| match what {
            reply::What::Stored(stored) => convert::reference(stored.reference),
            _ => Err(garbled("a record that was stored")),
        }))
    }

    /// Changes names, all or none. Submitted after everything that was asked before.
    ///
    /// The answer's errors: those of [`Session::commit`](travertine_engine::front::Session::commit), and
    /// `Unavailable` without a time to try again where the connection broke: whether it was done is
    /// unknown.
    pub async fn commit(
        &self,
        changes: Vec<Change>,
        level: Option<Level>,
    ) -> Result<Asked<Committed>> {
        let request = commit_request(Vec::new(), changes, level);
        self.submit(request, |told| Ok(committed_of(told)?.0)).await
    }

    /// Stores these records and changes names, all or none, in one ask: a change names a record that comes
    /// along by [`Target::Own`]. Half of what a store and a commit cost on the way.
    ///
    /// The answer is the references too; its errors are those of [`Session::commit`].
    pub async fn store_and_commit(
        &self,
        records: Vec<NewRecord>,
        changes: Vec<Change>,
        level: Option<Level>,
    ) -> Result<Asked<(Committed, Vec<Reference>)>> {
        let request = commit_request(records, changes, level);
        self.submit(request, committed_of).await
    }

    async fn submit<T: Send + 'static>(
        &self,
        request: proto::CommitRequest,
        read: fn(proto::Committed) -> Result<T>,
    ) -> Result<Asked<T>> {
        let asked = self.ask(ask::What::Commit(request)).await?;
        Ok(asked.and_then(move |what| match what {
            reply::What::Committed(told) => read(told),
            _ => Err(garbled("a commit")),
        }))
    }

    /// Reads a record; `None`: there is none, for certain.
    pub async fn read(&self, target: impl Into<Target>) -> Result<Asked<Option<Found>>> {
        let request = proto::ReadRequest {
            target: Some(target.into().into()),
        };
        let asked = self.ask(ask::What::Read(request)).await?;
        Ok(asked.and_then(|what| match what {
            reply::What::Found(found) => Found::of(found),
            _ => Err(garbled("a record")),
        }))
    }

    /// What a name pointed to when the session began.
    pub async fn root(&self, name: &Name) -> Result<Option<Reference>> {
        let mut request = names_request(None, None);
        request.name = name.as_str().to_owned();
        Ok(self.names_of(request).await?.get(name))
    }

    /// Names of a commit, or those that the session began on, those that come after `after`: as many as
    /// one answer holds.
    pub async fn names(&self, at: Option<RootAt>, after: Option<&Name>) -> Result<Names> {
        self.names_of(names_request(at, after)).await
    }

    async fn names_of(&self, request: proto::RootRequest) -> Result<Names> {
        match self.ask(ask::What::Root(request)).await?.await? {
            reply::What::Root(reply) => Names::of(reply),
            _ => Err(garbled("names")),
        }
    }

    /// Begins again, on the newest commit. What the session held is let go: what it stored and did not
    /// name may be freed.
    pub async fn begin_again(&mut self) -> Result<()> {
        match self.ask(ask::What::Begin(proto::Begin {})).await?.await? {
            reply::What::Begun(begun) => {
                self.sequence = begun.sequence;
                Ok(())
            }
            _ => Err(garbled("the begin of a session")),
        }
    }

    async fn ask(&self, what: ask::What) -> Result<Asked<reply::What>> {
        let size = u32::try_from(size(&what).min(BYTES_MAX)).unwrap_or(u32::MAX);
        let ended = |_| Error::closed("the session ended");
        let bytes = self.bytes.clone().acquire_many_owned(size).await;
        let place = self.places.clone().acquire_owned().await;
        let (promise, answer) = Promise::new();
        let waiting = Waiting {
            promise,
            _place: place.map_err(ended)?,
            _bytes: bytes.map_err(ended)?,
        };
        let id = self.shared.ask(what, waiting)?;
        Ok(Asked { id, answer })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.lock().asks = None;
        if self.shared.is_over() {
            self.receives.abort();
        }
    }
}

impl<T: Send + 'static> Asked<T> {
    fn and_then<U: Send + 'static>(
        self,
        f: impl FnOnce(T) -> Result<U> + Send + 'static,
    ) -> Asked<U> {
        Asked {
            id: self.id,
            answer: self.answer.and_then(f),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody asks any more, and all that was asked is answered.
    fn is_over(&self) -> bool {
        let state = self.lock();
        state.asks.is_none() && state.waiting.is_empty()
    }

    /// Gives it a number and queues it, in one step: numbers go up in the order of the queue.
    fn ask(&self, what: ask::What, waiting: Waiting) -> Result<u64> {
        let mut state = self.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        let id = state.next;
        let (what, trace) = (Some(what), traces::told());
        let sent = state
            .asks
            .as_ref()
            .map(|asks| asks.send(proto::Ask { id, trace, what }));
        match sent {
            Some(Ok(())) => {
                state.next += 1;
                state.waiting.insert(id, waiting);
                Ok(id)
            }
            _ => Err(Error::closed("the session ended")),
        }
    }

    /// Gives answers to those who wait, the last first: whoever waits for one after another is woken
    /// once, and finds the rest.
    fn answer(&self, replies: VecDeque<proto::Reply>) {
        let mut landed = Vec::with_capacity(replies.len());
        {
            let mut state = self.lock();
            let waiting = replies.into_iter().rev().filter_map(|reply| {
                let waiting = state.waiting.remove(&reply.id)?;
                Some((waiting, reply.what))
            });
            landed.extend(waiting);
        }
        for (waiting, what) in landed {
            waiting.promise.fulfil(match what {
                Some(reply::What::Error(error)) => Err(from_proto(&error)),
                Some(what) => Ok(what),
                None => Err(garbled("an answer")),
            });
        }
    }

    fn end(&self, error: &Error) {
        let mut state = self.lock();
        state.ended = Some(error.clone());
        state.asks = None;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for (_, waiting) in waiting {
            waiting.promise.fulfil(Err(error.clone()));
        }
    }
}

/// The next message.
async fn next(replies: &mut Streaming<proto::Replies>) -> Result<VecDeque<proto::Reply>> {
    match replies.message().await {
        Ok(Some(message)) => Ok(message.replies.into()),
        Ok(None) => Err(Error::unavailable("the server ended the session")),
        Err(status) => Err(from_status(&status)),
    }
}

/// About the bytes that an ask takes.
fn size(what: &ask::What) -> usize {
    let record = |record: &proto::StoreRequest| record.body.len() + 40 * record.references.len();
    64 + match what {
        ask::What::Store(told) => record(told),
        ask::What::Commit(told) => {
            let changes = told.changes.iter().map(|change| change.name.len() + 64);
            told.store.iter().map(record).sum::<usize>() + changes.sum::<usize>()
        }
        _ => 0,
    }
}

/// What is asked, as many in a message as wait.
struct Outbound {
    queue: mpsc::UnboundedReceiver<proto::Ask>,
    /// Did not fit the last message.
    held: Option<proto::Ask>,
}

impl Stream for Outbound {
    type Item = proto::Asks;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut message = proto::Asks::default();
        let mut bytes = 0;
        loop {
            let ask = match self.held.take() {
                Some(ask) => Poll::Ready(Some(ask)),
                None => self.queue.poll_recv(context),
            };
            match ask {
                Poll::Ready(Some(ask)) => {
                    let size = ask.what.as_ref().map_or(0, size);
                    if !message.asks.is_empty() && bytes + size > ASKS_BYTES {
                        self.held = Some(ask);
                        return Poll::Ready(Some(message));
                    }
                    bytes += size;
                    message.asks.push(ask);
                    if message.asks.len() == ASKS_MAX {
                        return Poll::Ready(Some(message));
                    }
                }
                Poll::Ready(None) if message.asks.is_empty() => return Poll::Ready(None),
                Poll::Pending if message.asks.is_empty() => return Poll::Pending,
                _ => return Poll::Ready(Some(message)),
            }
        }
    }
}
