//! Checks of what a map holds.

use std::sync::Arc;

use super::model::{Chance, Change, Twin, read};
use crate::index::{Cursor, CursorExt, Direction, Index, KEY_MAX, Step};
use crate::records::Heap;

pub(super) fn the_empty_map_answers<I: Index>(index: &I, _seed: u64) {
    let reader = read(index, Arc::new(Heap::new()), None);
    assert_eq!(reader.count(), 0);
    assert!(
        reader
            .get(b"")
            .wait()
            .expect("an empty map answers")
            .is_none()
    );
    let mut cursor = reader.cursor();
    assert!(cursor.next().expect("an empty map scans").is_none());
    assert!(cursor.prev().expect("an empty map scans").is_none());
    cursor.seek(b"x");
    assert!(matches!(cursor.step(Direction::Back), Ok(Step::End)));
    assert!(cursor.entry().is_none());
    assert!(reader.verify().is_clean());
}

pub(super) fn random_edits_answer_like_an_ordered_map<I: Index>(index: &I, seed: u64) {
    for run in 0..6 {
        rounds(index, Heap::new(), seed.wrapping_add(run), 30);
    }
}

pub(super) fn late_answers_change_nothing<I: Index>(index: &I, seed: u64) {
    rounds(index, Heap::jittery(seed), seed, 12);
}

fn rounds<I: Index>(index: &I, heap: Heap, seed: u64, rounds: usize) {
    let mut chance = Chance::new(seed);
    let mut twin = Twin::new(index, heap);
    for round in 0..rounds {
        let size = [1, 3, 20, 300][chance.below(4)];
        // Tides of growth and of decay, so that trees rise and fall.
        let deletes = if (round / 5) % 2 == 0 { 2 } else { 8 };
        let changes: Vec<Change> = (0..size)
            .map(|_| {
                if chance.below(10) < deletes {
                    let nth = chance.below(twin.map.len() + 1);
                    let near = twin.map.keys().nth(nth).cloned();
                    (near.unwrap_or_else(|| chance.key()), None)
                } else {
                    let value = chance.value();
                    (chance.key(), Some(value))
                }
            })
            .collect();
        twin.apply(&changes);
        twin.check(&format!("seed {seed}, round {round}"));
    }
}

pub(super) fn deleted_to_nothing_it_fills_again<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut twin = Twin::new(index, Heap::new());
    for tide in 0..3 {
        let batch = [1_000, 37, 250][tide];
        let mut keys: Vec<_> = (0..1_000).map(|_| chance.bytes(8)).collect();
        for some in keys.chunks(400) {
            let put = |key: &Vec<u8>| (key.clone(), Some(key[..4].to_vec()));
            twin.apply(&some.iter().map(put).collect::<Vec<_>>());
        }
        for at in (1..keys.len()).rev() {
            keys.swap(at, chance.below(at + 1));
        }
        for (round, some) in keys.chunks(batch).enumerate() {
            let delete = |key: &Vec<u8>| (key.clone(), None);
            twin.apply(&some.iter().map(delete).collect::<Vec<_>>());
            if round % 8 == 0 {
                twin.check(&format!("seed {seed}, tide {tide}, after deletes {round}"));
            }
        }
        assert!(twin.map.is_empty());
        twin.check(&format!("seed {seed}, tide {tide}, emptied"));
    }
}

pub(super) fn keys_of_any_length_are_kept<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut twin = Twin::new(index, Heap::new());
    let mut changes: Vec<Change> = vec![(Vec::new(), Some(b"the empty key".to_vec()))];
    for length in [1, 7, 8, 9, 255, 256, 4_096, 32_768, KEY_MAX - 1, KEY_MAX] {
        for fill in [0, b'a', 0xFF] {
            let mut key = vec![fill; length];
            changes.push((key.clone(), Some(chance.bytes(3))));
            key[length - 1] ^= 1;
            changes.push((key, Some(chance.bytes(5))));
        }
        let (key, value) = (chance.bytes(length), chance.bytes(length % 50));
        changes.push((key, Some(value)));
    }
    for at in (1..changes.len()).rev() {
        changes.swap(at, chance.below(at + 1));
    }
    for some in changes.chunks(9) {
        twin.apply(some);
        twin.check(&format!("seed {seed}"));
    }
    for (key, value) in &mut changes {
        *value = if key.len() % 2 == 0 {
            None
        } else {
            Some(vec![1])
        };
    }
    twin.apply(&changes[..20]);
    twin.check(&format!("seed {seed}, after deletes"));
    twin.apply(&changes);
    twin.check(&format!("seed {seed}, after all deletes"));
}

pub(super) fn a_long_common_prefix_is_kept<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut twin = Twin::new(index, Heap::new());
    let mut prefix = vec![b'p'; 1_000];
    let mut changes: Vec<Change> = (0..10_000u32)
        .map(|number| {
            if number == 5_000 {
                prefix[500] = b'q';
            }
            let mut key = prefix.clone();
            key.extend(number.wrapping_mul(2_654_435_761).to_be_bytes());
            (key, Some(number.to_le_bytes().to_vec()))
        })
        .collect();
    twin.apply(&changes);
    twin.check(&format!("seed {seed}"));
    for at in (1..changes.len()).rev() {
        changes.swap(at, chance.below(at + 1));
    }
    changes.truncate(6_000);
    for (_, value) in &mut changes {
        *value = None;
    }
    for some in changes.chunks(2_000) {
        twin.apply(some);
    }
    twin.check(&format!("seed {seed}, after deletes"));
}

pub(super) fn values_of_any_length_are_kept<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut twin = Twin::new(index, Heap::new());
    let inline = index.inline_max();
    let lengths = [
        0,
        1,
        inline - 1,
        inline,
        inline + 1,
        100_000,
        (1 << 20) + 1,
        5 << 20,
    ];
    for (round, length) in lengths.into_iter().enumerate() {
        let changes: Vec<Change> = (0..4)
            .map(|nth| {
                let length = if nth == 0 {
                    length
                } else {
                    chance.below(2_000)
                };
                (vec![chance.below(20) as u8], Some(chance.bytes(length)))
            })
            .collect();
        twin.apply(&changes);
        twin.check(&format!("seed {seed}, round {round}"));
    }
    let report = twin.reader().verify();
    let apart = twin
        .map
        .values()
        .filter(|value| value.len() > inline)
        .count();
    assert_eq!(report.apart, apart as u64, "each value apart is verified");
}
