//! `certs` and `token`: what they make holds, is for its owner alone, and is never overwritten.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

use std::path::Path;
use std::process::{Command, Output};

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_travertine"));
    command
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

fn fine(directory: &Path, arguments: &[&str]) -> (String, String) {
    let output = run(directory, arguments);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {words}");
    (String::from_utf8(output.stdout).unwrap(), words)
}

/// The call is wrong, and this is said of it.
fn wrong(directory: &Path, arguments: &[&str], says: &str) {
    let output = run(directory, arguments);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {words}");
    assert!(words.contains(says), "{arguments:?}: {words}");
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn certificates_are_made_once_and_more_are_signed_by_the_same_authority() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let (said, _) = fine(place, &["certs", "pki", "--name", "store.example"]);
    assert!(said.contains("travertine serve stack.toml") && said.contains("store.example:7420"));
    let pki = place.join("pki");
    let first = [
        "ca.key",
        "ca.pem",
        "client.key",
        "client.pem",
        "server.key",
        "server.pem",
    ];
    assert_eq!(files(&pki), first);
    #[cfg(unix)]
    for name in first.iter().filter(|name| name.ends_with(".key")) {
        use std::os::unix::fs::PermissionsExt;
        let mode = pki.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }

    let before: Vec<_> = first
        .iter()
        .map(|name| std::fs::read(pki.join(name)).unwrap())
        .collect();
    wrong(place, &["certs", "pki"], "has an authority already");
    wrong(
        place,
        &["certs", "pki", "--name", "other.example"],
        "stays as it is",
    );
    wrong(
        place,
        &["certs", "pki", "--client", "new", "--client", "client"],
        "stays as it is",
    );
    wrong(
        place,
        &["certs", "pki", "--client", "ca"],
        "would be called",
    );
    wrong(place, &["certs", "pki", "--client", "../out"], "name");
    wrong(
        place,
        &["certs", "pki", "--client", "a\nb"],
        "neither a name",
    );
    wrong(
        place,
        &["certs", "new", "--client", "server"],
        "would be called",
    );
    assert!(!place.join("new").exists());
    let after: Vec<_> = first
        .iter()
        .map(|name| std::fs::read(pki.join(name)).unwrap())
        .collect();
    assert!(before == after, "something was overwritten");

    fine(place, &["certs", "pki", "--client", "reports"]);
    fine(
        place,
        &["certs", "pki", "--name", "two.example", "--as", "server2"],
    );
    assert_eq!(files(&pki).len(), first.len() + 4);

    std::fs::write(pki.join("ca.key"), "no key").unwrap();
    wrong(
        place,
        &["certs", "pki", "--client", "late"],
        "cannot be read",
    );
}

#[test]
fn a_token_is_printed_apart_from_the_lines_that_know_its_hash() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let call = ["token", "reports", "--right", "read", "--right", "commit"];
    let (token, lines) = fine(place, &call);
    let token = token.trim();
    assert!(
        token.starts_with("travertine_") && token.len() == 75,
        "{token}"
    );
    assert!(!lines.contains(token));
    assert_ne!(fine(place, &call).0.trim(), token);
    let path = place.join("rights.toml");
    std::fs::write(&path, &lines).unwrap();
    let rights = travertine::config::rights(&path).unwrap();
    assert!(rights.has_tokens());
    wrong(
        place,
        &["token", "reports", "--right", "write"],
        "rights are read",
    );
    wrong(place, &["token", "reports"], "--right");
    wrong(place, &["token", "a b", "--right", "read"], "is no name");
}

#[test]
fn the_rights_of_the_deployment_example_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy/rights.toml");
    travertine::config::rights(path).unwrap();
}
