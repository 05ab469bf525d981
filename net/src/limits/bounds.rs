//! In front of every service: how many requests there are at once, and how much of half-said messages
//! is held.
//!
//! ```text
//!   request ──▶ a place among `requests`, or among those for `health`, or RESOURCE_EXHAUSTED
//!                 │
//!                 ├─ its body, on the way in:   bytes of the message that has begun, counted;
//!                 │                             the time it makes the server wait, bounded in a
//!                 │                             message, and everywhere before it is answered
//!                 └─ the response's body, on the way out: the place is held until it ends, and since
//!                                                         when the client has left a piece of it is known
//! ```
//!
//! A message that is announced costs nothing: only what came is counted, and given back when the
//! message ends or its stream does. It decodes nothing.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::{Limits, Share, Shares};
use crate::accept::Peer;
use crate::pace::{Form, Items};

/// Paths that begin so are about the server itself, and for those without any right as well.
const HEALTH: &str = "/grpc.";

/// The layer; see the module.
#[derive(Debug, Clone)]
pub struct Bounds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    requests: AtomicUsize,
    requests_max: usize,
    health: Arc<Shares>,
    held: AtomicUsize,
    held_max: usize,
    held_max_each: usize,
    patience: Duration,
    draining: watch::Sender<bool>,
}

/// What one connection has going on; its requests and its own input and output share it.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    begun: AtomicU64,
    requests: AtomicUsize,
    held: AtomicUsize,
    /// Requests whose answers have a piece for the client to take, each since when. Of no more than run.
    offered: Mutex<HashMap<u64, Instant>>,
}

impl Activity {
    /// How many requests there were.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// How many requests are not yet answered to the end.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Since when the client has taken nothing of an answer that is there for it.
    pub(crate) fn unfetched(&self) -> Option<Instant> {
        self.offered().values().min().copied()
    }

    fn offered(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bounds {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self(Arc::new(Shared {
            requests: AtomicUsize::new(0),
            requests_max: limits.requests,
            health: Shares::quarters(limits.health),
            held: AtomicUsize::new(0),
            held_max: limits.unfinished_bytes,
            held_max_each: (limits.unfinished_bytes / 4).max(limits.message_bytes),
            patience: limits.message,
            draining: watch::Sender::new(false),
        }))
    }

    /// Waits for no more of what asks nothing: requests that have not said what they want, and streams
    /// about the server itself. All others are for their services to end.
    pub(crate) fn drain(&self) {
        self.0.draining.send_replace(true);
    }
}

impl<S> Layer<S> for Bounds {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded {
            inner,
            shared: self.0.clone(),
        }
    }
}

/// A service behind [`Bounds`].
#[derive(Debug, Clone)]
pub struct Bounded<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        let activity = peer.map(Peer::activity).cloned().unwrap_or_default();
        let address = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address().ip());
        let is_health = request.uri().path().starts_with(HEALTH);
        let answered = Arc::default();
        let Some(place) = Place::take(&self.shared, &activity, is_health.then_some(address)) else {
            return Answer {
                begun: None,
                place: None,
                answered,
            };
        };
        let request = request.map(|body| {
            let mut said = Said::new(body, self.shared.clone(), activity, answered.clone());
            said.is_health = is_health;
            Body::new(said)
        });
        Answer {
            begun: Some(Box::pin(self.inner.call(request))),
            place: Some(place),
            answered,
        }
    }
}

/// A place among the requests at once.
struct Place {
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    /// Which request of its connection it is for.
    number: u64,
    /// One for health; `None`: one among all others.
    health: Option<Share>,
}

impl Place {
    /// A place; for health, if an address is given.
    fn take(
        shared: &Arc<Shared>,
        activity: &Arc<Activity>,
        health: Option<IpAddr>,
    ) -> Option<Self> {
        let health = match health {
            Some(address) => Some(shared.health.take(address).ok()?),
            None => None,
        };
        // It is taken first and given back by the drop, so that the count is never above the limit for
        // longer than that.
        let number = activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.requests.fetch_add(1, Ordering::Relaxed);
        let others = usize::from(health.is_none());
        let before = shared.requests.fetch_add(others, Ordering::Relaxed);
        let place = Self {
            shared: shared.clone(),
            activity: activity.clone(),
            number,
            health,
        };
        (before < shared.requests_max || place.health.is_some()).then_some(place)
    }
}

