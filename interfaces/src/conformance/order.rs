//! Checks of order: of arrival, of scans, of rows.

use std::ops::Bound;

use travertine_engine::contract::ErrorKind;

use super::model::{Chance, Change, Map, Twin, read, same};
use crate::index::{Cursor, CursorExt, Direction, Index, Loader, Value};
use crate::records::Heap;

const MANY: u32 = 4_096;

type Order = fn(u32) -> u32;

pub(super) fn any_order_of_arrival_gives_the_same_map<I: Index>(index: &I, seed: u64) {
    let orders: [(&str, Order); 5] = [
        ("ascending", |n| n),
        ("descending", |n| MANY - 1 - n),
        ("organ pipe", |n| {
            if n % 2 == 0 { n / 2 } else { MANY - 1 - n / 2 }
        }),
        ("bit reversed", |n| n.reverse_bits() >> 20),
        ("scattered", |n| n.wrapping_mul(2_654_435_761) >> 20),
    ];
    for (name, order) in orders {
        for batch in [61, 1_000, 5_000] {
            let mut twin = Twin::new(index, Heap::new());
            let changes: Vec<Change> = (0..MANY)
                .map(|n| {
                    let key = order(n);
                    (key.to_be_bytes().to_vec(), Some(vec![key as u8; 20]))
                })
                .collect();
            for some in changes.chunks(batch) {
                twin.apply(some);
            }
            twin.check(&format!("{name}, batches of {batch}"));
            // Down again in the same order, to half.
            for some in changes[..changes.len() / 2].chunks(batch) {
                let delete = |(key, _): &Change| (key.clone(), None);
                twin.apply(&some.iter().map(delete).collect::<Vec<_>>());
            }
            twin.check(&format!(
                "{name}, half deleted in batches of {batch}, seed {seed}"
            ));
        }
    }
}

pub(super) fn cursors_go_both_ways_from_anywhere<I: Index>(index: &I, seed: u64) {
    for heap in [Heap::new(), Heap::jittery(seed)] {
        let mut chance = Chance::new(seed);
        let mut twin = Twin::new(index, heap);
        let changes: Vec<Change> = (0..1_500)
            .map(|_| (chance.key(), Some(chance.bytes(10))))
            .collect();
        twin.apply(&changes);
        let keys: Vec<_> = twin.map.keys().collect();
        let mut cursor = twin.reader().cursor();
        let mut gap = 0;
        for move_ in 0..4_000 {
            let story = format!("seed {seed}, move {move_}, gap {gap}");
            match chance.below(12) {
                0 => {
                    let key = chance.key();
                    cursor.seek(&key);
                    gap = keys.partition_point(|other| **other < key);
                }
                1 if chance.below(10) == 0 => {
                    cursor.seek_end();
                    gap = keys.len();
                }
                way => {
                    let (direction, expected) = if way < 7 {
                        (Direction::Forward, keys.get(gap))
                    } else {
                        (
                            Direction::Back,
                            gap.checked_sub(1).map(|before| &keys[before]),
                        )
                    };
                    let entry = cursor.move_on(direction).expect("a sound map scans");
                    let key = entry.map(|entry| entry.key);
                    assert_eq!(key, expected.map(|key| &key[..]), "{direction:?}; {story}");
                    match (expected, direction) {
                        (None, _) => assert!(cursor.entry().is_none(), "{story}"),
                        (_, Direction::Forward) => gap += 1,
                        (_, Direction::Back) => gap -= 1,
                    }
                }
            }
        }
    }
}

