//! The figures over HTTP, for as long as the stack is open.
//!
//! ```text
//!   GET /               a page that shows them live
//!   GET /events         what the page shows, once a second, as server-sent events
//!   GET /figures.json   the same once, and the whole status
//!   GET /metrics        OpenMetrics text
//!   GET /health         200, or 503: whether writes are accepted, and why not
//! ```
//!
//! It has a thread of its own and asks nobody who writes: what the floors below say of themselves is
//! asked by a driver, and a scrape takes what is there if that answer is long in coming. It refuses to be
//! a way in: it answers these questions, one a connection, and reads no body. So many listen to events
//! at once and no more, and who does not take them is dropped.

mod events;
mod guard;
mod page;
mod text;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use travertine_engine::contract::{Env, Error, Op, Promise, Result};

use self::events::Listeners;
use self::guard::{Guard, Listens};
use super::figures::Figures;
use super::look::Looked;

/// A scrape waits no longer for the floors below to tell how they are.
const PATIENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(2);
/// Connections that wait to be accepted.
const WAITING: u32 = 128;
/// What a connection is sent and has not taken yet. The system doubles it.
const BUFFER: u32 = 64 << 10;

/// Serves until it is stopped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    running: Mutex<Option<(oneshot::Sender<()>, Op<()>)>>,
}

impl Server {
    /// Takes the address and serves `figures` there.
    pub(super) fn start(env: &Env, address: SocketAddr, figures: Arc<Figures>) -> Result<Self> {
        let failed = |source: std::io::Error| {
            Error::unavailable(format!("serving figures on {address}: {source}")).caused_by(source)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(failed)?;
        let inside = runtime.enter();
        let listener = listen(address).map_err(failed)?;
        drop(inside);
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let (done, ended) = Promise::new();
        env.drivers.thread(
            "travertine-monitor",
            Box::new(move || {
                runtime.block_on(serve(listener, figures, stopped));
                drop(runtime);
                done.fulfil(Ok(()));
            }),
        )?;
        tracing::info!(%address, "figures are served");
        Ok(Self {
            address,
            running: Mutex::new(Some((stop, ended))),
        })
    }

    /// Where it serves.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives the address back.
    pub(super) fn stop(&self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((stop, ended)) = running {
            let _ = stop.send(());
            let _ = ended.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if cfg!(unix) {
        socket.set_reuseaddr(true)?;
    }
    // Connections have it from here.
    socket.set_send_buffer_size(BUFFER)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

async fn serve(listener: TcpListener, figures: Arc<Figures>, stopped: oneshot::Receiver<()>) {
    let registry = Arc::new(text::registry(figures.clone()));
    let served = Served {
        figures,
        registry,
        listeners: Arc::new(Listeners::new()),
    };
    let routes = Router::new()
        .route("/", get(page::page))
        .route("/events", get(events::events))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/figures.json", get(json))
        .fallback(nothing)
        .layer(map_response(last))
        .with_state(served)
        .into_make_service_with_connect_info::<Listens>();
    tokio::select! {
        _ = axum::serve(Guard::new(listener), routes).into_future() => {}
        _ = stopped => {}
    }
}

#[derive(Clone)]
struct Served {
    figures: Arc<Figures>,
    registry: Arc<Registry>,
    listeners: Arc<Listeners>,
}

impl Served {
    /// How the floors below are now; `None` if they do not say within some time.
    async fn look(&self, patience: Duration) -> Option<Arc<Looked>> {
        let asked = self.figures.env.clock.monotonic_ns();
        let end = tokio::time::Instant::now() + patience;
        while tokio::time::Instant::now() < end {
            let look = &self.figures.look;
            if let Some(looked) = look.latest().filter(|looked| looked.at_ns >= asked) {
                return Some(looked);
            }
            look.refresh(0);
            tokio::time::sleep(STEP).await;
        }
        None
    }
}

async fn metrics(State(served): State<Served>) -> Response {
    let _ = served.look(PATIENCE).await;
    let mut text = String::new();
    match encode(&mut text, &served.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, text::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn health(State(served): State<Served>) -> Response {
    let looked = served.look(PATIENCE).await;
    let (accepts, says) = served.figures.health(looked.as_deref());
    let status = if accepts {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, format!("{says}\n")).into_response()
}

async fn json(State(served): State<Served>) -> Response {
    let looked = served.look(PATIENCE).await;
    let mut all = served.figures.told(looked.as_deref());
    all["status"] = serde_json::json!(looked.as_ref().map(|looked| &looked.status));
    (
        [(header::CONTENT_TYPE, "application/json")],
        all.to_string(),
    )
        .into_response()
}

async fn nothing() -> (StatusCode, &'static str) {
    (
        StatusCode::NOT_FOUND,
        "here are /, /events, /figures.json, /metrics and /health\n",
    )
}

/// One question a connection: who asks again comes again, and nobody keeps a place.
async fn last(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}
