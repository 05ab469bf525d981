//! The bare service: nothing but gRPC, over a stream of batches and one message at a time.
//!
//! Its client does what any would: callers that block for their own answer, one task that sends what
//! waits, up to 128 items or 64 KiB a message, and one that hands answers out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tokio_stream::StreamExt;
use tokio_stream::adapters::Map;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{NamedService, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use travertine_engine::contract::Env;
use travertine_net::accept::{Accept, Door};
use travertine_net::connect::{Channel, Endpoint};
use travertine_net::limits::Limits;

use crate::Outcome;

/// One thing that is asked, or answered.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Item {
    #[prost(uint64, tag = "1")]
    id: u64,
    /// Bytes that the answer shall have; left out: those that came.
    #[prost(uint32, optional, tag = "2")]
    want: Option<u32>,
    #[prost(bytes = "bytes", tag = "3")]
    body: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Batch {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Item>,
}

const STREAM: &str = "/bare.Bare/Stream";
const ONE: &str = "/bare.Bare/One";
const ITEMS: usize = 128;
const FLUSH: usize = 64 << 10;
const MESSAGE: usize = 4 << 20;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

fn answer(item: Item) -> Item {
    match item.want {
        None => item,
        Some(want) => Item {
            body: Bytes::from_static(&ZEROS[..want as usize]),
            ..item
        },
    }
}

fn answers(batch: Result<Batch, Status>) -> Result<Batch, Status> {
    let items = batch?.items.into_iter().map(answer);
    Ok(Batch {
        items: items.collect(),
    })
}

/// The service.
#[derive(Debug, Clone)]
struct Bare;

type Answers = Map<Streaming<Batch>, fn(Result<Batch, Status>) -> Result<Batch, Status>>;

impl StreamingService<Batch> for Bare {
    type Response = Batch;
    type ResponseStream = Answers;
    type Future = Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<Batch>>) -> Self::Future {
        ready(Ok(Response::new(
            request.into_inner().map(answers as fn(_) -> _),
        )))
    }
}

impl UnaryService<Item> for Bare {
    type Response = Item;
    type Future = Ready<Result<Response<Item>, Status>>;

    fn call(&mut self, request: Request<Item>) -> Self::Future {
        ready(Ok(Response::new(answer(request.into_inner()))))
    }
}

impl NamedService for Bare {
    const NAME: &'static str = "bare.Bare";
}

impl tower::Service<http::Request<Body>> for Bare {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let one = request.uri().path() == ONE;
            Ok(if one {
                let codec = ProstCodec::<Item, Item>::default();
                tonic::server::Grpc::new(codec).unary(Bare, request).await
            } else {
                let codec = ProstCodec::<Batch, Batch>::default();
                tonic::server::Grpc::new(codec)
                    .streaming(Bare, request)
                    .await
            })
        })
    }
}

/// A server and a client of it, each with threads of its own.
pub(crate) struct Pair {
    client: Runtime,
    server: Option<Runtime>,
    channel: tonic::client::Grpc<Channel>,
    queue: mpsc::UnboundedSender<(Item, oneshot::Sender<Bytes>)>,
    next: std::cell::Cell<u64>,
}

impl Pair {
    pub(crate) fn open(door: Door, way: impl FnOnce(&str) -> Outcome<Endpoint>) -> Outcome<Self> {
        let (env, limits) = (Env::system(), Limits::default());
        let server = travertine_net::server::runtime()?;
        let routes = tonic::transport::Server::builder()
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .add_service(Bare);
        let here: SocketAddr = ([127, 0, 0, 1], 0).into();
        let address = if matches!(door, Door::Plain) {
            let incoming = server.block_on(TcpListener::bind(here))?;
            let address = incoming.local_addr()?;
            let incoming = TcpListenerStream::new(incoming).map(|stream| {
                let stream = stream?;
                stream.set_nodelay(true)?;
                Ok::<_, std::io::Error>(stream)
            });
            server.spawn(routes.serve_with_incoming(incoming));
            address
        } else {
            let incoming = server.block_on(Accept::bind(here, door, &limits, &env))?;
            let address = incoming.address();
            server.spawn(routes.serve_with_incoming(incoming));
            address
        };
        let way = way(&address.to_string())?;
        let client = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (queue, asked) = mpsc::unbounded_channel();
        let channel = client.block_on(way.connect(&env))?;
        let channel = tonic::client::Grpc::new(channel).max_decoding_message_size(MESSAGE);
        let mut stream = channel.clone();
        client.spawn(async move {
            let waiting = Waiting::default();
            let outbox = Outbox {
                asked,
                waiting: waiting.clone(),
            };
            stream
                .ready()
                .await
                .map_err(|error| Status::unknown(error.to_string()))?;
            let path = PathAndQuery::from_static(STREAM);
            let codec = ProstCodec::<Batch, Batch>::default();
            let inbox = stream.streaming(Request::new(outbox), path, codec).await?;
            let mut inbox = inbox.into_inner();
            while let Some(batch) = inbox.message().await? {
                let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                for item in batch.items {
                    if let Some((id, answer)) = waiting.pop_front()
                        && id == item.id
                    {
                        let _ = answer.send(item.body);
                    }
                }
            }
            Ok::<_, Status>(())
        });
        Ok(Self {
            client,
            server: Some(server),
            channel,
            queue,
            next: std::cell::Cell::new(1),
        })
    }

    /// Asks on the stream.
    pub(crate) fn ask(&self, body: Bytes, want: Option<u32>) -> Outcome<oneshot::Receiver<Bytes>> {
        let id = self.next.replace(self.next.get() + 1);
        let (answer, answered) = oneshot::channel();
        self.queue.send((Item { id, want, body }, answer))?;
        Ok(answered)
    }

    /// Asks alone, and waits for the answer.
    pub(crate) fn one(&self, body: Bytes) -> Outcome<Bytes> {
        let mut channel = self.channel.clone();
        self.client.block_on(async {
            channel.ready().await?;
            let item = Item {
                id: 1,
                want: None,
                body,
            };
            let path = PathAndQuery::from_static(ONE);
            let codec = ProstCodec::<Item, Item>::default();
            let answer = channel.unary(Request::new(item), path, codec).await?;
            Ok(answer.into_inner().body)
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

type Waiting = Arc<Mutex<VecDeque<(u64, oneshot::Sender<Bytes>)>>>;

/// Sends what waits.
struct Outbox {
    asked: mpsc::UnboundedReceiver<(Item, oneshot::Sender<Bytes>)>,
    waiting: Waiting,
}

impl Stream for Outbox {
    type Item = Batch;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Batch>> {
        let this = &mut *self;
        let (mut batch, mut bytes) = (Batch::default(), 0);
        let mut waiting = this.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while batch.items.len() < ITEMS && bytes < FLUSH {
            match this.asked.poll_recv(context) {
                Poll::Ready(Some((item, answer))) => {
                    bytes += item.body.len();
                    waiting.push_back((item.id, answer));
                    batch.items.push(item);
                }
                Poll::Ready(None) if batch.items.is_empty() => return Poll::Ready(None),
                _ => break,
            }
        }
        if batch.items.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(Some(batch))
    }
}
