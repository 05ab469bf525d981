//! `tag` and `reclaim`: what they keep, what they say, and how they fail.

mod desk;

use desk::Desk;

#[test]
fn a_tag_is_found_by_every_command_that_goes_back() {
    let desk = Desk::new();
    for value in ["one", "two", "three"] {
        desk.ok(&format!("put s.toml --tree a k {value}"));
    }
    desk.ok("tag s.toml second --at 2");
    desk.ok("tag s.toml newest");
    assert_eq!(desk.run("get s.toml --tree a k --at second").out, b"two");
    assert_eq!(desk.run("get s.toml --tree a k --at newest").out, b"three");
    let roots = desk.ok("roots s.toml");
    let line = roots.lines().find(|line| line.contains("[second]"));
    assert!(line.unwrap().trim().starts_with("2 "), "{roots}");
    let tags = desk.ok("tag s.toml");
    assert_eq!(tags.lines().count(), 2, "{tags}");
    desk.fails("tag s.toml second", 1, &["travertine/tag/second"]);
    desk.fails("tag s.toml 17", 2, &["call the tag something else"]);
    desk.ok("tag s.toml second --delete");
    desk.fails("tag s.toml second --delete", 1, &["there is no tag second"]);
    desk.fails(
        "get s.toml --tree a k --at second",
        2,
        &["nor a tag", "2026-11-21T12:00:00Z"],
    );
    // The engine's own names are no trees, and nobody is told of them as such.
    assert_eq!(desk.run("get s.toml --tree a k").out, b"three");
    desk.fails("count s.toml --tree nix", 1, &["there are: a"]);
}

#[test]
fn a_policy_that_is_none_is_refused_with_its_column() {
    let desk = Desk::new();
    desk.ok("put s.toml --tree a k v");
    let mut command = desk.command("reclaim s.toml --retain");
    let refused = command.arg("keep all 1h, hurly 2d").output().unwrap();
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{words}");
    assert!(words.contains("column 14"), "{words}");
    assert!(words.contains("`hourly`"), "{words}");
}

#[test]
fn a_dry_run_says_who_holds_what_and_changes_nothing() {
    let desk = Desk::new();
    for value in ["one", "two", "three"] {
        desk.ok(&format!("put s.toml --tree a k {value}"));
    }
    desk.ok("tag s.toml first --at 1");
    let before = desk.run("roots s.toml --json").out;
    let told = desk.ok("reclaim s.toml --retain newest --dry-run");
    for words in [
        "keep newest",
        "the newest commit",
        "the tag first",
        "dry run",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let json = desk.ok("reclaim s.toml --retain newest --dry-run --json");
    let facts: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(facts["commits_kept"], 2);
    assert!(facts["decided"].is_null());
    assert_eq!(desk.run("roots s.toml --json").out, before);
}
