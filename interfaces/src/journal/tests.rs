//! The suite over journals with tiny bounds, which merge and flip all the time, and with the usual
//! ones; and what only a journal promises.

use std::borrow::Cow;
use std::collections::BTreeMap;

use travertine_engine::contract::ErrorKind;
use travertine_engine::front::{Memo, Read};

use super::*;
use crate::Btree;
use crate::edits::{Edit, EditLog};
use crate::index::{CursorExt, Value};
use crate::records::Heap;
use crate::report::Report;

const SMALL: Btree = Btree {
    leaf_bytes: 128,
    inner_bytes: 160,
    inline_max: 64,
};

const TINY: Journal<Btree> = Journal {
    index: SMALL,
    bytes_max: 4096,
    merge_min: 1,
};

crate::index_suite!(tiny_bounds, TINY);
crate::index_suite!(small_nodes, Journal::over(SMALL));
crate::index_suite!(usual_bounds, Journal::over(Btree::default()));

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type Root = Option<Reference>;

fn edits(changes: &[(&[u8], Option<&[u8]>)]) -> Edits {
    let mut log = EditLog::new();
    for (key, value) in changes {
        let edit = value.map_or(Edit::Delete, |value| Edit::Put(Value::Inline(value)));
        log.push(key, edit).unwrap();
    }
    log.sorted()
}

/// Reads a map and compares it with what it should be.
fn same(index: &Journal<Btree>, source: Arc<dyn Source>, root: Root, model: &Model, story: &str) {
    let view = index.view(source, root).wait().unwrap();
    assert_eq!(view.count(), model.len() as u64, "{story}");
    let mut cursor = view.cursor();
    for (key, value) in model {
        let entry = cursor.next().unwrap().expect("there is one more");
        assert_eq!(entry.key, key, "{story}");
        assert_eq!(entry.value, Value::Inline(value), "{story}");
    }
    assert!(cursor.next().unwrap().is_none(), "{story}");
    let mut report = Report::new();
    view.verify(&mut report);
    assert!(report.is_clean(), "{report}; {story}");
    assert_eq!(report.entries, model.len() as u64, "{story}");
}

/// A heap of which nobody remembers anything: as after opening.
#[derive(Debug)]
struct Forgetful(Heap);

impl Read for Forgetful {
    fn read(&self, reference: &Reference) -> Op<Record> {
        self.0.read(reference)
    }

