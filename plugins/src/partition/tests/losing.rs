//! A child that is lost, wiped, damaged, or an old copy of itself.

use super::*;
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::Epoch;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three children with records on each, closed.
fn three() -> (Disks, SimEnv, Vec<Reference>) {
    let disks = Disks::calm(&NAMES);
    let env = SimEnv::new(1);
    let engine = write(&disks, &over_files(&NAMES), &env).unwrap();
    let stored = fill(&engine, 0..30);
    engine.close().unwrap();
    (disks, env, stored)
}

fn empty() -> SimDisk {
    SimDisk::new(5, DiskPlan::calm())
}

#[test]
fn while_a_child_is_lost_the_others_serve_and_its_objects_are_unknown() {
    let (disks, env, stored) = three();
    let whole = disks.disk("b");
    disks.put("b", empty());
    let before = disks.content();
    // Gone from its place, or out of the list.
    for list in [&NAMES[..], &["a", "c"]] {
        let engine = read(&disks, &over_files(list), &env).unwrap();
        assert_eq!(engine.snapshot().sequence(), 30);
        for (number, reference) in (0..).zip(&stored) {
            let answer = reads(&engine, number, reference);
            match reference.oid.stream() {
                Stream(1) => {
                    let error = answer.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Unavailable);
                    assert!(error.to_string().contains("b1 is lost"), "{error}");
                }
                _ => answer.unwrap(),
            }
        }
        let status = engine.status();
        let figures = &status.below[0].figures;
        assert!(figures.contains(&("children_lost", 1)), "{figures:?}");
        let error = write(&disks, &over_files(list), &env).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error
                .to_string()
                .contains("b1 is lost; nothing was changed"),
            "{error}"
        );
    }
    assert_eq!(disks.content(), before);
    disks.put("b", whole);
    let engine = write(&disks, &over_files(&NAMES), &env).unwrap();
    all_read(&engine, &stored);
    let new = fill(&engine, 30..36);
    assert_eq!(spread(&new).len(), 3);
    engine.close().unwrap();
}

#[test]
fn without_the_child_that_holds_the_markers_nothing_opens_and_nothing_changes() {
    let (disks, env, stored) = three();
    let whole = disks.disk("a");
    disks.put("a", empty());
    let before = disks.content();
    for read_only in [false, true] {
        let opened = open_probed(&disks, &over_files(&NAMES), env.env(), read_only, None);
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(disks.content(), before);
    disks.put("a", whole);
    all_read(&write(&disks, &over_files(&NAMES), &env).unwrap(), &stored);
}

#[test]
fn a_reader_goes_on_without_a_child_that_does_not_open() {
    let (disks, env, stored) = three();
    let whole = disks.disk("c");
    for name in ["identity", "writer", "partition"] {
        disks.put("c", whole.image(3));
        assert!(disks.disk("c").flip(name, 170), "{name}");
        let engine = read(&disks, &over_files(&NAMES), &env).unwrap();
        for (number, reference) in (0..).zip(&stored) {
            let answer = reads(&engine, number, reference);
            assert_eq!(
                answer.is_err(),
                reference.oid.stream() == Stream(2),
                "{name}"
            );
        }
        let error = write(&disks, &over_files(&NAMES), &env).unwrap_err();
        let kinds = [ErrorKind::Corrupt, ErrorKind::Unavailable];
        assert!(kinds.contains(&error.kind()), "{error}");
    }
}

#[test]
fn a_child_that_dies_ends_the_writing_and_what_was_acknowledged_is_there_after() {
    for dying in NAMES {
        let (disks, env, mut stored) = three();
        let engine = write(&disks, &over_files(&NAMES), &env).unwrap();
        stored.extend(fill(&engine, 30..33));
        disks.disk(dying).crash_in(1);
        let failed = (33..36)
            .find_map(|number| commit(&engine, number).err())
            .unwrap();
        assert_eq!(failed.kind(), ErrorKind::Closed, "{failed}");
        assert!(engine.session().is_err());
        // What lies on the others is served still.
        for (number, reference) in (0..).zip(&stored) {
            if reference.oid.stream()
                != stored[NAMES.iter().position(|n| *n == dying).unwrap()]
                    .oid
                    .stream()
            {
                reads(&engine, number, reference).unwrap();
            }
        }
        drop(engine);
        for disk in disks.each() {
            disk.kill();
        }
        let engine = write(&disks, &over_files(&NAMES), &env).unwrap();
        all_read(&engine, &stored);
    }
}

/// One child as it was at some moment, the others as they are, after a crash or a clean end.
#[test]
fn an_old_copy_of_a_child_is_noticed_and_nothing_is_changed() {
    let (mut noticed, mut harmless) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let disks = Disks::new(&NAMES, seed, &DiskPlan::calm());
        let env = SimEnv::new(seed);
        let spec = over(Layer::new("partition").with("place", "tag"), &NAMES);
        let mut stored = Vec::new();
        let mut images = Vec::new();
        let mut engine = write(&disks, &spec, &env).unwrap();
        for number in 0..40 {
            stored.push(commit_tagged(&engine, number, 200, rng.below(3)).unwrap());
            if rng.chance(1, 4) {
                images.push((stored.len(), disks.image(number)));
            }
            if rng.chance(1, 12) {
                engine.close().unwrap();
                engine = write(&disks, &spec, &env).unwrap();
            }
        }
        // Of the last commit, nobody knew yet that it was durable everywhere.
        let mut proven = 39;
        if rng.chance(1, 2) {
            engine.close().unwrap();
            proven = 40;
        }
        drop(engine);
        for disk in disks.each() {
            disk.kill();
        }
        for (held, old) in &images {
            let name = NAMES[rng.below_usize(3)];
            let mixed = disks.image(seed);
            mixed.put(name, old.image(seed).disk(name));
            let before = mixed.content();
            let stream = NAMES.iter().position(|of| *of == name).unwrap() as u16;
            let behind = stored[..proven]
                .iter()
                .skip(*held)
                .any(|of| of.oid.stream() == Stream(stream));
            match write(&mixed, &spec, &env) {
                Err(error) => {
                    let kinds = [ErrorKind::Unavailable, ErrorKind::Corrupt];
                    assert!(kinds.contains(&error.kind()), "SEED={seed}: {error}");
                    assert_eq!(mixed.content(), before, "SEED={seed}: {error}");
                    noticed += 1;
                }
                Ok(engine) => {
                    // The markers are the newest that anybody could know of.
                    assert!(stream == 0 || !behind, "SEED={seed}: {name} as of {held}");
                    if stream != 0 {
                        all_read(&engine, &stored[..proven]);
                    }
                    harmless += 1;
                }
            }
        }
    }
    println!("{noticed} noticed, {harmless} were as good as new");
    assert!(
        noticed > 100 && harmless > 10,
        "{noticed} noticed, {harmless} not"
    );
}

