//! What a transactor promises, on the one that is here.

use std::collections::BTreeMap;
use std::sync::Arc;

use travertine_engine::contract::{Error, ErrorKind, Level, Op, Result};

use super::{Archive, Local, Options, Restore, Told};
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

fn long(store: &Local, count: u64) {
    pend(store, "a1", Some(1), &[insert("b", &["1"])]);
    commit(store, "a1", 1, &["b"]);
    for revision in 2..=count {
        let name = format!("a{revision}");
        pend(
            store,
            &name,
            Some(revision),
            &[update("b", &revision.to_string())],
        );
        commit(store, &name, revision, &["b"]);
    }
}

fn as_of(store: &Local, revision: Revision) -> Result<Answer> {
    let context = upto(revision);
    let mut answers = store.get(&[id("b")], Some(&context)).wait()?;
    answers.remove(&id("b")).unwrap()
}

fn what_is_forgotten_is_unavailable_and_the_rest_stays_as_it_was() {
    let (store, whole) = (local(), local());
    long(&store, 100);
    long(&whole, 100);
    for before in [1, 40, 41, 70, 99, 100] {
        store.forget(&id("b"), before).wait().unwrap();
        // One that remembers nothing.
        let store = fresh(&store);
        for revision in 1..=110 {
            match as_of(&store, revision) {
                Ok(answer) if revision >= before => {
                    assert_eq!(words(&answer), words(&as_of(&whole, revision).unwrap()));
                }
                Err(error) if revision < before => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "never absent");
                }
                other => panic!("{revision} of {before}: {other:?}"),
            }
        }
    }
    // It goes on from there, and what is kept is the floor, every 32nd, and the newest.
    pend(&store, "next", Some(101), &[update("b", "next")]);
    commit(&store, "next", 101, &["b"]);
    assert!(
        words(&get(&store, "b", None))
            .unwrap()
            .starts_with("next 100 99")
    );
}

