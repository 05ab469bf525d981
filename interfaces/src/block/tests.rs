use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{Env, ErrorKind, Op, Result};

use super::*;
use crate::testing::{id, now};

fn text(text: &str) -> Value {
    Value::of(text).unwrap()
}

fn block(name: &str, items: &[&str]) -> Block {
    let header = Header {
        id: id(name),
        code: Code::of("T"),
        collection: id("c"),
    };
    Block::new(header)
        .with("items", Value::of(items).unwrap())
        .unwrap()
}

fn items(block: &Block) -> Vec<String> {
    let items = block.list("items").unwrap().iter();
    items.map(|item| item.to().unwrap()).collect()
}

/// Blocks that are stored.
#[derive(Debug, Default, Clone)]
struct Shelf(BTreeMap<BlockId, Arc<Block>>);

impl Shelf {
    fn of(blocks: impl IntoIterator<Item = Block>) -> Self {
        let pairs = blocks
            .into_iter()
            .map(|block| (block.id().clone(), block.into()));
        Self(pairs.collect())
    }

    fn store(&mut self, transforms: Transforms) -> Result<()> {
        // As they are sent: in bytes.
        let transforms = Transforms::from_bytes(&transforms.to_bytes())?;
        for (id, transform) in transforms {
            match transform.apply(self.0.get(&id).cloned())? {
                Some(block) => drop(self.0.insert(id, block)),
                None => drop(self.0.remove(&id)),
            }
        }
        Ok(())
    }
}

impl ReadBlocks for Shelf {
    fn get(&self, id: &BlockId) -> Op<Option<Arc<Block>>> {
        Op::ok(self.0.get(id).cloned())
    }
}

fn tracker(shelf: Shelf) -> Tracker<Shelf> {
    Tracker::new(shelf, Env::system().random)
}

/// Anything that CBOR can say, small.
fn any(rng: &mut Rng, depth: u32) -> ciborium::Value {
    use ciborium::Value as Any;
    match rng.below(if depth == 0 { 7 } else { 9 }) {
        0 => Any::Null,
        1 => Any::Bool(rng.below(2) == 0),
        2 => Any::Integer((rng.next_u64() as i64 >> rng.below(64)).into()),
        3 => Any::Integer((rng.next_u64() >> rng.below(64)).into()),
        4 => Any::Float(match rng.below(4) {
            0 => f64::from_bits(rng.next_u64()),
            1 => f64::from(f32::from_bits(rng.next_u64() as u32)),
            2 => rng.below(4096) as f64 / 1024.0,
            _ => [
                f64::NAN,
                f64::INFINITY,
                -0.0,
                5.9e-8,
                6.1e-5,
                65_504.0,
                65_536.0,
            ][rng.below(7) as usize],
        }),
        5 => Any::Text(
            (0..rng.below(30))
                .map(|_| char::from(97 + rng.below(4) as u8))
                .collect(),
        ),
        6 => Any::Bytes((0..rng.below(300)).map(|_| rng.next_u64() as u8).collect()),
        7 => Any::Array((0..rng.below(5)).map(|_| any(rng, depth - 1)).collect()),
        _ => Any::Map(
            (0..rng.below(5))
                .map(|_| (any(rng, depth - 1), any(rng, depth - 1)))
                .collect(),
        ),
    }
}