#[test]
fn a_fence_asks_all_or_says_who_is_missing() {
    let (disks, env, _) = three();
    let store = open(&disks, &over_files(&NAMES), &env).unwrap();
    let states = store.fence(Epoch::default()).wait().unwrap();
    let streams: Vec<_> = states.iter().map(|state| state.stream.0).collect();
    assert_eq!(streams, [0, 1, 2]);
    store.close().wait().unwrap();
    let store = open_probed(&disks, &over_files(&["a", "c"]), env.env(), true, None).unwrap();
    let error = store.fence(Epoch::default()).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn a_bit_flipped_anywhere_in_a_child_is_never_a_wrong_answer() {
    let (disks, env, stored) = three();
    let (mut refused, mut told, mut harmless) = (0, 0, 0);
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let damaged = disks.image(seed);
        let name = NAMES[rng.below_usize(3)];
        let files = damaged.disk(name).files();
        let (file, bytes) = &files[rng.below_usize(files.len())];
        // Most of a segment is room that nobody wrote to.
        let bits = 8 * bytes.len().min(16 << 10) as u64;
        if bits == 0 || !damaged.disk(name).flip(file, rng.below(bits)) {
            continue;
        }
        let place = format!("SEED={seed}: {file} of {name}");
        for read_only in [true, false] {
            let opened = match read_only {
                true => read(&damaged, &over_files(&NAMES), &env),
                false => write(&damaged, &over_files(&NAMES), &env),
            };
            let engine = match opened {
                Ok(engine) => engine,
                Err(error) => {
                    let kinds = [
                        ErrorKind::Corrupt,
                        ErrorKind::Unavailable,
                        ErrorKind::Invalid,
                    ];
                    assert!(kinds.contains(&error.kind()), "{place}: {error}");
                    refused += 1;
                    continue;
                }
            };
            assert_eq!(engine.snapshot().sequence(), 30, "{place}");
            for (number, reference) in (0..).zip(&stored) {
                match reads(&engine, number, reference) {
                    Ok(()) => harmless += 1,
                    Err(error) => {
                        let kinds = [ErrorKind::Corrupt, ErrorKind::Unavailable];
                        assert!(kinds.contains(&error.kind()), "{place}: {error}");
                        told += 1;
                    }
                }
            }
        }
    }
    println!("{refused} refused, {told} reads told of it, {harmless} answered");
    assert!(
        refused > 10 && told > 10 && harmless > 1_000,
        "{refused} {told} {harmless}"
    );
}
