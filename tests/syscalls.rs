//! One system call fails, or is the last: a load meets it at the first, second, … call of each kind.
//! Whatever was acknowledged before is found afterwards, and the rest loads.
//!
//! Needs `strace`; without it the test prints `skipped: needs strace`, which the gate turns into a
//! failure. `TRAVERTINE_INJECTIONS` says how many calls of each kind are tried (4 unless told).
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod desk;
#[path = "desk/tools.rs"]
mod tools;

use std::process::{Command, Stdio};

use desk::{Desk, SOLO};

/// Calls of the file medium, and what may become of them.
const CALLS: [&str; 9] = [
    "pwrite64",
    "pwritev",
    "pwritev2",
    "fdatasync",
    "fsync",
    "openat",
    "ftruncate",
    "rename",
    "fallocate",
];
const FATES: [&str; 3] = ["error=EIO", "error=ENOSPC", "signal=SIGKILL"];
const ROWS: usize = 60;

fn have_strace() -> bool {
    let found = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status();
    tools::have("strace", found.is_ok())
}

fn rows() -> String {
    std::iter::once("key,value\n".to_owned())
        .chain((0..ROWS).map(|row| format!("k{row:03},{}\n", "v".repeat(row * 7))))
        .collect()
}

#[test]
fn a_failing_or_last_system_call_loses_nothing_acknowledged() {
    if !have_strace() {
        return;
    }
    let most = std::env::var("TRAVERTINE_INJECTIONS")
        .ok()
        .and_then(|text| text.parse().ok());
    let mut tried = 0;
    for call in CALLS {
        for fate in FATES {
            for nth in 1..=most.unwrap_or(4) {
                tried += usize::from(injected(call, fate, nth));
            }
        }
    }
    println!("{tried} injections");
    assert!(
        tried > 20,
        "only {tried} injections took effect: are these the calls that are made?"
    );
}

#[test]
fn a_kernel_that_refuses_io_uring_is_named_and_the_reads_are_plain() {
    if !have_strace() {
        return;
    }
    let desk = Desk::new();
    desk.file("s.toml", format!("{SOLO}read = \"uring\"\n"));
    desk.file("rows.csv", rows());
    assert_eq!(desk.run("load s.toml rows.csv --tree t --key key").code, 0);
    let refused = |command: &str| {
        let out = Command::new("strace")
            .args("-f -qq -o trace -e trace=io_uring_setup -e".split(' '))
            .arg("inject=io_uring_setup:error=EPERM")
            .arg(env!("CARGO_BIN_EXE_travertine"))
            .args(command.split(' '))
            .current_dir(desk.path())
            .env_remove("TRAVERTINE_SET")
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let told = refused("explain s.toml");
    assert!(
        told.contains("copying, though io_uring was asked for")
            && told.contains("Operation not permitted"),
        "{told}"
    );
    assert_eq!(refused("get s.toml --tree t k007").trim().len(), {
        desk.run("get s.toml --tree t k007").text().trim().len()
    });
    assert_eq!(refused("verify s.toml"), desk.run("verify s.toml").text());
}

/// Runs a load in which the `nth` such call has this fate. `false`: there were fewer such calls.
fn injected(call: &str, fate: &str, nth: usize) -> bool {
    let what = format!("{call}:{fate}:when={nth}");
    let desk = Desk::new();
    desk.file("s.toml", SOLO);
    desk.file("rows.csv", rows());
    let out = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "trace",
            "-e",
            &format!("trace={call}"),
            "-e",
        ])
        .arg(format!("inject={what}"))
        .arg(env!("CARGO_BIN_EXE_travertine"))
        .args("load s.toml rows.csv --tree t --key key --batch 6 --ack".split(' '))
        .current_dir(desk.path())
        .env_remove("TRAVERTINE_SET")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!complaint.contains("panicked"), "{what}: {complaint}");
    if out.status.success() && call != "ftruncate" && !said.contains(&format!("committed {ROWS}")) {
        panic!("{what}: it says all is well, but not that {ROWS} rows are committed: {said}");
    }
    let acknowledged: usize = said
        .lines()
        .filter_map(|line| line.strip_prefix("committed ")?.parse().ok())
        .max()
        .unwrap_or(0);
    // Whoever looks finds every acknowledged row; whoever goes on loads the rest.
    if acknowledged > 0 {
        let found: usize = desk.ok("count s.toml --tree t").trim().parse().unwrap();
        assert!(
            found >= acknowledged,
            "{what}: {acknowledged} rows were acknowledged, {found} are there"
        );
    }
    let resumed = desk.run("load s.toml rows.csv --tree t --key key --batch 6 --ack --resume");
    assert_eq!(resumed.code, 0, "{what}: {}", resumed.err);
    assert_eq!(
        desk.run("count s.toml --tree t").text().trim(),
        ROWS.to_string(),
        "{what}"
    );
    let verified = desk.run("verify s.toml");
    assert_eq!(
        verified.code,
        0,
        "{what}: {}{}",
        verified.text(),
        verified.err
    );
    out.status.code() != Some(0)
}
