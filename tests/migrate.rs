//! `migrate`, `check --from`, `check --disk` and `inspect DIR`: what a user does who changes a stack.
#![expect(clippy::disallowed_methods, reason = "a test of files")]

mod desk;

use desk::{Desk, SOLO};

const LIST: &str = "[[layer]]\nuse = \"cache\"\n[[layer]]\nuse = \"sequence\"\nsegment = \"64 KiB\"\n\
                    over = [{ use = \"file\", path = \"a\" }, { use = \"file\", path = \"b\" }]\n";

/// A desk whose first stack has trees, a large value, a dropped row and some commits.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.file("list.toml", LIST);
    let rows: String = (0..500)
        .map(|n| format!("{{\"id\":\"r{n:04}\",\"v\":{n}}}\n"))
        .collect();
    desk.file("rows.ndjson", rows);
    desk.ok("load s.toml rows.ndjson --tree rows --key id");
    for n in 0..5 {
        desk.ok(&format!("put s.toml --tree small key-{n} value-{n}"));
    }
    let large = desk.run_with("put s.toml --tree small large -", &vec![b'x'; 300_000]);
    assert_eq!(large.code, 0, "{large:?}");
    desk.ok("del s.toml --tree small key-3");
    desk
}

fn sequences(desk: &Desk, stack: &str) -> usize {
    desk.ok(&format!("roots {stack} --limit 1000 --json"))
        .lines()
        .count()
}

#[test]
fn everything_of_the_newest_commit_arrives_and_is_compared() {
    let desk = desk();
    let before = desk.bytes_of("data");
    let said = desk.ok("migrate s.toml list.toml");
    assert!(
        said.contains("1 commit with 3 names") && said.contains("compared"),
        "{said}"
    );
    assert_eq!(desk.ok("export s.toml"), desk.ok("export list.toml"));
    desk.ok("verify list.toml");
    assert_eq!(sequences(&desk, "list.toml"), 1);
    assert!(desk.bytes_of("data") == before, "the source was changed");
    // Once more is nothing more.
    let said = desk.ok("migrate s.toml list.toml");
    assert!(
        said.contains("(0 written now)") && said.contains("1 commit had been"),
        "{said}"
    );
    assert_eq!(sequences(&desk, "list.toml"), 1);
}

#[test]
fn tags_of_what_is_copied_are_copied_and_once() {
    let desk = desk();
    desk.ok("tag s.toml before");
    desk.ok("put s.toml --tree small later 1");
    desk.ok("tag s.toml now");
    for history in ["", " --history"] {
        let call = format!("migrate s.toml list.toml{history}");
        for _ in 0..2 {
            let said = desk.ok(&call);
            let left = "1 tag of other commits left behind";
            assert_eq!(said.contains(left), history.is_empty(), "{said}");
            let told = desk.ok("tag list.toml");
            assert!(told.contains("now"), "{told}");
            assert_eq!(told.contains("before"), !history.is_empty(), "{told}");
        }
        for part in ["a", "b"] {
            std::fs::remove_dir_all(desk.path().join(part)).unwrap();
        }
    }
}

#[test]
fn with_history_every_commit_can_be_read_in_the_copy() {
    let desk = desk();
    desk.ok("migrate s.toml list.toml --history");
    assert_eq!(sequences(&desk, "s.toml"), sequences(&desk, "list.toml"));
    for commit in [2, 5, 8] {
        let export = |stack: &str| desk.ok(&format!("export {stack} --at {commit}"));
        assert_eq!(export("s.toml"), export("list.toml"), "commit {commit}");
    }
    // What was broken off is gone on with: here, what was added since.
    desk.ok("put s.toml --tree small more later");
    let said = desk.ok("migrate s.toml list.toml --history --json");
    assert!(said.contains("\"there_before\":8"), "{said}");
    assert_eq!(desk.ok("export s.toml"), desk.ok("export list.toml"));
}

#[test]
fn a_target_that_holds_something_else_is_left_as_it_is() {
    let desk = desk();
    desk.ok("put list.toml --tree mine key value");
    let words = ["the second stack holds something else"];
    desk.fails("migrate s.toml list.toml", 2, &words);
    desk.fails("migrate s.toml list.toml --history", 2, &words);
    assert_eq!(sequences(&desk, "list.toml"), 1);
    desk.file(
        "same.toml",
        "[[layer]]\nuse = \"monitor\"\n".to_owned() + SOLO,
    );
    desk.fails("migrate s.toml same.toml", 2, &["both stacks lie in"]);
    desk.file(
        "ram.toml",
        "level = \"memory\"\n[[layer]]\nuse = \"memory\"\n",
    );
    desk.fails("migrate s.toml ram.toml", 2, &["keeps nothing"]);
}

#[test]
fn damage_in_the_source_ends_the_copy_with_its_place() {
    let desk = desk();
    let segment = desk.bytes_of("data");
    let (path, mut bytes) = segment
        .into_iter()
        .find(|(path, _)| path.to_string_lossy().contains("seg-"))
        .unwrap();
    // Within the rows, which every root leads to.
    let at = 4096 + 2000;
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
    let said = desk.run("migrate s.toml list.toml");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("oid:v1:b0:"), "{said:?}");
}

#[test]
fn a_changed_stack_is_judged_line_by_line() {
    let desk = desk();
    desk.file(
        "cached.toml",
        "[[layer]]\nuse = \"cache\"\n".to_owned() + SOLO,
    );
    let said = desk.ok("check cached.toml --from s.toml");
    assert!(said.contains("may be opened through"), "{said}");
    assert!(said.contains("`cache` was added (cached.toml:2)"), "{said}");
    let said = desk.run("check list.toml --from s.toml");
    assert_eq!(said.code, 2, "{said:?}");
    let text = said.text();
    assert!(
        text.contains("`sequence` stands where `file` stood"),
        "{text}"
    );
    assert!(text.contains("migrate"), "{text}");
    let facts = &desk.run("check list.toml --from s.toml --json").json()[0];
    assert_eq!(facts["changes"]["safe"], false);
    let said = desk.ok("check s.toml --from s.toml");
    assert!(said.contains("is the same stack as"), "{said}");
}

