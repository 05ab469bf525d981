//! `collection`: what it prints, how it fails, and that it can be filled and read by lines of JSON.

mod desk;

use desk::Desk;

#[test]
fn rows_are_put_read_scanned_and_taken_away() {
    let desk = Desk::new();
    let tree =
        |what: &str, rest: &str| format!("collection {what} s.toml --collection people {rest}");
    desk.fails(&tree("get", "ada"), 1, &["no collection people", "create"]);
    assert_eq!(desk.ok(&tree("create", "--kind tree")), "revision 1\n");
    assert_eq!(
        desk.ok(&tree("create", "--kind tree")),
        "revision 1\n",
        "as it is"
    );
    desk.fails(
        &tree("create", "--kind diary"),
        2,
        &["people is a tree, and no diary"],
    );
    desk.fails(&tree("append", "1"), 2, &["people is a tree, and no diary"]);
    assert_eq!(desk.ok(&tree("put", "ada 1815")), "revision 2\n");
    desk.ok(&tree("put", "grace plain"));
    assert_eq!(desk.ok(&tree("get", "ada")), "1815\n");
    assert_eq!(desk.ok(&tree("get", "grace")), "\"plain\"\n");
    let all = "{\"key\":\"ada\",\"value\":1815}\n{\"key\":\"grace\",\"value\":\"plain\"}\n";
    assert_eq!(desk.ok(&tree("scan", "")), all);
    let last = desk.ok(&tree("scan", "--reverse --limit 1"));
    assert_eq!(last, all.lines().last().unwrap().to_owned() + "\n");
    assert_eq!(desk.ok(&tree("scan", "--from b")), last);
    desk.ok(&tree("del", "ada"));
    desk.fails(&tree("get", "ada"), 1, &["no ada in people"]);
    let verified = desk.ok(&tree("verify", ""));
    assert!(
        verified.contains("4 entries of the log") && verified.contains("1 rows"),
        "{verified}"
    );
    let log = desk.run(&tree("log", "--reverse --limit 2")).json();
    let revisions: Vec<_> = log
        .iter()
        .map(|line| line["revision"].as_u64().unwrap())
        .collect();
    assert_eq!(revisions, [4, 3]);
}

#[test]
fn a_diary_keeps_what_is_appended_in_order() {
    let desk = Desk::new();
    desk.ok("collection create s.toml --collection log --kind diary");
    desk.ok("collection append s.toml --collection log {\"n\":1}");
    desk.ok("collection append s.toml --collection log two");
    let all = desk.ok("collection scan s.toml --collection log");
    assert_eq!(all, "{\"n\":1}\n\"two\"\n");
    assert_eq!(
        desk.ok("collection scan s.toml --collection log --reverse --limit 1"),
        "\"two\"\n"
    );
    desk.fails(
        "collection scan s.toml --collection log --from a",
        2,
        &["no keys"],
    );
    desk.fails(
        "collection put s.toml --collection log a 1",
        2,
        &["log is a diary, and no tree"],
    );
    // What other commands see of it is sound.
    desk.ok("verify s.toml");
}

#[test]
fn lines_go_in_and_come_out_and_a_bad_line_is_named() {
    let desk = Desk::new();
    desk.ok("collection create s.toml --collection people --kind tree");
    let lines: String = (0..2500)
        .map(|n| format!("{{\"key\":\"{n:05}\",\"value\":{{\"n\":{n}}}}}\n"))
        .collect();
    let sync = "collection sync s.toml --collection people";
    let said = desk.run_with(sync, lines.as_bytes()).text();
    assert_eq!(said, "2500 lines, revision 4\n");
    assert_eq!(desk.ok("collection scan s.toml --collection people"), lines);
    let gone = b"{\"key\":\"00000\",\"delete\":true}\n\n{\"key_b64\":\"/w==\",\"value\":[1]}";
    assert_eq!(desk.run_with(sync, gone).text(), "3 lines, revision 5\n");
    let last = desk.ok("collection scan s.toml --collection people --reverse --limit 1");
    assert_eq!(last, "{\"key_b64\":\"/w==\",\"value\":[1]}\n");
    for (bad, why) in [
        (
            &b"{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\"}\n"[..],
            "line 2: a row has a value",
        ),
        (b"{\"value\":1}", "line 1: a row has one key"),
        (b"nonsense", "line 1"),
        (b"\xff\n", "line 1: it is not UTF-8"),
        (b"{\"key\":\"a\",\"valu\":1}", "unknown field"),
    ] {
        let failed = desk.run_with(sync, bad);
        assert_eq!(failed.code, 2, "{why}");
        assert!(failed.err.contains(why), "{}", failed.err);
    }
    assert!(
        desk.ok("collection scan s.toml --collection people --from a --limit 1")
            .contains("/w==")
    );
    desk.fails(&format!("{sync} --batch 0"), 2, &["1..=100000"]);
}
