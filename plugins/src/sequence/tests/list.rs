//! A sequence over a list: when it goes on in the next stack, and which lists it refuses.

use std::time::Duration;

use travertine_engine::contract::ErrorKind;

use super::*;

const KIB: u64 = 1 << 10;

fn until_full() -> Layer {
    Layer::new("sequence")
}

/// Commits until there is no room.
fn exhaust(engine: &Engine, references: &mut Vec<Reference>) -> travertine_engine::contract::Error {
    loop {
        match commit(engine, references.len() as u64, 4096) {
            Ok(reference) => references.push(reference),
            Err(error) => return error,
        }
        assert!(references.len() < 10_000, "it is never full");
    }
}

#[test]
fn the_next_stack_is_used_when_one_is_full_and_full_is_told_when_all_are() {
    let (on, env) = OnDisk::calm(&over_these(until_full(), &["a", "b", "c"]));
    for name in ["a", "b", "c"] {
        on.disk.set_volume(name, Some(700 * KIB));
    }
    let engine = on.write(&env).unwrap();
    let mut references = Vec::new();
    let error = exhaust(&engine, &mut references);
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert_eq!(figure(&engine, "rolls"), 2);
    // Each is smaller than the longest batch, so up to half of it is kept for a recovery.
    for name in ["a", "b", "c"] {
        let used = on.disk.used_within(name);
        assert!(used > 150 * KIB, "{name}: {used}");
    }
    // Nothing was handed out for what found no room, reads go on, and so do writes once there is room.
    all_read(&engine, &references);
    assert_eq!(exhaust(&engine, &mut references).kind(), ErrorKind::Full);
    on.disk.set_volume("c", Some(2_000 * KIB));
    let before = references.len();
    references.extend([commit(&engine, before as u64, 4096).unwrap()]);
    engine.close().unwrap();
    let engine = on.write(&env).unwrap();
    all_read(&engine, &references);
    assert_eq!(engine.snapshot().sequence(), references.len() as u64);
}

#[test]
fn a_stack_with_too_little_room_for_a_large_record_is_left() {
    let (on, env) = OnDisk::calm(&over_these(until_full(), &["a", "b"]));
    on.disk.set_volume("a", Some(700 * KIB));
    let engine = on.write(&env).unwrap();
    let small = commit(&engine, 0, 4096).unwrap();
    let large = commit(&engine, 1, 2 << 20).unwrap();
    assert_eq!(figure(&engine, "rolls"), 1);
    all_read(&engine, &[small, large]);
}

#[test]
fn a_stack_that_is_full_before_its_length_is_followed_by_the_next() {
    let (on, env) = OnDisk::calm(&over_these(sequence("100 MiB"), &["a", "b"]));
    on.disk.set_volume("a", Some(500 * KIB));
    let engine = on.write(&env).unwrap();
    let references = fill(&engine, 0..200);
    assert_eq!(figure(&engine, "rolls"), 1);
    all_read(&engine, &references);
}

#[test]
fn a_list_goes_on_by_length_and_the_last_stack_takes_what_comes() {
    let (on, env) = OnDisk::calm(&over_these(sequence("128 KiB"), &["a", "b", "c"]));
    let engine = on.write(&env).unwrap();
    let references = fill(&engine, 0..150);
    assert_eq!(figure(&engine, "rolls"), 2);
    assert!(on.disk.used_within("a") < 300 * KIB);
    engine.close().unwrap();
    all_read(&on.write(&env).unwrap(), &references);
    all_read(&on.read(&env).unwrap(), &references);
}

#[test]
fn a_stack_of_weight_three_takes_three_times_as_much_before_the_next_one_follows() {
    let weighed = sequence("128 KiB").with("weights", "1:3");
    let (on, env) = OnDisk::calm(&over_these(weighed, &["a", "b", "c"]));
    let engine = on.write(&env).unwrap();
    let references = fill(&engine, 0..150);
    let parts = engine.status().below[0].parts.clone();
    let held: Vec<_> = parts.iter().map(|part| part.bytes.unwrap() / KIB).collect();
    assert!(
        (128..160).contains(&held[0]) && (384..416).contains(&held[1]),
        "{held:?}"
    );
    assert!(held[2] > 0);
    engine.close().unwrap();
    all_read(&on.write(&env).unwrap(), &references);
}