#[test]
fn what_was_set_of_the_old_stack_is_told_apart_from_what_is_set_of_the_new() {
    let desk = desk();
    let said = desk.ok("check s.toml --from s.toml --set file.segment=1MiB");
    assert!(said.contains("`segment`"), "{said}");
    let both = "--set file.segment=1MiB --from-set file.segment=1MiB";
    let said = desk.ok(&format!("check s.toml --from s.toml {both}"));
    assert!(said.contains("is the same stack as"), "{said}");
    let wrong = "check s.toml --from s.toml --from-set file.sgement=1MiB";
    desk.fails(wrong, 2, &["did you mean `segment`?"]);
    desk.fails("check s.toml --from-set file.segment=1MiB", 2, &["--from"]);
}

#[test]
fn what_lies_on_disk_is_compared_with_the_stack() {
    let desk = desk();
    let said = desk.ok("check s.toml --disk");
    assert!(said.contains("holds a log of this stack"), "{said}");
    let said = desk.ok("check list.toml --disk");
    assert!(
        said.contains("nothing lies in its directories yet"),
        "{said}"
    );
    let other = LIST.replace("path = \"a\"", "path = \"data\"");
    desk.file("other.toml", other);
    let said = desk.run("check other.toml --disk");
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.text().contains("written by the stack file"),
        "{said:?}"
    );
}

#[test]
fn a_bare_directory_says_who_wrote_it_and_what_it_needs() {
    let desk = desk();
    desk.ok("migrate s.toml list.toml");
    let before = desk.bytes_of("data");
    let said = desk.ok("inspect data");
    for words in [
        "written by  file",
        "closed      cleanly",
        "use = \"file\"",
        "path = \"data\"",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = desk.ok("inspect .");
    assert!(said.contains("sequence(..file..)"), "{said}");
    let parts = "[[layer]]\nuse = \"sequence\"\n[[layer]]\nuse = \"file\"\npath = \"parts\"\n";
    desk.file("parts.toml", parts);
    desk.ok("put parts.toml --tree small key value");
    let said = desk.ok("inspect parts");
    assert!(
        said.contains("use = \"sequence\"") && said.contains("path = \"parts\""),
        "{said}"
    );
    desk.fails("inspect data oid:v1:b0:o2048", 2, &["name the stack file"]);
    std::fs::create_dir(desk.path().join("empty")).unwrap();
    desk.fails("inspect empty", 1, &["no log lies in"]);
    assert!(desk.bytes_of("data") == before, "looking changed something");
}

#[test]
fn a_damaged_directory_still_says_what_it_can() {
    let desk = desk();
    let damage =
        |name: &str, bytes: &[u8]| std::fs::write(desk.path().join("data").join(name), bytes);
    let identity = std::fs::read(desk.path().join("data/identity")).unwrap();
    damage("identity", b"nonsense").unwrap();
    let said = desk.run("inspect data");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.text().contains("damaged") && said.text().contains("written by  file"),
        "{said:?}"
    );
    damage("identity", &identity).unwrap();
    std::fs::remove_file(desk.path().join("data/writer")).unwrap();
    let said = desk.run("inspect data");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.text().contains("the writer file is gone"), "{said:?}");
}

/// Stored bytes are shorter under one codec and longer under another; an index must not know.
#[test]
fn a_copy_under_other_codecs_is_read_and_written_as_the_source_is() {
    let desk = desk();
    let file = |name: &str, codecs: &str| {
        let layer = format!("{codecs}[[layer]]\nuse = \"file\"\npath = \"data-{name}\"\n");
        desk.file(&format!("{name}.toml"), layer);
    };
    desk.file("key", "01".repeat(32));
    let packed = "[[layer]]\nuse = \"compress\"\n";
    let sealed = "[[layer]]\nuse = \"encrypt\"\nkey = { file = \"key\" }\n";
    file("packed", packed);
    file("sealed", sealed);
    file("plain", "");
    desk.ok("load packed.toml rows.ndjson --tree rows --key id");
    let long = "v".repeat(400);
    for n in 0..6 {
        desk.ok(&format!("put packed.toml --tree rows k{n} {long}"));
        desk.ok(&format!("put packed.toml --tree few k{n} {long}"));
    }
    let rows = desk.ok("export packed.toml");
    for (from, to) in [("packed", "plain"), ("plain", "sealed"), ("sealed", "last")] {
        file("last", packed);
        desk.ok(&format!("migrate {from}.toml {to}.toml --history"));
        assert_eq!(
            desk.ok(&format!("export {to}.toml")),
            rows,
            "{from} to {to}"
        );
        desk.ok(&format!("verify {to}.toml"));
    }
    desk.ok("backup packed.toml book");
    file("back", &format!("{packed}{sealed}"));
    desk.ok("restore book back.toml");
    assert_eq!(desk.ok("export back.toml"), rows);
    // It goes on as the source would.
    for stack in ["plain", "sealed", "back"] {
        desk.ok(&format!("put {stack}.toml --tree few k9 more"));
        assert_eq!(desk.ok(&format!("get {stack}.toml --tree few k9")), "more");
        let count = desk.ok(&format!("count {stack}.toml --tree few"));
        assert_eq!(count.trim_end(), "7");
    }
}
