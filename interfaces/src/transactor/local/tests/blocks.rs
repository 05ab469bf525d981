//! Blocks that are pended, committed and cancelled: what is read of them, now and in their past, and what
//! is told to who follows.

use std::collections::BTreeMap;

use travertine_engine::contract::{ErrorKind, Level};

use super::super::Told;
use super::*;

fn a_block_that_is_not_there_is_absent_and_no_error() {
    let store = local();
    assert_eq!(get(&store, "b", None), Answer::default());
    assert_eq!(get(&store, "b", Some(&upto(9))), Answer::default());
}

fn what_is_pended_and_committed_is_there() {
    let store = local();
    pend(&store, "a", Some(1), &[insert("b", &["one"])]);
    let before = get(&store, "b", None);
    assert_eq!(
        (words(&before), &before.pending[..]),
        (None, &[action("a")][..])
    );
    let status = |store: &Local| store.status(&by("a", 1), &[id("b")]).wait().unwrap()[&id("b")];
    assert_eq!(status(&store), Status::Pending);
    commit(&store, "a", 1, &["b"]);
    let after = get(&store, "b", None);
    assert_eq!(words(&after).unwrap(), "one");
    assert_eq!((after.latest, after.revision), (Some(by("a", 1)), Some(1)));
    assert!(after.pending.is_empty());
    assert_eq!(status(&store), Status::Committed);
    let other = store.status(&by("z", 1), &[id("b")]).wait().unwrap();
    assert_eq!(other[&id("b")], Status::Unknown);
}

fn nothing_is_committed_that_is_not_pending() {
    let store = local();
    pend(&store, "a", Some(1), &[insert("b", &["one"])]);
    let error = store.commit(committing("a", 1, &["b", "c", "d"])).wait();
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("c, d"), "{error}");
    let left = get(&store, "b", None);
    assert_eq!((left.latest, left.pending), (None, vec![action("a")]));
}

fn what_is_cancelled_never_was() {
    let store = local();
    pend(&store, "a", Some(1), &[insert("b", &["one"])]);
    let all = [id("b"), id("c")];
    store.cancel(&action("a"), &all).wait().unwrap();
    store.cancel(&action("a"), &all).wait().unwrap();
    assert_eq!(get(&store, "b", None), Answer::default());
    land(&store, "a", 1, &[insert("b", &["two"])]);
    assert_eq!(words(&get(&store, "b", None)).unwrap(), "two");
}

fn the_past_is_read_between_its_revisions() {
    let store = local();
    land(&store, "a1", 1, &[insert("b", &["one"])]);
    for revision in [5, 9] {
        let name = format!("a{revision}");
        land(&store, &name, revision, &[update("b", &name)]);
    }
    let at = |revision| {
        let answer = get(&store, "b", Some(&upto(revision)));
        assert_eq!(answer.latest, Some(by("a9", 9)));
        (answer.revision, words(&answer))
    };
    assert_eq!(at(0), (None, None));
    assert_eq!(at(4), (Some(1), Some("one".to_owned())));
    assert_eq!(at(7), (Some(5), Some("a5 one".to_owned())));
    assert_eq!(at(99), (Some(9), Some("a9 a5 one".to_owned())));
}

fn an_update_of_nothing_is_refused_and_leaves_nothing() {
    let store = local();
    pend(&store, "a", Some(1), &[update("b", "x"), insert("c", &[])]);
    let done = store
        .commit(committing("a", 1, &["b", "c"]))
        .wait()
        .unwrap();
    assert!(
        matches!(done, Committed::Stale(Stale::Refused(_))),
        "{done:?}"
    );
    for name in ["b", "c"] {
        assert_eq!(get(&store, name, None), Answer::default());
    }
}

