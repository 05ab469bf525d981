//! `follow`, `diff` and `branch`: what commits changed, and states of a tree beside each other.

mod desk;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use desk::Desk;

#[test]
fn follow_tells_every_commit_once_and_goes_on_where_it_ended() {
    let desk = Desk::new();
    desk.fails("follow s.toml", 1, &["nothing was written"]);
    for number in 1..=5 {
        desk.ok(&format!("put s.toml --tree t{} k v{number}", number % 2));
    }
    desk.ok("put s.toml --tree t1 other o");
    let told = desk.run("follow s.toml --from 1 --no-wait --json").json();
    let numbers: Vec<_> = told.iter().map(|commit| &commit["sequence"]).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let names = |commit: usize| told[commit]["changed"][0]["name"].clone();
    assert_eq!([names(0), names(1), names(5)], ["t1", "t0", "t1"]);
    let two = desk.run("follow s.toml --from 3 --limit 2 --json").json();
    assert_eq!(two[..], told[2..4]);
    assert_eq!(desk.ok("follow s.toml --from 7 --no-wait"), "");
    let rows = desk.run("follow s.toml --tree t1 --from 1 --no-wait --json");
    let rows = rows.json();
    let rows: Vec<_> = rows.iter().filter(|row| row.get("key").is_some()).collect();
    let row = |row: usize| rows[row].to_string();
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert_eq!(row(0), r#"{"sequence":1,"key":"k","new":"v1"}"#);
    assert_eq!(row(1), r#"{"sequence":3,"key":"k","old":"v1","new":"v3"}"#);
    assert_eq!(row(3), r#"{"sequence":6,"key":"other","new":"o"}"#);
    assert!(desk.ok("follow s.toml --from 3 --no-wait").contains("t1"));
}

#[test]
fn a_follower_in_another_process_is_told_what_lands_later() {
    let desk = Desk::new();
    desk.ok("put s.toml --tree t k v1");
    let mut command = desk.command("follow s.toml --from 1 --limit 4 --every 5ms --json --tree t");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next =
        || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    for number in 1..=4 {
        if number > 1 {
            desk.ok(&format!("put s.toml --tree t k v{number}"));
        }
        assert_eq!(next()["sequence"], number);
        let row = next();
        assert_eq!(row["new"], format!("v{number}"), "{row}");
    }
    assert!(child.wait().unwrap().success());
}

#[test]
fn follow_says_which_commits_were_reclaimed() {
    let desk = Desk::new();
    for number in 1..=9 {
        desk.ok(&format!("put s.toml --tree t k v{number}"));
    }
    desk.ok("reclaim s.toml --retain newest");
    let told = desk.run("follow s.toml --from 2 --no-wait --json").json();
    let freed = &told[0];
    assert_eq!(freed["freed"][0], 2);
    assert_eq!(told[1]["sequence"], freed["oldest"]);
    assert!(told[1]["changed"].is_null(), "{told:?}");
    let text = desk.ok("follow s.toml --from 2 --no-wait");
    assert!(text.contains("commits 2 to "), "{text}");
}

#[test]
fn diff_tells_what_was_added_deleted_and_changed() {
    let desk = Desk::new();
    let rows: String = (0..3000).map(|n| format!("{n:05},row {n}\n")).collect();
    desk.file("rows.csv", rows);
    desk.ok("load s.toml rows.csv --tree t --key 0 --no-header");
    desk.ok("tag s.toml loaded");
    desk.ok("put s.toml --tree t 00700 other");
    desk.ok("put s.toml --tree t 9 new");
    desk.ok("del s.toml --tree t 01000");
    let told = desk.run("diff s.toml --tree t --from loaded --json").json();
    let keys: Vec<_> = told
        .iter()
        .map(|row| row["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["00700", "01000", "9"]);
    assert_eq!(told[0]["new"], "other");
    assert!(told[1].get("new").is_none() && told[2].get("old").is_none());
    let text = desk.ok("diff s.toml --tree t --from loaded");
    let signs: String = text.lines().map(|line| &line[..1]).collect();
    assert_eq!(signs, "~-+", "{text}");
    assert_eq!(desk.ok("diff s.toml --tree t --from 1 --to 1"), "");
    assert_eq!(
        desk.ok("diff s.toml --tree t --from loaded --limit 1")
            .lines()
            .count(),
        1
    );
    desk.fails("diff s.toml --tree nix --from 1", 1, &["no tree nix"]);
    desk.fails("diff s.toml --tree t --from 99", 1, &["no commit 99"]);
}

#[test]
fn a_branch_has_what_the_tree_had_and_goes_its_own_way() {
    let desk = Desk::new();
    desk.ok("put s.toml --tree t k old");
    desk.ok("put s.toml --tree t k new");
    let told = desk.ok("branch s.toml before --tree t --at 1");
    assert_eq!(told, "before begins with commit 3\n");
    desk.ok("put s.toml --tree before more m");
    let tried = desk.ok("diff s.toml --tree before --from 3");
    assert_eq!(tried, "+ more  m\n");
    assert_eq!(desk.ok("get s.toml --tree before k"), "old");
    assert_eq!(desk.ok("get s.toml --tree t k"), "new");
    assert_eq!(desk.ok("count s.toml --tree t"), "1\n");
    desk.fails("branch s.toml before --tree t", 2, &["already"]);
    desk.fails("branch s.toml b --tree nix", 1, &["no tree nix"]);
    assert!(desk.ok("verify s.toml").contains("all is well"));
}
