//! Children that cannot be reached for a while, also in the middle of a call, and also all at once: the
//! writer waits for enough of them, and nothing is lost or done twice.

use super::*;
use std::time::Duration;
use travertine_engine::conformance::kit::{Twist, Twisted};
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{
    Batch, Batches, Commit, Epoch, Error, ErrorKind, Level, Oid, Op, Record, RootAt, RootMarker,
    StreamState, Tail, Vector,
};
use travertine_engine::stack::Floor;

/// What lies between the cluster and one child.
#[derive(Debug, Default, Clone, Copy)]
struct Wire {
    /// So many calls get through, and then the child is away for so long.
    breaks: Option<(u64, Duration)>,
    /// The call that meets the break is carried out, and its answer is lost.
    took: bool,
    away_until: Duration,
}

#[derive(Debug, Clone)]
struct Wires {
    wires: Arc<Mutex<Vec<Wire>>>,
    env: Env,
}

impl Wires {
    fn on(rig: &mut Rig) -> Self {
        let wires = Self {
            wires: Arc::new(Mutex::new(vec![Wire::default(); rig.disks.len()])),
            env: rig.world().clone(),
        };
        rig.probe = Some(Arc::new(wires.clone()));
        wires
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.env.clock.monotonic_ns())
    }

    fn change(&self, child: usize, change: impl FnOnce(&mut Wire)) {
        change(&mut self.wires.lock().unwrap()[child]);
    }

    /// It is away from now on, for so long.
    fn away(&self, child: usize, time: Duration) {
        let until = self.now().saturating_add(time);
        self.change(child, |wire| wire.away_until = until);
    }

    fn mend(&self) {
        self.wires.lock().unwrap().fill(Wire::default());
    }
}

#[derive(Debug)]
struct Wired {
    wires: Wires,
    child: usize,
}

impl Wired {
    fn pass<T: Send + 'static>(&self, call: impl FnOnce() -> Op<T>) -> Op<T> {
        let now = self.wires.now();
        let away = || Op::err(Error::unavailable("it cannot be reached"));
        let took = {
            let wire = &mut self.wires.wires.lock().unwrap()[self.child];
            if now < wire.away_until {
                return away();
            }
            match &mut wire.breaks {
                Some((0, time)) => {
                    wire.away_until = now + *time;
                    wire.breaks = None;
                    Some(wire.took)
                }
                Some((calls, _)) => {
                    *calls -= 1;
                    None
                }
                None => None,
            }
        };
        match took {
            None => call(),
            Some(took) => {
                if took {
                    drop(call().wait());
                }
                away()
            }
        }
    }
}

impl Twist for Wired {
    fn store(&self, below: &dyn Store, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.pass(|| below.store(sender, batch))
    }

    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        self.pass(|| below.read(oid))
    }

    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        self.pass(|| below.commit(commit))
    }

    fn root(&self, below: &dyn Store, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.pass(|| below.root(at))
    }

    fn fence(&self, below: &dyn Store, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.pass(|| below.fence(epoch))
    }

    fn adopt(&self, below: &dyn Store, epoch: Epoch, vector: Vector) -> Op<()> {
        self.pass(|| below.adopt(epoch, vector))
    }

    fn scan(&self, below: &dyn Store, stream: Stream, from: Position) -> Op<Batches> {
        self.pass(|| below.scan(stream, from))
    }
}

impl Probe for Wires {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        if floor.kind().name != "file" {
            return store;
        }
        let mut settings = floor.settings().iter();
        let path = settings.find(|setting| setting.name == "path").unwrap();
        let path = format!("{:?}", path.value);
        let number = path.chars().find_map(|letter| letter.to_digit(10));
        let wired = Wired {
            wires: self.clone(),
            child: number.unwrap() as usize - 1,
        };
        Arc::new(Twisted::new(store, wired))
    }
}

