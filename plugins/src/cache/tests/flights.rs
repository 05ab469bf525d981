//! Reads under way: joined, survived, told to all.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use travertine_engine::conformance::env::{OnCall, SimEnv};
use travertine_engine::contract::op::block_on;
use travertine_engine::contract::{Error, ErrorKind, Promise, Result};

use super::*;

fn answer(found: Option<&Record>) -> Result<Option<Record>> {
    Ok(found.cloned())
}

#[test]
fn however_many_threads_miss_at_once_one_read_goes_below() {
    const THREADS: u64 = 16;
    // Half of them block, half are polled; once with an answer that comes, once with one that was
    // there, behind a call that takes long.
    for pending in [true, false] {
        let env = Env::system();
        let slow = Slow::default();
        let model = Arc::new(ModelStore::new(ModelOptions::default()));
        let below = Arc::new(Twisted::new(model, slow.clone()));
        let mut writer = Writer::new(cache(below, &env, 1 << 20));
        let oid = writer.put(&[b"wanted"])[0];
        *slow.pending.lock().unwrap() = pending.then(|| env.clone());
        let store = &writer.store;
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    let op = store.read(oid);
                    let found = if thread % 2 == 0 {
                        op.wait()
                    } else {
                        block_on(op)
                    };
                    assert_eq!(found.unwrap().unwrap().body(), b"wanted");
                });
            }
            // All but the one who asks below have joined it.
            let joined = || seen(&**store)[2];
            while joined() + 1 < THREADS {
                std::thread::yield_now();
            }
            slow.go.send().unwrap();
        });
        assert_eq!(slow.reads.load(Ordering::Relaxed), 1, "pending: {pending}");
        assert_eq!(seen(&*writer.store), [0, 1, THREADS - 1, 1]);
        assert!(writer.store.read(oid).is_ready());
    }
}

/// Reads that take until somebody says go.
#[derive(Debug, Clone, Default)]
struct Slow {
    reads: Arc<AtomicU64>,
    go: Go,
    /// Where the waiting is done, if not by the call itself.
    pending: Arc<Mutex<Option<Env>>>,
}

#[derive(Debug, Clone)]
struct Go(
    std::sync::mpsc::SyncSender<()>,
    Arc<Mutex<std::sync::mpsc::Receiver<()>>>,
);

impl Default for Go {
    fn default() -> Self {
        let (say, said) = std::sync::mpsc::sync_channel(1);
        Self(say, Arc::new(Mutex::new(said)))
    }
}

impl Go {
    fn send(&self) -> std::result::Result<(), std::sync::mpsc::SendError<()>> {
        self.0.send(())
    }

    fn wait(&self) {
        let said = self.1.lock().unwrap();
        said.recv_timeout(Duration::from_secs(300)).unwrap();
    }
}

impl Twist for Slow {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let found = below.read(oid).wait();
        let pending = self.pending.lock().unwrap().clone();
        match pending {
            None => {
                self.go.wait();
                Op::ready(found)
            }
            Some(env) => {
                let go = self.go.clone();
                env.offload(move || {
                    go.wait();
                    found
                })
            }
        }
    }
}

#[test]
fn a_read_survives_the_one_who_started_it() {
    let env = SimEnv::new(1);
    let (mut writer, below) = over_a_model(env.env());
    let (oid, record) = writer.put_one(b"wanted");

    let (promise, op) = Promise::new();
    below.next(op);
    let starter = writer.store.read(oid);
    let joined = [(); 3].map(|()| writer.store.read(oid));
    drop(starter);
    promise.fulfil(answer(record.as_ref()));
    for op in joined {
        assert_eq!(op.wait().unwrap(), record);
    }
    assert_eq!(below.reads(), 1);
    assert!(writer.store.read(oid).is_ready());
    assert_eq!(below.reads(), 1);
}

/// Notes that it was woken.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn who_gives_up_after_asking_takes_nothing_from_those_who_wait() {
    // Whoever of four gives up, once all have asked: the first of them began the read.
    for gone in 0..4 {
        let env = SimEnv::new(1);
        let (mut writer, below) = over_a_model(env.env());
        let (oid, record) = writer.put_one(b"wanted");
        let (promise, op) = Promise::new();
        below.next(op);
        let mut waiting: Vec<_> = (0..4)
            .map(|_| (writer.store.read(oid), Arc::new(Woken::default())))
            .collect();
        for (op, woken) in &mut waiting {
            let waker = Waker::from(woken.clone());
            let asked = Pin::new(op).poll(&mut Context::from_waker(&waker));
            assert!(asked.is_pending());
        }
        let (_, theirs) = waiting.remove(gone);
        promise.fulfil(answer(record.as_ref()));
        assert!(!theirs.0.load(Ordering::Acquire));
        for (op, woken) in waiting {
            assert!(woken.0.load(Ordering::Acquire));
            assert_eq!(op.wait().unwrap(), record);
        }
        assert_eq!((below.reads(), seen(&*writer.store)[3]), (1, 1));
    }
}

