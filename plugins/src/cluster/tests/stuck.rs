//! Children whose calls never end, with threads: whoever closes or takes over goes on without them.
//!
//! Time stands still but for leaps, made when nobody but the child that hangs is at work and nobody was
//! given up yet. One leap is less than any child is waited for, and another child may have begun just
//! before it; by the next one that child is done: so no child that gets on is ever given up, however slow
//! the machine is.

use super::*;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, MutexGuard};
use std::time::Duration;
use travertine_engine::conformance::kit::{Twist, Twisted};
use travertine_engine::contract::pool::Pool;
use travertine_engine::contract::{
    Batch, Clock, Commit, Epoch, Error, ErrorKind, Freed, Level, Oid, Op, Reclaim, Record,
    StreamState, Tail, Vector,
};
use travertine_engine::front::{Reclaiming, Retention};
use travertine_engine::stack::Floor;

/// Shorter than any child is waited for, and two of them are longer.
const LEAP: Duration = Duration::from_secs(6);

/// Time that goes on when it is told to.
#[derive(Debug, Default)]
struct Hand {
    now: AtomicU64,
    /// How often the thread that is held up looked.
    looked: AtomicU64,
}

thread_local! {
    /// Whether this is the thread that is held up.
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

impl Hand {
    fn leap(&self) {
        self.now
            .fetch_add(LEAP.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn monotonic_ns(&self) -> u64 {
        if WAITS.get() {
            self.looked.fetch_add(1, Ordering::Relaxed);
        }
        self.now.load(Ordering::Relaxed)
    }

    fn unix_us(&self) -> u64 {
        1_000_000_000_000_000 + self.monotonic_ns() / 1000
    }

    fn sleep(&self, _time: Duration) {
        moment();
    }
}

#[expect(clippy::disallowed_methods, reason = "other threads are waited for")]
fn moment() {
    std::thread::sleep(Duration::from_millis(1));
}

/// Waits for something that is sure to come.
pub(super) fn until(what: &str, mut comes: impl FnMut() -> bool) {
    for _ in 0..120_000 {
        if comes() {
            return;
        }
        moment();
    }
    panic!("{what} did not come");
}

/// What hangs: a verb of some children, until it is let go. Or which child fails.
#[derive(Debug, Default)]
pub(super) struct Gate {
    shut: Mutex<Shut>,
    open: Condvar,
}

#[derive(Debug, Default)]
struct Shut {
    verb: &'static str,
    children: Vec<usize>,
    /// The children of the calls that hang.
    hang: Vec<usize>,
    /// This one fails whatever it is asked.
    fails: Option<usize>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Shut> {
        self.shut.lock().unwrap()
    }

    pub(super) fn fail(&self, child: usize) {
        self.lock().fails = Some(child);
    }

    /// The children that hang.
    pub(super) fn hang(&self) -> BTreeSet<usize> {
        self.lock().hang.iter().copied().collect()
    }

    pub(super) fn shut(&self, verb: &'static str, children: &[usize]) {
        let mut shut = self.lock();
        (shut.verb, shut.children) = (verb, children.to_vec());
    }

    pub(super) fn open(&self) {
        let mut shut = self.lock();
        shut.children.clear();
        shut.fails = None;
        drop(shut);
        self.open.notify_all();
    }

    fn pass(&self, verb: &str, child: usize) {
        let mut shut = self.lock();
        if shut.verb != verb || !shut.children.contains(&child) {
            return;
        }
        shut.hang.push(child);
        while shut.verb == verb && shut.children.contains(&child) {
            shut = self.open.wait(shut).unwrap();
        }
        let at = shut.hang.iter().position(|other| *other == child);
        shut.hang.swap_remove(at.unwrap());
    }
}

/// Opens the gate where a test fails, so that nobody waits for ever.
struct Opens<'a>(&'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.open();
        }
    }
}

/// A child before which the gate stands.
#[derive(Debug)]
struct Gated {
    gate: Arc<Gate>,
    child: usize,
    env: Env,
}

impl Gated {
    fn sound(&self) -> Result<()> {
        match self.gate.lock().fails == Some(self.child) {
            true => Err(Error::unavailable("it fails")),
            false => Ok(()),
        }
    }
}

