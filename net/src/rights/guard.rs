//! In front of all services: who asks, and whether it may.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tonic::Status;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};
use travertine_engine::contract::Env;

use super::live::Live;
use super::{Granted, Known, Right, TokenHash, Verb};
use crate::accept::Peer;
use crate::once::{Once, Say};

/// What a path asks of whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Nothing: whoever was let in may call it.
    Nothing,
    /// Some right, whichever. The service asks [`Caller::may`] for each message.
    Something,
    /// The right of this verb.
    Verb(Verb),
}

/// What paths ask; `None` of one that is not known.
pub type Paths = fn(&str) -> Option<Asks>;

/// Health is for whoever was let in, since a balancer has no rights; what there is to call is for whoever
/// may call something.
fn common(path: &str) -> Option<Asks> {
    match path.strip_prefix('/')?.split_once('/')?.0 {
        "grpc.health.v1.Health" => Some(Asks::Nothing),
        "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection" => {
            Some(Asks::Something)
        }
        _ => None,
    }
}

/// The layer: `limits.server().layer(Guard::new(..).paths(..))`.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    live: Arc<Live>,
    paths: Vec<Paths>,
    told: Arc<Once<(String, &'static str)>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.live.fmt(f)
    }
}

impl Guard {
    /// One that lets nobody do anything but ask for the server's health, up to what [`paths`](Guard::paths)
    /// declares.
    #[must_use]
    pub fn new(live: Arc<Live>, env: &Env) -> Self {
        Self(Arc::new(Inner {
            live,
            paths: vec![common],
            told: Arc::new(Once::new(env)),
        }))
    }

    /// Declares paths.
    #[must_use]
    pub fn paths(self, paths: Paths) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.paths.push(paths);
        Self(Arc::new(inner))
    }
}

impl Inner {
    /// Who calls this path, if it may.
    fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Caller, Status> {
        let Some(asks) = self.paths.iter().find_map(|paths| paths(path)) else {
            return Err(Status::permission_denied(
                "this path declares no right, so nobody may call it",
            ));
        };
        let caller = self.caller(headers, peer)?;
        match asks {
            Asks::Nothing => {}
            Asks::Something if caller.granted().is_none() => return Err(caller.lacks("any right")),
            Asks::Something => {}
            Asks::Verb(verb) => caller.may(verb)?,
        }
        Ok(caller)
    }

    fn caller(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Caller, Status> {
        self.live.refresh();
        let mut said = headers.get_all(AUTHORIZATION).iter();
        let known = match (said.next(), said.next(), peer) {
            (Some(_), Some(_), _) => {
                return Err(Status::unauthenticated(
                    "there are two authorizations in the request",
                ));
            }
            (Some(one), None, _) => {
                let token = one.to_str().ok().and_then(|text| text.split_once(' '));
                let token = token.filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
                let Some((_, token)) = token else {
                    return Err(Status::unauthenticated(
                        "an authorization is: Bearer, and a token",
                    ));
                };
                Known::Token(TokenHash::of(token.trim()))
            }
            (None, _, Some(peer)) => Known::Names(peer.clone()),
            (None, _, None) => Known::Nobody,
        };
        let generation = self.live.generation();
        let rights = self.live.now();
        let Some(granted) = known.granted(&rights) else {
            let whence = peer.map_or_else(|| "?".into(), |peer| peer.address().ip().to_string());
            if self.told.say((whence.clone(), "token")) == Say::This {
                tracing::warn!(whence, "a request came with a token that is not known");
            }
            return Err(Status::unauthenticated("this token is not known"));
        };
        Ok(Caller(Arc::new(Who {
            name: known.name(&rights),
            known,
            live: self.live.clone(),
            told: self.told.clone(),
            seen: AtomicU64::new(pack(generation, granted)),
        })))
    }
}

/// Who makes a request: `request.extensions().get::<Caller>()`.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Who>);

struct Who {
    name: String,
    known: Known,
    live: Arc<Live>,
    told: Arc<Once<(String, &'static str)>>,
    /// What is granted, and the generation of the rights that said so.
    seen: AtomicU64,
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn pack(generation: u64, granted: Granted) -> u64 {
    generation << 8 | u64::from(granted.0)
}

impl Caller {
    /// What it is called in logs: a name of its certificate or of its token, else its address.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it may do now.
    #[must_use]
    pub fn granted(&self) -> Granted {
        let who = &self.0;
        who.live.refresh();
        let generation = who.live.generation();
        let seen = who.seen.load(Ordering::Relaxed);
        if seen >> 8 == generation {
            return Granted(seen as u8);
        }
        let granted = who.known.granted(&who.live.now()).unwrap_or_default();
        who.seen.store(pack(generation, granted), Ordering::Relaxed);
        granted
    }

    /// Whether it may now ask for this.
    ///
    /// Errors: `PERMISSION_DENIED`, naming the right that it lacks.
    pub fn may(&self, verb: Verb) -> Result<(), Status> {
        let right = verb.right();
        if self.granted().has(right) {
            return Ok(());
        }
        Err(self.lacks(right.name()))
    }

    fn lacks(&self, right: &'static str) -> Status {
        let name = self.name();
        if self.0.told.say((name.to_owned(), right)) == Say::This {
            tracing::warn!(name, right, "a request was denied for want of a right");
        }
        Status::permission_denied(format!("{name} lacks the right: {right}"))
    }
}

impl Right {
    /// Whether this is among what is granted to a caller now.
    #[must_use]
    pub fn is_of(self, caller: &Caller) -> bool {
        caller.granted().has(self)
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            guard: self.0.clone(),
        }
    }
}

/// A service behind a [`Guard`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    guard: Arc<Inner>,
}

impl<S, In, Out> Service<Request<In>> for Guarded<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    Out: Default,
{
    type Response = Response<Out>;
    type Error = S::Error;
    type Future = Admitted<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<In>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        let caller = self
            .guard
            .admit(request.uri().path(), request.headers(), peer);
        // What was said to get in is nothing for those behind, nor for what they log.
        request.headers_mut().remove(AUTHORIZATION);
        Admitted(match caller {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Ok(Box::pin(self.inner.call(request)))
            }
            Err(status) => Err(Some(Box::new(status))),
        })
    }
}