#[test]
fn weights_that_say_nothing_are_refused_with_a_reason() {
    for (layer, word) in [
        (until_full().with("weights", "1:3"), "without a `segment`"),
        (
            sequence("64 KiB").with("weights", "1:0"),
            "whole numbers from 1",
        ),
        (
            sequence("64 KiB").with("weights", "many"),
            "as in \"1:3:1\"",
        ),
    ] {
        let spec = over_these(layer, &["a", "b"]);
        let errors = Plan::new(&spec, &crate::standard(), Path::new("/")).unwrap_err();
        assert!(errors[0].message.contains(word), "{errors:?}");
    }
}

#[test]
fn a_part_that_is_old_enough_is_followed_by_the_next_also_across_reopenings() {
    for spec in [
        over_these(until_full().with("age", "1 h"), &["a", "b", "c"]),
        Spec::linear([until_full().with("age", "1 h"), file("/data")]),
    ] {
        let (on, env) = OnDisk::calm(&spec);
        let half = Duration::from_secs(1800);
        for (number, rolls) in [(0, 0), (1, 0), (2, 1), (3, 0), (4, 1)] {
            let engine = on.write(&env).unwrap();
            commit(&engine, number, 100).unwrap();
            assert_eq!(figure(&engine, "rolls"), rolls, "commit {number}");
            engine.close().unwrap();
            env.advance(half + Duration::from_secs(1));
        }
    }
}

#[test]
fn a_part_that_holds_nothing_never_grows_old() {
    let spec = over_these(until_full().with("age", "1 h"), &["a", "b"]);
    let (on, env) = OnDisk::calm(&spec);
    on.write(&env).unwrap().close().unwrap();
    env.advance(Duration::from_secs(36_000));
    let engine = on.write(&env).unwrap();
    commit(&engine, 0, 100).unwrap();
    assert_eq!(figure(&engine, "rolls"), 0);
}

#[test]
fn stacks_may_be_added_at_the_end_of_the_list() {
    let (on, env) = OnDisk::calm(&over_these(sequence("64 KiB"), &["a", "b"]));
    let engine = on.write(&env).unwrap();
    let mut references = fill(&engine, 0..60);
    assert_eq!(figure(&engine, "parts"), 2);
    engine.close().unwrap();
    // Also one of another shape.
    let three = Spec::linear([sequence("64 KiB").over(vec![
        vec![file("/a")],
        vec![file("/b")],
        vec![Layer::new("monitor"), file("/c")],
    ])]);
    let longer = on.under(&three);
    let engine = longer.write(&env).unwrap();
    references.extend(fill(&engine, 60..90));
    assert_eq!(figure(&engine, "parts"), 3);
    engine.close().unwrap();
    all_read(&longer.read(&env).unwrap(), &references);
    // And not be taken out again.
    refused(&on, &env, &["tells of 3 parts", "has 2 stacks"]);
}

