//! The stacks to begin with: each runs its benchmark as it is, by the command that the README gives, and
//! survives what it says that it survives.
//!
//! A new file of `examples/stacks` is run here by lying there. What it takes through crashes is tried by
//! `tests/stacks.rs`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

mod desk;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use desk::Desk;

const LAPTOP: &str = include_str!("../examples/stacks/durable-laptop.toml");
const OUTSIDE: &str = "data/durable-laptop/outside";
const INSIDE: &str = "data/durable-laptop/inside";

#[test]
fn every_preset_runs_its_benchmark() {
    let desk = Desk::new();
    fs::create_dir(desk.path().join("data")).unwrap();
    // The key that one makes once.
    desk.file("data/sealed.key", [0x9A; 32]);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks");
    let mut ran = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if !name.ends_with(".toml") {
            continue;
        }
        desk.file(name, fs::read(&path).unwrap());
        let call = "--workload commit,read-hot --records 200 --ops 40 --rounds 1 --json";
        let said = desk.run(&format!("bench {name} {call} --dir . --allow-tmpfs"));
        said.expect(name, 0, &[]);
        let facts = said.json();
        assert_eq!(facts.len(), 2, "{name}");
        assert!(
            facts.iter().all(|fact| fact["ops"] == 40),
            "{name}: {facts:?}"
        );
        ran += 1;
    }
    assert!(ran >= 11, "{ran} presets");
    let left = fs::read_dir(desk.path().join("data")).unwrap().count();
    assert_eq!(left, 1, "a benchmark made data beside its stack");
}

/// One may try one preset after the other in one directory.
#[test]
fn no_two_presets_share_a_directory() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks");
    let mut owners = std::collections::BTreeMap::new();
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let places = text.lines().filter_map(|line| {
            let path = line.trim_start().strip_prefix("path = \"")?;
            path.split('"').next()
        });
        for place in places {
            let first = owners.insert(place.to_owned(), path.clone());
            assert!(
                first.as_ref().is_none_or(|first| *first == path),
                "{place} is of {first:?} and of {path:?}"
            );
        }
    }
    assert!(owners.len() >= 10, "{owners:?}");
}

/// Starts the servers of a preset, by the command that its file gives, and runs a command on it.
fn on_servers(desk: &Desk, preset: &str, data: &str, call: &str) -> Output {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks/network/run");
    Command::new(run)
        .arg(preset)
        .args(call.split(' '))
        .env("TRAVERTINE", env!("CARGO_BIN_EXE_travertine"))
        .env("LISTEN", "any")
        .env("DATA", desk.path().join(data))
        .current_dir(desk.path())
        .output()
        .unwrap()
}

const BENCH: &str = "bench --workload commit,read-hot --records 200 --ops 40 --rounds 1 --json \
                     --dir . --allow-tmpfs";

#[test]
fn every_preset_over_servers_runs_its_benchmark_and_shows_the_next_who_reads_what_was_put() {
    for preset in ["edge", "available", "scale-out"] {
        let desk = Desk::new();
        let ok = |data: &str, call: &str| {
            let output = on_servers(&desk, preset, data, call);
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{preset}: {call}: {words}");
            String::from_utf8(output.stdout).unwrap()
        };
        // Each is a process of its own, and so are the servers that it finds.
        for (key, value) in [("a", "hello"), ("b", "world"), ("a", "again")] {
            ok("servers", &format!("put --tree t {key} {value}"));
            let found = ok("servers", &format!("get --tree t {key}"));
            assert_eq!(found.trim_end(), value, "{preset}");
        }
        ok("servers", "chain push --chain c e");
        assert!(ok("servers", "chain scan --chain c").contains("\"entry\":\"e\""));
        // A benchmark touches none of it, and runs again where benchmarks ran.
        let refused = on_servers(&desk, preset, "servers", BENCH);
        let words = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{preset}: {words}");
        assert!(words.contains("has the name `"), "{preset}: {words}");
        for _ in 0..2 {
            let facts = ok("bench", BENCH);
            assert_eq!(facts.matches("\"ops\":40").count(), 2, "{preset}: {facts}");
        }
        assert_eq!(ok("servers", "get --tree t b").trim_end(), "world");
    }
}

#[test]
fn a_durable_laptop_loses_either_directory_and_nothing_else() {
    let desk = Desk::new();
    desk.file("laptop.toml", LAPTOP);
    let put = |key: &str| format!("put laptop.toml --tree t {key} {key}");
    let found = |key: &str| {
        let value = desk.ok(&format!("get laptop.toml --tree t {key}"));
        assert_eq!(value.trim_end(), key);
    };
    desk.ok(&put("a"));
    for (lost, number, key) in [(OUTSIDE, 2, "b"), (INSIDE, 1, "c")] {
        fs::remove_dir_all(desk.path().join(lost)).unwrap();
        found("a");
        desk.fails(&put(key), 1, &["unavailable"]);
        desk.ok(&format!("cluster replace laptop.toml {number}"));
        desk.ok(&put(key));
        found("a");
        found(key);
    }
    found("b");
}

#[test]
fn two_directories_of_which_one_is_enough_are_both_needed_to_begin() {
    let desk = Desk::new();
    desk.file("laptop.toml", LAPTOP.replace("ack = 2", "ack = 1"));
    desk.ok("put laptop.toml --tree t a a");
    let outside = desk.path().join(OUTSIDE);
    let away = desk.path().join("away");
    fs::rename(&outside, &away).unwrap();
    desk.fails("put laptop.toml --tree t b b", 1, &["unavailable"]);
    fs::rename(&away, &outside).unwrap();
    desk.ok("put laptop.toml --tree t b b");
}
