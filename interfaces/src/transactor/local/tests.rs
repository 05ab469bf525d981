//! What a transactor promises, on the one that is here.

use std::collections::BTreeMap;

use travertine_engine::contract::ErrorKind;

use super::Local;
use crate::block::{Block, BlockId, Code, Header, Operation, Transform, Transforms, Value};
use crate::testing::{id, local, local_with};
use crate::transactor::*;

fn action(name: &str) -> ActionId {
    ActionId::new(name).unwrap()
}

fn by(name: &str, revision: Revision) -> ActionRev {
    ActionRev {
        action: action(name),
        revision,
    }
}

fn block(name: &str, words: &[&str]) -> Block {
    let header = Header {
        id: id(name),
        code: Code::of("T"),
        collection: id("c"),
    };
    let words = Value::of(words).unwrap();
    Block::new(header).with("words", words).unwrap()
}

fn insert(name: &str, words: &[&str]) -> (BlockId, Transform) {
    (id(name), Transform::insert(block(name, words)))
}

fn update(name: &str, word: &str) -> (BlockId, Transform) {
    let mut transform = Transform::default();
    let word = Value::of(word).unwrap();
    let operation = Operation::splice("words", 0, 0, [word]);
    transform.updates.push(operation);
    (id(name), transform)
}

fn pending(name: &str, revision: Option<Revision>, all: &[(BlockId, Transform)]) -> Pend {
    let transforms = all.iter().cloned().collect::<Transforms>();
    Pend::new(action(name), revision, transforms)
}

fn pend(store: &Local, name: &str, revision: Option<Revision>, all: &[(BlockId, Transform)]) {
    let done = store.pend(pending(name, revision, all)).wait().unwrap();
    assert_eq!(done, Pended::Done(Vec::new()));
}

fn committing(name: &str, revision: Revision, blocks: &[&str]) -> Commit {
    Commit {
        action: by(name, revision),
        blocks: blocks.iter().map(|name| id(name)).collect(),
        tail: id(blocks[0]),
        header: None,
    }
}

fn commit(store: &Local, name: &str, revision: Revision, blocks: &[&str]) {
    let done = store.commit(committing(name, revision, blocks)).wait();
    assert_eq!(done.unwrap(), Committed::Done);
}

fn get(store: &Local, name: &str, context: Option<&Context>) -> Answer {
    let mut answers = store.get(&[id(name), id(name)], context).wait().unwrap();
    assert_eq!(answers.len(), 1, "each once");
    answers.remove(&id(name)).unwrap().unwrap()
}

fn words(answer: &Answer) -> Option<String> {
    let block = answer.block.as_ref()?;
    let words = block.list("words").unwrap().iter();
    Some(
        words
            .map(|word| word.to::<String>().unwrap())
            .collect::<Vec<_>>()
            .join(" "),
    )
}

fn upto(revision: Revision) -> Context {
    Context {
        revision,
        ..Context::default()
    }
}

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
    let status = |store: &Local| store.status(&action("a"), &[id("b")]).wait().unwrap()[&id("b")];
    assert_eq!(status(&store), Status::Pending);
    commit(&store, "a", 1, &["b"]);
    let after = get(&store, "b", None);
    assert_eq!(words(&after).unwrap(), "one");
    assert_eq!((after.latest, after.revision), (Some(by("a", 1)), Some(1)));
    assert!(after.pending.is_empty());
    assert_eq!(status(&store), Status::Committed(1));
    let other = store.status(&action("z"), &[id("b")]).wait().unwrap();
    assert_eq!(other[&id("b")], Status::Unknown);
}

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
    pend(&store, "a1", Some(1), &[insert("b", &["one"])]);
    commit(&store, "a1", 1, &["b"]);
    for revision in 2..=3 {
        let name = format!("a{revision}");
        pend(&store, &name, Some(revision), &[update("b", &name)]);
        commit(&store, &name, revision, &["b"]);
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
    pend(&store, "a", Some(1), &[insert("b", &["two"])]);
    commit(&store, "a", 1, &["b"]);
    assert_eq!(words(&get(&store, "b", None)).unwrap(), "two");
}

fn the_past_is_read_between_its_revisions() {
    let store = local();
    pend(&store, "a1", Some(1), &[insert("b", &["one"])]);
    commit(&store, "a1", 1, &["b"]);
    for revision in [5, 9] {
        let name = format!("a{revision}");
        pend(&store, &name, Some(revision), &[update("b", &name)]);
        commit(&store, &name, revision, &["b"]);
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
    pend(&store, "a", Some(1), &[insert("b", &["one"])]);
    commit(&store, "a", 1, &["b"]);
    pend(&store, "z", Some(2), &[(id("b"), Transform::delete())]);
    commit(&store, "z", 2, &["b"]);
    let gone = get(&store, "b", None);
    assert_eq!((words(&gone), gone.revision), (None, Some(2)));
    assert_eq!(words(&get(&store, "b", Some(&upto(1)))).unwrap(), "one");
    pend(&store, "y", Some(3), &[insert("b", &["new"])]);
    commit(&store, "y", 3, &["b"]);
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
    pend(&store, "a0", Some(1), &[insert("b", &[])]);
    commit(&store, "a0", 1, &["b"]);
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
        pend(&store, &name, Some(revision), &[change]);
        commit(&store, &name, revision, &["b"]);
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

fn commits_of_the_same_blocks_from_many_threads_are_one_order() {
    let store = local();
    pend(
        &store,
        "first",
        Some(1),
        &[insert("a", &[]), insert("b", &[])],
    );
    commit(&store, "first", 1, &["a", "b"]);
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

crate::testing::on_stacks! {
    a_block_that_is_not_there_is_absent_and_no_error
    what_is_pended_and_committed_is_there
    whoever_finds_others_pending_goes_on_or_is_told
    who_is_behind_is_told_what_was_committed_since_and_nothing_of_what_is_pending
    a_block_that_is_there_is_not_inserted_again_without_a_revision
    of_two_that_commit_at_one_revision_one_lands
    nothing_is_committed_that_is_not_pending
    what_is_cancelled_never_was
    the_past_is_read_between_its_revisions
    an_update_of_nothing_is_refused_and_leaves_nothing
    a_block_that_was_deleted_is_absent_and_its_past_is_not
    what_a_context_says_is_committed_is_committed_and_never_goes_back
    every_revision_of_a_block_reads_back_as_it_was
    commits_of_the_same_blocks_from_many_threads_are_one_order
    whoever_pended_and_went_stands_in_the_way_for_a_time_only
}