/// Checks that opening is refused with these words, whoever asks, and that nothing is changed.
fn refused(on: &OnDisk, env: &SimEnv, words: &[&str]) {
    let (before, changes) = (on.image(), on.disk.tally().changes);
    for read_only in [true, false] {
        let error = on.open_as(env.env(), read_only).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
    assert_eq!(on.disk.tally().changes, changes);
    assert_eq!(on.image(), before);
}

#[test]
fn a_list_in_another_order_or_with_one_taken_out_is_refused_and_nothing_touched() {
    let segment = || sequence("64 KiB");
    let (on, env) = OnDisk::calm(&over_these(segment(), &["a", "b", "c"]));
    let engine = on.write(&env).unwrap();
    let references = fill(&engine, 0..60);
    assert_eq!(figure(&engine, "parts"), 3);
    engine.close().unwrap();
    for (names, words) in [
        (vec!["b", "a", "c"], ["b holds part 2", "in place 1"]),
        (vec!["a", "c", "b"], ["c holds part 3", "in place 2"]),
        (vec!["b", "c"], ["b holds part 2", "in place 1"]),
        (vec!["a", "c"], ["c holds part 3", "in place 2"]),
        (vec!["a", "b"], ["tells of 3 parts", "has 2 stacks"]),
        (vec!["a", "b", "d", "c"], ["c holds part 3", "in place 4"]),
    ] {
        refused(&on.under(&over_these(segment(), &names)), &env, &words);
    }
    let one = |name: &str| Spec::linear([segment(), file(name)]);
    let alone = on.under(&one("/a"));
    refused(&alone, &env, &["a holds part 1", "stands alone"]);
    all_read(&on.write(&env).unwrap(), &references);

    let (on, env) = OnDisk::calm(&one("/a"));
    fill(&on.write(&env).unwrap(), 0..3);
    on.disk.kill();
    let listed = on.under(&over_these(segment(), &["a", "b"]));
    refused(&listed, &env, &["all parts of a sequence over one stack"]);
}

#[test]
fn a_directory_of_somebody_else_is_no_part() {
    let alone = Spec::linear([file("/b")]);
    let (on, env) = OnDisk::calm(&alone);
    let engine = on.write(&env).unwrap();
    fill_plain(&engine);
    engine.close().unwrap();
    let listed = on.under(&over_these(until_full(), &["a", "b"]));
    refused(&listed, &env, &["b holds", "not part 2 of this sequence"]);
    let template = on.under(&Spec::linear([sequence("64 KiB"), file("/b")]));
    refused(&template, &env, &["b holds", "a directory of its own"]);
}

fn fill_plain(engine: &Engine) {
    for number in 0..3 {
        commit(engine, number, 100).unwrap();
    }
}

#[test]
fn a_list_of_stacks_of_which_some_forget_forgets_as_a_whole_and_says_so() {
    let stacks = vec![vec![Layer::new("memory")], vec![file("/b")]];
    let spec = Spec::linear([sequence("64 KiB").over(stacks)]).level("memory");
    let (on, env) = OnDisk::calm(&spec);
    let engine = on.write(&env).unwrap();
    let references = fill(&engine, 0..60);
    assert_eq!(figure(&engine, "rolls"), 1);
    assert_eq!(engine.status().level, Level::Memory);
    all_read(&engine, &references);
    engine.close().unwrap();
    drop(engine);
    refused(&on, &env, &["b holds", "begins anew each time"]);
}

#[test]
fn parts_in_memory_read_on_after_they_have_ended() {
    let memory = || vec![Layer::new("memory").with("segment", "64 KiB")];
    let stacks = vec![memory(), memory(), memory()];
    for spec in [
        Spec::linear([sequence("64 KiB").over(stacks)]),
        Spec::linear([sequence("64 KiB"), Layer::new("memory")]),
    ] {
        let (on, env) = OnDisk::calm(&spec.level("memory"));
        let engine = on.write(&env).unwrap();
        let references = fill(&engine, 0..120);
        assert!(figure(&engine, "rolls") >= 2);
        all_read(&engine, &references);
    }
}

#[test]
fn a_crash_before_anything_was_written_about_the_first_part_is_no_end() {
    // Every place at which the making of a list may be cut off.
    for calls in 1..60 {
        let (on, env) = OnDisk::calm(&over_these(until_full(), &["a", "b"]));
        on.disk.crash_in(calls);
        let made = on.write(&env).and_then(|engine| {
            commit(&engine, 0, 100)?;
            engine.close()
        });
        if on.disk.is_down() {
            on.disk.power_cut();
        } else {
            made.unwrap();
            on.disk.crash_never();
        }
        let engine = on
            .write(&env)
            .unwrap_or_else(|error| panic!("call {calls}: {error}"));
        let next = engine.snapshot().sequence();
        commit(&engine, next, 100).unwrap();
        engine.close().unwrap();
    }
}
