//! Three directories, written and read by several threads, while one child fails and then another one
//! hangs: nothing that was acknowledged is lost, no read fails, and in the end the children are alike.

use super::stuck::{Gate, gated, until};
use super::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use travertine_engine::medium::file::FileMedium;

const WRITERS: u64 = 3;
const READERS: usize = 2;
/// Acknowledgements that make a phase.
const PHASE: usize = 40;

/// Ends the threads, also where a test fails.
struct Ends<'a>(&'a AtomicBool, &'a Gate);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.open();
    }
}

/// What the threads have in common.
struct Desk {
    engine: Engine,
    /// What was acknowledged.
    acked: Mutex<Vec<(u64, Reference)>>,
    read: AtomicUsize,
    ended: AtomicBool,
}

impl Desk {
    fn write(&self, writer: u64) -> u64 {
        let name = format!("writer-{writer}");
        let mut number = writer;
        loop {
            number += WRITERS;
            let reference = commit_to(&self.engine, &name, number).unwrap();
            self.acked.lock().unwrap().push((number, reference));
            if self.ended.load(Ordering::Relaxed) {
                return number;
            }
        }
    }

    fn read(&self, reader: usize) {
        let mut turn = reader;
        while !self.ended.load(Ordering::Relaxed) {
            let known = {
                let acked = self.acked.lock().unwrap();
                // The newest, and one of the older ones.
                let older = acked.get(turn * 7919 % acked.len().max(1));
                [acked.last().copied(), older.copied()]
            };
            for (number, reference) in known.into_iter().flatten() {
                assert_eq!(number_at(&self.engine, &reference).unwrap(), number);
                self.read.fetch_add(1, Ordering::Relaxed);
            }
            turn += 1;
            std::thread::yield_now();
        }
    }

    /// More is acknowledged, and read.
    fn goes_on(&self) {
        let count = || self.acked.lock().unwrap().len();
        let (acked, read) = (count(), self.read.load(Ordering::Relaxed));
        until("more acknowledgements", || count() >= acked + PHASE);
        until("more reads", || self.read.load(Ordering::Relaxed) > read);
    }

    fn figure(&self, name: &str) -> u64 {
        let monitor = &self.engine.status().below[0];
        assert_eq!(monitor.kind, "monitor");
        figure(&monitor.below[0], name)
    }

    fn in_line(&self, children: u64) {
        until("children in line", || {
            self.figure("children_in_line") == children
        });
    }
}

#[test]
fn children_that_fail_and_hang_under_load_lose_nothing_and_come_back_alike() {
    let directory = tempfile::tempdir().unwrap();
    let env = Env::system();
    let gate = Arc::new(Gate::default());
    let spec = Spec::linear([
        Layer::new("monitor"),
        cluster().over((1..=3).map(child).collect()),
    ]);
    let plan = Plan::new(&spec, &crate::standard(), Path::new("/")).unwrap();
    let store = || {
        let opening = Opening {
            media: Some(Arc::new(Directories(directory.path().to_owned()))),
            probes: vec![gated(&gate, &env)],
            ..Opening::default()
        };
        plan.open(&env, opening).unwrap().store()
    };
    let options = Options {
        recent_max: 0,
        ..Options::default()
    };
    let desk = Desk {
        engine: Engine::open(store(), &env, options.clone()).unwrap(),
        acked: Mutex::default(),
        read: AtomicUsize::default(),
        ended: AtomicBool::default(),
    };
    let last: Vec<u64> = std::thread::scope(|scope| {
        let desk = &desk;
        let ends = Ends(&desk.ended, &gate);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || desk.write(writer)))
            .collect();
        for reader in 0..READERS {
            scope.spawn(move || desk.read(reader));
        }
        desk.goes_on();
        // The child that is asked first fails whatever it is asked.
        gate.fail(1);
        desk.in_line(2);
        desk.goes_on();
        gate.open();
        desk.in_line(3);
        desk.goes_on();
        // The commits of another one do not end.
        gate.shut("commit", &[3]);
        until("a commit that hangs", || !gate.hang().is_empty());
        desk.goes_on();
        gate.open();
        desk.goes_on();
        desk.in_line(3);
        drop(ends);
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    });
    desk.in_line(3);
    for name in ["children_left", "children_returned", "batches_caught_up"] {
        assert!(desk.figure(name) > 0, "{name}");
    }
    let Desk { engine, acked, .. } = desk;
    engine.close().unwrap();
    drop(engine);

    let engine = Engine::open(store(), &env, options).unwrap();
    for (number, reference) in acked.into_inner().unwrap() {
        assert_eq!(number_at(&engine, &reference).unwrap(), number);
    }
    for (writer, last) in last.into_iter().enumerate() {
        let name = Name::new(format!("writer-{writer}")).unwrap();
        let snapshot = engine.snapshot();
        let reference = snapshot.names().get(&name).unwrap();
        assert_eq!(number_at(&engine, reference).unwrap(), last);
    }
    engine.close().unwrap();
    drop(engine);
    let lies = |number: usize| {
        let place = directory.path().join(format!("child-{number}"));
        batches_on(Arc::new(FileMedium::new(place, 4096)), &env)
    };
    let first = lies(1);
    assert!(!first.is_empty());
    assert!(first == lies(2) && first == lies(3), "children differ");
}

/// The places of a stack, in a directory for the test.
#[derive(Debug)]
struct Directories(std::path::PathBuf);

impl Media for Directories {
    fn medium(&self, place: &Path, unit: u64) -> Arc<dyn Medium> {
        let within = place.strip_prefix("/").unwrap();
        Arc::new(FileMedium::new(self.0.join(within), unit))
    }
}