pub(super) fn ranges_end_where_they_should<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut twin = Twin::new(index, Heap::new());
    let changes: Vec<Change> = (0..600).map(|_| (chance.key(), Some(Vec::new()))).collect();
    twin.apply(&changes);
    let reader = twin.reader();
    for round in 0..600 {
        let (a, b) = (chance.key(), chance.key());
        let bound = |kind, key| match kind {
            0 => Bound::Included(key),
            1 => Bound::Excluded(key),
            _ => Bound::Unbounded,
        };
        let (from, to) = (
            bound(chance.below(3), &a[..]),
            bound(chance.below(3), &b[..]),
        );
        let within = |key: &&Vec<u8>| {
            let above = match from {
                Bound::Included(from) => &key[..] >= from,
                Bound::Excluded(from) => &key[..] > from,
                Bound::Unbounded => true,
            };
            above
                && match to {
                    Bound::Included(to) => &key[..] <= to,
                    Bound::Excluded(to) => &key[..] < to,
                    Bound::Unbounded => true,
                }
        };
        for direction in [Direction::Forward, Direction::Back] {
            let mut expected: Vec<_> = twin.map.keys().filter(within).collect();
            if direction == Direction::Back {
                expected.reverse();
            }
            let mut range = reader.range(from, to, direction);
            for key in expected {
                let entry = range.next().expect("a sound map scans");
                let story = format!("seed {seed}, round {round}, {from:?} {to:?} {direction:?}");
                assert_eq!(entry.map(|entry| entry.key), Some(&key[..]), "{story}");
            }
            assert!(range.next().expect("a sound map scans").is_none());
            assert!(range.next().expect("a sound map scans").is_none());
        }
    }
}

pub(super) fn a_snapshot_never_changes<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut twin = Twin::new(index, Heap::new());
    let mut held = Vec::new();
    let fill: Vec<Change> = (0..800)
        .map(|_| (chance.key(), Some(chance.value())))
        .collect();
    twin.apply(&fill);
    for _ in 0..8 {
        let reader = twin.reader();
        let mut cursor = reader.cursor();
        // Under way already when the writes come.
        let begun = cursor
            .next()
            .expect("a sound map scans")
            .map(|entry| entry.key.to_vec());
        held.push((reader, cursor, begun, twin.map.clone()));
        let changes: Vec<Change> = (0..100)
            .map(|_| {
                let value = (chance.below(2) == 0).then(|| chance.value());
                (chance.key(), value)
            })
            .collect();
        twin.apply(&changes);
    }
    for (reader, mut cursor, begun, map) in held {
        let mut keys = map.keys();
        assert_eq!(begun.as_ref(), keys.next());
        for key in keys {
            let entry = cursor.next().expect("a sound map scans");
            assert_eq!(entry.map(|entry| entry.key), Some(&key[..]), "seed {seed}");
        }
        same(&reader, &map, &format!("seed {seed}"));
    }
}

pub(super) fn sorted_rows_load_and_others_are_refused<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    for rows in [0, 1, 2, 50, 5_000] {
        let mut twin = Twin::new(index, Heap::new());
        let map: Map = (0..rows)
            .map(|_| (chance.key(), chance.bytes(30)))
            .collect();
        let mut loader = index.loader(&*twin.heap);
        for (nth, (key, value)) in map.iter().enumerate() {
            loader
                .push(key, Value::Inline(value))
                .expect("rows in order are taken");
            if nth % 100 == 0 {
                let same = loader
                    .push(key, Value::Inline(b"again"))
                    .expect_err("not twice");
                assert_eq!(same.kind(), ErrorKind::Invalid);
                let place = format!("row {}", nth + 2);
                assert!(
                    same.message().contains(&place),
                    "{same} should name {place}"
                );
            }
            if let Some(less) = key
                .split_last()
                .map(|(_, less)| less)
                .filter(|_| nth % 50 == 0)
            {
                assert!(
                    loader.push(less, Value::Inline(b"")).is_err(),
                    "seed {seed}"
                );
            }
        }
        twin.root = loader.finish().expect("a load ends");
        twin.map = map;
        twin.check(&format!("seed {seed}, {rows} rows"));
        twin.apply(&[(b"one more".to_vec(), Some(b"later".to_vec()))]);
        same(
            &read(index, twin.heap.clone(), twin.root),
            &twin.map,
            &format!("seed {seed}, {rows} rows and one"),
        );
    }
}
