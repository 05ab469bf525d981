//! Calls back: while a floor calls below, the top of the stack is called from elsewhere. A floor that
//! holds a lock across its call below keeps that call from returning.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::between::{Between, Twist, Twisted};
use crate::contract::{
    Batch, Batches, Commit, Epoch, Level, Oid, Op, Position, Record, RootAt, RootMarker, Store,
    Stream, StreamState, Tail, Vector,
};

/// How long a call back may take. It is only waited for in vain if something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

thread_local! {
    /// Whether this thread is calling back, so that its own calls are let through.
    static CALLING_BACK: Cell<bool> = const { Cell::new(false) };
}

/// Calls back at every boundary.
#[derive(Debug, Default, Clone)]
pub(super) struct Reenter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    top: Mutex<Option<Weak<dyn Store>>>,
    known: Mutex<Option<Known>>,
    held: Mutex<Vec<String>>,
    given_up: AtomicBool,
    calls: AtomicU64,
}

/// What a call back may ask for.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) sender: Epoch,
    /// The last batch that was stored.
    pub(super) batch: Batch,
    /// A record in it that nobody is reading.
    pub(super) oid: Oid,
}

impl Reenter {
    /// Calls go to this store from now on.
    pub(super) fn aim(&self, top: &Arc<dyn Store>) {
        *lock(&self.0.top) = Some(Arc::downgrade(top));
    }

    /// What to ask for.
    pub(super) fn tell(&self, known: Known) {
        *lock(&self.0.known) = Some(known);
    }

    /// Which calls back did not return while a call below was on.
    pub(super) fn held(&self) -> Vec<String> {
        lock(&self.0.held).clone()
    }

    /// How often it called back.
    pub(super) fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }
}

impl Between for Reenter {
    fn put(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let twist = Boundary {
            kind: store.status().kind,
            shared: self.0.clone(),
        };
        Arc::new(Twisted::new(store, twist))
    }
}

#[derive(Debug)]
struct Boundary {
    kind: &'static str,
    shared: Arc<Shared>,
}

impl Boundary {
    /// Calls the top while a call into this boundary is on. Writers take turns by right, so a call
    /// that writes is called back by readers only.
    fn call_back(&self, verb: &str, writes: bool) {
        let shared = &self.shared;
        if CALLING_BACK.get() || shared.given_up.load(Ordering::Relaxed) {
            return;
        }
        let Some(top) = lock(&shared.top).as_ref().and_then(Weak::upgrade) else {
            return;
        };
        let Some(known) = lock(&shared.known).clone() else {
            return;
        };
        shared.calls.fetch_add(1, Ordering::Relaxed);
        let (say, said) = channel();
        let thread = std::thread::Builder::new()
            .name("calls-back".to_owned())
            .spawn(move || {
                CALLING_BACK.set(true);
                for (name, step) in steps(writes) {
                    // Answers do not matter here, not even errors; that there is one does.
                    let _ = say.send(name);
                    step(&*top, &known);
                }
            });
        let Ok(thread) = thread else {
            return;
        };
        let mut last = "starting";
        loop {
            match said.recv_timeout(PATIENCE) {
                Ok(name) => last = name,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    shared.given_up.store(true, Ordering::Relaxed);
                    lock(&shared.held).push(format!(
                        "while {verb} was on in `{}`, called by the floor above it, {last} from \
                         another thread did not return",
                        self.kind
                    ));
                    return;
                }
            }
        }
        // The thread has let go of its sender; what is left of it is its end.
        let _ = thread.join();
        self.on_this_thread();
    }

    /// Nobody holds anything: the same calls go through on the thread that is below.
    fn on_this_thread(&self) {
        let shared = &self.shared;
        let top = lock(&shared.top).as_ref().and_then(Weak::upgrade);
        if let (Some(top), Some(known)) = (top, lock(&shared.known).clone()) {
            CALLING_BACK.set(true);
            for (_, step) in steps(true) {
                step(&*top, &known);
            }
            CALLING_BACK.set(false);
        }
    }
}

type Step = (&'static str, fn(&dyn Store, &Known));

fn steps(writes: bool) -> impl Iterator<Item = Step> {
    let reading: [Step; 4] = [
        ("a status", |top, _| drop(top.status())),
        ("a read", |top, known| drop(top.read(known.oid).wait())),
        ("a root", |top, _| drop(top.root(RootAt::Newest).wait())),
        ("a scan", |top, known| {
            let header = known.batch.header();
            drop(top.scan(header.stream, header.base).wait());
        }),
    ];
    let writing: [Step; 2] = [
        ("a store", |top, known| {
            drop(top.store(known.sender, known.batch.clone()).wait());
        }),
        ("a commit", |top, known| {
            let commit = Commit {
                sender: known.sender,
                level: Level::Memory,
                last: Vec::new(),
            };
            drop(top.commit(commit).wait());
        }),
    ];
    let writing = writing.into_iter().filter(move |_| !writes);
    reading.into_iter().chain(writing)
}

impl Twist for Boundary {
    fn store(&self, below: &dyn Store, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.call_back("a store", true);
        below.store(sender, batch)
    }

    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        self.call_back("a read", false);
        below.read(oid)
    }

    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        self.call_back("a commit", true);
        below.commit(commit)
    }

    fn root(&self, below: &dyn Store, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.call_back("a root", false);
        below.root(at)
    }

    fn fence(&self, below: &dyn Store, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.call_back("a fence", true);
        below.fence(epoch)
    }

    fn adopt(&self, below: &dyn Store, epoch: Epoch, vector: Vector) -> Op<()> {
        self.call_back("an adopt", true);
        below.adopt(epoch, vector)
    }

    fn scan(&self, below: &dyn Store, stream: Stream, from: Position) -> Op<Batches> {
        self.call_back("a scan", false);
        below.scan(stream, from)
    }

    fn close(&self, below: &dyn Store) -> Op<()> {
        self.call_back("a close", true);
        below.close()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
