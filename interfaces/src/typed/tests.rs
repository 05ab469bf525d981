//! Keys order as their bytes do, values come back, hostile bytes are errors; maps, sets and indexes
//! against models.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use travertine_engine::conformance::model::ModelStore;
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{Env, ErrorKind, Name};
use travertine_engine::front::{Engine, Options};

use super::*;
use crate::{Btree, Map};

fn seed() -> u64 {
    crate::conformance::seed()
}

/// A value of a type, of the sorts that go wrong.
trait Any: Key + Clone + Debug {
    fn any(rng: &mut Rng) -> Self;

    /// The order that bytes must have.
    fn order(&self, other: &Self) -> Ordering;
}

macro_rules! any_number {
    ($($type:ident)*) => {$(
        impl Any for $type {
            fn any(rng: &mut Rng) -> Self {
                match rng.below(6) {
                    0 => $type::MIN,
                    1 => $type::MAX,
                    2 => rng.below(3) as $type,
                    3 => ($type::MAX / 2).wrapping_add(rng.below(3) as $type),
                    _ => (u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())) as $type,
                }
            }

            fn order(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }
        }
    )*};
}

any_number!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128);

macro_rules! any_float {
    ($($type:ident $bits:ident)*) => {$(
        impl Any for $type {
            fn any(rng: &mut Rng) -> Self {
                let some = [
                    0.0, -0.0, 1.5, -1.5, $type::NAN, -$type::NAN, $type::INFINITY,
                    $type::NEG_INFINITY, $type::MIN_POSITIVE, $type::MAX, $type::MIN,
                ];
                match rng.below(2) {
                    0 => some[rng.below_usize(some.len())],
                    _ => $type::from_bits(rng.next_u64() as $bits),
                }
            }

            fn order(&self, other: &Self) -> Ordering {
                self.total_cmp(other)
            }
        }
    )*};
}

any_float!(f32 u32 f64 u64);

macro_rules! any_ordered {
    ($($type:ty: |$rng:ident| $make:expr;)*) => {$(
        impl Any for $type {
            fn any($rng: &mut Rng) -> Self {
                $make
            }

            fn order(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }
        }
    )*};
}

any_ordered! {
    bool: |rng| rng.chance(1, 2);
    char: |rng| ['\0', 'a', 'é', '\u{D7FF}', '\u{E000}', '\u{10FFFF}'][rng.below_usize(6)];
    [u8; 3]: |rng| [0, 1, 2].map(|_| [0, 1, 0xFF][rng.below_usize(3)]);
    Vec<u8>: |rng| {
        let length = rng.below_usize(6);
        (0..length).map(|_| [0, 1, b'a', 0xFE, 0xFF][rng.below_usize(5)]).collect()
    };
    String: |rng| {
        let length = rng.below_usize(5);
        (0..length).map(|_| ['\0', '\u{1}', 'a', 'b', '\u{FF}', '\u{10FFFF}'][rng.below_usize(6)]).collect()
    };
    (): |_rng| ();
}

impl<T: Any> Any for Option<T> {
    fn any(rng: &mut Rng) -> Self {
        rng.chance(2, 3).then(|| T::any(rng))
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Some(one), Some(two)) => one.order(two),
            _ => self.is_some().cmp(&other.is_some()),
        }
    }
}

macro_rules! any_tuple {
    ($(($($part:ident $at:tt),*))*) => {$(
        impl<$($part: Any),*> Any for ($($part,)*) {
            fn any(rng: &mut Rng) -> Self {
                ($($part::any(rng),)*)
            }

            fn order(&self, other: &Self) -> Ordering {
                Ordering::Equal$(.then_with(|| self.$at.order(&other.$at)))*
            }
        }
    )*};
}

any_tuple! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

fn orders<K: Any>() {
    let mut rng = Rng::new(seed());
    let keys: Vec<_> = (0..60).map(|_| K::any(&mut rng)).collect();
    for one in &keys {
        let bytes = key::to_bytes(one);
        let again: K = key::from_bytes(&bytes).unwrap();
        assert!(again.order(one).is_eq(), "{one:?} comes back as {again:?}");
        for two in &keys {
            let other = key::to_bytes(two);
            assert_eq!(bytes.cmp(&other), one.order(two), "{one:?} and {two:?}");
            let begins = other.starts_with(&bytes) && other != bytes;
            assert!(!begins, "the bytes of {one:?} begin those of {two:?}");
        }
    }
    // What is taken for a key has the bytes of that key.
    for _ in 0..2_000 {
        let mut bytes = key::to_bytes(&K::any(&mut rng));
        for _ in 0..=rng.below(2) {
            let at = rng.below_usize(bytes.len() + 1);
            match rng.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, [0, 1, 0xFF][rng.below_usize(3)]),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = rng.next_u64() as u8;
                    }
                }
            }
        }
        match key::from_bytes::<K>(&bytes) {
            Ok(key) => assert_eq!(key::to_bytes(&key), bytes, "{key:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
        }
    }
}

