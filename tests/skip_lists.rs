//! Every command on a tree that is a skip list: it does what it does to a B-tree, and keeps the kind.

mod desk;

use desk::Desk;

/// A skip list of 3,000 rows beside a B-tree of the same, the second half of both loaded later.
fn loaded() -> Desk {
    let desk = Desk::new();
    let rows = |range: std::ops::Range<u32>| -> String {
        range.map(|n| format!("{n:05},row {n}\n")).collect()
    };
    desk.file("first.csv", rows(0..1500));
    desk.file("second.csv", rows(1500..3000));
    for (tree, index) in [("list", "skiplist"), ("plain", "btree")] {
        desk.ok(&format!(
            "load s.toml first.csv --tree {tree} --key 0 --no-header --batch 400 --index {index}"
        ));
        desk.ok(&format!(
            "load s.toml second.csv --tree {tree} --key 0 --no-header"
        ));
    }
    desk
}

#[expect(clippy::unwrap_used, reason = "a test, which fails where it unwraps")]
fn index_of(desk: &Desk, tree: &str) -> String {
    let facts = &desk.run("verify s.toml --json").json()[0];
    let trees = facts["trees"].as_array().unwrap();
    let found = trees.iter().find(|found| found["name"] == tree).unwrap();
    found["index"].as_str().unwrap().to_owned()
}

#[test]
fn a_skip_list_answers_as_a_b_tree_does_and_stays_one() {
    let desk = loaded();
    let both = |line: &str| {
        let said = desk.ok(&line.replace("TREE", "list"));
        assert_eq!(said, desk.ok(&line.replace("TREE", "plain")), "{line}");
        said
    };
    // One small commit lies in the journal, a second is what `--at` leaves out.
    for line in [
        "put s.toml --tree TREE 00007x new",
        "del s.toml --tree TREE 00008",
    ] {
        both(line);
    }
    assert_eq!(both("count s.toml --tree TREE"), "3000\n");
    assert_eq!(both("get s.toml --tree TREE 00007x"), "new");
    assert_eq!(both("scan s.toml --tree TREE").lines().count(), 3000);
    both("scan s.toml --tree TREE --from 00100 --to 00900 --reverse --limit 40");
    for tree in ["list", "plain"] {
        desk.fails(&format!("get s.toml --tree {tree} 00008"), 1, &["no key"]);
    }
    assert_eq!(index_of(&desk, "list"), "skip list");
    assert_eq!(index_of(&desk, "plain"), "B-tree");
    let told = desk.ok("verify s.toml");
    assert!(told.contains("skip list   list: 3000 entries"), "{told}");
    let told = desk.ok("inspect s.toml --space");
    assert!(
        told.contains("  skip list\n") && told.contains("  B-tree\n"),
        "{told}"
    );
    assert!(desk.ok("roots s.toml").contains(" list"));
}

#[test]
fn a_tree_that_is_there_is_not_loaded_as_another_kind() {
    let desk = loaded();
    let line = "load s.toml first.csv --tree plain --key 0 --no-header --index skiplist";
    desk.fails(line, 2, &["plain is a B-tree already"]);
    let line = "load s.toml first.csv --tree other --key 0 --no-header --index heap";
    desk.fails(line, 2, &["btree", "skiplist"]);
    // The one that is named is no fault.
    desk.ok("load s.toml first.csv --tree list --key 0 --no-header --index skiplist");
    desk.file("none.csv", "");
    desk.ok("load s.toml none.csv --tree none --key 0 --no-header --index skiplist");
    desk.ok("load s.toml first.csv --tree none --key 0 --no-header --index skiplist");
    assert_eq!(index_of(&desk, "none"), "skip list");
}

#[test]
fn with_its_last_entry_a_skip_list_goes_and_its_name_may_be_anything() {
    let desk = Desk::new();
    desk.file("one.csv", "k,v\n1,a\n");
    desk.ok("load s.toml one.csv --tree t --key k --index skiplist");
    desk.ok("del s.toml --tree t 1");
    desk.fails("count s.toml --tree t", 1, &["there is no tree t"]);
    desk.ok("put s.toml --tree t 1 again");
    assert_eq!(index_of(&desk, "t"), "B-tree");
    // Two states of two kinds are compared as any others.
    let said = desk.ok("diff s.toml --tree t --from 1");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn two_states_of_a_skip_list_are_told_apart() {
    let desk = loaded();
    desk.ok("tag s.toml before");
    desk.ok("put s.toml --tree list 00007 seven");
    desk.ok("del s.toml --tree list 02999");
    desk.ok("put s.toml --tree list new one");
    let said = desk.ok("diff s.toml --tree list --from before");
    let signs: Vec<_> = said.lines().map(|line| &line[..7]).collect();
    assert_eq!(signs, ["~ 00007", "- 02999", "+ new  "], "{said}");
    let said = desk.ok("follow s.toml --tree list --from 1 --no-wait --json");
    let rows = said.lines().filter(|line| line.contains("\"key\""));
    assert_eq!(rows.count(), 3003);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of damaged files")]
fn damage_in_a_skip_list_is_told_with_its_place() {
    let desk = loaded();
    // Down the first edges, to a run of entries.
    let mut oid = desk.ok("root s.toml list").trim().to_owned();
    loop {
        let facts = &desk.run(&format!("inspect s.toml {oid} --json")).json()[0];
        assert_eq!(facts["kind_name"], "run of a skip list");
        match facts["references"][0]["oid"].as_str() {
            Some(below) => oid = below.to_owned(),
            None => break,
        }
    }
    let row = br#"["00001","row 1"]"#;
    let mut spoilt = false;
    for (path, mut bytes) in desk.bytes_of("data") {
        let mut from = 0;
        while let Some(at) = bytes[from..]
            .windows(row.len())
            .position(|some| some == row)
        {
            bytes[from + at + 10] ^= 1;
            from += at + row.len();
            spoilt = true;
        }
        std::fs::write(path, bytes).unwrap();
    }
    assert!(spoilt);
    let said = desk.run("verify s.toml");
    assert_eq!(said.code, 1, "{said:?}");
    let place = format!("skip list list {oid}");
    assert!(said.text().contains(&place), "{place} is not in {said:?}");
}

#[test]
fn a_compacted_skip_list_is_a_skip_list_of_the_same_rows() {
    let desk = loaded();
    desk.ok("put s.toml --tree list 00007 seven");
    let before = desk.run("scan s.toml --tree list").out;
    desk.ok("reclaim s.toml --retain newest --compact");
    assert_eq!(desk.run("scan s.toml --tree list").out, before);
    assert_eq!(index_of(&desk, "list"), "skip list");
    assert_eq!(index_of(&desk, "plain"), "B-tree");
}