impl Twist for Gated {
    fn store(&self, below: &dyn Store, sender: Epoch, batch: Batch) -> Op<Tail> {
        match self.sound() {
            Ok(()) => below.store(sender, batch),
            Err(error) => Op::err(error),
        }
    }

    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        match self.sound() {
            Ok(()) => below.read(oid),
            Err(error) => Op::err(error),
        }
    }

    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        if let Err(error) = self.sound() {
            return Op::err(error);
        }
        // Whoever commits does not hang itself: a device does.
        let (gate, child) = (self.gate.clone(), self.child);
        let done = below.commit(commit).wait();
        self.env.offload(move || {
            gate.pass("commit", child);
            done
        })
    }

    fn fence(&self, below: &dyn Store, epoch: Epoch) -> Op<Vec<StreamState>> {
        if epoch.number > 0 {
            self.gate.pass("fence", self.child);
        }
        below.fence(epoch)
    }

    fn adopt(&self, below: &dyn Store, epoch: Epoch, vector: Vector) -> Op<()> {
        self.gate.pass("adopt", self.child);
        below.adopt(epoch, vector)
    }

    fn reclaim(&self, below: &dyn Store, decision: Reclaim) -> Op<Freed> {
        let verb = match &decision.left {
            None => "reclaim",
            Some(_) => "take over",
        };
        self.gate.pass(verb, self.child);
        below.reclaim(decision)
    }

    fn close(&self, below: &dyn Store) -> Op<()> {
        self.gate.pass("close", self.child);
        below.close()
    }
}

/// A gate before every child.
pub(super) fn gated(gate: &Arc<Gate>, env: &Env) -> Arc<dyn Probe> {
    Arc::new(Gates(gate.clone(), env.clone()))
}

#[derive(Debug)]
struct Gates(Arc<Gate>, Env);

impl Probe for Gates {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        if floor.kind().name != "file" {
            return store;
        }
        let mut settings = floor.settings().iter();
        let path = settings.find(|setting| setting.name == "path").unwrap();
        let path = format!("{:?}", path.value);
        let child = path.chars().find_map(|letter| letter.to_digit(10));
        let (gate, env) = (self.0.clone(), self.1.clone());
        let gated = Gated {
            gate,
            child: child.unwrap() as usize,
            env,
        };
        Arc::new(Twisted::new(store, gated))
    }
}

struct Story {
    rig: Rig,
    gate: Arc<Gate>,
    hand: Arc<Hand>,
}

impl Story {
    fn new() -> Self {
        let mut rig = Rig::new(3);
        let (gate, hand) = (Arc::new(Gate::default()), Arc::new(Hand::default()));
        let env = Env {
            clock: hand.clone(),
            drivers: Arc::new(Pool::new(16)),
            ..rig.env.env().clone()
        };
        rig.probe = Some(gated(&gate, &env));
        rig.world = Some(env);
        Self { rig, gate, hand }
    }

    /// Opens it, as soon as whoever had it open has gone with the last of its calls.
    fn open(&self) -> (Arc<dyn Store>, Engine) {
        let mut opened = None;
        until("somebody who may open it", || {
            let store = self.rig.store(false);
            let both = store.and_then(|store| Ok((store.clone(), self.rig.over(store)?)));
            opened = both.ok();
            opened.is_some()
        });
        opened.unwrap()
    }

    /// Does something that some children hold up, and lets time go on once they alone are at work.
    fn held_up<T: Send>(
        &self,
        store: &Arc<dyn Store>,
        children: usize,
        work: impl FnOnce() -> T + Send,
    ) -> T {
        std::thread::scope(|scope| {
            let _opens = Opens(&self.gate);
            let working = scope.spawn(|| {
                WAITS.set(true);
                work()
            });
            let mut due = 0;
            until("the end of it", || {
                let status = store.status();
                let alone = figure(&status, "children_called") == children as u64
                    && figure(&status, "children_stuck") == 0
                    && self.gate.hang().len() == children;
                let looked = self.hand.looked.load(Ordering::Relaxed);
                if alone && looked >= due {
                    self.hand.leap();
                    // Once it has seen this one, and is not done.
                    due = looked + 3;
                }
                working.is_finished()
            });
            working.join().unwrap()
        })
    }
}

#[test]
fn closing_goes_on_without_a_child_whose_commit_never_ends() {
    let story = Story::new();
    let (store, engine) = story.open();
    let mut references = fill(&engine, 0..3);
    story.gate.shut("commit", &[2]);
    references.extend(fill(&engine, 3..6));
    story.held_up(&store, 1, || engine.close()).unwrap();
    assert_eq!(figure(&store.status(), "children_stuck"), 1);
    story.gate.open();
    until("the end of the call", || {
        figure(&store.status(), "children_called") == 0
    });
    drop((engine, store));
    let (_, engine) = story.open();
    all_read(&engine, 0, &references);
    engine.close().unwrap();
}

