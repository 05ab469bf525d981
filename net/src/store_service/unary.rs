//! The service as its callers see it: sessions, and a unary twin of every verb.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use travertine_engine::contract::trace::{TraceParent, within};
use travertine_engine::contract::{Error, Result};

use super::budget::{Account, Of, Permit};
use super::offer::Wanted;
use super::seat::Sitting;
use super::session::{Session, UNKNOWN};
use super::turn::Turn;
use super::verbs::{Caller, brings_much, takes_long};
use super::{Shared, StoreService};
use crate::hop::{self, Hop};
use crate::proto::answer::Answer as Payload;
use crate::proto::call::Verb;
use crate::proto::store_server::Store;
use crate::proto::{
    AdoptAnswer, AdoptCall, Answers, Calls, CloseAnswer, CloseCall, CommitCall, FenceAnswer,
    FenceCall, Hello, Lack, Level, NoteAnswer, NoteCall, ReadAnswer, ReadCall, RecallAnswer,
    RecallCall, ReclaimAnswer, ReclaimCall, RootAnswer, RootCall, ScanAnswer, ScanCall,
    Status as ProtoStatus, StatusCall, StoreCall, Tail, Welcome,
};
use crate::rights::Caller as Rights;
use crate::traces;
use crate::wire::convert::{self, identity};
use crate::wire::error::to_status;
use crate::wire::{HOPS_MAX, MESSAGE_MAX, NEWEST, OLDEST, status};

/// How long a session's greeting may be waited for.
const GREETING: Duration = Duration::from_secs(30);
/// Most bytes in which a client tells of its stack.
const STACK: usize = 2 << 10;

impl Shared {
    /// Whether a greeting can be understood: by whom it is.
    fn heard(hello: &Hello) -> Result<[u8; 16]> {
        if hello.newest < OLDEST || hello.oldest > NEWEST {
            return Err(Error::unsupported(format!(
                "the client speaks versions {} to {} of the protocol, this server {OLDEST} to {NEWEST}",
                hello.oldest, hello.newest
            )));
        }
        identity(&hello.client)
    }

    fn greet(&self, rights: Option<Rights>, hello: &Hello) -> Result<(Caller, Welcome)> {
        let client = Self::heard(hello)?;
        let here = self.host.instance;
        let (behind, depth) = self.host.behind();
        if behind.contains(&here) || hello.path.iter().any(|id| id[..] == here) {
            return Err(Error::invalid(
                "this server stands in a loop: it is found again behind itself",
            ));
        }
        if depth as usize + hello.path.len() > HOPS_MAX as usize {
            return Err(Error::invalid(format!(
                "{} servers would stand behind one another, and {HOPS_MAX} are the limit",
                depth as usize + hello.path.len()
            )));
        }
        let store = self.serving.store()?;
        let status = status::to_proto(&store.status())?;
        if !hello.store.is_empty() && hello.store != status.identity {
            return Err(Error::invalid(format!(
                "the client expects another store: {} is served here",
                store.status().identity
            )));
        }
        let stack = (!hello.stack.is_empty()).then(|| hello.stack.clone());
        if let Some(stack) = stack.as_ref().filter(|it| it.len() > STACK) {
            return Err(Error::invalid(format!(
                "the client tells of its stack in {} bytes, and {STACK} are the limit",
                stack.len()
            )));
        }
        self.serving.is_of(stack.as_deref())?;
        let mut written_by = String::new();
        let mut sitting = None;
        if !hello.writer.is_empty() && !hello.reads_only {
            let writer = identity(&hello.writer)?;
            // Who may not write keeps nobody off.
            let may = |rights: &Rights| rights.granted().has(crate::rights::Verb::Fence.right());
            if rights.as_ref().is_none_or(may) {
                sitting = Some(Sitting::new(writer, stack));
            }
            let free = match &sitting {
                Some(sitting) => self.serving.seat.sit(sitting),
                None => self.serving.seat.is_free_for(writer),
            };
            if hello.yields && !free {
                written_by = self.serving.written_by();
            }
        }
        let offer = &self.serving.offer;
        let welcome = Welcome {
            version: hello.newest.min(NEWEST),
            instance: here.to_vec().into(),
            behind: behind.iter().map(|id| id.to_vec().into()).collect(),
            properties: offer
                .gives
                .properties
                .iter()
                .map(|it| it.name().to_owned())
                .collect(),
            lacks: offer
                .lacks
                .iter()
                .map(|(property, layer)| Lack {
                    property: property.name().to_owned(),
                    layer: layer.clone(),
                })
                .collect(),
            status: Some(status),
            limits: Some(crate::proto::Limits {
                calls: self.limits.calls as u32,
                bytes: self.limits.bytes as u64,
                message: MESSAGE_MAX as u32,
                deadline: self.limits.deadline.as_millis() as u32,
            }),
            depth,
            written_by,
        };
        let caller = Caller {
            client,
            reads_only: hello.reads_only,
            sitting,
            rights,
        };
        Ok((caller, welcome))
    }

