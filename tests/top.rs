//! `travertine top` on a stack that another process, here the test, has open.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod desk;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use desk::Desk;
use travertine::config::{Overrides, StackFile};
use travertine::contract::Env;
use travertine::front::Engine;
use travertine::stack::Stack;

const STACK: &str = r#"
level = "memory"

[[layer]]
use = "monitor"
serve = "127.0.0.1:0"
slow = "1 min"
moderate = { sync = { slow = "10 min" } }

[[layer]]
use = "cache"
name = "front"
memory = "64 KiB"

[[layer]]
use = "memory"
"#;

fn open(desk: &Desk) -> (Stack, Engine, u64) {
    let registry = travertine::standard();
    let file = StackFile::parse(
        "top.toml",
        STACK,
        desk.path(),
        &registry,
        &Overrides::none(),
    );
    let (stack, engine) = file.unwrap().engine(&Env::system(), false).unwrap();
    engine.session().unwrap().commit(&[], None).wait().unwrap();
    let figures = stack.status().figures;
    let port = figures.iter().find(|(name, _)| *name == "port").unwrap().1;
    (stack, engine, port)
}

#[test]
fn one_look_is_a_row_for_each_floor_and_verb() {
    let desk = Desk::new();
    let (_stack, engine, port) = open(&desk);
    let said = desk.ok(&format!("top 127.0.0.1:{port} --once"));
    let head = format!("127.0.0.1:{port}: writes accepted; ok\n");
    assert!(said.starts_with(&head), "{said}");
    assert!(said.contains("moderation ok, 0 refused"), "{said}");
    assert!(said.contains("0 slow calls"), "{said}");
    let row = |line: &str| line.contains(" commit ") && line.ends_with(" 1       0");
    assert_eq!(said.lines().filter(|line| row(line)).count(), 2, "{said}");
    assert!(said.contains("cache \"front\""), "{said}");
    assert!(said.contains("\n   memory"), "{said}");
    assert!(!said.contains('\x1b'), "{said}");
    engine.close().unwrap();
}

#[test]
fn for_programs_each_second_is_a_line() {
    let desk = Desk::new();
    let (_stack, engine, port) = open(&desk);
    let line = desk.ok(&format!("top http://127.0.0.1:{port}/ --json --once"));
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["floors"][1]["verbs"]["commit"]["calls"], 1);
    // Whoever reads some of it and goes away ends it, and that is no fault.
    let command = format!("top 127.0.0.1:{port} --json");
    let mut top = desk
        .command(&command)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    }
    drop(lines);
    assert_eq!(top.wait().unwrap().code(), Some(0));
    // It ends when the stack is closed.
    let mut top = desk
        .command(&command)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    engine.close().unwrap();
    assert!(lines.all(|line| line.is_ok()));
    assert_eq!(top.wait().unwrap().code(), Some(0));
}

#[test]
fn where_nothing_is_served_it_says_so() {
    let desk = Desk::new();
    let said = desk.run("top s.toml --once");
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("serves no figures"), "{said:?}");
    desk.file("free.toml", STACK);
    let said = desk.run("top free.toml");
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("free port"), "{said:?}");
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let said = desk.run(&format!("top 127.0.0.1:{port}"));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("no monitor is heard"), "{said:?}");
    let said = desk.run("top https://127.0.0.1:1/");
    assert_eq!(said.code, 2, "{said:?}");
}

#[test]
fn the_log_says_as_much_as_is_wanted() {
    let desk = Desk::new();
    let quiet = desk.run("put s.toml --tree it key value --quiet");
    let told = desk.run("count s.toml --tree it -v");
    assert!(!quiet.err.contains("INFO"), "{quiet:?}");
    assert!(
        told.err.contains("INFO") && !told.err.contains("DEBUG"),
        "{told:?}"
    );
    let calls = desk.run("roots s.toml -vvv --log json");
    let lines = calls.err.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<serde_json::Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let call = |line: &&serde_json::Value| line["target"] == "travertine::calls";
    assert!(lines.iter().any(|line| call(&line)), "{calls:?}");
    let both = desk.run("roots s.toml -v -q");
    assert_eq!(both.code, 2, "{both:?}");
    let help = desk.ok("roots --help");
    for option in ["--verbose", "--quiet", "--log <FORM>", "TRAVERTINE_LOG"] {
        assert!(help.contains(option), "{help}");
    }
}
