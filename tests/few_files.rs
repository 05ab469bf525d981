//! A process that may have few files open loads, reads and verifies a log of hundreds of segments.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod desk;

use std::process::Command;

use desk::{Desk, SOLO};

/// Open files that are allowed, standard streams among them.
const FILES: &str = "64";

/// Runs the program with no more than so many files open; it must do well.
fn frugal(desk: &Desk, line: &str) -> String {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "ulimit -Sn {FILES} && ulimit -Hn {FILES} && exec \"$0\" {line}"
        ))
        .arg(env!("CARGO_BIN_EXE_travertine"))
        .current_dir(desk.path())
        .env_remove("TRAVERTINE_SET")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{line}` said {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn loads(stack: &str, parts: usize) {
    let desk = Desk::new();
    desk.file("s.toml", stack);
    let rows: String = (0..40_000)
        .map(|row| format!("{row:06},{}\n", "x".repeat(1100)))
        .collect();
    desk.file("rows.csv", rows);
    frugal(
        &desk,
        "load s.toml rows.csv --tree t --key 0 --no-header --batch 20",
    );
    assert_eq!(frugal(&desk, "count s.toml --tree t"), "40000\n");
    let rows = frugal(&desk, "scan s.toml --tree t");
    assert_eq!(rows.lines().count(), 40_000);
    assert!(frugal(&desk, "verify s.toml").contains("all is well"));
    let status = &desk.run("inspect s.toml --json").json()[0];
    let found = status["below"][0]["parts"].as_array().unwrap().len();
    assert!(found >= parts, "{found} parts");
}

#[test]
fn a_log_of_hundreds_of_segments_needs_few_open_files() {
    for read in ["mmap", "pread", "uring"] {
        loads(
            &format!("{SOLO}segment = \"64 KiB\"\nread = \"{read}\"\n"),
            300,
        );
    }
}

#[test]
fn a_sequence_of_many_parts_needs_few_open_files() {
    let sequence = "[[layer]]\nuse = \"sequence\"\nsegment = \"1 MiB\"\n";
    loads(&format!("{sequence}{SOLO}segment = \"64 KiB\"\n"), 20);
}
