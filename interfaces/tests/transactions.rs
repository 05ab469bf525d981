//! Read-modify-write transactions of several threads, and of one thread against the rest.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::ops::Bound;
use std::sync::Arc;

use travertine_engine::conformance::model::ModelStore;
use travertine_engine::contract::{Env, ErrorKind, Name, Result};
use travertine_engine::front::{Engine, Options};
use travertine_interfaces::update::{TRIES_MAX, Transaction};
use travertine_interfaces::{Btree, Direction, Journal, Map, Tree};

fn engine() -> Engine {
    let store = Arc::new(ModelStore::default());
    Engine::open(store, &Env::system(), Options::default()).unwrap()
}

fn map() -> Map<Tree> {
    let small = Btree {
        leaf_bytes: 256,
        inner_bytes: 256,
        inline_max: 64,
    };
    // Bounds so small that merges and flips go on all the time.
    let tiny = Journal {
        bytes_max: 4096,
        merge_min: 1,
        ..Journal::over(small)
    };
    Map::new(Name::new("accounts").unwrap(), tiny)
}

fn put(engine: &Engine, map: &Map<Tree>, rows: &[(&str, u64)]) {
    let session = engine.session().unwrap();
    let mut writer = map.writer(&session);
    for (key, value) in rows {
        writer.put(key.as_bytes(), &value.to_le_bytes()).unwrap();
    }
    writer.commit(None).unwrap().wait().unwrap();
}

fn number(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |value| u64::from_le_bytes(value.try_into().unwrap()))
}

fn get(engine: &Engine, map: &Map<Tree>, key: &str) -> u64 {
    let reader = map.reader(&engine.snapshot()).wait().unwrap();
    number(reader.get(key.as_bytes()).wait().unwrap().as_deref())
}

fn add(transaction: &mut Transaction<'_, Tree>, key: &str, more: i64) -> Result<u64> {
    let old = number(transaction.get(key.as_bytes())?.as_deref());
    let new = old.wrapping_add_signed(more);
    transaction.put(key.as_bytes(), &new.to_le_bytes())?;
    Ok(old)
}

#[test]
fn no_addition_of_several_threads_is_lost() {
    let (engine, map) = (engine(), map());
    let fill: Vec<_> = (0..200).map(|row| format!("row-{row:03}")).collect();
    let rows: Vec<_> = fill.iter().map(|row| (&row[..], 1_000)).collect();
    put(&engine, &map, &rows);
    const EACH: u64 = 100;
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (engine, map, fill) = (&engine, &map, &fill);
            scope.spawn(move || {
                let mut state = thread + 1;
                let mut pick = |most: u64| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 33) % most
                };
                for round in 0..EACH {
                    let (from, to) = (&fill[pick(200) as usize], &fill[pick(200) as usize]);
                    let amount = pick(10) as i64;
                    // Retried without end: who loses every time is unlucky, not wrong.
                    loop {
                        let done = map.update(engine, None, |transaction| {
                            add(transaction, from, -amount)?;
                            add(transaction, to, amount)?;
                            if round % 10 == 0 {
                                add(transaction, "rounds", 10)?;
                            }
                            Ok(())
                        });
                        match done {
                            Ok(((), committed)) => {
                                committed.wait().unwrap();
                                break;
                            }
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                        }
                    }
                }
            });
        }
    });
    let reader = map.reader(&engine.snapshot()).wait().unwrap();
    assert_eq!(get(&engine, &map, "rounds"), 3 * EACH);
    let sum: u64 = fill
        .iter()
        .map(|row| get(&engine, &map, row))
        .fold(0, u64::wrapping_add);
    assert_eq!(sum, 200 * 1_000, "money is moved, not made");
    let report = reader.verify();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn what_others_did_to_other_keys_is_no_conflict() {
    let (engine, map) = (engine(), map());
    put(&engine, &map, &[("mine", 1), ("theirs", 1), ("far", 1)]);
    let mut runs = 0;
    let (old, committed) = map
        .update(&engine, None, |transaction| {
            runs += 1;
            let mut seen = 0;
            let upto = Bound::Excluded(&b"n"[..]);
            transaction.scan(Bound::Unbounded, upto, Direction::Forward, |_, _| {
                seen += 1;
                Ok(true)
            })?;
            assert_eq!(seen, 2);
            put(&engine, &map, &[("theirs", 50 + runs)]);
            add(transaction, "mine", 1)
        })
        .unwrap();
    committed.wait().unwrap();
    assert_eq!((old, runs), (1, 1));
    assert_eq!(get(&engine, &map, "mine"), 2);
    assert_eq!(get(&engine, &map, "theirs"), 51);
}

#[test]
fn what_was_read_and_changed_by_others_is_read_again() {
    let (engine, map) = (engine(), map());
    put(&engine, &map, &[("a", 1), ("b", 1)]);
    let mut runs = 0;
    let (old, committed) = map
        .update(&engine, None, |transaction| {
            runs += 1;
            let old = add(transaction, "a", 1)?;
            if runs < 3 {
                put(&engine, &map, &[("a", 10 * runs)]);
            }
            Ok(old)
        })
        .unwrap();
    committed.wait().unwrap();
    assert_eq!((old, runs, get(&engine, &map, "a")), (20, 3, 21));
    // A key that comes into a range that was read changes it, too.
    let mut runs = 0;
    let (sum, committed) = map
        .update(&engine, None, |transaction| {
            runs += 1;
            let mut sum = 0;
            let (all, way) = (Bound::Unbounded, Direction::Back);
            transaction.scan(all, all, way, |_, value| {
                sum += number(Some(value));
                Ok(true)
            })?;
            if runs == 1 {
                put(&engine, &map, &[("c", 100)]);
            }
            transaction.put(b"sum", &u64::to_le_bytes(sum))?;
            Ok(sum)
        })
        .unwrap();
    committed.wait().unwrap();
    assert_eq!((sum, runs), (21 + 1 + 100, 2));
}

#[test]
fn who_never_comes_first_is_told_so() {
    let (engine, map) = (engine(), map());
    put(&engine, &map, &[("a", 1)]);
    let mut runs = 0;
    let error = map
        .update(&engine, None, |transaction| {
            runs += 1;
            let old = add(transaction, "a", 1)?;
            put(&engine, &map, &[("a", old + 100)]);
            Ok(())
        })
        .unwrap_err();
    assert_eq!((error.kind(), runs), (ErrorKind::Conflict, TRIES_MAX));
}
