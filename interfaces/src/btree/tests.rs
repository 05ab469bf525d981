//! The suite over trees with small nodes, which are four levels high and more, and with the usual
//! ones; and what only a B-tree promises.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use travertine_engine::contract::{Pending, Reference};
use travertine_engine::front::Read;

use super::*;
use crate::edits::EditLog;
use crate::index::{Cursor, CursorExt, Direction, View};
use crate::records::Heap;

const SMALL: Btree = Btree {
    leaf_bytes: 128,
    inner_bytes: 160,
    inline_max: 64,
};

crate::index_suite!(small_nodes, SMALL);
/// A tree of five levels and a read counter.
fn tall() -> (Arc<Heap>, Option<Reference>, Vec<[u8; 8]>) {
    let heap = Arc::new(Heap::new());
    let keys: Vec<_> = (0..4_000u64).map(u64::to_be_bytes).collect();
    let mut loader = SMALL.loader(&*heap);
    for key in &keys {
        loader.push(key, Value::Inline(&key[4..])).unwrap();
    }
    let root = loader.finish().unwrap();
    (heap, root, keys)
}

fn edited(heap: &Heap, root: Option<Reference>, edits: &[(&[u8], Edit<'_>)]) -> Option<Reference> {
    let mut log = EditLog::new();
    for (key, edit) in edits {
        log.push(key, *edit).unwrap();
    }
    SMALL.apply(heap, root, &log.sorted()).unwrap()
}

#[test]
fn a_difference_reads_what_differs_and_the_way_there_only() {
    let (heap, root, keys) = tall();
    let put = Edit::Put(Value::Inline(b"new"));
    let beyond = 9_999u64.to_be_bytes();
    let newer = edited(
        &heap,
        root,
        &[
            (&keys[17], put),
            (&keys[3_000], Edit::Delete),
            (&beyond, put),
        ],
    );
    let view = |root| SMALL.view(heap.clone(), root).wait().unwrap();
    let (old, new) = (view(root), view(newer));
    let before = heap.reads();
    let mut diff = old.diff(&new);
    let mut seen = Vec::new();
    while let Some(differs) = diff.next().unwrap() {
        seen.push((
            differs.key.to_vec(),
            differs.old.is_some(),
            differs.new.is_some(),
        ));
    }
    let expected = [
        (keys[17].to_vec(), true, true),
        (keys[3_000].to_vec(), true, false),
        (beyond.to_vec(), false, true),
    ];
    assert_eq!(seen, expected);
    let reads = heap.reads() - before;
    assert!(
        reads < 80,
        "{reads} reads of a tree of {} nodes",
        heap.stored()
    );
    let before = heap.reads();
    assert_eq!(new.diff(&new.clone()).next().unwrap(), None);
    assert_eq!(heap.reads(), before, "a map does not differ from itself");
}

#[test]
fn a_view_that_is_asked_often_reads_a_leaf_a_key() {
    let (heap, root, keys) = tall();
    let view = SMALL.view(heap.clone(), root).wait().unwrap();
    let ask = || {
        for key in &keys {
            assert!(view.find(key).wait().unwrap().is_some());
        }
    };
    ask();
    let before = heap.reads();
    ask();
    assert_eq!(heap.reads() - before, keys.len() as u64);
    let before = heap.reads();
    let asked: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let found = view.find_many(&asked).wait().unwrap();
    assert!(found.iter().all(Option::is_some));
    assert_eq!(heap.reads() - before, keys.len() as u64);
}

#[test]
fn a_view_that_is_often_asked_for_absent_keys_reads_hardly_a_leaf_for_them() {
    let heap = Arc::new(Heap::new());
    // Of all lengths, none included, with what they share and without; every third is there.
    let keys: Vec<Vec<u8>> = (0..6_000u32)
        .map(|number| match number % 7 {
            _ if number == 0 => Vec::new(),
            0 => number.to_be_bytes().to_vec(),
            1 => [&number.to_be_bytes()[..], &[0; 9]].concat(),
            2 => [
                &b"all alike, to the eighth byte "[..],
                &number.to_be_bytes(),
            ]
            .concat(),
            length => number.to_be_bytes().repeat(length as usize),
        })
        .collect();
    for index in [SMALL, Btree::default()] {
        let mut log = EditLog::new();
        for key in keys.iter().step_by(3) {
            log.push(key, Edit::Put(Value::Inline(b"here"))).unwrap();
        }
        let root = index.apply(&*heap, None, &log.sorted()).unwrap();
        let view = index.view(heap.clone(), root).wait().unwrap();
        let one_by_one = || {
            for (nth, key) in keys.iter().enumerate() {
                let found = view.find(key).wait().unwrap();
                assert_eq!(found.is_some(), nth % 3 == 0, "{key:?}");
            }
        };
        let together = || {
            let asked: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            let found = view.find_many(&asked).wait().unwrap();
            for (nth, found) in found.iter().enumerate() {
                assert_eq!(found.is_some(), nth % 3 == 0, "{:?}", keys[nth]);
            }
        };
        one_by_one();
        for ask in [&one_by_one as &dyn Fn(), &together] {
            let before = heap.reads();
            ask();
            let reads = heap.reads() - before;
            assert!((2_000..2_200).contains(&reads), "{reads} reads");
        }
    }
}

/// A heap that is far away: whoever waits is brought all that was asked for until then, in one trip.
#[derive(Debug)]
struct Far {
    heap: Arc<Heap>,
    asked: Arc<AtomicU64>,
    brought: Arc<AtomicU64>,
    trips: Arc<AtomicU64>,
}

struct OnItsWay {
    number: u64,
    answer: Result<Record>,
    asked: Arc<AtomicU64>,
    brought: Arc<AtomicU64>,
    trips: Arc<AtomicU64>,
}

impl Read for Far {
    fn read(&self, reference: &Reference) -> Op<Record> {
        Op::pending(OnItsWay {
            number: self.asked.fetch_add(1, Ordering::Relaxed),
            answer: self.heap.read(reference).wait(),
            asked: self.asked.clone(),
            brought: self.brought.clone(),
            trips: self.trips.clone(),
        })
    }
}

impl Pending<Record> for OnItsWay {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<Result<Record>> {
        match self.number < self.brought.load(Ordering::Relaxed) {
            true => Poll::Ready(self.answer.clone()),
            false => Poll::Pending,
        }
    }

    fn wait(self: Box<Self>) -> Result<Record> {
        if self.number >= self.brought.load(Ordering::Relaxed) {
            let asked = self.asked.load(Ordering::Relaxed);
            self.brought.store(asked, Ordering::Relaxed);
            self.trips.fetch_add(1, Ordering::Relaxed);
        }
        self.answer
    }
}

fn far(heap: &Arc<Heap>) -> Arc<Far> {
    Arc::new(Far {
        heap: heap.clone(),
        asked: Arc::default(),
        brought: Arc::default(),
        trips: Arc::default(),
    })
}

/// Walks over these rows in a view that has met none of them: how many trips that takes, and how many
/// records are asked for.
fn walked(
    view: &impl Fn() -> (Arc<Far>, BtreeView),
    rows: Range<u64>,
    to: Direction,
) -> (u64, u64) {
    let (far, view) = view();
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let opened = (count(&far.trips), count(&far.asked));
    let mut cursor = view.cursor();
    let (start, rows): (_, Box<dyn Iterator<Item = u64>>) = match to {
        Direction::Forward => (rows.start, Box::new(rows)),
        Direction::Back => (rows.end, Box::new(rows.rev())),
    };
    cursor.seek(&start.to_be_bytes());
    for row in rows {
        let entry = cursor.move_on(to).unwrap().unwrap();
        assert_eq!(entry.key, row.to_be_bytes());
    }
    (count(&far.trips) - opened.0, count(&far.asked) - opened.1)
}

#[test]
fn a_thousand_rows_from_far_take_two_trips_more_than_a_descent() {
    const ROWS: u64 = 150_000;
    // The top node is held: of three levels two are far, and of four three.
    for (inner_bytes, descent) in [(4096, 2), (1300, 3)] {
        let index = Btree {
            inner_bytes,
            ..Btree::default()
        };
        let heap = Arc::new(Heap::new());
        let mut loader = index.loader(&*heap);
        for row in 0..ROWS {
            loader
                .push(&row.to_be_bytes(), Value::Inline(&[7; 100]))
                .unwrap();
        }
        let root = loader.finish().unwrap();
        let view = || {
            let far = far(&heap);
            (far.clone(), index.view(far, root).wait().unwrap())
        };
        for to in [Direction::Forward, Direction::Back] {
            for first in (0..ROWS - 1_000).step_by(331) {
                let (trips, asked) = walked(&view, first..first + 1, to);
                assert!(
                    trips <= descent + 1 && asked < 24,
                    "{asked} records for a row"
                );
                let (trips, asked) = walked(&view, first..first + 1_000, to);
                assert!(
                    trips <= descent + 2,
                    "{trips} trips from {first} on, {to:?}"
                );
                assert!(
                    asked < 140,
                    "{asked} records were asked for from {first} on, {to:?}"
                );
            }
        }
    }
}

#[test]
fn a_walk_from_far_may_turn_at_any_row() {
    let (heap, root, keys) = tall();
    let view = SMALL.view(far(&heap), root).wait().unwrap();
    let mut cursor = view.cursor();
    let mut at = 0;
    // Ever longer ways there and back.
    for length in 1..80 {
        for _ in 0..2 * length {
            let entry = cursor.move_on(Direction::Forward).unwrap().unwrap();
            assert_eq!(entry.key, keys[at]);
            at += 1;
        }
        for _ in 0..length {
            at -= 1;
            let entry = cursor.move_on(Direction::Back).unwrap().unwrap();
            assert_eq!(entry.key, keys[at]);
        }
    }
}

crate::index_suite!(usual_nodes, Btree::default());