pub(super) fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let layer = match rng.below(3) {
        0 => cluster().with("write", 3),
        _ => cluster(),
    };
    let mut rig = Rig::of(3, layer);
    rig.env = SimEnv::new(seed);
    let wires = Wires::on(&mut rig);
    let mut engine = rig.write().unwrap();
    // A takeover does not wait: who asks for it may ask again.
    let mut references = fill(&engine, 0..1);
    for step in 0..40 {
        // One, some, or all at once.
        let many = rng.chance(1, 3);
        for child in 0..3 {
            if !rng.chance(if many { 5 } else { 1 }, 6) {
                continue;
            }
            let calls = rng.below(if many { 4 } else { 30 });
            let time = Duration::from_millis(rng.below(4000) + 1);
            let took = rng.chance(1, 2);
            wires.change(child, |wire| {
                wire.breaks = Some((calls, time));
                wire.took = took;
            });
        }
        let told = |story: &str| format!("SEED={seed}, step {step}: {story}");
        for _ in 0..rng.below(8) {
            let body = vec![7; rng.below(30_000) as usize];
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&body],
            };
            let session = engine.session().unwrap();
            let stored = session.store(&record, Hint::default());
            stored.unwrap_or_else(|error| panic!("{}", told(&error.to_string())));
        }
        let number = references.len() as u64;
        let committed = commit(&engine, number);
        references.push(committed.unwrap_or_else(|error| panic!("{}", told(&error.to_string()))));
        match rng.below(12) {
            // All is gone, the writer too: what was acknowledged is durable on so many.
            0 => {
                drop(engine);
                for disk in &rig.disks {
                    match rng.chance(1, 2) {
                        true => disk.power_cut(),
                        false => disk.kill(),
                    }
                }
                wires.mend();
                engine = rig.write().unwrap();
                let found = newest(&engine).unwrap();
                assert_eq!(found, Some(number), "{}", told("the newest"));
                all_read(&engine, 0, &references);
                references.extend(fill(&engine, number + 1..number + 2));
            }
            1 => rig.env.advance(Duration::from_secs(3)),
            _ => {}
        }
    }
    wires.mend();
    all_read(&engine, 0, &references);
    for _ in 0..10 {
        rig.env.advance(Duration::from_secs(10));
        references.push(commit(&engine, references.len() as u64).unwrap());
    }
    assert_eq!(told(&engine, "children_in_line"), 3, "SEED={seed}");
    engine.close().unwrap();
    rig.are_alike();
}

#[test]
fn a_writer_waits_for_children_that_come_back_and_nothing_is_lost_or_done_twice() {
    for seed in storm::seeds(40) {
        println!("SEED={seed}");
        run(seed);
    }
}

#[test]
fn nobody_is_waited_for_longer_than_was_said() {
    let mut rig = Rig::of(3, cluster().with("wait", "7 s"));
    let wires = Wires::on(&mut rig);
    let engine = rig.write().unwrap();
    let references = fill(&engine, 0..3);
    let began = wires.now();
    for child in [0, 2] {
        wires.away(child, Duration::from_secs(3600));
    }
    let error = commit(&engine, 99).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(
        error.to_string().contains("1 of 3 children are in line"),
        "{error}"
    );
    let waited = wires.now() - began;
    assert!(
        (Duration::from_secs(7)..Duration::from_secs(8)).contains(&waited),
        "{waited:?}"
    );
    all_read(&engine, 0, &references);
    wires.mend();
    drop(engine);
    // What was on its way may be there, and nothing else is.
    let engine = rig.write().unwrap();
    assert!(matches!(newest(&engine).unwrap(), Some(2 | 99)));
    all_read(&engine, 0, &references);
}

#[test]
fn a_writer_waits_for_a_child_that_is_away_where_threads_look_after_it() {
    for away in [vec![1, 2], vec![0, 1, 2]] {
        let mut rig = Rig::of(3, cluster().with("wait", "1 h"));
        rig.world = Some(Env::system());
        let wires = Wires::on(&mut rig);
        let engine = rig.write().unwrap();
        let mut references = fill(&engine, 0..3);
        for child in away {
            wires.away(child, Duration::from_secs(1 << 30));
        }
        std::thread::scope(|scope| {
            let committing = scope.spawn(|| commit(&engine, 3));
            stuck::until("the writer to wait", || {
                told(&engine, "children_in_line") < 2
            });
            wires.mend();
            references.push(committing.join().unwrap().unwrap());
        });
        let mut number = 4;
        stuck::until("all children", || {
            references.push(commit(&engine, number).unwrap());
            number += 1;
            told(&engine, "children_in_line") == 3
        });
        all_read(&engine, 0, &references);
        engine.close().unwrap();
        rig.are_alike();
    }
}