fn an_archive_brings_a_block_to_another_store() {
    let whole = local();
    long(&whole, 100);
    let late = local();
    let archive = whole.archive(&id("b"), 60, None).unwrap().unwrap();
    let bytes = archive.to_bytes();
    assert_eq!(Archive::from_bytes(&bytes).unwrap(), archive);
    late.adopt(archive.clone()).wait().unwrap();
    late.adopt(archive).wait().unwrap();
    let like = |revision| words(&as_of(&whole, revision).unwrap());
    for revision in 60..=105 {
        assert_eq!(words(&as_of(&late, revision).unwrap()), like(revision));
    }
    assert_eq!(as_of(&late, 59).unwrap_err().kind(), ErrorKind::Unavailable);
    // What lies before it, in two parts with a hole between them, and then the hole.
    for (from, to) in [(1, 20), (30, 60), (20, 30)] {
        let part = whole.archive(&id("b"), from, Some(to)).unwrap().unwrap();
        assert_eq!((part.from, part.to), (from, Some(to)));
        late.adopt(part).wait().unwrap();
        for revision in from..to {
            assert_eq!(words(&as_of(&late, revision).unwrap()), like(revision));
        }
        let hole = as_of(&late, 25);
        assert_eq!(hole.is_ok(), from == 20, "{hole:?}");
    }
    // A commit goes on behind it, in both alike.
    for store in [&late, &whole] {
        pend(store, "next", Some(101), &[update("b", "next")]);
        commit(store, "next", 101, &["b"]);
    }
    assert_eq!(get(&late, "b", None), get(&whole, "b", None));
    // Another history is refused.
    let other = local();
    pend(&other, "x", Some(100), &[insert("b", &["x"])]);
    commit(&other, "x", 100, &["b"]);
    let archive = other.archive(&id("b"), 100, None).unwrap().unwrap();
    let fresh = local();
    fresh
        .adopt(whole.archive(&id("b"), 90, None).unwrap().unwrap())
        .wait()
        .unwrap();
    assert_eq!(
        fresh.adopt(archive).wait().unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert!(whole.archive(&id("nix"), 1, None).unwrap().is_none());
}

/// The same blocks, seen by one that remembers none.
fn fresh(store: &Local) -> Local {
    let env = travertine_engine::contract::Env::system();
    let name = travertine_engine::contract::Name::new("blocks").unwrap();
    let options = Options {
        memory: 0,
        ..Options::default()
    };
    Local::new(store.engine().clone(), &env, name, options)
}

fn revisions_far_apart_are_carried_in_any_order() {
    let whole = local();
    let revisions = [1, 5, 10, 58, 61, 70, 71];
    for (nth, revision) in revisions.into_iter().enumerate() {
        let name = format!("a{revision}");
        let change = match nth {
            0 => insert("b", &["1"]),
            _ => update("b", &name),
        };
        pend(&whole, &name, Some(revision), &[change]);
        commit(&whole, &name, revision, &["b"]);
    }
    for order in [[60, 50, 1], [1, 50, 60], [50, 60, 1], [50, 1, 60]] {
        let late = local();
        let mut here = Vec::new();
        for from in order {
            let to = match from {
                60 => None,
                50 => Some(60),
                _ => Some(50),
            };
            let part = whole.archive(&id("b"), from, to).unwrap().unwrap();
            late.adopt(part).wait().unwrap();
            here.extend(from..to.unwrap_or(80));
            let late = fresh(&late);
            for revision in here.iter().copied() {
                let like = words(&as_of(&whole, revision).unwrap());
                assert_eq!(
                    words(&as_of(&late, revision).unwrap()),
                    like,
                    "{order:?} {revision}"
                );
            }
        }
    }
}

fn where_the_newest_revision_is_not_known_nothing_lands() {
    let whole = local();
    long(&whole, 30);
    let late = local();
    late.adopt(whole.archive(&id("b"), 1, Some(20)).unwrap().unwrap())
        .wait()
        .unwrap();
    for change in [
        insert("b", &["x"]),
        (id("b"), Transform::delete()),
        update("b", "x"),
    ] {
        let error = late
            .pend(pending("x", Some(40), &[change]))
            .wait()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

fn an_update_that_ends_in_a_delete_is_a_delete_at_any_step() {
    for count in 30..36 {
        let store = local();
        long(&store, count);
        let mut gone = update("b", "last");
        gone.1.delete = true;
        pend(&store, "gone", Some(count + 1), &[gone]);
        commit(&store, "gone", count + 1, &["b"]);
        let store = fresh(&store);
        assert_eq!(get(&store, "b", None).block, None);
        assert!(words(&as_of(&store, count).unwrap()).is_some());
    }
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
    pend(&store, "a", Some(1), &[insert("b", &["1"])]);
    commit(&store, "a", 1, &["b"]);
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
    pend(
        &store,
        "a",
        Some(1),
        &[insert("b", &["1"]), insert("c", &["1"])],
    );
    commit(&store, "a", 1, &["b", "c"]);
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
        pend(
            &store,
            name,
            Some(revision),
            &[update("b", name), update("c", name)],
        );
        commit(&store, name, revision, &["b", "c"]);
    }
    assert_eq!(store.commit(done).wait().unwrap(), Committed::Done);
    assert_eq!(transact(), Transacted::Done);
    assert!(
        words(&get(&store, "b", None))
            .unwrap()
            .starts_with("more later y x")
    );
}

fn what_is_no_archive_is_told_and_changes_nothing() {
    let whole = local();
    long(&whole, 10);
    let archive = whole.archive(&id("b"), 5, None).unwrap().unwrap();
    let bytes = archive.to_bytes();
    for cut in 0..bytes.len() {
        Archive::from_bytes(&bytes.slice(..cut)).unwrap_err();
    }
    let store = local();
    for spoil in [
        (|it: &mut Archive| it.revisions.swap(1, 2)) as fn(&mut Archive),
        |it| it.revisions[0].block = None,
        |it| it.block = id("other"),
        |it| it.to = Some(6),
    ] {
        let mut archive = archive.clone();
        spoil(&mut archive);
        assert_eq!(
            store.adopt(archive).wait().unwrap_err().kind(),
            ErrorKind::Invalid
        );
        assert_eq!(get(&store, "b", None), Answer::default());
    }
}

/// Has what another store has, as far as it is told to.
#[derive(Debug)]
struct From(Local, std::sync::atomic::AtomicBool);

impl Restore for From {
    fn restore(&self, block: &BlockId, revision: Option<Revision>) -> Op<Option<Archive>> {
        if !self.1.load(std::sync::atomic::Ordering::Relaxed) {
            return Op::err(Error::unavailable("nobody answers"));
        }
        let from = revision.unwrap_or(Revision::MAX).min(90);
        Op::ready(self.0.archive(block, from, None))
    }
}

fn what_is_not_here_is_restored_or_said_to_be_unknown() {
    let whole = local();
    long(&whole, 100);
    let from = Arc::new(From(whole.clone(), false.into()));
    let store = crate::testing::local_of(Options {
        restore: Some(from.clone()),
        ..Options::default()
    });
    let unknown = as_of(&store, 70).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Unavailable, "and not absent");
    from.1.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(get(&store, "b", None), get(&whole, "b", None));
    assert_eq!(
        words(&as_of(&store, 70).unwrap()),
        words(&as_of(&whole, 70).unwrap())
    );
    let nix = store.get(&[id("nix")], None).wait().unwrap();
    assert_eq!(
        nix[&id("nix")].as_ref().unwrap(),
        &Answer::default(),
        "certain"
    );
}

fn each_revision_is_told_once_to_who_follows() {
    let store = local();
    let mut all = Vec::new();
    let mut changes = store.follow(1);
    pend(
        &store,
        "a1",
        Some(1),
        &[insert("b", &["1"]), insert("c", &["1"])],
    );
    commit(&store, "a1", 1, &["b", "c"]);
    // The same again is no change.
    commit(&store, "a1", 1, &["b", "c"]);
    pend(&store, "a2", Some(2), &[update("b", "2")]);
    commit(&store, "a2", 2, &["b"]);
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
        pend(&store, name, Some(1), &[insert(name, &["1"])]);
        commit(&store, name, 1, &[name]);
    }
    let reader = store.0.map.reader(&store.engine().snapshot()).wait();
    assert_eq!(reader.unwrap().count(), 3);
}

