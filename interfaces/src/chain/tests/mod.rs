//! Chains against a deque, over a heap; what they cost, what is left of them, what damage does.

mod bytes;
mod damage;
mod model;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use travertine_engine::contract::{Oid, Reference};
use travertine_engine::front::Read;

use super::*;
use crate::records::Heap;

/// The seed to test with.
fn seed() -> u64 {
    crate::conformance::seed()
}

fn options(block_entries: u32, linked: bool) -> Options {
    Options {
        block_entries,
        inline_max: 40,
        linked,
    }
}

/// A chain and the deque it should be.
#[derive(Clone)]
struct Twin {
    heap: Arc<Heap>,
    options: Options,
    root: Option<Reference>,
    first: u64,
    entries: VecDeque<Vec<u8>>,
}

impl Twin {
    fn new(heap: Heap, options: Options) -> Self {
        Self {
            heap: Arc::new(heap),
            options,
            root: None,
            first: 0,
            entries: VecDeque::new(),
        }
    }

    fn turn(&mut self, work: impl FnOnce(&mut Writer<'_>, &mut VecDeque<Vec<u8>>)) {
        let heap = self.heap.clone();
        let mut writer = Writer::new(self.options, &*heap, self.root).unwrap();
        work(&mut writer, &mut self.entries);
        self.first = writer.first();
        assert_eq!(writer.len(), self.entries.len() as u64);
        self.root = writer.finish().unwrap();
    }

    fn push(&mut self, entries: impl IntoIterator<Item = Vec<u8>>) {
        self.turn(|writer, model| {
            for entry in entries {
                writer.push(&entry).unwrap();
                model.push_back(entry);
            }
        });
    }

    fn trim(&mut self, number: u64) {
        self.turn(|writer, model| {
            let gone = writer.trim(number).unwrap();
            model.drain(..gone as usize);
        });
    }

    fn reader(&self) -> Reader {
        Reader::open(self.heap.clone(), self.root).wait().unwrap()
    }

    /// Looks at everything in both directions.
    fn check(&self) {
        let reader = self.reader();
        assert_eq!(reader.len(), self.entries.len() as u64);
        assert!(self.entries.is_empty() || reader.first() == self.first);
        let mut cursor = reader.cursor();
        for (number, entry) in (self.first..).zip(&self.entries) {
            assert_eq!(cursor.next().unwrap(), Some((number, entry.clone().into())));
        }
        assert_eq!(cursor.next().unwrap(), None);
        for (index, entry) in self.entries.iter().enumerate().rev() {
            let number = self.first + index as u64;
            assert_eq!(cursor.prev().unwrap(), Some((number, entry.clone().into())));
        }
        assert_eq!(cursor.prev().unwrap(), None);
        let report = reader.verify();
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.entries, reader.len());
    }
}

/// What strong references lead to.
fn reachable(heap: &Heap, root: Option<Reference>) -> BTreeSet<Oid> {
    let mut found = BTreeSet::new();
    let mut left: Vec<_> = root.into_iter().collect();
    while let Some(reference) = left.pop() {
        if !reference.weak && found.insert(reference.oid) {
            left.extend(heap.read(&reference).wait().unwrap().references());
        }
    }
    found
}

fn row(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes()
}
