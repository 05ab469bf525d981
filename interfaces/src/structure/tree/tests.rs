use std::collections::BTreeMap;

use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::Env;

use super::*;
use crate::block::Tracker;
use crate::testing::{Nothing, id, now};

fn planted(capacity: usize) -> (Tree, Tracker<Nothing>) {
    use crate::block::WriteBlocks;
    let tree = Tree::new(id("trunk"), id("c"), Pairs).with_capacity(capacity);
    let mut blocks = Tracker::new(Nothing, Env::system().random);
    blocks.insert(tree.trunk_block());
    (tree, blocks)
}

fn entry(key: &[u8], value: u64) -> Value {
    Value::list(&[Value::bytes(key), Value::of(&value).unwrap()]).unwrap()
}

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

type Model = BTreeMap<Vec<u8>, Value>;

fn compare(tree: &Tree, blocks: &Tracker<Nothing>, model: &Model) -> Verified {
    let verified = now(tree.verify(blocks)).unwrap();
    assert_eq!(verified.entries, model.len() as u64);
    assert_eq!(now(tree.count(blocks)).unwrap(), model.len() as u64);
    let mut cursor = tree.cursor(blocks);
    now(cursor.seek(&[])).unwrap();
    for wanted in model.values() {
        assert_eq!(now(cursor.next()).unwrap().as_ref(), Some(wanted));
    }
    assert_eq!(now(cursor.next()).unwrap(), None);
    for wanted in model.values().rev() {
        assert_eq!(now(cursor.prev()).unwrap().as_ref(), Some(wanted));
    }
    assert_eq!(now(cursor.prev()).unwrap(), None);
    verified
}

#[test]
fn twelve_keys_that_are_lost_where_the_slot_comes_from_the_cursor() {
    let (tree, mut blocks) = planted(4);
    let mut model = Model::new();
    for number in [7, 8, 1, 4, 2, 0, 3, 9, 10, 11, 5, 6] {
        let new = now(tree.insert(&mut blocks, entry(&key(number), number))).unwrap();
        assert!(new);
        model.insert(key(number).to_vec(), entry(&key(number), number));
        compare(&tree, &blocks, &model);
    }
}

#[test]
fn ascending_and_descending_keys_fill_branches_that_are_split() {
    for down in [false, true] {
        let (tree, mut blocks) = planted(CAPACITY);
        let mut model = Model::new();
        for number in 0..5_000 {
            let number = if down { 5_000 - number } else { number };
            now(tree.upsert(&mut blocks, entry(&key(number), number))).unwrap();
            model.insert(key(number).to_vec(), entry(&key(number), number));
        }
        assert!(compare(&tree, &blocks, &model).depth >= 3);
    }
}

/// The seed is new each time, and told.
#[test]
fn any_order_of_any_day_gives_the_map_that_was_put_in() {
    for (capacity, rounds, span) in [
        (4, 600, 200),
        (5, 1500, 3000),
        (8, 3000, 9000),
        (64, 20_000, 1 << 40),
    ] {
        let seed = Env::system().random.next_u64();
        eprintln!("seed {seed}");
        let mut rng = Rng::new(seed);
        let (tree, mut blocks) = planted(capacity);
        let mut model = Model::new();
        // Grows, churns, shrinks to nothing, grows again.
        for (phase, inserts) in [(0, 9), (1, 5), (2, 1), (3, 9)] {
            for round in 0..rounds {
                let number = rng.below(span);
                let picked = match rng.below(3) {
                    0 => None,
                    _ => model
                        .range(key(number).to_vec()..)
                        .next()
                        .map(|(key, _)| key.clone()),
                };
                let at = picked.unwrap_or(key(number).to_vec());
                if rng.below(10) < inserts {
                    let new = entry(&at, rng.below(1000));
                    let before = model.insert(at, new.clone());
                    let replaced = now(tree.upsert(&mut blocks, new)).unwrap();
                    assert_eq!(replaced, before.is_some());
                } else {
                    let removed = now(tree.remove(&mut blocks, &at)).unwrap();
                    assert_eq!(removed, model.remove(&at).is_some());
                }
                let found = now(tree.get(&blocks, &key(number))).unwrap();
                assert_eq!(found.as_ref(), model.get(&key(number)[..]));
                if round % (rounds / 4) == 0 {
                    compare(&tree, &blocks, &model);
                }
            }
            let verified = compare(&tree, &blocks, &model);
            if phase == 0 && capacity < 64 {
                assert!(verified.depth >= 3, "{verified:?}");
            }
            if phase == 2 {
                for key in model.keys() {
                    assert!(now(tree.remove(&mut blocks, key)).unwrap());
                }
                model.clear();
                compare(&tree, &blocks, &model);
                let left = blocks
                    .changes()
                    .ids()
                    .filter(|id| matches!(blocks.changes().now(id), Some(Some(_))));
                assert_eq!(left.count(), 1, "the trunk alone");
            }
        }
    }
}

#[test]
fn a_cursor_stands_in_any_gap_and_goes_both_ways() {
    let (tree, mut blocks) = planted(4);
    for number in 0..100 {
        now(tree.upsert(&mut blocks, entry(&key(2 * number), number))).unwrap();
    }
    for gap in 0..200 {
        let mut cursor = tree.cursor(&blocks);
        now(cursor.seek(&key(gap))).unwrap();
        let after = now(cursor.next()).unwrap();
        assert_eq!(
            after,
            (gap < 199).then(|| entry(&key(gap.next_multiple_of(2)), gap.div_ceil(2)))
        );
        now(cursor.seek(&key(gap))).unwrap();
        let before = now(cursor.prev()).unwrap();
        let number = gap.div_ceil(2).checked_sub(1);
        assert_eq!(before, number.map(|number| entry(&key(2 * number), number)));
    }
    let mut cursor = tree.cursor(&blocks);
    now(cursor.seek_end()).unwrap();
    assert_eq!(now(cursor.next()).unwrap(), None);
    assert_eq!(now(cursor.prev()).unwrap(), Some(entry(&key(198), 99)));
}

#[test]
fn an_entry_that_is_there_is_not_inserted_again() {
    let (tree, mut blocks) = planted(4);
    assert!(now(tree.insert(&mut blocks, entry(b"a", 1))).unwrap());
    assert!(!now(tree.insert(&mut blocks, entry(b"a", 2))).unwrap());
    assert_eq!(now(tree.get(&blocks, b"a")).unwrap(), Some(entry(b"a", 1)));
    assert!(now(tree.upsert(&mut blocks, entry(b"a", 2))).unwrap());
    assert_eq!(now(tree.get(&blocks, b"a")).unwrap(), Some(entry(b"a", 2)));
    assert!(now(tree.insert(&mut blocks, Value::text("no key"))).is_err());
}

#[test]
fn a_set_has_entries_that_are_their_keys() {
    let id = |name: &str| BlockId::new(name).unwrap();
    let tree = Tree::new(id("trunk"), id("c"), Keys);
    let mut blocks = Tracker::new(Nothing, Env::system().random);
    crate::block::WriteBlocks::insert(&mut blocks, tree.trunk_block());
    assert!(now(tree.insert(&mut blocks, Value::bytes(b"k"))).unwrap());
    assert!(now(tree.get(&blocks, b"k")).unwrap().is_some());
    assert!(now(tree.remove(&mut blocks, b"k")).unwrap());
    assert!(!now(tree.remove(&mut blocks, b"k")).unwrap());
}