impl Place {
    /// It is for the client to take what is there: until it gives a window, nobody asks for more.
    fn offers(&self) {
        self.activity.offered().insert(self.number, Instant::now());
    }

    /// What was there is taken.
    fn fetched(&self) {
        self.activity.offered().remove(&self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.fetched();
        let others = usize::from(self.health.is_none());
        self.shared.requests.fetch_sub(others, Ordering::Relaxed);
        self.activity.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The answer to a request, in time.
pub struct Answer<F> {
    /// What the service will say; `None` if there was no place for the request.
    begun: Option<Pin<Box<F>>>,
    place: Option<Place>,
    answered: Arc<AtomicBool>,
}

impl<F> fmt::Debug for Answer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.begun.is_some() {
            "begun"
        } else {
            "refused"
        })
    }
}

impl<F, B, E> Future for Answer<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(begun) = &mut self.begun else {
            let status = Status::resource_exhausted("too many requests at once");
            return Poll::Ready(Ok(status.into_http()));
        };
        let response = ready!(begun.as_mut().poll(context))?;
        self.answered.store(true, Ordering::Relaxed);
        let place = self.place.take();
        if let Some(place) = &place {
            place.offers();
        }
        Poll::Ready(Ok(response.map(|body| {
            Body::new(Answered {
                body: Box::pin(body),
                place,
            })
        })))
    }
}

/// The body of a response: it holds the request's place until it ends.
struct Answered<B> {
    body: Pin<Box<B>>,
    place: Option<Place>,
}

