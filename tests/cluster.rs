//! Three directories under load: one gets a flipped bit, one is deleted, one cannot be reached, in turn,
//! each mended before the next. Nothing acknowledged is lost, and in the end the children are alike,
//! batch by batch.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

mod desk;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use desk::{Desk, Said};
use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Name};
use travertine::front::Engine;
use travertine::interfaces::{Map, Tree};

const STACK: &str = r#"
[[layer]]
use = "cluster"
over = ["one", "two", "three"]
[[stack.one]]
use = "file"
path = "one"
segment = "64 KiB"
[[stack.two]]
use = "file"
path = "two"
segment = "64 KiB"
[[stack.three]]
use = "file"
path = "three"
segment = "64 KiB"
"#;

/// Rows of one load, which takes several segments.
const ROWS: u64 = 500;
/// Acknowledgements before there is trouble, of 25.
const BEFORE: usize = 5;

fn value(row: u64) -> String {
    format!("value {row:06} {}", "x".repeat((row * row % 397) as usize))
}

/// Loads more rows, and when some of them are acknowledged does `trouble`. None of the rows is refused,
/// and all that were acknowledged are there.
fn load(desk: &Desk, rows: &mut u64, trouble: impl FnOnce()) {
    let numbers = *rows..*rows + ROWS;
    *rows = numbers.end;
    let text: String = numbers
        .map(|row| format!("{row:06},{}\n", value(row)))
        .collect();
    desk.file("rows.csv", format!("k,v\n{text}"));
    let mut load = desk.command("load s.toml rows.csv --tree t --key k --batch 20 --ack");
    let mut load = load
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(load.stdout.take().unwrap()).lines();
    assert_eq!(said.by_ref().take(BEFORE).count(), BEFORE);
    trouble();
    let last = said.last().unwrap().unwrap();
    assert!(load.wait().unwrap().success());
    assert_eq!(last, format!("committed {ROWS}"));
    let found = desk.run("scan s.toml --tree t").json();
    assert_eq!(found.len() as u64, *rows);
    for (row, entry) in (0..).zip(found) {
        let value = serde_json::json!({"k": format!("{row:06}"), "v": value(row)});
        let read: serde_json::Value =
            serde_json::from_str(entry["value"].as_str().unwrap()).unwrap();
        assert_eq!(read, value, "row {row}");
    }
}

/// Where a row lies last in a directory.
fn place_of(desk: &Desk, child: &str, row: u64) -> (PathBuf, u64) {
    let needle = format!("value {row:06}").into_bytes();
    let last = |bytes: &[u8]| {
        let mut all = bytes.windows(needle.len());
        all.rposition(|found| found == needle)
    };
    let mut files = desk.bytes_of(child).into_iter().rev();
    let found = files.find_map(|(path, bytes)| Some((path, last(&bytes)? as u64)));
    found.unwrap()
}

/// Flips a bit of the letter there, a `v`.
fn flip((path, at): (PathBuf, u64)) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[b'v' ^ 4], at).unwrap();
}

fn engine(desk: &Desk, read_only: bool) -> Engine {
    let kinds = travertine::standard();
    let file = StackFile::parse("s.toml", STACK, desk.path(), &kinds, &Overrides::none()).unwrap();
    file.engine(&Env::system(), read_only).unwrap().1
}

fn figure(engine: &Engine, name: &str) -> u64 {
    let status = engine.status();
    let figures = &status.below[0].figures;
    figures.iter().find(|(of, _)| *of == name).unwrap().1
}

/// Brings an empty child in, and says how many batches that took.
fn replace(desk: &Desk, child: usize) -> u64 {
    let said = desk.ok(&format!("cluster replace s.toml {child}"));
    let rest = said.strip_prefix(&format!("child {child} is in line; "));
    let brought = rest.and_then(|rest| rest.split_once(' '));
    brought
        .unwrap_or_else(|| panic!("{said}"))
        .0
        .parse()
        .unwrap()
}

fn check(desk: &Desk) -> Said {
    desk.run("cluster check s.toml --json")
}

/// Every child has every batch, with the same bytes.
fn are_alike(desk: &Desk) {
    let said = check(desk);
    assert_eq!(said.code, 0, "{said:?}");
    let facts = &said.json()[0];
    for child in facts.as_array().unwrap() {
        assert_eq!(child["batches"], facts[0]["batches"], "{said:?}");
        assert_eq!(child["end"], facts[0]["end"], "{said:?}");
    }
}

/// The child that this is wrong with, and no other, is named.
fn is_named(desk: &Desk, child: usize) {
    let said = check(desk);
    said.expect("check", 1, &["1 of 3 children are not whole"]);
    let facts = &said.json()[0];
    let troubled = |index: &usize| !facts[*index]["trouble"].is_null();
    let troubled: Vec<_> = (0..3).filter(troubled).collect();
    assert_eq!(troubled, [child - 1], "{said:?}");
}