    /// Makes the store that a client wants, if there is none.
    async fn make(self: &Arc<Self>, rights: Option<&Rights>, hello: &Hello) -> Result<()> {
        if !hello.makes || hello.reads_only || self.serving.there().is_some() {
            return Ok(());
        }
        Self::heard(hello)?;
        if let Some(rights) = rights {
            let may = rights.may(crate::rights::Verb::Fence);
            may.map_err(|status| Error::invalid(status.message()))?;
        }
        let identity = (!hello.store.is_empty()).then(|| identity(&hello.store));
        let wanted = Wanted {
            identity: identity.transpose()?,
            stream: convert::stream(hello.stream)?,
        };
        let shared = self.clone();
        let made = self.env.offload(move || shared.serving.make(wanted));
        made.await
    }

    /// Something about notes, which may take as long as a device.
    async fn about_notes<T: Send + 'static>(
        self: &Arc<Self>,
        hops: u32,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        if hops >= HOPS_MAX {
            let error = Error::invalid("the call passed too many servers");
            return Err(to_status(&error));
        }
        let hop = Hop {
            deadline: Some(Instant::now() + self.limits.deadline),
            passed: hops + 1,
        };
        let shared = self.clone();
        let work = self.env.offload(move || hop::under(hop, || work(&shared)));
        let answer = work.await.map_err(|error| to_status(&error))?;
        Ok(Response::new(answer))
    }

    /// The turns of a client, and its place among the sessions. Who writes comes back whatever others do.
    fn turn(&self, client: [u8; 16], account: &Account) -> Result<(Arc<Turn>, Option<Permit>)> {
        let place = account.session();
        if place.is_none() && !self.serving.is_writer(client) {
            return Err(Error::unavailable(
                "so many sessions are open here that no more are taken, of this caller or of all",
            ));
        }
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= self.limits.sessions.all {
            // Those that nobody holds any more are of clients whose sessions have ended.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Ok((turns.entry(client).or_default().clone(), place))
    }

    async fn unary(
        self: &Arc<Self>,
        rights: Option<Rights>,
        trace: Option<TraceParent>,
        account: Arc<Account>,
        (verb, bytes): (Verb, usize),
    ) -> Result<Payload, Status> {
        let mut held = account.held();
        held.set(bytes + if brings_much(&verb) { UNKNOWN } else { 0 });
        if !held.has_room() {
            return Err(to_status(&Error::unavailable(
                "too many bytes lie here, of this caller or of all",
            )));
        }
        // All who make unary calls are one client.
        let caller = Caller {
            client: [0; 16],
            reads_only: false,
            sitting: None,
            rights,
        };
        let deadline = Instant::now() + self.limits.deadline;
        let hop = Hop {
            deadline: Some(deadline),
            passed: 1,
        };
        let answer = async {
            let permit = match takes_long(&verb) {
                true => Some(account.take(Of::Jobs, 1).await),
                false => None,
            };
            let op = within(trace, || self.begin(&caller, hop, verb, permit));
            op.await
        };
        let answer = tokio::time::timeout_at(deadline, answer).await;
        let answer = answer.unwrap_or_else(|_| Err(Error::unavailable("no answer in time")));
        answer.map_err(|error| to_status(&error))
    }
}

type SessionStream = Pin<Box<dyn Stream<Item = Result<Answers, Status>> + Send>>;

type Reply<T> = Result<Response<T>, Status>;

impl StoreService {
    /// A unary twin: calls the verb, and takes the one answer that fits it.
    async fn twin<C: Message, T>(
        &self,
        request: Request<C>,
        verb: impl FnOnce(C) -> Verb,
        take: impl FnOnce(Payload) -> Option<T>,
    ) -> Reply<T> {
        let rights = request.extensions().get().cloned();
        let trace = traces::of_request(&request);
        let account = self.0.budget.account(&request);
        let call = request.into_inner();
        let bytes = call.encoded_len();
        let asked = (verb(call), bytes);
        let answer = take(self.0.unary(rights, trace, account, asked).await?);
        let answer = answer.ok_or_else(|| Status::internal("the answer is of another verb"))?;
        Ok(Response::new(answer))
    }
}

/// The part of an answer that fits a verb.
macro_rules! only {
    ($kind:ident) => {
        |answer| match answer {
            Payload::$kind(fits) => Some(fits),
            _ => None,
        }
    };
    (*$kind:ident) => {
        |answer| match answer {
            Payload::$kind(fits) => Some(*fits),
            _ => None,
        }
    };
}

