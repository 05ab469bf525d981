//! What an index is compared with: an ordered map, and a root beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use travertine_engine::contract::Reference;

use crate::apart;
use crate::edits::{Edit, EditLog};
use crate::index::{CursorExt, Index, Value};
use crate::reader::Reader;
use crate::records::{Heap, Sink, Source};

pub(super) type Map = BTreeMap<Vec<u8>, Vec<u8>>;
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Random numbers by seed.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        // Splitmix64: every state is a good one.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Keys that meet each other: short ones over few letters, numbers, long ones.
    pub(super) fn key(&mut self) -> Vec<u8> {
        match self.below(8) {
            0..3 => {
                let length = self.below(6);
                (0..length).map(|_| b"ab\0\xFF"[self.below(4)]).collect()
            }
            3..7 => format!("key-{:06}", self.below(4_000)).into_bytes(),
            _ => {
                let mut key = vec![b'k'; self.below(60)];
                key.extend(self.next().to_be_bytes());
                key
            }
        }
    }

    pub(super) fn value(&mut self) -> Vec<u8> {
        let length = match self.below(20) {
            0 => 0,
            1..18 => self.below(40),
            18 => self.below(1_000),
            _ => self.below(5_000),
        };
        self.bytes(length)
    }
}

/// An index and the map it should be.
#[derive(Debug, Clone)]
pub(super) struct Twin<I> {
    pub(super) index: I,
    pub(super) heap: Arc<Heap>,
    pub(super) root: Option<Reference>,
    pub(super) map: Map,
}

impl<I: Index> Twin<I> {
    pub(super) fn new(index: &I, heap: Heap) -> Self {
        Self {
            index: index.clone(),
            heap: Arc::new(heap),
            root: None,
            map: Map::new(),
        }
    }

    pub(super) fn reader(&self) -> Reader<I::View> {
        read(&self.index, self.heap.clone(), self.root)
    }

    /// Does changes to both.
    pub(super) fn apply(&mut self, changes: &[Change]) {
        let mut log = EditLog::new();
        for (key, value) in changes {
            let apart;
            let edit = match value {
                None => Edit::Delete,
                Some(value) if value.len() > self.index.inline_max() => {
                    apart = apart::store(&*self.heap, value).expect("a heap takes values");
                    Edit::Put(Value::Apart(apart))
                }
                Some(value) => Edit::Put(Value::Inline(value)),
            };
            log.push(key, edit).expect("the keys are within limits");
            match value {
                Some(value) => self.map.insert(key.clone(), value.clone()),
                None => self.map.remove(key),
            };
        }
        let sink: &dyn Sink = &*self.heap;
        self.root = self
            .index
            .apply(sink, self.root, &log.sorted())
            .expect("edits of a sound map are done");
    }

    /// Compares everything.
    pub(super) fn check(&self, story: &str) {
        same(&self.reader(), &self.map, story);
    }
}

pub(super) fn read<I: Index>(
    index: &I,
    source: Arc<dyn Source>,
    root: Option<Reference>,
) -> Reader<I::View> {
    let view = index.view(source.clone(), root).wait();
    Reader::new(view.expect("a sound root opens"), source)
}

/// Compares a reader with a map: count, scans both ways, gets, structure.
pub(super) fn same<V: crate::index::View>(reader: &Reader<V>, map: &Map, story: &str) {
    assert_eq!(reader.count(), map.len() as u64, "count; {story}");
    let mut cursor = reader.cursor();
    for (key, value) in map {
        let entry = cursor.next().expect("a sound map scans");
        let entry = entry.unwrap_or_else(|| panic!("the scan ends before {key:?}; {story}"));
        assert_eq!(entry.key, key, "forward; {story}");
        let found = reader
            .value(entry.value)
            .wait()
            .expect("a sound value reads");
        assert!(
            found == value[..],
            "the value of {key:?} in a scan; {story}"
        );
    }
    assert!(
        cursor.next().expect("a sound map scans").is_none(),
        "a scan ends; {story}"
    );
    for key in map.keys().rev() {
        let entry = cursor.prev().expect("a sound map scans");
        assert_eq!(
            entry.map(|entry| entry.key),
            Some(&key[..]),
            "back; {story}"
        );
    }
    assert!(
        cursor.prev().expect("a sound map scans").is_none(),
        "a scan ends; {story}"
    );
    for (key, value) in map {
        let found = reader.get(key).wait().expect("a sound map answers");
        assert!(found.as_deref() == Some(value), "get {key:?}; {story}");
        let mut near = key.clone();
        near.push(0);
        let found = reader.get(&near).wait().expect("a sound map answers");
        assert!(
            found.as_deref() == map.get(&near).map(Vec::as_slice),
            "get {near:?}; {story}"
        );
    }
    // Side by side they answer as one by one: keys that are there and keys that are not, some twice.
    let mut asked: Vec<Vec<u8>> = map.keys().cloned().collect();
    asked.extend(map.keys().step_by(3).map(|key| [&key[..], &[0]].concat()));
    asked.extend(map.keys().rev().step_by(7).cloned());
    for some in asked.chunks(37) {
        let keys: Vec<&[u8]> = some.iter().map(|key| &key[..]).collect();
        let found = reader.get_many(&keys).wait().expect("a sound map answers");
        assert_eq!(found.len(), keys.len(), "answers of get_many; {story}");
        for (key, found) in keys.iter().zip(found) {
            let expected = map.get(*key).map(Vec::as_slice);
            assert!(found.as_deref() == expected, "get_many {key:?}; {story}");
        }
    }
    assert!(
        reader
            .get_many(&[])
            .wait()
            .is_ok_and(|none| none.is_empty()),
        "no keys, no answers; {story}"
    );
    let report = reader.verify();
    assert!(report.is_clean(), "{report}; {story}");
    assert_eq!(
        report.entries,
        map.len() as u64,
        "entries verified; {story}"
    );
}
