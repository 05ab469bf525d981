//! Real threads on real directories: rolls on drivers, many committers, readers beside a writer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use travertine_engine::contract::RootAt;

use super::*;

fn real(spec: &Spec, base: &Path) -> Plan {
    Plan::new(spec, &crate::standard(), base).unwrap()
}

fn open(plan: &Plan, env: &Env, read_only: bool) -> Result<Engine> {
    let opening = Opening {
        read_only,
        ..Opening::default()
    };
    let options = Options {
        level: plan.level(),
        read_only,
        ..Options::default()
    };
    Engine::open(plan.open(env, opening)?.store(), env, options)
}

/// Done when a thread ends, also by a failure: the other one must not wait for it for ever.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn inside(spec_of: fn(&str) -> Layer) -> [Spec; 2] {
    let names = ["a", "b", "c", "d"];
    let list = names.iter().map(|name| vec![spec_of(name)]).collect();
    [
        Spec::linear([sequence("64 KiB"), spec_of("data")]),
        Spec::linear([sequence("256 KiB").over(list)]),
    ]
}

#[test]
fn many_committers_roll_through_many_parts() {
    let in_memory = |_: &str| Layer::new("memory").with("segment", "64 KiB");
    let [one, list] = inside(in_memory);
    let specs = inside(file).into_iter();
    for spec in specs.chain([one.level("memory"), list.level("memory")]) {
        let directory = tempfile::tempdir().unwrap();
        let plan = real(&spec, directory.path());
        let env = Env::system();
        let engine = open(&plan, &env, false).unwrap();
        let kept = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (engine, kept) = (&engine, &kept);
                scope.spawn(move || {
                    for turn in 0..80 {
                        let number = thread * 1000 + turn;
                        let reference = commit(engine, number, 4096).unwrap();
                        kept.lock().unwrap().push((number, reference));
                    }
                });
            }
        });
        let kept = kept.into_inner().unwrap();
        let check = |engine: &Engine| {
            for (number, reference) in &kept {
                reads(engine, *number, reference).unwrap();
            }
            assert_eq!(engine.snapshot().sequence(), 320);
        };
        check(&engine);
        assert!(
            figure(&engine, "rolls") >= 2,
            "{}",
            figure(&engine, "rolls")
        );
        engine.close().unwrap();
        drop(engine);
        if plan.level() == Level::Disk {
            check(&open(&plan, &env, false).unwrap());
            check(&open(&plan, &env, true).unwrap());
        }
    }
}

#[test]
fn readers_beside_a_writer_see_every_proven_commit_through_every_roll() {
    for spec in inside(file) {
        let directory = tempfile::tempdir().unwrap();
        let plan = real(&spec, directory.path());
        let env = Env::system();
        let engine = open(&plan, &env, false).unwrap();
        let mut references = vec![commit(&engine, 0, 4096).unwrap()];
        references.push(commit(&engine, 1, 4096).unwrap());
        let early = open(&plan, &env, true).unwrap();
        let acknowledged = Mutex::new(references);
        let done = AtomicBool::new(false);
        let looks = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ended = AtEnd(|| done.store(true, Ordering::Release));
                for number in 2..400 {
                    // A few looks at least, however slow the reader is.
                    while looks.load(Ordering::Acquire) < number / 100 {
                        std::thread::yield_now();
                    }
                    let reference = commit(&engine, number, 4096).unwrap();
                    acknowledged.lock().unwrap().push(reference);
                }
            });
            let _ended = AtEnd(|| looks.store(u64::MAX, Ordering::Release));
            let mut seen = 0;
            while !done.load(Ordering::Acquire) {
                let references = acknowledged.lock().unwrap().clone();
                let reader = open(&plan, &env, true).unwrap();
                let newest = reader.snapshot().sequence();
                // The next commit names the one before it as proven.
                assert!(newest + 1 >= references.len() as u64 && newest >= seen);
                seen = newest;
                let proven = (newest as usize).min(references.len());
                all_read(&reader, &references[..proven]);
                let middle = newest / 2 + 1;
                assert!(reader.at(RootAt::Sequence(middle)).unwrap().is_some());
                reads(&early, 0, &references[0]).unwrap();
                looks.fetch_add(1, Ordering::AcqRel);
            }
            println!("{} looks", looks.load(Ordering::Acquire));
        });
        assert!(figure(&engine, "rolls") >= 3);
        // A reader that was there before all the rolls still reads what it knows, and the rest once it
        // has looked again.
        let references = acknowledged.into_inner().unwrap();
        assert!(early.snapshot().sequence() <= 2);
        reads(&early, 0, &references[0]).unwrap();
        assert!(early.refresh().unwrap().sequence() >= 399);
        all_read(&early, &references[..399]);
        engine.close().unwrap();
        assert_eq!(early.refresh().unwrap().sequence(), 400);
        all_read(&early, &references);
    }
}

#[test]
fn a_second_writer_is_refused_by_a_list_as_well() {
    for spec in inside(file) {
        let directory = tempfile::tempdir().unwrap();
        let plan = real(&spec, directory.path());
        let env = Env::system();
        let engine = open(&plan, &env, false).unwrap();
        fill(&engine, 0..40);
        let error = open(&plan, &env, false).unwrap_err();
        assert_eq!(
            error.kind(),
            travertine_engine::contract::ErrorKind::Unavailable
        );
        assert!(error.to_string().contains("is being written by process"));
        fill(&engine, 40..60);
        engine.close().unwrap();
        open(&plan, &env, false).unwrap();
    }
}