    fn memo(&self) -> Option<&Memo> {
        None
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

fn states(heap: &Heap, root: Root) -> root::Root<'static> {
    root::Root::decode(&heap.read(&root.unwrap()).wait().unwrap()).unwrap()
}

#[test]
fn every_commit_reads_as_it_was_from_its_records_alone() {
    let seed = crate::conformance::seed();
    let (heap, mut chance) = (Heap::new(), Chance(seed));
    let (mut model, mut root) = (Model::new(), None);
    let fill: Vec<_> = (0..400_u32).map(|key| key.to_be_bytes().to_vec()).collect();
    let mut log = EditLog::new();
    for key in &fill {
        log.push(key, Edit::Put(Value::Inline(b"old"))).unwrap();
        model.insert(key.clone(), b"old".to_vec());
    }
    root = TINY.apply(&heap, root, &log.sorted()).unwrap();
    let (mut flips, mut partly, mut deltas) = (0, 0, 0);
    for commit in 0..1_500 {
        let story = format!("seed {seed}, commit {commit}");
        let mut log = EditLog::new();
        for _ in 0..=chance.below(4) {
            let key = (chance.below(600) as u32).to_be_bytes();
            if chance.below(3) == 0 {
                log.push(&key, Edit::Delete).unwrap();
                model.remove(&key[..]);
            } else {
                let value = vec![commit as u8; chance.below(40) as usize];
                log.push(&key, Edit::Put(Value::Inline(&value))).unwrap();
                model.insert(key.to_vec(), value);
            }
        }
        root = TINY.apply(&heap, root, &log.sorted()).unwrap();
        let record = heap.read(&root.unwrap()).wait().unwrap();
        if record.kind() == JOURNAL_ROOT {
            let stated = states(&heap, root);
            deltas = deltas.max(stated.young.count());
            flips += u32::from(stated.young.count() == 0);
            partly += u32::from(stated.old.is_some_and(|old| old.merged > 0));
        }
        // From records alone, and from what is remembered.
        if commit % 7 == 0 {
            same(
                &TINY,
                Arc::new(Forgetful(heap.clone())),
                root,
                &model,
                &story,
            );
            same(&TINY, Arc::new(heap.clone()), root, &model, &story);
        }
    }
    assert!(flips > 10, "only {flips} flips");
    assert!(partly > 100, "only {partly} roots with a merge under way");
    assert!(deltas < 100, "{deltas} deltas in 2 KiB");
    let whole = TINY.checkpoint(&heap, root).unwrap();
    let record = heap.read(&whole.unwrap()).wait().unwrap();
    assert_eq!(record.kind(), crate::records::BTREE_ROOT);
    same(&TINY, Arc::new(heap.clone()), whole, &model, "checkpoint");
}

#[test]
fn two_who_write_from_the_same_root_do_not_see_each_other() {
    let seed = crate::conformance::seed();
    let (heap, mut chance) = (Heap::new(), Chance(seed));
    let index = Journal::over(SMALL);
    let fill: Vec<_> = (0..200_u32).map(|key| key.to_be_bytes().to_vec()).collect();
    let mut model: Model = fill.iter().map(|key| (key.clone(), key.clone())).collect();
    let mut log = EditLog::new();
    for key in &fill {
        log.push(key, Edit::Put(Value::Inline(key))).unwrap();
    }
    let mut root = index.apply(&heap, None, &log.sorted()).unwrap();
    // More attempts in vain than a lay keeps apart.
    for round in 0..150_u64 {
        let mut tries = Vec::new();
        for _ in 0..=chance.below(3) {
            let mut mine = model.clone();
            let key = (chance.below(250) as u32).to_be_bytes();
            let value = [round as u8, tries.len() as u8];
            mine.insert(key.to_vec(), value.to_vec());
            let edits = edits(&[(&key, Some(&value))]);
            tries.push((index.apply(&heap, root, &edits).unwrap(), mine));
        }
        for (root, model) in &tries {
            let story = format!("seed {seed}, round {round}");
            same(&index, Arc::new(heap.clone()), *root, model, &story);
        }
        let chosen = chance.below(tries.len() as u64) as usize;
        (root, model) = tries.swap_remove(chosen);
    }
    same(
        &index,
        Arc::new(Forgetful(heap.clone())),
        root,
        &model,
        "from records",
    );
}

#[test]
fn a_small_commit_stores_a_delta_and_a_root_and_now_and_then_a_list() {
    let heap = Heap::new();
    let index = Journal::over(Btree::default());
    let fill: Vec<_> = (0..1_000_u32).map(u32::to_be_bytes).collect();
    let mut log = EditLog::new();
    for key in &fill {
        log.push(key, Edit::Put(Value::Inline(&[7; 100]))).unwrap();
    }
    let mut root = index.apply(&heap, None, &log.sorted()).unwrap();
    let before = heap.stored();
    for key in &fill[..256] {
        let edits = edits(&[(key, Some(b"new"))]);
        root = index.apply(&heap, root, &edits).unwrap();
    }
    assert_eq!(heap.stored() - before, 2 * 256 + (64 + 16 + 4 + 1));
    let stated = states(&heap, root);
    assert_eq!(
        (stated.young.count(), stated.young.references().len()),
        (256, 1)
    );
    // The same again changes nothing and stores nothing.
    let before = heap.stored();
    let same = edits(&[(&fill[3], Some(b"new")), (b"absent", None)]);
    assert_eq!(index.apply(&heap, root, &same).unwrap(), root);
    assert_eq!(heap.stored(), before);
}

#[test]
fn a_view_that_lags_is_served_from_memory() {
    let heap = Heap::new();
    let index = Journal::over(Btree::default());
    let mut log = EditLog::new();
    for key in 0..1_000_u32 {
        let key = key.to_be_bytes();
        log.push(&key, Edit::Put(Value::Inline(b"old"))).unwrap();
    }
    let mut roots = vec![index.apply(&heap, None, &log.sorted()).unwrap()];
    for round in 0..100_u32 {
        let edits = edits(&[(&7_u32.to_be_bytes(), Some(&round.to_be_bytes()))]);
        let root = *roots.last().unwrap();
        roots.push(index.apply(&heap, root, &edits).unwrap());
    }
    for (round, root) in roots[1..].iter().enumerate() {
        let before = heap.reads();
        let view = index.view(Arc::new(heap.clone()), *root).wait().unwrap();
        assert!(heap.reads() - before <= 2, "the base's root and top node");
        let found = view.find(&7_u32.to_be_bytes()).wait().unwrap();
        let expected = (round as u32).to_be_bytes();
        assert_eq!(
            found,
            Some(crate::index::Found::Inline(expected.to_vec().into()))
        );
    }
}

#[test]
fn a_root_that_states_more_than_there_can_be_is_corrupt() {
    let heap = Heap::new();
    let mut root = root::Root {
        base: None,
        entries: 1,
        old: None,
        young: Cow::default(),
        young_bytes: root::BYTES_MOST + 1,
    };
    let stored = root.store(&heap).unwrap();
    let view = TINY.view(Arc::new(heap.clone()), Some(stored));
    assert_eq!(view.wait().unwrap_err().kind(), ErrorKind::Corrupt);
    // A list that names itself over and over is no way to a small bomb: its numbers must shrink.
    root.young_bytes = 100;
    root.young = Cow::Owned(lists::Counter::new(64, vec![stored]).unwrap());
    let stored = root.store(&heap).unwrap();
    let view = TINY.view(Arc::new(heap), Some(stored));
    assert_eq!(view.wait().unwrap_err().kind(), ErrorKind::Corrupt);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_root_a_delta_and_a_list_have_these_golden_bytes() {
    let heap = Heap::new();
    let value = crate::apart::store(&heap, b"long").unwrap();
    let mut draft = delta::Draft::new(0);
    draft.push(b"a", Edit::Put(Value::Inline(b"xy")));
    draft.push(b"b", Edit::Delete);
    draft.push(b"c", Edit::Put(Value::Apart(value)));
    let (delta, _) = draft.store(&heap).unwrap();
    let body = |reference: &Reference| heap.read(reference).wait().unwrap();
    let record = body(&delta);
    assert_eq!(
        hex(record.body()),
        "0100000003000000\
         0100000002000000617879\
         010000000000008062\
         010000000c00004063000000000400000000000000"
    );
    assert_eq!(record.references().collect::<Vec<_>>(), [value.reference]);
    let read = delta::Delta::decode(&record).unwrap();
    assert_eq!(read.edits(), 3);
    assert!(read.places().eq([8, 19, 28]));
    assert_eq!(read.edit(28), Edit::Put(Value::Apart(value)));

    let mut counter = lists::Counter::default();
    for _ in 0..6 {
        counter = counter.push(&heap, delta).unwrap().0;
    }
    let list = counter.gather(&heap).unwrap();
    assert_eq!(hex(body(&list).body()), "0100000006000000");
    assert_eq!(
        hex(body(&counter.references()[0]).body()),
        "0100000004000000"
    );

    let root = root::Root {
        base: Some(delta),
        entries: 7,
        old: Some(root::OldRoot {
            list,
            count: 6,
            merged: 2,
            bytes: 0x1234,
        }),
        young: Cow::Owned(counter),
        young_bytes: 0x5678,
    };
    let record = body(&root.store(&heap).unwrap());
    assert_eq!(
        hex(record.body()),
        "0103000006000000070000000000000078560000000000000600000002000000\
         3412000000000000"
    );
    assert_eq!(record.reference_count(), 2 + 3);
    assert_eq!(record.references().nth(1), Some(list));
}

#[test]
fn the_nodes_that_a_writers_view_keeps_are_told_to_the_memo_and_kept_once() {
    let (heap, index) = (Heap::new(), Journal::over(SMALL));
    let put = |root, keys: &mut dyn Iterator<Item = u32>, value: &[u8]| {
        let mut log = EditLog::new();
        for key in keys {
            log.push(&key.to_be_bytes(), Edit::Put(Value::Inline(value)))
                .unwrap();
        }
        index.apply(&heap, root, &log.sorted()).unwrap()
    };
    let kept = || heap.memo().unwrap().bytes();
    let base = put(None, &mut (0..20_000), b"old");
    let few = put(base, &mut (0..5), b"new");
    let before = kept();
    // Five hundred keys with hardly any bytes: what comes to it is nodes.
    let nothing = put(few, &mut (0..20_000).step_by(40).skip(1), b"old");
    assert_eq!(nothing, few);
    let grown = kept();
    assert!(grown > before + (100 << 10), "{before}, then {grown}");
    // Attempts that begin at the same root share one view, as do those that follow.
    for _ in 0..20 {
        let root = put(few, &mut (7..9), b"new");
        put(root, &mut (9..11), b"new");
    }
    assert!(kept() < grown + grown / 4, "{grown}, then {}", kept());
}

#[test]
fn what_was_loaded_at_once_is_known_by_what_it_holds() {
    let (heap, index) = (Heap::new(), Journal::over(SMALL));
    let (mut log, mut model) = (EditLog::new(), Model::new());
    let key = |number: u32| number.wrapping_mul(0x9E37_79B9).to_be_bytes();
    for number in 0..9_000_u32 {
        // Some of them are deleted, and never were there.
        let put = Edit::Put(Value::Inline(b"loaded"));
        let edit = if number % 3 == 0 { Edit::Delete } else { put };
        log.push(&key(number), edit).unwrap();
        if edit != Edit::Delete {
            model.insert(key(number).to_vec(), b"loaded".to_vec());
        }
    }
    let mut root = index.apply(&heap, None, &log.sorted()).unwrap();
    same(&index, source_of(&heap), root, &model, "loaded");
    for number in (0..12_000_u32).step_by(7) {
        let value = (number % 5 != 0).then_some(&b"later"[..]);
        let changed = edits(&[(&key(number), value)]);
        root = index.apply(&heap, root, &changed).unwrap();
        match value {
            Some(value) => model.insert(key(number).to_vec(), value.to_vec()),
            None => model.remove(&key(number)[..]),
        };
    }
    same(&index, source_of(&heap), root, &model, "edited");
    let root = index.checkpoint(&heap, root).unwrap();
    same(&index, source_of(&heap), root, &model, "merged");
    assert_eq!(index.checkpoint(&heap, root).unwrap(), root);
}
