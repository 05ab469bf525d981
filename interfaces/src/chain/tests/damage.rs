//! Bytes that are not what a chain wrote: errors, with their place, and nothing else.

use std::fmt;

use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{Error, ErrorKind, NewRecord, Op, Record, Result};
use travertine_engine::front::{Hint, Write};

use super::super::block::{self, Head, Item};
use super::super::directory::Directory;
use super::super::root::Root;
use super::*;
use crate::records::Source;

type Change = Box<dyn Fn(&Record) -> Result<Record> + Send + Sync>;

/// A heap with one record that is not what it was.
struct Changed {
    heap: Arc<Heap>,
    victim: Oid,
    change: Change,
}

impl fmt::Debug for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Changed({})", self.victim)
    }
}

impl Read for Changed {
    fn read(&self, reference: &Reference) -> Op<Record> {
        let record = self.heap.read(reference).wait();
        if reference.oid != self.victim {
            return Op::ready(record);
        }
        Op::ready(record.and_then(|record| (self.change)(&record)))
    }
}

impl Write for Changed {
    fn store(&self, record: &NewRecord<'_>, hint: Hint) -> Result<Reference> {
        self.heap.store(record, hint)
    }

    fn reader(&self) -> Arc<dyn Read + Send + Sync> {
        self.heap.reader()
    }
}

fn filled(linked: bool) -> Twin {
    let mut twin = Twin::new(Heap::new(), options(3, linked));
    for from in 0..90 {
        let long = vec![from as u8; 60];
        twin.push([row(from), if from % 7 == 0 { long } else { row(from) }]);
    }
    twin.trim(20);
    twin
}

