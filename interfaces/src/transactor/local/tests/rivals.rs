//! Several who change or read the same blocks: who stands in whose way, who comes late, who waits.

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::contract::{ErrorKind, Name, Op};

use super::*;
use crate::testing::local_with;

fn whoever_finds_others_pending_goes_on_or_is_told() {
    let store = local();
    pend(&store, "a", Some(1), &[insert("b", &["one"])]);
    let theirs = insert("b", &["two"]);
    let with = |policy| Pend {
        policy,
        ..pending("z", Some(1), std::slice::from_ref(&theirs))
    };
    let rival = |transform| Rival {
        block: id("b"),
        action: action("a"),
        transform,
    };
    let fail = store.pend(with(Policy::Fail)).wait().unwrap();
    assert_eq!(fail, Pended::Stale(Stale::Pending(vec![rival(None)])));
    let told = store.pend(with(Policy::Return)).wait().unwrap();
    let whole = rival(Some(insert("b", &["one"]).1));
    assert_eq!(told, Pended::Stale(Stale::Pending(vec![whole])));
    assert_eq!(get(&store, "b", None).pending, [action("a")]);
    let done = store.pend(with(Policy::Continue)).wait().unwrap();
    assert_eq!(done, Pended::Done(vec![rival(None)]));
    assert_eq!(get(&store, "b", None).pending, [action("a"), action("z")]);
    // The same again is nothing new; another change under the same name is no retry.
    store.pend(with(Policy::Continue)).wait().unwrap();
    let other = Pend {
        transforms: [insert("b", &["three"])].into_iter().collect(),
        ..with(Policy::Continue)
    };
    let error = store.pend(other).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

fn who_is_behind_is_told_what_was_committed_since_and_nothing_of_what_is_pending() {
    let store = local();
    land(&store, "a1", 1, &[insert("b", &["one"])]);
    for revision in 2..=3 {
        let name = format!("a{revision}");
        land(&store, &name, revision, &[update("b", &name)]);
    }
    pend(&store, "rival", Some(4), &[update("b", "rival")]);
    let stale = store
        .pend(pending("z", Some(2), &[update("b", "z")]))
        .wait();
    let Pended::Stale(Stale::Missing(missed)) = stale.unwrap() else {
        panic!("it is behind");
    };
    let told: Vec<_> = missed.iter().map(|missed| missed.action.clone()).collect();
    assert_eq!(told, [by("a2", 2), by("a3", 3)]);
    for missed in &missed {
        let wanted = update("b", missed.action.action.as_str()).1;
        assert_eq!(missed.transforms.of(&id("b")), Some(&wanted));
    }
}

fn a_block_that_is_there_is_not_inserted_again_without_a_revision() {
    let store = local();
    pend(&store, "a", None, &[insert("b", &["one"])]);
    commit(&store, "a", 7, &["b"]);
    let again = store
        .pend(pending("z", None, &[insert("b", &["two"])]))
        .wait();
    assert!(matches!(again.unwrap(), Pended::Stale(Stale::Missing(_))));
    pend(&store, "z", None, &[update("b", "two")]);
}

fn of_two_that_commit_at_one_revision_one_lands() {
    let store = local();
    pend(&store, "a", Some(1), &[insert("b", &["one"])]);
    let beside = Pend {
        policy: Policy::Continue,
        ..pending("z", Some(1), &[insert("b", &["two"])])
    };
    store.pend(beside).wait().unwrap();
    commit(&store, "a", 1, &["b"]);
    let late = store.commit(committing("z", 1, &["b"])).wait().unwrap();
    let Committed::Stale(Stale::Missing(missed)) = late else {
        panic!("it comes late");
    };
    assert_eq!(missed[0].action, by("a", 1));
    assert_eq!(words(&get(&store, "b", None)).unwrap(), "one");
    commit(&store, "a", 1, &["b"]);
    assert_eq!(get(&store, "b", None).latest, Some(by("a", 1)), "once");
}

fn commits_of_the_same_blocks_from_many_threads_are_one_order() {
    let store = local();
    land(&store, "first", 1, &[insert("a", &[]), insert("b", &[])]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                let names = if thread % 2 == 0 {
                    ["a", "b"]
                } else {
                    ["b", "a"]
                };
                for round in 0..25 {
                    let name = format!("{thread}-{round}");
                    let all = names.map(|block| update(block, &name));
                    loop {
                        let next = get(store, "a", None).latest.unwrap().revision + 1;
                        let pend = Pend {
                            policy: Policy::Continue,
                            ..pending(&name, Some(next), &all)
                        };
                        if let Pended::Stale(_) = store.pend(pend).wait().unwrap() {
                            continue;
                        }
                        let done = store.commit(committing(&name, next, &names));
                        if done.wait().unwrap() == Committed::Done {
                            break;
                        }
                    }
                }
            });
        }
    });
    let (a, b) = (get(&store, "a", None), get(&store, "b", None));
    assert_eq!(words(&a), words(&b), "one order");
    assert_eq!(words(&a).unwrap().split(' ').count(), 100, "each once");
    assert_eq!(a.latest.unwrap().revision, 101);
    assert!(a.pending.is_empty());
}

