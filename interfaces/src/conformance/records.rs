//! Checks of the records an index leaves.

use std::collections::BTreeSet;
use std::sync::Arc;

use travertine_engine::contract::{Error, Oid, Op, Record, Reference};
use travertine_engine::front::Read;

use super::model::{Chance, Change, Twin, read, same};
use crate::index::Index;
use crate::records::Heap;

pub(super) fn edits_that_change_nothing_keep_the_root<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut twin = Twin::new(index, Heap::new());
    twin.apply(&[(b"absent".to_vec(), None)]);
    assert!(twin.root.is_none(), "a delete in the empty map");
    let fill: Vec<Change> = (0..500)
        .map(|_| (chance.key(), Some(chance.bytes(9))))
        .collect();
    twin.apply(&fill);
    let (root, stored) = (twin.root, twin.heap.stored());
    let again = twin
        .map
        .iter()
        .map(|(key, value)| (key.clone(), Some(value.clone())));
    let again: Vec<Change> = again.chain([(b"absent too".to_vec(), None)]).collect();
    twin.apply(&again);
    assert_eq!(twin.root, root, "seed {seed}");
    assert_eq!(twin.heap.stored(), stored, "nothing is stored, seed {seed}");
}

pub(super) fn what_is_stored_is_reachable<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut twin = Twin::new(index, Heap::new());
    for round in 0..40 {
        let before = reachable(&twin.heap, twin.root);
        let stored = twin.heap.stored();
        let size = [1, 10, 400][chance.below(3)];
        let changes: Vec<Change> = (0..size)
            .map(|_| {
                let grows = chance.below(10) < if round < 20 { 8 } else { 3 };
                (chance.key(), grows.then(|| chance.bytes(20)))
            })
            .collect();
        twin.apply(&changes);
        let after = reachable(&twin.heap, twin.root);
        let fresh = after.difference(&before).count() as u64;
        let vain = twin.heap.stored() - stored - fresh;
        let height = twin.reader().verify().height;
        assert!(
            vain <= height,
            "{vain} stored in vain, seed {seed}, round {round}"
        );
    }
}

pub(super) fn everything_read_is_reachable<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut twin = Twin::new(index, Heap::new());
    for _ in 0..3 {
        let changes: Vec<Change> = (0..400)
            .map(|_| (chance.key(), Some(chance.value())))
            .collect();
        twin.apply(&changes);
    }
    // What a reclaim would leave of it.
    let left = Left {
        reachable: reachable(&twin.heap, twin.root),
        heap: twin.heap.clone(),
    };
    let reader = read(index, Arc::new(left), twin.root);
    same(&reader, &twin.map, &format!("seed {seed}"));
}

/// All records that references lead to.
pub(super) fn reachable(heap: &Heap, root: Option<Reference>) -> BTreeSet<Oid> {
    let mut found = BTreeSet::new();
    let mut left: Vec<_> = root.into_iter().collect();
    while let Some(reference) = left.pop() {
        if found.insert(reference.oid) {
            let record = heap
                .read(&reference)
                .wait()
                .expect("a strong reference leads somewhere");
            assert!(
                !reference.leaf || record.reference_count() == 0,
                "{reference:?} claims that nothing is below it"
            );
            left.extend(record.references());
        }
    }
    found
}

#[derive(Debug)]
struct Left {
    heap: Arc<Heap>,
    reachable: BTreeSet<Oid>,
}

impl Read for Left {
    fn read(&self, reference: &Reference) -> Op<Record> {
        if self.reachable.contains(&reference.oid) {
            return self.heap.read(reference);
        }
        Op::err(Error::corrupt(format!("{} was reclaimed", reference.oid)))
    }
}
