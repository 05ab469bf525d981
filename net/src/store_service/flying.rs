//! Calls that were begun and have no answer yet, polled when they are woken: no task for any of them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::time::Instant;
use travertine_engine::contract::{Op, Result};

/// One of them.
#[derive(Debug)]
pub(super) struct Flight<T> {
    op: Op<T>,
    waker: Waker,
    /// Bytes that it was asked with.
    bytes: usize,
    /// Bytes that its answer is reckoned to have.
    coming: usize,
    /// When nobody waits for it any more.
    deadline: Instant,
}

/// All of a session.
#[derive(Debug)]
pub(super) struct Flying<T> {
    flights: HashMap<u64, Flight<T>>,
    bytes: usize,
    coming: usize,
    woken: Arc<Woken>,
}

#[derive(Debug, Default)]
struct Woken(Mutex<(Vec<u64>, Option<Waker>)>);

impl Woken {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<u64>, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Tag(u64, Arc<Woken>);

impl Wake for Tag {
    fn wake(self: Arc<Self>) {
        let waker = {
            let mut woken = self.1.lock();
            woken.0.push(self.0);
            woken.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T: Send + 'static> Flying<T> {
    pub(super) fn new() -> Self {
        Self {
            flights: HashMap::new(),
            bytes: 0,
            coming: 0,
            woken: Arc::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn coming(&self) -> usize {
        self.coming
    }

    /// Takes an op on board; its answer, if it is here already.
    pub(super) fn board(
        &mut self,
        id: u64,
        op: Op<T>,
        (bytes, coming): (usize, usize),
        deadline: Instant,
    ) -> Option<Result<T>> {
        let op = match op.try_ready() {
            Ok(answer) => return Some(answer),
            Err(op) => op,
        };
        let waker = Waker::from(Arc::new(Tag(id, self.woken.clone())));
        let mut flight = Flight {
            op,
            waker,
            bytes,
            coming,
            deadline,
        };
        if let Poll::Ready(answer) = flight.poll() {
            return Some(answer);
        }
        self.bytes += bytes;
        self.coming += coming;
        self.flights.insert(id, flight);
        None
    }

    /// Gives the answers that are there now.
    pub(super) fn poll(&mut self, context: &Context<'_>, mut land: impl FnMut(u64, Result<T>)) {
        loop {
            let woken = {
                let mut woken = self.woken.lock();
                if woken.0.is_empty() {
                    woken.1 = Some(context.waker().clone());
                    return;
                }
                std::mem::take(&mut woken.0)
            };
            for id in woken {
                // One that was given up may be woken yet.
                let Some(flight) = self.flights.get_mut(&id) else {
                    continue;
                };
                if let Poll::Ready(answer) = flight.poll() {
                    self.bytes -= flight.bytes;
                    self.coming -= flight.coming;
                    self.flights.remove(&id);
                    land(id, answer);
                }
            }
        }
    }

    /// Gives up those whose time is over.
    pub(super) fn expire(&mut self, now: Instant, mut lost: impl FnMut(u64)) {
        let (bytes, coming) = (&mut self.bytes, &mut self.coming);
        self.flights.retain(|id, flight| {
            let stays = flight.deadline > now;
            if !stays {
                *bytes -= flight.bytes;
                *coming -= flight.coming;
                lost(*id);
            }
            stays
        });
    }
}

impl<T> Flight<T> {
    fn poll(&mut self) -> Poll<Result<T>> {
        Pin::new(&mut self.op).poll(&mut Context::from_waker(&self.waker))
    }
}
