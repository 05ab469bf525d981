//! `load`: rows of every kind, bad rows, doubled keys, and loads that go on.

mod desk;

use desk::{Desk, SOLO};

const PEOPLE: &str = "id,name\n2,Grace\n1,Ada\n3,\"Hopper, \"\"Amazing\"\"\"\n1,Ada L.\n";

#[test]
fn rows_of_a_csv_file_become_objects_and_the_last_of_doubled_keys_wins() {
    let desk = Desk::new();
    desk.file("people.csv", PEOPLE);
    let told = desk.ok("load s.toml people.csv --tree p --key id");
    assert!(
        told.starts_with("4 rows of people.csv are in p: 1 had a key that a later"),
        "{told}"
    );
    assert_eq!(desk.ok("count s.toml --tree p"), "3\n");
    assert_eq!(
        desk.ok("get s.toml --tree p 1"),
        r#"{"id":"1","name":"Ada L."}"#
    );
    assert_eq!(
        desk.ok("get s.toml --tree p 3"),
        r#"{"id":"3","name":"Hopper, \"Amazing\""}"#
    );
    let again = desk
        .run("load s.toml people.csv --tree p --key 0 --json")
        .json();
    assert_eq!(again[0]["replaced"], 4);
    assert_eq!(again[0]["into_empty"], false);
    assert_eq!(again[0]["entries"], 3);
}

#[test]
fn doubled_keys_are_counted_across_batches_too() {
    let desk = Desk::new();
    desk.file("people.csv", PEOPLE);
    let told = desk
        .run("load s.toml people.csv --tree p --key id --batch 1 --json")
        .json();
    assert_eq!(told[0]["replaced"], 1);
    assert_eq!(told[0]["commits"], 5);
    assert_eq!(
        desk.ok("get s.toml --tree p 1"),
        r#"{"id":"1","name":"Ada L."}"#
    );
}

#[test]
fn rows_without_a_header_become_arrays() {
    let desk = Desk::new();
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/data/unicode-excerpt.txt"
    );
    desk.ok(&format!(
        "load s.toml {file} --tree unicode --key 0 --delimiter ; --no-header"
    ));
    assert_eq!(desk.ok("count s.toml --tree unicode"), "3000\n");
    let found = desk.ok("get s.toml --tree unicode 0041");
    assert!(
        found.starts_with(r#"["0041","LATIN CAPITAL LETTER A","Lu","#),
        "{found}"
    );
}

