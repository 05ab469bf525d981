//! A stack that nobody wrote to yet reads as an empty one, whatever it lies on.

mod desk;

use desk::Desk;

const STACKS: [(&str, &str); 3] = [
    ("file.toml", desk::SOLO),
    (
        "memory.toml",
        "level = \"memory\"\n[[layer]]\nuse = \"memory\"\n",
    ),
    (
        "sequence.toml",
        "[[layer]]\nuse = \"monitor\"\n[[layer]]\nuse = \"sequence\"\n[[layer]]\nuse = \"file\"\n\
         path = \"data\"\n",
    ),
];

#[test]
fn every_reading_command_answers_alike_and_makes_nothing() {
    for (name, text) in STACKS {
        let desk = Desk::new();
        desk.file(name, text);
        for (line, code, says) in [
            ("get STACK --tree t k", 1, ""),
            ("scan STACK --tree t", 1, ""),
            ("count STACK --tree t", 1, ""),
            ("root STACK t", 1, ""),
            ("root STACK", 0, ""),
            ("roots STACK", 0, ""),
            ("read STACK oid:v1:b0:o16", 1, ""),
            ("inspect STACK", 0, "newest commit 0, 0 names"),
            ("verify STACK", 0, "batches     0 "),
        ] {
            let line = line.replace("STACK", name);
            let said = desk.run(&line);
            assert_eq!(said.code, code, "`{line}` said {said:?}");
            assert!(said.text().contains(says), "`{line}` said {said:?}");
        }
        assert!(!desk.path().join("data").exists(), "{name}");
        desk.ok(&format!("put {name} --tree t k v"));
    }
}

#[test]
fn a_directory_that_is_empty_is_as_one_that_is_not_there() {
    let desk = Desk::new();
    #[expect(clippy::disallowed_methods, reason = "a test of files")]
    std::fs::create_dir(desk.path().join("data")).unwrap();
    assert_eq!(desk.run("count s.toml --tree t").code, 1);
    assert_eq!(desk.run("verify s.toml").code, 0);
    desk.file("data/letter.txt", "dear");
    let said = desk.run("verify s.toml");
    assert_eq!(said.code, 2, "a directory of somebody else: {said:?}");
}

#[test]
fn a_refusal_that_nobody_reads_is_told_by_the_code() {
    let desk = Desk::new();
    desk.file("bad.toml", "[[layer]]\nuse = \"no such thing\"\n");
    for line in ["check bad.toml", "count bad.toml --tree t", "check"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = desk.command(line).stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(2), "`{line}`");
    }
}
