//! Many readers while writers take over from one another: whatever is answered was true at some
//! moment between the question and the answer.

use std::sync::RwLock;
use std::sync::atomic::AtomicBool;

use travertine_engine::conformance::rng::Rng;

use super::*;

/// Answers some reads at once, has drivers answer others.
#[derive(Debug)]
struct Mixed(Env, Mutex<Rng>);

impl Twist for Mixed {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        let (pending, moments) = {
            let mut rng = self.1.lock().unwrap();
            (rng.chance(1, 2), rng.below(3))
        };
        let found = below.read(oid).wait();
        if !pending {
            return Op::ready(found);
        }
        self.0.offload(move || {
            (0..moments).for_each(|_| std::thread::yield_now());
            found
        })
    }
}

/// A record, and whether a cut that was answered made it void.
struct Known {
    oid: Oid,
    body: Vec<u8>,
    cut_asked: AtomicBool,
    cut_answered: AtomicBool,
}

#[test]
fn readers_never_see_what_was_void_when_they_asked_nor_miss_what_was_not() {
    const READERS: u64 = 4;
    const TURNS: u64 = 60;
    let env = Env::system();
    let model = Arc::new(ModelStore::new(ModelOptions::default()));
    let mixed = Mixed(env.clone(), Mutex::new(Rng::new(5)));
    // So small that most of what is kept is let go again.
    let store = cache(Arc::new(Twisted::new(model, mixed)), &env, 64 << 10);
    let known: RwLock<Vec<Arc<Known>>> = RwLock::default();
    let done = AtomicBool::new(false);
    let read = |seed: u64| {
        let mut rng = Rng::new(seed);
        let (mut found, mut void) = (0_u64, 0_u64);
        // However late it gets to run, there is enough of both to be read in the end.
        while !done.load(Ordering::Acquire) || found + void < 1_000 || found.min(void) <= 100 {
            let picked = {
                let known = known.read().unwrap();
                let newest = known.len().saturating_sub(40);
                let from = if rng.chance(1, 2) { newest } else { 0 };
                let index = from + rng.below_usize(known.len().max(from + 1) - from);
                known.get(index).cloned()
            };
            let Some(picked) = picked else { continue };
            let was_void = picked.cut_answered.load(Ordering::Acquire);
            let op = store.read(picked.oid);
            if rng.chance(1, 8) {
                continue;
            }
            match op.wait().unwrap() {
                Some(record) => {
                    assert!(!was_void, "{} was void, and is found", picked.oid);
                    assert_eq!(record.body(), picked.body);
                    found += 1;
                }
                None => {
                    assert!(
                        picked.cut_asked.load(Ordering::Acquire),
                        "{} is there, and is not found",
                        picked.oid
                    );
                    void += 1;
                }
            }
        }
        (found, void)
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|seed| {
                let read = &read;
                scope.spawn(move || read(seed))
            })
            .collect();
        let mut rng = Rng::new(99);
        let mut writer = Writer::new(store.clone());
        for _ in 0..TURNS {
            let mut cut = writer.before;
            let stays = rng.below(8);
            let mut goes = Vec::new();
            for batch in 0..16 {
                let body = rng.bytes(400);
                let oid = writer.put(&[&body])[0];
                let one = Arc::new(Known {
                    oid,
                    body,
                    cut_asked: AtomicBool::new(false),
                    cut_answered: AtomicBool::new(false),
                });
                if batch < stays {
                    cut = writer.before;
                } else {
                    goes.push(one.clone());
                }
                known.write().unwrap().push(one);
            }
            let mut next = Writer::fenced(store.clone());
            for one in &goes {
                one.cut_asked.store(true, Ordering::Release);
            }
            next.adopt(cut);
            for one in &goes {
                one.cut_answered.store(true, Ordering::Release);
            }
            writer = next;
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            let (found, void) = reader.join().unwrap();
            println!("{found} found, {void} void");
        }
    });
    let [hits, misses, joined, _] = seen(&*store);
    println!("{hits} hits, {misses} misses, {joined} joined");
    assert!(hits > 0 && misses > 0);
}
