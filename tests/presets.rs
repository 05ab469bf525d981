//! The stacks to begin with: each runs its benchmark as it is, by the command that the README gives, and
//! survives what it says that it survives.
//!
//! A new file of `examples/stacks` is run here by lying there. What it takes through crashes is tried by
//! `tests/stacks.rs`.
#![expect(clippy::disallowed_methods, reason = "a test of files")]

mod desk;

use std::fs;
use std::path::Path;
use std::process::Command;

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

#[test]
fn an_edge_runs_its_benchmark_over_its_server_and_finds_again_what_it_stored() {
    let desk = Desk::new();
    let edge = |call: &str| {
        let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks/network/run");
        let output = Command::new(run)
            .arg("edge")
            .args(call.split(' '))
            .env("TRAVERTINE", env!("CARGO_BIN_EXE_travertine"))
            .env("LISTEN", "any")
            .env("DATA", desk.path().join("servers"))
            .current_dir(desk.path())
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{call}: {words}");
        String::from_utf8(output.stdout).unwrap()
    };
    edge("put --tree t a hello");
    let call = "--workload commit,read-hot --records 200 --ops 40 --rounds 1 --json";
    let facts = edge(&format!("bench {call} --dir . --allow-tmpfs"));
    assert_eq!(facts.matches("\"ops\":40").count(), 2, "{facts}");
    assert_eq!(edge("get --tree t a").trim_end(), "hello");
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
