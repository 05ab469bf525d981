//! A server: services on connections, until it is told to stop.
//!
//! ```text
//!   told to stop ──> ready: no ──> services drain ──> connections end ──> the engine is closed
//!                                  what was asked        those that do not
//!                                  is answered           are cut in the end
//! ```
//!
//! Nobody is waited for who asks nothing: who watches the health is told that it ends and no more, and a
//! request that has not said what it wants is refused.
//!
//! Beside the services that are added it has `grpc.health.v1` and reflection, in both versions that
//! clients ask for. Connections come from [`accept`](crate::accept), and what is asked over them passes
//! [`limits`](crate::limits) and [`rights`](crate::rights) first.

mod http;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse;
use tokio::sync::{oneshot, watch};
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tower::Service;
use travertine_engine::contract::{Env, Error, Result};

pub use self::http::{Health, Probe};
use crate::accept::{Accept, Listener};
use crate::engine_service::{self, EngineService};
use crate::limits::{Bounds, Limits};
use crate::proto::DESCRIPTORS;
use crate::rights::{Guard, Live, Paths};
use crate::store_service::{self, StoreService};

/// Threads for what may block, at most: more of it waits.
const BLOCKING_MAX: usize = 64;

/// Services, ready to be carried.
pub struct Server {
    limits: Limits,
    guard: Guard,
    routes: Routes,
    names: Vec<&'static str>,
    reporter: tonic_health::server::HealthReporter,
    drains: Vec<Box<dyn Fn() + Send + Sync>>,
    phase: watch::Sender<Phase>,
}

/// How far the life of a server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It takes no connections yet.
    Starting,
    /// It serves.
    Serving,
    /// It was told to stop.
    Draining,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was asked was answered.
    Drained,
    /// Some connections did not end in time and were cut.
    Cut,
}

impl Server {
    /// A server of nothing but health and reflection, with these limits and for those who have a right.
    ///
    /// Errors: `Invalid` (a limit that serves nobody).
    pub fn new(limits: Limits, rights: Arc<Live>, env: &Env) -> Result<Self> {
        limits.check()?;
        let damaged = |error: tonic_reflection::server::Error| {
            Error::invalid(format!("what reflection would tell is damaged: {error}"))
        };
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let (reporter, health) = tonic_health::server::health_reporter();
        let routes = Routes::new(health)
            .add_service(reflection().build_v1().map_err(damaged)?)
            .add_service(reflection().build_v1alpha().map_err(damaged)?);
        Ok(Self {
            limits,
            guard: Guard::new(rights, env),
            routes,
            names: vec![""],
            reporter,
            drains: Vec::new(),
            phase: watch::Sender::new(Phase::Starting),
        })
    }

    /// Carries this engine.
    #[must_use]
    pub fn engine(self, service: &EngineService) -> Self {
        let draining = service.clone();
        let asks = engine_service::paths;
        self.add(service.server(), asks, move || draining.drain())
    }

    /// Carries these floors, for an engine elsewhere.
    #[must_use]
    pub fn store(self, service: &StoreService) -> Self {
        let draining = service.clone();
        self.add(service.server(), store_service::asks, move || {
            draining.drain();
        })
    }

    /// Carries a service whose paths ask for these rights, and which is called to `drain` once it shall
    /// take nothing in any more.
    #[must_use]
    pub fn add<S>(
        mut self,
        service: S,
        paths: Paths,
        drain: impl Fn() + Send + Sync + 'static,
    ) -> Self
    where
        S: Service<Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self.guard = self.guard.paths(paths);
        self.names.push(S::NAME);
        self.drains.push(Box::new(drain));
        self
    }

    /// Tells how far its life has come.
    #[must_use]
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Serves these connections until `stop` comes, then drains: no longer than `patience`.
    ///
    /// Errors: `Unavailable`, if there can be no more connections.
    pub async fn serve<L: Listener>(
        mut self,
        incoming: Accept<L>,
        stop: impl Future<Output = ()>,
        patience: Duration,
    ) -> Result<Ended>
    where
        L::Io: Sync,
    {
        let failed = |error: tonic::transport::Error| {
            Error::unavailable("the server takes no connections any more").caused_by(error)
        };
        for name in &self.names {
            let status = ServingStatus::Serving;
            self.reporter.set_service_status(*name, status).await;
        }
        let (say, said) = oneshot::channel::<()>();
        let bounds = Bounds::new(&self.limits);
        let serving = self
            .limits
            .server_behind(bounds.clone())
            .layer(self.guard)
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(incoming, async {
                let _ = said.await;
            });
        tokio::pin!(serving);
        self.phase.send_replace(Phase::Serving);
        tokio::select! {
            ended = &mut serving => return ended.map(|()| Ended::Drained).map_err(failed),
            () = stop => {}
        }
        self.phase.send_replace(Phase::Draining);
        for name in &self.names {
            let status = ServingStatus::NotServing;
            self.reporter.set_service_status(*name, status).await;
            // That was the last word: who watches need not wait for another.
            self.reporter.clear_service_status(name).await;
        }
        self.drains.iter().for_each(|drain| drain());
        bounds.drain();
        let _ = say.send(());
        match tokio::time::timeout(patience, serving).await {
            Ok(ended) => ended.map(|()| Ended::Drained).map_err(failed),
            Err(_) => Ok(Ended::Cut),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({:?})", self.names)
    }
}

/// Threads to serve with, apart from those of the stack.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("travertine-net")
        .max_blocking_threads(BLOCKING_MAX)
        .build()
        .map_err(|source| Error::io("starting threads to serve with", source))
}
