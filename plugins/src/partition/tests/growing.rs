//! Which child is which, however the list is put, and children that come later.

use super::*;

const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn two_stacks_grow_to_five_and_what_was_stored_stays_where_it_is() {
    let disks = Disks::calm(&FIVE);
    let env = SimEnv::new(1);
    let mut stored = Vec::new();
    for count in 2..=5 {
        let engine = write(&disks, &over_files(&FIVE[..count]), &env).unwrap();
        all_read(&engine, &stored);
        let from = stored.len() as u64;
        let new = fill(&engine, from..from + 60);
        let even = 60 / count;
        assert!(
            spread(&new).values().all(|held| *held == even),
            "{:?}",
            spread(&new)
        );
        assert_eq!(spread(&new).len(), count);
        stored.extend(new);
        all_read(&engine, &stored);
        engine.close().unwrap();
    }
    let engine = read(&disks, &over_files(&FIVE), &env).unwrap();
    all_read(&engine, &stored);
}

#[test]
fn the_list_may_be_put_in_any_order() {
    let disks = Disks::calm(&FIVE);
    let env = SimEnv::new(1);
    let mut stored = Vec::new();
    for list in [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"]] {
        let engine = write(&disks, &over_files(&list), &env).unwrap();
        let from = stored.len() as u64;
        stored.extend(fill(&engine, from..from + 9));
        all_read(&engine, &stored);
        engine.close().unwrap();
    }
    // So may the directories, under the names of each other.
    disks.swap("a", "b");
    let engine = write(&disks, &over_files(&["a", "b", "c"]), &env).unwrap();
    all_read(&engine, &stored);
    engine.close().unwrap();
}

#[test]
fn a_copy_of_a_child_and_a_child_of_another_store_are_refused_by_name() {
    let disks = Disks::calm(&FIVE);
    let env = SimEnv::new(1);
    for list in [["a", "b"], ["c", "d"]] {
        write(&disks, &over_files(&list), &env)
            .unwrap()
            .close()
            .unwrap();
    }
    let before = disks.content();
    let copy = disks.disk("a").image(9);
    disks.put("e", copy);
    let cases = [
        (vec!["a", "b", "e"], "copy"),
        (vec!["a", "b", "d"], "another store"),
    ];
    for (list, word) in cases {
        for read_only in [false, true] {
            let opened = open_probed(&disks, &over_files(&list), env.env(), read_only, None);
            let error = opened.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
    disks.put("e", SimDisk::new(1, DiskPlan::calm()));
    assert_eq!(disks.content(), before);
}

#[test]
fn a_log_that_was_no_child_is_not_made_one() {
    let disks = Disks::calm(&FIVE);
    let env = SimEnv::new(1);
    let alone = Spec::linear([file("c")]);
    let engine = write(&disks, &alone, &env).unwrap();
    fill(&engine, 0..3);
    engine.close().unwrap();
    write(&disks, &over_files(&["a", "b"]), &env)
        .unwrap()
        .close()
        .unwrap();
    let before = disks.content();
    for list in [&["a", "b", "c"][..], &["c", "d"]] {
        let error = open(&disks, &over_files(list), &env).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let held = |place: &str| {
        let all = disks.content().into_iter();
        all.filter(|(name, _)| name.starts_with(place))
            .collect::<Vec<_>>()
    };
    let was = before.into_iter().filter(|(name, _)| name.starts_with('c'));
    assert_eq!(held("c"), was.collect::<Vec<_>>());
    write(&disks, &over_files(&["a", "b"]), &env)
        .unwrap()
        .close()
        .unwrap();
}

/// Every call that changes a disk while two children are added is the last one, in turn.
#[test]
fn a_crash_at_any_step_of_adding_children_leaves_what_can_be_opened() {
    let names = ["a", "b", "c", "d"];
    for (dying, power) in names.iter().flat_map(|name| [(name, false), (name, true)]) {
        for step in 1.. {
            let disks = Disks::new(&names, step, &DiskPlan::calm());
            let env = SimEnv::new(step);
            let engine = write(&disks, &over_files(&names[..2]), &env).unwrap();
            let mut stored = fill(&engine, 0..4);
            engine.close().unwrap();
            disks.disk(dying).crash_in(step);
            let grown = over_files(&names);
            let more = write(&disks, &grown, &env).and_then(|engine| {
                stored.push(commit(&engine, 4)?);
                stored.push(commit(&engine, 5)?);
                engine.close()
            });
            let down = disks.disk(dying).is_down();
            assert!(down || more.is_ok());
            for disk in disks.each() {
                disk.crash_never();
                match power {
                    true => disk.power_cut(),
                    false => disk.kill(),
                }
            }
            let engine = write(&disks, &grown, &env)
                .unwrap_or_else(|error| panic!("{dying} died at call {step}: {error}"));
            all_read(&engine, &stored);
            let from = stored.len() as u64;
            stored.extend(fill(&engine, from..from + 8));
            assert_eq!(spread(&stored[from as usize..]).len(), 4);
            engine.close().unwrap();
            let engine = read(&disks, &grown, &env).unwrap();
            all_read(&engine, &stored);
            if !down {
                assert!(step > 4, "{dying} was hardly touched");
                break;
            }
        }
    }
}

#[test]
fn a_number_is_not_given_to_another_while_its_child_is_out_of_the_list() {
    let disks = Disks::calm(&FIVE);
    let env = SimEnv::new(1);
    let engine = write(&disks, &over_files(&["a", "b", "c"]), &env).unwrap();
    let stored = fill(&engine, 0..9);
    engine.close().unwrap();
    let before = disks.content();
    for list in [
        &["a", "b"][..],
        &["a", "b", "d"],
        &["b", "c"],
        &["b", "c", "d"],
    ] {
        let error = open(&disks, &over_files(list), &env).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("is lost"), "{error}");
    }
    assert_eq!(disks.content(), before);
    let engine = write(&disks, &over_files(&["d", "c", "b", "a"]), &env).unwrap();
    all_read(&engine, &stored);
    let new = fill(&engine, 9..17);
    assert_eq!(
        spread(&new).keys().copied().collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    engine.close().unwrap();
}