#[test]
fn the_name_of_a_file_tells_its_format() {
    let desk = Desk::new();
    desk.file("t.tsv", "k\tv\na\t\"quoted\"\n");
    desk.ok("load s.toml t.tsv --tree t --key k");
    assert_eq!(
        desk.ok("get s.toml --tree t a"),
        r#"{"k":"a","v":"\"quoted\""}"#
    );
    desk.file("t.jsonl", "{\"k\": 1.50, \"v\": [1, 2]}\n\n[\"x\", 7]\r\n");
    desk.ok("load s.toml t.jsonl --tree j --key k --on-bad skip");
    assert_eq!(
        desk.ok("get s.toml --tree j 1.50"),
        r#"{"k": 1.50, "v": [1, 2]}"#
    );
    desk.ok("load s.toml t.jsonl --tree j --key 1 --on-bad skip");
    assert_eq!(desk.ok("get s.toml --tree j 7"), r#"["x", 7]"#);
    desk.file("plain", "\u{feff}k;v\r\na;b\r\n");
    desk.ok("load s.toml plain --tree c --key k --format csv --delimiter ;");
    assert_eq!(desk.ok("get s.toml --tree c a"), r#"{"k":"a","v":"b"}"#);
}

#[test]
fn a_bad_row_ends_a_load_behind_the_rows_before_it() {
    let desk = Desk::new();
    desk.file("bad.csv", "id,v\n1,a\n\n\n2,b,c\n3,d\n");
    let said = desk.fails(
        "load s.toml bad.csv --tree t --key id",
        1,
        &[
            "bad.csv:5: the row has 3 fields, the header has 2",
            "the rows before it are committed",
        ],
    );
    assert!(
        said.text().starts_with("1 rows of bad.csv are in t"),
        "{said:?}"
    );
    assert_eq!(desk.ok("count s.toml --tree t"), "1\n");
    let said = desk.run("load s.toml bad.csv --tree t --key id --resume --on-bad skip --json");
    said.expect("resume", 0, &["skipped: bad.csv:5:"]);
    let facts = &said.json()[0];
    assert_eq!(
        (&facts["rows"], &facts["bad"], &facts["resumed_from"]),
        (&3.into(), &1.into(), &1.into())
    );
    assert_eq!(desk.ok("count s.toml --tree t"), "2\n");
    let told = desk.ok("load s.toml bad.csv --tree u --key id --on-bad skip");
    assert!(told.starts_with("2 rows of bad.csv are in u"), "{told}");
    assert!(told.contains("1 bad; 2 entries"), "{told}");
}

#[test]
fn every_kind_of_bad_row_is_told_with_its_line() {
    let desk = Desk::new();
    let long = "k".repeat(70_000);
    let csv = [
        &b"id,v\n1,a\n2\n3,\xff\n"[..],
        long.as_bytes(),
        b",v\n4,\"open\n5,b\n",
    ]
    .concat();
    desk.file("bad.csv", csv);
    let said = desk.run("load s.toml bad.csv --tree t --key id --on-bad skip");
    said.expect(
        "load",
        0,
        &[
            "bad.csv:3: the row has 1 fields",
            "bad.csv:4: field 1 is not UTF-8",
            "bad.csv:5: a key of 70000 bytes",
            "bad.csv:6: a quote is opened here and never closed",
        ],
    );
    assert_eq!(desk.ok("count s.toml --tree t"), "1\n");
    let ndjson = b"{\"k\":\"a\"}\n{\"k\":1\n{\"q\":1}\n{\"k\":{}}\n\xff\n5\n{\"k\":1} x\n[[[[\n";
    desk.file("bad.ndjson", ndjson);
    let said = desk.run("load s.toml bad.ndjson --tree j --key k --on-bad skip --json");
    said.expect(
        "load",
        0,
        &[
            "bad.ndjson:2: not one JSON object or array: EOF",
            "bad.ndjson:3: the row has no field \"k\"",
            "bad.ndjson:4: field \"k\" is neither a string nor a number",
            "bad.ndjson:5: the line is not UTF-8",
            "bad.ndjson:6: not one JSON object or array",
            "bad.ndjson:7: not one JSON object or array: trailing characters",
            "bad.ndjson:8: not one JSON object or array",
        ],
    );
    assert_eq!(said.json()[0]["bad"], 7);
}

#[test]
fn a_wrong_call_names_the_remedy_and_makes_nothing() {
    let desk = Desk::new();
    desk.file("a.csv", "id,v\n1,a\n");
    desk.file("twice.csv", "id,id\n1,a\n");
    desk.file("empty.csv", "");
    let load = |line: &str, words: &[&str]| {
        desk.fails(&format!("load s.toml {line} --tree t"), 2, words);
    };
    load("a.csv --key nix", &["no column \"nix\"", "id, v"]);
    load("a.csv --key id --no-header", &["a number counted from 0"]);
    load("a.csv --key 2", &["no column \"2\""]);
    load("twice.csv --key id", &["two columns are called \"id\""]);
    load("empty.csv --key id", &["not even a header"]);
    load("nix.csv --key id", &["cannot read nix.csv"]);
    load(". --key id", &["not a regular file"]);
    load("a.csv --key id --delimiter ab", &["not one byte"]);
    load(
        "a.csv --key id --format ndjson --delimiter ;",
        &["no --delimiter"],
    );
    load("a.csv --key id --batch 0", &["--batch"]);
    load("a.csv", &["--key"]);
    assert!(!desk.path().join("data").exists());
}

#[test]
fn acknowledged_rows_are_told_batch_by_batch() {
    let desk = Desk::new();
    let rows: String = (0..25).map(|n| format!("{n},x\n")).collect();
    desk.file("rows.csv", rows);
    let said = desk.run("load s.toml rows.csv --tree t --key 0 --no-header --batch 10 --ack");
    assert_eq!(said.text(), "committed 10\ncommitted 20\ncommitted 25\n");
    let said =
        desk.run("load s.toml rows.csv --tree t --key 0 --no-header --batch 10 --ack --resume");
    assert_eq!((said.code, said.text().as_str()), (0, ""));
}

#[test]
fn a_load_goes_on_only_with_the_file_and_the_call_it_began_with() {
    let desk = Desk::new();
    desk.file("a.csv", "id,v\n1,a\n2,b,c\n");
    desk.fails("load s.toml a.csv --tree t --key id", 1, &["a.csv:3"]);
    let resume = "--tree t --resume";
    desk.fails(
        &format!("load s.toml a.csv --key v {resume}"),
        2,
        &["the load began with"],
    );
    desk.file("a.csv", "id,v\n1,a\n2,b,d\n");
    desk.fails(
        &format!("load s.toml a.csv --key id {resume}"),
        2,
        &["not the file"],
    );
    desk.file("b.csv", "id,v\n1,a\n2,b,c\n");
    let again = format!("load s.toml b.csv --key id {resume} --on-bad skip");
    desk.run(&again).expect(&again, 0, &["b.csv:3"]);
}

#[test]
fn the_same_name_may_be_loaded_from_its_start_again() {
    let desk = Desk::new();
    desk.file("a.csv", "id,v\n1,a\n2,b\n");
    desk.ok("load s.toml a.csv --tree t --key id");
    desk.file("b.csv", "id,v\n2,c\n3,d\n");
    let told = desk.ok("load s.toml b.csv --tree t --key id");
    assert!(told.contains("1 replaced an entry"), "{told}");
    assert_eq!(desk.ok("count s.toml --tree t"), "3\n");
    assert_eq!(desk.ok("get s.toml --tree t 2"), r#"{"id":"2","v":"c"}"#);
}

#[test]
fn a_file_without_rows_makes_a_tree_without_entries() {
    let desk = Desk::new();
    desk.file("head.csv", "id,v\n");
    desk.ok("load s.toml head.csv --tree t --key id");
    assert_eq!(desk.ok("count s.toml --tree t"), "0\n");
    desk.file("row.csv", "id,v\n1,a\n");
    desk.ok("load s.toml row.csv --tree t --key id");
    desk.ok("load s.toml head.csv --tree t --key id");
    assert_eq!(desk.ok("count s.toml --tree t"), "1\n");
}

#[test]
fn a_load_that_ended_left_nothing_to_be_merged() {
    // The last batch has rows of its own, and has none.
    for rows in [95, 100] {
        let desk = Desk::new();
        let lines: String = (0..rows).map(|n| format!("{n},v\n")).collect();
        desk.file("r.csv", format!("k,v\n{lines}"));
        desk.ok("load s.toml r.csv --tree a --key k --batch 10");
        let roots = desk.ok("roots s.toml --json");
        let newest = roots.lines().find(|line| line.contains("\"name\":\"a\""));
        let newest: serde_json::Value = serde_json::from_str(newest.unwrap()).unwrap();
        let changed = newest["changed"].as_array().unwrap();
        let tree = changed.iter().find(|change| change["name"] == "a").unwrap();
        let root = desk.ok(&format!("inspect s.toml {}", tree["to"].as_str().unwrap()));
        assert!(root.contains("root of a B-tree"), "{rows} rows: {root}");
    }
}

#[test]
fn a_line_that_never_ends_is_one_bad_row() {
    let desk = Desk::new();
    let long = "x".repeat(70 << 20);
    desk.file(
        "long.ndjson",
        format!("{{\"k\":1}}\n{{\"k\":2,\"v\":\"{long}\"}}\n{{\"k\":\"\\ud800\"}}\n{{\"k\":3}}\n"),
    );
    let said = desk.run("load s.toml long.ndjson --tree t --key k --on-bad skip");
    let words = [
        "long.ndjson:2: a row of more than 67108864 bytes",
        "long.ndjson:3: field \"k\" is a string that is not Unicode",
    ];
    said.expect("skip", 0, &words);
    assert_eq!(desk.ok("count s.toml --tree t"), "2\n");
}

#[test]
fn a_tree_whose_load_has_no_room_for_its_name_is_refused_and_nothing_made() {
    let desk = Desk::new();
    desk.file("people.csv", PEOPLE);
    let name = "n".repeat(251);
    let line = format!("load s.toml people.csv --tree {name} --key id");
    desk.fails(&line, 2, &["at most 250 bytes, this one has 251"]);
    assert!(!desk.path().join("data").exists());
    desk.ok(&line.replacen("--tree n", "--tree ", 1));
}

#[test]
fn a_header_of_very_many_columns_is_read_at_once() {
    let desk = Desk::new();
    let names: Vec<_> = (0..200_000).map(|n| format!("c{n}")).collect();
    let names = names.join(",");
    desk.file("wide.csv", format!("{names}\n{names}\n"));
    desk.ok("load s.toml wide.csv --tree t --key c7");
    assert_eq!(desk.ok("count s.toml --tree t"), "1\n");
}

#[test]
fn a_log_of_more_segments_than_a_shell_allows_open_files_is_written_and_read() {
    let desk = Desk::new();
    desk.file("s.toml", format!("{SOLO}segment = \"64 KiB\"\n"));
    let rows: String = (0..6000)
        .map(|n| format!("{n:05},{}\n", "v".repeat(1000)))
        .collect();
    desk.file("rows.csv", rows);
    for (line, words) in [
        (
            "load s.toml rows.csv --tree t --key 0 --no-header --batch 50",
            "6000 entries",
        ),
        ("verify s.toml", "all is well"),
    ] {
        let limited = format!(
            "ulimit -Sn 40; exec {} {line}",
            env!("CARGO_BIN_EXE_travertine")
        );
        let out = std::process::Command::new("sh")
            .args(["-c", &limited])
            .current_dir(desk.path())
            .env_remove("TRAVERTINE_SET")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success() && told.contains(words), "{out:?}");
    }
    assert!(desk.bytes_of("data").len() > 60);
}
