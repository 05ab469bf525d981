//! `kill -9` in the middle of a load, again and again in one directory, and then in another.
//!
//! After each kill the stack is opened anew, every row that was acknowledged must be there as it was
//! in the file, and `verify` must find nothing; then the load goes on. `TRAVERTINE_KILLS` says how
//! often (12 if not told), `TRAVERTINE_SEED` repeats a run: the seed is printed.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod desk;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use desk::Desk;

/// Rows of one commit.
const BATCH: u64 = 200;
/// Kills in one directory: each check reads all that lies there.
const KILLS: u64 = 20;
/// Commits for each kill, about half of which it lets happen.
const COMMITS: u64 = 12;

struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % most.max(1)
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap())
}

/// Keys in no order, each once: an odd factor permutes the numbers below a power of two.
fn key(row: u64) -> String {
    format!("{:08x}", row.wrapping_mul(0x9E37_79B1) & 0xFFFF_FFFF)
}

fn value(row: u64) -> String {
    format!("row {row} {}", "x".repeat((row * row % 97) as usize))
}

/// Starts a load and kills it: after some acknowledgements and a little while, or while it opens the
/// stack. Returns the last number it acknowledged.
#[expect(
    clippy::disallowed_methods,
    reason = "the moment of the kill is random"
)]
fn load_and_kill(desk: &Desk, dice: &mut Dice, acks: u64) -> Option<u64> {
    let line = format!("load s.toml rows.csv --tree t --key k --batch {BATCH} --ack --resume");
    let mut load = desk.command(&line);
    load.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = load.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = None;
    let mut note = |line: std::io::Result<String>| {
        let line = line.unwrap();
        let rows = line.strip_prefix("committed ").unwrap();
        last = Some(rows.parse::<u64>().unwrap());
    };
    for line in said.by_ref().take(acks as usize) {
        note(line);
    }
    std::thread::sleep(Duration::from_micros(dice.below(4000)));
    child.kill().unwrap();
    said.for_each(note);
    child.wait().unwrap();
    last
}

/// Every acknowledged row is there, and whatever else is there is of the file.
fn check(desk: &Desk, acknowledged: u64, place: &str) -> u64 {
    if acknowledged == 0 && desk.run("count s.toml --tree t").code != 0 {
        return 0;
    }
    let rows = desk
        .ok("count s.toml --tree t")
        .trim()
        .parse::<u64>()
        .unwrap();
    assert!(
        rows >= acknowledged,
        "{place}: {rows} rows are there, {acknowledged} were acknowledged"
    );
    // A commit is some rows from the start of the file, and the position behind them.
    let root = desk.ok("root s.toml load/t");
    let position = &desk
        .run(&format!("inspect s.toml {root} --json --body 4096"))
        .json()[0];
    let position = position["body"]["text"].as_str().unwrap().to_owned();
    assert!(
        position.contains(&format!("\"rows\":{rows},")),
        "{place}: {rows} rows, {position}"
    );
    let mut found = desk.run("scan s.toml --tree t").json();
    let mut wanted: Vec<_> = (0..rows).map(|row| (key(row), row)).collect();
    wanted.sort();
    assert_eq!(found.len(), wanted.len(), "{place}");
    for (entry, (key, row)) in found.iter_mut().zip(wanted) {
        assert_eq!(entry["key"], key.as_str(), "{place}");
        let row: serde_json::Value = serde_json::json!({"k": key, "v": value(row)});
        let stored = entry["value"].as_str().unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(stored).unwrap(),
            row,
            "{place}"
        );
    }
    rows
}

/// One directory.
const ONE: &str = "[[layer]]\nuse = \"file\"\npath = \"data\"\nsegment = \"256 KiB\"\n";

/// Three, each with a stream of its own.
const SEVERAL: &str = r#"
[[layer]]
use = "partition"
over = ["a", "b", "c"]

[stack.a]
use = "file"
path = "a"
segment = "256 KiB"

[stack.b]
use = "file"
path = "b"
segment = "256 KiB"

[stack.c]
use = "file"
path = "c"
segment = "256 KiB"
"#;

#[test]
fn nothing_acknowledged_is_lost_however_often_a_load_is_killed() {
    kill(ONE, number("TRAVERTINE_KILLS").unwrap_or(12));
}

#[test]
fn nothing_is_lost_over_several_directories_however_often_a_load_is_killed() {
    kill(
        SEVERAL,
        number("TRAVERTINE_KILLS").unwrap_or(24).div_ceil(4),
    );
}

fn kill(stack: &str, kills: u64) {
    let seed = number("TRAVERTINE_SEED").unwrap_or_else(|| RandomState::new().hash_one(kills));
    println!("{kills} kills; TRAVERTINE_SEED={seed}");
    let mut dice = Dice(seed);
    let mut left = kills;
    while left > 0 {
        let some = left.min(KILLS);
        kill_so_often(stack, some, seed, &mut dice);
        left -= some;
    }
}

/// Kills a load so often in one place, which is then loaded to its end.
fn kill_so_often(stack: &str, kills: u64, seed: u64, dice: &mut Dice) {
    let desk = Desk::new();
    desk.file("s.toml", stack);
    let total = kills * COMMITS * BATCH + BATCH / 2;
    let rows: String = (0..total)
        .map(|row| format!("{},{}\n", key(row), value(row)))
        .collect();
    desk.file("rows.csv", format!("k,v\n{rows}"));
    let (mut acknowledged, mut while_opening, mut recovered_twice) = (0, 0, 0);
    for kill in 0..kills {
        let place = format!("seed {seed}, kill {kill}");
        // One kill in four comes while the stack is opened, and some of those come twice.
        let acks = match dice.below(4) {
            0 => 0,
            _ => 1 + dice.below(COMMITS - 1),
        };
        while_opening += u64::from(acks == 0);
        acknowledged = load_and_kill(&desk, dice, acks)
            .unwrap_or(0)
            .max(acknowledged);
        if dice.below(3) == 0 {
            recovered_twice += 1;
            let again = load_and_kill(&desk, dice, 0).unwrap_or(0);
            acknowledged = acknowledged.max(again);
        }
        let rows = check(&desk, acknowledged, &place);
        acknowledged = acknowledged.max(rows);
        if rows > 0 {
            let said = desk.run("verify s.toml");
            assert_eq!(said.code, 0, "{place}: {said:?}");
        }
    }
    let ended = desk.ok(&format!(
        "load s.toml rows.csv --tree t --key k --batch {BATCH} --resume"
    ));
    assert!(
        ended.starts_with(&format!("{total} rows of rows.csv are in t: no key")),
        "{ended}"
    );
    assert_eq!(check(&desk, total, "at the end"), total);
    // The rows, loaded in one go into another stack, are exported with the same bytes.
    desk.file("o.toml", "[[layer]]\nuse = \"file\"\npath = \"other\"\n");
    desk.ok("load o.toml rows.csv --tree t --key k");
    assert!(desk.run("export s.toml").out == desk.run("export o.toml").out);
    assert_eq!(desk.run("verify s.toml").code, 0);
    println!(
        "{acknowledged} of {total} rows were acknowledged before the last kill; {while_opening} \
         kills while opening, {recovered_twice} more after another"
    );
}
