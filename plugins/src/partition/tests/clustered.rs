//! Clusters as children: the markers lie in one stream, and say nothing of the others by their place.

use super::*;
use travertine_engine::contract::Epoch;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const SMALL: usize = 300;
const LARGE: usize = 20_000;

/// Small records and all markers in the first stream, large ones in the second. Each is a cluster of
/// three, or a log by itself.
fn spec(clusters: [bool; 2]) -> Spec {
    let tower = |cluster: bool, names: &[&str]| match cluster {
        true => {
            let children = names.iter().map(|name| vec![file(name)]);
            vec![Layer::new("cluster").over(children.collect())]
        }
        false => vec![file(names[0])],
    };
    let layer = Layer::new("partition")
        .with("place", "size")
        .with("classes", "4 KiB");
    let (first, second) = NAMES.split_at(3);
    Spec::linear([layer.over(vec![tower(clusters[0], first), tower(clusters[1], second)])])
}

/// Each way to mix them, with a second stream that is far shorter than the first, and far longer.
fn ways() -> impl Iterator<Item = ([bool; 2], usize)> {
    let clusters = [[false, true], [true, false], [true, true]];
    clusters
        .into_iter()
        .flat_map(|clusters| [SMALL, LARGE].map(|length| (clusters, length)))
}

fn fill_with(engine: &Engine, numbers: std::ops::Range<u64>, length: usize) -> Vec<Reference> {
    let stored = numbers.map(|number| commit_tagged(engine, number, length, 0));
    stored.collect::<Result<_>>().unwrap()
}

#[test]
fn a_running_stack_reports_however_far_its_streams_are_apart() {
    for (clusters, length) in ways() {
        let spec = spec(clusters);
        let disks = Disks::calm(&NAMES);
        let env = SimEnv::new(1);
        let store = open(&disks, &spec, &env).unwrap();
        let engine = Engine::open(store.clone(), env.env(), Options::default()).unwrap();
        fill_with(&engine, 0..20, length);
        engine.prove().unwrap();
        let states = store.fence(Epoch::default()).wait().unwrap();
        let [first, second] = &states[..] else {
            panic!("{states:?}");
        };
        assert_eq!(
            first.end.position < second.end.position,
            length == LARGE,
            "{states:?}"
        );
        assert_eq!(
            (first.proven.unwrap().sequence, second.proven),
            (20, first.proven)
        );
        engine.close().unwrap();
        drop(engine);
        // What the children note at a close is of their own stream, turn after turn.
        for turn in 0..3 {
            let engine = write(&disks, &spec, &env).unwrap();
            fill_with(&engine, 20 + turn..21 + turn, length);
            engine.close().unwrap();
        }
    }
}

#[test]
fn a_stack_is_taken_over_however_far_its_streams_are_apart() {
    for (clusters, length) in ways() {
        let spec = spec(clusters);
        // Each cluster does without any one of its children.
        let spare = (0..).zip(NAMES).filter(|(index, _)| clusters[index / 3]);
        for (index, lost) in spare {
            let disks = Disks::new(&NAMES, index as u64, &DiskPlan::calm());
            let env = SimEnv::new(1);
            let engine = write(&disks, &spec, &env).unwrap();
            let mut stored = fill_with(&engine, 0..20, length);
            // Each stream names the newest commit, and a kill leaves that where it is.
            engine.prove().unwrap();
            drop(engine);
            disks.each().iter().for_each(SimDisk::kill);
            disks.put(lost, SimDisk::new(5, DiskPlan::calm()));
            let engine = write(&disks, &spec, &env).unwrap();
            all_read(&engine, &stored);
            stored.extend(fill_with(&engine, 20..25, length));
            all_read(&engine, &stored);
            engine.close().unwrap();
        }
    }
}

#[test]
fn a_cluster_that_is_short_of_what_a_marker_beside_it_needs_is_noticed_and_nothing_is_changed() {
    let disks = Disks::calm(&NAMES);
    let spec = spec([false, true]);
    let env = SimEnv::new(1);
    let engine = write(&disks, &spec, &env).unwrap();
    fill_with(&engine, 0..20, LARGE);
    engine.close().unwrap();
    let old = disks.image(1);
    let engine = write(&disks, &spec, &env).unwrap();
    fill_with(&engine, 20..25, LARGE);
    engine.close().unwrap();
    drop(engine);
    // All of it agrees, and reaches beyond the place of every marker.
    for name in &NAMES[3..] {
        disks.put(name, old.disk(name));
    }
    let before = disks.content();
    let error = write(&disks, &spec, &env).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("nothing was cut"), "{error}");
    assert_eq!(disks.content(), before);
}