macro_rules! orders {
    ($($name:ident: $($type:ty),*;)*) => {$(
        #[test]
        fn $name() {
            $(orders::<$type>();)*
        }
    )*};
}

orders! {
    numbers_order_as_their_bytes: u8, u16, u32, u64, u128, i8, i16, i32, i64, i128;
    floats_have_a_total_order: f32, f64;
    small_types_order_as_their_bytes: bool, char, (), [u8; 3];
    strings_order_as_their_bytes: String, Vec<u8>;
    options_order_as_their_bytes: Option<u8>, Option<String>, Option<Option<bool>>;
    tuples_order_as_their_bytes: (String,), (String, u8), (Vec<u8>, String, i64),
        (Option<String>, bool, (f64, Vec<u8>), u8),
        (u8, String, i16, Option<f32>, char, Vec<u8>, bool, [u8; 3]);
}

#[test]
fn what_is_borrowed_has_the_same_bytes() {
    assert_eq!(key::to_bytes("a\0b"), key::to_bytes(&"a\0b".to_owned()));
    assert_eq!(
        key::to_bytes(&b"a\0b"[..]),
        key::to_bytes(&b"a\0b".to_vec())
    );
    assert_eq!(key::to_bytes("a\0b"), b"a\0\xFFb\0\0");
    assert_eq!(key::to_bytes(&(-1_i16, true)), b"\x7F\xFF\x01");
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    age: Option<u8>,
    tags: Vec<String>,
    sort: Sort,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Sort {
    Plain,
    Admin { since: i64 },
    Pair(f64, Box<Sort>),
}

fn user(rng: &mut Rng) -> User {
    let sort = match rng.below(3) {
        0 => Sort::Plain,
        1 => Sort::Admin {
            since: rng.next_u64().cast_signed(),
        },
        _ => Sort::Pair(rng.below(100) as f64 / 8.0, Box::new(Sort::Plain)),
    };
    User {
        name: format!("user {}", rng.below(1_000)),
        age: rng.chance(1, 2).then(|| rng.below(100) as u8),
        tags: (0..rng.below(4))
            .map(|_| format!("tag {}", rng.below(5)))
            .collect(),
        sort,
    }
}

#[test]
fn values_come_back_and_other_bytes_are_errors() {
    let mut rng = Rng::new(seed());
    for _ in 0..3_000 {
        let value = user(&mut rng);
        let mut bytes = value::to_bytes(&value).unwrap();
        assert_eq!(bytes, value::to_bytes(&value.clone()).unwrap());
        assert_eq!(value::from_bytes::<User>(&bytes).unwrap(), value);
        let at = rng.below_usize(bytes.len());
        match rng.below(3) {
            0 => bytes.truncate(at),
            1 => bytes.push(0),
            _ => bytes[at] = rng.next_u64() as u8,
        }
        if let Err(error) = value::from_bytes::<User>(&bytes) {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        } else {
            assert!(bytes.len() != at, "a value that ends early");
        }
    }
    // Lengths that nobody has.
    for hostile in [
        &b"\x9B\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"[..],
        b"\x5B\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
    ] {
        assert!(value::from_bytes::<Vec<u64>>(hostile).is_err());
        assert!(value::from_bytes::<String>(hostile).is_err());
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Nest(Option<Box<(u8, Nest)>>);

#[test]
fn values_too_deep_or_too_large_are_refused_both_ways() {
    let nest = |depth| (0..depth).fold(Nest(None), |nest, _| Nest(Some(Box::new((0, nest)))));
    let bytes = value::to_bytes(&nest(value::DEPTH_MAX - 1)).unwrap();
    assert!(value::from_bytes::<Nest>(&bytes).is_ok());
    let error = value::to_bytes(&nest(value::DEPTH_MAX + 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let deep = vec![0x81; 100_000];
    let error = value::from_bytes::<Nest>(&deep).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let large = "x".repeat(value::VALUE_MAX);
    assert_eq!(
        value::to_bytes(&large).unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

fn engine() -> Engine {
    let store = Arc::new(ModelStore::default());
    Engine::open(store, &Env::system(), Options::default()).unwrap()
}

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn small() -> Btree {
    Btree {
        leaf_bytes: 256,
        inner_bytes: 256,
        inline_max: 64,
    }
}

#[test]
fn a_typed_map_answers_like_an_ordered_map() {
    let mut rng = Rng::new(seed());
    let engine = engine();
    let map: TypedMap<(String, i32), User> = TypedMap::new(name("m"), small());
    let mut model = BTreeMap::new();
    for _ in 0..20 {
        let session = engine.session().unwrap();
        let mut turn = map.writer(&session);
        for _ in 0..40 {
            let key = (format!("k{}", rng.below(9)), i32::any(&mut rng) % 50);
            if rng.chance(1, 4) {
                turn.delete(&key).unwrap();
                model.remove(&key);
            } else {
                let value = user(&mut rng);
                turn.put(&key, &value).unwrap();
                assert_eq!(turn.get(&key).unwrap().as_ref(), Some(&value));
                model.insert(key, value);
            }
        }
        turn.commit(None).unwrap().wait().unwrap();
        let reader = map.reader(&engine.snapshot()).wait().unwrap();
        let all: Vec<_> = reader.iter().map(Result::unwrap).collect();
        let wanted: Vec<_> = model.clone().into_iter().collect();
        assert_eq!(all, wanted);
        let bounds = (
            Bound::Excluded(("k3".to_owned(), -20)),
            Bound::Included(("k7".to_owned(), 3)),
        );
        let some: Vec<_> = reader
            .range_back(bounds.clone())
            .map(Result::unwrap)
            .collect();
        let wanted = model.range(bounds).rev();
        let wanted: Vec<_> = wanted
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(some, wanted);
    }
}

#[test]
fn a_row_of_another_type_is_an_error_with_which_a_scan_ends() {
    let engine = engine();
    let map = Map::new(name("m"), small());
    let session = engine.session().unwrap();
    let mut writer = map.writer(&session);
    writer
        .put(&key::to_bytes(&1_u8), &value::to_bytes(&7_u8).unwrap())
        .unwrap();
    writer.put(b"more than a byte", b"").unwrap();
    writer
        .put(&key::to_bytes(&200_u8), &value::to_bytes("text").unwrap())
        .unwrap();
    writer.commit(None).unwrap().wait().unwrap();
    let typed: TypedMap<u8, u8> = TypedMap::new(name("m"), small());
    let reader = typed.reader(&engine.snapshot()).wait().unwrap();
    assert_eq!(reader.get(&1).wait().unwrap(), Some(7));
    assert_eq!(
        reader.get(&200).wait().unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    let mut rows = reader.iter();
    assert_eq!(rows.next().unwrap().unwrap(), (1, 7));
    assert!(rows.next().unwrap().is_err());
    assert!(rows.next().is_none());
}

#[test]
fn sets_and_maps_of_several_values_keep_them_in_order() {
    let mut rng = Rng::new(seed());
    let engine = engine();
    let set: Set<String> = Set::new(name("set"), small());
    let many: MultiMap<String, i64> = MultiMap::new(name("many"), small());
    let (mut keys, mut pairs) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..10 {
        let session = engine.session().unwrap();
        let (mut some, mut more) = (set.writer(&session), many.writer(&session));
        for _ in 0..60 {
            let (key, value) = (String::any(&mut rng), i64::any(&mut rng) % 20);
            if rng.chance(1, 3) {
                some.remove(&key).unwrap();
                more.remove(&key, &value).unwrap();
                keys.remove(&key);
                pairs.remove(&(key, value));
            } else {
                some.insert(&key).unwrap();
                assert!(some.contains(&key).unwrap());
                more.insert(&key, &value).unwrap();
                keys.insert(key.clone());
                pairs.insert((key, value));
            }
        }
        let changes: Vec<_> = [some.finish().unwrap(), more.finish().unwrap()]
            .into_iter()
            .flatten()
            .collect();
        session.commit(&changes, None).wait().unwrap();
        let snapshot = engine.snapshot();
        let (some, more) = (
            set.reader(&snapshot).wait().unwrap(),
            many.reader(&snapshot).wait().unwrap(),
        );
        assert!(some.iter().map(Result::unwrap).eq(keys.iter().cloned()));
        let from_a: Vec<_> = some
            .range::<str>((Bound::Included("a"), Bound::Unbounded))
            .map(Result::unwrap)
            .collect();
        assert!(from_a.iter().eq(keys.range("a".to_owned()..)));
        assert!(more.iter().map(Result::unwrap).eq(pairs.iter().cloned()));
        for key in ["", "a", "\0", "\u{10FFFF}"] {
            let values: Vec<_> = more.values(key).map(Result::unwrap).collect();
            let wanted = pairs.iter().filter(|pair| pair.0 == key).map(|pair| pair.1);
            assert!(values.iter().copied().eq(wanted), "{key:?}");
            for value in values {
                assert!(more.contains(key, &value).wait().unwrap());
            }
            assert_eq!(some.contains(key).wait().unwrap(), keys.contains(key));
        }
        assert_eq!(
            (some.count(), more.count()),
            (keys.len() as u64, pairs.len() as u64)
        );
    }
}

fn tags(_: &u32, user: &User) -> Vec<String> {
    user.tags.clone()
}

#[test]
fn an_index_follows_its_rows_whatever_is_done_to_them() {
    let mut rng = Rng::new(seed());
    let engine = engine();
    let users = IndexedMap::new(name("users"), "tag", small(), tags).unwrap();
    let mut model: BTreeMap<u32, User> = BTreeMap::new();
    for _ in 0..20 {
        let session = engine.session().unwrap();
        let mut turn = users.writer(&session);
        for _ in 0..20 {
            let key = rng.below(30) as u32;
            match rng.below(4) {
                0 => {
                    turn.delete(&key).unwrap();
                    model.remove(&key);
                }
                1 => {
                    let retag = |user: Option<User>| {
                        let mut user = user?;
                        user.tags.reverse();
                        user.tags.pop();
                        Some(user)
                    };
                    turn.update(&key, retag).unwrap();
                    if let Some(user) = retag(model.remove(&key)) {
                        model.insert(key, user);
                    }
                }
                _ => {
                    let user = user(&mut rng);
                    turn.put(&key, &user).unwrap();
                    model.insert(key, user);
                }
            }
        }
        turn.commit(None).unwrap().wait().unwrap();
        let reader = users.reader(&engine.snapshot()).wait().unwrap();
        assert_eq!(reader.count(), model.len() as u64);
        for tag in ["tag 0", "tag 3", "tag 9"] {
            let found: Vec<_> = reader.by(tag).map(Result::unwrap).collect();
            let wanted = model
                .iter()
                .filter(|(_, user)| user.tags.iter().any(|one| one == tag));
            let wanted: Vec<_> = wanted.map(|(key, user)| (*key, user.clone())).collect();
            assert_eq!(found, wanted);
        }
        let report = reader.verify();
        assert!(report.is_clean(), "{report}");
    }
}

#[test]
fn an_index_that_does_not_agree_with_its_rows_is_found_out() {
    let engine = engine();
    let users = IndexedMap::new(name("users"), "tag", small(), tags).unwrap();
    let mut rng = Rng::new(seed());
    let session = engine.session().unwrap();
    let mut turn = users.writer(&session);
    for key in 0..10 {
        let tags = vec![format!("tag {key}")];
        turn.put(
            &key,
            &User {
                tags,
                ..user(&mut rng)
            },
        )
        .unwrap();
    }
    turn.commit(None).unwrap().wait().unwrap();
    // Somebody writes the rows past the index.
    let session = engine.session().unwrap();
    let mut rows = users.rows().writer(&session);
    rows.delete(&3).unwrap();
    rows.update(&4, |user| {
        Some(User {
            tags: vec!["other".to_owned()],
            ..user?
        })
    })
    .unwrap();
    rows.commit(None).unwrap().wait().unwrap();
    let reader = users.reader(&engine.snapshot()).wait().unwrap();
    let told: Vec<_> = reader
        .verify()
        .damage
        .into_iter()
        .map(|damage| damage.what)
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("the index lacks other"), "{told:?}");
    assert!(told[1].starts_with("the index has tag 3"), "{told:?}");
    assert!(told[2].starts_with("the index has tag 4"), "{told:?}");
    assert_eq!(
        reader.by("tag 3").next().unwrap().unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}