fn whoever_pended_and_went_stands_in_the_way_for_a_time_only() {
    let store = local_with(std::time::Duration::from_millis(1));
    pend(&store, "gone", Some(1), &[insert("b", &["one"])]);
    let mine = pending("z", Some(1), &[insert("b", &["two"])]);
    loop {
        match store.pend(mine.clone()).wait().unwrap() {
            Pended::Stale(Stale::Pending(rivals)) => assert_eq!(rivals[0].action, action("gone")),
            done => break assert_eq!(done, Pended::Done(Vec::new())),
        }
    }
    commit(&store, "z", 1, &["b"]);
    let late = store.commit(committing("gone", 1, &["b"])).wait().unwrap();
    assert!(matches!(late, Committed::Stale(Stale::Missing(_))));
    assert_eq!(words(&get(&store, "b", None)).unwrap(), "two");
}

fn two_stores_on_one_map_agree() {
    let one = local();
    let two = fresh(&one);
    pend(&one, "a", Some(1), &[insert("b", &["1"])]);
    let rival = two
        .pend(pending("x", Some(1), &[insert("b", &["x"])]))
        .wait();
    assert!(matches!(rival.unwrap(), Pended::Stale(Stale::Pending(_))));
    commit(&one, "a", 1, &["b"]);
    for revision in 2..20 {
        let (mine, theirs) = if revision % 2 == 0 {
            (&two, &one)
        } else {
            (&one, &two)
        };
        let name = format!("a{revision}");
        pend(mine, &name, Some(revision), &[update("b", &name)]);
        commit(theirs, &name, revision, &["b"]);
        let late = mine
            .pend(pending("late", Some(revision), &[update("b", "late")]))
            .wait();
        assert!(matches!(late.unwrap(), Pended::Stale(Stale::Missing(_))));
    }
    assert_eq!(get(&one, "b", None), get(&fresh(&two), "b", None));
}

fn what_cannot_be_done_is_not_held() {
    let store = local();
    land(&store, "a", 1, &[insert("b", &["1"])]);
    let mut bad = Transform::default();
    bad.updates.push(Operation::splice("nothing", 0, 1, []));
    for (name, change) in [("b", bad), ("nix", update("nix", "x").1)] {
        let mut held = pending("held", Some(2), &[(id(name), change)]);
        held.held = true;
        let done = store.pend(held).wait().unwrap();
        assert!(matches!(done, Pended::Stale(Stale::Refused(_))), "{done:?}");
        assert!(get(&store, name, None).pending.is_empty());
    }
}

fn a_commit_that_was_done_is_done_whatever_happened_since() {
    let store = local();
    land(&store, "a", 1, &[insert("b", &["1"]), insert("c", &["1"])]);
    let mut reader = pending("reader", Some(2), &[update("b", "x")]);
    reader.reads.insert(id("c"), 1);
    store.pend(reader.clone()).wait().unwrap();
    let done = committing("reader", 2, &["b", "c"]);
    assert_eq!(store.commit(done.clone()).wait().unwrap(), Committed::Done);
    let mut both = pending("both", Some(3), &[update("b", "y")]);
    both.reads.insert(id("c"), 1);
    let part = |pend: &Pend, name, revision| Part {
        collection: id("c"),
        pend: pend.clone(),
        commit: committing(name, revision, &["b"]),
    };
    let transact = || {
        let done = store.transact(vec![part(&both, "both", 3)]);
        done.unwrap().wait().unwrap()
    };
    assert_eq!(transact(), Transacted::Done);
    for (name, revision) in [("later", 4), ("more", 5)] {
        land(
            &store,
            name,
            revision,
            &[update("b", name), update("c", name)],
        );
    }
    assert_eq!(store.commit(done).wait().unwrap(), Committed::Done);
    assert_eq!(transact(), Transacted::Done);
    assert!(
        words(&get(&store, "b", None))
            .unwrap()
            .starts_with("more later y x")
    );
}

