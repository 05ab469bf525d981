//! What a chain answers, what it costs, and what is left of it.

use travertine_engine::conformance::rng::Rng;

use super::super::link;
use super::super::root::Root;
use super::*;
use crate::index::{Direction, Step};

/// Entries of all sorts: none, short, as long as a block takes, and longer.
fn entry(rng: &mut Rng) -> Vec<u8> {
    let length = match rng.below(12) {
        0 => 0,
        1 => 40,
        2 => 41 + rng.below_usize(100),
        _ => rng.below_usize(30),
    };
    rng.bytes(length)
}

fn random_turns(seed: u64, heap: Heap, options: Options, turns: usize) {
    let mut rng = Rng::new(seed);
    let mut twin = Twin::new(heap, options);
    let mut kept = Vec::new();
    for turn in 0..turns {
        let grows = 3 + rng.below(6);
        let steps = [1, 3, 40, 200][rng.below_usize(4)];
        twin.turn(|writer, model| {
            for _ in 0..steps {
                if rng.below(10) < grows {
                    let entry = entry(&mut rng);
                    assert_eq!(writer.push(&entry).unwrap() + 1, writer.end());
                    model.push_back(entry);
                    continue;
                }
                match rng.below(8) {
                    0..3 => assert_eq!(writer.pop().unwrap(), model.pop_back().map(Into::into)),
                    3..6 => assert_eq!(writer.shift().unwrap(), model.pop_front().map(Into::into)),
                    6 => {
                        let gone = rng.below_usize(model.len() + 1).min(40);
                        model.drain(..gone);
                        writer.trim(writer.first() + gone as u64).unwrap();
                    }
                    _ => {
                        let at = rng.below_usize(model.len() + 2);
                        let found = writer.get(writer.first() + at as u64).unwrap();
                        assert_eq!(found.as_deref(), model.get(at).map(|entry| &entry[..]));
                    }
                }
            }
        });
        let reader = twin.reader();
        for _ in 0..5 {
            let at = rng.below(twin.entries.len() as u64 + 2);
            let found = reader.get(twin.first + at).wait().unwrap();
            let wanted = twin.entries.get(at as usize).map(|entry| &entry[..]);
            assert_eq!(found.as_deref(), wanted, "seed {seed}, turn {turn}");
        }
        if rng.chance(1, 8) {
            kept.push(twin.clone());
        }
    }
    twin.check();
    for twin in kept {
        twin.check();
    }
}

#[test]
fn random_turns_answer_like_a_deque() {
    let seed = seed();
    for (nth, block) in [1, 2, 3, 7, 32].into_iter().enumerate() {
        for linked in [false, true] {
            random_turns(seed + nth as u64, Heap::new(), options(block, linked), 60);
        }
    }
}

#[test]
fn late_answers_change_nothing() {
    let seed = seed();
    random_turns(seed, Heap::jittery(seed), options(3, true), 60);
}

#[test]
fn a_cursor_that_waits_goes_on_where_it_was() {
    let mut twin = Twin::new(Heap::jittery(seed()), options(4, false));
    twin.push((0..100).map(row));
    let reader = twin.reader();
    let mut cursor = reader.cursor();
    cursor.seek(50);
    let (mut waited, mut seen) = (0, Vec::new());
    for direction in [Direction::Forward, Direction::Back] {
        loop {
            match cursor.step(direction).unwrap() {
                Step::Wait(op) => {
                    assert_eq!(cursor.entry().unwrap(), None);
                    waited += 1;
                    op.wait().unwrap();
                }
                Step::Entry => seen.push(cursor.entry().unwrap().unwrap().0),
                Step::End => break,
            }
        }
    }
    assert!(waited > 5, "{waited}");
    assert_eq!(seen, (50..100).chain((0..100).rev()).collect::<Vec<_>>());
}

#[test]
fn numbers_stay_and_only_a_pop_gives_them_back() {
    let mut twin = Twin::new(Heap::new(), options(3, false));
    twin.push((0..10).map(row));
    twin.turn(|writer, model| {
        assert_eq!(writer.shift().unwrap().unwrap(), row(0));
        assert_eq!(writer.pop().unwrap().unwrap(), row(9));
        assert_eq!(writer.push(b"again").unwrap(), 9);
        model.pop_front();
        model.pop_back();
        model.push_back(b"again".to_vec());
    });
    let reader = twin.reader();
    assert_eq!((reader.first(), reader.end()), (1, 10));
    assert_eq!(reader.get(0).wait().unwrap(), None);
    assert_eq!(reader.get(4).wait().unwrap().unwrap(), row(4));
    twin.turn(|writer, model| {
        assert!(writer.trim(11).is_err());
        writer.trim(10).unwrap();
        assert_eq!(writer.pop().unwrap(), None);
        assert_eq!(writer.push(b"next").unwrap(), 10);
        *model = [b"next".to_vec()].into();
    });
    twin.check();
}

#[test]
fn what_changes_nothing_keeps_the_root() {
    let mut twin = Twin::new(Heap::new(), options(3, true));
    twin.turn(|writer, _| {
        writer.push(b"x").unwrap();
        writer.pop().unwrap();
    });
    assert_eq!(twin.root, None);
    twin.push((0..7).map(row));
    let (root, stored) = (twin.root, twin.heap.stored());
    twin.turn(|writer, _| {
        writer.push(b"x").unwrap();
        writer.pop().unwrap();
        writer.trim(0).unwrap();
    });
    assert_eq!((twin.root, twin.heap.stored()), (root, stored));
}