/// Every third change is a long one.
fn mixed(store: &Local, count: u64) {
    let long = "x".repeat(2_000);
    for revision in 1..=count {
        let name = format!("a{revision}");
        let word = match revision % 3 {
            0 => &long,
            _ => &name,
        };
        let change = match revision {
            1 => insert("b", &[word]),
            _ => update("b", word),
        };
        pend(store, &name, Some(revision), &[change]);
        commit(store, &name, revision, &["b"]);
    }
}

fn long_changes_and_short_ones_read_back_alike() {
    for count in [33, 34, 35] {
        let (store, late) = (local(), local());
        mixed(&store, count);
        let mut past = Vec::new();
        for revision in 1..=count {
            let here = fresh(&store);
            past.push(words(&as_of(&here, revision).unwrap()).unwrap());
            let made = [(id("b"), Status::Committed)].into();
            let name = format!("a{revision}");
            let status = here.status(&by(&name, revision), &[id("b")]).wait();
            assert_eq!(status.unwrap(), made);
            let status = here.status(&by("other", revision), &[id("b")]).wait();
            assert_eq!(status.unwrap()[&id("b")], Status::Unknown);
        }
        let last = past.last().cloned();
        // In parts, of which the last has the newest revision; then what is old goes.
        for (from, to) in [(1, Some(20)), (20, Some(count)), (count, None)] {
            let part = store.archive(&id("b"), from, to).unwrap().unwrap();
            late.adopt(part).wait().unwrap();
        }
        for (revision, wanted) in (1..).zip(&past) {
            let carried = words(&as_of(&fresh(&late), revision).unwrap());
            assert_eq!(carried.as_ref(), Some(wanted), "{revision}");
        }
        for store in [&store, &late] {
            store.forget(&id("b"), count - 1).wait().unwrap();
            store.forget(&id("b"), count).wait().unwrap();
            let store = fresh(store);
            assert_eq!(words(&get(&store, "b", None)), last);
            let gone = as_of(&store, count - 1).unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::Unavailable);
            pend(&store, "next", Some(count + 1), &[update("b", "next")]);
            commit(&store, "next", count + 1, &["b"]);
            let store = fresh(&store);
            assert_eq!(words(&as_of(&store, count).unwrap()), last);
            let next = words(&get(&store, "b", None));
            assert_eq!(next, last.as_ref().map(|before| format!("next {before}")));
        }
    }
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

