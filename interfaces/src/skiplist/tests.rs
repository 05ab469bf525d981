//! The suite, and what only this index promises: a shape that depends on contents alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::apart;
use crate::edits::EditLog;
use crate::index::View;
use crate::records::Heap;
use crate::report::Report;

crate::index_suite!(suite, Skiplist::default());

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
const LIST: Skiplist = Skiplist { seed: 0 };

/// Numbers without a pattern.
fn mix(n: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes())
}

fn loaded(heap: &Heap, map: &Map) -> Option<Reference> {
    let mut loader = LIST.loader(heap);
    for (key, value) in map {
        let apart = (value.len() > LIST.inline_max()).then(|| apart::store(heap, value).unwrap());
        let value = apart.map_or(Value::Inline(value), Value::Apart);
        loader.push(key, value).unwrap();
    }
    loader.finish().unwrap()
}

fn apply(
    heap: &Heap,
    root: Option<Reference>,
    map: &mut Map,
    edits: &[(Vec<u8>, Option<Vec<u8>>)],
) -> Option<Reference> {
    let mut log = EditLog::new();
    for (key, value) in edits {
        match value {
            None => {
                log.push(key, Edit::Delete).unwrap();
                map.remove(key);
            }
            Some(value) => {
                let large = value.len() > LIST.inline_max();
                let apart = large.then(|| apart::store(heap, value).unwrap());
                let put = apart.map_or(Value::Inline(value), Value::Apart);
                log.push(key, Edit::Put(put)).unwrap();
                map.insert(key.clone(), value.clone());
            }
        }
    }
    LIST.apply(heap, root, &log.sorted()).unwrap()
}

fn view(heap: &Arc<Heap>, root: Option<Reference>) -> NodesView {
    LIST.view(heap.clone(), root).wait().unwrap()
}

fn body(heap: &Heap, root: Reference) -> Vec<u8> {
    use travertine_engine::front::Read;
    heap.read(&root).wait().unwrap().body().to_vec()
}

/// Keys of three sorts: short numbers, such as never have a height, and such as fill a run with two.
fn key(sort: u64, n: u64) -> Vec<u8> {
    match sort {
        0 => (mix(n) % 3_000).to_be_bytes().to_vec(),
        1 => {
            let mut n = mix(n) % 3_000;
            while LIST.height(&n.to_be_bytes()) > 0 {
                n += 1;
            }
            n.to_be_bytes().to_vec()
        }
        _ => {
            let mut key = vec![b'k'; 20_000];
            key.extend((mix(n) % 150).to_be_bytes());
            key
        }
    }
}

#[test]
fn equal_contents_are_equal_bytes_whatever_was_done_before() {
    for (sort, rounds) in [(0, 60), (1, 60), (2, 25)] {
        let heap = Arc::new(Heap::new());
        let (mut map, mut root) = (Map::new(), None);
        for round in 0..rounds {
            let chance = mix(round + 1_000 * sort);
            let size = [1, 2, 40, 900][(chance % 4) as usize] / (1 + 8 * (sort / 2));
            let edits: Vec<_> = (0..=size)
                .map(|n| {
                    let chance = mix(chance + n);
                    let put = chance % 10 < if round % 20 < 10 { 7 } else { 3 };
                    let length = if chance.is_multiple_of(50) {
                        2_000
                    } else {
                        chance % 40
                    };
                    (key(sort, chance), put.then(|| vec![7; length as usize]))
                })
                .collect();
            root = apply(&heap, root, &mut map, &edits);
            let fresh = loaded(&heap, &map);
            let story = format!("sort {sort}, round {round}");
            assert_eq!(root.is_some(), fresh.is_some(), "{story}");
            if let (Some(root), Some(fresh)) = (root, fresh) {
                assert_eq!(body(&heap, root), body(&heap, fresh), "{story}");
            }
            let (mine, fresh) = (view(&heap, root), view(&heap, fresh));
            assert_eq!(mine.diff(&fresh).next().unwrap(), None, "{story}");
        }
    }
}

#[test]
fn a_digest_tells_the_contents_long_values_too() {
    let heap = Arc::new(Heap::new());
    let mut map: Map = (0..500u64).map(|n| (key(0, n), vec![1; 10])).collect();
    map.insert(b"long".to_vec(), vec![1; 3 << 20]);
    let digest = |map: &Map| view(&heap, loaded(&heap, map)).digest().unwrap();
    let before = digest(&map);
    assert_eq!(before, digest(&map));
    map.get_mut(&b"long"[..]).unwrap()[2 << 20] ^= 1;
    assert_ne!(before, digest(&map));
    assert_eq!(view(&heap, None).digest(), None);
}