#[test]
fn a_commit_costs_the_same_at_any_length() {
    let costs = [0, 1 << 20, 1 << 50].map(|far| {
        let heap = Heap::new();
        // As if so many had been pushed and trimmed.
        let mut root = Root::new(32, None);
        (root.first, root.end, root.tail) = (far, far, far);
        let mut twin = Twin::new(Heap::new(), options(32, false));
        twin.root = Some(root.store(&*twin.heap).unwrap());
        let (mut most, mut last) = (0, twin.heap.stored());
        for round in 0..(32 * 64 * 2 + 10) {
            twin.turn(|writer, model| {
                assert_eq!(writer.push(b"entry").unwrap(), far + round);
                model.push_back(b"entry".to_vec());
            });
            most = most.max(twin.heap.stored() - last);
            last = twin.heap.stored();
        }
        twin.check();
        let before = twin.heap.reads();
        let reader = twin.reader();
        assert_eq!(twin.heap.reads() - before, 1, "opening reads the root");
        reader.get(far).wait().unwrap();
        assert!(twin.heap.reads() - before <= 4, "and an entry is near");
        drop(heap);
        (most, last)
    });
    assert_eq!(costs[0], (5, costs[0].1), "part, block, two nodes, root");
    assert!(costs.iter().all(|cost| *cost == costs[0]), "{costs:?}");
}

#[test]
fn a_stack_about_the_end_of_a_block_does_not_write_it_each_time() {
    let mut twin = Twin::new(Heap::new(), options(32, false));
    twin.push((0..96).map(row));
    twin.push([row(96)]);
    let before = twin.heap.stored();
    for _ in 0..10 {
        twin.turn(|writer, model| {
            writer.pop().unwrap();
            model.pop_back();
        });
        twin.push([row(96)]);
    }
    // A root each, a part for each push.
    assert_eq!(twin.heap.stored() - before, 30);
    twin.check();
}

#[test]
fn what_is_trimmed_is_reachable_no_more() {
    for linked in [false, true] {
        let mut twin = Twin::new(Heap::new(), options(4, linked));
        let mut most = 0;
        for round in 0..3_000 {
            let long = vec![7; 100];
            twin.push([row(2 * round), if round % 5 == 0 { long } else { row(1) }]);
            let end = twin.reader().end();
            twin.trim(end.saturating_sub(40));
            most = most.max(reachable(&twin.heap, twin.root).len());
        }
        // 40 entries: 11 blocks, the parts of the tail, some apart, a few nodes, the root.
        assert!(most <= 11 + 2 + 6 + 8 + 1, "{most} records for 40 entries");
        twin.check();
        let end = twin.reader().end();
        twin.trim(end);
        assert_eq!(reachable(&twin.heap, twin.root).len(), 1, "only the root");
        twin.push((0..50).map(row));
        twin.check();
    }
}

#[test]
fn a_queue_of_many_levels_is_drained_to_nothing() {
    let mut twin = Twin::new(Heap::new(), options(1, true));
    twin.push((0..9_000).map(row));
    let mut records = reachable(&twin.heap, twin.root).len();
    assert!(records > 9_000);
    while !twin.entries.is_empty() {
        twin.turn(|writer, model| {
            for _ in 0..500 {
                assert_eq!(writer.shift().unwrap().unwrap(), model.pop_front().unwrap());
            }
        });
        let left = reachable(&twin.heap, twin.root).len();
        assert!(left <= records - 500, "{left} of {records}");
        records = left;
    }
    twin.check();
}

#[test]
fn a_stack_of_many_levels_is_popped_to_nothing() {
    let mut twin = Twin::new(Heap::new(), options(1, true));
    twin.push((0..9_000).map(row));
    while !twin.entries.is_empty() {
        twin.turn(|writer, model| {
            for _ in 0..500 {
                assert_eq!(writer.pop().unwrap().unwrap(), model.pop_back().unwrap());
            }
        });
        assert!(twin.reader().verify().is_clean());
    }
    assert_eq!(reachable(&twin.heap, twin.root).len(), 1);
    assert_eq!(twin.reader().link(), Some(link::START));
    twin.push((0..100).map(row));
    twin.check();
}

#[test]
fn the_link_depends_on_entries_and_numbers_alone() {
    let mut links = Vec::new();
    for (block, at_once) in [(1, 1), (4, 3), (32, 7), (32, 200)] {
        let mut twin = Twin::new(Heap::new(), options(block, true));
        let mut wanted = link::START;
        let entries: Vec<_> = (0..200).map(|at| vec![at as u8; at % 90]).collect();
        for (number, entry) in entries.iter().enumerate() {
            wanted = link::behind(&wanted, number as u64, &link::hash(entry));
        }
        for some in entries.chunks(at_once) {
            twin.push(some.iter().cloned());
        }
        twin.turn(|writer, _| {
            writer.push(b"not this").unwrap();
            writer.pop().unwrap();
            writer.pop().unwrap();
            writer.push(&entries[199]).unwrap();
        });
        twin.trim(100);
        assert_eq!(twin.reader().link(), Some(wanted));
        links.push(twin.reader().link_before(150).unwrap());
    }
    assert!(links[0].is_some());
    assert!(links.iter().all(|link| *link == links[0]));
}

#[test]
fn a_chain_without_links_is_not_taken_for_a_linked_one() {
    let mut twin = Twin::new(Heap::new(), options(4, false));
    twin.push([row(0)]);
    let error = Writer::new(options(4, true), &*twin.heap, twin.root).unwrap_err();
    assert_eq!(
        error.kind(),
        travertine_engine::contract::ErrorKind::Invalid
    );
}