#[tonic::async_trait]
impl Store for StoreService {
    type SessionStream = SessionStream;

    async fn session(&self, request: Request<Streaming<Calls>>) -> Reply<Self::SessionStream> {
        let rights = request.extensions().get().cloned();
        let account = self.0.budget.account(&request);
        let mut inbound = request.into_inner();
        let first = tokio::time::timeout(GREETING, inbound.next()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no greeting came"))?;
        let first = first.transpose()?;
        let hello = first.and_then(|calls| {
            let alone = calls.calls.is_empty() && calls.parts.is_empty();
            calls.hello.filter(|_| alone)
        });
        let hello = hello.ok_or_else(|| {
            to_status(&Error::invalid(
                "a session begins with a greeting and nothing else",
            ))
        })?;
        let made = self.0.make(rights.as_ref(), &hello).await;
        made.map_err(|error| to_status(&error))?;
        let (caller, welcome) = self
            .0
            .greet(rights, &hello)
            .map_err(|error| to_status(&error))?;
        let (turn, place) = self
            .0
            .turn(caller.client, &account)
            .map_err(|error| to_status(&error))?;
        let number = turn.next();
        turn.quiet().await;
        let session = Session::new(
            self.0.clone(),
            (turn, number),
            caller,
            (account, place),
            welcome,
            Box::pin(inbound),
        );
        Ok(Response::new(Box::pin(session)))
    }

    async fn greet(&self, request: Request<Hello>) -> Reply<Welcome> {
        let rights = request.extensions().get().cloned();
        let made = self.0.make(rights.as_ref(), request.get_ref()).await;
        made.map_err(|error| to_status(&error))?;
        let greeted = self.0.greet(None, request.get_ref());
        let (_, welcome) = greeted.map_err(|error| to_status(&error))?;
        Ok(Response::new(welcome))
    }

    async fn store(&self, request: Request<StoreCall>) -> Reply<Tail> {
        self.twin(request, Verb::Store, only!(Stored)).await
    }

    async fn read(&self, request: Request<ReadCall>) -> Reply<ReadAnswer> {
        let found = |answer| match answer {
            Payload::Record(record) => Some(Some(record)),
            Payload::Absent(_) => Some(None),
            _ => None,
        };
        let answer = |record| ReadAnswer { record };
        let verb = |call: ReadCall| Verb::Read(call.oid);
        self.twin(request, verb, |it| found(it).map(answer)).await
    }

    async fn commit(&self, request: Request<CommitCall>) -> Reply<Level> {
        self.twin(request, Verb::Commit, only!(Committed)).await
    }

    async fn root(&self, request: Request<RootCall>) -> Reply<RootAnswer> {
        self.twin(request, Verb::Root, only!(Root)).await
    }

    async fn fence(&self, request: Request<FenceCall>) -> Reply<FenceAnswer> {
        self.twin(request, Verb::Fence, only!(Fenced)).await
    }

    async fn adopt(&self, request: Request<AdoptCall>) -> Reply<AdoptAnswer> {
        self.twin(request, Verb::Adopt, only!(Adopted)).await
    }

    async fn scan(&self, request: Request<ScanCall>) -> Reply<ScanAnswer> {
        self.twin(request, Verb::Scan, only!(*Scanned)).await
    }

    async fn reclaim(&self, request: Request<ReclaimCall>) -> Reply<ReclaimAnswer> {
        let verb = |call: ReclaimCall| Verb::Reclaim(call.into());
        self.twin(request, verb, only!(Reclaimed)).await
    }

    async fn status(&self, request: Request<StatusCall>) -> Reply<ProtoStatus> {
        self.twin(request, Verb::Status, only!(*Status)).await
    }

    async fn close(&self, request: Request<CloseCall>) -> Reply<CloseAnswer> {
        self.twin(request, Verb::Close, only!(Closed)).await
    }

    async fn recall(&self, request: Request<RecallCall>) -> Reply<RecallAnswer> {
        let RecallCall { name, hops } = request.into_inner();
        let recall = move |shared: &Shared| {
            let bare = shared.serving.there().is_none();
            let notes = shared.serving.notes()?;
            let text = match name.is_empty() || bare {
                true => None,
                false => notes.read(&name)?,
            };
            Ok(RecallAnswer { text, bare })
        };
        self.0.about_notes(hops, recall).await
    }

    async fn note(&self, request: Request<NoteCall>) -> Reply<NoteAnswer> {
        let call = request.into_inner();
        let hops = call.hops;
        let note = move |shared: &Shared| {
            // Beside a store, or not at all.
            shared.serving.store()?;
            let notes = shared.serving.notes()?;
            notes.replace(&call.name, call.before.as_deref(), call.text)?;
            Ok(NoteAnswer {})
        };
        self.0.about_notes(hops, note).await
    }
}
