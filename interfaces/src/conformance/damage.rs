//! Checks of what an index makes of bytes that are not what it wrote.

use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{
    Error, ErrorKind, NewRecord, Oid, Op, Record, Reference, Result,
};

use travertine_engine::front::{Hint, Read, Write};

use super::model::{Chance, Change, Twin};
use super::records::reachable;
use crate::edits::{Edit, EditLog};
use crate::index::{Cursor, CursorExt, Index, Value, View};
use crate::records::Heap;
use crate::report::Report;

pub(super) fn hostile_bytes_never_panic<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let twin = filled(index, &mut chance);
    let victims: Vec<_> = reachable(&twin.heap, twin.root).into_iter().collect();
    let keys: Vec<_> = twin.map.keys().cloned().collect();
    for _ in 0..600 {
        let victim = victims[chance.below(victims.len())];
        let hostile = Arc::new(Hostile {
            heap: twin.heap.clone(),
            victim,
            chance: chance.clone(),
        });
        let key = &keys[chance.below(keys.len())];
        // Any answer will do, as long as there is one.
        let mut log = EditLog::new();
        log.push(key, Edit::Put(Value::Inline(b"new")))
            .expect("a key within limits");
        log.push(&chance.key(), Edit::Delete)
            .expect("a key within limits");
        let _ = index.apply(&*hostile, twin.root, &log.sorted());
        let Ok(view) = index.view(hostile.clone(), twin.root).wait() else {
            continue;
        };
        let _ = view.find(key).wait();
        let _ = view.find(&chance.key()).wait();
        view.verify(&mut Report::new());
        let mut cursor = view.cursor();
        cursor.seek(key);
        // A cursor over damage may err for ever; it may not go on for ever.
        let most = 4 * keys.len() + 100;
        for back in [false, true] {
            for _ in 0..most {
                let entry = if back { cursor.prev() } else { cursor.next() };
                if !matches!(entry, Ok(Some(_))) {
                    break;
                }
            }
            let _ = cursor.entry();
            cursor.seek_end();
        }
        // And once more by a view that may keep what it met.
        let _ = view.find(key).wait();
        let asked: Vec<&[u8]> = keys.iter().step_by(9).map(|key| &key[..]).collect();
        let _ = view.find_many(&asked).wait();
        let _ = view.rank(key).wait();
        let sound = index.view(twin.heap.clone(), twin.root).wait();
        let sound = sound.expect("a sound root opens");
        for mut diff in [view.diff(&sound), sound.diff(&view)] {
            for _ in 0..2 * most {
                if !matches!(diff.next(), Ok(Some(_))) {
                    break;
                }
            }
        }
    }
}

pub(super) fn a_lost_record_is_an_error_and_not_an_absence<I: Index>(index: &I, seed: u64) {
    let mut chance = Chance::new(seed);
    let twin = filled(index, &mut chance);
    for victim in reachable(&twin.heap, twin.root) {
        let lost = Arc::new(Lost {
            heap: twin.heap.clone(),
            victim,
        });
        let opened = index.view(lost, twin.root).wait();
        let Ok(view) = opened else {
            continue;
        };
        let mut report = Report::new();
        view.verify(&mut report);
        assert!(
            !report.is_clean(),
            "verify misses that {victim} is lost, seed {seed}"
        );
        let mut cursor = view.cursor();
        let mut keys = twin.map.keys();
        loop {
            match cursor.next() {
                Ok(Some(entry)) => {
                    assert_eq!(
                        Some(entry.key),
                        keys.next().map(|key| &key[..]),
                        "seed {seed}"
                    );
                }
                Ok(None) => {
                    // Only records of a long value may be missed by a scan of the keys.
                    assert!(
                        keys.next().is_none(),
                        "a scan skips what is lost, seed {seed}"
                    );
                    break;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "seed {seed}");
                    assert!(
                        cursor.next().is_err(),
                        "an error is not skipped, seed {seed}"
                    );
                    break;
                }
            }
        }
    }
}

fn filled<I: Index>(index: &I, chance: &mut Chance) -> Twin<I> {
    let mut twin = Twin::new(index, Heap::new());
    for _ in 0..2 {
        let changes: Vec<Change> = (0..250)
            .map(|_| (chance.key(), Some(chance.value())))
            .collect();
        twin.apply(&changes);
    }
    // Small commits may leave other records than large ones.
    for _ in 0..20 {
        let key = twin.map.keys().nth(chance.below(twin.map.len()));
        let gone = (key.cloned().unwrap_or_default(), None);
        twin.apply(&[gone, (chance.key(), Some(chance.value()))]);
    }
    twin
}

/// A heap with one record that somebody wrote who means harm: its checksum is right.
#[derive(Debug, Clone)]
struct Hostile {
    heap: Arc<Heap>,
    victim: Oid,
    chance: Chance,
}

impl Hostile {
    fn alter(&self, record: &Record) -> Result<Record> {
        let mut chance = self.chance.clone();
        let mut body = record.body().to_vec();
        let mut references: Vec<_> = record.references().collect();
        for _ in 0..=chance.below(3) {
            let near = 64 << chance.below(8);
            let at = chance.below(body.len().min(near));
            match chance.below(6) {
                0 if !body.is_empty() => body[at] ^= 1 << chance.below(8),
                1 if !body.is_empty() => body[at] = [0, 1, 0x7F, 0xFF][chance.below(4)],
                2 if body.len() >= 8 => {
                    let at = at.min(body.len() - 8) / 8 * 8;
                    let word = [u64::MAX, 0, 1 << 31, chance.next()][chance.below(4)];
                    body[at..at + 8].copy_from_slice(&word.to_le_bytes());
                }
                3 => body.truncate(at),
                4 => body.extend(chance.bytes(9)),
                _ => {
                    let keep = chance.below(references.len() + 1);
                    references.truncate(keep);
                }
            }
        }
        let mut bytes = Vec::new();
        NewRecord {
            kind: record.kind(),
            references: &references,
            body: &[&body],
        }
        .encode(self.victim, 1, &mut bytes);
        Record::decode(self.victim, Bytes::from(bytes))
    }
}

impl Read for Hostile {
    fn read(&self, reference: &Reference) -> Op<Record> {
        let record = self.heap.read(reference).wait();
        if reference.oid != self.victim {
            return Op::ready(record);
        }
        Op::ready(record.and_then(|record| self.alter(&record)))
    }
}

impl Write for Hostile {
    fn store(&self, record: &NewRecord<'_>, hint: Hint) -> Result<Reference> {
        self.heap.store(record, hint)
    }

    fn reader(&self) -> Arc<dyn Read + Send + Sync> {
        Arc::new(self.clone())
    }
}

/// A heap of which one record cannot be read.
#[derive(Debug)]
struct Lost {
    heap: Arc<Heap>,
    victim: Oid,
}

impl Read for Lost {
    fn read(&self, reference: &Reference) -> Op<Record> {
        if reference.oid == self.victim {
            return Op::err(Error::unavailable(format!(
                "{} is out of reach",
                self.victim
            )));
        }
        self.heap.read(reference)
    }
}