fn altered(record: &Record, victim: Oid, rng: &mut Rng) -> Result<Record> {
    let mut body = record.body().to_vec();
    let mut references: Vec<_> = record.references().collect();
    for _ in 0..=rng.below(3) {
        let near = 8 << rng.below(6);
        let at = rng.below_usize(body.len().clamp(1, near));
        match rng.below(6) {
            0 if !body.is_empty() => body[at] ^= 1 << rng.below(8),
            1 if !body.is_empty() => body[at] = [0, 1, 0x7F, 0xFF][rng.below_usize(4)],
            2 if body.len() >= 8 => {
                let at = at.min(body.len() - 8) / 8 * 8;
                let word = [u64::MAX, 0, 1 << 59, rng.next_u64()][rng.below_usize(4)];
                body[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            3 => body.truncate(at),
            4 => body.extend(rng.bytes(9)),
            _ if references.is_empty() => {}
            _ if rng.chance(1, 2) => {
                let other = references[rng.below_usize(references.len())];
                let at = rng.below_usize(references.len());
                references[at] = other;
            }
            _ => references.truncate(rng.below_usize(references.len())),
        }
    }
    let mut bytes = Vec::new();
    NewRecord {
        kind: record.kind(),
        references: &references,
        body: &[&body],
    }
    .encode(victim, 1, &mut bytes);
    Record::decode(victim, bytes.into())
}

#[test]
fn hostile_bytes_never_panic_and_never_loop() {
    let seed = seed();
    for linked in [false, true] {
        let twin = filled(linked);
        let victims: Vec<_> = reachable(&twin.heap, twin.root).into_iter().collect();
        for round in 0..1_500 {
            let mut rng = Rng::new(seed ^ round);
            let victim = victims[rng.below_usize(victims.len())];
            let source = Arc::new(Changed {
                heap: twin.heap.clone(),
                victim,
                change: Box::new(move |record: &Record| {
                    altered(record, victim, &mut Rng::new(seed ^ round << 20))
                }),
            });
            if let Ok(reader) = Reader::open(source.clone(), twin.root).wait() {
                let _ = reader.verify();
                let _ = reader.consumers();
                for number in [0, 20, 21, 100, 179, 180, 1 << 59] {
                    let _ = reader.get(number).wait();
                    let _ = reader.link_before(number);
                }
                let mut cursor = reader.cursor();
                cursor.seek(90);
                for _ in 0..2_000 {
                    if !matches!(cursor.next(), Ok(Some(_))) {
                        break;
                    }
                }
                for _ in 0..2_000 {
                    if !matches!(cursor.prev(), Ok(Some(_))) {
                        break;
                    }
                }
            }
            if let Ok(mut writer) = Writer::new(twin.options, &*source, twin.root) {
                for _ in 0..400 {
                    let step = match rng.below(4) {
                        0 => writer.push(b"entry").map(drop),
                        1 => writer.shift().map(drop),
                        _ => writer.pop().map(drop),
                    };
                    if step.is_err() {
                        break;
                    }
                }
                let _ = writer.finish();
            }
        }
    }
}

#[test]
fn a_lost_record_is_an_error_and_not_an_absence() {
    let twin = filled(true);
    for victim in reachable(&twin.heap, twin.root) {
        let lost = Arc::new(Changed {
            heap: twin.heap.clone(),
            victim,
            change: Box::new(|_: &Record| Err(Error::unavailable("it is out of reach"))),
        });
        let Ok(reader) = Reader::open(lost, twin.root).wait() else {
            continue;
        };
        let report = reader.verify();
        assert!(!report.is_clean(), "verify misses that {victim} is lost");
        let mut cursor = reader.cursor();
        let mut numbers = twin.first..;
        loop {
            match cursor.next() {
                Ok(found) => {
                    let (number, _) = found.expect("a scan skips what is lost");
                    assert_eq!(Some(number), numbers.next());
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable);
                    assert!(cursor.next().is_err(), "an error is not skipped");
                    cursor.seek(numbers.start + 10);
                    break;
                }
            }
        }
    }
}

/// Somebody who can write the store puts another entry into a block, and mends every check and every
/// reference up to the root.
fn forge(twin: &Twin, number: u64, entry: &[u8]) -> Option<Reference> {
    let heap: &dyn Source = &*twin.heap;
    let mut root = Root::decode(&heap.read(&twin.root?).wait().unwrap()).unwrap();
    let old = Directory::new(root.full(), &root.open);
    let mut new = Directory::new(0, &vec![None; root.open.len()]);
    let reader = twin.reader();
    for index in 0..root.full() {
        let block = reader.block(index * root.block).wait().unwrap();
        let mut reference = old.find(heap, index).unwrap();
        if block.holds(number) {
            let mut items: Vec<Item> = block.items().map(Result::unwrap).collect();
            items[(number - block.first()) as usize].value = block::inline(entry);
            let head = Head {
                first: block.first(),
                link: block.link(),
                predecessor: block.predecessor(),
            };
            reference = block::store(&*twin.heap, &head, &items).unwrap();
        }
        new.push(&*twin.heap, Some(reference)).unwrap();
    }
    root.open = new.store(&*twin.heap).unwrap();
    Some(root.store(&*twin.heap).unwrap())
}

#[test]
fn the_first_broken_link_is_named() {
    let mut twin = Twin::new(Heap::new(), options(8, true));
    twin.push((0..100).map(row));
    assert!(twin.reader().verify().is_clean());
    twin.root = forge(&twin, 42, b"entry of another");
    let report = twin.reader().verify();
    let first = &report.damage[0].what;
    assert!(
        first.starts_with("the link before entry 48 is broken"),
        "{report}"
    );
    // Names by place, too: the block behind it no longer follows what lies before it.
    assert!(report.damage[1].what.starts_with("it follows"), "{report}");
    assert_eq!(report.damaged, 2, "{report}");

    // In the last full block it is the tail that does not follow.
    let mut twin = Twin::new(Heap::new(), options(8, true));
    twin.push((0..100).map(row));
    twin.root = forge(&twin, 95, b"entry of another");
    let report = twin.reader().verify();
    let first = &report.damage[0].what;
    assert!(
        first.starts_with("the link before entry 96 is broken"),
        "{report}"
    );
}

#[test]
fn bytes_apart_that_are_not_those_of_their_hash_are_named() {
    let mut twin = Twin::new(Heap::new(), options(8, true));
    twin.push((0..20).map(|at| vec![at; 50]));
    let reader = twin.reader();
    let block = reader.block(13).wait().unwrap();
    let victim = match block.found(13).unwrap() {
        crate::index::Found::Apart(apart) => apart.reference.oid,
        crate::index::Found::Inline(_) => panic!("50 bytes lie apart"),
    };
    let other = Arc::new(Changed {
        heap: twin.heap.clone(),
        victim,
        change: Box::new(move |record: &Record| {
            let mut bytes = Vec::new();
            let body = vec![99; record.body().len()];
            NewRecord {
                kind: record.kind(),
                references: &[],
                body: &[&body],
            }
            .encode(victim, 1, &mut bytes);
            Record::decode(victim, bytes.into())
        }),
    });
    let reader = Reader::open(other, twin.root).wait().unwrap();
    let report = reader.verify();
    assert_eq!(report.damaged, 1, "{report}");
    assert!(
        report.damage[0]
            .what
            .starts_with("the link behind entry 13 is broken")
    );
}
