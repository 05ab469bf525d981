//! What is kept, for how long, and in how much room.

use std::path::Path;

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::conformance::kit::{Crash, Fixture, Nothing, StackFixture};
use travertine_engine::conformance::sim::{Class, Plan as DiskPlan};
use travertine_engine::contract::{Error, ErrorKind, Freed, Promise, Reclaim};
use travertine_engine::forward;
use travertine_engine::stack::{Layer, Plan, Spec, Table};

use super::*;
use crate::standard;

fn simulated(layers: Vec<Layer>) -> StackFixture {
    let disk = DiskPlan::draw(3, Class::Crash);
    StackFixture::simulated(&Spec::linear(layers), &standard(), 3, disk).unwrap()
}

fn on_disk() -> StackFixture {
    let file = Layer::new("file").with("path", "log");
    simulated(vec![Layer::new("cache").with("memory", "1 MiB"), file])
}

fn open(fixture: &StackFixture) -> Arc<dyn Store> {
    fixture.open(&(Arc::new(Nothing) as _)).unwrap()
}

#[test]
fn a_record_read_twice_is_read_below_once() {
    let env = SimEnv::new(1);
    let (mut writer, below) = over_a_model(env.env());
    let oids = writer.put(&[b"one", b"two"]);
    for _ in 0..3 {
        assert_eq!(writer.read(oids[0]).unwrap().body(), b"one");
        assert_eq!(writer.read(oids[1]).unwrap().body(), b"two");
    }
    assert_eq!(below.reads(), 2);
    assert_eq!(seen(&*writer.store), [4, 2, 0, 2]);
}

#[test]
fn what_is_written_or_scanned_is_not_kept() {
    let env = SimEnv::new(1);
    let (mut writer, _) = over_a_model(env.env());
    writer.put(&[b"one", b"two"]);
    let batches = writer.store.scan(writer.stream, Position::START).wait();
    assert_eq!(batches.unwrap().batches.len(), 2);
    assert_eq!(seen(&*writer.store), [0, 0, 0, 0]);
}

#[test]
fn an_absence_is_kept_below_the_end_only() {
    let env = SimEnv::new(1);
    let (mut writer, below) = over_a_model(env.env());
    writer.put(&[b"one"]);
    let gap = writer.past(4);
    for _ in 0..2 {
        assert_eq!(writer.read(gap), None);
    }
    // Who knows what comes there.
    assert_eq!((below.reads(), seen(&*writer.store)[3]), (2, 0));
    writer.base = Position(writer.base.0 + 64);
    writer.put(&[b"two"]);
    for _ in 0..3 {
        assert_eq!(writer.read(gap), None);
    }
    // A stated gap is never filled.
    assert_eq!((below.reads(), seen(&*writer.store)[3]), (3, 1));
    assert_eq!(writer.read(writer.past(0)), None);
    let oid = writer.batch(&[b"three"]).1[0];
    assert_eq!(writer.read(oid), None);
    writer.put(&[b"three"]);
    assert_eq!(writer.read(oid).unwrap().body(), b"three");
}

#[test]
fn an_adoption_keeps_what_lies_below_its_cut() {
    let env = SimEnv::new(1);
    let (mut writer, below) = over_a_model(env.env());
    let stays = writer.put(&[b"stays"])[0];
    let cut = writer.before;
    let goes = writer.put(&[b"goes"])[0];
    writer.read(stays);
    writer.read(goes);
    let mut next = Writer::fenced(writer.store.clone());
    next.adopt(cut);
    let reads = below.reads();
    assert_eq!(next.read(stays).unwrap().body(), b"stays");
    assert_eq!(below.reads(), reads);
    assert_eq!(next.read(goes), None);
    let new = next.put(&[b"new"])[0];
    assert!(new.position() > goes.position());
    assert_eq!(next.read(new).unwrap().body(), b"new");
    assert_eq!(next.read(goes), None);
}

/// Verbs that change the store answer when told.
#[derive(Debug, Clone, Default)]
struct Later(Arc<Mutex<Vec<Promise<()>>>>);

impl Twist for Later {
    fn adopt(
        &self,
        below: &dyn Store,
        epoch: Epoch,
        vector: travertine_engine::contract::Vector,
    ) -> Op<()> {
        let answer = below.adopt(epoch, vector).wait();
        if epoch.number == 1 {
            return Op::ready(answer);
        }
        let (promise, op) = Promise::new();
        self.0.lock().unwrap().push(promise);
        op.and_then(|()| answer)
    }
}

