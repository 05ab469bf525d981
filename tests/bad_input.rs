//! Sizes, orders and moments that trees meet and nobody plans for. What every index must stand at
//! ordinary sizes is in the suite for indexes; here is what takes an engine, a disk, or room.
//!
//! `TRAVERTINE_BIG=1` runs at full size: ten million keys of one prefix, a value of a gigabyte.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::process::Command;
use std::sync::Arc;

use travertine::conformance::env::SimEnv;
use travertine::conformance::sim::{Plan, SimDisk};
use travertine::contract::{Env, ErrorKind, Level, Name, Result};
use travertine::front::{Change, Engine, Hint, Options, Reclaiming, chunk};
use travertine::interfaces::{Btree, CursorExt, Journal, Map, Tree};
use travertine::log::{Log, LogOptions};
use travertine::medium::memory::MemoryMedium;
use travertine::workload::Process;
use travertine::workload::random::Rng;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn big() -> bool {
    std::env::var_os("TRAVERTINE_BIG").is_some()
}

fn tree() -> Map<Tree> {
    Map::new(Name::new("tree").unwrap(), Tree::default())
}

/// Nodes of a few entries, few deltas: tall trees and many merges of few rows.
fn small() -> Map<Tree> {
    let small = Journal {
        index: Btree {
            leaf_bytes: 128,
            inner_bytes: 128,
            inline_max: 100,
        },
        bytes_max: 16 << 10,
        merge_min: 4,
    };
    Map::new(Name::new("tree").unwrap(), small)
}

/// A stack of one directory of the file system, gone with the directory.
fn on_files() -> (tempfile::TempDir, Env, Engine) {
    use travertine::config::{Overrides, StackFile};
    let directory = tempfile::tempdir().unwrap();
    let text = "[[layer]]\nuse = \"file\"\npath = \"data\"\n";
    let kinds = travertine::standard();
    let none = Overrides::none();
    let file = StackFile::parse("s.toml", text, directory.path(), &kinds, &none).unwrap();
    let env = Env::system();
    let (_, engine) = file.engine(&env, false).unwrap();
    (directory, env, engine)
}

fn in_memory(env: &Env) -> Engine {
    let medium = Arc::new(MemoryMedium::new());
    let log = Log::open("memory", medium, env, LogOptions::default()).unwrap();
    let options = Options {
        level: Level::Memory,
        ..Options::default()
    };
    Engine::open(Arc::new(log), env, options).unwrap()
}

fn on_disk(disk: &SimDisk, sim: &SimEnv) -> Engine {
    let options = LogOptions {
        segment: 64 << 10,
        window: 1 << 20,
        ..LogOptions::default()
    };
    let log = Log::open("file", Arc::new(disk.medium()), sim.env(), options).unwrap();
    Engine::open(Arc::new(log), sim.env(), Options::default()).unwrap()
}

fn compare(engine: &Engine, map: &Map<Tree>, rows: &Rows) {
    let reader = map.reader(&engine.snapshot()).wait().unwrap();
    assert_eq!(reader.count(), rows.len() as u64);
    let mut cursor = reader.cursor();
    for (key, value) in rows {
        let entry = cursor.next().unwrap().unwrap();
        assert_eq!(entry.key, key);
        assert_eq!(&reader.value(entry.value).wait().unwrap()[..], value);
    }
    assert!(cursor.next().unwrap().is_none());
    let report = reader.verify();
    assert!(report.is_clean(), "{report}");
}

/// Bytes that can be told at every place, as many as are asked for.
struct Endless(u64);

impl Endless {
    fn at(place: u64) -> u8 {
        (place * 31 + (place >> 20) * 7) as u8
    }
}

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        for byte in into.iter_mut() {
            *byte = Self::at(self.0);
            self.0 += 1;
        }
        Ok(into.len())
    }
}

/// Runs this one test in a process of its own: what the other tests hold meanwhile is not its memory.
/// `false` in that process.
fn elsewhere(test: &str) -> bool {
    const ALONE: &str = "TRAVERTINE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return false;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]);
    let done = command.env(ALONE, "1").output().unwrap();
    let words = String::from_utf8_lossy(&done.stdout);
    assert!(words.contains("1 passed"), "{words}\n{done:?}");
    true
}

#[test]
fn a_value_far_larger_than_the_memory_for_it_is_stored_and_read() {
    if elsewhere("a_value_far_larger_than_the_memory_for_it_is_stored_and_read") {
        return;
    }
    let length: u64 = if big() { 1 << 30 } else { 96 << 20 };
    let (_directory, _, engine) = on_files();
    let session = engine.session().unwrap();
    let told = Process::reset_peak();
    let before = Process::resident();
    let (stored, stated) =
        chunk::store_from(&session, &mut Endless(0).take(length), Hint::default()).unwrap();
    assert_eq!(stated, length);
    let name = Name::new("large").unwrap();
    let change = Change::set(name.clone(), stored);
    session.commit(&[change], None).wait().unwrap();
    let peak = Process::now().peak.saturating_sub(before);
    assert!(!told || peak < 64 << 20, "{peak} bytes of memory");
    let snapshot = engine.snapshot();
    let mut reader = chunk::Reader::open(&snapshot, &snapshot.root(&name).unwrap()).unwrap();
    let (mut at, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        let some = reader.read(&mut buffer).unwrap();
        if some == 0 {
            break;
        }
        let fine = (at..)
            .zip(&buffer[..some])
            .all(|(at, byte)| *byte == Endless::at(at));
        assert!(fine, "near {at}");
        at += some as u64;
    }
    assert_eq!(at, length);
    engine.close().unwrap();
}