#[test]
fn closing_goes_on_without_a_child_that_does_not_close_and_not_without_two() {
    for hang in [&[3][..], &[1, 3]] {
        let story = Story::new();
        let (store, engine) = story.open();
        let references = fill(&engine, 0..3);
        story.gate.shut("close", hang);
        let closed = story.held_up(&store, hang.len(), || engine.close());
        assert_eq!(closed.is_ok(), hang.len() == 1, "{closed:?}");
        if let Err(error) = closed {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains("child 1"), "{error}");
        }
        story.gate.open();
        until("the end of the call", || {
            figure(&store.status(), "children_called") == 0
        });
        drop((engine, store));
        let (_, engine) = story.open();
        all_read(&engine, 0, &references);
        engine.close().unwrap();
    }
}

#[test]
fn a_takeover_goes_on_without_a_child_that_does_not_answer() {
    for verb in ["fence", "adopt", "commit"] {
        let story = Story::new();
        let (store, first) = story.open();
        let mut references = fill(&first, 0..3);
        story.gate.shut(verb, &[1]);
        references.extend(fill(&first, 3..4));
        let second = story.held_up(&store, 1, || story.rig.over(store.clone()));
        let second = second.unwrap();
        assert_eq!(commit(&first, 99).unwrap_err().kind(), ErrorKind::Fenced);
        all_read(&second, 0, &references);
        references.extend(fill(&second, 4..6));
        assert_eq!(figure(&store.status(), "children_in_line"), 2);
        story.gate.open();
        references.extend(fill(&second, 6..8));
        all_read(&second, 0, &references);
        drop(first);
        second.close().unwrap();
    }
}

#[test]
fn a_takeover_that_too_few_answer_says_who_does_not() {
    for verb in ["fence", "adopt"] {
        let story = Story::new();
        let (store, first) = story.open();
        let references = fill(&first, 0..3);
        story.gate.shut(verb, &[2, 3]);
        let taken = story.held_up(&store, 2, || story.rig.over(store.clone()));
        let error = taken.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        for child in ["child 2", "child 3"] {
            assert!(error.to_string().contains(child), "{error}");
        }
        story.gate.open();
        until("the end of the calls", || {
            figure(&store.status(), "children_called") == 0
        });
        drop((first, store));
        let (_, engine) = story.open();
        all_read(&engine, 0, &references);
        assert_eq!(newest(&engine).unwrap(), Some(2));
        engine.close().unwrap();
    }
}

#[test]
fn a_child_that_was_given_up_on_comes_back_once_its_call_has_ended() {
    for verb in ["fence", "adopt", "commit"] {
        let story = Story::new();
        let (store, first) = story.open();
        let mut references = fill(&first, 0..3);
        story.gate.shut(verb, &[1]);
        references.extend(fill(&first, 3..4));
        let second = story.held_up(&store, 1, || story.rig.over(store.clone()));
        let second = second.unwrap();
        drop(first);
        story.gate.open();
        let mut number = 4;
        until("the child", || {
            let moment = Duration::from_millis(100).as_nanos() as u64;
            story.hand.now.fetch_add(moment, Ordering::Relaxed);
            references.push(commit(&second, number).unwrap());
            number += 1;
            figure(&store.status(), "children_in_line") == 3
        });
        all_read(&second, 0, &references);
        second.close().unwrap();
        drop((second, store));
        // It counts: another one may be away.
        story.rig.hold(2);
        let (_, engine) = story.open();
        all_read(&engine, 0, &references);
        story.rig.release(2);
    }
}

#[test]
fn a_reclaim_goes_on_without_a_child_that_never_answers_it_and_so_does_a_close() {
    for verb in ["take over", "reclaim"] {
        let story = Story::new();
        let (store, engine) = story.open();
        let kept = fill(&engine, 0..1);
        giving::churn(&engine, "churned", 0..30);
        until("the last answers", || {
            figure(&store.status(), "children_called") == 0
        });
        story.gate.shut(verb, &[2]);
        let freed = std::thread::scope(|scope| {
            let _opens = Opens(&story.gate);
            let reclaiming =
                scope.spawn(|| engine.reclaim(&Retention::newest(), &Reclaiming::default()));
            until("the call that hangs", || story.gate.hang().len() == 1);
            until("the end of it", || {
                // Nobody else is at work before the one that hangs is given up.
                if figure(&store.status(), "children_stuck") == 0 {
                    story.hand.leap();
                }
                reclaiming.is_finished()
            });
            reclaiming.join().unwrap()
        });
        assert!(freed.unwrap().freed.bytes > 0, "{verb}");
        let status = store.status();
        let told = ["children_stuck", "children_in_line"].map(|name| figure(&status, name));
        assert_eq!(told, [1, 2], "{verb}");
        engine.close().unwrap();
        story.gate.open();
        until("the end of the call", || {
            figure(&store.status(), "children_called") == 0
        });
        drop((engine, store));
        let (_, engine) = story.open();
        all_read(&engine, 0, &kept);
        engine.close().unwrap();
    }
}