#[test]
fn children_are_damaged_lost_and_shut_off_in_turn_and_come_back() {
    let desk = Desk::new();
    desk.file("s.toml", STACK);
    let place = |name: &str| desk.path().join(name);
    let mut rows = 0;
    load(&desk, &mut rows, || ());
    load(&desk, &mut rows, || ());

    // A bit of a row of the first load: it is read elsewhere.
    let row = place_of(&desk, "one", ROWS / 2);
    load(&desk, &mut rows, || flip(row));
    is_named(&desk, 1);
    let reading = engine(&desk, true);
    let map = Map::new(Name::new("t").unwrap(), Tree::default());
    let reader = map.reader(&reading.snapshot()).wait().unwrap();
    let key = format!("{:06}", ROWS / 2);
    assert!(reader.get(key.as_bytes()).wait().unwrap().is_some());
    assert!(figure(&reading, "reads_damaged") > 0);
    assert!(figure(&reading, "reads_failed_over") > 0);
    drop((reader, reading));
    fs::remove_dir_all(place("one")).unwrap();
    assert!(replace(&desk, 1) > 0);
    are_alike(&desk);

    // Deleted. Whoever writes it finds out when it needs another file.
    load(&desk, &mut rows, || {
        fs::rename(place("two"), place("gone")).unwrap();
    });
    fs::remove_dir_all(place("gone")).unwrap();
    is_named(&desk, 2);
    load(&desk, &mut rows, || ());
    assert!(replace(&desk, 2) > 0);
    // Asked again, there is nothing to do.
    assert_eq!(replace(&desk, 2), 0);
    are_alike(&desk);

    // Out of reach: a file stands where the directory was, which shuts off whoever may do anything.
    load(&desk, &mut rows, || {
        fs::rename(place("three"), place("away")).unwrap();
        fs::write(place("three"), "nobody writes here").unwrap();
    });
    is_named(&desk, 3);
    load(&desk, &mut rows, || ());
    fs::remove_file(place("three")).unwrap();
    fs::rename(place("away"), place("three")).unwrap();
    // It comes back by itself, and is brought what it lacks.
    let writing = engine(&desk, false);
    let commit = || writing.session().unwrap().commit(&[], None).wait().unwrap();
    commit();
    let patience = Instant::now();
    while figure(&writing, "children_in_line") < 3 {
        let status = writing.status();
        assert!(patience.elapsed() < Duration::from_secs(120), "{status:?}");
        std::thread::sleep(Duration::from_millis(20));
        commit();
    }
    assert!(figure(&writing, "batches_caught_up") > 0);
    writing.close().unwrap();
    drop(writing);
    are_alike(&desk);

    // Any two of the three are enough.
    for child in ["one", "two", "three"] {
        fs::rename(place(child), place("away")).unwrap();
        load(&desk, &mut rows, || ());
        fs::rename(place("away"), place(child)).unwrap();
    }
    desk.ok("verify s.toml");
}

#[test]
fn verify_looks_at_every_copy() {
    let desk = Desk::new();
    desk.file("s.toml", STACK);
    let mut rows = 0;
    load(&desk, &mut rows, || ());
    let told = desk.ok("verify s.toml");
    assert_eq!(told.matches(": whole\n").count(), 3, "{told}");

    // A bit here and there, also twice in one child: the others hide nothing.
    for (child, row) in [("one", 3), ("three", ROWS / 2), ("three", ROWS - 1)] {
        flip(place_of(&desk, child, row));
        let number = if child == "one" { 1 } else { 3 };
        let place = format!("DAMAGED     cluster, child {number}: ");
        let said = desk.fails("verify s.toml", 1, &["damaged"]);
        assert!(said.text().contains(&place), "{said:?}");
    }
    let facts = &desk.run("verify s.toml --json").json()[0];
    let troubled = |child: &serde_json::Value| !child["trouble"].is_null();
    let copies = facts["copies"].as_array().unwrap();
    let troubled: Vec<_> = copies.iter().map(troubled).collect();
    assert_eq!(troubled, [true, false, true], "{facts}");
    assert!(facts["damaged"].as_u64() >= Some(2), "{facts}");
}

#[test]
fn a_lost_child_is_told_by_verify_and_by_whoever_reads_or_writes() {
    let desk = Desk::new();
    desk.file("s.toml", STACK);
    desk.ok("put s.toml --tree t k v");
    fs::remove_dir_all(desk.path().join("two")).unwrap();
    let said = desk.fails("verify s.toml", 1, &["1 things are damaged"]);
    let told = said.text();
    assert!(told.contains("DAMAGED     cluster, child 2: "), "{told}");
    assert!(!told.contains("all is well"), "{told}");
    for line in ["get s.toml --tree t k", "put s.toml --tree t k2 v"] {
        desk.fails(line, 0, &["1 of 3 children are not there"]);
    }
    // Without too many nothing else can be looked at; it is still said which.
    fs::remove_dir_all(desk.path().join("three")).unwrap();
    let said = desk.fails("verify s.toml", 1, &[]);
    for child in ["child 2", "child 3"] {
        assert!(said.text().contains(child), "{said:?}");
    }
}

#[test]
fn children_that_are_one_directory_by_a_link_are_refused() {
    let desk = Desk::new();
    desk.file("s.toml", STACK);
    desk.ok("check s.toml");
    fs::create_dir(desk.path().join("one")).unwrap();
    std::os::unix::fs::symlink("one", desk.path().join("two")).unwrap();
    for line in ["check s.toml", "put s.toml --tree t k v"] {
        desk.fails(line, 2, &["by a link", "\"two\"", "\"one\""]);
    }
}

#[test]
fn what_is_no_cluster_or_no_child_is_refused() {
    let desk = Desk::new();
    desk.file("r.toml", STACK);
    desk.fails("cluster check s.toml", 2, &["no cluster"]);
    desk.fails("cluster replace s.toml 1", 2, &["no cluster"]);
    desk.fails("cluster replace r.toml 4", 2, &["no child 4"]);
    desk.fails("cluster check r.toml --layer nix", 2, &["name \"nix\""]);
}