#[test]
fn a_cut_is_heard_though_nobody_waits_for_its_answer() {
    let env = Env::system();
    let later = Later::default();
    let model = Arc::new(ModelStore::new(ModelOptions::default()));
    let below = Arc::new(Twisted::new(model, later.clone()));
    let mut writer = Writer::new(cache(below, &env, 1 << 20));
    let cut = writer.before;
    let goes = writer.put(&[b"goes"])[0];
    writer.read(goes);
    let next = Writer::fenced(writer.store.clone());
    drop(next.store.adopt(next.epoch, vec![(next.stream, cut)]));
    later.0.lock().unwrap().pop().unwrap().fulfil(Ok(()));
    // A driver hears it.
    while seen(&*writer.store)[3] > 0 {
        std::thread::yield_now();
    }
    assert_eq!(writer.read(goes), None);
}

#[test]
fn a_failed_adoption_and_a_fenced_writer_forget_everything() {
    for fenced in [false, true] {
        let env = SimEnv::new(1);
        let (mut writer, _) = over_a_model(env.env());
        let oid = writer.put(&[b"one"])[0];
        writer.read(oid);
        assert_eq!(seen(&*writer.store)[3], 1);
        if fenced {
            // Somebody else took over, below this cache.
            let below = writer.store.status().below;
            assert_eq!(below.len(), 1);
            let stale = Epoch {
                number: 1,
                tag: 123,
            };
            let (batch, _) = writer.batch(&[b"two"]);
            let _ = Writer::fenced(writer.store.clone());
            let error = writer.store.store(stale, batch).wait().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fenced);
        } else {
            let error = writer.store.adopt(Epoch { number: 9, tag: 9 }, Vec::new());
            error.wait().unwrap_err();
        }
        assert_eq!(seen(&*writer.store)[3], 0);
        assert_eq!(writer.read(oid).unwrap().body(), b"one");
        // It may be cut elsewhere now.
        assert_eq!(seen(&*writer.store)[3], 0);
    }
}

#[test]
fn what_was_given_back_is_asked_for_again() {
    /// Gives back what it is told to.
    #[derive(Debug)]
    struct Reclaims {
        below: Arc<dyn Store>,
        decided: Mutex<Option<Reclaim>>,
    }
    impl Store for Reclaims {
        forward!(below: store commit root fence adopt scan status close);
        fn read(&self, oid: Oid) -> Op<Option<Record>> {
            let position = oid.position();
            let freed = |decision: &Reclaim| {
                (decision.from..decision.to).contains(&position)
                    && !decision.alive.contains(&position)
            };
            if self.decided.lock().unwrap().as_ref().is_some_and(freed) {
                return Op::ok(None);
            }
            self.below.read(oid)
        }
        fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
            *self.decided.lock().unwrap() = Some(decision);
            Op::ok(Freed::default())
        }
    }
    let env = SimEnv::new(1);
    let model = Arc::new(ModelStore::new(ModelOptions::default()));
    let below = Arc::new(Reclaims {
        below: model,
        decided: Mutex::default(),
    });
    let mut writer = Writer::new(cache(below, env.env(), 1 << 20));
    let older = writer.put(&[b"before the run"])[0];
    let from = writer.before.position;
    let [goes, alive] = writer.put(&[b"goes", b"alive"])[..] else {
        panic!("two records");
    };
    let to = writer.before.position;
    let later = writer.put(&[b"after the run"])[0];
    for oid in [older, goes, alive, later] {
        writer.read(oid);
    }
    let decision = Reclaim {
        sender: writer.epoch,
        stream: writer.stream,
        from,
        to,
        alive: [alive.position()].into(),
        left: None,
    };
    writer.store.reclaim(decision).wait().unwrap();
    // Exactly one was forgotten.
    assert_eq!(seen(&*writer.store)[3], 3);
    assert_eq!(writer.read(goes), None);
    assert_eq!(writer.read(alive).unwrap().body(), b"alive");
    assert_eq!(writer.read(older).unwrap().body(), b"before the run");
    assert_eq!(writer.read(later).unwrap().body(), b"after the run");
}

#[test]
fn before_it_adopted_an_opening_keeps_only_what_was_durable() {
    let fixture = on_disk();
    let mut writer = Writer::new(open(&fixture));
    let durable = writer.put(&[b"durable"])[0];
    writer.commit(Level::Disk);
    let between = writer.put(&[b"vouches for it"])[0];
    writer.commit(Level::Disk);
    let unsure = writer.put(&[b"unsure"])[0];
    fixture.crash(Crash::Kill);

    let store = open(&fixture);
    let status = &store.status().streams[0];
    assert!(status.durable > between.position().0 || status.durable > durable.position().0);
    assert!(status.durable <= unsure.position().0);
    for _ in 0..3 {
        assert_eq!(
            store.read(durable).wait().unwrap().unwrap().body(),
            b"durable"
        );
        assert_eq!(
            store.read(unsure).wait().unwrap().unwrap().body(),
            b"unsure"
        );
    }
    assert_eq!(seen(&*store), [2, 4, 0, 1]);
    let writer = Writer::new(store);
    for _ in 0..3 {
        assert_eq!(writer.read(unsure).unwrap().body(), b"unsure");
    }
    assert_eq!(seen(&*writer.store), [4, 5, 0, 2]);
}