fn a_block_that_was_deleted_is_absent_and_its_past_is_not() {
    let store = local();
    land(&store, "a", 1, &[insert("b", &["one"])]);
    land(&store, "z", 2, &[(id("b"), Transform::delete())]);
    let gone = get(&store, "b", None);
    assert_eq!((words(&gone), gone.revision), (None, Some(2)));
    assert_eq!(words(&get(&store, "b", Some(&upto(1)))).unwrap(), "one");
    land(&store, "y", 3, &[insert("b", &["new"])]);
    assert_eq!(words(&get(&store, "b", None)).unwrap(), "new");
}

fn what_a_context_says_is_committed_is_committed_and_never_goes_back() {
    let store = local();
    pend(&store, "a1", Some(1), &[insert("b", &["one"])]);
    pend_beside(&store, "a2", 2, &[update("b", "two")]);
    pend_beside(&store, "a3", 3, &[update("b", "three")]);
    let context = Context {
        revision: 3,
        committed: vec![by("a3", 3), by("a1", 1), by("a2", 2)],
        pending: None,
    };
    let answer = get(&store, "b", Some(&context));
    assert_eq!(words(&answer).unwrap(), "three two one");
    assert_eq!(answer.latest, Some(by("a3", 3)));
    pend(&store, "old", None, &[update("b", "old")]);
    let context = Context {
        revision: 3,
        committed: vec![by("old", 2)],
        pending: None,
    };
    let answer = get(&store, "b", Some(&context));
    assert_eq!(answer.latest, Some(by("a3", 3)));
    let mine = Context {
        revision: 3,
        committed: Vec::new(),
        pending: Some(action("old")),
    };
    assert_eq!(
        words(&get(&store, "b", Some(&mine))).unwrap(),
        "old three two one"
    );
    let nobody = Context {
        pending: Some(action("nobody")),
        ..mine
    };
    let mut answers = store.get(&[id("b")], Some(&nobody)).wait().unwrap();
    let error = answers.remove(&id("b")).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

fn pend_beside(store: &Local, name: &str, revision: Revision, all: &[(BlockId, Transform)]) {
    let beside = Pend {
        policy: Policy::Continue,
        ..pending(name, Some(revision), all)
    };
    assert!(matches!(
        store.pend(beside).wait().unwrap(),
        Pended::Done(_)
    ));
}

fn every_revision_of_a_block_reads_back_as_it_was() {
    let store = local();
    land(&store, "a0", 1, &[insert("b", &[])]);
    let mut past = BTreeMap::from([(1, String::new())]);
    for step in 1..200 {
        // A collection's revisions: this block has every third.
        let revision = 1 + 3 * step;
        let name = format!("a{step}");
        let change = match step % 50 {
            49 => (id("b"), Transform::delete()),
            0 => insert("b", &["again"]),
            _ => update("b", &name),
        };
        land(&store, &name, revision, &[change]);
        let now = words(&get(&store, "b", None));
        past.insert(revision, now.unwrap_or("gone".to_owned()));
    }
    for (revision, wanted) in &past {
        for later in 0..3 {
            let answer = get(&store, "b", Some(&upto(revision + later)));
            assert_eq!(&words(&answer).unwrap_or("gone".to_owned()), wanted);
            assert_eq!(answer.revision, Some(*revision));
        }
    }
}

fn an_update_that_ends_in_a_delete_is_a_delete_at_any_step() {
    for count in 30..36 {
        let store = local();
        long(&store, count);
        let mut gone = update("b", "last");
        gone.1.delete = true;
        land(&store, "gone", count + 1, &[gone]);
        let store = fresh(&store);
        assert_eq!(get(&store, "b", None).block, None);
        assert!(words(&as_of(&store, count).unwrap()).is_some());
    }
}

fn each_revision_is_told_once_to_who_follows() {
    let store = local();
    let mut all = Vec::new();
    let mut changes = store.follow(1);
    land(&store, "a1", 1, &[insert("b", &["1"]), insert("c", &["1"])]);
    // The same again is no change.
    commit(&store, "a1", 1, &["b", "c"]);
    land(&store, "a2", 2, &[update("b", "2")]);
    pend(&store, "gone", Some(3), &[update("b", "3")]);
    store.cancel(&action("gone"), &[id("b")]).wait().unwrap();
    // A stack in memory reaches no more than that, and needs no more.
    let session = store.engine().session().unwrap();
    drop(session.commit(&[], Some(Level::Disk)).wait());
    store.engine().prove().unwrap();
    let mut last = 0;
    while let Some(told) = changes.wait(std::time::Duration::ZERO).unwrap() {
        match told {
            Told::Changed(change) => {
                assert!(change.sequence >= last);
                last = change.sequence;
                all.push((change.block, change.by));
            }
            Told::Freed(run) => panic!("{run:?}"),
        }
    }
    let wanted = [
        (id("b"), by("a1", 1)),
        (id("c"), by("a1", 1)),
        (id("b"), by("a2", 2)),
    ];
    assert_eq!(all, wanted);
    // Whoever goes on behind the last hears nothing twice.
    let mut again = store.follow(last + 1);
    assert!(again.wait(std::time::Duration::ZERO).unwrap().is_none());
}

fn a_block_that_was_made_and_never_changed_is_one_row() {
    let store = local();
    for name in ["a", "b", "c"] {
        land(&store, name, 1, &[insert(name, &["1"])]);
    }
    let reader = store.0.map.reader(&store.engine().snapshot()).wait();
    assert_eq!(reader.unwrap().count(), 3);
}

fn revisions_that_came_in_one_commit_are_told_each() {
    let store = local();
    land(&store, "a1", 1, &[insert("b", &["1"])]);
    let mut changes = store.follow(1);
    let calls = [2, 3, 4].map(|revision| {
        let name = format!("a{revision}");
        let part = Part {
            collection: id("b"),
            pend: pending(&name, Some(revision), &[update("b", &name)]),
            commit: committing(&name, revision, &["b"]),
        };
        store.transact(vec![part]).unwrap()
    });
    for call in calls {
        assert_eq!(call.wait().unwrap(), Transacted::Done);
    }
    let session = store.engine().session().unwrap();
    drop(session.commit(&[], Some(Level::Disk)).wait());
    store.engine().prove().unwrap();
    let mut all = Vec::new();
    while let Some(Told::Changed(change)) = changes.wait(std::time::Duration::ZERO).unwrap() {
        all.push(change.by);
    }
    assert_eq!(all, [by("a1", 1), by("a2", 2), by("a3", 3), by("a4", 4)]);
}

fn ids_of_any_letters_keep_their_blocks_apart() {
    let store = local();
    let long = "x".repeat(200);
    let names = ["a:b", "a/b", "a.b", "..", "a", "a\0", "a\0b", "é", &long];
    for name in names {
        land(&store, name, 1, &[insert(name, &[name])]);
    }
    for name in names {
        let answer = get(&store, name, None);
        assert_eq!(
            (words(&answer).as_deref(), answer.latest),
            (Some(name), Some(by(name, 1)))
        );
    }
}

crate::testing::on_stacks! {
    a_block_that_is_not_there_is_absent_and_no_error
    what_is_pended_and_committed_is_there
    nothing_is_committed_that_is_not_pending
    what_is_cancelled_never_was
    the_past_is_read_between_its_revisions
    an_update_of_nothing_is_refused_and_leaves_nothing
    a_block_that_was_deleted_is_absent_and_its_past_is_not
    what_a_context_says_is_committed_is_committed_and_never_goes_back
    every_revision_of_a_block_reads_back_as_it_was
    each_revision_is_told_once_to_who_follows
    a_block_that_was_made_and_never_changed_is_one_row
    revisions_that_came_in_one_commit_are_told_each
    ids_of_any_letters_keep_their_blocks_apart
    an_update_that_ends_in_a_delete_is_a_delete_at_any_step
}
