//! The figures once a second, as server-sent events, for a few who listen.
//!
//! All who listen at one moment are told the same, so that many cost no more than one.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Served;
use super::guard::Listens;

/// Who listens at once; others are told to come again.
const LISTENERS: usize = 8;
/// Between two events.
const EVERY: Duration = Duration::from_secs(1);
/// What was told so short a time ago is told again.
const SAME: Duration = Duration::from_millis(300);
/// Floors that do not say for so long how they are are told of as they were.
const PATIENCE: Duration = Duration::from_millis(500);

/// What they share.
#[derive(Debug)]
pub(super) struct Listeners {
    places: Arc<Semaphore>,
    /// All are told in step.
    began: Instant,
    latest: Mutex<Option<(Instant, Bytes)>>,
}

impl Listeners {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(LISTENERS)),
            began: Instant::now(),
            latest: Mutex::default(),
        }
    }

    fn latest(&self) -> Option<Bytes> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let young = latest.as_ref().filter(|(at, _)| at.elapsed() < SAME);
        young.map(|(_, text)| text.clone())
    }
}

impl Served {
    /// The event of this moment.
    async fn event(&self) -> Bytes {
        if let Some(latest) = self.listeners.latest() {
            return latest;
        }
        let looked = self.look(PATIENCE).await;
        let looked = looked.or_else(|| self.figures.look.latest());
        // There is no newline in it: what is in strings is escaped.
        let told = self.figures.told(looked.as_deref());
        let text = Bytes::from(format!("data: {told}\n\n"));
        let latest = Some((Instant::now(), text.clone()));
        let place = self.listeners.latest.lock();
        *place.unwrap_or_else(PoisonError::into_inner) = latest;
        text
    }
}

pub(super) async fn events(
    State(served): State<Served>,
    ConnectInfo(listens): ConnectInfo<Listens>,
) -> Response {
    let Ok(place) = served.listeners.places.clone().try_acquire_owned() else {
        let later = [(header::RETRY_AFTER, "10")];
        let says = format!("{LISTENERS} listen already\n");
        return (StatusCode::SERVICE_UNAVAILABLE, later, says).into_response();
    };
    listens.begin();
    // One at a time: who takes his time misses some.
    let (tell, heard) = channel(1);
    let mut ticks = interval_at(served.listeners.began, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tokio::spawn(async move {
        loop {
            ticks.tick().await;
            let event = served.event().await;
            if tell.send(event).await.is_err() {
                return;
            }
        }
    });
    let events = Events {
        heard,
        _place: place,
    };
    let kind = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (kind, Body::from_stream(events)).into_response()
}

/// What is told to one who listens.
struct Events {
    heard: Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.heard.poll_recv(context).map(|event| event.map(Ok))
    }
}
