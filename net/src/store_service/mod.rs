//! The store service: the floors of a stack, offered to an engine elsewhere.
//!
//! ```text
//!   session ──> calls, begun in order ──> floors ──> answers, in whatever order ──> session
//!                 │ few enough at once                  │ few enough bytes at once
//!                 └ else the session is read no further └ else nothing new is begun
//! ```
//!
//! One client writes; any number read. Who writes is decided by the epochs of the stores themselves:
//! a client whose fence succeeds is the writer, and the one before is answered with `Fenced` from then
//! on; one that gives way to whoever writes already is told so when it greets. Floors that take no more
//! writes, as after a failed sync, are opened anew for the next writer.
//!
//! It promises that a call is begun once the last byte of it is there, in the order of the session; that
//! what waits for an answer, and answers that wait to be sent, are bounded by counts and by bytes, of a
//! session, of a caller and of all; that
//! a client's sessions come one after the other, so nothing of an older one is begun after the newer
//! one was welcomed; and that a client that only reads is told of root markers that are proven, and of no
//! others: what else is safe here it may ask, and judge with what it knows of other servers. It refuses
//! to serve floors whose bodies go through codecs: those belong to the engine, so they stand on top of the
//! client's stack.
//!
//! It knows nothing of how connections are accepted: [`StoreService::server`] is a service to be put
//! behind whatever accepts them.

mod budget;
mod flying;
mod notes;
mod offer;
mod rights;
mod seat;
mod serving;
mod session;
mod turn;
mod unary;
mod verbs;

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use travertine_engine::contract::{Env, Result};

use crate::hop::Host;
use crate::proto::store_server::StoreServer;
use crate::wire::{MESSAGE_MAX, WHOLE_MAX};

use budget::Budget;
pub use budget::Share;
pub use offer::Offer;
pub use rights::asks;
use serving::Serving;
use turn::Turn;

/// What the service takes of one session.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most calls of a session that wait for an answer.
    pub calls: usize,
    /// Most bytes of them.
    pub bytes: usize,
    /// Most bytes of answers that wait to be sent: then nothing new is begun.
    pub answers: usize,
    /// Longest time that is worked for a call.
    pub deadline: Duration,
    /// Most sessions.
    pub sessions: Share,
    /// Most bytes of calls and answers that lie here; beyond it a session has one call at a time.
    pub held: Share,
    /// Most bytes of calls that come in parts, announced or there.
    pub parts: Share,
    /// How long such a call may keep the server listening.
    pub patience: Duration,
    /// Most verbs at once that take long and that whoever may read can call.
    pub jobs: Share,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 1_024,
            bytes: 64 << 20,
            answers: 4 << 20,
            deadline: Duration::from_secs(60),
            sessions: Share {
                all: 4_096,
                each: 256,
            },
            held: Share {
                all: 1 << 30,
                each: 256 << 20,
            },
            parts: Share {
                all: 256 << 20,
                each: WHOLE_MAX,
            },
            patience: Duration::from_secs(30),
            jobs: Share { all: 8, each: 4 },
        }
    }
}

/// A service over one stack. Clones are the same service.
#[derive(Clone)]
pub struct StoreService(Arc<Shared>);

impl std::fmt::Debug for StoreService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoreService({:?})", self.0.serving)
    }
}

struct Shared {
    env: Env,
    limits: Limits,
    host: Arc<Host>,
    serving: Serving,
    budget: Budget,
    /// So many messages more are begun off the runtime's workers, since one took long.
    slow: AtomicU32,
    turns: Mutex<HashMap<[u8; 16], Arc<Turn>>>,
    /// Nothing more is taken in.
    draining: watch::Sender<bool>,
}

impl StoreService {
    /// Opens what is offered; where there is no store yet, the first client that writes makes it.
    ///
    /// Errors: those of the opening; `Unsupported`, if bodies go through codecs there.
    pub fn open(offer: Offer, limits: Limits, env: &Env) -> Result<Self> {
        let host = Arc::new(Host::new(env.identity()));
        let serving = Serving::open(offer, &host)?;
        Ok(Self(Arc::new(Shared {
            env: env.clone(),
            budget: Budget::new(limits),
            slow: AtomicU32::new(0),
            limits,
            host,
            serving,
            turns: Mutex::default(),
            draining: watch::Sender::new(false),
        })))
    }

    /// The service, for a router of whoever accepts connections.
    #[must_use]
    pub fn server(&self) -> StoreServer<Self> {
        StoreServer::new(self.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    /// This run of this server: who stands in a loop finds it behind itself.
    #[must_use]
    pub fn instance(&self) -> [u8; 16] {
        self.0.host.instance
    }

    /// The floors as they are open now; `None`: there is no store yet.
    #[must_use]
    pub fn store(&self) -> Option<Arc<dyn travertine_engine::contract::Store>> {
        self.0.serving.there()
    }

    /// Takes nothing more in: sessions end once what they began is answered, and their clients go on
    /// elsewhere, or wait for this server to come back.
    pub fn drain(&self) {
        self.0.draining.send_replace(true);
    }

    /// Closes what is served. Calls that come later are refused by the floors.
    pub fn close(&self) -> Result<()> {
        match self.0.serving.there() {
            Some(store) => store.close().wait(),
            None => Ok(()),
        }
    }
}
