//! Stack files that must be refused: each with its message, its place and exit code 2, and nothing
//! made on disk.
//!
//! `tests/bad/NAME.expected` is what `travertine check NAME.toml` says. After a message was changed on
//! purpose, `TRAVERTINE_BLESS=1 cargo test --test bad_stacks` writes the files anew; read the
//! difference before it is kept.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn bad() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad")
}

fn check(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_travertine"))
        .arg("check")
        .args(arguments)
        .current_dir(directory)
        .env_remove("TRAVERTINE_SET")
        .output()
        .unwrap()
}

fn names(directory: &Path) -> BTreeSet<String> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Refused, with these words on the error output and nothing else anywhere.
fn refused(directory: &Path, name: &str) -> String {
    let before = names(directory);
    let output = check(directory, &[name]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{name}: {words}");
    assert!(output.stdout.is_empty(), "{name} printed something");
    assert_eq!(names(directory), before, "{name} made something");
    words
}

#[test]
fn every_bad_stack_is_refused_with_its_message_and_place() {
    let bad = bad();
    let bless = std::env::var_os("TRAVERTINE_BLESS").is_some();
    let stacks: Vec<String> = names(&bad)
        .into_iter()
        .filter(|name| name.ends_with(".toml"))
        .collect();
    assert!(stacks.len() >= 30, "only {} bad stacks", stacks.len());
    let mut wrong = Vec::new();
    for name in stacks {
        let words = refused(&bad, &name);
        assert!(
            words.contains(&format!("{name}:")),
            "{name}: no place in {words}"
        );
        let expected = bad.join(name.replace(".toml", ".expected"));
        if bless {
            std::fs::write(&expected, &words).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        if words != expected {
            wrong.push(format!(
                "{name}\n--- expected\n{expected}\n--- said\n{words}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_that_is_not_utf8_is_refused_at_its_first_bad_byte() {
    let directory = tempfile::tempdir().unwrap();
    let text = b"[[layer]]\nuse = \"f\xffle\"\n";
    std::fs::write(directory.path().join("latin.toml"), text).unwrap();
    let words = refused(directory.path(), "latin.toml");
    assert!(words.contains("not text in UTF-8: byte 18"), "{words}");
    assert!(words.contains("latin.toml:2:9"), "{words}");
}

#[test]
fn a_huge_file_is_refused_before_it_is_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge.toml");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    let words = refused(directory.path(), "huge.toml");
    assert!(
        words.contains("huge.toml:1:1: this file is longer than 1 MiB"),
        "{words}"
    );
}

#[test]
fn absurd_depth_is_refused_in_every_way_of_writing_it() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        std::fs::write(directory.path().join(name), text).unwrap();
        refused(directory.path(), name)
    };
    let inline = |depth: usize| {
        let open = "{ use = \"monitor\", over = [".repeat(depth);
        let close = "] }".repeat(depth);
        format!("layer = [{open}{{ use = \"memory\" }}{close}]\n")
    };
    for (name, text, said) in [
        ("brackets.toml", format!("layer = {}", "[".repeat(100_000)), "recursion"),
        ("dotted.toml", format!("{} = 1", vec!["a"; 50_000].join(".")), "recursion"),
        ("inline.toml", inline(20), "more than 16"),
        ("nested.toml", inline(10_000), "recursion"),
        (
            "linear.toml",
            "[[layer]]\nuse = \"monitor\"\n".repeat(20),
            "more than 16 floors deep",
        ),
        (
            "chain.toml",
            (0..40)
                .map(|n| format!("[stack.s{n}]\nuse = \"monitor\"\nover = [\"s{}\"]\n", n + 1))
                .chain(["[stack.s40]\nuse = \"memory\"\n[[layer]]\nuse = \"monitor\"\nover = [\"s0\"]\n"
                    .to_owned()])
                .collect(),
            "more than 16 floors deep",
        ),
    ] {
        let words = write(name, text);
        assert!(words.len() < 2_000, "{name}: {} bytes of error", words.len());
        assert!(words.contains(said), "{name}: {words}");
    }
}

#[test]
fn a_wide_file_is_refused_without_a_page_for_each_line() {
    let directory = tempfile::tempdir().unwrap();
    let layers = (0..30_000).map(|n| format!("[[layer]]\nuse = \"k{n}\"\n"));
    let keys = (0..30_000).map(|n| format!("k{n} = {n}\n"));
    let keys = keys.collect::<String>();
    for (text, said) in [
        (layers.collect::<String>(), "more than 64 layers"),
        (
            format!("[[layer]]\nuse = \"memory\"\n{keys}"),
            "errors more",
        ),
    ] {
        std::fs::write(directory.path().join("wide.toml"), text).unwrap();
        let words = refused(directory.path(), "wide.toml");
        assert!(words.len() < 100_000, "{} bytes of errors", words.len());
        assert!(words.contains(said), "{words}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let words = refused(directory.path(), "missing.toml");
    assert!(
        words.contains("missing.toml:1:1: this file cannot be read"),
        "{words}"
    );
    let words = refused(directory.path(), ".");
    assert!(words.contains("cannot be read"), "{words}");
}

#[test]
fn a_bad_override_is_refused_and_says_which_it_was() {
    let solo = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks");
    for (set, said) in [
        ("file.segment=lots", "--set file.segment=lots:1:14"),
        ("fiel.segment=1MiB", "did you mean `file`?"),
        ("file.sgement=1MiB", "did you mean `segment`?"),
        ("file.segment", "sets nothing"),
        ("file.use=memory", "cannot be overridden"),
        (
            "level=replicated(9)",
            "commits of this stack are to reach `replicated(9)`",
        ),
    ] {
        let output = check(&solo, &["solo.toml", "--set", set]);
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{set}: {words}");
        assert!(words.contains(said), "{set}: {words}");
    }
}