#[test]
fn equal_contents_have_equal_bytes() {
    let rows = [("a", 1), ("bb", 2), ("", 3), ("ab", 4)];
    let sorted = Value::of(&BTreeMap::from(rows)).unwrap();
    for _ in 0..20 {
        assert_eq!(Value::of(&HashMap::from(rows)).unwrap(), sorted);
    }
    // By length first, for the length is the first byte.
    assert_eq!(
        &sorted.as_bytes()[..],
        b"\xa4\x60\x03\x61a\x01\x62ab\x04\x62bb\x02"
    );
    let twice = ciborium::Value::Map(vec![(1.into(), 1.into()), (1.into(), 2.into())]);
    assert_eq!(Value::of(&twice).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(
        Value::of(&f64::NAN).unwrap(),
        Value::of(&-f32::NAN).unwrap()
    );
    assert_eq!(Value::of(&1.5f64).unwrap(), Value::of(&1.5f32).unwrap());
}

#[test]
fn a_value_that_is_written_is_read_and_no_other_bytes_are_its() {
    let mut rng = Rng::new(1);
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..20_000 {
        let Ok(value) = Value::of(&any(&mut rng, 3)) else {
            continue;
        };
        assert_eq!(Value::from_bytes(value.as_bytes().clone()).unwrap(), value);
        let again: ciborium::Value = value.to().unwrap();
        assert_eq!(Value::of(&again).unwrap(), value);
        let mut bytes = value.as_bytes().to_vec();
        match rng.below(3) {
            0 => drop(bytes.pop()),
            1 => bytes.push(rng.next_u64() as u8),
            _ => {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
        }
        match Value::from_bytes(bytes.into()) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                refused += 1;
            }
            Ok(other) => {
                assert_ne!(other, value);
                let content: ciborium::Value = other.to().unwrap();
                assert_eq!(Value::of(&content).unwrap(), other, "one way to write it");
                taken += 1;
            }
        }
    }
    assert!(refused > 1000 && taken > 1000, "{refused} {taken}");
}

