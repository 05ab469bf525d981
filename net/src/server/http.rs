//! Health over plain HTTP, for load balancers and supervisors.
//!
//! ```text
//!   GET /healthz    200: this process runs
//!   GET /readyz     200, or 503 and why: whether it takes work
//! ```
//!
//! One question a connection, a few connections at once and a quarter of them for one address, no body
//! is read. *Why* it takes no work is for those who may ask for its status: here it is only said that.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Sleep, sleep};
use travertine_engine::contract::{Error, Result};

use super::Phase;
use crate::limits::{Share, Shares};

/// Connections at once; more of them wait to be accepted.
const CONNECTIONS: usize = 64;
/// A connection lasts no longer.
const LASTS: Duration = Duration::from_secs(5);
/// All that a connection may say, headers and all.
const SAYS: usize = 16 << 10;

/// Answers why no work is taken, if none is.
pub type Probe = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Where health is told.
#[derive(Debug)]
pub struct Health {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Clone)]
struct Asked {
    phase: watch::Receiver<Phase>,
    probe: Probe,
}

impl Health {
    /// Takes the address.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let failed = |source| Error::io(format!("telling health on {address}"), source);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells how it is, for as long as this is awaited.
    pub async fn tell(self, phase: watch::Receiver<Phase>, probe: Probe) {
        let routes = Router::new()
            .route("/healthz", get(async || "it runs\n"))
            .route("/readyz", get(ready))
            .fallback(async || (StatusCode::NOT_FOUND, "here are /healthz and /readyz\n"))
            .layer(map_response(last))
            .with_state(Asked { phase, probe });
        let guard = Guard {
            listener: self.listener,
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            shares: Shares::quarters(CONNECTIONS),
        };
        let _ = axum::serve(guard, routes).await;
    }
}

async fn ready(State(asked): State<Asked>) -> (StatusCode, &'static str) {
    let phase = *asked.phase.borrow();
    let why = match phase {
        Phase::Starting => Some("it is starting\n"),
        Phase::Draining => Some("it is going away\n"),
        Phase::Serving => (asked.probe)().map(|_| "it takes no work: its status says why\n"),
    };
    match why {
        None => (StatusCode::OK, "it takes work\n"),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

/// One question a connection: who asks again comes again, and nobody keeps a place.
async fn last(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Accepts a few connections at once.
struct Guard {
    listener: TcpListener,
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
}

impl Listener for Guard {
    type Io = Brief;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Brief, SocketAddr) {
        // It is never closed, so there is a place in the end.
        let place = self.places.clone().acquire_owned().await.ok();
        let (stream, address, share) = loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // Whoever has its share already is gone with its stream.
            if let Ok(share) = self.shares.take(address.ip()) {
                break (stream, address, share);
            }
        };
        let brief = Brief {
            stream,
            says: SAYS,
            end: Box::pin(sleep(LASTS)),
            _place: place,
            _share: share,
        };
        (brief, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with bounds on how long it lasts and how much it says.
struct Brief {
    stream: TcpStream,
    /// What it may still say.
    says: usize,
    end: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
    _share: Share,
}

impl Brief {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Brief {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        if self.says == 0 {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buffer.filled().len();
        let answer = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.says = self.says.saturating_sub(buffer.filled().len() - before);
        answer
    }
}

impl AsyncWrite for Brief {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