#[test]
fn maps_that_share_no_record_are_compared_by_reading_what_differs() {
    let (one, two) = (Arc::new(Heap::new()), Arc::new(Heap::new()));
    let mut map: Map = (0..20_000u64)
        .map(|n| (n.to_be_bytes().to_vec(), vec![3; 20]))
        .collect();
    let mine = loaded(&one, &map);
    map.remove(&7_777u64.to_be_bytes()[..]);
    map.insert(b"new".to_vec(), vec![1; 5]);
    map.insert(11_111u64.to_be_bytes().to_vec(), vec![9]);
    // In another store, at other places, and from the other end.
    let (mut built, mut theirs) = (Map::new(), None);
    let rows: Vec<_> = map
        .into_iter()
        .rev()
        .map(|(key, value)| (key, Some(value)))
        .collect();
    for some in rows.chunks(999) {
        theirs = apply(&two, theirs, &mut built, some);
    }
    let (mine, theirs) = (view(&one, mine), view(&two, theirs));
    let reads = one.reads() + two.reads();
    let mut found = Vec::new();
    let mut diff = mine.diff(&theirs);
    while let Some(differs) = diff.next().unwrap() {
        found.push((
            differs.key.to_vec(),
            differs.old.is_some(),
            differs.new.is_some(),
        ));
    }
    let wanted = [
        (7_777u64.to_be_bytes().to_vec(), true, false),
        (11_111u64.to_be_bytes().to_vec(), true, true),
        (b"new".to_vec(), false, true),
    ];
    assert_eq!(found, wanted);
    let reads = one.reads() + two.reads() - reads;
    assert!(reads <= 3 * 2 * 4, "{reads} reads for three keys");
}

#[test]
fn keys_chosen_to_have_no_height_make_no_long_run() {
    let heap = Arc::new(Heap::new());
    let flat = |n: &u64| LIST.height(&n.to_be_bytes()) == 0;
    let map: Map = (0..20_000u64)
        .filter(flat)
        .map(|n| (n.to_be_bytes().to_vec(), vec![0; 400]))
        .collect();
    let root = loaded(&heap, &map);
    let mut report = Report::new();
    view(&heap, root).verify(&mut report);
    assert!(report.is_clean() && report.entries == map.len() as u64);
    assert!(report.node_bytes / report.nodes < 48 << 10, "{report}");
    let seeded = Skiplist { seed: 1 };
    let heights = map
        .keys()
        .map(|key| seeded.height(key))
        .filter(|height| *height > 0);
    assert!(
        heights.count() > map.len() / 32,
        "another seed, other heights"
    );
}

#[test]
fn one_edit_writes_one_run_of_each_level() {
    let heap = Arc::new(Heap::new());
    let mut map: Map = (0..50_000u64)
        .map(|n| (mix(n).to_be_bytes().to_vec(), vec![0; 8]))
        .collect();
    let mut root = loaded(&heap, &map);
    let height = u64::from(view(&heap, root).rows().unwrap()[0].level()) + 1;
    for n in 0..300u64 {
        let stored = heap.stored();
        let edit = [(mix(n * 163).to_be_bytes().to_vec(), Some(vec![1; 8]))];
        root = apply(&heap, root, &mut map, &edit);
        assert_eq!(heap.stored() - stored, height, "a value of another's place");
    }
}

#[test]
fn a_run_has_these_golden_bytes() {
    let heap = Heap::new();
    let apart = apart::store(&heap, &[b'v'; 600]).unwrap();
    let mut log = EditLog::new();
    log.push(b"key-one", Edit::Put(Value::Inline(b"1")))
        .unwrap();
    log.push(b"key-three", Edit::Put(Value::Apart(apart)))
        .unwrap();
    let root = LIST.apply(&heap, None, &log.sorted()).unwrap().unwrap();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let golden = "\
        01000000 02000000 04000000 00000000 \
        6f6e650000000000 7468726565000000 \
        0800000007000000 3900000009000080 \
        6b65792d6f6e6531 \
        6b65792d7468726565 5802000000000000 \
        a688574a318db7ba1fc7b518b19f9ee2d1b89a21b38fa7b7679aee621cba2415";
    assert_eq!(hex(&body(&heap, root)), golden.replace(' ', ""));
    // The row that stands for a run: count, height, SHA-256 of its body.
    let run = NODES
        .store(&heap, &NODES.read(&heap, &root).wait().unwrap())
        .unwrap();
    let above = NODES.store_root(&heap, &[run]).unwrap().unwrap();
    let golden = "\
        01010000 01000000 07000000 00000000 \
        0000000000000000 3000000007000040 \
        6b65792d6f6e65 0200000000000000 00 \
        2101e4fb23e5738e7a7d09321b4d26e080fbfad8320b16eaa511107bab9f84a1";
    assert_eq!(hex(&body(&heap, above)), golden.replace(' ', ""));
    let high: Vec<u8> = (0..=255).filter(|n| LIST.height(&[*n]) > 0).collect();
    let golden = [
        13, 14, 35, 37, 51, 67, 74, 122, 126, 164, 178, 181, 188, 210, 228, 229, 233, 245,
    ];
    assert_eq!(high, golden);
}
