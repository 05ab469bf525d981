//! `certs` and `token`: what they make holds, is for its owner alone, and is never overwritten.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

use std::io::BufRead as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use travertine::contract::{Env, Name};
use travertine::net::client::{Change, Client, NewRecord, Target};
use travertine::net::connect::Endpoint;

/// Far longer than anything takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(300);

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

#[test]
fn what_was_made_serves_those_who_were_granted_something_and_rights_may_change() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    std::fs::write(
        place.join("s.toml"),
        "[[layer]]\nuse = \"file\"\npath = \"data\"\n",
    )
    .unwrap();
    fine(
        place,
        &["certs", "pki", "--client", "writer", "--client", "stranger"],
    );
    let rights = |to: &str, rights: &str| {
        let text = format!("[[certificate]]\nname = \"{to}\"\nrights = [{rights}]\n");
        std::fs::write(place.join("new.toml"), text).unwrap();
        std::fs::rename(place.join("new.toml"), place.join("rights.toml")).unwrap();
    };
    rights("writer", "\"read\", \"commit\", \"append\"");
    let mut server = Command::new(env!("CARGO_BIN_EXE_travertine"))
        .args([
            "serve",
            "s.toml",
            "--listen",
            "127.0.0.1:0",
            "--json",
            "--rights",
            "rights.toml",
        ])
        .args([
            "--cert",
            "pki/server.pem",
            "--key",
            "pki/server.key",
            "--client-ca",
            "pki/ca.pem",
        ])
        .current_dir(place)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = std::io::BufReader::new(server.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let facts: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = facts["address"].as_str().unwrap().to_owned();
    let connect = async |name: &str| {
        let pki = place.join("pki");
        let endpoint = Endpoint::parse(&address).unwrap().ca(pki.join("ca.pem"));
        let endpoint = endpoint
            .cert(pki.join(format!("{name}.pem")))
            .key(pki.join(format!("{name}.key")));
        Client::connect(&endpoint, &Env::system()).await.unwrap()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let story = async {
        let (writer, stranger) = (connect("writer").await, connect("stranger").await);
        let name = Name::new("n").unwrap();
        let change = Change::set(name.clone(), Target::Own(0));
        let records = vec![NewRecord::blob("hello")];
        writer.commit(records, vec![change], None).await.unwrap();
        let denied = stranger.root(&name).await.unwrap_err();
        assert!(
            denied.message().contains("stranger lacks the right: read"),
            "{denied}"
        );
        rights("stranger", "\"read\"");
        while stranger.root(&name).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let denied = writer.root(&name).await.unwrap_err();
        assert!(
            denied.message().contains("writer lacks the right: read"),
            "{denied}"
        );
    };
    let told = runtime.block_on(async { tokio::time::timeout(PATIENCE, story).await });
    let _ = server.kill();
    let _ = server.wait();
    told.unwrap();
}
