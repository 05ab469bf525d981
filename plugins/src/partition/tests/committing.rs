//! What a commit asks of whom, and when.

use std::sync::Condvar;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use travertine_engine::conformance::kit::{Twist, Twisted};
use travertine_engine::contract::{Commit, Error, Op};
use travertine_engine::stack::Floor;

/// Puts a twist on each `memory` and `file`.
#[derive(Debug)]
struct OnBottoms<T>(Arc<T>);

impl<T: Twist + 'static> Probe for OnBottoms<T> {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match floor.kind().name {
            "memory" | "file" => Arc::new(Twisted::new(store, self.0.clone())),
            _ => store,
        }
    }
}

/// Commits that end only once so many are on their way.
#[derive(Debug)]
struct Meeting {
    env: Env,
    wanted: usize,
    arrived: Arc<(Mutex<usize>, Condvar)>,
}

impl Twist for Meeting {
    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        if commit.last.is_empty() {
            return below.commit(commit);
        }
        let (wanted, arrived) = (self.wanted, self.arrived.clone());
        let answer = below.commit(commit).wait();
        self.env.offload(move || {
            let (count, more) = &*arrived;
            let mut count = count.lock().unwrap();
            *count += 1;
            more.notify_all();
            let wait = Duration::from_secs(60);
            let met = more.wait_timeout_while(count, wait, |count| *count < wanted);
            match met.unwrap().1.timed_out() {
                true => Err(Error::unavailable("the others were not asked meanwhile")),
                false => answer,
            }
        })
    }
}

#[test]
fn a_commit_asks_every_child_before_it_waits_for_any() {
    const CHILDREN: usize = 5;
    let env = Env::system();
    let below = (0..CHILDREN).map(|_| vec![Layer::new("memory")]).collect();
    let spec = Spec::linear([Layer::new("partition").over(below)]).level("memory");
    let meeting = Meeting {
        env: env.clone(),
        wanted: CHILDREN,
        arrived: Arc::default(),
    };
    let probe = OnBottoms(Arc::new(meeting));
    let disks = Disks::calm(&[]);
    let store = open_probed(&disks, &spec, &env, false, Some(Arc::new(probe))).unwrap();
    let options = Options {
        level: Level::Memory,
        ..Options::default()
    };
    let engine = Engine::open(store, &env, options).unwrap();
    let session = engine.session().unwrap();
    for number in 0..CHILDREN as u64 {
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body(number, 10)],
        };
        session.store(&record, Hint::default()).unwrap();
    }
    session.commit(&[], None).wait().unwrap();
}

/// Counts commits.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Twist for Counting {
    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        self.0.fetch_add(1, Ordering::Relaxed);
        below.commit(commit)
    }
}

#[test]
fn a_commit_asks_only_children_that_hold_something_new() {
    let names = ["a", "b", "c", "d"];
    let disks = Disks::calm(&names);
    let env = SimEnv::new(1);
    let spec = over(Layer::new("partition").with("place", "tag"), &names);
    let counting = Arc::new(Counting::default());
    let probe = Arc::new(OnBottoms(counting.clone()));
    let store = open_probed(&disks, &spec, env.env(), false, Some(probe)).unwrap();
    let engine = Engine::open(store, env.env(), Options::default()).unwrap();
    // The first asks all: who knows what was left.
    commit(&engine, 0).unwrap();
    let asked = || counting.0.load(Ordering::Relaxed);
    assert_eq!(asked(), 4);
    for number in 1..20 {
        let before = asked();
        let stored = commit(&engine, number).unwrap();
        // The one with the record, and the one with the marker.
        let wanted = if stored.oid.stream() == Stream(0) {
            1
        } else {
            2
        };
        assert_eq!(asked(), before + wanted);
    }
    // What reached a lower level is brought to the higher one by the next commit, wherever it lies.
    let session = engine.session().unwrap();
    for tag in 0..40 {
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body(1, 10)],
        };
        session.store(&record, Hint { tag }).unwrap();
    }
    session.commit(&[], Some(Level::Os)).wait().unwrap();
    let before = asked();
    session.commit(&[], None).wait().unwrap();
    assert_eq!(asked(), before + 4);
    let before = asked();
    session.commit(&[], None).wait().unwrap();
    assert_eq!(asked(), before + 1);
    engine.close().unwrap();
}
