//! Checks of an index under a [`Writer`].

use super::model::{Chance, Change, Twin};
use crate::index::{Cursor, CursorExt, Direction, Index};
use crate::records::Heap;
use crate::writer::Writer;

pub(super) fn a_transaction_sees_its_own_writes<I: Index>(index: &I, seed: u64) {
    for heap in [Heap::new(), Heap::jittery(seed)] {
        let mut chance = Chance::new(seed);
        let mut twin = Twin::new(index, heap);
        let fill: Vec<Change> = (0..300)
            .map(|_| (chance.key(), Some(chance.value())))
            .collect();
        twin.apply(&fill);
        let heap = twin.heap.clone();
        let mut writer = Writer::new(index.clone(), &*heap, heap.clone(), twin.root);
        for step in 0..600 {
            let story = format!("seed {seed}, step {step}");
            let key = chance.key();
            match chance.below(4) {
                0 => {
                    let value = chance.value();
                    writer.put(&key, &value).expect("a put is taken");
                    twin.map.insert(key, value);
                }
                1 => {
                    writer.delete(&key).expect("a delete is taken");
                    twin.map.remove(&key);
                }
                2 => {
                    let found = writer.get(&key).expect("a get answers");
                    assert_eq!(
                        found.as_deref(),
                        twin.map.get(&key).map(Vec::as_slice),
                        "{story}"
                    );
                }
                _ if step % 10 == 0 => {
                    let keys: Vec<_> = twin.map.keys().collect();
                    let mut cursor = writer.cursor().expect("a cursor opens");
                    cursor.seek(&key);
                    let mut gap = keys.partition_point(|other| **other < key);
                    for _ in 0..60 {
                        let (direction, expected) = if chance.below(5) < 3 {
                            (Direction::Forward, keys.get(gap))
                        } else {
                            (
                                Direction::Back,
                                gap.checked_sub(1).map(|before| &keys[before]),
                            )
                        };
                        let entry = cursor.move_on(direction).expect("a cursor moves");
                        let key = entry.map(|entry| entry.key);
                        assert_eq!(key, expected.map(|key| &key[..]), "{direction:?}; {story}");
                        match (expected, direction) {
                            (None, _) => {}
                            (_, Direction::Forward) => gap += 1,
                            (_, Direction::Back) => gap -= 1,
                        }
                    }
                }
                _ => {}
            }
        }
        twin.root = writer.finish().expect("a writer ends");
        twin.check(&format!("seed {seed}"));
    }
}

pub(super) fn compare_and_set_sets_only_what_was_expected<I: Index>(index: &I, _seed: u64) {
    let heap = std::sync::Arc::new(Heap::new());
    let mut writer = Writer::new(index.clone(), &*heap, heap.clone(), None);
    let long = vec![7; index.inline_max() + 100];
    let mut set = |expected: Option<&[u8]>, new: Option<&[u8]>| {
        writer
            .compare_and_set(b"k", expected, new)
            .expect("it answers")
    };
    assert!(!set(Some(b"x"), Some(b"y")), "absent is not x");
    assert!(set(None, Some(b"x")));
    assert!(!set(None, Some(b"y")), "x is not absent");
    assert!(set(Some(b"x"), Some(&long)));
    assert!(set(Some(&long), Some(b"")));
    assert!(!set(None, Some(b"y")), "empty is not absent");
    assert!(set(Some(b""), None));
    assert!(set(None, Some(b"z")));
    let root = writer.finish().expect("a writer ends");
    let reader = super::model::read(index, heap, root);
    assert_eq!(
        reader.get(b"k").wait().expect("it answers").as_deref(),
        Some(&b"z"[..])
    );
}