fn revisions_that_came_in_one_commit_are_told_each() {
    let store = local();
    pend(&store, "a1", Some(1), &[insert("b", &["1"])]);
    commit(&store, "a1", 1, &["b"]);
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
        pend(&store, name, Some(1), &[insert(name, &[name])]);
        commit(&store, name, 1, &[name]);
    }
    for name in names {
        let answer = get(&store, name, None);
        assert_eq!(
            (words(&answer).as_deref(), answer.latest),
            (Some(name), Some(by(name, 1)))
        );
    }
}

fn what_is_held_bars_others_for_as_long_as_it_takes() {
    let store = local_with(std::time::Duration::from_millis(1));
    pend(
        &store,
        "a",
        Some(1),
        &[insert("b", &["1"]), insert("c", &["1"])],
    );
    commit(&store, "a", 1, &["b", "c"]);
    let mut held = pending("held", Some(2), &[update("b", "held")]);
    held.held = true;
    held.reads.insert(id("c"), 1);
    assert_eq!(
        store.pend(held.clone()).wait().unwrap(),
        Pended::Done(Vec::new())
    );
    travertine_engine::contract::Env::system()
        .clock
        .sleep(std::time::Duration::from_millis(5));
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
    pend(
        &store,
        "a",
        Some(1),
        &[insert("b", &["1"]), insert("c", &["1"])],
    );
    commit(&store, "a", 1, &["b", "c"]);
    let mut reader = pending("reader", Some(2), &[update("b", "x")]);
    reader.reads.insert(id("c"), 1);
    assert_eq!(store.pend(reader).wait().unwrap(), Pended::Done(Vec::new()));
    pend(&store, "writer", Some(2), &[update("c", "y")]);
    commit(&store, "writer", 2, &["c"]);
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
    what_is_forgotten_is_unavailable_and_the_rest_stays_as_it_was
    an_archive_brings_a_block_to_another_store
    what_is_no_archive_is_told_and_changes_nothing
    what_is_not_here_is_restored_or_said_to_be_unknown
    each_revision_is_told_once_to_who_follows
    a_block_that_was_made_and_never_changed_is_one_row
    long_changes_and_short_ones_read_back_alike
    who_is_refused_in_a_batch_takes_nothing_of_the_others_along
    revisions_that_came_in_one_commit_are_told_each
    ids_of_any_letters_keep_their_blocks_apart
    what_is_held_bars_others_for_as_long_as_it_takes
    a_commit_that_rests_on_what_changed_since_is_stale
    revisions_far_apart_are_carried_in_any_order
    where_the_newest_revision_is_not_known_nothing_lands
    an_update_that_ends_in_a_delete_is_a_delete_at_any_step
    two_stores_on_one_map_agree
    what_cannot_be_done_is_not_held
    a_commit_that_was_done_is_done_whatever_happened_since
}