#[test]
fn what_is_written_in_another_way_is_refused() {
    let deep = [vec![0x81; 70], vec![0]].concat();
    let long = [vec![0x9b], vec![0xff; 8]].concat();
    for bytes in [
        &b""[..],
        b"\x18\x17",               // 23 in two bytes
        b"\x19\x00\xff",           // 255 in three
        b"\x9f\x01\xff",           // a list without a length
        b"\x7f\x61a\xff",          // a text in parts
        b"\xa2\x61b\x01\x61a\x02", // keys that descend
        b"\xa2\x61a\x01\x61a\x02", // a key twice
        b"\xfa\x3f\xc0\x00\x00",   // 1.5 as a single
        b"\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00",
        b"\xf9\x7e\x01", // another NaN
        b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"\xf7", // undefined
        b"\xf8\x20",
        b"\x62\xff\xfe", // no UTF-8
        b"\x01\x02",
        b"\x82\x01",
        &deep,
        &long,
    ] {
        let error = Value::from_bytes(Bytes::copy_from_slice(bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{bytes:x?}");
    }
}

#[test]
fn a_block_is_read_as_it_was_written_and_damage_is_told() {
    let mut full = block("b", &["one", "two"]);
    for (name, value) in [("n", 1), ("rootId", 2), ("a-long-name", 3), ("header2", 4)] {
        full = full.with(name, Value::of(&value).unwrap()).unwrap();
    }
    let bytes = full.to_bytes().unwrap();
    assert_eq!(Block::from_bytes(&bytes).unwrap(), full);
    // Whatever order the attributes came in.
    let mut other = block("b", &["one", "two"]);
    for (name, value) in [("header2", 4), ("a-long-name", 3), ("n", 1), ("rootId", 2)] {
        other = other.with(name, Value::of(&value).unwrap()).unwrap();
    }
    assert_eq!(other.digest(), full.digest());
    // A map like any other.
    let value = Value::from_bytes(bytes.clone()).unwrap();
    let map: BTreeMap<String, ciborium::Value> = value.to().unwrap();
    assert_eq!(map.len(), 6);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 1 << bit;
            if let Ok(other) = Block::from_bytes(&bytes.into()) {
                assert_ne!(other, full);
            }
        }
        let short = bytes.slice(..at);
        let error = Block::from_bytes(&short).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    for name in ["", "header", &"x".repeat(256)] {
        let error = full.clone().with(name.to_owned(), text("")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn ids_are_any_names_and_random_ones_differ() {
    for name in ["a:b/c.d", "..", " ", "ü", &"x".repeat(ID_MAX)] {
        assert_eq!(id(name).as_str(), name);
    }
    for name in [String::new(), "x".repeat(ID_MAX + 1)] {
        assert_eq!(BlockId::new(name).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let random = Env::system().random;
    let ids: BTreeSet<_> = (0..100).map(|_| BlockId::random(&*random)).collect();
    assert_eq!(ids.len(), 100);
    for id in ids {
        let safe = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        assert!(
            id.as_str().len() == 43 && id.as_str().chars().all(safe),
            "{id}"
        );
    }
}

#[test]
fn a_code_has_one_name_and_two_registries_may_differ() {
    let types = Types::new().with(Code::of("TL"), "leaf").unwrap();
    let types = types.with(Code::of("TL"), "leaf").unwrap();
    let other = Types::new().with(Code::of("TL"), "something").unwrap();
    assert_eq!(other.name(&Code::of("TL")), Some("something"));
    let error = types.clone().with(Code::of("TL"), "branch").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(types.iter().count(), 1);
}

#[test]
fn insert_then_updates_then_delete_whatever_was_there() {
    let splice = |at, delete, insert: &[&str]| {
        let insert: Vec<_> = insert.iter().map(|word| text(word)).collect();
        Operation::splice("items", at, delete, insert)
    };
    let base = Arc::new(block("b", &["old"]));
    let mut transform = Transform::insert(block("b", &["new"]));
    transform.updates = vec![splice(1, 0, &["x", "y"]), splice(0, 2, &[])];
    let after = transform.apply(Some(base.clone())).unwrap().unwrap();
    assert_eq!(items(&after), ["y"]);
    transform.delete = true;
    assert!(transform.apply(Some(base.clone())).unwrap().is_none());

    let mut update = Transform::default();
    update.updates.push(splice(0, 1, &["a"]));
    assert!(update.needs_base());
    let error = update.apply(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "never dropped: {error}");
    let error = splice(1, 1, &[]).apply(&mut (*base).clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(items(&base), ["old"]);

    // A list can be given as a whole, and taken away.
    let whole = Operation::assign("items", Value::of(&["p", "q"]).unwrap());
    update.updates.push(whole);
    assert_eq!(
        items(&update.apply(Some(base.clone())).unwrap().unwrap()),
        ["p", "q"]
    );
    update.updates.push(Operation::remove("items"));
    let after = update.apply(Some(base)).unwrap().unwrap();
    assert!(after.get("items").is_none());
    assert_eq!(Transform::from_bytes(&update.to_bytes()).unwrap(), update);
}

#[test]
fn what_is_deleted_and_inserted_again_is_the_new_one() {
    let mut shelf = Shelf::of([block("b", &["old"])]);
    let mut tracker = tracker(shelf.clone());
    tracker.delete(&id("b"));
    assert!(tracker.get(&id("b")).wait().unwrap().is_none());
    let gone = now(tracker.update(&id("b"), Operation::remove("items"))).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Invalid);
    tracker.insert(block("b", &["new"]));
    now(tracker.update(&id("b"), Operation::splice("items", 1, 0, [text("er")]))).unwrap();
    let read = tracker.get(&id("b")).wait().unwrap().unwrap();
    assert_eq!(items(&read), ["new", "er"]);
    let transforms = tracker.reset().transforms();
    let folded = transforms.of(&id("b")).unwrap();
    assert!(folded.insert.is_some() && folded.updates.is_empty() && !folded.delete);
    shelf.store(transforms).unwrap();
    assert_eq!(items(&shelf.0[&id("b")]), ["new", "er"]);
    let old = tracker.get(&id("b")).wait().unwrap().unwrap();
    assert_eq!(items(&old), ["old"], "forgotten");
}

#[test]
fn deletes_are_stored_block_by_block() {
    let mut shelf = Shelf::of([block("a", &[]), block("b", &[]), block("c", &[])]);
    let mut tracker = tracker(shelf.clone());
    tracker.delete(&id("a"));
    tracker.delete(&id("c"));
    tracker.insert(block("d", &[]));
    let transforms = tracker.changes().transforms();
    assert!(transforms.of(&id("a")).unwrap().delete);
    assert!(transforms.of(&id("b")).is_none());
    shelf.store(transforms).unwrap();
    let left: Vec<_> = shelf.0.keys().map(BlockId::as_str).collect();
    assert_eq!(left, ["b", "d"]);
}

#[test]
fn changes_after_changes_keep_all_operations_in_order() {
    let mut shelf = Shelf::of([block("b", &[])]);
    let word = |word: &str| Operation::splice("items", 0, 0, [text(word)]);
    let change = |word_: &str| {
        let mut tracker = tracker(shelf.clone());
        now(tracker.update(&id("b"), word(word_))).unwrap();
        tracker.reset().transforms()
    };
    let mut all = change("one");
    all.then(change("two")).unwrap();
    let mut gone = all.clone();
    gone.push(id("b"), Transform::delete()).unwrap();
    gone.then(change("three")).unwrap_err();
    assert!(gone.of(&id("b")).unwrap().updates.is_empty());
    assert_eq!(all.of(&id("b")).unwrap().updates.len(), 2);
    shelf.store(all).unwrap();
    assert_eq!(items(&shelf.0[&id("b")]), ["two", "one"]);
}

#[test]
fn a_block_that_is_held_does_not_change_in_the_hand() {
    let mut tracker = tracker(Shelf::of([block("b", &[])]));
    let mut held = Vec::new();
    for round in 0..5 {
        held.push(tracker.get(&id("b")).wait().unwrap().unwrap());
        let operation = Operation::splice("items", round, 0, [text("x")]);
        now(tracker.update(&id("b"), operation)).unwrap();
    }
    let counts: Vec<_> = held.iter().map(|block| items(block).len()).collect();
    assert_eq!(counts, [0, 1, 2, 3, 4]);
}

/// Random work in sections that are committed or dropped, against blocks that are changed in place.
#[test]
fn sections_are_done_as_a_whole_or_not_at_all() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut shelf = Shelf::default();
        for _ in 0..4 {
            let mut tracker = tracker(shelf.clone());
            let mut model = shelf.clone();
            for _ in 0..rng.below(8) {
                let mut section = tracker.section();
                let mut inside = model.clone();
                work(&mut section, &mut inside, &mut rng);
                let mut inner = section.section();
                let mut deeper = inside.clone();
                work(&mut inner, &mut deeper, &mut rng);
                if rng.below(2) == 0 {
                    inner.commit();
                    inside = deeper;
                }
                same(&section, &inside);
                if rng.below(2) == 0 {
                    section.commit();
                    model = inside;
                }
                same(&tracker, &model);
            }
            shelf.store(tracker.reset().transforms()).unwrap();
            assert_eq!(shelf.0, model.0, "seed {seed}");
        }
    }
}

fn work(tracker: &mut impl WriteBlocks, model: &mut Shelf, rng: &mut Rng) {
    for _ in 0..rng.below(6) {
        let name = id(["a", "b", "c", "d"][rng.below(4) as usize]);
        match rng.below(4) {
            0 => {
                let block = block(name.as_str(), &["x"; 3][..rng.below(3) as usize]);
                model.0.insert(name, block.clone().into());
                tracker.insert(block);
            }
            1 => {
                model.0.remove(&name);
                tracker.delete(&name);
            }
            _ => {
                let (at, delete) = (rng.below(4) as usize, rng.below(2) as usize);
                let word = Value::of(&rng.below(100)).unwrap();
                let operation = match rng.below(5) {
                    0 => Operation::assign("n", word),
                    _ => Operation::splice("items", at, delete, [word]),
                };
                let wanted = match model.0.get_mut(&name) {
                    Some(block) => operation.apply(Arc::make_mut(block)),
                    None => Err(travertine_engine::contract::Error::invalid("")),
                };
                let done = now(tracker.update(&name, operation));
                assert_eq!(done.is_ok(), wanted.is_ok());
            }
        }
    }
}

fn same(tracker: &impl ReadBlocks, model: &Shelf) {
    for name in ["a", "b", "c", "d"] {
        let read = tracker.get(&id(name)).wait().unwrap();
        assert_eq!(read.as_ref(), model.0.get(&id(name)), "{name}");
    }
}

#[test]
fn changes_from_elsewhere_are_bounded_and_checked() {
    let mut tracker = tracker(Shelf::of([block("u", &["x"])]));
    tracker.insert(block("i", &["y"]));
    now(tracker.update(&id("u"), Operation::splice("items", 0, 1, [text("z")]))).unwrap();
    tracker.delete(&id("gone"));
    let transforms = tracker.changes().transforms();
    let bytes = transforms.to_bytes();
    assert_eq!(Transforms::from_bytes(&bytes).unwrap(), transforms);
    for at in 0..bytes.len() {
        assert!(Transforms::from_bytes(&bytes.slice(..at)).is_err());
        for bit in 0..8 {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 1 << bit;
            if let Ok(other) = Transforms::from_bytes(&bytes.into()) {
                assert_ne!(other, transforms);
            }
        }
    }
}
