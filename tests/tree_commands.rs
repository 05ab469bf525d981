//! `put`, `get`, `del`, `scan` and `count`: what they print, and how they fail.

mod desk;

use std::io::Read;
use std::process::Stdio;

use desk::Desk;

#[test]
fn what_is_put_is_got_byte_for_byte() {
    let desk = Desk::new();
    desk.ok("put s.toml --tree a k1 hello");
    assert_eq!(desk.run("get s.toml --tree a k1").out, b"hello");
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n * 7 + n / 251) as u8)
        .collect();
    for value in [&b""[..], b"line\n", b"\xff\x00\xfe", &large] {
        assert_eq!(desk.run_with("put s.toml --tree a k2 -", value).code, 0);
        assert!(desk.run("get s.toml --tree a k2").out == value);
    }
    desk.ok("put s.toml --tree b k1 other");
    assert_eq!(desk.run("get s.toml --tree a k1").out, b"hello");
}

#[test]
fn an_absent_key_and_an_absent_tree_are_exit_code_one() {
    let desk = Desk::new();
    desk.ok("put s.toml --tree a k v");
    for line in ["get s.toml --tree a nix", "del s.toml --tree a nix"] {
        assert!(
            desk.fails(line, 1, &["a has no key \"nix\""])
                .out
                .is_empty()
        );
    }
    for command in ["get", "count", "scan"] {
        let key = if command == "get" { "k" } else { "" };
        let line = format!("{command} s.toml --tree nix {key}");
        desk.fails(&line, 1, &["no tree nix", "there are: a"]);
    }
}

#[test]
fn a_wrong_call_is_exit_code_two_and_makes_nothing() {
    let desk = Desk::new();
    desk.fails("count s.toml --tree a", 1, &["nothing was written"]);
    desk.fails("get s.toml k", 2, &["--tree"]);
    desk.fails(
        "put s.toml --tree load/a k v",
        2,
        &["kept for the positions of loads"],
    );
    desk.fails("get nix.toml --tree a k", 2, &["nix.toml"]);
    assert!(!desk.path().join("data").exists());
    desk.ok("put s.toml --tree a k v");
    desk.fails("get s.toml --tree a --key-b64 ???", 2, &["not base64"]);
    desk.fails(
        "get s.toml --tree a k --at yesterday",
        2,
        &["2026-11-21T12:00:00Z"],
    );
}

#[test]
fn a_deleted_key_is_gone_and_the_commit_before_still_has_it() {
    let desk = Desk::new();
    let first = desk.run("put s.toml --tree a k v --json").json();
    assert_eq!(first[0]["sequence"], 1);
    assert_eq!(first[0]["level"], "disk");
    desk.ok("del s.toml --tree a k");
    desk.fails("get s.toml --tree a k", 1, &["no key"]);
    assert_eq!(desk.ok("get s.toml --tree a k --at 1"), "v");
    assert_eq!(desk.ok("count s.toml --tree a"), "0\n");
    assert_eq!(desk.ok("count s.toml --tree a --at 1"), "1\n");
    desk.fails(
        "get s.toml --tree a k --at 7",
        1,
        &["no commit 7", "number 2"],
    );
    desk.fails(
        "get s.toml --tree a k --at 1999-01-01T00:00:00Z",
        1,
        &["no commit"],
    );
    assert_eq!(
        desk.ok("count s.toml --tree a --at 2999-01-01T00:00:00Z"),
        "0\n"
    );
}

#[test]
fn a_put_that_changes_nothing_is_no_commit() {
    let desk = Desk::new();
    desk.ok("put s.toml --tree a k v");
    assert_eq!(desk.ok("put s.toml --tree a k v --json"), "null\n");
}

#[test]
fn a_scan_prints_entries_in_order_within_its_bounds() {
    let desk = Desk::new();
    for key in ["a", "b", "c", "d"] {
        desk.ok(&format!("put s.toml --tree t {key} v{key}"));
    }
    let keys = |line: &str| -> String {
        let said = desk.run(&format!("scan s.toml --tree t {line}"));
        let key = |entry: &serde_json::Value| entry["key"].as_str().unwrap().to_owned();
        said.json().iter().map(key).collect()
    };
    assert_eq!(keys(""), "abcd");
    assert_eq!(keys("--reverse"), "dcba");
    assert_eq!(keys("--from b --to d"), "bc");
    assert_eq!(keys("--from b --to d --reverse"), "cb");
    assert_eq!(keys("--limit 2"), "ab");
    assert_eq!(keys("--reverse --limit 1"), "d");
    assert_eq!(keys("--limit 0"), "");
    assert_eq!(keys("--from x"), "");
    assert_eq!(keys("--from d --to b"), "");
    assert_eq!(keys("--at 2"), "ab");
}

#[test]
fn bytes_that_are_no_text_are_scanned_as_base64_and_named_by_it() {
    let desk = Desk::new();
    desk.run_with("put s.toml --tree t --key-b64 /w== -", b"\xfe");
    let said = desk.run("scan s.toml --tree t");
    assert_eq!(
        said.text(),
        "{\"key_b64\":\"/w==\",\"value_b64\":\"/g==\"}\n"
    );
    assert_eq!(desk.run("get s.toml --tree t --key-b64 /w==").out, b"\xfe");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let desk = Desk::new();
    let rows: String = (0..20_000).map(|n| format!("{n:06},{n}\n")).collect();
    desk.file("rows.csv", rows);
    desk.ok("load s.toml rows.csv --tree t --key 0 --no-header");
    let mut command = desk.command("scan s.toml --tree t");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_second_writer_is_refused_with_the_holder_named_and_changes_nothing() {
    let desk = Desk::new();
    desk.ok("put s.toml --tree a k v");
    // More acknowledgements than a pipe holds: as long as nobody reads them, the load does not end.
    let rows: String = (0..40_000).map(|n| format!("{n},{n}\n")).collect();
    desk.file("rows.csv", rows);
    let mut load =
        desk.command("load s.toml rows.csv --tree b --key 0 --no-header --batch 4 --ack");
    load.stdout(Stdio::piped());
    let mut child = load.spawn().unwrap();
    let mut ack = [0; 9];
    child.stdout.as_mut().unwrap().read_exact(&mut ack).unwrap();
    let holder = format!("process {}", child.id());
    let said = desk.run("put s.toml --tree a k v2");
    child.kill().unwrap();
    child.wait().unwrap();
    said.expect("put", 1, &["is being written by", &holder]);
    assert_eq!(desk.ok("get s.toml --tree a k"), "v");
}

#[test]
fn a_stack_in_memory_takes_what_it_is_given_and_forgets_it() {
    let desk = Desk::new();
    desk.file(
        "m.toml",
        "level = \"memory\"\n[[layer]]\nuse = \"memory\"\n",
    );
    let said = desk.run("put m.toml --tree a k v --json");
    assert_eq!(said.json()[0]["level"], "memory");
    desk.fails("get m.toml --tree a k", 1, &["no tree a"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of a device that is full")]
fn output_that_cannot_be_written_is_told() {
    let Ok(full) = std::fs::File::create("/dev/full") else {
        return;
    };
    let desk = Desk::new();
    desk.ok("put s.toml --tree t k v");
    for line in ["get s.toml --tree t k", "roots s.toml", "check s.toml"] {
        let mut command = desk.command(line);
        let output = command.stdout(full.try_clone().unwrap()).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(words.contains("writing the output"), "{line}: {words}");
    }
}
