//! Claims about what goes on while a commit waits below.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};

use super::*;
/// A store whose commits wait at a gate, and fail when told.
#[derive(Debug)]
struct Gated {
    below: ModelStore,
    open: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicBool,
    fail: AtomicBool,
}

impl Gated {
    fn new(open: bool) -> Arc<Self> {
        Arc::new(Self {
            below: ModelStore::default(),
            open: Mutex::new(open),
            changed: Condvar::new(),
            waiting: AtomicBool::new(false),
            fail: AtomicBool::new(false),
        })
    }

    fn set_open(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.changed.notify_all();
    }

    fn pass(&self) -> Result<()> {
        let mut open = self.open.lock().unwrap();
        while !*open {
            self.waiting.store(true, Ordering::SeqCst);
            open = self.changed.wait(open).unwrap();
        }
        if self.fail.load(Ordering::SeqCst) {
            return Err(Error::unavailable("the device is gone"));
        }
        Ok(())
    }
}

impl Store for Arc<Gated> {
    forward!(below: store read root fence adopt scan reclaim status close);

    fn commit(&self, commit: Commit) -> Op<Level> {
        match self.pass() {
            Ok(()) => self.below.commit(commit),
            Err(error) => Op::err(error),
        }
    }
}

#[test]
fn commits_that_wait_together_share_one_flush_and_keep_their_numbers() {
    let store = Gated::new(false);
    let engine = open_threaded(store.clone(), Options::default());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| commit_empty(&engine).wait().unwrap());
        eventually("the first commit waits below", || {
            store.waiting.load(Ordering::SeqCst)
        });
        let tickets: Vec<_> = (0..1_000).map(|_| commit_empty(&engine)).collect();
        store.set_open(true);
        assert_eq!(first.join().unwrap().sequence, 1);
        for (n, ticket) in tickets.into_iter().enumerate() {
            let done = ticket.wait().unwrap();
            assert_eq!(done.sequence, n as u64 + 2);
            let record = engine.read(done.marker).wait().unwrap().unwrap();
            let marker = RootMarker::decode(done.marker, &record).unwrap();
            assert_eq!(marker.sequence, done.sequence);
        }
    });
    assert!(engine.status().figures.contains(&("rounds", 2)));
    assert_eq!(engine.snapshot().sequence(), 1_001);
}

#[test]
fn stores_and_reads_go_on_while_a_commit_waits_below() {
    let store = Gated::new(false);
    let engine = open_threaded(store.clone(), Options::default());
    let ticket = commit_empty(&engine);
    eventually("a driver took the ticket that nobody waits for", || {
        store.waiting.load(Ordering::SeqCst)
    });
    let session = engine.session().unwrap();
    assert_eq!(session.base().sequence(), 1, "submitted, though not done");
    assert_eq!(engine.snapshot().sequence(), 0);
    let reference = put(&session, b"meanwhile");
    assert_eq!(
        session.read(&reference).wait().unwrap().body(),
        b"meanwhile"
    );
    store.set_open(true);
    assert_eq!(ticket.wait().unwrap().sequence, 1);
}

#[test]
fn a_failed_round_fails_all_after_it_and_reads_go_on() {
    let store = Gated::new(false);
    let engine = open_threaded(store.clone(), Options::default());
    store.set_open(true);
    let done = set(&engine, "a", b"one");
    store.set_open(false);
    store.waiting.store(false, Ordering::SeqCst);
    let first = commit_empty(&engine);
    eventually("a commit waits below", || {
        store.waiting.load(Ordering::SeqCst)
    });
    let late: Vec<_> = (0..10).map(|_| commit_empty(&engine)).collect();
    store.fail.store(true, Ordering::SeqCst);
    store.set_open(true);
    for ticket in [first].into_iter().chain(late) {
        let error = ticket.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(error.message().contains("the device is gone"), "{error}");
    }
    let error = engine.session().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.sequence(), done.sequence);
    assert_eq!(get(&snapshot, "a").unwrap(), b"one");
    assert!(engine.status().refusing.unwrap().contains("device is gone"));
    assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn what_is_stored_beside_pauses_while_a_commit_is_on_its_way_and_ends_though_it_never_lands() {
    let store = Gated::new(true);
    let engine = open_threaded(store.clone(), Options::default());
    set(&engine, "a", b"first, which opens the epoch");
    store.set_open(false);
    store.waiting.store(false, Ordering::SeqCst);
    let ticket = commit_empty(&engine);
    eventually("a commit waits below", || {
        store.waiting.load(Ordering::SeqCst)
    });
    let (clock, (tell, told)) = (Env::system().clock, channel());
    let work = engine.session().unwrap().aside(Box::new(move |helper| {
        let began = clock.monotonic_ns();
        for _ in 0..16 {
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&[7; 64 << 10]],
            };
            helper.store(&record, Hint::default()).unwrap();
        }
        let _ = tell.send(Duration::from_nanos(clock.monotonic_ns() - began));
    }));
    assert!(work.is_ok(), "there is a thread to spare");
    // A mebibyte, with a pause of 20 ms behind each quarter of it.
    assert!(told.recv().unwrap() >= Duration::from_millis(60));
    store.set_open(true);
    ticket.wait().unwrap();
}
