//! `backup` and `restore`: what comes back of it, and what is said of a damaged one.

mod desk;

use desk::Desk;

fn two() -> Desk {
    let desk = Desk::new();
    desk.file("o.toml", "[[layer]]\nuse = \"file\"\npath = \"other\"\n");
    desk
}

#[test]
fn any_commit_of_an_incremental_backup_comes_back() {
    let desk = two();
    let rows: String = (0..2000).map(|n| format!("{n:05},row {n}\n")).collect();
    desk.file("rows.csv", rows);
    desk.ok("load s.toml rows.csv --tree t --key 0 --no-header --batch 500");
    let first = desk.run("backup s.toml kept --json").json();
    let again = desk.ok("backup s.toml kept");
    assert_eq!(again, "nothing is new\n");
    desk.ok("put s.toml --tree t 00001 other");
    desk.ok("put s.toml --tree u k v");
    let second = desk.run("backup s.toml kept --json").json();
    assert_eq!(second[0]["first"], first[0]["last"].as_u64().unwrap() + 1);
    assert!(second[0]["records"].as_u64() < first[0]["records"].as_u64());
    let list = desk.run("backup --list kept --json").json();
    assert_eq!(list, [&first[..], &second[..]].concat());
    assert!(desk.ok("backup --verify kept").contains("all is well"));
    let last = second[0]["last"].as_u64().unwrap();
    for at in [2, last - 1, last] {
        desk.file(
            "n.toml",
            format!("[[layer]]\nuse = \"file\"\npath = \"at{at}\"\n"),
        );
        desk.ok(&format!("restore kept n.toml --at {at}"));
        let wanted = desk.ok(&format!("export s.toml --at {at}"));
        assert_eq!(desk.ok("export n.toml"), wanted, "commit {at}");
        assert!(desk.ok("verify n.toml").contains("all is well"));
    }
    desk.ok("restore kept o.toml --history");
    assert_eq!(desk.run("roots o.toml --json").json().len() as u64, last);
    assert_eq!(desk.ok("export o.toml"), desk.ok("export s.toml"));
    desk.fails("restore kept o.toml", 2, &["holds something else"]);
    desk.fails("restore kept n.toml --at 77", 2, &["holds something else"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of a damaged file")]
fn a_damaged_backup_is_told_and_not_restored() {
    let desk = two();
    desk.ok("put s.toml --tree t k a-value-to-be-found");
    desk.ok("backup s.toml kept");
    let chunk = desk.path().join("kept/chunk-00000001");
    let mut bytes = std::fs::read(&chunk).unwrap();
    let value = b"a-value-to-be-found";
    let found = bytes.windows(value.len()).position(|some| some == value);
    bytes[found.unwrap()] ^= 1;
    std::fs::write(&chunk, bytes).unwrap();
    let said = desk.fails("backup --verify kept", 1, &["damaged"]);
    assert!(said.text().contains("chunk-00000001 at byte"), "{said:?}");
    desk.fails("restore kept o.toml", 1, &["chunk-00000001 at byte"]);
    desk.fails("backup --list nix", 1, &["no backup in nix"]);
    desk.fails("backup s.toml", 2, &["DIR"]);
    desk.ok("put o.toml --tree t k other");
    desk.fails("backup o.toml kept", 2, &["not one of this stack"]);
}

#[test]
fn a_directory_of_something_else_is_refused_and_left_as_it_was() {
    let desk = two();
    desk.ok("put s.toml --tree t k v");
    desk.ok("put o.toml --tree t k v");
    let names = |directory: &str| -> Vec<_> {
        let files = desk.bytes_of(directory).into_iter();
        files.map(|(path, _)| path).collect()
    };
    for directory in ["data", "other"] {
        let before = names(directory);
        let line = format!("backup s.toml {directory}");
        desk.fails(&line, 2, &["no backup, and not empty either"]);
        assert_eq!(names(directory), before);
    }
    desk.ok("backup s.toml kept");
    desk.file("kept/notes.txt", "mine");
    desk.fails("backup s.toml kept", 2, &["notes.txt"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of damaged files")]
fn what_came_before_a_damaged_run_is_restored_all_the_same() {
    let desk = two();
    for run in ["one", "two", "three"] {
        desk.ok(&format!("put s.toml --tree t k {run}"));
        desk.ok("backup s.toml kept");
    }
    let flip = |name: &str| {
        let path = desk.path().join("kept").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    for (at, name) in ["run-00000002", "chunk-00000002"].into_iter().enumerate() {
        flip(name);
        let verified = desk.fails("backup --verify kept", 1, &["1 things are damaged"]);
        let said = verified.text();
        assert!(said.contains("1 run with 1 commit"), "{said}");
        assert!(said.contains("DAMAGED     run 2: corrupt"), "{said}");
        assert!(said.contains(name), "{said}");
        desk.fails("backup --list kept", 1, &["run 2 of the backup is damaged"]);
        // Of the lock: who tried.
        let files = || {
            let mut files = desk.bytes_of("kept");
            files.retain(|(path, _)| !path.ends_with("lock"));
            files
        };
        let before = files();
        desk.fails("backup s.toml kept", 1, &["run 2", "another directory"]);
        assert!(files() == before, "something was written");
        desk.file(
            "n.toml",
            format!("[[layer]]\nuse = \"file\"\npath = \"at{at}\"\n"),
        );
        // Which commit is the newest nobody knows.
        for line in ["", " --at 2", " --at 2099-01-01T00:00:00Z"] {
            let line = format!("restore kept n.toml{line}");
            desk.fails(&line, 1, &["run 2 of the backup is damaged", "--at 1"]);
        }
        desk.ok("restore kept n.toml --at 1");
        assert_eq!(desk.ok("get n.toml --tree t k"), "one");
        flip(name);
    }
    std::fs::remove_file(desk.path().join("kept/chunk-00000003")).unwrap();
    desk.fails("backup --list kept", 1, &["chunk-00000003", "missing"]);
}

#[test]
fn a_tag_names_the_commit_to_restore() {
    let desk = two();
    desk.ok("put s.toml --tree t k one");
    desk.ok("tag s.toml first");
    desk.ok("put s.toml --tree t k two");
    desk.ok("backup s.toml kept");
    desk.fails("restore kept o.toml --at nix", 2, &["nor a tag"]);
    desk.ok("restore kept o.toml --at first");
    assert_eq!(desk.ok("get o.toml --tree t k"), "one");
}