#[test]
fn the_budget_holds_and_hot_records_stay_through_a_scan_by_reads() {
    let env = SimEnv::new(1);
    let prepared = Prepared::default();
    let model = Arc::new(ModelStore::new(ModelOptions::default()));
    let below = Arc::new(Twisted::new(model, prepared.clone()));
    let memory = 256 << 10;
    let mut writer = Writer::new(cache(below, env.env(), memory));
    let body = vec![7; 1000];
    let hot: Vec<_> = (0..50).map(|_| writer.put(&[&body])[0]).collect();
    let cold: Vec<_> = (0..2_000).map(|_| writer.put(&[&body])[0]).collect();
    for _ in 0..4 {
        for oid in &hot {
            writer.read(*oid);
        }
    }
    for oid in &cold {
        writer.read(*oid);
        assert!(figures(&*writer.store)["bytes"] <= memory);
    }
    let entries = seen(&*writer.store)[3];
    assert!((150..=memory / 1000).contains(&entries), "{entries}");
    let before = prepared.reads();
    for oid in &hot {
        writer.read(*oid);
    }
    let again = prepared.reads() - before;
    assert!(again <= 5, "{again} of 50 hot records were pushed out");
}

#[test]
fn a_record_too_long_for_the_budget_is_read_through() {
    let env = SimEnv::new(1);
    let (mut writer, below) = over_a_model(env.env());
    let long = writer.put(&[&vec![1; 1 << 20]])[0];
    let fits = writer.put(&[&vec![2; 1 << 19]])[0];
    for _ in 0..2 {
        assert_eq!(writer.read(long).unwrap().body().len(), 1 << 20);
        assert_eq!(writer.read(fits).unwrap().body().len(), 1 << 19);
    }
    assert_eq!(below.reads(), 3);
}

#[test]
fn a_kept_record_does_not_hold_the_batch_it_came_from() {
    let env = SimEnv::new(1);
    let (mut writer, below) = over_a_model(env.env());
    let oid = writer.put(&[b"small", &vec![0; 1 << 20]])[0];
    let batch = writer.store.scan(writer.stream, Position::START).wait();
    let batch = batch.unwrap().batches.pop().unwrap();
    let slice = batch.read(oid).unwrap();
    below.next(Op::ok(slice));
    let found = writer.read(oid).unwrap();
    let whole = batch.bytes().as_ptr_range();
    assert!(!whole.contains(&found.encoded().as_ptr()));
    assert_eq!(found.body(), b"small");
}

#[test]
fn the_topmost_cache_sets_the_flush_rule() {
    let flush = Table::default().with("bytes", "64 KiB").with("age", "5 ms");
    let plan = |layers: Vec<Layer>| {
        let spec = Spec::linear(layers).level("memory");
        Plan::new(&spec, &standard(), Path::new("/"))
    };
    let told = plan(vec![
        Layer::new("monitor"),
        Layer::new("cache").with("flush", flush.clone()),
        Layer::new("cache"),
        Layer::new("memory"),
    ]);
    let rule = told.unwrap().flush();
    assert_eq!(rule.bytes, Some(64 << 10));
    assert_eq!(rule.age, Some(std::time::Duration::from_millis(5)));
    let silent = plan(vec![Layer::new("cache"), Layer::new("memory")]).unwrap();
    assert_eq!(
        silent.flush(),
        travertine_engine::stack::FlushRule::default()
    );
    let below = plan(vec![
        Layer::new("cache"),
        Layer::new("cache").with("flush", flush),
        Layer::new("memory"),
    ]);
    assert!(!below.unwrap_err().is_empty());
}

#[test]
fn an_unknown_error_kind_does_not_disown() {
    let env = SimEnv::new(1);
    let (mut writer, below) = over_a_model(env.env());
    let oid = writer.put(&[b"one"])[0];
    writer.read(oid);
    below.next(Op::err(Error::fenced("a read learns nothing")));
    let other = writer.past(8);
    writer.store.read(other).wait().unwrap_err();
    assert_eq!(seen(&*writer.store)[3], 1);
}
