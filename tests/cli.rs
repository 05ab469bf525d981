//! The commands that look at stacks without opening them.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn travertine(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_travertine"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_remove("TRAVERTINE_SET");
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    travertine(directory, arguments).output().unwrap()
}

/// What a call prints that must go well.
fn fine(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

fn examples() -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(root().join("examples/stacks"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_example_is_legal_and_explained() {
    for example in examples() {
        let path = example.to_str().unwrap();
        let checked = fine(root(), &["check", path]);
        assert!(checked.contains("is legal; commits reach"), "{checked}");
        let facts: Value = serde_json::from_str(&fine(root(), &["check", "--json", path])).unwrap();
        assert_eq!(facts["legal"], true);
        let explained = fine(root(), &["explain", path]);
        assert!(explained.contains("costs"), "{explained}");
        serde_json::from_str::<Value>(&fine(root(), &["explain", "--json", path])).unwrap();
        assert!(
            !example.with_file_name("data").exists(),
            "something was made"
        );
    }
}

#[test]
fn explain_tells_who_set_what_and_flags_win_over_the_environment() {
    let solo = "examples/stacks/solo.toml";
    let mut command = travertine(
        root(),
        &["explain", solo, "--json", "--set", "file.read=pread"],
    );
    command.env("TRAVERTINE_SET", "file.read=mmap; file.grow=none;level=os");
    let output = command.output().unwrap();
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(facts["level"], "os");
    let options = facts["floors"][0]["options"].as_array().unwrap();
    let of = |name: &str| {
        let found = options.iter().find(|option| option["name"] == name);
        let option = found.unwrap();
        (
            option["value"].as_str().unwrap(),
            option["from"].as_str().unwrap(),
        )
    };
    assert_eq!(of("read"), ("\"pread\"", "--set file.read=pread"));
    assert_eq!(of("grow"), ("\"none\"", "TRAVERTINE_SET=file.grow=none"));
    assert_eq!(of("overwrite"), ("\"unit\"", "default"));
    assert_eq!(of("path").1, "examples/stacks/solo.toml:10");
}

#[test]
fn init_writes_each_example_as_it_is_and_once() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    for example in examples() {
        let template = example.file_stem().unwrap().to_str().unwrap();
        let name = format!("{template}.toml");
        fine(place, &["init", "--template", template, &name]);
        fine(place, &["check", &name]);
        let text = std::fs::read_to_string(&example).unwrap();
        assert_eq!(std::fs::read_to_string(place.join(&name)).unwrap(), text);
        let printed = fine(place, &["init", "--template", template, "-"]);
        assert_eq!(printed, text);
    }
    fine(place, &["init"]);
    std::fs::write(place.join("stack.toml"), "mine").unwrap();
    let output = run(place, &["init"]);
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("stack.toml is there already"), "{words}");
    assert_eq!(std::fs::read(place.join("stack.toml")).unwrap(), b"mine");
    assert_eq!(
        run(place, &["init", "no/such/place.toml"]).status.code(),
        Some(2)
    );
}

#[test]
fn plugins_and_schema_know_every_kind_and_option() {
    let kinds: Vec<Value> = fine(root(), &["plugins", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let schema: Value = serde_json::from_str(&fine(root(), &["schema"])).unwrap();
    let layers = schema["$defs"]["layer"]["oneOf"].as_array().unwrap();
    assert_eq!(layers.len(), kinds.len());
    for (kind, layer) in kinds.iter().zip(layers) {
        let name = kind["name"].as_str().unwrap();
        assert_eq!(layer["properties"]["use"]["const"], name);
        let words = fine(root(), &["plugins", name]);
        for option in kind["options"].as_array().unwrap() {
            let option = option["name"].as_str().unwrap();
            assert!(layer["properties"][option].is_object(), "{name}.{option}");
            assert!(
                words.contains(&format!("\n  {option}   ")),
                "{name}.{option}"
            );
        }
    }
    assert_eq!(run(root(), &["plugins", "raid5"]).status.code(), Some(2));
}

#[test]
fn a_wrong_call_is_told_apart_from_a_wish_for_help() {
    for (arguments, code) in [
        (vec![], 2),
        (vec!["nonsense"], 2),
        (vec!["check"], 2),
        (vec!["check", "x.toml", "--nonsense"], 2),
        (vec!["--help"], 0),
        (vec!["check", "--help"], 0),
        (vec!["--version"], 0),
    ] {
        let output = run(root(), &arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let (said, silent) = match code {
            0 => (output.stdout, output.stderr),
            _ => (output.stderr, output.stdout),
        };
        assert!(!said.is_empty() && silent.is_empty(), "{arguments:?}");
    }
}

#[test]
fn check_of_several_goes_on_after_a_bad_one() {
    let output = run(
        root(),
        &["check", "tests/bad/empty.toml", "examples/stacks/solo.toml"],
    );
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("solo.toml is legal"), "{said}");
    let output = run(root(), &["check", "--json", "tests/bad/cycle.toml"]);
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(facts["legal"], false);
    assert_eq!(facts["errors"][0]["line"], 11);
    assert_eq!(facts["errors"][0]["column"], 9);
    assert!(output.stderr.is_empty());
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    for arguments in [vec!["schema"], vec!["plugins", "file"], vec!["--help"]] {
        let mut child = travertine(root(), &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut words = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut words).unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!((code, words.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn every_shell_gets_completions_that_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = fine(root(), &["completions", shell]);
        for word in ["migrate", "completions", "--ablate", "--from"] {
            let word = if shell == "fish" {
                word.trim_start_matches('-')
            } else {
                word
            };
            assert!(text.contains(word), "{shell} lacks {word}");
        }
    }
}

#[test]
fn check_and_explain_tell_how_guarantees_come_about() {
    let sequence = "examples/stacks/sequence.toml";
    for command in ["check", "explain"] {
        let told = fine(root(), &[command, sequence]);
        for words in [
            "requires fences, one stream, parts of file",
            "drops   parts of file",
        ] {
            let plain = told.replace("  ", " ").replace("  ", " ");
            let words = words.replace("   ", " ");
            assert!(plain.contains(&words), "{command}: {words}\n{told}");
        }
    }
    let table = fine(root(), &["plugins", "--table"]);
    assert!(table.contains("| `cache` | yes |"), "{table}");
}
