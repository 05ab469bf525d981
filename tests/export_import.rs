//! `export` and `import`: what goes out comes in again, all of it or nothing.

mod desk;

use desk::Desk;

fn two() -> Desk {
    let desk = Desk::new();
    desk.file("o.toml", "[[layer]]\nuse = \"file\"\npath = \"other\"\n");
    desk
}

#[test]
fn an_export_imported_elsewhere_is_exported_alike() {
    let desk = two();
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/data/unicode-excerpt.txt"
    );
    desk.ok(&format!(
        "load s.toml {file} --tree unicode --key 0 --delimiter ; --no-header --batch 700"
    ));
    let long: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    desk.run_with("put s.toml --tree mixed --key-b64 //8= -", &long);
    desk.ok("put s.toml --tree mixed text text");
    desk.ok("put s.toml --tree empty k v");
    desk.ok("del s.toml --tree empty k");
    let all = desk.run("export s.toml");
    let told = desk.run_with("import o.toml", &all.out);
    assert_eq!(
        told.text(),
        "3 trees with 3002 entries imported\n",
        "{told:?}"
    );
    assert!(desk.run("export o.toml").out == all.out);
    assert!(desk.ok("verify o.toml").contains("all is well"));
    assert_eq!(
        desk.run("roots o.toml --json").json().len(),
        1,
        "one commit"
    );
    let one = desk.run("export s.toml --tree mixed");
    assert_eq!(one.text().lines().count(), 5);
    desk.fails("export s.toml --tree nix", 1, &["there is no tree nix"]);
}

#[test]
fn trees_with_entries_are_left_alone_unless_told_otherwise() {
    let desk = two();
    desk.ok("put s.toml --tree a k new");
    desk.ok("put o.toml --tree a k old");
    desk.ok("put o.toml --tree b k old");
    let all = desk.run("export s.toml").out;
    let said = desk.run_with("import o.toml", &all);
    said.expect("import", 2, &["a has 1 entries already", "--replace"]);
    assert_eq!(desk.ok("get o.toml --tree a k"), "old");
    let said = desk.run_with("import o.toml --replace --json", &all);
    assert_eq!(said.json()[0]["entries"], 1);
    assert_eq!(desk.ok("get o.toml --tree a k"), "new");
    assert_eq!(desk.ok("get o.toml --tree b k"), "old");
}

#[test]
fn a_damaged_export_names_its_line_and_imports_nothing() {
    let desk = two();
    let rows: String = (0..1000).map(|n| format!("{n:04},{n}\n")).collect();
    desk.file("rows.csv", rows);
    desk.ok("load s.toml rows.csv --tree t --key 0 --no-header");
    let all = desk.ok("export s.toml");
    let lines: Vec<_> = all.lines().collect();
    let swap = |line: usize, text: &str| {
        let mut lines = lines.clone();
        lines[line] = text;
        lines.join("\n")
    };
    for (text, words) in [
        (String::new(), "-:1: the export ends here"),
        ("{}".into(), "-:1: missing field"),
        (
            swap(0, r#"{"travertine":"export","format":2,"trees":1}"#),
            "-:1: this is",
        ),
        (
            swap(0, r#"{"travertine":"export","format":1,"trees":9999}"#),
            "more than one commit",
        ),
        (
            swap(0, r#"{"travertine":"export","format":1,"trees":2}"#),
            "-:1003:",
        ),
        (swap(1, r#"{"tree":"t","entries":999}"#), "-:1002:"),
        (swap(1, r#"{"tree":"","entries":1000}"#), "-:2:"),
        (
            swap(1, r#"{"tree":"load/t","entries":1000}"#),
            "-:2: names that begin with load/",
        ),
        (
            concat!(
                r#"{"travertine":"export","format":1,"trees":2}"#,
                "\n",
                r#"{"tree":"a","entries":1}"#,
                "\n",
                r#"{"key":"k","value":"v"}"#,
                "\n",
                r#"{"tree":"b","entries":18446744073709551615}"#,
                "\n",
            )
            .into(),
            "-:5: the export ends here",
        ),
        (swap(500, "nonsense"), "-:501: expected"),
        (
            swap(500, r#"{"key":"0","value":"v"}"#),
            "-:501: row 499 is out of order",
        ),
        (
            swap(500, r#"{"key_b64":"?","value":"v"}"#),
            "-:501: key_b64 is not base64",
        ),
        (
            swap(1002, r#"{"end":7}"#),
            "-:1003: 1000 entries were read, 7 were written",
        ),
        (lines[..700].join("\n"), "-:701: the export ends here"),
        (format!("{all}{{}}"), "-:1004: the export goes on"),
    ] {
        let said = desk.run_with("import o.toml", text.as_bytes());
        said.expect(words, 1, &[words, "nothing was imported"]);
        if desk.path().join("other").exists() {
            assert_eq!(desk.ok("root o.toml"), "", "{words}");
        }
    }
    assert_eq!(desk.run_with("import o.toml", all.as_bytes()).code, 0);
    assert_eq!(desk.ok("count o.toml --tree t"), "1000\n");
    desk.fails("import o.toml nix.ndjson", 2, &["cannot read nix.ndjson"]);
}

#[test]
fn a_skip_list_comes_back_as_one_and_chains_are_not_left_out_unsaid() {
    let desk = two();
    desk.file("rows.csv", "k,v\na,1\nb,2\n");
    desk.ok("load s.toml rows.csv --tree list --key k --index skiplist");
    desk.ok("put s.toml --tree tree k v");
    let all = desk.run("export s.toml");
    all.expect("export", 0, &[]);
    desk.run_with("import o.toml", &all.out);
    for stack in ["s.toml", "o.toml"] {
        let told = desk.ok(&format!("verify {stack}"));
        assert!(told.contains("skip list   list: 2 entries"), "{told}");
    }
    assert!(desk.run("export o.toml").out == all.out);
    let other = all.text().replace("skiplist", "heap");
    let said = desk.run_with("import o.toml --replace", other.as_bytes());
    said.expect("import", 1, &["-:2: ", "\"heap\""]);

    desk.ok("chain push s.toml --chain jobs e");
    let said = desk.fails("export s.toml", 1, &["left out: jobs", "--trees-only"]);
    assert!(said.out == all.out, "the trees are all there");
    assert!(desk.run("export s.toml --trees-only").out == all.out);
    desk.fails("export s.toml --tree jobs", 2, &["travertine chain"]);
}