#[test]
fn a_tree_keeps_values_that_are_longer_than_any_record() {
    let length = if big() { 1 << 30 } else { 40 << 20 };
    let (_directory, _, engine) = on_files();
    let map = tree();
    let mut value = Vec::new();
    Endless(9).take(length).read_to_end(&mut value).unwrap();
    let session = engine.session().unwrap();
    let mut writer = map.writer(&session);
    writer.put(b"", b"").unwrap();
    writer.put(b"long", &value).unwrap();
    writer.put(&[0xff; 64 << 10], b"").unwrap();
    let too_long = writer.put(&[0xff; (64 << 10) + 1], b"").unwrap_err();
    assert_eq!(too_long.kind(), ErrorKind::Invalid);
    writer.commit(None).unwrap().wait().unwrap();
    let reader = map.reader(&engine.snapshot()).wait().unwrap();
    assert_eq!(reader.count(), 3);
    assert_eq!(reader.get(b"").wait().unwrap().as_deref(), Some(&b""[..]));
    let longest = reader.get(&[0xff; 64 << 10]).wait().unwrap();
    assert_eq!(longest.as_deref(), Some(&b""[..]));
    assert!(reader.get(b"long").wait().unwrap().unwrap() == value);
    assert!(reader.get(&[0xff; 64 << 10 >> 1]).wait().unwrap().is_none());
    engine.close().unwrap();
}

#[test]
fn many_keys_of_one_long_prefix_cost_little_more_than_what_differs() {
    let many: u64 = if big() { 10_000_000 } else { 100_000 };
    let env = Env::system();
    let engine = in_memory(&env);
    let map = tree();
    let key = |number: u64| [&[b'p'; 200][..], &number.to_be_bytes()].concat();
    // An odd factor goes through all numbers below a power of two, in no order.
    let numbers = (0..many.next_power_of_two())
        .map(|number| number.wrapping_mul(0x9E37_79B1) & (many.next_power_of_two() - 1))
        .filter(|number| *number < many);
    let mut numbers = numbers.peekable();
    let mut commits = 0;
    while numbers.peek().is_some() {
        let session = engine.session().unwrap();
        let mut writer = map.writer(&session);
        for number in numbers.by_ref().take(50_000) {
            writer.put(&key(number), &number.to_le_bytes()).unwrap();
        }
        writer.commit(None).unwrap().wait().unwrap();
        drop(session);
        commits += 1;
        if commits % 4 == 0 {
            // A batch so large writes most of the tree anew, and all of it lies in memory.
            let done = engine.reclaim(&"newest".parse().unwrap(), &Reclaiming::default());
            done.unwrap();
        }
    }
    let session = engine.session().unwrap();
    if let Some(change) = map.checkpoint(&session).unwrap() {
        session.commit(&[change], None).wait().unwrap();
    }
    let reader = map.reader(&engine.snapshot()).wait().unwrap();
    assert_eq!(reader.count(), many);
    for number in (0..many).step_by(many as usize / 1_000) {
        assert_eq!(reader.rank(&key(number)).wait().unwrap(), number);
        let found = reader.get(&key(number)).wait().unwrap();
        assert_eq!(found.as_deref(), Some(&number.to_le_bytes()[..]));
    }
    assert!(reader.get(&[b'p'; 200]).wait().unwrap().is_none());
    let mut cursor = reader.cursor();
    for number in 0..many {
        assert_eq!(cursor.next().unwrap().unwrap().key, key(number));
    }
    let report = reader.verify();
    assert!(report.is_clean(), "{report}");
    assert!(report.node_bytes < many * 60, "{report}");
    engine.close().unwrap();
}