/// The answer to a request that was let through, or why it was not.
pub struct Admitted<F>(Result<Pin<Box<F>>, Option<Box<Status>>>);

impl<F> fmt::Debug for Admitted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_ok() { "admitted" } else { "denied" })
    }
}

impl<F, Out, E> Future for Admitted<F>
where
    F: Future<Output = Result<Response<Out>, E>>,
    Out: Default,
{
    type Output = Result<Response<Out>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(answer) => Poll::Ready(ready!(answer.as_mut().poll(context))),
            Err(status) => {
                let status = status.take().map(|status| *status);
                let status = status.unwrap_or_else(|| Status::internal("polled after its answer"));
                Poll::Ready(Ok(status.into_http()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rights;
    use super::*;
    use crate::files::tests::{hasty, write};

    #[test]
    fn an_open_stream_loses_a_right_as_soon_as_it_is_taken() {
        let token = super::super::Token::generate().unwrap();
        let mut rights = Rights::none();
        rights.token("writer", token.hash(), Granted::ALL).unwrap();
        let env = Env::system();
        let live = Live::fixed(rights);
        let guard = Guard::new(live.clone(), &env).paths(|_| Some(Asks::Something));
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            format!("bearer {}", token.reveal()).parse().unwrap(),
        );
        let caller = guard.0.admit("/stream", &headers, None).unwrap();
        assert_eq!(caller.name(), "writer");
        caller.may(Verb::Commit).unwrap();
        let mut fewer = Rights::none();
        fewer
            .token("writer", token.hash(), Granted::of(&[Right::Read]))
            .unwrap();
        live.set(fewer);
        caller.may(Verb::Read).unwrap();
        assert!(caller.may(Verb::Commit).is_err());
        live.set(Rights::none());
        assert!(caller.may(Verb::Read).is_err());
        assert!(!Right::Read.is_of(&caller));
        let status = guard.0.admit("/stream", &headers, None).unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
        assert!(!status.to_string().contains(token.reveal()));
    }

    #[test]
    fn rights_are_read_again_when_their_file_changes_and_bad_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rights");
        write(&path, "all");
        let read = path.clone();
        let load = move || match std::fs::read_to_string(&read).unwrap().as_str() {
            "all" => Ok(Rights::everyone()),
            "none" => Ok(Rights::none()),
            _ => Err(travertine_engine::contract::Error::invalid("neither")),
        };
        let env = hasty();
        let live = Live::watching(vec![path.clone()], load, &env).unwrap();
        let all = || {
            live.refresh();
            *live.now() == Rights::everyone()
        };
        assert!(all());
        write(&path, "garbage");
        assert!(all());
        write(&path, "none");
        assert!(!all());
    }
}
