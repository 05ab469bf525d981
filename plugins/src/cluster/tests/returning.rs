//! Children that were away, or are new.

use super::*;
use travertine_engine::conformance::kit::{Twist, Twisted};
use travertine_engine::contract::env::Job;
use travertine_engine::contract::{Commit, ErrorKind, Level, Op, Promise};
use travertine_engine::stack::Floor;

/// Children whose commits are answered when somebody says so, while there is a list to keep them in.
#[derive(Debug, Default)]
struct Held(Mutex<Option<Answers>>);

#[derive(Default)]
struct Answers(Vec<Job>);

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answers", self.0.len())
    }
}

impl Held {
    fn count(&self) -> usize {
        let held = self.0.lock().unwrap();
        held.as_ref().map_or(0, |held| held.0.len())
    }
}

#[derive(Debug)]
struct Later(Arc<Held>);

impl Twist for Later {
    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        let done = below.commit(commit).wait();
        let mut held = self.0.0.lock().unwrap();
        let Some(held) = &mut *held else {
            return Op::ready(done);
        };
        let (promise, op) = Promise::new();
        held.0.push(Box::new(move || promise.fulfil(done)));
        op
    }
}

impl Probe for Later {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match floor.kind().name {
            "file" => Arc::new(Twisted::new(store, Self(self.0.clone()))),
            _ => store,
        }
    }
}

#[test]
fn a_child_that_came_back_during_a_commit_counts_without_another_one() {
    let mut rig = Rig::new(3);
    let held = Arc::new(Held::default());
    rig.probe = Some(Arc::new(Later(held.clone())));
    let engine = rig.write().unwrap();
    let mut references = fill(&engine, 0..5);
    rig.disks[2].crash_in(1);
    references.extend(fill(&engine, 5..8));
    assert_eq!(told(&engine, "children_in_line"), 2);
    rig.disks[2].crash_never();
    rig.disks[2].kill();
    rig.env.advance(std::time::Duration::from_secs(60));
    *held.0.lock().unwrap() = Some(Answers::default());
    std::thread::scope(|scope| {
        let committing = scope.spawn(|| commit(&engine, 8));
        stuck::until("the commit of all three", || held.count() == 3);
        // It follows, and does not count before it is known to have it all.
        assert_eq!(told(&engine, "children_out"), 0);
        assert_eq!(told(&engine, "children_in_line"), 2);
        let answers = held.0.lock().unwrap().take().unwrap();
        answers.0.into_iter().for_each(|answer| answer());
        references.push(committing.join().unwrap().unwrap());
    });
    assert_eq!(told(&engine, "children_in_line"), 3);
    engine.close().unwrap();
    rig.are_alike();
}

#[test]
fn a_child_that_was_away_for_a_reign_is_brought_what_it_lacks() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let mut references = fill(&engine, 0..5);
    drop(engine);
    rig.hold(1);
    let engine = rig.write().unwrap();
    references.extend(fill(&engine, 5..40));
    assert_eq!(told(&engine, "children_in_line"), 2);
    rig.release(1);
    for number in 40..60 {
        rig.env.advance(std::time::Duration::from_secs(1));
        references.push(commit(&engine, number).unwrap());
    }
    assert_eq!(told(&engine, "children_in_line"), 3);
    all_read(&engine, 0, &references);
    engine.close().unwrap();
    rig.are_alike();
    // It counts: with it, one of the others may be away.
    rig.hold(2);
    let engine = rig.write().unwrap();
    assert_eq!(newest(&engine).unwrap(), Some(59));
    all_read(&engine, 0, &references);
}

#[test]
fn an_empty_child_stays_out_until_it_is_replaced() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let mut references = fill(&engine, 0..30);
    engine.close().unwrap();
    let lost = rig.disks[1].image(4);
    rig.wipe(2);
    let engine = rig.write().unwrap();
    references.extend(fill(&engine, 30..33));
    assert_eq!(told(&engine, "children_out"), 1);
    engine.close().unwrap();
    assert!(
        rig.disks[1].files().is_empty(),
        "nothing is made in an empty child unasked"
    );
    // Empty, it is no knowledge: with another one away nobody knows enough.
    rig.hold(1);
    assert_eq!(rig.write().unwrap_err().kind(), ErrorKind::Unavailable);
    rig.release(1);

    let replacing = rig.with(cluster().with("replace", 2));
    let engine = replacing.write().unwrap();
    for number in 33..40 {
        rig.env.advance(std::time::Duration::from_secs(1));
        references.push(commit(&engine, number).unwrap());
    }
    assert_eq!(told(&engine, "children_in_line"), 3);
    engine.close().unwrap();
    rig.are_alike();
    rig.hold(1);
    let engine = rig.write().unwrap();
    all_read(&engine, 0, &references);
    assert_eq!(newest(&engine).unwrap(), Some(39));
    drop(engine);
    rig.release(1);
    // What was replaced does not come back.
    let mut back = rig.clone();
    back.disks[1] = lost;
    let engine = back.write().unwrap();
    assert_eq!(told(&engine, "children_out"), 1);
    all_read(&engine, 0, &references);
}

