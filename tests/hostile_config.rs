//! Stack files as nobody should write them: those of the repository with a few bytes changed, by seed.
//!
//! `SEED=n` replays one; `TRAVERTINE_SEEDS` says how many (2,000 unless told). The fuzzer calls the
//! same function.

use std::path::Path;

use travertine::config::hostile::config_parse;
use travertine_engine::conformance::rng::Rng;

#[expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the test looks at the repository"
)]
fn stack_files() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["examples/stacks", "tests/bad"] {
        for entry in std::fs::read_dir(root.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_stack_file_of_the_repository_is_judged() {
    let files = stack_files();
    assert!(files.len() > 30);
    for file in files {
        config_parse(&file);
        config_parse(&[b"level=os;file.segment=1 MiB\0", &file[..]].concat());
    }
}

#[test]
fn a_stack_file_with_a_few_bytes_changed_is_judged() {
    let files = stack_files();
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TRAVERTINE_SEEDS").unwrap_or(2_000),
    };
    let words: [&[u8]; 10] = [
        b"[[layer]]\n",
        b"use = ",
        b"over = [",
        b"\"memory\"",
        b"{ use = \"file\" }",
        b"\"\"\"",
        b"1e999",
        b"'",
        "\u{FEFF}".as_bytes(),
        b"\0",
    ];
    for seed in seeds {
        let mut rng = Rng::new(seed);
        let mut text = files[rng.below_usize(files.len())].clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below_usize(text.len() + 1);
            match rng.below(4) {
                0 => text.truncate(at),
                1 => text
                    .splice(at..at, words[rng.below_usize(words.len())].iter().copied())
                    .for_each(drop),
                2 => {
                    let end = text.len().min(at + rng.below_usize(20));
                    text.drain(at..end);
                }
                _ => text
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte = b' ' + (seed % 95) as u8),
            }
        }
        let outcome = std::panic::catch_unwind(|| config_parse(&text));
        assert!(outcome.is_ok(), "failed with SEED={seed}");
    }
}
