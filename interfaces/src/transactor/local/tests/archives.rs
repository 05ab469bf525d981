//! Archives: what a store forgets, what it hands out and takes in, and what it has restored.

use std::sync::Arc;

use travertine_engine::contract::{Error, ErrorKind, Op};

use super::super::{Archive, Restore};
use super::*;

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
    land(&store, "next", 101, &[update("b", "next")]);
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
        land(store, "next", 101, &[update("b", "next")]);
    }
    assert_eq!(get(&late, "b", None), get(&whole, "b", None));
    // Another history is refused.
    let other = local();
    land(&other, "x", 100, &[insert("b", &["x"])]);
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

fn revisions_far_apart_are_carried_in_any_order() {
    let whole = local();
    let revisions = [1, 5, 10, 58, 61, 70, 71];
    for (nth, revision) in revisions.into_iter().enumerate() {
        let name = format!("a{revision}");
        let change = match nth {
            0 => insert("b", &["1"]),
            _ => update("b", &name),
        };
        land(&whole, &name, revision, &[change]);
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
        land(store, &name, revision, &[change]);
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
            land(&store, "next", count + 1, &[update("b", "next")]);
            let store = fresh(&store);
            assert_eq!(words(&as_of(&store, count).unwrap()), last);
            let next = words(&get(&store, "b", None));
            assert_eq!(next, last.as_ref().map(|before| format!("next {before}")));
        }
    }
}

crate::testing::on_stacks! {
    what_is_forgotten_is_unavailable_and_the_rest_stays_as_it_was
    an_archive_brings_a_block_to_another_store
    what_is_no_archive_is_told_and_changes_nothing
    what_is_not_here_is_restored_or_said_to_be_unknown
    long_changes_and_short_ones_read_back_alike
    revisions_far_apart_are_carried_in_any_order
    where_the_newest_revision_is_not_known_nothing_lands
}
