//! Checks of what lies between: counts within bounds, range deletes, differences of two maps.

use std::ops::Bound;
use std::sync::Arc;

use super::model::{Chance, Change, Map, Twin, read, same};
use crate::index::{Index, View};
use crate::reader::{Reader, within};
use crate::records::Heap;
use crate::writer::Writer;

pub(super) fn ranks_and_counts_are_those_of_the_keys<I: Index>(index: &I, seed: u64) {
    for heap in [Heap::new(), Heap::jittery(seed)] {
        let mut chance = Chance::new(seed);
        let mut twin = Twin::new(index, heap);
        let fill: Vec<Change> = (0..400).map(|_| (chance.key(), Some(Vec::new()))).collect();
        for some in fill.chunks(200) {
            let reader = twin.reader();
            for round in 0..60 {
                let (a, b) = (chance.key(), chance.key());
                let rank = reader.rank(&a).wait().expect("a sound map answers");
                let less = twin.map.keys().filter(|key| **key < a).count();
                assert_eq!(rank, less as u64, "seed {seed}, rank of {a:?}");
                let (from, to) = bounds(&mut chance, &a, &b);
                let count = reader.count_between(from, to).wait();
                let story = format!("seed {seed}, round {round}, {from:?} {to:?}");
                let expected = twin.map.keys().filter(|key| within(key, from, to));
                let expected = expected.count() as u64;
                assert_eq!(count.expect("a sound map answers"), expected, "{story}");
            }
            twin.apply(some);
        }
    }
}

pub(super) fn a_range_is_deleted_and_nothing_beside_it<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut twin = Twin::new(index, Heap::new());
    for round in 0..12 {
        let fill: Vec<Change> = (0..300)
            .map(|_| (chance.key(), Some(chance.value())))
            .collect();
        twin.apply(&fill);
        let heap = twin.heap.clone();
        let mut writer = Writer::new(index.clone(), &*heap, heap.clone(), twin.root);
        for _ in 0..40 {
            let (key, value) = (chance.key(), chance.value());
            writer.put(&key, &value).expect("a put is taken");
            twin.map.insert(key, value);
        }
        if round % 2 == 0 {
            // A transaction that was read from deletes in another way.
            writer.get(b"").expect("a get answers");
        }
        let (a, b) = (chance.key(), chance.key());
        let (from, to) = bounds(&mut chance, &a, &b);
        writer.delete_range(from, to).expect("a range is deleted");
        twin.map.retain(|key, _| !within(key, from, to));
        let key = chance.key();
        writer.put(&key, b"after").expect("a put is taken");
        twin.map.insert(key, b"after".to_vec());
        twin.root = writer.finish().expect("edits are done");
        twin.check(&format!("seed {seed}, round {round}, {from:?} {to:?}"));
    }
    let heap = twin.heap.clone();
    let mut writer = Writer::new(index.clone(), &*heap, heap.clone(), twin.root);
    let all = (Bound::Unbounded, Bound::Unbounded);
    writer.delete_range(all.0, all.1).expect("all is deleted");
    let root = writer.finish().expect("edits are done");
    let empty = read(index, heap, root);
    same(&empty, &Map::new(), &format!("seed {seed}, all deleted"));
}

pub(super) fn a_difference_names_every_change_and_nothing_else<I: Index>(index: &I, seed: u64) {
    for heap in [Heap::new(), Heap::jittery(seed)] {
        let mut chance = Chance::new(seed);
        let mut twin = Twin::new(index, heap);
        let mut states = vec![(twin.reader(), twin.map.clone())];
        for round in 0..10 {
            let size = [1, 400, 3, 60][round % 4];
            let changes: Vec<Change> = (0..size)
                .map(|_| {
                    let value = (chance.below(3) > 0).then(|| chance.bytes(12));
                    (chance.key(), value)
                })
                .collect();
            twin.apply(&changes);
            states.push((twin.reader(), twin.map.clone()));
        }
        let nothing = read(index, Arc::new(Heap::new()), None);
        states.push((nothing, Map::new()));
        for (from, old) in &states {
            for (to, new) in &states {
                differ(from, old, to, new, &format!("seed {seed}"));
            }
        }
    }
}

fn differ<V: View>(from: &Reader<V>, old: &Map, to: &Reader<V>, new: &Map, story: &str) {
    let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| old.get(*key) != new.get(*key));
    let mut diff = from.diff(to);
    for key in keys {
        let differs = diff.next().expect("sound maps differ");
        let differs = differs.unwrap_or_else(|| panic!("{key:?} differs; {story}"));
        assert_eq!(differs.key, key, "{story}");
        for (reader, map, value) in [(from, old, differs.old), (to, new, differs.new)] {
            let value = value.map(|value| reader.value(value).wait().expect("a value reads"));
            let expected = map.get(key).map(Vec::as_slice);
            assert_eq!(value.as_deref(), expected, "{key:?}; {story}");
        }
    }
    for _ in 0..2 {
        assert_eq!(diff.next().expect("sound maps differ"), None, "{story}");
    }
}

fn bounds<'k>(chance: &mut Chance, a: &'k [u8], b: &'k [u8]) -> (Bound<&'k [u8]>, Bound<&'k [u8]>) {
    let mut bound = |key| match chance.below(4) {
        0 => Bound::Unbounded,
        1 => Bound::Excluded(key),
        _ => Bound::Included(key),
    };
    (bound(a), bound(b))
}