fn who_is_refused_in_a_batch_takes_nothing_of_the_others_along() {
    let store = local();
    pend(&store, "a", Some(1), &[insert("b", &["1"])]);
    // All three are decided together where that is possible.
    let another = pending("x", Some(1), &[insert("c", &["another"])]);
    let calls = [
        store.pend(pending("x", Some(1), &[insert("c", &["x"])])),
        store.pend(another),
        store.pend(pending("d", Some(1), &[insert("d", &["d"])])),
    ];
    let [first, other, last] = calls.map(Op::wait);
    assert_eq!(first.unwrap(), Pended::Done(Vec::new()));
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(last.unwrap(), Pended::Done(Vec::new()));
    for (name, block) in [("x", "c"), ("d", "d")] {
        commit(&store, name, 1, &[block]);
        assert_eq!(words(&get(&fresh(&store), block, None)).unwrap(), name);
    }
}

fn what_is_held_bars_others_for_as_long_as_it_takes() {
    let sim = SimEnv::new(1);
    let name = Name::new("blocks").unwrap();
    let options = Options {
        patience: std::time::Duration::from_millis(1),
        ..Options::default()
    };
    let store = Local::new(local().engine().clone(), sim.env(), name, options);
    land(&store, "a", 1, &[insert("b", &["1"]), insert("c", &["1"])]);
    let mut held = pending("held", Some(2), &[update("b", "held")]);
    held.held = true;
    held.reads.insert(id("c"), 1);
    assert_eq!(
        store.pend(held.clone()).wait().unwrap(),
        Pended::Done(Vec::new())
    );
    sim.advance(std::time::Duration::from_millis(5));
    for name in ["b", "c"] {
        let mut other = pending("other", Some(2), &[update(name, "other")]);
        other.policy = Policy::Continue;
        match store.pend(other).wait().unwrap() {
            Pended::Stale(Stale::Pending(rivals)) => assert_eq!(rivals[0].action, action("held")),
            other => panic!("{name}: {other:?}"),
        }
    }
    // Others read what it only reads, held too; what it changes they cannot rest on.
    for (name, waits) in [("c", false), ("b", true)] {
        let mut reader = pending(&format!("reads {name}"), Some(9), &[insert("d", &["1"])]);
        reader.held = true;
        reader.reads.insert(id(name), 1);
        let done = store.pend(reader).wait().unwrap();
        assert_eq!(matches!(done, Pended::Stale(_)), waits, "{done:?}");
        let reader = action(&format!("reads {name}"));
        store.cancel(&reader, &[id("c"), id("d")]).wait().unwrap();
    }
    let done = committing("held", 2, &["b", "c"]);
    assert_eq!(store.commit(done.clone()).wait().unwrap(), Committed::Done);
    assert_eq!(
        store.commit(done).wait().unwrap(),
        Committed::Done,
        "the same again"
    );
    assert_eq!(get(&store, "c", None).latest, Some(by("a", 1)), "only read");
    assert!(get(&store, "c", None).pending.is_empty());
}

fn a_commit_that_rests_on_what_changed_since_is_stale() {
    let store = local();
    land(&store, "a", 1, &[insert("b", &["1"]), insert("c", &["1"])]);
    let mut reader = pending("reader", Some(2), &[update("b", "x")]);
    reader.reads.insert(id("c"), 1);
    assert_eq!(store.pend(reader).wait().unwrap(), Pended::Done(Vec::new()));
    land(&store, "writer", 2, &[update("c", "y")]);
    match store
        .commit(committing("reader", 2, &["b", "c"]))
        .wait()
        .unwrap()
    {
        Committed::Stale(Stale::Missing(missed)) => assert_eq!(missed[0].action, by("writer", 2)),
        other => panic!("{other:?}"),
    }
}

crate::testing::on_stacks! {
    whoever_finds_others_pending_goes_on_or_is_told
    who_is_behind_is_told_what_was_committed_since_and_nothing_of_what_is_pending
    a_block_that_is_there_is_not_inserted_again_without_a_revision
    of_two_that_commit_at_one_revision_one_lands
    commits_of_the_same_blocks_from_many_threads_are_one_order
    whoever_pended_and_went_stands_in_the_way_for_a_time_only
    who_is_refused_in_a_batch_takes_nothing_of_the_others_along
    what_is_held_bars_others_for_as_long_as_it_takes
    a_commit_that_rests_on_what_changed_since_is_stale
    two_stores_on_one_map_agree
    what_cannot_be_done_is_not_held
    a_commit_that_was_done_is_done_whatever_happened_since
}