#[test]
fn a_replacement_that_was_interrupted_goes_on_and_does_not_count_before() {
    for (children, calls) in (1..200)
        .step_by(7)
        .flat_map(|calls| [(3, calls), (2, calls)])
    {
        let rig = Rig::new(children);
        let last = children - 1;
        let engine = rig.write().unwrap();
        let references = fill(&engine, 0..8);
        engine.close().unwrap();
        rig.wipe(children);
        rig.disks[last].crash_in(calls);
        let replacing = rig.with(cluster().with("replace", children as i64));
        if let Ok(engine) = replacing.write() {
            for number in 8..12 {
                rig.env.advance(std::time::Duration::from_secs(1));
                // Of two, none goes on alone.
                let done = commit(&engine, number);
                assert!(done.is_ok() || children == 2, "{done:?}");
                if done.is_err() {
                    break;
                }
            }
            drop(engine);
        }
        rig.disks[last].crash_never();
        for disk in &rig.disks {
            disk.power_cut();
        }
        let engine = rig
            .with(cluster().with("replace", children as i64))
            .write()
            .unwrap();
        let before = newest(&engine).unwrap().unwrap();
        for number in before + 1..before + 6 {
            rig.env.advance(std::time::Duration::from_secs(1));
            commit(&engine, number).unwrap();
        }
        all_read(&engine, 0, &references);
        assert_eq!(
            told(&engine, "children_in_line"),
            children as u64,
            "crashed after {calls} calls"
        );
        engine.close().unwrap();
        rig.are_alike();
    }
}

#[test]
fn a_tail_that_was_never_acknowledged_is_cut_when_its_child_comes_back() {
    let rig = Rig::of(3, cluster().with("wait", "0 s"));
    let engine = rig.write().unwrap();
    let references = fill(&engine, 0..5);
    // Two children go: the last commit reaches one only, and nobody acknowledges it.
    rig.disks[0].fail_sync_after(0);
    rig.disks[1].fail_sync_after(0);
    assert!(commit(&engine, 77).is_err());
    drop(engine);
    for disk in &rig.disks[..2] {
        disk.fail_no_sync();
        disk.power_cut();
    }
    // The one that has it is away while the others go on.
    rig.hold(3);
    let engine = rig.write().unwrap();
    let more = fill(&engine, 5..9);
    rig.release(3);
    for number in 9..15 {
        rig.env.advance(std::time::Duration::from_secs(1));
        commit(&engine, number).unwrap();
    }
    assert_eq!(told(&engine, "children_in_line"), 3);
    all_read(&engine, 0, &references);
    let first = newest(&engine).unwrap();
    assert_eq!(first, Some(14));
    drop(more);
    engine.close().unwrap();
    rig.are_alike();
}

#[test]
fn of_a_pair_the_lost_one_is_replaced_and_nothing_is_written_without_it() {
    let rig = Rig::new(2);
    let engine = rig.write().unwrap();
    let mut references = fill(&engine, 0..12);
    engine.close().unwrap();
    let lost = rig.disks[0].image(3);
    rig.wipe(1);
    // One alone does not make two copies; it is still read.
    let engine = rig.write().unwrap();
    all_read(&engine, 0, &references);
    assert_eq!(
        commit(&engine, 99).unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    drop(engine);
    let engine = rig.with(cluster().with("replace", 1)).write().unwrap();
    references.push(commit(&engine, 12).unwrap());
    assert_eq!(told(&engine, "children_in_line"), 2);
    engine.close().unwrap();
    rig.are_alike();
    let engine = rig.write().unwrap();
    all_read(&engine, 0, &references);
    engine.close().unwrap();
    // The old one is back, in its own place: it does not count.
    let mut back = rig.clone();
    back.disks[0] = lost;
    let engine = back.write().unwrap();
    assert_eq!(newest(&engine).unwrap(), Some(12));
    assert!(commit(&engine, 99).is_err());
}

#[test]
fn a_sequence_or_a_cache_that_failed_below_a_cluster_comes_back() {
    let between = [
        Layer::new("sequence").with("segment", "64 KiB"),
        Layer::new("cache").with("memory", "64 KiB"),
        Layer::new("monitor"),
    ];
    for layer in between {
        let mut rig = Rig::new(3);
        rig.between = Some(layer);
        let engine = rig.write().unwrap();
        let mut references = fill(&engine, 0..300);
        rig.disks[1].fail_sync_after(0);
        references.extend(fill(&engine, 300..310));
        rig.disks[1].fail_no_sync();
        for number in 310..500 {
            rig.env.advance(std::time::Duration::from_millis(100));
            references.push(commit(&engine, number).unwrap());
        }
        let status = &engine.status().below[0];
        let troubles: Vec<_> = status
            .below
            .iter()
            .filter_map(|child| child.refusing.clone())
            .collect();
        assert_eq!(
            figure(status, "children_in_line"),
            3,
            "{:?} {troubles:?}",
            rig.between
        );
        engine.close().unwrap();
        rig.disks[0].fail_sync_after(0);
        let engine = rig.write().unwrap();
        all_read(&engine, 0, &references);
        commit(&engine, 500).unwrap();
        drop(engine);
        // Away for a reign, too.
        rig.wipe(3);
        rig.layer = cluster().with("replace", 3);
        let engine = rig.write().unwrap();
        for number in 501..520 {
            rig.env.advance(std::time::Duration::from_secs(1));
            commit(&engine, number).unwrap();
        }
        let status = &engine.status().below[0];
        let troubles: Vec<_> = status
            .below
            .iter()
            .filter_map(|child| child.refusing.clone())
            .collect();
        assert_eq!(
            figure(status, "children_in_line"),
            3,
            "{:?} {troubles:?}",
            rig.between
        );
        all_read(&engine, 0, &references);
        engine.close().unwrap();
    }
}