impl<B: HttpBody<Data = Bytes>> HttpBody for Answered<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(place) = &self.place {
            place.fetched();
        }
        let frame = self.body.as_mut().poll_frame(context);
        if let (Poll::Ready(Some(Ok(_))), Some(place)) = (&frame, &self.place) {
            place.offers();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request: what is half-said is counted, and may not make us wait for long.
struct Said {
    body: Body,
    items: Items,
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    held: usize,
    /// Whether the answer has begun: between the messages of a stream there is no hurry from then on.
    answered: Arc<AtomicBool>,
    is_health: bool,
    /// How long this message has made the server wait, up to the wait that goes on.
    waited: Duration,
    waiting: Option<Instant>,
    end: Option<Pin<Box<Sleep>>>,
    /// Comes when the server drains.
    leaving: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Said {
    fn new(
        body: Body,
        shared: Arc<Shared>,
        activity: Arc<Activity>,
        answered: Arc<AtomicBool>,
    ) -> Self {
        Self {
            answered,
            is_health: false,
            body,
            items: Items::new(Form::GrpcMessage),
            shared,
            activity,
            held: 0,
            waited: Duration::ZERO,
            waiting: None,
            end: None,
            leaving: None,
        }
    }

    /// These bytes came: are we to hold so much?
    fn came(&mut self, bytes: &Bytes) -> Result<(), Status> {
        let (before, hurried) = (self.items.ended(), self.is_hurried());
        self.items.came(bytes);
        if let Some(since) = self.waiting.take()
            && hurried
        {
            self.waited += since.elapsed();
        }
        if self.items.ended() != before && self.is_answered() {
            self.waited = Duration::ZERO;
        }
        let held = usize::try_from(self.items.held()).unwrap_or(usize::MAX);
        if held < self.held {
            let less = self.held - held;
            self.shared.held.fetch_sub(less, Ordering::Relaxed);
            self.activity.held.fetch_sub(less, Ordering::Relaxed);
        } else {
            let more = held - self.held;
            let all = self.shared.held.fetch_add(more, Ordering::Relaxed) + more;
            let ours = self.activity.held.fetch_add(more, Ordering::Relaxed) + more;
            if all > self.shared.held_max || ours > self.shared.held_max_each {
                self.held = held;
                return Err(Status::resource_exhausted(
                    "too much is held of messages that have begun and not ended",
                ));
            }
        }
        self.held = held;
        Ok(())
    }

    fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether there is something that has to come in time.
    fn is_hurried(&self) -> bool {
        self.items.is_open() || !self.is_answered()
    }

    fn poll_leaving(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let leaving = self.leaving.get_or_insert_with(|| {
            let mut draining = self.shared.draining.subscribe();
            Box::pin(async move {
                let _ = draining.wait_for(|drain| *drain).await;
            })
        });
        ready!(leaving.as_mut().poll(context));
        self.leaving = None;
        Poll::Ready(())
    }

    /// Nothing came: are we to wait on?
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        let asks_nothing = !self.items.is_open() && (self.is_health || !self.is_answered());
        if asks_nothing && self.poll_leaving(context).is_ready() {
            return Poll::Ready(Status::unavailable("the server is going away"));
        }
        if !self.is_hurried() {
            self.waiting = None;
            return Poll::Pending;
        }
        let since = *self.waiting.get_or_insert_with(Instant::now);
        let end = since + self.shared.patience.saturating_sub(self.waited);
        let sleep = self
            .end
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        // Pushed back only when it goes off: a busy stream does not touch it.
        if sleep.deadline() > end {
            sleep.as_mut().reset(end);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if sleep.deadline() < end {
                sleep.as_mut().reset(end);
                continue;
            }
            return Poll::Ready(Status::deadline_exceeded(format!(
                "this request made the server wait for the rest of a message for {:?}",
                self.shared.patience
            )));
        }
        Poll::Pending
    }
}

impl HttpBody for Said {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let held = frame.data_ref().map_or(Ok(()), |bytes| this.came(bytes));
                Poll::Ready(Some(held.map(|()| frame)))
            }
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => this.wait(context).map(|status| Some(Err(status))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.held, Ordering::Relaxed);
        self.activity.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    /// A body whose pieces come when the test says so.
    struct Pieces(mpsc::UnboundedReceiver<Vec<u8>>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let piece = ready!(self.0.poll_recv(context));
            Poll::Ready(piece.map(|piece| Ok(Frame::data(piece.into()))))
        }
    }

    fn shared(limits: &Limits) -> (Arc<Shared>, Arc<Activity>) {
        (Bounds::new(limits).0, Arc::default())
    }

    fn said(
        shared: &Arc<Shared>,
        activity: &Arc<Activity>,
    ) -> (mpsc::UnboundedSender<Vec<u8>>, Said) {
        let (say, hear) = mpsc::unbounded_channel();
        let body = Body::new(Pieces(hear));
        let answered = Arc::new(true.into());
        let said = Said::new(body, shared.clone(), activity.clone(), answered);
        (say, said)
    }

    async fn next(said: &mut Said) -> Result<usize, Status> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *said).poll_frame(context)).await;
        frame.map_or(Ok(0), |frame| {
            frame.map(|frame| frame.data_ref().map_or(0, Bytes::len))
        })
    }

    fn begun(length: u32, came: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(came, 1);
        bytes
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_counted_and_given_back() {
        let (shared, activity) = shared(&Limits::default());
        let (say, mut said) = said(&shared, &activity);
        say.send(begun(1_000, 600)).unwrap();
        next(&mut said).await.unwrap();
        assert_eq!(shared.held.load(Ordering::Relaxed), 600);
        // The message ends, and the next has begun.
        say.send([vec![1; 405], begun(50, 7)].concat()).unwrap();
        next(&mut said).await.unwrap();
        assert_eq!(shared.held.load(Ordering::Relaxed), 7);
        assert_eq!(activity.held.load(Ordering::Relaxed), 7);
        drop(said);
        assert_eq!(shared.held.load(Ordering::Relaxed), 0);
        assert_eq!(activity.held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_announce_much_hold_no_more_than_may_be_held() {
        let limits = Limits {
            message_bytes: 4_000,
            unfinished_bytes: 8_000,
            ..Limits::default()
        };
        let (shared, _) = shared(&limits);
        let mut here = Vec::new();
        let mut refused = 0;
        for _ in 0..100 {
            let (say, mut said) = said(&shared, &Arc::default());
            say.send(begun(u32::MAX, 500)).unwrap();
            match next(&mut said).await {
                Ok(_) => here.push((say, said)),
                Err(status) => {
                    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
                    refused += 1;
                }
            }
        }
        assert_eq!((here.len(), refused), (16, 84));
        drop(here);
        // One connection alone does not get all of it.
        let activity = Arc::default();
        let (say, mut said) = said(&shared, &activity);
        say.send(begun(u32::MAX, 4_000)).unwrap();
        next(&mut said).await.unwrap();
        say.send(vec![1]).unwrap();
        assert!(next(&mut said).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_never_ends_is_given_up_and_a_quiet_stream_is_not() {
        let limits = Limits::default();
        let (shared, activity) = shared(&limits);
        let (say, mut said) = said(&shared, &activity);
        // Between two messages there is no hurry.
        say.send(begun(3, 8)).unwrap();
        next(&mut said).await.unwrap();
        let quiet = tokio::time::timeout(100 * limits.message, next(&mut said)).await;
        assert!(quiet.is_err());
        // In a message there is, however often a byte comes.
        say.send(begun(1_000, 6)).unwrap();
        let began = Instant::now();
        let status = loop {
            tokio::select! {
                answer = next(&mut said) => if let Err(status) = answer {
                    break status;
                },
                () = tokio::time::sleep(Duration::from_secs(1)) => say.send(vec![1]).unwrap(),
            }
        };
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        assert!(began.elapsed() < limits.message + Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_the_server_does_not_listen_is_its_own() {
        let limits = Limits::default();
        let (shared, activity) = shared(&limits);
        let (say, mut said) = said(&shared, &activity);
        for _ in 0..20 {
            say.send(if activity.held.load(Ordering::Relaxed) == 0 {
                begun(1_000, 6)
            } else {
                vec![1]
            })
            .unwrap();
            next(&mut said).await.unwrap();
            tokio::time::sleep(limits.message).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_says_nothing_or_does_not_end_is_given_up_before_it_is_answered() {
        let limits = Limits::default();
        for messages in [0, 1, 100] {
            let (shared, activity) = shared(&limits);
            let (say, mut said) = said(&shared, &activity);
            said.answered = Arc::default();
            let began = Instant::now();
            let mut left = messages;
            let status = loop {
                tokio::select! {
                    answer = next(&mut said) => if let Err(status) = answer {
                        break status;
                    },
                    () = tokio::time::sleep(Duration::from_secs(1)), if left > 0 => {
                        say.send(begun(3, 8)).unwrap();
                        left -= 1;
                    }
                }
            };
            assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
            assert!(began.elapsed() < limits.message + Duration::from_secs(2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_answered_in_time_may_be_quiet_and_has_all_the_time_for_its_message() {
        let limits = Limits::default();
        let (shared, activity) = shared(&limits);
        let (say, mut said) = said(&shared, &activity);
        said.answered = Arc::default();
        async fn quiet(said: &mut Said, time: Duration) {
            let came = tokio::time::timeout(time, next(said)).await;
            assert!(came.is_err(), "{came:?}");
        }
        quiet(&mut said, limits.message / 2).await;
        said.answered.store(true, Ordering::Relaxed);
        quiet(&mut said, 10 * limits.message).await;
        say.send(begun(1_000, 6)).unwrap();
        next(&mut said).await.unwrap();
        quiet(&mut said, limits.message - Duration::from_secs(1)).await;
    }

    #[tokio::test]
    async fn requests_about_health_take_no_place_from_others_nor_others_from_them() {
        let limits = Limits {
            requests: 2,
            health: 8,
            ..Limits::default()
        };
        let never = tower::service_fn(async |_: Request<Body>| {
            let (_, hear) = mpsc::unbounded_channel();
            Ok::<_, std::convert::Infallible>(Response::new(Pieces(hear)))
        });
        let mut service = Bounds::new(&limits).layer(never);
        let mut ask = async |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = service.call(request).await.unwrap();
            match response.headers().contains_key("grpc-status") {
                true => None,
                false => Some(response),
            }
        };
        for _ in 0..2 {
            let mut kept = Vec::new();
            for path in [
                "/grpc.health.v1.Health/Watch",
                "/travertine.v1.Store/Session",
            ] {
                for _ in 0..2 {
                    kept.push(ask(path).await.unwrap());
                }
                assert!(ask(path).await.is_none(), "{path}");
            }
        }
    }
}