#[test]
fn a_read_nobody_waits_for_is_kept_when_it_comes() {
    let env = SimEnv::new(1);
    let (mut writer, below) = over_a_model(env.env());
    let (oid, record) = writer.put_one(b"wanted");

    let (promise, op) = Promise::new();
    below.next(op);
    drop(writer.store.read(oid));
    promise.fulfil(answer(record.as_ref()));
    assert_eq!(writer.store.read(oid).try_ready().unwrap().unwrap(), record);
    assert_eq!(below.reads(), 1);
}

#[test]
fn an_error_is_told_to_all_and_kept_by_none() {
    let env = SimEnv::new(1);
    let (mut writer, below) = over_a_model(env.env());
    let oid = writer.put(&[b"wanted"])[0];
    let (promise, op) = Promise::new();
    below.next(op);
    let waiting = [(); 3].map(|()| writer.store.read(oid));
    promise.fulfil(Err(Error::unavailable("not now")));
    for op in waiting {
        assert_eq!(op.wait().unwrap_err().kind(), ErrorKind::Unavailable);
    }
    below.next(Op::err(Error::corrupt("nor now")));
    let error = writer.store.read(oid).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(seen(&*writer.store)[3], 0);
    assert_eq!(writer.read(oid).unwrap().body(), b"wanted");
    assert_eq!(below.reads(), 3);
}

#[test]
fn a_promise_broken_below_is_an_error_and_not_a_hang() {
    let env = SimEnv::new(1);
    let (mut writer, below) = over_a_model(env.env());
    let oid = writer.put(&[b"wanted"])[0];
    let (promise, op) = Promise::<Option<Record>>::new();
    below.next(op);
    let waiting = [(); 2].map(|()| writer.store.read(oid));
    drop(promise);
    for op in waiting {
        assert_eq!(op.wait().unwrap_err().kind(), ErrorKind::Closed);
    }
    assert_eq!(writer.read(oid).unwrap().body(), b"wanted");
}

#[test]
fn a_panic_below_leaves_nobody_waiting() {
    #[derive(Debug)]
    struct Panics(AtomicU64);
    impl Twist for Panics {
        fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "as it should");
            below.read(oid)
        }
    }
    let env = SimEnv::new(1);
    let model = Arc::new(ModelStore::new(ModelOptions::default()));
    let below = Arc::new(Twisted::new(model, Panics(AtomicU64::new(0))));
    let mut writer = Writer::new(cache(below, env.env(), 1 << 20));
    let oid = writer.put(&[b"wanted"])[0];
    let store = &writer.store;
    std::thread::scope(|scope| {
        let panics = scope.spawn(|| drop(store.read(oid).wait()));
        panics.join().unwrap_err();
    });
    assert_eq!(writer.read(oid).unwrap().body(), b"wanted");
}

#[test]
fn where_every_driver_is_busy_who_waits_does_the_work() {
    let mut env = Env::system();
    env.drivers = Arc::new(OnCall::default());
    let (mut writer, below) = over_a_model(&env);
    let (oid, record) = writer.put_one(b"wanted");
    let again = record.clone();
    below.next(env.offload(move || Ok(again)));
    let starter = writer.store.read(oid);
    let joined = writer.store.read(oid);
    drop(starter);
    assert_eq!(joined.wait().unwrap(), record);
    assert!(writer.store.read(oid).is_ready());
}

#[test]
fn what_was_read_before_a_cut_is_not_kept_after_it() {
    let env = SimEnv::new(1);
    let (mut writer, below) = over_a_model(env.env());
    writer.put(&[b"stays"]);
    let cut = writer.before;
    let (oid, record) = writer.put_one(b"goes");

    let (promise, op) = Promise::new();
    below.next(op);
    let before = writer.store.read(oid);
    let mut next = Writer::fenced(writer.store.clone());
    next.adopt(cut);
    // The question was there before the cut, so this answer is right, and it is old.
    let after = writer.store.read(oid);
    assert_eq!(after.try_ready().unwrap().unwrap(), None);
    promise.fulfil(answer(record.as_ref()));
    assert_eq!(before.wait().unwrap(), record);
    assert_eq!(writer.read(oid), None);
}