#[test]
fn a_tall_tree_of_small_nodes_keeps_any_order_of_any_day() {
    // No seed is fixed: every run meets orders of its own, and says which.
    let seed = std::env::var("TRAVERTINE_SEED").ok();
    let seed = seed.map_or_else(
        || RandomState::new().hash_one(0),
        |seed| seed.parse().unwrap(),
    );
    println!("TRAVERTINE_SEED={seed}");
    let sim = SimEnv::new(1);
    let engine = in_memory(sim.env());
    let (map, mut rng, mut rows) = (small(), Rng::new(seed, 0), Rows::new());
    let mut tallest = 0;
    // In waves: most puts, then most deletes, down to nothing, and up again.
    for (commits, puts) in [(400, 90), (500, 20), (1, 0), (400, 90)] {
        for commit in 0..commits {
            let session = engine.session().unwrap();
            let mut writer = map.writer(&session);
            for _ in 0..=rng.below(60) {
                let key = format!("{:05}", rng.below(20_000)).into_bytes();
                if rng.below(100) < puts {
                    let value = rng.next_u64().to_le_bytes()[..rng.below(9) as usize].to_vec();
                    writer.put(&key, &value).unwrap();
                    rows.insert(key, value);
                } else {
                    writer.delete(&key).unwrap();
                    rows.remove(&key);
                }
            }
            if puts == 0 {
                for key in std::mem::take(&mut rows).into_keys() {
                    writer.delete(&key).unwrap();
                }
            }
            writer.commit(None).unwrap().wait().unwrap();
            if commit % 100 == 0 || commit + 1 == commits {
                compare(&engine, &map, &rows);
            }
        }
        let reader = map.reader(&engine.snapshot()).wait().unwrap();
        tallest = reader.verify().height.max(tallest);
    }
    assert!(tallest >= 4, "{tallest} levels");
}

#[test]
fn a_cursor_goes_on_over_its_snapshot_while_the_tree_is_rewritten_and_reclaimed() {
    let (sim, disk) = (SimEnv::new(1), SimDisk::new(1, Plan::calm()));
    let engine = on_disk(&disk, &sim);
    let map = small();
    let key = |number: u32| number.to_be_bytes();
    let write = |value: &[u8]| {
        for some in 0..20 {
            let session = engine.session().unwrap();
            let mut writer = map.writer(&session);
            for number in 0..100 {
                writer.put(&key(some * 100 + number), value).unwrap();
            }
            writer.commit(None).unwrap().wait().unwrap();
        }
    };
    write(b"old");
    let reader = map.reader(&engine.snapshot()).wait().unwrap();
    let mut cursor = reader.cursor();
    let mut freed = 0;
    for number in 0..2_000 {
        let entry = cursor.next().unwrap().unwrap();
        let value = reader.value(entry.value).wait().unwrap();
        assert_eq!((entry.key, &value[..]), (&key(number)[..], &b"old"[..]));
        if number % 400 == 0 {
            write(format!("new {number}").as_bytes());
            let report = engine.reclaim(&"newest".parse().unwrap(), &Reclaiming::default());
            freed += report.unwrap().freed.bytes;
        }
    }
    assert!(cursor.next().unwrap().is_none());
    assert!(freed > 0);
    engine.close().unwrap();
}

#[test]
fn a_disk_that_is_full_at_any_commit_or_checkpoint_loses_nothing_and_goes_on_with_room() {
    for capacity in [900_u64 << 10, 1_100 << 10, 1_300 << 10, 1_700 << 10] {
        let (sim, disk) = (SimEnv::new(1), SimDisk::new(1, Plan::calm()));
        let mut engine = on_disk(&disk, &sim);
        let (map, mut rng, mut rows) = (small(), Rng::new(capacity, 0), Rows::new());
        let mut refused = 0;
        disk.set_capacity(Some(capacity));
        for round in 0..6_000 {
            let mut next = rows.clone();
            let done = if round % 7 == 6 {
                checkpoint(&engine, &map)
            } else {
                commit(&engine, &map, &mut rng, &mut next)
            };
            match done {
                Ok(()) => rows = next,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                    compare(&engine, &map, &rows);
                    refused += 1;
                    if refused % 2 == 0 {
                        engine.close().ok();
                        drop(engine);
                        engine = on_disk(&disk, &sim);
                        compare(&engine, &map, &rows);
                    }
                    let report = engine.reclaim(&"newest".parse().unwrap(), &Reclaiming::default());
                    report.unwrap_or_else(|error| panic!("capacity {capacity}: {error}"));
                    compare(&engine, &map, &rows);
                }
            }
            if refused == 4 {
                break;
            }
        }
        assert_eq!(refused, 4, "{capacity} bytes were never full");
        disk.set_capacity(None);
        let mut next = rows.clone();
        commit(&engine, &map, &mut rng, &mut next).unwrap();
        checkpoint(&engine, &map).unwrap();
        compare(&engine, &map, &next);
        engine.close().unwrap();
    }
}

fn commit(engine: &Engine, map: &Map<Tree>, rng: &mut Rng, rows: &mut Rows) -> Result<()> {
    let session = engine.session()?;
    let mut writer = map.writer(&session);
    for _ in 0..=rng.below(20) {
        let (key, value) = (rng.below(400), rng.next_u64());
        let key = key.to_be_bytes().to_vec();
        writer.put(&key, &value.to_le_bytes().repeat(8))?;
        rows.insert(key, value.to_le_bytes().repeat(8));
    }
    writer.commit(None)?.wait().map(drop)
}

fn checkpoint(engine: &Engine, map: &Map<Tree>) -> Result<()> {
    let session = engine.session()?;
    match map.checkpoint(&session)? {
        Some(change) => session.commit(&[change], None).wait().map(drop),
        None => Ok(()),
    }
}
